//! Kills for want of memory in herd's own group, of which the kernel counts how many and not whose: a process of a
//! service without a group, one that such a service has started, or one of another group below.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::supervisor::Time;

/// Who ends by SIGKILL so soon after may have been killed together with the others.
const TOGETHER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct OwnKills {
    count: u64,
    /// When there were last found to be more.
    rose: Option<Time>,
}

impl OwnKills {
    /// What was counted before does not concern us.
    pub(super) fn after(count: u64) -> Self {
        Self { count, rose: None }
    }

    /// Whether a process that has just ended by SIGKILL may have been one of them.
    pub(super) fn may_be_one(&mut self, count: u64, now: Time) -> bool {
        if count > self.count {
            self.rose = Some(now);
        }
        self.count = count;
        self.rose.is_some_and(|rose| now.since(rose) < TOGETHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_that_are_killed_together_both_may_have_been_and_nobody_later() {
        let begin = crate::daemon::moment();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut kills = OwnKills::after(3);
        assert!(!kills.may_be_one(3, at(0)));
        assert!(kills.may_be_one(4, at(10)));
        assert!(kills.may_be_one(4, at(20)));
        assert!(!kills.may_be_one(4, at(2_000)));
        assert!(kills.may_be_one(6, at(2_001)));
    }
}
