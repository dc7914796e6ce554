//! The states of one service. Every time and every process sits in the variant that needs it, so a
//! combination that makes no sense cannot be written down.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use units::UnitName;

use super::event::{ExitStatus, Pid, RunId};
use super::time::Time;

/// Where one service stands. `give_up_at: None` is a deadline the unit set to `infinity`.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    Inactive(Rest),
    /// `start_delay` runs.
    Delayed {
        until: Time,
    },
    /// `[condition]` and `[assert]` are being looked at.
    Checking {
        give_up_at: Time,
    },
    /// `command_condition` or `command_pre` number `index` runs.
    Preparing {
        stage: Stage,
        index: u16,
        run: RunId,
        give_up_at: Option<Time>,
    },
    /// `ready = "idle"`: the others go first, until then at most.
    Idling {
        until: Time,
        give_up_at: Option<Time>,
    },
    /// The main process is being made.
    Launching {
        run: RunId,
        give_up_at: Option<Time>,
        /// The service said that it is ready before the launch was told to be over: its word and
        /// the launch's come by different ways.
        said_ready: bool,
    },
    /// The main process runs and is not ready. A forking service has no main process between the
    /// end of its first process and the answer to `FindMain`.
    Starting {
        main: Option<Main>,
        waiting: Waiting,
        give_up_at: Option<Time>,
    },
    /// `command_post` number `index` runs.
    Posting {
        index: u16,
        run: RunId,
        main: Option<Main>,
        give_up_at: Option<Time>,
    },
    Active(Active),
    /// `reload` was asked for, or the service said `RELOADING=1`.
    Reloading {
        step: ReloadStep,
        active: Active,
        give_up_at: Option<Time>,
    },
    /// `command_stop` number `index` runs.
    StopCommand {
        index: u16,
        run: RunId,
        main: Option<Main>,
        give_up_at: Option<Time>,
        then: Then,
    },
    /// Signalled; ends when no process is left.
    Stopping {
        main: Option<Main>,
        /// The stop overtook this launch; what comes of it hears the signal too.
        launching: Option<RunId>,
        ending: Ending,
        give_up_at: Option<Time>,
        then: Then,
    },
    /// `command_stop_post` number `index` runs.
    StopPost {
        index: u16,
        run: RunId,
        give_up_at: Option<Time>,
        then: Then,
    },
    /// Will be started again.
    Backoff {
        until: Time,
        failure: Failure,
    },
    Failed(Failure),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Main {
    pub run: RunId,
    pub pid: Pid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Condition,
    Pre,
}

/// What a starting service is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// `READY=1`, or the newline on its descriptor.
    Word,
    /// A oneshot's end.
    End,
    /// The first process of a forking service has to end.
    Fork,
    /// The daemon looks for the main process.
    MainFound,
    /// The next readiness probe at this time.
    ProbeAt(Time),
    Probing {
        run: RunId,
        until: Time,
    },
}

/// The running part, with the clocks that watch it.
#[derive(Debug, Clone, PartialEq)]
pub struct Active {
    /// `None`: a target, or a oneshot that remains.
    pub main: Option<Main>,
    pub since: Time,
    pub watchdog: Option<Watchdog>,
    /// `runtime_max`.
    pub give_up_at: Option<Time>,
    pub health: Option<HealthState>,
    /// Its group is frozen: nothing is expected of it.
    pub is_frozen: bool,
}

/// The service pings at least this often; the next ping is due at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watchdog {
    pub every: Duration,
    pub due: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthState {
    pub next: HealthCheck,
    pub failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthCheck {
    At(Time),
    Running { run: RunId, until: Time },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadStep {
    /// `command_reload` number `index` runs.
    Command { index: u16, run: RunId },
    /// The service has to say `READY=1` again.
    Word,
}

/// How the processes are being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The main process has ended; whether others remain is being looked at.
    Looking,
    /// The service said `STOPPING=1`: how it ends decides what comes then.
    Own,
    /// The stop signal was sent.
    Asked,
    /// The watchdog's signal was sent.
    Aborted,
    /// SIGKILL was sent to all.
    Killed,
}

/// What comes once everything has ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Then {
    Rest(Rest),
    Retry(Failure),
    Fail(Failure),
}

/// Why a service rests without having failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rest {
    NeverStarted,
    /// Somebody asked for it.
    Stopped,
    /// Ended by itself, cleanly.
    Exited,
    /// A oneshot that has done its work.
    Completed,
    /// A condition does not hold.
    Skipped(Arc<str>),
    /// What it is bound to or part of went away; it comes back with it.
    Bound(UnitName),
    /// Stopped because that one starts.
    Conflict(UnitName),
    Unneeded,
    /// What it had done is undone, and not by its own stop.
    Undone,
    /// On its way down to be started again.
    Restarting,
    /// herd ends at once: nothing more is run for this service.
    Killed,
}

/// Why a service failed. The display is the reason in words, for status and log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    Exit(ExitStatus),
    /// A clean end where none was due (before readiness).
    EndedEarly(ExitStatus),
    /// A command beside the main one: which, and how it ended.
    Command(&'static str, ExitStatus),
    Launch(Arc<str>),
    /// What took too long.
    Timeout(&'static str),
    Watchdog,
    OutOfMemory,
    Unhealthy(Arc<str>),
    Assert(Arc<str>),
    NoMain(Arc<str>),
    StartLimit,
    Dependency(UnitName),
    /// The same of one that has no definition: no file, or a broken one.
    Missing(UnitName),
    Cycle(Arc<str>),
    /// Processes did not end in time: SIGKILL was not enough, or the unit forbids it.
    Unkillable,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(status) => write!(f, "{status}"),
            Self::EndedEarly(status) => write!(f, "{status} before it was ready"),
            Self::Command(which, status) => write!(f, "{which}: {status}"),
            Self::Launch(why) => f.write_str(why),
            Self::Timeout(what) => write!(f, "timeout: {what}"),
            Self::Watchdog => f.write_str("watchdog: no ping in time"),
            Self::OutOfMemory => f.write_str("out of memory: killed by the kernel"),
            Self::Unhealthy(why) => write!(f, "unhealthy: {why}"),
            Self::Assert(why) => write!(f, "assertion: {why}"),
            Self::NoMain(why) => write!(f, "no main process: {why}"),
            Self::StartLimit => f.write_str("started too often"),
            Self::Dependency(name) => write!(f, "{name}, which it requires, is not active"),
            Self::Missing(name) => {
                write!(f, "{name}, which it requires, is broken or does not exist")
            }
            Self::Cycle(path) => write!(f, "ordering cycle: {path}"),
            Self::Unkillable => f.write_str("processes remain that did not end in time"),
        }
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverStarted => f.write_str("never started"),
            Self::Stopped => f.write_str("stopped"),
            Self::Exited => f.write_str("exited"),
            Self::Completed => f.write_str("completed"),
            Self::Skipped(why) => write!(f, "skipped: {why}"),
            Self::Bound(name) => write!(f, "went down with {name}"),
            Self::Conflict(name) => write!(f, "gave way to {name}"),
            Self::Unneeded => f.write_str("no longer needed"),
            Self::Undone => f.write_str("undone by somebody else"),
            Self::Restarting => f.write_str("restarting"),
            Self::Killed => f.write_str("killed"),
        }
    }
}

impl State {
    /// Nothing runs and nothing is due.
    pub fn is_at_rest(&self) -> bool {
        matches!(self, Self::Inactive(_) | Self::Failed(_))
    }

    /// The unit for want of which it is down.
    pub fn because_of(&self) -> Option<&UnitName> {
        match self {
            Self::Failed(Failure::Dependency(name) | Failure::Missing(name))
            | Self::Inactive(Rest::Bound(name)) => Some(name),
            _ => None,
        }
    }

    /// Processes may exist and no stop is under way.
    pub fn is_starting(&self) -> bool {
        matches!(
            self,
            Self::Delayed { .. }
                | Self::Checking { .. }
                | Self::Preparing { .. }
                | Self::Idling { .. }
                | Self::Launching { .. }
                | Self::Starting { .. }
                | Self::Posting { .. }
        )
    }

    pub fn is_active(&self) -> bool {
        matches!(self, Self::Active(_) | Self::Reloading { .. })
    }

    pub fn is_stopping(&self) -> bool {
        matches!(
            self,
            Self::StopCommand { .. } | Self::Stopping { .. } | Self::StopPost { .. }
        )
    }

    /// The main process, while there is one.
    pub fn main(&self) -> Option<Main> {
        match self {
            Self::Starting { main, .. }
            | Self::Posting { main, .. }
            | Self::StopCommand { main, .. }
            | Self::Stopping { main, .. } => *main,
            Self::Active(active) | Self::Reloading { active, .. } => active.main,
            Self::Inactive(_)
            | Self::Delayed { .. }
            | Self::Checking { .. }
            | Self::Preparing { .. }
            | Self::Idling { .. }
            | Self::Launching { .. }
            | Self::StopPost { .. }
            | Self::Backoff { .. }
            | Self::Failed(_) => None,
        }
    }

    /// The command beside the main process that runs now.
    pub fn command(&self) -> Option<RunId> {
        match self {
            Self::Preparing { run, .. }
            | Self::Posting { run, .. }
            | Self::Reloading {
                step: ReloadStep::Command { run, .. },
                ..
            }
            | Self::StopCommand { run, .. }
            | Self::StopPost { run, .. } => Some(*run),
            Self::Inactive(_)
            | Self::Delayed { .. }
            | Self::Checking { .. }
            | Self::Idling { .. }
            | Self::Launching { .. }
            | Self::Starting { .. }
            | Self::Active(_)
            | Self::Reloading { .. }
            | Self::Stopping { .. }
            | Self::Backoff { .. }
            | Self::Failed(_) => None,
        }
    }

    /// When the service became active, while it is.
    pub fn active_since(&self) -> Option<Time> {
        match self {
            Self::Active(active) | Self::Reloading { active, .. } => Some(active.since),
            _ => None,
        }
    }

    /// When something has to happen even if the world stays silent.
    pub fn deadline(&self) -> Option<Time> {
        match self {
            Self::Inactive(_) | Self::Failed(_) => None,
            Self::Delayed { until } | Self::Backoff { until, .. } => Some(*until),
            Self::Checking { give_up_at } => Some(*give_up_at),
            Self::Idling { until, give_up_at } => earliest(Some(*until), *give_up_at),
            Self::Preparing { give_up_at, .. }
            | Self::Launching { give_up_at, .. }
            | Self::Posting { give_up_at, .. }
            | Self::StopCommand { give_up_at, .. }
            | Self::Stopping { give_up_at, .. }
            | Self::StopPost { give_up_at, .. } => *give_up_at,
            Self::Starting {
                waiting: Waiting::ProbeAt(at) | Waiting::Probing { until: at, .. },
                give_up_at,
                ..
            } => earliest(Some(*at), *give_up_at),
            Self::Starting { give_up_at, .. } => *give_up_at,
            Self::Active(active) => active.deadline(),
            Self::Reloading {
                active, give_up_at, ..
            } => earliest(active.deadline(), *give_up_at),
        }
    }
}

impl Active {
    fn deadline(&self) -> Option<Time> {
        let health = self.health.map(|health| match health.next {
            HealthCheck::At(at) | HealthCheck::Running { until: at, .. } => at,
        });
        let watchdog = self.watchdog.map(|watchdog| watchdog.due);
        if self.is_frozen {
            return self.give_up_at;
        }
        earliest(earliest(watchdog, self.give_up_at), health)
    }
}

fn earliest(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}
