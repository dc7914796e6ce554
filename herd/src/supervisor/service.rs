//! One service as a machine: `(state, input, now) → (state, actions)`, total and without effects.
//!
//! ```text
//!  Start                                                                   main ends
//!    │   ┌─────────┐ ┌──────────┐ ┌───────────┐ ┌──────────┐ ready ┌────────┐   │
//!    └──▶│ checking├▶│preparing ├▶│ launching ├▶│ starting ├──────▶│ active ├───┤
//!        └────┬────┘ └────┬─────┘ └─────┬─────┘ └────┬─────┘       └───┬────┘   │
//!             │           │ failure     │            │           Stop  │        ▼
//!             │           └─────────────┴────────────┴────────▶ stop command, stopping
//!             ▼                                                         │ nothing is left
//!      inactive, failed ◀───────────── stop_post ◀──────────────────────┘
//!                            │
//!                            └──▶ backoff ──▶ (the set starts it again, in order)
//! ```
//!
//! What comes after the processes have ended is decided when the end begins and carried along as
//! [`Then`]; a later `Stop` replaces it. So a restart can be called off at any time, and a service
//! that was told to stop never comes back by itself.
//!
//! `activation.rs` holds the way up, `deactivation.rs` the way down, this file what is watched
//! while the service runs, and the dispatch.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use units::Unit;

use super::action::{Action, News, Purpose, Role, Whom};
use super::arrival::Arrival;
use super::event::{ExitStatus, Input, Notice, RunId, ServiceId};
use super::policy::{self, GOOD_RUN, StartWindow};
use super::state::{
    Active, Ending, Failure, HealthCheck, HealthState, Main, ReloadStep, Rest, State, Then,
    Waiting, Watchdog,
};
use super::time::Time;

/// The time of one step, where its actions go, and the source of run numbers.
#[derive(Debug)]
pub struct Step<'a> {
    pub now: Time,
    /// How long the service may take to stop at most, while herd ends within a limit.
    pub patience: Option<Duration>,
    pub actions: &'a mut Vec<Action>,
    pub next_run: &'a mut u64,
}

impl Step<'_> {
    pub fn new_run(&mut self) -> RunId {
        *self.next_run += 1;
        RunId(*self.next_run)
    }
}

/// One service: its definition, its state, and what is remembered across runs.
#[derive(Debug, Clone)]
pub struct Service {
    id: ServiceId,
    pub(super) unit: Arc<Unit>,
    /// A newer definition, taken at the next start.
    pub(super) next_unit: Option<Arc<Unit>>,
    pub(super) state: State,
    pub(super) since: Time,
    arrival: Option<Arrival>,
    /// Restarts since the last good run: what the delay and `max_retries` count.
    pub(super) streak: u32,
    /// Restarts in all, for status.
    pub(super) restarts: u32,
    pub(super) last_exit: Option<(ExitStatus, Time)>,
    /// What the last launch that failed means as an exit code.
    pub(super) launch_code: u8,
    pub(super) status_text: Option<Arc<str>>,
    /// Why the last reload did not work.
    pub(super) reload_failure: Option<Arc<str>>,
    pub(super) starts: Option<Box<StartWindow>>,
}

impl Service {
    pub fn new(id: ServiceId, unit: Arc<Unit>, now: Time) -> Self {
        Self {
            id,
            unit,
            next_unit: None,
            state: State::Inactive(Rest::NeverStarted),
            since: now,
            arrival: None,
            streak: 0,
            restarts: 0,
            last_exit: None,
            launch_code: super::ending::NOT_STARTED,
            status_text: None,
            reload_failure: None,
            starts: None,
        }
    }

    pub fn id(&self) -> ServiceId {
        self.id
    }

    pub fn unit(&self) -> &Arc<Unit> {
        &self.unit
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// When the present state began.
    pub fn since(&self) -> Time {
        self.since
    }

    /// How it first came up, once its turn had come.
    pub fn arrival(&self) -> Option<Arrival> {
        self.arrival
    }

    /// Restarts since the first start.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// How the main process last ended, and when.
    pub fn last_exit(&self) -> Option<(ExitStatus, Time)> {
        self.last_exit
    }

    /// What the service says of itself (`STATUS=`).
    pub fn status_text(&self) -> Option<&str> {
        self.status_text.as_deref()
    }

    /// Whether a newer definition waits for the next start.
    pub fn is_changed(&self) -> bool {
        self.next_unit.is_some()
    }

    pub(super) fn reset_failed(&mut self, step: &mut Step<'_>) {
        self.streak = 0;
        self.restarts = 0;
        if let Some(starts) = &mut self.starts {
            starts.clear();
        }
        if matches!(self.state, State::Failed(_)) {
            self.enter(step, State::Inactive(Rest::Stopped));
        }
    }

    /// Takes one input. Inputs that no longer concern the present state change nothing.
    pub fn step(&mut self, step: &mut Step<'_>, input: Input) {
        match input {
            Input::Start => self.begin(step),
            Input::Stop { rest } => self.stop(step, rest),
            Input::Reload => self.reload(step),
            Input::Idle => self.idle_over(step),
            Input::Checked(result) => self.checked(step, result),
            Input::Spawned { run, pid } => self.spawned(step, run, pid),
            Input::SpawnFailed { run, why, code } => {
                self.launch_code = code;
                self.spawn_failed(step, run, why);
            }
            Input::Exited { run, status } => self.exited(step, run, status),
            Input::MainMoved { run, pid } => self.main_moved(step, Main { run, pid }),
            Input::MainMissing { why } => self.main_missing(step, why),
            Input::Emptied => self.emptied(step),
            Input::Remaining => self.remaining(step),
            Input::OutOfMemory => self.out_of_memory(step),
            Input::Frozen(frozen) => self.frozen(step, frozen),
            Input::Notified(notice) => self.notified(step, notice),
            Input::Probed { run, result } => self.probed(step, run, result),
            Input::Tick => self.tick(step),
        }
    }

    pub(super) fn enter(&mut self, step: &mut Step<'_>, state: State) {
        if let Some(since) = self.state.active_since()
            && !state.is_active()
            && step.now.since(since) >= GOOD_RUN
        {
            self.streak = 0;
        }
        self.arrival = Arrival::after(self.arrival, &state, step.now);
        let news = match (&self.state, &state) {
            (State::Reloading { .. }, State::Active(_)) => {
                News::Reloaded(self.reload_failure.clone().map_or(Ok(()), Err))
            }
            _ => News::State,
        };
        self.state = state;
        self.since = step.now;
        self.tell(step, news);
    }

    fn tell(&self, step: &mut Step<'_>, news: News) {
        step.actions.push(Action::Changed {
            id: self.id,
            state: Box::new(self.state.clone()),
            news,
        });
    }

    /// A change within a state that status need not tell of.
    pub(super) fn stay(&mut self, state: State) {
        self.state = state;
    }

    pub(super) fn spawn(&self, step: &mut Step<'_>, role: Role) -> RunId {
        let run = step.new_run();
        step.actions.push(Action::Spawn {
            id: self.id,
            run,
            role,
        });
        run
    }

    pub(super) fn probe(&self, step: &mut Step<'_>, purpose: Purpose) -> RunId {
        let run = step.new_run();
        step.actions.push(Action::Probe {
            id: self.id,
            run,
            purpose,
        });
        run
    }

    pub(super) fn start_deadline(&self, now: Time) -> Option<Time> {
        self.unit
            .lifecycle
            .timeout_start
            .map(|timeout| now + timeout)
    }

    /// `later`: phases of the stop that come after this one, for which time has to be left.
    pub(super) fn stop_deadline(&self, step: &Step<'_>, later: usize) -> Option<Time> {
        let phases = u32::try_from(later).unwrap_or(u32::MAX).saturating_add(1);
        let share = step.patience.map(|patience| patience / phases);
        [self.unit.lifecycle.timeout_stop, share]
            .into_iter()
            .flatten()
            .min()
            .map(|timeout| step.now + timeout)
    }

    /// The state of a service that has just become active.
    pub(super) fn activate(&mut self, step: &mut Step<'_>, main: Option<Main>) {
        self.cancel_probe(step);
        let lifecycle = &self.unit.lifecycle;
        let now = step.now;
        let watchdog = lifecycle.watchdog.filter(|_| main.is_some());
        let runtime = lifecycle.runtime_max.filter(|_| main.is_some());
        let health = self
            .unit
            .health
            .as_ref()
            .filter(|_| main.is_some())
            .map(|health| {
                let first = now + health.start_period.max(health.check.interval);
                HealthState {
                    next: HealthCheck::At(first),
                    failures: 0,
                }
            });
        let active = Active {
            main,
            since: now,
            watchdog: watchdog.map(|every| Watchdog {
                every,
                due: now + every,
            }),
            give_up_at: runtime.map(|runtime| now + runtime),
            health,
            is_frozen: false,
        };
        self.enter(step, State::Active(active));
    }

    fn reload(&mut self, step: &mut Step<'_>) {
        let State::Active(active) = &self.state else {
            return;
        };
        let active = active.clone();
        self.reload_failure = None;
        let give_up_at = self.start_deadline(step.now);
        if let Some(signal) = self.unit.lifecycle.reload_signal {
            step.actions.push(Action::Signal {
                id: self.id,
                whom: Whom::Main,
                signal,
            });
        }
        if self.unit.commands.reload.is_empty() {
            // A service that speaks the notify protocol says when it is done; any other is done.
            if self.unit.ready == units::unit::Ready::Notify && active.main.is_some() {
                self.enter(
                    step,
                    State::Reloading {
                        step: ReloadStep::Word,
                        active,
                        give_up_at,
                    },
                );
            }
            return;
        }
        let run = self.spawn(step, Role::Reload(0));
        let command = ReloadStep::Command { index: 0, run };
        self.enter(
            step,
            State::Reloading {
                step: command,
                active,
                give_up_at,
            },
        );
    }

    pub(super) fn reload_command_over(&mut self, step: &mut Step<'_>, active: Active, index: u16) {
        let next = index + 1;
        if usize::from(next) < self.unit.commands.reload.len() {
            let run = self.spawn(step, Role::Reload(next));
            let give_up_at = self.start_deadline(step.now);
            let command = ReloadStep::Command { index: next, run };
            self.stay(State::Reloading {
                step: command,
                active,
                give_up_at,
            });
        } else {
            self.enter(step, State::Active(active));
        }
    }

    fn notified(&mut self, step: &mut Step<'_>, notice: Notice) {
        match notice {
            // No change of the state: who asks for the status gets it.
            Notice::Status(text) => self.status_text = (!text.is_empty()).then_some(text),
            Notice::Ready => self.said_ready(step),
            Notice::Reloading => {
                if let State::Active(active) = self.state.clone()
                    && active.main.is_some()
                {
                    self.reload_failure = None;
                    let give_up_at = self.start_deadline(step.now);
                    let word = ReloadStep::Word;
                    self.enter(
                        step,
                        State::Reloading {
                            step: word,
                            active,
                            give_up_at,
                        },
                    );
                }
            }
            Notice::Stopping => self.stops_itself(step),
            Notice::ExtendTimeout(by) => self.extend(step.now + by),
            Notice::WatchdogPing => self.with_watchdog(|watchdog| {
                watchdog.due = step.now + watchdog.every;
            }),
            Notice::WatchdogTrigger => {
                if self.state.is_active() && self.state.main().is_some() {
                    self.abort(step, Failure::Watchdog);
                }
            }
            Notice::WatchdogInterval(every) => self.set_watchdog(step.now, every),
        }
    }

    pub(super) fn said_ready(&mut self, step: &mut Step<'_>) {
        match self.state.clone() {
            State::Launching {
                run, give_up_at, ..
            } => self.stay(State::Launching {
                run,
                give_up_at,
                said_ready: true,
            }),
            State::Starting {
                main,
                waiting: Waiting::Word,
                ..
            } => self.ready(step, main),
            State::Reloading {
                step: ReloadStep::Word,
                active,
                ..
            } => {
                self.enter(step, State::Active(active));
            }
            _ => {}
        }
    }

    fn with_watchdog(&mut self, change: impl FnOnce(&mut Watchdog)) {
        if let State::Active(active) | State::Reloading { active, .. } = &mut self.state
            && let Some(watchdog) = &mut active.watchdog
        {
            change(watchdog);
        }
    }

    fn set_watchdog(&mut self, now: Time, every: Duration) {
        if let State::Active(active) | State::Reloading { active, .. } = &mut self.state
            && active.main.is_some()
        {
            active.watchdog = (!every.is_zero()).then(|| Watchdog {
                every,
                due: now + every,
            });
        }
    }

    /// `EXTEND_TIMEOUT_USEC=`: the deadline in force moves out, never in.
    fn extend(&mut self, at_least: Time) {
        match &mut self.state {
            State::Preparing { give_up_at, .. }
            | State::Launching { give_up_at, .. }
            | State::Starting { give_up_at, .. }
            | State::Posting { give_up_at, .. }
            | State::Reloading { give_up_at, .. }
            | State::StopCommand { give_up_at, .. }
            | State::Stopping {
                give_up_at,
                ending: Ending::Asked | Ending::Own,
                ..
            }
            | State::StopPost { give_up_at, .. }
            | State::Active(Active { give_up_at, .. }) => {
                *give_up_at = give_up_at.map(|at| at.max(at_least));
            }
            State::Inactive(_)
            | State::Delayed { .. }
            | State::Checking { .. }
            | State::Idling { .. }
            | State::Stopping { .. }
            | State::Backoff { .. }
            | State::Failed(_) => {}
        }
    }

    fn probed(&mut self, step: &mut Step<'_>, run: RunId, result: Result<(), Arc<str>>) {
        match self.state.clone() {
            State::Starting {
                main,
                waiting: Waiting::Probing { run: asked, .. },
                give_up_at,
            } if asked == run => match result {
                Ok(()) => {
                    let waiting = Waiting::ProbeAt(step.now);
                    self.stay(State::Starting {
                        main,
                        waiting,
                        give_up_at,
                    });
                    self.ready(step, main);
                }
                Err(_) => {
                    let again = step.now + self.probe_interval();
                    let waiting = Waiting::ProbeAt(again);
                    self.stay(State::Starting {
                        main,
                        waiting,
                        give_up_at,
                    });
                }
            },
            State::Active(mut active) => {
                let goes_on = self.health_probed(step, &mut active, run, result);
                if goes_on {
                    self.stay(State::Active(active));
                }
            }
            State::Reloading {
                step: reload,
                mut active,
                give_up_at,
            } => {
                let goes_on = self.health_probed(step, &mut active, run, result);
                if goes_on {
                    self.stay(State::Reloading {
                        step: reload,
                        active,
                        give_up_at,
                    });
                }
            }
            _ => {}
        }
    }

    /// Returns whether the service goes on, with `active` to be kept.
    fn health_probed(
        &mut self,
        step: &mut Step<'_>,
        active: &mut Active,
        run: RunId,
        result: Result<(), Arc<str>>,
    ) -> bool {
        let unit = Arc::clone(&self.unit);
        let Some(health) = &unit.health else {
            return true;
        };
        let Some(state) = &mut active.health else {
            return true;
        };
        match state.next {
            HealthCheck::Running { run: asked, .. } if asked == run => {}
            HealthCheck::Running { .. } | HealthCheck::At(_) => return true,
        }
        state.next = HealthCheck::At(step.now + health.check.interval);
        let Err(why) = result else {
            if state.failures > 0 {
                self.tell(step, News::Health);
            }
            state.failures = 0;
            return true;
        };
        state.failures = state.failures.saturating_add(1);
        if state.failures < health.retries.max(1) {
            return true;
        }
        let is_news = state.failures == health.retries.max(1);
        let failure = Failure::Unhealthy(Arc::clone(&why));
        let then = match health.on_unhealthy {
            units::unit::OnUnhealthy::Report => {
                let news = match is_news {
                    true => News::Unhealthy(why),
                    false => News::Health,
                };
                self.tell(step, news);
                return true;
            }
            units::unit::OnUnhealthy::Stop => Then::Fail(failure),
            units::unit::OnUnhealthy::Restart => Then::Retry(failure),
        };
        let main = active.main;
        if let State::Active(kept) | State::Reloading { active: kept, .. } = &mut self.state {
            // Answered: there is no probe left to give up.
            kept.health = active.health;
        }
        self.terminate(step, main, then);
        false
    }

    fn out_of_memory(&mut self, step: &mut Step<'_>) {
        use units::unit::OomPolicy;
        // A late word about the last run says nothing of one that has no process yet.
        let may_run = match &self.state {
            State::Preparing { .. }
            | State::Launching { .. }
            | State::Starting { .. }
            | State::Posting { .. }
            | State::Active(_)
            | State::Reloading { .. } => true,
            State::Inactive(_)
            | State::Delayed { .. }
            | State::Checking { .. }
            | State::Idling { .. }
            | State::StopCommand { .. }
            | State::Stopping { .. }
            | State::StopPost { .. }
            | State::Backoff { .. }
            | State::Failed(_) => false,
        };
        if !may_run {
            return;
        }
        let then = policy::after_failure(&self.unit.lifecycle, Failure::OutOfMemory);
        let main = self.state.main();
        match self.unit.oom_policy {
            OomPolicy::Continue => {}
            OomPolicy::Stop => self.terminate(step, main, then),
            OomPolicy::Kill => self.kill(step, main, then),
        }
    }

    fn tick(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        match self.state.clone() {
            State::Delayed { until } if until <= now => self.check(step),
            State::Checking { give_up_at } if give_up_at <= now => {
                self.settle(
                    step,
                    Then::Fail(Failure::Timeout("looking at the conditions")),
                );
            }
            State::Idling { until, give_up_at } if until <= now || due(give_up_at) => {
                self.launch(step);
            }
            State::Preparing {
                stage, give_up_at, ..
            } if due(give_up_at) => {
                let what = match stage {
                    super::state::Stage::Condition => "command_condition",
                    super::state::Stage::Pre => "command_pre",
                };
                self.give_up(step, None, what);
            }
            State::Launching { give_up_at, .. } if due(give_up_at) => {
                self.give_up(step, None, "start");
            }
            State::Starting {
                main, give_up_at, ..
            } if due(give_up_at) => {
                self.give_up(step, main, "not ready");
            }
            State::Starting {
                main,
                waiting: Waiting::ProbeAt(at),
                give_up_at,
            } if at <= now => {
                self.probe_readiness(step, main, give_up_at);
            }
            State::Starting {
                waiting: Waiting::Probing { run, until },
                ..
            } if until <= now => {
                step.actions.push(Action::CancelProbe { id: self.id, run });
                self.probed(step, run, Err("no answer in time".into()));
            }
            State::Posting {
                main, give_up_at, ..
            } if due(give_up_at) => {
                self.give_up(step, main, "command_post");
            }
            State::Reloading {
                active, give_up_at, ..
            } if due(give_up_at) => {
                // The old configuration goes on serving; systemd does the same.
                self.reload_failure = Some("reload did not end in time".into());
                self.end_command(step);
                self.enter(step, State::Active(active));
            }
            State::Active(active) => self.active_tick(step, active),
            State::Reloading { active, .. } => self.active_tick(step, active),
            State::StopCommand {
                main,
                give_up_at,
                then,
                ..
            } if due(give_up_at) => {
                self.terminate(step, main, then);
            }
            State::Stopping {
                main,
                ending,
                give_up_at,
                then,
                ..
            } if due(give_up_at) => {
                self.stopping_overdue(step, main, ending, then);
            }
            State::StopPost {
                give_up_at, then, ..
            } if due(give_up_at) => {
                self.stop_post_over(step, then);
            }
            _ => {}
        }
    }

    fn active_tick(&mut self, step: &mut Step<'_>, active: Active) {
        let overdue = |watchdog: Watchdog| watchdog.due <= step.now;
        if active.watchdog.is_some_and(overdue) && !active.is_frozen {
            return self.abort(step, Failure::Watchdog);
        }
        if active.give_up_at.is_some_and(|at| at <= step.now) {
            return self.give_up(step, active.main, "runtime_max");
        }
        let Some(health) = active.health.filter(|_| !active.is_frozen) else {
            return;
        };
        let next = match health.next {
            HealthCheck::At(at) if at <= step.now => {
                let run = self.probe(step, Purpose::Health);
                let timeout = self.unit.health.as_ref().map(|h| h.check.timeout);
                let until = step.now + timeout.unwrap_or(Duration::from_secs(1));
                HealthCheck::Running { run, until }
            }
            HealthCheck::Running { run, until } if until <= step.now => {
                step.actions.push(Action::CancelProbe { id: self.id, run });
                return self.probed(step, run, Err("no answer in time".into()));
            }
            HealthCheck::At(_) | HealthCheck::Running { .. } => return,
        };
        if let State::Active(active) | State::Reloading { active, .. } = &mut self.state {
            active.health = Some(HealthState {
                next,
                failures: health.failures,
            });
        }
    }

    /// Something took too long, and the restart policy says what that means.
    pub(super) fn give_up(&mut self, step: &mut Step<'_>, main: Option<Main>, what: &'static str) {
        let failure = Failure::Timeout(what);
        let then = policy::after_failure(&self.unit.lifecycle, failure);
        self.terminate(step, main, then);
    }
}
