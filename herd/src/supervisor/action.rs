//! What the supervisor asks for. Each action is carried out by `daemon/perform.rs`, which decides
//! nothing; what comes of it returns as an event.
#![forbid(unsafe_code)]

use std::sync::Arc;

use units::{Haste, Power, Signal};

use super::event::{RunId, ServiceId, Ticket};
use super::state::State;

/// What there is to tell of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It is another than before.
    State,
    /// It is active as before: back from reloading, and how that went.
    Reloaded(Result<(), Arc<str>>),
    /// It is as before; the service has turned out to be unwell, for which nothing is done.
    Unhealthy(Arc<str>),
    /// It is as before, but not how well the service is.
    Health,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Evaluate `[condition]` and `[assert]`; answered by `Input::Checked`.
    Check {
        id: ServiceId,
    },
    /// Start a process; answered by `Spawned` or `SpawnFailed`, later by `Exited`.
    Spawn {
        id: ServiceId,
        run: RunId,
        role: Role,
    },
    /// SIGCONT follows every signal but SIGKILL, so that a stopped process hears it.
    Signal {
        id: ServiceId,
        whom: Whom,
        signal: Signal,
    },
    /// End everything the service started, beyond appeal.
    KillAll {
        id: ServiceId,
        signal: Signal,
    },
    /// Say `Emptied` when the service has no process: now, or `Remaining` now and `Emptied` later.
    AwaitEmpty {
        id: ServiceId,
    },
    /// Look for the main process of a forking service; answered by `MainMoved` or `MainMissing`.
    FindMain {
        id: ServiceId,
    },
    /// Probe once; answered by `Probed`.
    Probe {
        id: ServiceId,
        run: RunId,
        purpose: Purpose,
    },
    /// Give up this probe; no answer is wanted.
    CancelProbe {
        id: ServiceId,
        run: RunId,
    },
    /// The service is at rest: its cgroup, runtime directories and descriptors can go.
    /// `again` when it is about to be started anew.
    Release {
        id: ServiceId,
        again: bool,
    },
    /// The state became this, and may be another by now: tell the log, the watchers and the flight
    /// recorder.
    Changed {
        id: ServiceId,
        state: Box<State>,
        news: News,
    },
    /// The unit is gone for good: nothing of it needs to be remembered.
    Forget {
        id: ServiceId,
    },
    /// The unit's end is to be the machine's. Everything has been told to stop, or to end at once; where there is no
    /// machine to end, that is all.
    Power {
        id: ServiceId,
        power: Power,
        haste: Haste,
    },
    Answer {
        ticket: Ticket,
        answer: Answer,
    },
    /// herd ends by its policy, in order: because of this service, or because nothing is left to do.
    Ending {
        because_of: Option<ServiceId>,
    },
    /// Everything has stopped: herd may end.
    Exit {
        code: u8,
    },
}

/// Which process of a service, and so which command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Condition(u16),
    Pre(u16),
    Main,
    Post(u16),
    Reload(u16),
    Stop(u16),
    StopPost(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    Main,
    All,
    /// This one process, if it still is: a command whose time is up, a launch nobody waits for.
    Run(RunId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Readiness,
    Health,
}

/// What a client gets for its command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// The command was refused before anything was changed.
    Refused(Arc<str>),
    /// It was tried; this is what came of it, unit by unit.
    Failed(Vec<(units::UnitName, Arc<str>)>),
}
