//! The unit files were read again: what is new starts, what vanished stops, what changed waits.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Arc;

use units::unit::OnChange;
use units::{Unit, UnitName};

use super::event::{Definitions, ServiceId};
use super::relations;
use super::set::{Job, Supervisor};
use super::state::Rest;
use super::time::Time;

impl Supervisor {
    pub(super) fn define(&mut self, now: Time, definitions: Definitions) {
        let Definitions {
            units,
            enabled,
            broken,
            cycles,
        } = definitions;
        let mut present = BTreeSet::new();
        let mut changed = Vec::new();
        for unit in units {
            let name = unit.name.clone();
            if self.take_definition(now, unit) {
                changed.push(name.clone());
            }
            present.insert(name);
        }
        let mut unsound = enabled.intersection(&broken);
        self.ending.has_broken = unsound.any(|name| self.id(name).is_none());
        self.ending.may_be_done = true;
        let mut start = Vec::new();
        let mut stop = Vec::new();
        for id in self.ids() {
            let name = self.name(id);
            let Some(entry) = self.entry_mut(id) else {
                continue;
            };
            entry.broken = broken.contains(&name);
            entry.cycle = cycles
                .iter()
                .find(|(member, _)| *member == name)
                .map(|(_, path)| Arc::clone(path));
            // A broken file is still a wish: its last good definition goes on.
            let is_enabled = enabled.contains(&name) || (entry.enabled && entry.broken);
            let was_enabled = std::mem::replace(&mut entry.enabled, is_enabled);
            entry.gone = !present.contains(&name) && !entry.broken && (was_enabled || entry.gone);
            match (was_enabled, is_enabled) {
                (false, true) => start.push(id),
                (true, false) => stop.push(id),
                _ => {}
            }
        }
        self.relate();
        for id in stop {
            if !self.is_needed(id) {
                self.ask_to_stop(id, Rest::Stopped, false);
            }
            self.touch(id);
        }
        for id in start {
            if let Err(why) = self.want(id)
                && self.shutting_down.is_none()
            {
                self.apply_refusal(now, id, &why);
            }
        }
        for name in changed {
            let Some(id) = self.id(&name) else { continue };
            let restart = self.entry(id).is_some_and(|entry| {
                let next = entry.service.next_unit.as_ref();
                let goes = entry.service.state().is_stopping() && entry.job.is_none()
                    || matches!(entry.job, Some(Job::Stop(_)));
                !goes && next.is_some_and(|unit| unit.on_change == OnChange::Restart)
            });
            if restart {
                self.ask_to_restart(id);
            }
        }
        for id in self.ids() {
            self.touch(id);
        }
    }

    /// A unit that a client named; it joins the set without being enabled.
    pub(super) fn load(&mut self, now: Time, unit: Arc<Unit>) {
        self.take_definition(now, unit);
        self.relate();
        for id in self.ids() {
            self.touch(id);
        }
    }

    /// Returns whether a running service now has a newer definition waiting.
    fn take_definition(&mut self, now: Time, unit: Arc<Unit>) -> bool {
        let known = self.names.get(&unit.name).copied();
        let known = known.filter(|id| self.name(*id) == unit.name);
        let Some(id) = known else {
            self.insert(now, unit);
            return false;
        };
        let Some(entry) = self.entry_mut(id) else {
            return false;
        };
        entry.gone = false;
        let service = &mut entry.service;
        let newest = service.next_unit.as_ref().unwrap_or(&service.unit);
        if newest.source.digest == unit.source.digest {
            return false;
        }
        if service.unit.source.digest == unit.source.digest {
            // Changed and changed back.
            service.next_unit = None;
            return false;
        }
        if service.state.is_at_rest() {
            service.unit = unit;
            service.next_unit = None;
            return false;
        }
        service.next_unit = Some(unit);
        true
    }

    pub(super) fn relate(&mut self) {
        let newest = |entry: &'_ super::set::Entry| -> Arc<Unit> {
            Arc::clone(
                entry
                    .service
                    .next_unit
                    .as_ref()
                    .unwrap_or(&entry.service.unit),
            )
        };
        let units: Vec<(ServiceId, Arc<Unit>)> = self
            .entries
            .iter()
            .flatten()
            .map(|entry| (entry.service.id(), newest(entry)))
            .collect();
        self.relations = relations::relate(
            units.iter().map(|(id, unit)| (*id, unit.as_ref())),
            &self.names,
        );
    }

    fn is_needed(&self, id: ServiceId) -> bool {
        let ties = self.ties(id);
        ties.needed_by.iter().chain(&ties.wanted_by).any(|other| {
            self.entry(*other)
                .is_some_and(|entry| entry.wanted && !entry.gone)
        })
    }

    fn apply_refusal(&mut self, now: Time, id: ServiceId, why: &Arc<str>) {
        use super::state::{Failure, Then};
        let failure = Failure::Launch(Arc::clone(why));
        let resting = self
            .entry(id)
            .is_some_and(|entry| entry.service.state().is_at_rest());
        if resting {
            self.step(now, id, |service, step| {
                service.settle(step, Then::Fail(failure))
            });
        }
    }

    /// Whether a unit of this name is known.
    pub fn knows(&self, name: &UnitName) -> bool {
        self.names.contains_key(name)
    }
}
