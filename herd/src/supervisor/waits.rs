//! What the way up of a unit waits for in the end, for who looks at a boot that does not go on.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::event::ServiceId;
use super::explain::duration;
use super::service::Service;
use super::set::Supervisor;
use super::state::State;
use super::time::Time;

/// As many are named; of the others it is said how many they are.
const NAMED: usize = 4;

impl Supervisor {
    /// `fsck-srv (12 s; device /dev/sdb1, 1min 30s at most), web (40 s of 1 min 30 s)`, the longest on its way first;
    /// `None` when the unit is there, or nothing will bring it there.
    pub fn waits_for(&self, now: Time, id: ServiceId) -> Option<String> {
        let mut found = self.in_the_way(id);
        found.sort_by(|a, b| {
            let key = |service: &Service| (begun(service), service.unit().name.clone());
            key(a).cmp(&key(b))
        });
        if found.is_empty() {
            return None;
        }
        let named = found.iter().take(NAMED).map(|service| phrase(now, service));
        let text = named.collect::<Vec<_>>().join(", ");
        Some(match found.len().saturating_sub(NAMED) {
            0 => text,
            more => format!("{text} and {more} more"),
        })
    }

    /// Those on their own way, up or down, that the unit or what it waits for comes after.
    fn in_the_way(&self, id: ServiceId) -> Vec<&Service> {
        let (mut todo, mut seen, mut found) = (vec![id], BTreeSet::from([id]), Vec::new());
        while let Some(next) = todo.pop() {
            let Some(entry) = self.entry(next) else {
                continue;
            };
            let state = entry.service.state();
            let goes = state.is_starting() || state.is_stopping();
            if goes || matches!(state, State::Backoff { .. }) && entry.job.is_none() {
                found.push(&entry.service);
            }
            if goes || entry.job.is_none() {
                continue;
            }
            let ties = self.ties(next);
            // One that is only wished for holds nobody while it waits for its next try.
            let holds = |other: &&ServiceId| {
                let is_needed = ties.needs.contains(*other);
                self.entry(**other).is_some_and(|entry| {
                    let state = entry.service.state();
                    is_needed || !matches!(state, State::Backoff { .. }) && !entry.held
                })
            };
            let stops = |other: &&ServiceId| {
                let other = self.entry(**other);
                other.is_some_and(|entry| entry.service.state().is_stopping())
            };
            let before = ties.predecessors.iter().filter(holds);
            let after = ties.successors.iter().chain(&ties.conflicts).filter(stops);
            for other in before.chain(after) {
                if seen.insert(*other) {
                    todo.push(*other);
                }
            }
        }
        found
    }
}

/// When its turn had come, of one that has never been there.
fn begun(service: &Service) -> Time {
    let first = service.arrival().filter(|arrival| arrival.over.is_none());
    first.map_or(service.since(), |arrival| arrival.begun)
}

fn phrase(now: Time, service: &Service) -> String {
    let name = &service.unit().name;
    let state = service.state();
    if let State::Backoff { until, failure } = state {
        let wait = duration(until.since(now));
        return format!("{name} (next try in {wait}: {failure})");
    }
    let begun = begun(service);
    let taken = duration(now.since(begun));
    let what = if state.is_stopping() {
        "stopping, "
    } else {
        ""
    };
    match (service.status_text(), give_up_at(state)) {
        (Some(text), _) => format!("{name} ({what}{taken}; {text})"),
        (None, Some(at)) => format!("{name} ({what}{taken} of {})", duration(at.since(begun))),
        (None, None) => format!("{name} ({what}{taken})"),
    }
}

/// When herd has no more patience with it.
fn give_up_at(state: &State) -> Option<Time> {
    match state {
        State::Preparing { give_up_at, .. }
        | State::Idling { give_up_at, .. }
        | State::Launching { give_up_at, .. }
        | State::Starting { give_up_at, .. }
        | State::Posting { give_up_at, .. }
        | State::Reloading { give_up_at, .. }
        | State::StopCommand { give_up_at, .. }
        | State::Stopping { give_up_at, .. }
        | State::StopPost { give_up_at, .. } => *give_up_at,
        State::Checking { give_up_at } => Some(*give_up_at),
        State::Delayed { until } | State::Backoff { until, .. } => Some(*until),
        State::Inactive(_) | State::Active(_) | State::Failed(_) => None,
    }
}
