//! The way down: from the first sign of an end until nothing of the service is left.
#![forbid(unsafe_code)]

use units::Signal;
use units::unit::{KillMode, Kind};

use super::action::{Action, Role, Whom};
use super::ending::LAST_GRACE;
use super::event::{ExitStatus, RunId};
use super::policy;
use super::service::{Service, Step};
use super::state::{Ending, Failure, Main, ReloadStep, Rest, State, Then, Waiting};
use super::time::Time;

impl Service {
    /// A stop from outside. It ends at rest, whatever was planned before.
    pub(super) fn stop(&mut self, step: &mut Step<'_>, rest: Rest) {
        let then = Then::Rest(rest);
        match self.state.clone() {
            State::Inactive(_) | State::Failed(_) => {}
            State::Delayed { .. } | State::Checking { .. } | State::Backoff { .. } => {
                self.settle(step, then);
            }
            State::Idling { .. } => self.look_for_rest(step, then),
            State::Preparing { .. } | State::Launching { .. } => self.terminate(step, None, then),
            State::Starting { main, .. } | State::Posting { main, .. } => {
                self.terminate(step, main, then);
            }
            State::Active(active) | State::Reloading { active, .. } => {
                self.stop_command(step, 0, active.main, then);
            }
            State::StopCommand {
                index,
                run,
                main,
                give_up_at,
                ..
            } => {
                self.stay(State::StopCommand {
                    index,
                    run,
                    main,
                    give_up_at,
                    then,
                });
            }
            State::Stopping {
                main,
                launching,
                ending,
                give_up_at,
                then: planned,
            } => {
                let then = if planned == Then::Rest(Rest::Killed) {
                    planned
                } else {
                    then
                };
                // One that stops by itself is now stopping because it was told to.
                let ending = if ending == Ending::Own {
                    Ending::Asked
                } else {
                    ending
                };
                self.stay(State::Stopping {
                    main,
                    launching,
                    ending,
                    give_up_at,
                    then,
                });
            }
            State::StopPost {
                index,
                run,
                give_up_at,
                ..
            } => {
                self.stay(State::StopPost {
                    index,
                    run,
                    give_up_at,
                    then,
                });
            }
        }
    }

    /// `STOPPING=1`: no signal is needed, but there is a limit to the patience.
    pub(super) fn stops_itself(&mut self, step: &mut Step<'_>) {
        // A late word of a main process that has ended stops nothing.
        if let State::Active(active) | State::Reloading { active, .. } = self.state.clone()
            && active.main.is_some()
        {
            self.cancel_probe(step);
            let give_up_at = self.stop_deadline(step, self.unit.commands.stop_post.len() + 1);
            step.actions.push(Action::AwaitEmpty { id: self.id() });
            self.enter(
                step,
                State::Stopping {
                    main: active.main,
                    launching: None,
                    ending: Ending::Own,
                    give_up_at,
                    then: Then::Rest(Rest::Exited),
                },
            );
        }
    }

    fn stop_command(&mut self, step: &mut Step<'_>, index: u16, main: Option<Main>, then: Then) {
        if usize::from(index) < self.unit.commands.stop.len() {
            let run = self.spawn(step, Role::Stop(index));
            let commands = &self.unit.commands;
            let later = commands.stop.len() - usize::from(index) + commands.stop_post.len();
            let give_up_at = self.stop_deadline(step, later);
            self.enter(
                step,
                State::StopCommand {
                    index,
                    run,
                    main,
                    give_up_at,
                    then,
                },
            );
        } else if main.is_none() && index > 0 {
            self.look_for_rest(step, then);
        } else {
            self.terminate(step, main, then);
        }
    }

    /// A process of this service ended.
    pub(super) fn exited(&mut self, step: &mut Step<'_>, run: RunId, status: ExitStatus) {
        if self.state.main().is_some_and(|main| main.run == run) {
            return self.main_exited(step, status);
        }
        match self.state.clone() {
            State::Preparing {
                stage,
                index,
                run: asked,
                ..
            } if asked == run => {
                self.prepared(step, stage, index, status);
            }
            State::Launching { run: asked, .. } if asked == run => {
                self.last_exit = Some((status, step.now));
                self.fail(step, Failure::EndedEarly(status));
            }
            State::Posting {
                index,
                run: asked,
                main,
                ..
            } if asked == run => {
                let command = self.unit.commands.post.get(usize::from(index));
                if status == ExitStatus::Code(0) || command.is_some_and(|c| c.ignore_failure) {
                    self.post(step, main, index + 1);
                } else {
                    let failure = Failure::Command("command_post", status);
                    let then = policy::after_failure(&self.unit.lifecycle, failure);
                    self.terminate(step, main, then);
                }
            }
            State::Reloading {
                step: ReloadStep::Command { index, run: asked },
                active,
                ..
            } if asked == run => {
                let command = self.unit.commands.reload.get(usize::from(index));
                if status == ExitStatus::Code(0) || command.is_some_and(|c| c.ignore_failure) {
                    self.reload_command_over(step, active, index);
                } else {
                    self.reload_failure = Some(format!("command_reload: {status}").into());
                    self.enter(step, State::Active(active));
                }
            }
            State::StopCommand {
                index,
                run: asked,
                main,
                then,
                ..
            } if asked == run => {
                self.stop_command(step, index + 1, main, then);
            }
            State::StopPost {
                index,
                run: asked,
                then,
                ..
            } if asked == run => {
                self.stop_post(step, index + 1, then);
            }
            _ => {}
        }
    }

    fn main_exited(&mut self, step: &mut Step<'_>, status: ExitStatus) {
        self.last_exit = Some((status, step.now));
        let clean = status == ExitStatus::Code(0);
        let remains = self.unit.commands.remain_after_exit;
        match self.state.clone() {
            State::Starting {
                waiting: Waiting::End,
                ..
            } => match policy::after_exit(&self.unit.lifecycle, status, Rest::Completed) {
                Then::Rest(_) => self.ready(step, None),
                then @ (Then::Retry(_) | Then::Fail(_)) => self.look_for_rest(step, then),
            },
            State::Starting {
                waiting: Waiting::Fork,
                give_up_at,
                ..
            } if clean => {
                step.actions.push(Action::FindMain { id: self.id() });
                let waiting = Waiting::MainFound;
                self.stay(State::Starting {
                    main: None,
                    waiting,
                    give_up_at,
                });
            }
            State::Starting { .. } => {
                self.fail(step, Failure::EndedEarly(status));
            }
            State::Posting { .. } => {
                let then = policy::after_exit(&self.unit.lifecycle, status, Rest::Exited);
                self.look_for_rest(step, then);
            }
            State::Active(_) | State::Reloading { .. } => {
                // As in systemd, a clean end that is to remain counts before `restart`.
                if remains && policy::is_clean(&self.unit.lifecycle, status) {
                    return self.activate(step, None);
                }
                let then = policy::after_exit(&self.unit.lifecycle, status, Rest::Exited);
                self.look_for_rest(step, then);
            }
            State::StopCommand {
                index,
                run,
                give_up_at,
                then,
                ..
            } => {
                self.stay(State::StopCommand {
                    index,
                    run,
                    main: None,
                    give_up_at,
                    then,
                });
            }
            State::Stopping {
                ending,
                give_up_at,
                then,
                ..
            } => {
                let then = if ending == Ending::Own {
                    policy::after_exit(&self.unit.lifecycle, status, Rest::Exited)
                } else {
                    then
                };
                self.main_ended_while_stopping(step, ending, give_up_at, then);
            }
            _ => {}
        }
    }

    fn main_ended_while_stopping(
        &mut self,
        step: &mut Step<'_>,
        ending: Ending,
        give_up_at: Option<Time>,
        then: Then,
    ) {
        match self.unit.lifecycle.kill_mode {
            KillMode::Process | KillMode::None => self.processes_over(step, then),
            KillMode::Mixed if ending != Ending::Killed => self.kill(step, None, then),
            KillMode::Mixed | KillMode::ControlGroup => {
                self.stay(State::Stopping {
                    main: None,
                    launching: None,
                    ending,
                    give_up_at,
                    then,
                });
                // A child that was being forked when all were signalled has not heard it.
                if ending == Ending::Asked {
                    self.signal_for(step, ending);
                }
            }
        }
    }

    /// The main process is gone or never was. Others may remain: ask, and end them if so.
    pub(super) fn look_for_rest(&mut self, step: &mut Step<'_>, then: Then) {
        self.cancel_probe(step);
        match self.unit.lifecycle.kill_mode {
            KillMode::Process | KillMode::None => self.processes_over(step, then),
            KillMode::ControlGroup | KillMode::Mixed => {
                step.actions.push(Action::AwaitEmpty { id: self.id() });
                let give_up_at = self.stop_deadline(step, self.unit.commands.stop_post.len() + 1);
                let ending = Ending::Looking;
                self.enter(
                    step,
                    State::Stopping {
                        main: None,
                        launching: None,
                        ending,
                        give_up_at,
                        then,
                    },
                );
            }
        }
    }

    /// Sends the stop signal and waits until nothing is left.
    pub(super) fn terminate(&mut self, step: &mut Step<'_>, main: Option<Main>, then: Then) {
        self.cancel_probe(step);
        let mode = self.unit.lifecycle.kill_mode;
        if self.unit.kind == Kind::Target {
            return self.settle(step, then);
        }
        // A command on the way up is herd's own doing: it ends whatever the mode spares.
        let own = matches!(
            self.state,
            State::Preparing { .. } | State::Launching { .. }
        );
        if !own && (mode == KillMode::None || (mode == KillMode::Process && main.is_none())) {
            return self.processes_over(step, then);
        }
        if !own && mode == KillMode::Mixed && main.is_none() {
            // Nobody to ask: the rest is not asked in this mode.
            return self.look_for_rest(step, then);
        }
        if mode != KillMode::ControlGroup {
            self.end_command(step);
        }
        let launching = self.launching();
        let restarting = matches!(then, Then::Retry(_) | Then::Rest(Rest::Restarting));
        let lifecycle = &self.unit.lifecycle;
        let signal = match lifecycle.restart_kill_signal {
            Some(signal) if restarting => signal,
            _ => lifecycle.kill_signal,
        };
        let whom = if own { Whom::All } else { self.whom() };
        step.actions.push(Action::Signal {
            id: self.id(),
            whom,
            signal,
        });
        if self.unit.lifecycle.send_sighup {
            step.actions.push(Action::Signal {
                id: self.id(),
                whom,
                signal: Signal::HUP,
            });
        }
        let give_up_at = self.stop_deadline(step, self.unit.commands.stop_post.len());
        self.enter(
            step,
            State::Stopping {
                main,
                launching,
                ending: Ending::Asked,
                give_up_at,
                then,
            },
        );
        step.actions.push(Action::AwaitEmpty { id: self.id() });
    }

    /// The watchdog's way: SIGABRT first, so that there is a core to look at.
    pub(super) fn abort(&mut self, step: &mut Step<'_>, failure: Failure) {
        self.cancel_probe(step);
        let main = self.state.main();
        let then = policy::after_failure(&self.unit.lifecycle, failure);
        let signal = self.unit.lifecycle.watchdog_signal;
        self.signal(step, signal);
        let give_up_at = self
            .unit
            .lifecycle
            .timeout_abort
            .map(|timeout| step.now + timeout);
        self.enter(
            step,
            State::Stopping {
                main,
                launching: None,
                ending: Ending::Aborted,
                give_up_at,
                then,
            },
        );
        step.actions.push(Action::AwaitEmpty { id: self.id() });
    }

    pub(super) fn kill(&mut self, step: &mut Step<'_>, main: Option<Main>, then: Then) {
        self.cancel_probe(step);
        let signal = self.unit.lifecycle.final_kill_signal;
        let id = self.id();
        let spares = self.unit.lifecycle.kill_mode == KillMode::Process && main.is_some();
        if spares && then != Then::Rest(Rest::Killed) {
            let whom = Whom::Main;
            step.actions.push(Action::Signal { id, whom, signal });
            self.end_command(step);
        } else {
            step.actions.push(Action::KillAll { id, signal });
        }
        let launching = self.launching();
        // SIGKILL needs no patience, but a process in the kernel's hands may: the same time again,
        // and never for ever.
        let give_up_at = Some(match step.patience {
            Some(patience) => step.now + patience.max(LAST_GRACE),
            None => self
                .stop_deadline(step, 0)
                .unwrap_or(step.now + KILL_AT_MOST),
        });
        self.enter(
            step,
            State::Stopping {
                main,
                launching,
                ending: Ending::Killed,
                give_up_at,
                then,
            },
        );
        step.actions.push(Action::AwaitEmpty { id: self.id() });
    }

    /// A probe in flight is of no use to a service on its way down.
    pub(super) fn cancel_probe(&self, step: &mut Step<'_>) {
        use super::state::HealthCheck;
        let run = match &self.state {
            State::Starting {
                waiting: Waiting::Probing { run, .. },
                ..
            } => *run,
            State::Active(active) | State::Reloading { active, .. } => {
                match active.health.map(|health| health.next) {
                    Some(HealthCheck::Running { run, .. }) => run,
                    Some(HealthCheck::At(_)) | None => return,
                }
            }
            _ => return,
        };
        step.actions
            .push(Action::CancelProbe { id: self.id(), run });
    }

    /// The launch of the main process, while it is under way.
    fn launching(&self) -> Option<RunId> {
        match &self.state {
            State::Launching { run, .. } => Some(*run),
            State::Stopping { launching, .. } => *launching,
            _ => None,
        }
    }

    /// The command that runs beside the main process has lost its purpose.
    pub(super) fn end_command(&self, step: &mut Step<'_>) {
        if let Some(run) = self.state.command() {
            self.end_run(step, run);
        }
    }

    pub(super) fn end_run(&self, step: &mut Step<'_>, run: RunId) {
        step.actions.push(Action::Signal {
            id: self.id(),
            whom: Whom::Run(run),
            signal: Signal::KILL,
        });
    }

    fn whom(&self) -> Whom {
        match self.unit.lifecycle.kill_mode {
            KillMode::ControlGroup => Whom::All,
            KillMode::Mixed | KillMode::Process | KillMode::None => Whom::Main,
        }
    }

    fn signal(&self, step: &mut Step<'_>, signal: Signal) {
        let whom = self.whom();
        step.actions.push(Action::Signal {
            id: self.id(),
            whom,
            signal,
        });
    }

    /// What a process that appears during the stop has missed.
    pub(super) fn signal_for(&mut self, step: &mut Step<'_>, ending: Ending) {
        match ending {
            Ending::Looking | Ending::Own | Ending::Asked => {
                let signal = self.unit.lifecycle.kill_signal;
                self.signal(step, signal);
            }
            Ending::Aborted => self.signal(step, self.unit.lifecycle.watchdog_signal),
            Ending::Killed => {
                let signal = self.unit.lifecycle.final_kill_signal;
                step.actions.push(Action::KillAll {
                    id: self.id(),
                    signal,
                });
            }
        }
    }

    pub(super) fn remaining(&mut self, step: &mut Step<'_>) {
        if let State::Stopping {
            main,
            ending: Ending::Looking,
            then,
            ..
        } = self.state.clone()
        {
            if self.unit.lifecycle.kill_mode == KillMode::Mixed {
                self.kill(step, main, then);
            } else {
                self.terminate(step, main, then);
            }
        }
    }

    pub(super) fn emptied(&mut self, step: &mut Step<'_>) {
        if let State::Stopping { then, .. } = self.state.clone() {
            self.processes_over(step, then);
        }
    }

    pub(super) fn stopping_overdue(
        &mut self,
        step: &mut Step<'_>,
        main: Option<Main>,
        ending: Ending,
        then: Then,
    ) {
        match ending {
            Ending::Own => self.terminate(step, main, then),
            _ if ending != Ending::Killed && self.unit.lifecycle.send_sigkill => {
                self.kill(step, main, then);
            }
            Ending::Looking | Ending::Asked | Ending::Aborted | Ending::Killed => {
                self.settle(step, Then::Fail(Failure::Unkillable));
            }
        }
    }

    /// No process is left (or none is to be waited for).
    pub(super) fn processes_over(&mut self, step: &mut Step<'_>, then: Then) {
        self.end_command(step);
        if then == Then::Rest(Rest::Killed) {
            return self.settle(step, then);
        }
        self.stop_post(step, 0, then);
    }

    fn stop_post(&mut self, step: &mut Step<'_>, index: u16, then: Then) {
        if usize::from(index) < self.unit.commands.stop_post.len() {
            let run = self.spawn(step, Role::StopPost(index));
            let later = self.unit.commands.stop_post.len() - usize::from(index) - 1;
            let give_up_at = self.stop_deadline(step, later);
            self.enter(
                step,
                State::StopPost {
                    index,
                    run,
                    give_up_at,
                    then,
                },
            );
        } else if index > 0 {
            self.stop_post_over(step, then);
        } else {
            self.settle(step, then);
        }
    }

    /// The last command has ended or used up its time: nothing of it may stay behind.
    pub(super) fn stop_post_over(&mut self, step: &mut Step<'_>, then: Then) {
        match self.unit.lifecycle.kill_mode {
            KillMode::ControlGroup | KillMode::Mixed => step.actions.push(Action::KillAll {
                id: self.id(),
                signal: Signal::KILL,
            }),
            KillMode::Process | KillMode::None => self.end_command(step),
        }
        self.settle(step, then);
    }

    /// Comes to rest, or to the wait before the next try.
    pub(super) fn settle(&mut self, step: &mut Step<'_>, then: Then) {
        let id = self.id();
        match then {
            Then::Rest(rest) => {
                let again = rest == Rest::Restarting;
                step.actions.push(Action::Release { id, again });
                self.enter(step, State::Inactive(rest));
            }
            Then::Retry(failure) => {
                let lifecycle = &self.unit.lifecycle;
                if lifecycle
                    .max_retries
                    .is_some_and(|most| self.streak >= most)
                {
                    return self.settle(step, Then::Fail(failure));
                }
                let until = step.now + policy::delay(lifecycle, self.streak);
                step.actions.push(Action::Release { id, again: true });
                self.enter(step, State::Backoff { until, failure });
            }
            Then::Fail(failure) => {
                step.actions.push(Action::Release { id, again: false });
                self.enter(step, State::Failed(failure));
            }
        }
    }
}

impl Service {
    /// No more patience: everything is killed and nothing comes after.
    pub(super) fn kill_now(&mut self, step: &mut Step<'_>) {
        let then = Then::Rest(Rest::Killed);
        match self.state.clone() {
            State::Inactive(_) | State::Failed(_) => {}
            State::Delayed { .. }
            | State::Checking { .. }
            | State::Idling { .. }
            | State::Backoff { .. } => self.settle(step, then),
            State::StopPost { .. } => self.stop_post_over(step, then),
            state => self.kill(step, state.main(), then),
        }
    }

    /// It is upheld, and it rests: another try, never at once, so that a loop stays bounded.
    pub(super) fn uphold(&mut self, step: &mut Step<'_>, failure: Failure) {
        let wait = policy::delay(&self.unit.lifecycle, self.streak).max(UPHOLD_AT_LEAST);
        self.enter(
            step,
            State::Backoff {
                until: step.now + wait,
                failure,
            },
        );
    }
}

const UPHOLD_AT_LEAST: std::time::Duration = std::time::Duration::from_millis(100);
/// How long SIGKILL may take where the unit sets no limit.
const KILL_AT_MOST: std::time::Duration = std::time::Duration::from_secs(90);
