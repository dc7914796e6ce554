//! When and how soon a service that ended by itself is started again.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Duration;

use units::Signal;
use units::unit::{ExitSet, Lifecycle, Restart, StartLimit};

use super::event::ExitStatus;
use super::state::{Failure, Rest, Then};
use super::time::Time;

/// A service that stood this long has had a good run: its next restart is immediate again.
pub const GOOD_RUN: Duration = Duration::from_secs(10);

/// How an end counts for `restart` (the columns of the table in systemd.service(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Clean,
    UncleanCode,
    UncleanSignal,
    Timeout,
    Watchdog,
}

/// What the end of the main process means.
///
/// A death by signal is a failure unless `success_exit_status` names the signal.
pub fn after_exit(lifecycle: &Lifecycle, status: ExitStatus, rest: Rest) -> Then {
    let clean = is_clean(lifecycle, status);
    let class = match status {
        _ if clean => Class::Clean,
        ExitStatus::Signal { .. } => Class::UncleanSignal,
        ExitStatus::Code(_) | ExitStatus::Unknown => Class::UncleanCode,
    };
    let again = if contains(&lifecycle.restart_prevent_exit_status, status) {
        false
    } else {
        contains(&lifecycle.restart_force_exit_status, status) || restarts(lifecycle.restart, class)
    };
    match (again, clean) {
        (true, _) => Then::Retry(Failure::Exit(status)),
        (false, true) => Then::Rest(rest),
        (false, false) => Then::Fail(Failure::Exit(status)),
    }
}

/// Whether such an end is a success.
pub fn is_clean(lifecycle: &Lifecycle, status: ExitStatus) -> bool {
    status == ExitStatus::Code(0) || contains(&lifecycle.success_exit_status, status)
}

/// What any other failure means.
pub fn after_failure(lifecycle: &Lifecycle, failure: Failure) -> Then {
    let class = match &failure {
        Failure::Timeout(_) => Class::Timeout,
        Failure::Watchdog => Class::Watchdog,
        Failure::OutOfMemory => Class::UncleanSignal,
        Failure::Exit(ExitStatus::Signal { .. })
        | Failure::EndedEarly(ExitStatus::Signal { .. })
        | Failure::Command(_, ExitStatus::Signal { .. }) => Class::UncleanSignal,
        Failure::Exit(_)
        | Failure::EndedEarly(_)
        | Failure::Command(..)
        | Failure::Launch(_)
        | Failure::Unhealthy(_)
        | Failure::NoMain(_) => Class::UncleanCode,
        // Another attempt changes nothing about these.
        Failure::Assert(_)
        | Failure::StartLimit
        | Failure::Dependency(_)
        | Failure::Missing(_)
        | Failure::Cycle(_)
        | Failure::Unkillable => return Then::Fail(failure),
    };
    if restarts(lifecycle.restart, class) {
        Then::Retry(failure)
    } else {
        Then::Fail(failure)
    }
}

/// The delay before restart number `streak` (0 is the first) since the last good run.
pub fn delay(lifecycle: &Lifecycle, streak: u32) -> Duration {
    let Some(power) = streak.checked_sub(1) else {
        return Duration::ZERO;
    };
    let (first, most) = (lifecycle.restart_delay, lifecycle.restart_delay_max);
    if first >= most {
        return first;
    }
    match lifecycle.restart_steps {
        // As systemd: a geometric way from the first to the longest delay in so many steps.
        Some(steps) if steps > 0 => {
            let share = f64::from(power.min(steps)) / f64::from(steps);
            let (low, high) = (first.as_secs_f64().max(0.000_1), most.as_secs_f64());
            Duration::try_from_secs_f64(low * (high / low).powf(share))
                .unwrap_or(most)
                .min(most)
        }
        _ => first
            .saturating_mul(2_u32.saturating_pow(power.min(31)))
            .min(most),
    }
}

/// The sliding window of `start_limit_burst` in `start_limit_interval`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StartWindow(VecDeque<Time>);

impl StartWindow {
    /// Notes a start, unless it is one too many.
    #[must_use = "a start over the limit must not be made"]
    pub fn admit(&mut self, limit: StartLimit, now: Time) -> bool {
        while self
            .0
            .front()
            .is_some_and(|start| now.since(*start) >= limit.interval)
        {
            self.0.pop_front();
        }
        if self.0.len() >= limit.burst as usize {
            return false;
        }
        self.0.push_back(now);
        true
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

fn restarts(policy: Restart, class: Class) -> bool {
    match policy {
        Restart::No => false,
        Restart::Always => true,
        Restart::OnSuccess => class == Class::Clean,
        Restart::OnFailure => class != Class::Clean,
        Restart::OnAbnormal => !matches!(class, Class::Clean | Class::UncleanCode),
        Restart::OnAbort => class == Class::UncleanSignal,
        Restart::OnWatchdog => class == Class::Watchdog,
    }
}

fn contains(set: &ExitSet, status: ExitStatus) -> bool {
    let has = |wanted: Signal| set.signals.contains(&wanted);
    match status {
        ExitStatus::Code(code) => set.codes.contains(&code),
        ExitStatus::Signal { signal, .. } => has(signal),
        ExitStatus::Unknown => false,
    }
}
