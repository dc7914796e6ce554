//! Random worlds from a seed. `HERD_SIM_CASES=100000` runs more of them, `HERD_SIM_SEED=N` replays
//! one and prints each step.
use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use units::unit::KillMode;
use units::{Unit, UnitName};

use super::invariants::{Ledger, stale_inputs};
use super::random::Random;
use super::units_at_random::{self, name};
use super::world::World;
use crate::supervisor::action::Action;
use crate::supervisor::event::{Definitions, Event, Input, Verb};
use crate::supervisor::{EndPolicy, ServiceId, State, Supervisor, Ticket, Time};

struct Simulation {
    herd: Supervisor,
    world: World,
    ledger: Ledger,
    random: Random,
    units: Vec<Arc<Unit>>,
    enabled: BTreeSet<UnitName>,
    patient: bool,
    /// What an ordered stop may take.
    limit: Option<Duration>,
    tickets: u64,
    /// Processes of these may outlive a stop: their unit says so, or did.
    spared: HashSet<ServiceId>,
    jumped: Duration,
    steps: u64,
    shows: bool,
    story: String,
}

impl Simulation {
    fn new(seed: u64, shows: bool) -> Self {
        let mut random = Random::new(seed);
        let patient = random.percent(15);
        let count = 1 + random.below(8);
        let units = (0..count)
            .map(|index| units_at_random::unit(&mut random, index, count, patient))
            .collect();
        let limit = random.percent(40).then(|| random.millis(0, 10_000));
        Self {
            herd: Supervisor::ending(EndPolicy {
                stop_within: limit,
                ..EndPolicy::default()
            }),
            limit,
            world: World::new(Random::new(random.next())),
            ledger: Ledger::default(),
            random,
            units,
            enabled: BTreeSet::new(),
            patient,
            tickets: 0,
            spared: HashSet::new(),
            jumped: Duration::ZERO,
            steps: 0,
            shows,
            story: String::new(),
        }
    }

    fn run(&mut self) -> Result<(), String> {
        if self.shows {
            for unit in &self.units {
                writeln!(self.story, "{unit:#?}").unwrap();
            }
        }
        self.enabled = self.some_names();
        let first = self.definitions(&BTreeSet::new());
        self.tell(Event::Defined(first))?;
        for _ in 0..10 + self.random.below(30) {
            let pause = self.random.millis(0, 3_000);
            self.until(self.world.now + pause)?;
            self.something()?;
        }
        self.end()
    }

    fn end(&mut self) -> Result<(), String> {
        self.ledger.shutdown_at = Some(self.world.now);
        let jumped = self.jumped;
        let at_once = self.random.percent(25);
        self.tell(if at_once {
            Event::ShutdownNow
        } else {
            Event::Shutdown
        })?;
        // A kill asked for again gets its second again.
        let mut is_late = false;
        if self.random.percent(30) {
            let wait = self.random.millis(0, 5_000);
            self.until(self.world.now + wait)?;
            self.something()?;
            let again = [Event::Shutdown, Event::ShutdownNow];
            let again = self.random.pick(&again);
            is_late = matches!(again, Event::ShutdownNow);
            self.tell(again)?;
        }
        if let (Some(limit), Some(began)) = (self.limit, self.ledger.shutdown_at) {
            self.until(began + limit + Duration::from_secs(1))?;
            if self.world.exits.is_empty() && self.jumped == jumped && !is_late {
                return Err(format!("the stop took longer than {limit:?} and a second"));
            }
        }
        self.until(self.world.now + Duration::from_secs(700))?;
        if self.world.exits.is_empty() && self.patient {
            self.tell(Event::ShutdownNow)?;
            self.until(self.world.now + Duration::from_secs(700))?;
        }
        if self.world.exits.len() != 1 {
            return Err(format!(
                "the shutdown did not end: {} exits",
                self.world.exits.len()
            ));
        }
        if let Some(ticket) = self.ledger.open_tickets.first() {
            return Err(format!("{ticket:?} was never answered"));
        }
        Ok(())
    }

    /// Lets the world and the clock run.
    fn until(&mut self, end: Time) -> Result<(), String> {
        loop {
            let next = [self.world.next_at(), self.herd.deadline()];
            let Some(at) = next.into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.world.now = self.world.now.max(at);
            if self.random.percent(1) && self.random.percent(20) {
                // The machine slept.
                let jump = self.random.millis(1_000, 100_000);
                self.jumped += jump;
                self.world.now = self.world.now + jump;
            }
            let now = self.world.now;
            let due = self.herd.deadline().is_some_and(|at| at <= now);
            let told = self.world.next_at().is_some_and(|at| at <= now);
            if due && (!told || self.random.percent(50)) {
                self.tell(Event::Tick)?;
            } else if let Some(event) = self.world.step() {
                self.tell(event)?;
            }
            if self.random.percent(2) {
                self.something_stale()?;
            }
            if !self.world.exits.is_empty() {
                self.world.now = self.world.now.max(end);
                break;
            }
        }
        self.world.now = self.world.now.max(end);
        Ok(())
    }

    fn something_stale(&mut self) -> Result<(), String> {
        for (id, input) in stale_inputs(&self.world) {
            let state = self.herd.service(id).map(|s| s.state().clone());
            self.tell(Event::Service {
                id,
                input: input.clone(),
            })?;
            if self.herd.service(id).map(|s| s.state().clone()) != state {
                return Err(format!("{input:?} is stale and changed {state:?}"));
            }
        }
        Ok(())
    }

    fn something(&mut self) -> Result<(), String> {
        match self.random.below(20) {
            0..=11 => {
                self.tickets += 1;
                let ticket = Ticket(self.tickets);
                let verb = self.random.pick(&[
                    Verb::Start,
                    Verb::Start,
                    Verb::Start,
                    Verb::Stop,
                    Verb::Stop,
                    Verb::Restart,
                    Verb::Reload,
                    Verb::ResetFailed,
                ]);
                let mut names: Vec<UnitName> = (0..=self.random.below(2))
                    .map(|_| self.random.pick(&self.units).name.clone())
                    .collect();
                if self.random.percent(2) {
                    names.push(name("nowhere"));
                }
                self.ledger.open_tickets.push(ticket);
                self.tell(Event::Command {
                    ticket,
                    verb,
                    names,
                })
            }
            12 => {
                let Some(ticket) = self.ledger.open_tickets.first().copied() else {
                    return Ok(());
                };
                self.ledger.open_tickets.retain(|t| *t != ticket);
                self.ledger.dropped_tickets.push(ticket);
                self.tell(Event::TicketDropped(ticket))
            }
            13..=16 => {
                let count = self.units.len();
                let index = self.random.below(count);
                if self.random.percent(60) {
                    let unit = units_at_random::unit(&mut self.random, index, count, self.patient);
                    if self.shows {
                        writeln!(self.story, "{unit:#?}").unwrap();
                    }
                    self.units[index] = unit;
                }
                if self.random.percent(50) {
                    self.enabled = self.some_names();
                }
                let away = if self.random.percent(40) {
                    self.some_names()
                } else {
                    BTreeSet::new()
                };
                let definitions = self.definitions(&away);
                self.tell(Event::Defined(definitions))
            }
            17 => {
                let unit = Arc::clone(&self.units[self.random.below(self.units.len())]);
                self.tell(Event::Loaded(unit))
            }
            18 => {
                let ids: Vec<ServiceId> = self
                    .herd
                    .services()
                    .map(crate::supervisor::Service::id)
                    .collect();
                if ids.is_empty() {
                    return Ok(());
                }
                let id = self.random.pick(&ids);
                let is_done = self.random.percent(50);
                self.tell(Event::Elsewhere { id, is_done })
            }
            _ => {
                let jump = self.random.millis(0, 60_000);
                self.jumped += jump;
                self.world.now = self.world.now + jump;
                self.tell(Event::Tick)
            }
        }
    }

    fn some_names(&mut self) -> BTreeSet<UnitName> {
        let names: Vec<UnitName> = self.units.iter().map(|u| u.name.clone()).collect();
        names
            .into_iter()
            .filter(|_| self.random.percent(60))
            .collect()
    }

    /// The files as they are now, without those `away`: vanished, or broken.
    fn definitions(&mut self, away: &BTreeSet<UnitName>) -> Definitions {
        let broken: BTreeSet<UnitName> = away
            .iter()
            .filter(|_| self.random.percent(50))
            .cloned()
            .collect();
        let units = self
            .units
            .iter()
            .filter(|u| !away.contains(&u.name))
            .cloned()
            .collect();
        let enabled = self
            .enabled
            .iter()
            .filter(|n| !away.contains(n))
            .cloned()
            .collect();
        let cycles = if self.random.percent(5) {
            let unit = self.random.pick(&self.units);
            vec![(unit.name.clone(), "a -> b -> a".into())]
        } else {
            Vec::new()
        };
        Definitions {
            units,
            enabled,
            broken,
            cycles,
        }
    }

    fn tell(&mut self, event: Event) -> Result<(), String> {
        self.steps += 1;
        if self.steps > 100_000 {
            return Err("the world does not come to rest".into());
        }
        let now = self.world.now;
        self.ledger.remember(&self.herd);
        let before = self.herd.deadline();
        let actions = self.herd.handle(now, event.clone());
        if let Event::Service {
            id,
            input: Input::MainMoved { run, .. },
        } = &event
        {
            let main = self.herd.service(*id).and_then(|s| s.state().main());
            self.world.moved(*id, *run, main.map(|main| main.run));
        }
        self.world.perform(&actions);
        for service in self.herd.services() {
            let units = std::iter::once(service.unit()).chain(&service.next_unit);
            for unit in units {
                let lifecycle = &unit.lifecycle;
                if lifecycle.kill_mode == KillMode::None || !lifecycle.send_sigkill {
                    self.spared.insert(service.id());
                }
            }
            if matches!(
                service.state(),
                State::Failed(crate::supervisor::state::Failure::Unkillable)
            ) {
                self.spared.insert(service.id());
            }
        }
        if self.shows {
            self.tell_story(now, &event, &actions, before);
        }
        self.ledger
            .check(now, &event, &actions, &self.herd, &self.world, &self.spared)
    }

    fn tell_story(&mut self, now: Time, event: &Event, actions: &[Action], due: Option<Time>) {
        let event = match event {
            Event::Defined(d) => format!(
                "Defined {:?} enabled {:?} broken {:?} cycles {:?}",
                d.units
                    .iter()
                    .map(|u| u.name.to_string())
                    .collect::<Vec<_>>(),
                d.enabled,
                d.broken,
                d.cycles
            ),
            Event::Loaded(unit) => format!("Loaded {}", unit.name),
            other => format!("{other:?}"),
        };
        writeln!(self.story, "{now:?} (due {due:?}) {event}").unwrap();
        for action in actions {
            writeln!(self.story, "      ! {action:?}").unwrap();
        }
        for entry in self.herd.entries.iter().flatten() {
            let service = &entry.service;
            let (name, state) = (&service.unit().name, service.state());
            let streak = service.streak;
            writeln!(
                self.story,
                "      {name} {:?} {:?} streak {streak} {state:?}",
                service.id(),
                entry.job
            )
            .unwrap();
        }
    }
}

fn case(seed: u64, shows: bool) -> Result<(), String> {
    let mut simulation = Simulation::new(seed, shows);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| simulation.run()))
        .unwrap_or_else(|_| Err("panicked".into()));
    if shows {
        println!("{}", simulation.story);
    }
    result
}

#[test]
fn a_simulated_world_breaks_no_invariant() {
    let number = |key: &str| {
        std::env::var(key)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(seed) = number("HERD_SIM_SEED") {
        if let Err(why) = case(seed, true) {
            panic!("seed {seed}: {why}");
        }
        return;
    }
    let cases = number("HERD_SIM_CASES").unwrap_or(256);
    let first = number("HERD_SIM_FIRST").unwrap_or(0);
    let mut failures = Vec::new();
    for seed in first..first + cases {
        if let Err(why) = case(seed, false) {
            failures.push(format!("seed {seed}: {why}"));
            if failures.len() >= 20 {
                break;
            }
        }
    }
    assert!(
        failures.is_empty(),
        "replay one with HERD_SIM_SEED=N cargo test -p herd --lib simulated_world -- --nocapture\n{}",
        failures.join("\n")
    );
}
