//! Why a service is in its state, in a sentence.
#![forbid(unsafe_code)]

use std::time::Duration;

use units::UnitName;

use super::event::ServiceId;
use super::service::Service;
use super::set::{Job, Supervisor};
use super::state::{Ending, ReloadStep, Rest, Stage, State, Then, Waiting};
use super::time::Time;

impl Supervisor {
    /// `web waits for postgres, which is in backoff after exit 1; next try in 3 s`.
    pub fn why(&self, now: Time, name: &UnitName) -> Option<String> {
        let id = self.id(name)?;
        let entry = self.entry(id)?;
        let service = &entry.service;
        let mut text = match &entry.job {
            Some(Job::Start) => match self.holder(id) {
                Some(holder) => {
                    let holder = self.entry(holder)?;
                    let other = holder.service.unit().name.clone();
                    format!(
                        "{name} waits for {other}, which {}",
                        clause(now, &holder.service)
                    )
                }
                None => format!("{name} is about to start; it {}", clause(now, service)),
            },
            Some(Job::Stop(_)) => match self.stop_holder(id) {
                Some(other) => format!("{name} stops after {other}, which is still stopping"),
                None => format!("{name} is about to stop"),
            },
            Some(Job::Restart) => format!("{name} is about to restart"),
            None => format!("{name} {}", clause(now, service)),
        };
        if service.next_unit.is_some() {
            text.push_str(
                "; it runs an older definition than its file (herd restart takes the new)",
            );
        }
        if entry.broken {
            text.push_str("; its file is broken now, the last good definition stays");
        }
        Some(text)
    }

    /// Whether a job waits for its turn, for status.
    pub fn is_waiting(&self, id: ServiceId) -> bool {
        self.entry(id).is_some_and(|entry| entry.job.is_some())
    }

    pub fn is_enabled(&self, id: ServiceId) -> bool {
        self.entry(id).is_some_and(|entry| entry.enabled)
    }

    pub fn is_broken(&self, id: ServiceId) -> bool {
        self.entry(id).is_some_and(|entry| entry.broken)
    }

    /// Whether the service is down, or on its way, because somebody asked for that: itself or what it needs was
    /// stopped, or its failure forgotten. Never while herd itself ends.
    pub fn is_stopped_by_hand(&self, id: ServiceId) -> bool {
        let Some(entry) = self.entry(id).filter(|_| !self.is_shutting_down()) else {
            return false;
        };
        match (&entry.job, entry.service.state()) {
            (Some(Job::Stop(rest)), _) => *rest == Rest::Stopped,
            (Some(Job::Start | Job::Restart), _) => false,
            (None, State::Inactive(rest)) => *rest == Rest::Stopped,
            (
                None,
                State::StopCommand { then, .. }
                | State::Stopping { then, .. }
                | State::StopPost { then, .. },
            ) => *then == Then::Rest(Rest::Stopped),
            (None, _) => false,
        }
    }

    /// The first of those a start waits for, at the end of the chain of waits.
    fn holder(&self, id: ServiceId) -> Option<ServiceId> {
        let mut at = id;
        let mut found = None;
        for _ in 0..self.entries.len() {
            let ties = self.ties(at);
            let busy = |other: &&ServiceId| {
                self.entry(**other).is_some_and(|entry| {
                    let state = entry.service.state();
                    entry.job.is_some()
                        || state.is_starting()
                        || state.is_stopping()
                        || (matches!(state, State::Backoff { .. }) && ties.needs.contains(*other))
                })
            };
            let stops = |other: &&ServiceId| {
                self.entry(**other).is_some_and(|entry| {
                    entry.service.state().is_stopping() || matches!(entry.job, Some(Job::Stop(_)))
                })
            };
            let next = ties.predecessors.iter().find(busy).or_else(|| {
                ties.successors
                    .iter()
                    .find(stops)
                    .or_else(|| ties.conflicts.iter().find(stops))
            });
            match next {
                Some(next) if Some(*next) != found && *next != id => {
                    found = Some(*next);
                    if self.entry(*next).is_some_and(|entry| entry.job.is_none()) {
                        return found;
                    }
                    at = *next;
                }
                _ => return found,
            }
        }
        found
    }

    fn stop_holder(&self, id: ServiceId) -> Option<UnitName> {
        let found = self.ties(id).successors.iter().find(|other| {
            self.entry(**other)
                .is_some_and(|entry| !entry.service.state().is_at_rest())
        });
        found.map(|other| self.name(*other))
    }
}

/// The state as the predicate of a sentence whose subject is the service.
fn clause(now: Time, service: &Service) -> String {
    let since = duration(now.since(service.since));
    match service.state() {
        State::Inactive(rest) => format!("is inactive: {rest}"),
        State::Delayed { until } => {
            format!(
                "is delayed by start_delay for another {}",
                duration(until.since(now))
            )
        }
        State::Checking { .. } => "is having its conditions looked at".into(),
        State::Preparing {
            stage: Stage::Condition,
            ..
        } => "runs command_condition".into(),
        State::Preparing {
            stage: Stage::Pre, ..
        } => format!("runs command_pre (for {since})"),
        State::Idling { .. } => "lets the others start first (ready = \"idle\")".into(),
        State::Launching { .. } => "is being launched".into(),
        State::Starting {
            waiting,
            give_up_at,
            ..
        } => {
            let what = match waiting {
                Waiting::Word => "has not said that it is ready",
                Waiting::End => "has not ended yet",
                Waiting::Fork => "has not gone to the background",
                Waiting::MainFound => "has its main process looked for",
                Waiting::ProbeAt(_) | Waiting::Probing { .. } => "does not answer its probe yet",
            };
            let limit = give_up_at.map_or_else(String::new, |at| {
                format!("; herd gives up in {}", duration(at.since(now)))
            });
            format!("is starting and {what}{limit}")
        }
        State::Posting { .. } => "runs command_post".into(),
        State::Active(active) => match active.main {
            Some(main) => format!("has been active for {since}, as process {}", main.pid.0),
            None => format!("has been active for {since}"),
        },
        State::Reloading {
            step: ReloadStep::Command { .. },
            ..
        } => "runs command_reload".into(),
        State::Reloading {
            step: ReloadStep::Word,
            ..
        } => "is reloading and has not said that it is done".into(),
        State::StopCommand { .. } => "runs command_stop".into(),
        State::Stopping {
            ending, give_up_at, ..
        } => {
            let limit = give_up_at.map_or_else(String::new, |at| {
                let what = match ending {
                    Ending::Killed => "is given up",
                    Ending::Looking | Ending::Own | Ending::Asked | Ending::Aborted => "is killed",
                };
                format!("; it {what} in {}", duration(at.since(now)))
            });
            format!("is stopping for {since}{limit}")
        }
        State::StopPost { .. } => "runs command_stop_post".into(),
        State::Backoff { until, failure } => {
            format!(
                "is in backoff after {failure}; next try in {}",
                duration(until.since(now))
            )
        }
        State::Failed(failure) => format!("failed {since} ago: {failure}"),
    }
}

/// `3 s`, `2 min 5 s`, `120 ms`: as precise as a person needs it.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_micros().div_ceil(1_000)),
        1..=59 => format!("{seconds} s"),
        60..=3_599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}
