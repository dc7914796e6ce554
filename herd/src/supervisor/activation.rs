//! The way up: from the word to start until the service is active.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use units::unit::{Kind, Ready};

use super::action::{Action, Purpose, Role};
use super::event::{CheckResult, ExitStatus, Pid, RunId};
use super::policy;
use super::service::{Service, Step};
use super::state::{Failure, Main, Rest, Stage, State, Then, Waiting};

/// `ready = "idle"` waits so long for the others at most, as systemd's `Type=idle` does.
const IDLE_AT_MOST: Duration = Duration::from_secs(5);
/// Looking at conditions is a few file system calls; a hung file system must not hang the service.
const CHECK_AT_MOST: Duration = Duration::from_secs(30);

impl Service {
    /// The set says that order and requirements are met.
    pub(super) fn begin(&mut self, step: &mut Step<'_>) {
        let again = match &self.state {
            State::Inactive(_) | State::Failed(_) => false,
            State::Backoff { .. } => true,
            _ => return,
        };
        if let Some(unit) = self.next_unit.take() {
            self.unit = unit;
        }
        if self.unit.kind == Kind::Target {
            return self.activate(step, None);
        }
        if let Some(limit) = self.unit.lifecycle.start_limit
            && !self.starts.get_or_insert_default().admit(limit, step.now)
        {
            return self.settle(step, Then::Fail(Failure::StartLimit));
        }
        self.status_text = None;
        if again {
            self.streak = self.streak.saturating_add(1);
            self.restarts = self.restarts.saturating_add(1);
            return self.check(step);
        }
        self.streak = 0;
        let delay = self.unit.lifecycle.start_delay;
        if delay.is_zero() {
            self.check(step);
        } else {
            self.enter(
                step,
                State::Delayed {
                    until: step.now + delay,
                },
            );
        }
    }

    pub(super) fn check(&mut self, step: &mut Step<'_>) {
        let mounts = !self.unit.dependencies.requires_mounts_for.is_empty();
        if self.unit.condition.is_some() || self.unit.assert.is_some() || mounts {
            step.actions.push(Action::Check { id: self.id() });
            self.enter(
                step,
                State::Checking {
                    give_up_at: step.now + CHECK_AT_MOST,
                },
            );
        } else {
            self.prepare(step, Stage::Condition, 0);
        }
    }

    pub(super) fn checked(&mut self, step: &mut Step<'_>, result: CheckResult) {
        if !matches!(self.state, State::Checking { .. }) {
            return;
        }
        match result {
            CheckResult::Met => self.prepare(step, Stage::Condition, 0),
            CheckResult::Skip(why) => self.settle(step, Then::Rest(Rest::Skipped(why))),
            CheckResult::AssertFailed(why) => {
                self.settle(step, Then::Fail(Failure::Assert(why)));
            }
        }
    }

    /// Runs command `index` of a stage, or goes on to what follows the stage.
    fn prepare(&mut self, step: &mut Step<'_>, stage: Stage, index: u16) {
        let commands = &self.unit.commands;
        let (count, role) = match stage {
            Stage::Condition => (commands.condition.len(), Role::Condition(index)),
            Stage::Pre => (commands.pre.len(), Role::Pre(index)),
        };
        if usize::from(index) < count {
            let run = self.spawn(step, role);
            let give_up_at = self.start_deadline(step.now);
            return self.enter(
                step,
                State::Preparing {
                    stage,
                    index,
                    run,
                    give_up_at,
                },
            );
        }
        match stage {
            Stage::Condition => self.prepare(step, Stage::Pre, 0),
            Stage::Pre if self.unit.ready == Ready::Idle => {
                let give_up_at = self.start_deadline(step.now);
                self.enter(
                    step,
                    State::Idling {
                        until: step.now + IDLE_AT_MOST,
                        give_up_at,
                    },
                );
            }
            Stage::Pre => self.launch(step),
        }
    }

    /// A condition or pre command has ended.
    pub(super) fn prepared(
        &mut self,
        step: &mut Step<'_>,
        stage: Stage,
        index: u16,
        status: ExitStatus,
    ) {
        let commands = match stage {
            Stage::Condition => &self.unit.commands.condition,
            Stage::Pre => &self.unit.commands.pre,
        };
        let forgiven = commands
            .get(usize::from(index))
            .is_some_and(|c| c.ignore_failure);
        match (stage, status) {
            (_, ExitStatus::Code(0)) => self.prepare(step, stage, index + 1),
            _ if forgiven => self.prepare(step, stage, index + 1),
            (Stage::Condition, ExitStatus::Code(code @ 1..=254)) => {
                let why = format!("command_condition said exit {code}");
                self.look_for_rest(step, Then::Rest(Rest::Skipped(why.into())));
            }
            (Stage::Condition, _) => {
                self.fail(step, Failure::Command("command_condition", status));
            }
            (Stage::Pre, _) => self.fail(step, Failure::Command("command_pre", status)),
        }
    }

    pub(super) fn idle_over(&mut self, step: &mut Step<'_>) {
        if matches!(self.state, State::Idling { .. }) {
            self.launch(step);
        }
    }

    pub(super) fn launch(&mut self, step: &mut Step<'_>) {
        if self.unit.commands.main.is_none() {
            // A oneshot of pre commands only has done its work.
            return self.ready(step, None);
        }
        let run = self.spawn(step, Role::Main);
        let give_up_at = self.start_deadline(step.now);
        self.enter(
            step,
            State::Launching {
                run,
                give_up_at,
                said_ready: false,
            },
        );
    }

    pub(super) fn spawned(&mut self, step: &mut Step<'_>, run: RunId, pid: Pid) {
        match self.state.clone() {
            State::Launching {
                run: asked,
                give_up_at,
                said_ready,
            } if asked == run => {
                let main = Main { run, pid };
                self.launched(step, main, give_up_at);
                if said_ready {
                    self.said_ready(step);
                }
            }
            // The stop overtook the launch: the newcomer hears it too.
            State::Stopping {
                launching: Some(asked),
                ending,
                give_up_at,
                then,
                ..
            } if asked == run => {
                self.stay(State::Stopping {
                    main: Some(Main { run, pid }),
                    launching: None,
                    ending,
                    give_up_at,
                    then,
                });
                self.signal_for(step, ending);
            }
            state if state.command() == Some(run) => {}
            state if state.main().is_some_and(|main| main.run == run) => {}
            // Nobody waits for this process any more.
            _ => self.end_run(step, run),
        }
    }

    fn launched(&mut self, step: &mut Step<'_>, main: Main, give_up_at: Option<super::time::Time>) {
        let waiting = match &self.unit.ready {
            _ if self.unit.commands.oneshot => Waiting::End,
            Ready::Exec | Ready::Idle => return self.ready(step, Some(main)),
            Ready::Notify | Ready::Fd(_) => Waiting::Word,
            Ready::Forking { .. } => Waiting::Fork,
            Ready::Probe(_) => Waiting::ProbeAt(step.now),
        };
        self.enter(
            step,
            State::Starting {
                main: Some(main),
                waiting,
                give_up_at,
            },
        );
        if matches!(waiting, Waiting::ProbeAt(_)) {
            self.probe_readiness(step, Some(main), give_up_at);
        }
    }

    pub(super) fn probe_interval(&self) -> Duration {
        match &self.unit.ready {
            Ready::Probe(probe) => probe.interval,
            Ready::Exec | Ready::Notify | Ready::Fd(_) | Ready::Forking { .. } | Ready::Idle => {
                Duration::from_secs(1)
            }
        }
    }

    pub(super) fn probe_readiness(
        &mut self,
        step: &mut Step<'_>,
        main: Option<Main>,
        give_up_at: Option<super::time::Time>,
    ) {
        let Ready::Probe(probe) = &self.unit.ready else {
            return;
        };
        let until = step.now + probe.timeout;
        let run = self.probe(step, Purpose::Readiness);
        let waiting = Waiting::Probing { run, until };
        self.stay(State::Starting {
            main,
            waiting,
            give_up_at,
        });
    }

    pub(super) fn spawn_failed(&mut self, step: &mut Step<'_>, run: RunId, why: Arc<str>) {
        let failure = Failure::Launch(why);
        match self.state.clone() {
            State::Preparing {
                run: asked,
                stage,
                index,
                ..
            } if asked == run => {
                let commands = match stage {
                    Stage::Condition => &self.unit.commands.condition,
                    Stage::Pre => &self.unit.commands.pre,
                };
                if commands
                    .get(usize::from(index))
                    .is_some_and(|c| c.ignore_failure)
                {
                    self.prepare(step, stage, index + 1);
                } else {
                    self.fail(step, failure);
                }
            }
            State::Launching { run: asked, .. } if asked == run => self.fail(step, failure),
            State::Stopping {
                main,
                launching: Some(asked),
                ending,
                give_up_at,
                then,
            } if asked == run => {
                self.stay(State::Stopping {
                    main,
                    launching: None,
                    ending,
                    give_up_at,
                    then,
                });
            }
            // The other commands: as if they had ended with an error.
            _ => self.exited(step, run, ExitStatus::Unknown),
        }
    }

    /// What the dependants wait for has come.
    pub(super) fn ready(&mut self, step: &mut Step<'_>, main: Option<Main>) {
        self.post(step, main, 0);
    }

    pub(super) fn post(&mut self, step: &mut Step<'_>, main: Option<Main>, index: u16) {
        if usize::from(index) < self.unit.commands.post.len() {
            let run = self.spawn(step, Role::Post(index));
            let give_up_at = self.start_deadline(step.now);
            return self.enter(
                step,
                State::Posting {
                    index,
                    run,
                    main,
                    give_up_at,
                },
            );
        }
        let commands = &self.unit.commands;
        if main.is_none() && commands.oneshot && !commands.remain_after_exit {
            self.look_for_rest(step, Then::Rest(Rest::Completed));
        } else {
            self.activate(step, main);
        }
    }

    pub(super) fn main_moved(&mut self, step: &mut Step<'_>, to: Main) {
        match &mut self.state {
            State::Starting {
                main,
                waiting: Waiting::MainFound,
                ..
            } => {
                *main = Some(to);
                self.ready(step, Some(to));
            }
            State::Starting { main, .. }
            | State::Posting { main, .. }
            | State::StopCommand { main, .. }
            | State::Stopping { main, .. } => *main = Some(to),
            State::Active(active) | State::Reloading { active, .. } => active.main = Some(to),
            State::Inactive(_)
            | State::Delayed { .. }
            | State::Checking { .. }
            | State::Preparing { .. }
            | State::Idling { .. }
            | State::Launching { .. }
            | State::StopPost { .. }
            | State::Backoff { .. }
            | State::Failed(_) => {}
        }
    }

    pub(super) fn main_missing(&mut self, step: &mut Step<'_>, why: Arc<str>) {
        if matches!(
            self.state,
            State::Starting {
                waiting: Waiting::MainFound,
                ..
            }
        ) {
            self.fail(step, Failure::NoMain(why));
        }
    }

    /// The start did not work out; what is left of it is ended, then the policy has its say.
    pub(super) fn fail(&mut self, step: &mut Step<'_>, failure: Failure) {
        let then = policy::after_failure(&self.unit.lifecycle, failure);
        self.look_for_rest(step, then);
    }
}
