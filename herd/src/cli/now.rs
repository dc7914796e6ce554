//! The command line's clock; the daemon has its own, and takes its times as arguments.
#![forbid(unsafe_code)]

use rustix::time::{ClockId, clock_gettime};

use crate::logs::Timestamp;

/// Now, as people say it.
pub(super) fn now() -> Timestamp {
    let time = clock_gettime(ClockId::Realtime);
    let micros = time.tv_sec.saturating_mul(1_000_000);
    Timestamp(micros.saturating_add(time.tv_nsec / 1000))
}
