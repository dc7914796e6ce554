//! What a oneshot that remains stands for, a mounted file system or swap in use, can be done and undone by others.
//!
//! The unit follows what is: done, it is active without having run anything; undone, it rests without its stop
//! commands, and what needs it stops, to come back with it.
#![forbid(unsafe_code)]

use super::event::ServiceId;
use super::service::{Service, Step};
use super::set::{Job, Supervisor};
use super::state::{Rest, State, Then};
use super::time::Time;

impl Supervisor {
    /// What the unit would do is done, in no order and beside whatever it conflicts with. One that is on its way up or
    /// down goes on with that.
    pub(super) fn done_elsewhere(&mut self, now: Time, id: ServiceId) {
        if self.is_shutting_down() {
            return;
        }
        let Some(entry) = self.entry_mut(id) else {
            return;
        };
        let state = entry.service.state();
        let waits = state.is_at_rest() || matches!(state, State::Backoff { .. });
        let is_to_stop = matches!(entry.job, Some(Job::Stop(_) | Job::Restart));
        if let State::Stopping {
            then: Then::Rest(Rest::Undone),
            ..
        } = state
        {
            // A process of it (fuse) outlived its end: once that is gone, the start finds what is there already.
            entry.wanted = true;
            entry.job = Some(Job::Start);
            return self.touch(id);
        }
        if !waits || is_to_stop || !entry.service.stands_for_something() {
            return;
        }
        entry.wanted = true;
        entry.job = None;
        self.step(now, id, Service::found_done);
    }

    /// What the unit has done is undone.
    pub(super) fn undone_elsewhere(&mut self, now: Time, id: ServiceId) {
        let Some(entry) = self.entry_mut(id) else {
            return;
        };
        let state = entry.service.state();
        let is_done = matches!(state, State::Active(active) if active.main.is_none());
        if !is_done || !entry.service.stands_for_something() {
            return;
        }
        entry.wanted = false;
        self.step(now, id, |service, step| {
            service.look_for_rest(step, Then::Rest(Rest::Undone));
        });
        let rest = Rest::Bound(self.name(id));
        let ties = self.ties(id);
        let dependants: Vec<ServiceId> =
            ties.needed_by.iter().chain(&ties.parts).copied().collect();
        for other in dependants {
            self.ask_to_stop(other, rest.clone(), true);
        }
    }
}

impl Service {
    /// It is active without a process once its work is done.
    fn stands_for_something(&self) -> bool {
        let commands = &self.unit.commands;
        commands.oneshot && commands.remain_after_exit
    }

    fn found_done(&mut self, step: &mut Step<'_>) {
        if let Some(unit) = self.next_unit.take() {
            self.unit = unit;
        }
        self.streak = 0;
        self.activate(step, None);
    }
}
