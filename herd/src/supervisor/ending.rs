//! How herd itself ends: because it is told to, because a unit says so, or because nothing is left to do; in
//! how much time; and with which code.
//!
//! An ordered stop with a limit shares the time out as it goes. When a service's turn comes it gets what is left,
//! divided by the number of services on the longest chain that has to stop after it, itself included. Who stops
//! quickly leaves more to the others; who does not is killed when its share is over, and what it needs is still asked.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use units::unit::{EmergencyAction, Kind};
use units::{Haste, Unit, UnitName};

use super::action::Action;
use super::event::{ExitStatus, ServiceId};
use super::service::{Service, Step};
use super::set::{Job, Supervisor};
use super::state::{Failure, Rest, State};
use super::time::Time;

/// What ends herd, beside being told to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndPolicy {
    /// The first of these that ends for good takes herd with it.
    pub with: BTreeSet<UnitName>,
    /// herd ends once no service runs or will be started again by itself.
    pub when_done: bool,
    /// How long an ordered stop may take before everything left is killed.
    pub stop_within: Option<Duration>,
}

/// Where the end of herd stands.
#[derive(Debug, Default)]
pub(super) struct Ending {
    pub(super) policy: EndPolicy,
    /// When an ordered stop has used up its time; `None` once it is over.
    pub(super) end_by: Option<Time>,
    /// Services on the longest chain that stops from each one on.
    chains: HashMap<ServiceId, u32>,
    /// Something came to rest, so that nothing may be left to do.
    pub(super) may_be_done: bool,
    /// Seen to be alive when that was last asked: most likely it still is.
    alive: Option<ServiceId>,
    /// An enabled unit is in error, and never was anything else.
    pub(super) has_broken: bool,
}

/// What SIGKILL gets at the end of an ordered stop that has a limit.
pub(super) const LAST_GRACE: Duration = Duration::from_secs(1);

/// Codes for ends that are not a program's own, as shells and container engines have them.
const TIMED_OUT: u8 = 124;
/// The program could not be started for another reason than those below.
pub const NOT_STARTED: u8 = 125;
pub const CANNOT_EXECUTE: u8 = 126;
pub const NO_SUCH_PROGRAM: u8 = 127;

impl Supervisor {
    /// A supervisor that ends by this policy.
    pub fn ending(policy: EndPolicy) -> Self {
        let mut new = Self::new();
        new.ending.policy = policy;
        new
    }

    /// Something is on its way up, or waits for its turn.
    pub fn is_starting(&self) -> bool {
        self.entries.iter().flatten().any(|entry| {
            let waits = matches!(entry.job, Some(Job::Start | Job::Restart)) && !entry.held;
            waits || entry.service.state().is_starting()
        })
    }

    pub(super) fn shut_down(&mut self, now: Time, code: u8) {
        if self.shutting_down.is_none()
            && let Some(within) = self.ending.policy.stop_within
        {
            self.ending.end_by = Some(now + within);
            self.ending.chains = self.chains();
        }
        self.shutting_down.get_or_insert(code);
        for id in self.ids() {
            let Some(entry) = self.entry_mut(id) else {
                continue;
            };
            entry.wanted = false;
            let state = entry.service.state();
            let (resting, stopping) = (state.is_at_rest(), state.is_stopping());
            entry.job = (!resting).then_some(Job::Stop(Rest::Stopped));
            if stopping && self.ending.end_by.is_some() {
                self.step(now, id, Service::hurry);
            }
            self.touch(id);
        }
    }

    pub(super) fn kill_everything(&mut self, now: Time) {
        self.shutting_down.get_or_insert(0);
        self.ending.end_by = None;
        for id in self.ids() {
            if let Some(entry) = self.entry_mut(id) {
                entry.wanted = false;
                entry.job = None;
            }
            self.step(now, id, Service::kill_now);
        }
    }

    /// How long this service may take to stop; `None` is as long as its unit says.
    pub(super) fn patience(&self, now: Time, id: ServiceId) -> Option<Duration> {
        if self.shutting_down.is_none() || self.ending.policy.stop_within.is_none() {
            return None;
        }
        let Some(end_by) = self.ending.end_by else {
            return Some(LAST_GRACE);
        };
        let chain = self.ending.chains.get(&id).copied().unwrap_or(1).max(1);
        Some(end_by.since(now) / chain)
    }

    /// Walked from the services that stop last: a long chain costs no recursion.
    fn chains(&self) -> HashMap<ServiceId, u32> {
        let up = |id: &ServiceId| {
            self.entry(*id)
                .is_some_and(|entry| !entry.service.state().is_at_rest())
        };
        let mut waits: HashMap<ServiceId, usize> = HashMap::new();
        for id in self.ids().into_iter().filter(up) {
            waits.insert(
                id,
                self.ties(id).predecessors.iter().filter(|o| up(o)).count(),
            );
        }
        let ready = |(id, count): (&ServiceId, &usize)| (*count == 0).then_some(*id);
        let mut todo: VecDeque<ServiceId> = waits.iter().filter_map(ready).collect();
        let mut chains: HashMap<ServiceId, u32> = todo.iter().map(|id| (*id, 1)).collect();
        while let Some(id) = todo.pop_front() {
            let length = chains.get(&id).copied().unwrap_or(1);
            for other in &self.ties(id).successors {
                let Some(count) = waits.get_mut(other) else {
                    continue;
                };
                let longest = chains.entry(*other).or_insert(1);
                *longest = (*longest).max(length.saturating_add(1));
                *count = count.saturating_sub(1);
                if *count == 0 {
                    todo.push_back(*other);
                }
            }
        }
        chains
    }

    pub(super) fn carry_out_emergency(
        &mut self,
        now: Time,
        id: ServiceId,
        action: EmergencyAction,
    ) {
        let code = self.entry(id).map_or(1, |entry| exit_code(&entry.service));
        match action {
            EmergencyAction::None => {}
            EmergencyAction::Exit => self.shut_down(now, code),
            EmergencyAction::ExitForce => {
                self.shutting_down.get_or_insert(code);
                self.kill_everything(now);
            }
            EmergencyAction::Power(power, haste) => {
                self.actions.push(Action::Power { id, power, haste });
                self.shut_down(now, code);
                if haste != Haste::InOrder {
                    self.kill_everything(now);
                }
            }
        }
    }

    pub(super) fn emergency(
        &self,
        id: ServiceId,
        which: impl Fn(&Unit) -> EmergencyAction,
    ) -> EmergencyAction {
        self.entry(id)
            .map_or(EmergencyAction::None, |entry| which(entry.service.unit()))
    }

    /// One of the units whose end is herd's has come to rest by itself, and nothing starts it again.
    pub(super) fn end_with(&mut self, now: Time, id: ServiceId) {
        self.ending.may_be_done = true;
        if self.ending.policy.with.is_empty() || self.shutting_down.is_some() {
            return;
        }
        let Some(entry) = self.entry(id) else { return };
        let is_over = entry.job.is_none() && ended_by_itself(entry.service.state());
        if is_over && self.ending.policy.with.contains(&entry.service.unit().name) {
            let code = exit_code(&entry.service);
            self.actions.push(Action::Ending {
                because_of: Some(id),
            });
            self.shut_down(now, code);
        }
    }

    /// Nothing runs, nothing waits for its next try or its turn, and nothing was stopped by hand, to be started
    /// again by hand.
    pub(super) fn end_when_done(&mut self, now: Time) {
        if !std::mem::take(&mut self.ending.may_be_done)
            || !self.ending.policy.when_done
            || self.shutting_down.is_some()
            || self.ending.alive.is_some_and(|id| self.keeps_herd(id))
        {
            return;
        }
        self.ending.alive = self.ids().into_iter().find(|id| self.keeps_herd(*id));
        if self.ending.alive.is_some() {
            return;
        }
        let services = || self.entries.iter().flatten().map(|entry| &entry.service);
        let was_anything = services().any(|service| {
            let never = matches!(service.state(), State::Inactive(Rest::NeverStarted));
            !never && service.unit().kind != Kind::Target
        });
        // The one that failed first is most likely why the others did.
        let failed = services().filter(|service| matches!(service.state(), State::Failed(_)));
        let code = match failed.min_by_key(|service| service.since()) {
            Some(service) => exit_code(service),
            // Whoever started herd to run something would take 0 for its success.
            None => u8::from(self.ending.has_broken || !was_anything),
        };
        self.actions.push(Action::Ending { because_of: None });
        self.shut_down(now, code);
    }

    fn keeps_herd(&self, id: ServiceId) -> bool {
        let Some(entry) = self.entry(id) else {
            return false;
        };
        let unit = entry.service.unit();
        // A target and a oneshot that remains are active without a process.
        let is_a_word = unit.kind == Kind::Target || unit.commands.oneshot;
        entry.job.is_some()
            || match entry.service.state() {
                State::Active(active) => active.main.is_some() || !is_a_word,
                State::Inactive(Rest::Stopped) => true,
                state => !state.is_at_rest(),
            }
    }
}

fn ended_by_itself(state: &State) -> bool {
    matches!(
        state,
        State::Failed(_) | State::Inactive(Rest::Exited | Rest::Completed | Rest::Skipped(_))
    )
}

/// What herd ends with when it ends because of this service: the service's own code, 128 and the number for a
/// signal, and never 0 for a failure.
pub(super) fn exit_code(service: &Service) -> u8 {
    let of = |status: ExitStatus| match status {
        ExitStatus::Code(code) => code,
        ExitStatus::Signal { signal, .. } => u8::try_from(128 + signal.as_number()).unwrap_or(255),
        ExitStatus::Unknown => 1,
    };
    let last = || service.last_exit.map_or(0, |(status, _)| of(status));
    let State::Failed(failure) = service.state() else {
        return match service.state() {
            State::Inactive(Rest::Skipped(_)) => 0,
            _ => last(),
        };
    };
    let code = match failure {
        Failure::Exit(status) | Failure::EndedEarly(status) | Failure::Command(_, status) => {
            of(*status)
        }
        Failure::Launch(_) => service.launch_code,
        Failure::Assert(_) | Failure::Dependency(_) | Failure::Missing(_) | Failure::Cycle(_) => {
            NOT_STARTED
        }
        Failure::Timeout(_) => TIMED_OUT,
        Failure::OutOfMemory => 137,
        Failure::Watchdog
        | Failure::Unhealthy(_)
        | Failure::NoMain(_)
        | Failure::StartLimit
        | Failure::Unkillable => last(),
    };
    code.max(1)
}

impl Service {
    /// One that was already on its way down has to make do with its share of what is left.
    fn hurry(&mut self, step: &mut Step<'_>) {
        let Some(patience) = step.patience else {
            return;
        };
        let latest = step.now + patience;
        let mut state = self.state.clone();
        if let State::StopCommand { give_up_at, .. }
        | State::Stopping { give_up_at, .. }
        | State::StopPost { give_up_at, .. } = &mut state
        {
            *give_up_at = Some(give_up_at.map_or(latest, |at| at.min(latest)));
            self.stay(state);
        }
    }
}
