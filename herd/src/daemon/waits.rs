//! A boot that waits says for what: on the console as long as that is herd's, after a while in which nothing came up.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::{Daemon, clock};
use crate::supervisor::{Service, ServiceId, Time};

/// As long as units come up faster than this, their own lines say enough.
const FIRST: Duration = Duration::from_secs(5);
/// Then once more, and again after twice the time.
const AGAIN: Duration = Duration::from_secs(10);
const SELDOMEST: Duration = Duration::from_secs(80);

/// When the next word is due; none is while nothing is on its way.
#[derive(Debug)]
pub(super) struct Words {
    next: Option<Time>,
    pause: Duration,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            next: None,
            pause: AGAIN,
        }
    }
}

impl Words {
    /// Something has come up, or is to come.
    pub(super) fn progress(&mut self, now: Time) {
        *self = Self {
            next: Some(now + FIRST),
            pause: AGAIN,
        };
    }

    fn is_due(&self, now: Time) -> bool {
        self.next.is_some_and(|at| at <= now)
    }

    /// It was said, or there was nothing to say: then the next progress begins anew.
    fn said(&mut self, now: Time, is_something: bool) {
        self.next = is_something.then_some(now + self.pause);
        self.pause = (self.pause * 2).min(SELDOMEST);
    }
}

impl Daemon {
    /// When the console is to be told next.
    pub(super) fn words_due(&self) -> Option<Time> {
        self.words.next.filter(|_| self.has_console())
    }

    /// A boot is on its way, and nobody else writes to its console. (With `quiet` the log alone is told.)
    fn has_console(&self) -> bool {
        self.console.is_some() && !self.goals.have_arrived() && !self.ending.has_begun()
    }

    /// Of the first way of a unit up the console is told; the times after that are no progress of the boot.
    pub(super) fn note_progress(&mut self, id: ServiceId) {
        let service = self.supervisor.service(id);
        let came = |service: &Service| {
            let arrival = service.arrival();
            arrival.is_some_and(|arrival| arrival.over == Some(service.since()))
        };
        if self.has_console() && service.is_some_and(came) {
            self.words.progress(clock::now());
        }
    }

    pub(super) fn say_what_is_waited_for(&mut self) {
        let now = clock::now();
        if !self.words.is_due(now) || !self.has_console() {
            return;
        }
        let waits = self.goal_waits_for();
        self.words.said(now, waits.is_some());
        if let Some(waits) = waits {
            // Somebody may look why, before there is a place for logs.
            self.begin_logs(false);
            self.note(&format!("waiting for: {waits}"));
        }
    }

    /// What keeps the machine from its goal, while something does that will end.
    pub(super) fn goal_waits_for(&self) -> Option<String> {
        let boot = self.options.search.boot.as_ref()?;
        let goal = self.supervisor.id(&boot.goal)?;
        self.supervisor.waits_for(clock::now(), goal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_after_a_pause_and_then_ever_more_seldom() {
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let mut words = Words::default();
        assert!(!words.is_due(at(1_000)));
        words.progress(at(100));
        let mut said = Vec::new();
        for second in 100..=400 {
            if words.is_due(at(second)) {
                words.said(at(second), true);
                said.push(second - 100);
            }
        }
        assert_eq!(said, [5, 15, 35, 75, 155, 235]);
        // Something comes up: from the beginning.
        words.progress(at(500));
        assert!(words.is_due(at(505)) && !words.is_due(at(504)));
        // Nothing is on its way: nobody wakes up for it.
        words.said(at(505), false);
        assert!(!words.is_due(at(100_000)));
    }
}
