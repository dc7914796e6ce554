//! Commands of clients, and who waits for what to come of them.
#![forbid(unsafe_code)]

use std::sync::Arc;

use units::UnitName;
use units::unit::Ready;

use super::action::{Action, Answer};
use super::event::{Input, ServiceId, Ticket, Verb};
use super::set::{Job, Supervisor};
use super::state::{Rest, State};
use super::time::Time;

/// One client that waits for all of its targets.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    verb: Verb,
    targets: Vec<ServiceId>,
    failures: Vec<(UnitName, Arc<str>)>,
}

impl Supervisor {
    pub(super) fn command(&mut self, now: Time, ticket: Ticket, verb: Verb, names: &[UnitName]) {
        let mut targets = Vec::new();
        for name in names {
            match self.id(name) {
                Some(id) => targets.push(id),
                None => return self.refuse(ticket, format!("{name}: no such unit")),
            }
        }
        for id in &targets {
            if let Err(why) = self.may(verb, *id) {
                return self.refuse(ticket, format!("{}: {why}", self.name(*id)));
            }
        }
        for id in &targets {
            if let Err(why) = self.carry_out(now, verb, *id) {
                return self.refuse(ticket, format!("{}: {why}", self.name(*id)));
            }
        }
        debug_assert!(!self.ticket_known(ticket), "a ticket is used once");
        self.waiters.push(Waiter {
            ticket,
            verb,
            targets,
            failures: Vec::new(),
        });
    }

    fn refuse(&mut self, ticket: Ticket, why: String) {
        self.actions.push(Action::Answer {
            ticket,
            answer: Answer::Refused(why.into()),
        });
    }

    fn may(&self, verb: Verb, id: ServiceId) -> Result<(), Arc<str>> {
        let Some(entry) = self.entry(id) else {
            return Err("no such unit".into());
        };
        let unit = entry.service.unit();
        let state = entry.service.state();
        match verb {
            Verb::Start | Verb::Restart if self.shutting_down.is_some() => {
                Err("herd is shutting down".into())
            }
            Verb::Start | Verb::Restart if entry.gone => Err("its unit file is gone".into()),
            Verb::Start | Verb::Restart if unit.dependencies.refuse_manual_start => {
                Err("its unit refuses to be started by hand (refuse_manual_start)".into())
            }
            Verb::Stop | Verb::Restart if unit.dependencies.refuse_manual_stop => {
                Err("its unit refuses to be stopped by hand (refuse_manual_stop)".into())
            }
            Verb::Reload if !matches!(state, State::Active(_)) => {
                Err("cannot be reloaded: it is not active".into())
            }
            Verb::Reload
                if unit.commands.reload.is_empty()
                    && unit.lifecycle.reload_signal.is_none()
                    && unit.ready != Ready::Notify =>
            {
                Err("has no way to reload (reload_signal, command_reload); \
                     herd restart takes a new configuration"
                    .into())
            }
            Verb::Start | Verb::Stop | Verb::Restart | Verb::Reload | Verb::ResetFailed => Ok(()),
        }
    }

    fn carry_out(&mut self, now: Time, verb: Verb, id: ServiceId) -> Result<(), Arc<str>> {
        match verb {
            Verb::Start => self.want(id),
            Verb::Stop => {
                self.ask_to_stop(id, Rest::Stopped, false);
                Ok(())
            }
            Verb::Restart => {
                let resting = self
                    .entry(id)
                    .is_none_or(|e| e.service.state().is_at_rest());
                if resting {
                    return self.want(id);
                }
                self.ask_to_restart(id);
                if let Some(entry) = self.entry_mut(id) {
                    entry.wanted = true;
                }
                Ok(())
            }
            Verb::Reload => {
                self.apply(now, id, Input::Reload);
                Ok(())
            }
            Verb::ResetFailed => {
                self.step(now, id, super::service::Service::reset_failed);
                Ok(())
            }
        }
    }

    pub(super) fn answer_waiters(&mut self, now: Time) {
        if self.waiters.is_empty() {
            return;
        }
        let mut waiters = std::mem::take(&mut self.waiters);
        waiters.retain_mut(|waiter| {
            let verb = waiter.verb;
            let failures = &mut waiter.failures;
            waiter
                .targets
                .retain(|id| match self.outcome(now, verb, *id) {
                    None => true,
                    Some(Ok(())) => false,
                    Some(Err(why)) => {
                        failures.push((self.name(*id), why));
                        false
                    }
                });
            if !waiter.targets.is_empty() {
                return true;
            }
            let failures = std::mem::take(failures);
            let answer = if failures.is_empty() {
                Answer::Done
            } else {
                Answer::Failed(failures)
            };
            self.actions.push(Action::Answer {
                ticket: waiter.ticket,
                answer,
            });
            false
        });
        self.waiters = waiters;
    }

    /// What came of a command for one service; `None` while it is under way.
    fn outcome(&self, now: Time, verb: Verb, id: ServiceId) -> Option<Result<(), Arc<str>>> {
        let Some(entry) = self.entry(id) else {
            return Some(Ok(()));
        };
        let state = entry.service.state();
        match verb {
            Verb::ResetFailed => Some(Ok(())),
            Verb::Reload => match state {
                State::Reloading { .. } => None,
                State::Active(_) => match &entry.service.reload_failure {
                    Some(why) => Some(Err(Arc::clone(why))),
                    None => Some(Ok(())),
                },
                _ => Some(Err("ended while it was being reloaded".into())),
            },
            Verb::Stop => match state {
                State::Inactive(_) if entry.job.is_none() => Some(Ok(())),
                State::Failed(super::state::Failure::Unkillable) => {
                    Some(Err("processes remain that did not end in time".into()))
                }
                State::Failed(_) if entry.job.is_none() => Some(Ok(())),
                _ if matches!(entry.job, Some(Job::Stop(_))) || state.is_stopping() => None,
                // Upheld, or a later command had another wish.
                _ => Some(Err("it was started again".into())),
            },
            Verb::Start | Verb::Restart => match state {
                _ if entry.held && entry.job == Some(Job::Start) => {
                    let why = self.why(now, &entry.service.unit().name);
                    Some(Err(why.unwrap_or_default().into()))
                }
                _ if entry.job.is_some() => None,
                State::Active(_) | State::Reloading { .. } => Some(Ok(())),
                State::Inactive(Rest::Exited | Rest::Completed | Rest::Skipped(_)) => Some(Ok(())),
                State::Inactive(rest) => Some(Err(rest.to_string().into())),
                State::Failed(failure) => Some(Err(failure.to_string().into())),
                State::Backoff { until, failure } => {
                    let wait = super::explain::duration(until.since(now));
                    Some(Err(format!("{failure}; next try in {wait}").into()))
                }
                _ => None,
            },
        }
    }
}
