//! One direction of a relayed connection: what is on its way, and how far its end has come. Pure.
#![forbid(unsafe_code)]

/// Nothing is read before everything that was read has been passed on: a slow reader slows its writer down, and an idle
/// connection has no buffer.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// Read, and not passed on whole.
    waiting: Vec<u8>,
    /// How much of it is.
    passed: usize,
    end: End,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// Nothing more comes; what waits goes first.
    Ended,
    /// And who reads has been told.
    Told,
}

impl Pipe {
    /// What is to be passed on first.
    pub(super) fn waiting(&self) -> &[u8] {
        self.waiting.get(self.passed..).unwrap_or_default()
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting().is_empty()
    }

    /// Something more may be read.
    pub(super) fn wants_more(&self) -> bool {
        self.end == End::Open && !self.has_waiting()
    }

    /// Who reads is to be told that this was all.
    pub(super) fn is_to_be_told(&self) -> bool {
        self.end == End::Ended && !self.has_waiting()
    }

    pub(super) fn is_over(&self) -> bool {
        self.end == End::Told
    }

    /// These were read, and could not be passed on yet.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.waiting.drain(..self.passed);
        self.passed = 0;
        self.waiting.extend_from_slice(bytes);
    }

    /// So many of those that wait have been passed on.
    pub(super) fn pass(&mut self, count: usize) {
        self.passed = self.passed.saturating_add(count).min(self.waiting.len());
        if self.passed == self.waiting.len() {
            self.waiting = Vec::new();
            self.passed = 0;
        }
    }

    pub(super) fn ends(&mut self) {
        if self.end == End::Open {
            self.end = End::Ended;
        }
    }

    pub(super) fn told(&mut self) {
        self.end = End::Told;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_end_is_told_behind_everything_that_waits() {
        let mut pipe = Pipe::default();
        assert!(pipe.wants_more());
        pipe.keep(b"abc");
        pipe.ends();
        assert!(!pipe.wants_more() && !pipe.is_to_be_told());
        pipe.pass(2);
        assert_eq!(pipe.waiting(), b"c");
        pipe.pass(1);
        assert!(pipe.is_to_be_told() && !pipe.is_over());
        pipe.told();
        assert!(pipe.is_over() && !pipe.wants_more() && !pipe.is_to_be_told());
    }

    #[test]
    fn what_has_been_passed_on_takes_no_memory() {
        let mut pipe = Pipe::default();
        pipe.keep(&[1; 5000]);
        pipe.pass(5000);
        assert_eq!(pipe.waiting.capacity(), 0);
    }

    proptest! {
        #[test]
        fn one_that_is_not_over_waits_for_something(steps in proptest::collection::vec(0..4_u8, 0..50)) {
            let mut pipe = Pipe::default();
            for step in steps {
                match step {
                    0 if pipe.wants_more() => pipe.keep(&[7; 9]),
                    1 => pipe.pass(4),
                    2 => pipe.ends(),
                    3 if pipe.is_to_be_told() => pipe.told(),
                    _ => {}
                }
                let ways = [pipe.wants_more(), pipe.has_waiting(), pipe.is_to_be_told(), pipe.is_over()];
                prop_assert_eq!(ways.into_iter().filter(|way| *way).count(), 1);
            }
        }
    }
}
