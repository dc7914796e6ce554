//! The one place that reads a clock.
#![forbid(unsafe_code)]

use rustix::time::{ClockId, clock_gettime};

use crate::logs::Timestamp;
use crate::supervisor::Time;

/// Now, on the clock that the supervisor lives by (`CLOCK_BOOTTIME`: it goes on in suspend).
pub(crate) fn now() -> Time {
    Time::from_micros(micros(ClockId::Boottime))
}

/// Now, as people say it: microseconds since 1970.
pub(super) fn wall() -> Timestamp {
    Timestamp(i64::try_from(micros(ClockId::Realtime)).unwrap_or(i64::MAX))
}

/// Microseconds of `CLOCK_MONOTONIC`, as the notify protocol tells time.
pub(super) fn monotonic_micros() -> u64 {
    micros(ClockId::Monotonic)
}

/// When `time` was or will be, as people say it, by today's difference between the clocks.
pub(super) fn to_wall(time: Time) -> i64 {
    let now_boot = i64::try_from(now().as_micros()).unwrap_or(i64::MAX);
    let then = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    wall().0.saturating_add(then.saturating_sub(now_boot))
}

fn micros(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000)
        .saturating_add(nanos / 1_000)
}
