//! How a unit first came up, and how long all of them took together: what a boot is made of.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::state::State;
use super::time::Time;

/// The first way of one unit up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its turn had come: what it is ordered after was there.
    pub begun: Time,
    /// It was active, or at rest again: a oneshot that is done, a condition that does not hold, a
    /// failure. Tries in between, and the waits between them, count as one way.
    pub over: Option<Time>,
}

impl Arrival {
    /// What is known of it once `state` has been entered.
    pub(super) fn after(known: Option<Self>, state: &State, now: Time) -> Option<Self> {
        let is_over = state.is_active() || state.is_at_rest();
        match known {
            None if state.is_at_rest() => None,
            None => Some(Self {
                begun: now,
                over: is_over.then_some(now),
            }),
            Some(arrival) => Some(Self {
                over: arrival.over.or_else(|| is_over.then_some(now)),
                ..arrival
            }),
        }
    }

    pub fn took(&self) -> Option<Duration> {
        self.over.map(|over| over.since(self.begun))
    }
}

/// When nothing was on its way any more for the first time. Units that began later were started for
/// another reason than the boot: one that waited for others begins at the moment they arrive.
///
/// A unit that is still trying keeps no boot open; it is told beside it.
pub fn finished(arrivals: impl IntoIterator<Item = Arrival>) -> Option<Time> {
    let mut arrivals: Vec<Arrival> = arrivals.into_iter().collect();
    arrivals.sort_by_key(|arrival| arrival.begun);
    let mut finished = None;
    for arrival in arrivals {
        if finished.is_some_and(|finished| arrival.begun > finished) {
            break;
        }
        finished = finished.max(arrival.over);
    }
    finished
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn arrival(begun: u64, over: Option<u64>) -> Arrival {
        Arrival {
            begun: at(begun),
            over: over.map(at),
        }
    }

    #[test]
    fn a_boot_is_over_when_nothing_is_on_its_way_any_more() {
        assert_eq!(finished([]), None);
        let chain = [
            arrival(30, Some(50)),
            arrival(0, Some(10)),
            arrival(10, Some(30)),
        ];
        assert_eq!(finished(chain), Some(at(50)));
    }

    #[test]
    fn what_is_started_later_is_no_part_of_the_boot() {
        let boot = [arrival(0, Some(10)), arrival(5, Some(20))];
        let later = [arrival(21, Some(400))];
        assert_eq!(finished(boot.into_iter().chain(later)), Some(at(20)));
    }

    #[test]
    fn a_unit_that_never_arrives_keeps_no_boot_open() {
        let boot = [arrival(0, None), arrival(0, Some(10)), arrival(10, None)];
        assert_eq!(finished(boot), Some(at(10)));
        assert_eq!(finished([arrival(0, None)]), None);
    }
}
