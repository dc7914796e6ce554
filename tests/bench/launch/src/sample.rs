//! What is measured of one launch.

use std::fmt;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use rustix::time::{ClockId, clock_gettime};

use crate::Result;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// How long the launcher could do nothing else.
    pub(crate) blocked: Option<Duration>,
    /// Until the program's `main`.
    pub(crate) executed: Option<Duration>,
    /// Until the program and everything around it were gone and reaped.
    pub(crate) wall: Duration,
    /// Of the launcher and of all it started.
    pub(crate) cpu: Duration,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for time in [self.blocked, self.executed, Some(self.wall), Some(self.cpu)] {
            match time {
                Some(time) => write!(f, "{:.1} ", time.as_secs_f64() * 1e6)?,
                None => f.write_str("- ")?,
            }
        }
        Ok(())
    }
}

/// `CLOCK_MONOTONIC`, which all processes share.
pub(crate) fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}

/// CPU time used so far by this process and by the children it has reaped.
pub(crate) fn cpu() -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        for time in [usage.user_time(), usage.system_time()] {
            sum +=
                Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec())?);
        }
    }
    Ok(sum)
}

/// The time that the program wrote, as nanoseconds of the same clock.
pub(crate) fn stamp(bytes: &[u8]) -> Option<Duration> {
    let bytes: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    Some(Duration::from_nanos(u64::from_ne_bytes(bytes)))
}
