//! A stage for single scenes: a supervisor, a calm world, and a clock that is moved by hand.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use units::{Unit, UnitName};

use super::random::Random;
use super::units_at_random::name;
use super::world::World;
use crate::supervisor::action::{Action, Answer};
use crate::supervisor::event::{Definitions, Event, ExitStatus, Input, Verb};
use crate::supervisor::{RunId, ServiceId, State, Supervisor, Ticket};

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) herd: Supervisor,
    pub(super) world: World,
    pub(super) seen: Vec<Action>,
    tickets: u64,
}

impl Stage {
    /// Everything is enabled, and the world has come to rest.
    pub(super) fn with(units: &[Unit]) -> Self {
        let names: Vec<String> = units.iter().map(|u| u.name.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Self::enabled(units, &names)
    }

    pub(super) fn enabled(units: &[Unit], enabled: &[&str]) -> Self {
        let mut world = World::new(Random::new(1));
        world.calm = true;
        let mut stage = Self {
            herd: Supervisor::new(),
            world,
            seen: Vec::new(),
            tickets: 0,
        };
        stage.define(units, enabled);
        stage
    }

    pub(super) fn define(&mut self, units: &[Unit], enabled: &[&str]) {
        let definitions = Definitions {
            units: units.iter().cloned().map(Arc::new).collect(),
            enabled: enabled
                .iter()
                .map(|n| name(n))
                .collect::<BTreeSet<UnitName>>(),
            broken: BTreeSet::new(),
            cycles: Vec::new(),
        };
        self.tell(Event::Defined(definitions));
    }

    /// Takes an event and everything that follows without time passing.
    pub(super) fn tell(&mut self, event: Event) {
        self.tell_only(event);
        self.settle();
    }

    /// Takes an event; the world does not answer yet.
    pub(super) fn tell_only(&mut self, event: Event) {
        let actions = self.herd.handle(self.world.now, event);
        self.world.perform(&actions);
        self.seen.extend(actions);
    }

    pub(super) fn settle(&mut self) {
        while self.world.next_at().is_some_and(|at| at <= self.world.now) {
            if let Some(event) = self.world.step() {
                self.tell_only(event);
            }
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.world.now + time;
        loop {
            let next = [self.world.next_at(), self.herd.deadline()];
            let Some(at) = next.into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.world.now = self.world.now.max(at);
            self.settle();
            if self.herd.deadline().is_some_and(|at| at <= self.world.now) {
                self.tell(Event::Tick);
            }
        }
        self.world.now = end;
    }

    pub(super) fn id(&self, unit: &str) -> ServiceId {
        self.herd.id(&name(unit)).unwrap()
    }

    pub(super) fn state(&self, unit: &str) -> &State {
        self.herd.service(self.id(unit)).unwrap().state()
    }

    pub(super) fn is_active(&self, unit: &str) -> bool {
        self.state(unit).is_active()
    }

    pub(super) fn main(&self, unit: &str) -> RunId {
        self.state(unit).main().unwrap().run
    }

    /// The main process ends in this way.
    pub(super) fn ends(&mut self, unit: &str, status: ExitStatus) {
        let (id, run) = (self.id(unit), self.main(unit));
        self.world.processes.remove(&run);
        self.tell(Event::Service {
            id,
            input: Input::Exited { run, status },
        });
    }

    pub(super) fn crashes(&mut self, unit: &str) {
        self.ends(unit, ExitStatus::Code(1));
    }

    pub(super) fn command(&mut self, verb: Verb, names: &[&str]) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let names = names.iter().map(|n| name(n)).collect();
        self.tell(Event::Command {
            ticket,
            verb,
            names,
        });
        ticket
    }

    pub(super) fn answer(&self, ticket: Ticket) -> Option<&Answer> {
        self.world.answers.get(&ticket).and_then(|all| all.first())
    }

    pub(super) fn why(&self, unit: &str) -> String {
        self.herd.why(self.world.now, &name(unit)).unwrap()
    }
}
