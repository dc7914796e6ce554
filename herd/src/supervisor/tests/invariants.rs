//! What is true after every event, whatever the world does.
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use units::unit::{KillMode, Kind, Restart};

use super::world::World;
use crate::supervisor::action::{Action, Role};
use crate::supervisor::event::{Event, Input};
use crate::supervisor::set::Job;
use crate::supervisor::state::{Failure, Rest, Waiting};
use crate::supervisor::{ServiceId, State, Supervisor, Ticket, Time};

#[derive(Debug, Default)]
pub(super) struct Ledger {
    before: HashMap<ServiceId, (State, Option<Job>)>,
    /// Starts without a command in between.
    starts: HashMap<ServiceId, VecDeque<Time>>,
    /// Restarts in a row, as the rule of `max_retries` counts them.
    retries: HashMap<ServiceId, u32>,
    restarts: HashMap<ServiceId, u32>,
    upheld: HashSet<ServiceId>,
    limits: HashMap<ServiceId, Option<u32>>,
    pub(super) open_tickets: Vec<Ticket>,
    pub(super) dropped_tickets: Vec<Ticket>,
    pub(super) shutdown_at: Option<Time>,
}

fn spares(herd: &Supervisor, id: ServiceId) -> bool {
    herd.service(id).is_none_or(|service| {
        let lifecycle = &service.unit().lifecycle;
        lifecycle.kill_mode == KillMode::None || !lifecycle.send_sigkill
    })
}

impl Ledger {
    pub(super) fn remember(&mut self, herd: &Supervisor) {
        self.before = herd
            .entries
            .iter()
            .flatten()
            .map(|e| (e.service.id(), (e.service.state().clone(), e.job.clone())))
            .collect();
    }

    pub(super) fn check(
        &mut self,
        now: Time,
        event: &Event,
        actions: &[Action],
        herd: &Supervisor,
        world: &World,
        spared: &HashSet<ServiceId>,
    ) -> Result<(), String> {
        processes(herd, world, spared)?;
        order(&self.before, actions, herd, event)?;
        nothing_waits_in_vain(herd, world)?;
        if matches!(event, Event::Tick) && herd.deadline().is_some_and(|at| at <= now) {
            return Err(format!(
                "a deadline is left in the past: {:?}",
                herd.deadline()
            ));
        }
        self.starts_are_bounded(now, event, herd)?;
        self.retries_are_exact(now, event, actions, herd)?;
        self.tickets(herd, world)?;
        if world.exits.len() > 1 {
            return Err("Exit was asked for twice".into());
        }
        if !world.exits.is_empty() && self.shutdown_at.is_none() && !herd.is_shutting_down() {
            return Err("Exit without a shutdown".into());
        }
        Ok(())
    }

    fn starts_are_bounded(
        &mut self,
        now: Time,
        event: &Event,
        herd: &Supervisor,
    ) -> Result<(), String> {
        if matches!(
            event,
            Event::Command { .. } | Event::Defined(_) | Event::Loaded(_)
        ) {
            self.starts.clear();
        }
        for service in herd.services() {
            let id = service.id();
            let rested = self.before.get(&id).is_none_or(|(state, _)| {
                state.is_at_rest() || matches!(state, State::Backoff { .. })
            });
            if !rested || !service.state().is_starting() {
                continue;
            }
            let starts = self.starts.entry(id).or_default();
            starts.push_back(now);
            while starts
                .front()
                .is_some_and(|at| now.since(*at) > Duration::from_secs(2))
            {
                starts.pop_front();
            }
            // Its own delays allow 6; those that it depends on and that come back, some more.
            if starts.len() > 24 {
                return Err(format!(
                    "{} was started {} times in 2 s",
                    service.unit().name,
                    starts.len()
                ));
            }
        }
        Ok(())
    }

    fn retries_are_exact(
        &mut self,
        now: Time,
        event: &Event,
        actions: &[Action],
        herd: &Supervisor,
    ) -> Result<(), String> {
        if matches!(event, Event::Command { .. } | Event::Defined(_)) {
            // What a command meant to each service is not followed here: count anew.
            self.restarts = herd.services().map(|s| (s.id(), s.restarts())).collect();
            self.retries = herd.services().map(|s| (s.id(), s.streak)).collect();
            return Ok(());
        }
        for entry in herd.entries.iter().flatten() {
            let service = &entry.service;
            let (id, state) = (service.id(), service.state());
            let Some((before, _)) = self.before.get(&id) else {
                continue;
            };
            let unit = service.unit();
            if !herd.ties(id).upheld_by.is_empty() {
                self.upheld.insert(id);
            }
            // What is upheld comes back whatever its own policy says.
            if self.upheld.contains(&id) || unit.kind == Kind::Target {
                continue;
            }
            let retries = self.retries.entry(id).or_default();
            let earlier = *retries;
            if let Some(since) = before.active_since()
                && !state.is_active()
                && now.since(since) >= Duration::from_secs(10)
            {
                *retries = 0;
            }
            let left = |from: &State| std::mem::discriminant(from) != std::mem::discriminant(state);
            let again =
                service.restarts() - self.restarts.insert(id, service.restarts()).unwrap_or(0);
            let released = |a: &Action| matches!(a, Action::Release { id: i, .. } if *i == id);
            let rested = before.is_at_rest() || actions.iter().any(released);
            let begins = (left(before) || rested) && (state.is_starting() || state.is_active());
            match again {
                0 if begins && rested => *retries = 0,
                _ => *retries += again,
            }
            // The limit of a definition that is taken with this very start counts from the next.
            let limit = unit.lifecycle.max_retries;
            if self.limits.insert(id, limit) != Some(limit) {
                continue;
            }
            let Some(most) = limit else { continue };
            if *retries > most && *retries > earlier {
                return Err(format!("{}: {retries} restarts, {most} allowed", unit.name));
            }
            let own = matches!(
                state,
                State::Failed(
                    Failure::Exit(_)
                        | Failure::EndedEarly(_)
                        | Failure::Command(..)
                        | Failure::Launch(_)
                        | Failure::Timeout(_)
                        | Failure::Watchdog
                        | Failure::OutOfMemory
                )
            );
            let looking = matches!(
                state,
                State::Failed(Failure::Timeout("looking at the conditions"))
            );
            if own
                && !looking
                && left(before)
                && unit.lifecycle.restart == Restart::Always
                && before.is_stopping()
                && *retries < most
            {
                return Err(format!(
                    "{}: failed after {retries} restarts of {most}",
                    unit.name
                ));
            }
        }
        Ok(())
    }

    fn tickets(&mut self, _herd: &Supervisor, world: &World) -> Result<(), String> {
        for (ticket, answers) in &world.answers {
            if answers.len() > 1 {
                return Err(format!("{ticket:?} was answered twice: {answers:?}"));
            }
            if self.dropped_tickets.contains(ticket) {
                return Err(format!("{ticket:?} was dropped and answered"));
            }
        }
        self.open_tickets
            .retain(|ticket| !world.answers.contains_key(ticket));
        Ok(())
    }
}

fn processes(herd: &Supervisor, world: &World, spared: &HashSet<ServiceId>) -> Result<(), String> {
    for service in herd.services() {
        let (id, state) = (service.id(), service.state());
        let name = &service.unit().name;
        let mains = world.main_of(id);
        if let Some(main) = state.main()
            && !mains.contains(&main.run)
            && !world.ended.contains(&(id, main.run))
        {
            return Err(format!(
                "{name}: its main process {:?} does not exist",
                main.run
            ));
        }
        if spares(herd, id) || spared.contains(&id) {
            continue;
        }
        if mains.len() > 1 {
            return Err(format!("{name}: two main processes {mains:?}"));
        }
        let known = mains.iter().all(|run| {
            state.main().is_some_and(|main| main.run == *run)
                || matches!(state, State::Launching { run: asked, .. } if asked == run)
                || matches!(state, State::Stopping { .. })
                || matches!(state, State::Failed(Failure::Unkillable))
        });
        if !known {
            return Err(format!(
                "{name}: a lost main process {mains:?} in {state:?}"
            ));
        }
    }
    Ok(())
}

fn under_way(entry: &crate::supervisor::set::Entry) -> bool {
    let state = entry.service.state();
    state.is_starting() || state.is_stopping() || (entry.job.is_some() && !entry.held)
}

fn order(
    before: &HashMap<ServiceId, (State, Option<Job>)>,
    actions: &[Action],
    herd: &Supervisor,
    event: &Event,
) -> Result<(), String> {
    // One that came to rest, or up, within the event may have woken others (on_failure, recovery):
    // those wishes are younger than a start that has just been made.
    let cascade = actions
        .iter()
        .any(|a| matches!(a, Action::Release { .. } | Action::Forget { .. }))
        || herd.services().any(|service| {
            let was = before
                .get(&service.id())
                .is_some_and(|(state, _)| state.is_active());
            service.state().is_active() && !was
        });
    for entry in herd.entries.iter().flatten() {
        let id = entry.service.id();
        let state = entry.service.state();
        let rested = before
            .get(&id)
            .is_none_or(|(s, _)| s.is_at_rest() || matches!(s, State::Backoff { .. }));
        let began = rested && (state.is_starting() || state.is_active());
        let spawns = actions
            .iter()
            .any(|a| matches!(a, Action::Spawn { id: i, role: Role::Main, .. } if *i == id));
        let name = &entry.service.unit().name;
        let ties = herd.ties(id);
        // What somebody else does keeps no order, and gives way to nobody.
        let is_elsewhere = matches!(event, Event::Elsewhere { id: done, .. } if *done == id);
        if began && !is_elsewhere {
            for other in &ties.predecessors {
                let Some(it) = herd.entry(*other) else {
                    continue;
                };
                let was = before.get(other).is_some_and(|(state, job)| {
                    state.is_starting() || state.is_stopping() || job.is_some()
                });
                let asked = matches!(
                    event,
                    Event::Command { .. } | Event::Defined(_) | Event::Tick
                );
                // It came to rest within this event, and something that came after wants it again.
                let again = actions
                    .iter()
                    .any(|action| matches!(action, Action::Release { id, .. } if id == other))
                    && it.service.state().is_starting();
                // One that ended in between may have woken the other (on_failure and its kin).
                let asked = asked && !cascade;
                let stood_still = before.get(other).is_some_and(|(state, _)| {
                    !state.is_at_rest()
                        && !matches!(state, State::Backoff { .. })
                        && state == it.service.state()
                });
                let was = was && (stood_still || !cascade);
                if !again && under_way(it) && (was || asked && it.service.state().is_starting()) {
                    return Err(format!(
                        "{name} began while {}, before it in order, was under way: {:?} {:?}",
                        it.service.unit().name,
                        it.service.state(),
                        it.job
                    ));
                }
            }
            for other in ties.needs.iter().filter(|o| ties.predecessors.contains(o)) {
                let there = herd.entry(*other).is_some_and(|it| {
                    matches!(
                        it.service.state(),
                        State::Active(_)
                            | State::Reloading { .. }
                            | State::Inactive(Rest::Completed | Rest::Skipped(_) | Rest::Exited)
                    )
                });
                let since = actions.iter().any(|action| match action {
                    Action::Release { id, .. } | Action::Forget { id } => id == other,
                    _ => false,
                });
                let was_there = before
                    .get(other)
                    .is_some_and(|(state, _)| state.is_active() || state.is_at_rest());
                let excused = since || (cascade && was_there);
                if !there && !excused {
                    return Err(format!(
                        "{name} began without {:?}",
                        herd.entry(*other)
                            .map(|e| (&e.service.unit().name, e.service.state()))
                    ));
                }
            }
            let forgot = actions.iter().any(|a| matches!(a, Action::Forget { .. }));
            if !ties.missing.is_empty() && !forgot {
                return Err(format!("{name} began though {:?} is missing", ties.missing));
            }
        }
        if began && !is_elsewhere && !spawns {
            for other in &ties.conflicts {
                if let Some(it) = herd.entry(*other)
                    && !it.service.state().is_at_rest()
                {
                    return Err(format!(
                        "{name} began beside {}, its conflict: {:?}",
                        it.service.unit().name,
                        it.service.state()
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Whoever waits has a deadline, or something of the world is on its way, or the unit said
/// `infinity`.
fn nothing_waits_in_vain(herd: &Supervisor, world: &World) -> Result<(), String> {
    for entry in herd.entries.iter().flatten() {
        let service = &entry.service;
        let (id, state, name) = (service.id(), service.state(), &service.unit().name);
        let lifecycle = &service.unit().lifecycle;
        let vain = match state {
            State::Inactive(_) | State::Failed(_) | State::Active(_) => false,
            State::Delayed { .. } | State::Checking { .. } | State::Idling { .. } => false,
            State::Backoff { .. } => entry.job.is_none() && !herd_wakes(herd, state),
            State::Starting {
                waiting: Waiting::MainFound,
                give_up_at: None,
                ..
            } => !world.finding.contains(&id),
            State::Starting {
                give_up_at: None, ..
            } => lifecycle.timeout_start.is_some() && service.next_unit.is_none(),
            // With a deadline, or for ever because of the unit: then a process is there.
            _ => state.deadline().is_none() && !world.owes(id) && world.is_empty(id),
        };
        if vain {
            return Err(format!("{name} waits in vain: {state:?}"));
        }
        let ties = herd.ties(id);
        let busy = |other: &ServiceId| {
            herd.entry(*other).is_some_and(|it| {
                let state = it.service.state();
                it.job.is_some()
                    || state.is_starting()
                    || state.is_stopping()
                    || matches!(state, State::Backoff { .. })
            })
        };
        let held_up = match &entry.job {
            None => true,
            Some(Job::Start) => {
                state.is_stopping()
                    || ties.predecessors.iter().any(busy)
                    || ties.successors.iter().any(busy)
                    || ties.conflicts.iter().any(busy)
            }
            Some(Job::Stop(_) | Job::Restart) => ties.successors.iter().any(busy),
        };
        if !held_up {
            return Err(format!(
                "{name} has a job that nothing holds up: {:?} in {state:?}",
                entry.job
            ));
        }
    }
    Ok(())
}

fn herd_wakes(herd: &Supervisor, state: &State) -> bool {
    match (herd.deadline(), state.deadline()) {
        (Some(next), Some(own)) => next <= own,
        _ => false,
    }
}

/// Words about runs that are over, or never were.
pub(super) fn stale_inputs(world: &World) -> Vec<(ServiceId, Input)> {
    let mut all = Vec::new();
    if let Some((id, run)) = world.ended.last() {
        let status = crate::supervisor::event::ExitStatus::Code(1);
        all.push((*id, Input::Exited { run: *run, status }));
        all.push((
            *id,
            Input::Probed {
                run: *run,
                result: Ok(()),
            },
        ));
        let pid = crate::supervisor::Pid(1);
        all.push((*id, Input::Spawned { run: *run, pid }));
        all.push((
            *id,
            Input::SpawnFailed {
                run: *run,
                why: "late".into(),
                code: 125,
            },
        ));
    }
    all
}
