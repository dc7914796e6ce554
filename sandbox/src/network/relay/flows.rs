//! Who has asked by UDP of late, and where the answers go. Pure.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::SocketAddrV6;

/// So many at once; one more takes the place of the one that has been still the longest.
pub(super) const MOST: usize = 256;
/// Milliseconds after which one that is still is forgotten.
pub(super) const IDLE: u64 = 60_000;

/// The door that was asked at, and who asked.
pub(super) type Key = (usize, SocketAddrV6);

#[derive(Debug)]
struct Flow<T> {
    key: Key,
    /// When something last went through it, in milliseconds of any clock.
    used: u64,
    of: T,
}

/// Flows by a number each, which another gets when it is over.
#[derive(Debug)]
pub(super) struct Flows<T> {
    places: Vec<Option<Flow<T>>>,
    by_key: BTreeMap<Key, usize>,
}

impl<T> Default for Flows<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            by_key: BTreeMap::new(),
        }
    }
}

impl<T> Flows<T> {
    /// The number of a flow, which is used now.
    pub(super) fn find(&mut self, key: &Key, now: u64) -> Option<usize> {
        let number = *self.by_key.get(key)?;
        self.places.get_mut(number)?.as_mut()?.used = now;
        Some(number)
    }

    /// Whose it is, and what it has; it is used now.
    pub(super) fn at(&mut self, number: usize, now: u64) -> Option<(Key, &T)> {
        let flow = self.places.get_mut(number)?.as_mut()?;
        flow.used = now;
        Some((flow.key, &flow.of))
    }

    /// A place for one more.
    pub(super) fn make_place(&mut self) -> usize {
        if let Some(free) = self.places.iter().position(Option::is_none) {
            return free;
        }
        if self.places.len() < MOST {
            self.places.push(None);
            return self.places.len() - 1;
        }
        let used = |(_, place): &(usize, &Option<Flow<T>>)| place.as_ref().map(|flow| flow.used);
        let oldest = self.places.iter().enumerate().min_by_key(used);
        let oldest = oldest.map_or(0, |(number, _)| number);
        self.forget(oldest);
        oldest
    }

    /// Puts it in a place that [`make_place`](Self::make_place) gave.
    pub(super) fn put(&mut self, number: usize, key: Key, of: T, now: u64) {
        if let Some(place) = self.places.get_mut(number) {
            *place = Some(Flow { key, used: now, of });
            self.by_key.insert(key, number);
        }
    }

    fn forget(&mut self, number: usize) {
        if let Some(flow) = self.places.get_mut(number).and_then(Option::take) {
            self.by_key.remove(&flow.key);
        }
    }

    /// Forgets those that have been still for long; when to look again, if ever.
    pub(super) fn expire(&mut self, now: u64) -> Option<u64> {
        let is_over = |flow: &Flow<T>| now.saturating_sub(flow.used) >= IDLE;
        for number in 0..self.places.len() {
            let place = self.places.get(number).and_then(Option::as_ref);
            if place.is_some_and(is_over) {
                self.forget(number);
            }
        }
        let left = self.places.iter().flatten();
        left.map(|flow| flow.used + IDLE).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn key(port: u16) -> Key {
        (0, SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0))
    }

    fn add(flows: &mut Flows<u16>, port: u16, now: u64) {
        let place = flows.make_place();
        flows.put(place, key(port), port, now);
    }

    #[test]
    fn the_stillest_gives_its_place_to_one_more_than_there_is_room_for() {
        let mut flows = Flows::default();
        for (port, now) in (0..256).zip(0..) {
            add(&mut flows, port, now);
        }
        assert!(flows.find(&key(0), 1000).is_some());
        add(&mut flows, 999, 1001);
        assert_eq!(flows.find(&key(1), 1001), None);
        let number = flows.find(&key(999), 1001).unwrap();
        assert_eq!(flows.at(number, 1001), Some((key(999), &999)));
        assert!(flows.find(&key(0), 1001).is_some());
        assert_eq!((flows.places.len(), flows.by_key.len()), (MOST, MOST));
    }

    #[test]
    fn one_that_is_still_for_a_minute_is_forgotten() {
        let mut flows = Flows::default();
        assert_eq!(flows.expire(5), None);
        add(&mut flows, 1, 1000);
        add(&mut flows, 2, 2000);
        assert_eq!(flows.expire(60_999), Some(61_000));
        assert_eq!(flows.expire(61_000), Some(62_000));
        assert_eq!(flows.find(&key(1), 61_000), None);
        assert!(flows.find(&key(2), 61_500).is_some());
        assert_eq!(flows.expire(62_000), Some(121_500));
    }

    #[test]
    fn one_asker_at_two_doors_is_two() {
        let mut flows = Flows::default();
        let (one, other) = ((0, key(7).1), (1, key(7).1));
        for key in [one, other] {
            let place = flows.make_place();
            flows.put(place, key, 7_u16, 0);
        }
        assert_ne!(flows.find(&one, 0), flows.find(&other, 0));
    }
}
