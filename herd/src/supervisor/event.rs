//! What the supervisor is told.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use units::{Signal, Unit, UnitName};

/// A slot of the supervisor. Never used again for another unit while herd lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// One process (or probe) that the supervisor asked for. Never used twice, so a late word about an
/// old process cannot be taken for one about a new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// A process as the kernel numbers it, seen from herd. Used for display only: signals go by pidfd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pid(pub i32);

/// A client's request that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Everything that can happen to the set of services.
#[derive(Debug, Clone)]
pub enum Event {
    /// The unit files, read again: the whole set.
    Defined(Definitions),
    /// A single unit that a client named and that is not in the enabled set.
    Loaded(Arc<Unit>),
    Command {
        ticket: Ticket,
        verb: Verb,
        names: Vec<UnitName>,
    },
    /// The client of this ticket went away.
    TicketDropped(Ticket),
    Service {
        id: ServiceId,
        input: Input,
    },
    /// What a oneshot that remains stands for was done by somebody else, or undone.
    Elsewhere {
        id: ServiceId,
        is_done: bool,
    },
    /// Time has passed; the deadline may have come.
    Tick,
    /// End in order: stop everything, dependants first.
    Shutdown,
    /// End now: kill everything.
    ShutdownNow,
}

/// The result of reading the unit directories.
#[derive(Debug, Clone, Default)]
pub struct Definitions {
    pub units: Vec<Arc<Unit>>,
    /// Those with a file in `enabled/`.
    pub enabled: BTreeSet<UnitName>,
    /// Those whose files are broken now: what is known of them stays.
    pub broken: BTreeSet<UnitName>,
    /// Ordering cycles: each unit on one, with the path walked.
    pub cycles: Vec<(UnitName, Arc<str>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Start,
    Stop,
    Restart,
    Reload,
    ResetFailed,
}

/// What the world reports about one service.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Order and requirements are met: go. Sent by the set, never by the world.
    Start,
    /// Sent by the set when order allows.
    Stop {
        rest: super::state::Rest,
    },
    Reload,
    /// Nothing else is starting any more (`ready = "idle"`).
    Idle,
    Checked(CheckResult),
    /// `execve` succeeded.
    Spawned {
        run: RunId,
        pid: Pid,
    },
    /// The process never came to be: a step of the launch failed.
    SpawnFailed {
        run: RunId,
        why: Arc<str>,
        /// What herd ends with if it does so for this: see [`ending`](super::ending).
        code: u8,
    },
    /// The process ended.
    Exited {
        run: RunId,
        status: ExitStatus,
    },
    /// Another process is the main one now (`MAINPID=`, a pid file). The run is the daemon's to
    /// choose and never one of the supervisor's; later `Exited` with it tells of that process.
    MainMoved {
        run: RunId,
        pid: Pid,
    },
    /// A forking service left no main process that could be found.
    MainMissing {
        why: Arc<str>,
    },
    /// No process of the service is left, and no launch is under way. Answers
    /// `Action::AwaitEmpty`, at once or later; true when it is said, and said after every `Exited`.
    Emptied,
    /// Processes are left; `Emptied` follows when they are gone. Answers `Action::AwaitEmpty`.
    Remaining,
    /// The kernel killed a process of the service for want of memory.
    OutOfMemory,
    /// All processes of the service stand still (`true`), or go on.
    Frozen(bool),
    Notified(Notice),
    /// A probe succeeded, or did not and says why.
    Probed {
        run: RunId,
        result: Result<(), Arc<str>>,
    },
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckResult {
    Met,
    /// A `[condition]` does not hold: skipped quietly.
    Skip(Arc<str>),
    /// An `[assert]` does not hold.
    AssertFailed(Arc<str>),
}

/// A line of the notify protocol that the supervisor decides about (`sd_notify(3)`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    Ready,
    Reloading,
    Stopping,
    Status(Arc<str>),
    /// From now on, at least this long.
    ExtendTimeout(Duration),
    WatchdogPing,
    /// The service asks for its own watchdog action.
    WatchdogTrigger,
    /// Another interval (`WATCHDOG_USEC=`).
    WatchdogInterval(Duration),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    Code(u8),
    Signal {
        signal: Signal,
        core: bool,
    },
    /// The kernel could not tell: somebody else reaped it.
    Unknown,
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit {code}"),
            Self::Signal {
                signal,
                core: false,
            } => write!(f, "killed by {signal}"),
            Self::Signal { signal, core: true } => write!(f, "killed by {signal}, core dumped"),
            Self::Unknown => write!(f, "unknown end"),
        }
    }
}
