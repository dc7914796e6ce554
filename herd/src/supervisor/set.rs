//! All services together: wishes first, then what order allows.
//!
//! Two phases. A command, a change of the unit files or the end of a service only *settles
//! wishes*: it puts a [`Job`] on each service concerned. Then *advance* looks at every service whose
//! surroundings changed, and lets those jobs go whose turn has come. So no decision is taken on a
//! half-updated graph, and a long chain costs no recursion.
//!
//! When a job's turn has come (`A` is ordered after `B`):
//! * `A` starts when `B` neither starts nor stops nor waits to; a `B` in backoff holds `A` only if
//!   `A` needs it, and so does a `B` that is itself held in this way.
//! * `B` stops when `A` does not stop any more.
//! * a stop goes before a start, whatever the order.
//!
//! Ordering edges have no cycle (the loader refuses the units on one), so some job can always go.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use units::unit::EmergencyAction;
use units::{Unit, UnitName};

use super::action::Action;
use super::ending::Ending;
use super::event::{Event, ExitStatus, Input, ServiceId, Ticket};
use super::relations::Relations;
use super::service::{Service, Step};
use super::state::{Failure, Rest, State, Then};
use super::tickets::Waiter;
use super::time::Time;

/// What is to be done with a service when its turn comes.
#[derive(Debug, Clone, PartialEq)]
pub enum Job {
    Start,
    Stop(Rest),
    /// Stop, then start.
    Restart,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) service: Service,
    pub(super) job: Option<Job>,
    /// Somebody (a file in `enabled/`, a command, a dependant) wants it up.
    pub(super) wanted: bool,
    pub(super) enabled: bool,
    pub(super) broken: bool,
    /// Its file is gone; it is forgotten once at rest.
    pub(super) gone: bool,
    pub(super) cycle: Option<Arc<str>>,
    /// Its start waits, directly or not, for a service in backoff.
    pub(super) held: bool,
    queued: bool,
    armed: Option<Time>,
}

/// The whole of herd's decisions.
#[derive(Debug, Default)]
pub struct Supervisor {
    pub(super) entries: Vec<Option<Entry>>,
    pub(super) names: HashMap<UnitName, ServiceId>,
    pub(super) relations: HashMap<ServiceId, Relations>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) actions: Vec<Action>,
    queue: VecDeque<ServiceId>,
    deadlines: BTreeSet<(Time, ServiceId)>,
    idling: HashSet<ServiceId>,
    pub(super) shutting_down: Option<u8>,
    pub(super) ending: Ending,
    exited: bool,
    /// Services that are not at rest.
    up: usize,
    /// How often each was tried within one event: `on_failure` and its kin may go in a circle.
    tries: HashMap<ServiceId, u32>,
    /// A unit was forgotten since the ties were worked out.
    forgot: bool,
    next_run: u64,
}

/// A circle of units that start and end each other is cut after so many turns without time passing.
const TRIES_AT_ONCE: u32 = 8;
/// More deadlines than this never come one after the other without time passing between.
const DUE_AT_ONCE: usize = 8;

static NO_RELATIONS: Relations = Relations {
    needs: Vec::new(),
    requisite: Vec::new(),
    wants: Vec::new(),
    upholds: Vec::new(),
    predecessors: Vec::new(),
    successors: Vec::new(),
    conflicts: Vec::new(),
    on_failure: Vec::new(),
    on_success: Vec::new(),
    needed_by: Vec::new(),
    bound_by: Vec::new(),
    parts: Vec::new(),
    upheld_by: Vec::new(),
    wanted_by: Vec::new(),
    binds_to: Vec::new(),
    missing: Vec::new(),
};

impl Supervisor {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event and says what has to be done.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        match event {
            Event::Defined(definitions) => self.define(now, definitions),
            Event::Loaded(unit) => self.load(now, unit),
            Event::Command {
                ticket,
                verb,
                names,
            } => self.command(now, ticket, verb, &names),
            Event::TicketDropped(ticket) => self.waiters.retain(|w| w.ticket != ticket),
            Event::Service { id, input } => self.apply(now, id, input),
            Event::Elsewhere { id, is_done: true } => self.done_elsewhere(now, id),
            Event::Elsewhere { id, is_done: false } => self.undone_elsewhere(now, id),
            Event::Tick => self.tick(now),
            Event::Shutdown => self.shut_down(now, 0),
            Event::ShutdownNow => self.kill_everything(now),
        }
        self.advance_all(now);
        self.release_idle(now);
        self.answer_waiters(now);
        self.end_when_done(now);
        self.advance_all(now);
        self.exit_when_done();
        self.tries.clear();
        std::mem::take(&mut self.actions)
    }

    /// When `Tick` is due at the latest.
    pub fn deadline(&self) -> Option<Time> {
        let first = self.deadlines.first().map(|(at, _)| *at);
        [first, self.ending.end_by].into_iter().flatten().min()
    }

    pub fn id(&self, name: &UnitName) -> Option<ServiceId> {
        self.names.get(name).copied()
    }

    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.entry(id).map(|entry| &entry.service)
    }

    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.entries.iter().flatten().map(|entry| &entry.service)
    }

    /// Units wanted by a file, sound or not.
    pub fn enabled(&self) -> impl Iterator<Item = UnitName> {
        let entries = self.entries.iter().flatten();
        let enabled = entries.filter(|entry| entry.enabled && !entry.gone && !entry.broken);
        enabled.map(|entry| entry.service.unit().name.clone())
    }

    /// What the unit is ordered after, and waits for when it starts.
    pub fn predecessors(&self, id: ServiceId) -> impl Iterator<Item = &UnitName> {
        let before = self.ties(id).predecessors.iter();
        before.filter_map(|other| self.service(*other).map(|service| &service.unit().name))
    }

    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down.is_some()
    }

    pub(super) fn entry(&self, id: ServiceId) -> Option<&Entry> {
        self.entries.get(id.0 as usize).and_then(Option::as_ref)
    }

    pub(super) fn entry_mut(&mut self, id: ServiceId) -> Option<&mut Entry> {
        self.entries.get_mut(id.0 as usize).and_then(Option::as_mut)
    }

    pub(super) fn ties(&self, id: ServiceId) -> &Relations {
        self.relations.get(&id).unwrap_or(&NO_RELATIONS)
    }

    pub(super) fn insert(&mut self, now: Time, unit: Arc<Unit>) -> ServiceId {
        let number = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let id = ServiceId(number);
        let aliases = unit
            .install
            .iter()
            .flat_map(|install| install.aliases.clone());
        for alias in aliases {
            self.names.entry(alias).or_insert(id);
        }
        self.names.insert(unit.name.clone(), id);
        self.entries.push(Some(Entry {
            service: Service::new(id, unit, now),
            job: None,
            wanted: false,
            enabled: false,
            broken: false,
            gone: false,
            cycle: None,
            held: false,
            queued: false,
            armed: None,
        }));
        id
    }

    pub(super) fn ids(&self) -> Vec<ServiceId> {
        self.entries
            .iter()
            .flatten()
            .map(|entry| entry.service.id())
            .collect()
    }

    /// Puts a start on a service and on all that it pulls up. Refused when two of them conflict.
    pub(super) fn want(&mut self, id: ServiceId) -> Result<(), Arc<str>> {
        if self.shutting_down.is_some() {
            return Err("herd is shutting down".into());
        }
        let closure = self.closure(id);
        for member in &closure {
            if let Some(other) = self
                .ties(*member)
                .conflicts
                .iter()
                .find(|c| closure.contains(c))
            {
                let (a, b) = (self.name(*member), self.name(*other));
                return Err(format!("{a} conflicts with {b}, and both would be started").into());
            }
        }
        for member in &closure {
            for other in self.ties(*member).conflicts.clone() {
                let rest = Rest::Conflict(self.name(*member));
                self.ask_to_stop(other, rest, false);
            }
        }
        for member in closure {
            let Some(entry) = self.entry_mut(member) else {
                continue;
            };
            entry.wanted = true;
            // Only who is meant itself jumps its backoff: a dependant's start does not wind up
            // the crash loop of what it needs.
            if member != id && matches!(entry.service.state(), State::Backoff { .. }) {
                if matches!(entry.job, Some(Job::Stop(_))) {
                    entry.job = Some(Job::Start);
                    self.touch(member);
                }
                continue;
            }
            let running = entry.service.state().is_active() || entry.service.state().is_starting();
            match entry.job {
                Some(Job::Restart) => {}
                _ if running => entry.job = None,
                _ => entry.job = Some(Job::Start),
            }
            self.unhold(member);
            self.touch(member);
            self.touch_neighbours(member);
        }
        Ok(())
    }

    /// Its backoff holds nobody any more: who waits for it waits for a start now.
    fn unhold(&mut self, id: ServiceId) {
        let mut todo = vec![id];
        while let Some(next) = todo.pop() {
            for other in self.ties(next).successors.clone() {
                if let Some(entry) = self.entry_mut(other)
                    && entry.held
                {
                    entry.held = false;
                    self.touch(other);
                    todo.push(other);
                }
            }
        }
    }

    /// The service and everything its start pulls in.
    fn closure(&self, id: ServiceId) -> BTreeSet<ServiceId> {
        let mut found = BTreeSet::from([id]);
        let mut todo = vec![id];
        while let Some(next) = todo.pop() {
            let ties = self.ties(next);
            for other in ties.needs.iter().chain(&ties.wants).chain(&ties.upholds) {
                let gone = self.entry(*other).is_none_or(|entry| entry.gone);
                if !gone && found.insert(*other) {
                    todo.push(*other);
                }
            }
        }
        found
    }

    /// Puts a stop on a service and on all that cannot be without it.
    pub(super) fn ask_to_stop(&mut self, id: ServiceId, rest: Rest, keep_wish: bool) {
        let mut todo = vec![(id, rest)];
        let mut seen = HashSet::new();
        while let Some((next, rest)) = todo.pop() {
            if !seen.insert(next) {
                continue;
            }
            let Some(entry) = self.entry_mut(next) else {
                continue;
            };
            entry.wanted &= keep_wish;
            let resting = entry.service.state().is_at_rest();
            if resting && entry.job.is_none() {
                continue;
            }
            entry.job = (!resting).then_some(Job::Stop(rest.clone()));
            self.touch(next);
            self.touch_neighbours(next);
            // Each one is told what it lost, so that it comes back with that and not with another.
            let rest = match rest {
                Rest::Bound(_) => Rest::Bound(self.name(next)),
                other => other,
            };
            let ties = self.ties(next);
            let dependants = ties.needed_by.iter().chain(&ties.parts).copied();
            todo.extend(dependants.map(|other| (other, rest.clone())));
        }
    }

    /// A restart takes those along that are part of the service or need it, as far as they run.
    pub(super) fn ask_to_restart(&mut self, id: ServiceId) {
        let mut todo = vec![id];
        let mut seen = HashSet::new();
        while let Some(next) = todo.pop() {
            if !seen.insert(next) {
                continue;
            }
            let Some(entry) = self.entry_mut(next) else {
                continue;
            };
            if entry.service.state().is_at_rest() {
                continue;
            }
            // A dependant that is on its way down stays down.
            let goes = entry.service.state().is_stopping() && entry.job.is_none()
                || matches!(entry.job, Some(Job::Stop(_)));
            if next != id && goes {
                continue;
            }
            entry.job = Some(Job::Restart);
            self.touch(next);
            let ties = self.ties(next);
            todo.extend(ties.needed_by.iter().chain(&ties.parts).copied());
        }
    }

    pub(super) fn name(&self, id: ServiceId) -> UnitName {
        let found = self
            .entry(id)
            .map(|entry| entry.service.unit().name.clone());
        found.unwrap_or_else(|| UnitName::new("unknown").expect("a valid name"))
    }

    /// Marks a service to be looked at by `advance`.
    pub(super) fn touch(&mut self, id: ServiceId) {
        if let Some(entry) = self.entry_mut(id)
            && !entry.queued
        {
            entry.queued = true;
            self.queue.push_back(id);
        }
    }

    fn touch_neighbours(&mut self, id: ServiceId) {
        let ties = self.ties(id);
        let all: Vec<ServiceId> = ties
            .successors
            .iter()
            .chain(&ties.predecessors)
            .chain(&ties.conflicts)
            .copied()
            .collect();
        for other in all {
            if self.entry(other).is_some_and(|entry| entry.job.is_some()) {
                self.touch(other);
            }
        }
    }

    fn advance_all(&mut self, now: Time) {
        while let Some(id) = self.queue.pop_front() {
            if let Some(entry) = self.entry_mut(id) {
                entry.queued = false;
                self.advance(now, id);
            }
        }
    }

    fn advance(&mut self, now: Time, id: ServiceId) {
        let Some(entry) = self.entry(id) else { return };
        match &entry.job {
            None => self.forget_if_gone(id),
            Some(Job::Start) => self.advance_start(now, id),
            Some(Job::Stop(rest)) => {
                let rest = rest.clone();
                if self.may_stop(id) {
                    self.set_job(id, None);
                    self.apply(now, id, Input::Stop { rest });
                    self.touch_neighbours(id);
                }
            }
            Some(Job::Restart) => {
                if self.may_stop(id) {
                    self.set_job(id, Some(Job::Start));
                    self.apply(
                        now,
                        id,
                        Input::Stop {
                            rest: Rest::Restarting,
                        },
                    );
                    self.touch(id);
                    self.touch_neighbours(id);
                }
            }
        }
    }

    fn set_job(&mut self, id: ServiceId, job: Option<Job>) {
        if let Some(entry) = self.entry_mut(id) {
            entry.job = job;
        }
    }

    fn may_stop(&self, id: ServiceId) -> bool {
        !self
            .ties(id)
            .successors
            .iter()
            .any(|other| self.stops(*other))
    }

    /// Is on its way down or about to be.
    fn stops(&self, id: ServiceId) -> bool {
        self.entry(id).is_some_and(|entry| {
            entry.service.state().is_stopping()
                || matches!(entry.job, Some(Job::Stop(_) | Job::Restart))
        })
    }

    fn advance_start(&mut self, now: Time, id: ServiceId) {
        let Some(entry) = self.entry(id) else { return };
        let state = entry.service.state();
        if state.is_active() || state.is_starting() {
            self.set_job(id, None);
            return self.touch_neighbours(id);
        }
        if state.is_stopping() {
            return;
        }
        let spent = self
            .tries
            .get(&id)
            .is_some_and(|tries| *tries > TRIES_AT_ONCE);
        if spent && *state == State::Failed(Failure::Unkillable) {
            self.set_job(id, None);
            return self.touch_neighbours(id);
        }
        if std::mem::take(&mut self.forgot) {
            self.relate();
        }
        let Some(entry) = self.entry(id) else { return };
        if let Some(path) = entry.cycle.clone() {
            return self.refuse_start(now, id, Failure::Cycle(path));
        }
        let ties = self.ties(id);
        if let Some(missing) = ties.missing.first().cloned() {
            return self.refuse_start(now, id, Failure::Missing(missing));
        }
        // A conflict that came with a new definition: nobody has asked the other to go.
        for other in ties.conflicts.clone() {
            let stays = self.entry(other).is_some_and(|entry| {
                let state = entry.service.state();
                !state.is_at_rest() && !state.is_stopping() && entry.job.is_none()
            });
            if stays {
                let rest = Rest::Conflict(self.name(id));
                self.ask_to_stop(other, rest, false);
            }
        }
        let ties = self.ties(id);
        let mut held = false;
        let mut waits = ties.successors.iter().any(|other| self.stops(*other))
            || ties
                .conflicts
                .iter()
                .any(|other| !self.is_out_of_the_way(*other));
        for other in &ties.predecessors {
            match self.blocks(*other, ties.needs.contains(other)) {
                Blocks::No => {}
                Blocks::Yes => waits = true,
                Blocks::ForBackoff => {
                    waits = true;
                    held = true;
                }
            }
        }
        if self.entry(id).is_some_and(|entry| entry.held != held) {
            if let Some(entry) = self.entry_mut(id) {
                entry.held = held;
            }
            self.touch_neighbours(id);
        }
        if waits {
            return;
        }
        if let Some(absent) = self.absent_requirement(id) {
            return self.refuse_start(now, id, Failure::Dependency(absent));
        }
        self.set_job(id, None);
        match self.tries.entry(id).and_modify(|n| *n += 1).or_insert(1) {
            0..=TRIES_AT_ONCE => self.apply(now, id, Input::Start),
            _ => self.step(now, id, |service, step| {
                service.settle(step, Then::Fail(Failure::StartLimit));
            }),
        }
        self.touch_neighbours(id);
    }

    fn is_out_of_the_way(&self, id: ServiceId) -> bool {
        self.entry(id)
            .is_none_or(|entry| entry.service.state().is_at_rest())
    }

    fn blocks(&self, other: ServiceId, needed: bool) -> Blocks {
        let Some(entry) = self.entry(other) else {
            return Blocks::No;
        };
        let state = entry.service.state();
        if state.is_starting() || state.is_stopping() {
            return Blocks::Yes;
        }
        match &entry.job {
            Some(Job::Start) if entry.held && !needed => Blocks::No,
            Some(Job::Start) if entry.held => Blocks::ForBackoff,
            Some(Job::Start | Job::Stop(_) | Job::Restart) => Blocks::Yes,
            None if needed && matches!(state, State::Backoff { .. }) => Blocks::ForBackoff,
            None => Blocks::No,
        }
    }

    /// What the service cannot do without and is not there, now that nothing is under way.
    fn absent_requirement(&self, id: ServiceId) -> Option<UnitName> {
        let ties = self.ties(id);
        let is_there = |other: &ServiceId| {
            self.entry(*other)
                .is_some_and(|entry| match entry.service.state() {
                    State::Active(_) | State::Reloading { .. } => true,
                    State::Inactive(Rest::Completed | Rest::Skipped(_)) => true,
                    State::Inactive(Rest::Exited) => !ties.binds_to.contains(other),
                    _ => false,
                })
        };
        let ordered = |other: &&ServiceId| ties.predecessors.contains(other);
        let absent = ties
            .needs
            .iter()
            .filter(ordered)
            .find(|other| !is_there(other));
        absent
            .or_else(|| ties.requisite.iter().find(|other| !is_there(other)))
            .map(|other| self.name(*other))
    }

    fn refuse_start(&mut self, now: Time, id: ServiceId, failure: Failure) {
        self.set_job(id, None);
        if *self.tries.entry(id).and_modify(|n| *n += 1).or_insert(1) > TRIES_AT_ONCE {
            return self.touch_neighbours(id);
        }
        let state = |set: &Self| set.entry(id).map(|entry| entry.service.state().clone());
        let before = state(self);
        self.step(now, id, |service, step| {
            if matches!(service.state(), State::Backoff { .. }) {
                // It counts as a try, so that the next one comes later.
                service.streak = service.streak.saturating_add(1);
            }
            service.settle(step, Then::Fail(failure));
        });
        if matches!(before, Some(State::Failed(_))) && state(self) == before {
            // Nothing has changed, but it was tried and has failed once more.
            self.failed(now, id);
        }
        self.touch_neighbours(id);
    }

    pub(super) fn apply(&mut self, now: Time, id: ServiceId, input: Input) {
        self.step(now, id, |service, step| service.step(step, input));
    }

    pub(super) fn step(
        &mut self,
        now: Time,
        id: ServiceId,
        act: impl FnOnce(&mut Service, &mut Step<'_>),
    ) {
        let patience = self.patience(now, id);
        let Self {
            entries,
            actions,
            next_run,
            ..
        } = self;
        let Some(Some(entry)) = entries.get_mut(id.0 as usize) else {
            return;
        };
        let before = entry.service.state().clone();
        act(
            &mut entry.service,
            &mut Step {
                now,
                patience,
                actions,
                next_run,
            },
        );
        let after = entry.service.state();
        let deadline = match after {
            // Over already: a job holds it.
            State::Backoff { until, .. } if *until <= now && entry.armed.is_none() => None,
            _ => after.deadline(),
        };
        match (before.is_at_rest(), after.is_at_rest()) {
            (true, false) => self.up += 1,
            (false, true) => self.up = self.up.saturating_sub(1),
            (true, true) | (false, false) => {}
        }
        let idles = matches!(after, State::Idling { .. });
        let changed =
            std::mem::discriminant(&before) != std::mem::discriminant(after) || before.is_at_rest();
        if entry.armed != deadline {
            if let Some(old) = entry.armed.take() {
                self.deadlines.remove(&(old, id));
            }
            entry.armed = deadline;
            if let Some(at) = deadline {
                self.deadlines.insert((at, id));
            }
        }
        if idles {
            self.idling.insert(id);
        } else {
            self.idling.remove(&id);
        }
        if changed {
            self.after_change(now, id, &before);
        }
    }

    /// What a change of one service means for the others.
    fn after_change(&mut self, now: Time, id: ServiceId, before: &State) {
        self.touch(id);
        self.touch_neighbours(id);
        let Some(entry) = self.entry(id) else { return };
        let state = entry.service.state().clone();
        if state.is_active() && !before.is_active() {
            self.became_active(now, id);
        }
        if before.is_active() && !state.is_active() {
            let rest = Rest::Bound(self.name(id));
            for other in self.ties(id).bound_by.clone() {
                let runs = self.entry(other).is_some_and(|entry| {
                    entry.service.state().is_active() || entry.service.state().is_starting()
                });
                if runs {
                    self.ask_to_stop(other, rest.clone(), true);
                }
            }
        }
        match &state {
            State::Failed(_) if *before != state => self.failed(now, id),
            State::Inactive(rest) if *before != state => {
                let succeeded = matches!(rest, Rest::Exited | Rest::Completed);
                if matches!(rest, Rest::Completed | Rest::Skipped(_)) {
                    self.start_those_that_wait_for(id);
                }
                if succeeded {
                    for other in self.ties(id).on_success.clone() {
                        self.start_quietly(other);
                    }
                }
                self.came_to_rest(now, id);
                if succeeded {
                    let action = self.emergency(id, |unit| unit.lifecycle.success_action);
                    self.carry_out_emergency(now, id, action);
                }
                self.end_with(now, id);
            }
            State::Active(active) if active.main.is_none() => self.ending.may_be_done = true,
            State::Backoff { until, .. } if *until <= now => self.backoff_over(id),
            _ => {}
        }
    }

    /// What its failure means for others, and for who waits for it.
    fn failed(&mut self, now: Time, id: ServiceId) {
        let state = self.entry(id).map(|entry| entry.service.state().clone());
        let action = self.emergency(id, |unit| unit.lifecycle.failure_action);
        let limit = match (&state, entry_limit(self.entry(id))) {
            (Some(State::Failed(Failure::StartLimit)), Some(action)) => action,
            _ => EmergencyAction::None,
        };
        for other in self.ties(id).on_failure.clone() {
            self.start_quietly(other);
        }
        if state == Some(State::Failed(Failure::Unkillable)) {
            // A start that waited for the end would make a second of what is still there.
            self.set_job(id, None);
            self.tries.insert(id, TRIES_AT_ONCE + 1);
        }
        self.came_to_rest(now, id);
        self.carry_out_emergency(now, id, action);
        self.carry_out_emergency(now, id, limit);
        self.end_with(now, id);
    }

    /// The wait before the next try is over. A stop that waits for its turn goes before.
    fn backoff_over(&mut self, id: ServiceId) {
        // Disarmed by the start; a start that has to wait its turn must not tick on.
        self.disarm(id);
        if self.entry(id).is_some_and(|entry| entry.job.is_none()) {
            self.start_quietly(id);
        }
    }

    /// Wants a service without anybody waiting for the answer; what keeps it from starting shows in
    /// its own status.
    fn start_quietly(&mut self, id: ServiceId) {
        if let Err(why) = self.want(id) {
            // Only a conflict or the shutdown is refused, and both show where they come from.
            let rest = Rest::Skipped(why);
            if let Some(entry) = self.entry_mut(id)
                && let State::Backoff { .. } = entry.service.state()
            {
                entry.job = Some(Job::Stop(rest));
                self.touch(id);
            }
        }
    }

    fn became_active(&mut self, now: Time, id: ServiceId) {
        self.start_those_that_wait_for(id);
        for other in self.ties(id).upholds.clone() {
            self.uphold(now, other);
        }
    }

    /// Dependants that went down or could not start for want of this one.
    fn start_those_that_wait_for(&mut self, id: ServiceId) {
        if self.shutting_down.is_some() {
            return;
        }
        let name = self.name(id);
        for other in self.ties(id).needed_by.clone() {
            let waits_for_us = self.entry(other).is_some_and(|entry| {
                entry.wanted && entry.service.state().because_of() == Some(&name)
            });
            if waits_for_us {
                self.start_quietly(other);
                // What has just been done for it is not done again.
                if let Some(entry) = self.entry_mut(id)
                    && entry.service.state().is_at_rest()
                {
                    entry.job = None;
                }
            }
        }
    }

    /// An upheld service that rests is started again, with the delays of its own policy.
    fn uphold(&mut self, now: Time, id: ServiceId) {
        if self.shutting_down.is_some() {
            return;
        }
        let Some(entry) = self.entry(id) else { return };
        let unkillable = matches!(entry.service.state(), State::Failed(Failure::Unkillable));
        let rests = entry.service.state().is_at_rest() && !unkillable;
        if !rests || entry.job.is_some() || entry.gone {
            return;
        }
        // It gave way to another and would only be pushed out again.
        let in_the_way = self.ties(id).conflicts.iter().any(|other| {
            self.entry(*other)
                .is_some_and(|it| it.job.is_some() || !it.service.state().is_at_rest())
        });
        if in_the_way {
            return;
        }
        self.step(now, id, |service, step| {
            let failure = match service.state() {
                State::Failed(failure) => failure.clone(),
                _ => Failure::Exit(ExitStatus::Code(0)),
            };
            service.uphold(step, failure);
        });
    }

    fn came_to_rest(&mut self, now: Time, id: ServiceId) {
        let ties = self.ties(id);
        let pulled: Vec<ServiceId> = ties.needs.iter().chain(&ties.wants).copied().collect();
        let held_up = ties.upheld_by.iter().any(|other| {
            self.entry(*other)
                .is_some_and(|entry| entry.service.state().is_active())
        });
        for other in pulled {
            self.stop_if_unneeded(other);
        }
        if held_up {
            self.uphold(now, id);
        }
    }

    fn stop_if_unneeded(&mut self, id: ServiceId) {
        let Some(entry) = self.entry(id) else { return };
        if !entry.service.unit().dependencies.stop_when_unneeded || entry.enabled {
            return;
        }
        let ties = self.ties(id);
        let needed = ties
            .needed_by
            .iter()
            .chain(&ties.wanted_by)
            .chain(&ties.upheld_by)
            .any(|o| {
                self.entry(*o)
                    .is_some_and(|e| !e.service.state().is_at_rest() || e.job.is_some())
            });
        if !needed {
            self.ask_to_stop(id, Rest::Unneeded, false);
        }
    }

    pub(super) fn forget_if_gone(&mut self, id: ServiceId) {
        let Some(entry) = self.entry(id) else { return };
        if entry.gone && entry.service.state().is_at_rest() {
            self.names.retain(|_, slot| *slot != id);
            self.relations.remove(&id);
            if let Some(slot) = self.entries.get_mut(id.0 as usize) {
                *slot = None;
            }
            self.forgot = true;
            self.actions.push(Action::Forget { id });
        }
    }

    fn tick(&mut self, now: Time) {
        if self.ending.end_by.is_some_and(|at| at <= now) {
            self.kill_everything(now);
        }
        let due: Vec<ServiceId> = self
            .deadlines
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, id)| *id)
            .collect();
        for id in due {
            match self.entry(id).map(|entry| entry.service.state().clone()) {
                Some(State::Backoff { .. }) => {
                    self.backoff_over(id);
                }
                Some(_) => {
                    // What one deadline brings may be due as well, after a jump of the clock.
                    for _ in 0..DUE_AT_ONCE {
                        self.apply(now, id, Input::Tick);
                        let next = self.entry(id).and_then(|entry| entry.armed);
                        if next.is_none_or(|at| at > now) {
                            break;
                        }
                    }
                }
                None => {}
            }
        }
    }

    fn disarm(&mut self, id: ServiceId) {
        if let Some(entry) = self.entry_mut(id)
            && let Some(at) = entry.armed.take()
        {
            self.deadlines.remove(&(at, id));
        }
    }

    fn release_idle(&mut self, now: Time) {
        if self.idling.is_empty() {
            return;
        }
        let busy = self.entries.iter().flatten().any(|entry| {
            let state = entry.service.state();
            let waits = entry.job.is_some() && !entry.held;
            waits || (state.is_starting() && !matches!(state, State::Idling { .. }))
        });
        if !busy {
            for id in self.idling.clone() {
                self.apply(now, id, Input::Idle);
            }
            self.advance_all(now);
        }
    }

    fn exit_when_done(&mut self) {
        let Some(code) = self.shutting_down else {
            return;
        };
        if self.up == 0 && !self.exited {
            self.exited = true;
            self.actions.push(Action::Exit { code });
        }
    }

    pub(super) fn ticket_known(&self, ticket: Ticket) -> bool {
        self.waiters.iter().any(|waiter| waiter.ticket == ticket)
    }
}

fn entry_limit(entry: Option<&Entry>) -> Option<EmergencyAction> {
    entry.and_then(|e| {
        e.service
            .unit()
            .lifecycle
            .start_limit
            .map(|limit| limit.action)
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blocks {
    No,
    Yes,
    /// It waits for its next try, or waits for one that does.
    ForBackoff,
}
