//! What a session tells of itself, as values and as lines of JSON.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

use super::instance::InstanceId;
use super::outcome::EndReason;
use crate::config::Wall;
use crate::failure::{About, StepFailure};
use crate::namespaces::NamespaceIds;
use crate::plan::{GivenUp, Plan};
use crate::sys::files::write_to_end;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Walls that this machine cannot build and that the config said it can do without. Told once,
    /// before anything is started, and only if there are any.
    RuntimeInitWarnings { warnings: Vec<GivenUp> },
    /// A process exists in the box's namespaces, and is held there until the observer comes back.
    /// `pid` is the box's first process where it has one of its own.
    Spawned { pid: i32, namespaces: NamespaceIds },
    /// The program runs; `pid` is its process, as the caller's PID namespace numbers it.
    SetupFinished { pid: i32 },
    /// Nothing runs, and nothing is left.
    Failed {
        /// From 1.
        step: usize,
        total: usize,
        /// What was to be done.
        what: String,
        /// The path it was about, of the box or of the host.
        path: Option<PathBuf>,
        errno: i32,
        /// What has killed the process that was to become the program.
        signal: Option<i32>,
    },
    /// The program has ended.
    Exited {
        pid: i32,
        /// Its own code, unless a signal ended it.
        code: Option<i32>,
        signal: Option<i32>,
        reason: EndReason,
    },
}

/// An event with its place in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub instance: InstanceId,
    /// Nanoseconds of `CLOCK_MONOTONIC`: they never go back.
    pub monotonic_ns: u64,
    pub event: Event,
}

/// An observer's answer to [`Event::Spawned`]: the box is not to be. The text is for the error that
/// [`spawn`](super::spawn) gives then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AbortLaunch(pub String);

impl Told {
    pub(super) fn now(instance: InstanceId, event: Event) -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
        Self {
            instance,
            monotonic_ns: seconds * 1_000_000_000 + nanoseconds,
            event,
        }
    }

    /// The event as one line of JSON, with its newline. Every line has
    ///
    /// * `event`: `runtime_init_warnings`, `spawned`, `setup_finished`, `failed` or `exited`,
    /// * `instance`: 32 hexadecimal digits,
    /// * `monotonic_ns`: a number;
    ///
    /// and beside them
    ///
    /// | event | members |
    /// |---|---|
    /// | `runtime_init_warnings` | `warning_count`, `warnings`: a list of `{"wall", "reason"}` |
    /// | `spawned` | `pid`, `ns`: ids by `user`, `mnt`, `pid`, `net`, `ipc`, `uts`, `cgroup`, `time`, or null |
    /// | `setup_finished` | `pid` |
    /// | `failed` | `step` and `total` (from 1), `what`, `path` (or null), `errno`, `reason` in words |
    /// | `exited` | `pid`, `code` (or null), `signal` (or null), `reason`: `exited`, `signaled` or `out_of_memory` |
    ///
    /// More members may come; those here stay as they are.
    pub fn to_json_line(&self) -> String {
        let (name, members) = self.event.to_json();
        let mut line = Map::new();
        line.insert("event".to_owned(), name.into());
        line.insert("instance".to_owned(), self.instance.to_string().into());
        line.insert("monotonic_ns".to_owned(), self.monotonic_ns.into());
        if let Value::Object(members) = members {
            line.extend(members);
        }
        format!("{}\n", Value::Object(line))
    }
}

impl Event {
    fn to_json(&self) -> (&'static str, Value) {
        match self {
            Self::RuntimeInitWarnings { warnings } => {
                let wall = |wall: &Wall| wall.to_string();
                let list: Vec<Value> = warnings
                    .iter()
                    .map(|one| json!({"wall": wall(&one.wall), "reason": one.reason}))
                    .collect();
                let members = json!({"warning_count": warnings.len(), "warnings": list});
                ("runtime_init_warnings", members)
            }
            Self::Spawned { pid, namespaces } => {
                ("spawned", json!({"pid": pid, "ns": ids(namespaces)}))
            }
            Self::SetupFinished { pid } => ("setup_finished", json!({"pid": pid})),
            Self::Failed {
                step,
                total,
                what,
                path,
                errno,
                signal,
            } => {
                let path = path.as_ref().map(|path| path.to_string_lossy());
                let reason = crate::failure::reason(*errno, *signal);
                let members = json!({
                    "step": step, "total": total, "what": what, "path": path,
                    "errno": errno, "signal": signal, "reason": reason,
                });
                ("failed", members)
            }
            Self::Exited {
                pid,
                code,
                signal,
                reason,
            } => {
                let members =
                    json!({"pid": pid, "code": code, "signal": signal, "reason": reason.word()});
                ("exited", members)
            }
        }
    }

    pub(super) fn failed(failure: &StepFailure, plan: &Plan) -> Self {
        let path = match (&failure.mount, &failure.about) {
            (Some(mount), _) => Some(mount.path.clone()),
            (None, About::WorkingDirectory(path) | About::Lock(path) | About::Rule(path)) => {
                Some(path.clone())
            }
            (None, About::Command) => plan.command().map(ToOwned::to_owned),
            (None, _) => None,
        };
        Self::Failed {
            step: failure.step,
            total: failure.total,
            what: failure.sentence.clone(),
            path: path.map(PathBuf::from),
            errno: failure.errno,
            signal: failure.signal,
        }
    }
}

fn ids(of: &NamespaceIds) -> Value {
    json!({
        "user": of.user, "mnt": of.mnt, "pid": of.pid, "net": of.net,
        "ipc": of.ipc, "uts": of.uts, "cgroup": of.cgroup, "time": of.time,
    })
}

/// Who is told.
pub(super) struct Audience<'a> {
    pub(super) instance: InstanceId,
    pub(super) observer: Option<Box<Observer<'a>>>,
    pub(super) lines: Option<OwnedFd>,
}

pub(super) type Observer<'a> = dyn FnMut(&Told) -> Result<(), AbortLaunch> + 'a;

impl Audience<'_> {
    pub(super) fn listens(&self) -> bool {
        self.observer.is_some() || self.lines.is_some()
    }

    /// The line first: who reads it is outside, and cannot object.
    pub(super) fn tell(&mut self, event: Event) -> Result<(), AbortLaunch> {
        if !self.listens() {
            return Ok(());
        }
        let told = Told::now(self.instance, event);
        if let Some(lines) = &self.lines {
            match write_to_end(lines.as_fd(), told.to_json_line().as_bytes()) {
                Ok(()) => {}
                // Whoever does not read it any more does not want to know.
                Err(_) => self.lines = None,
            }
        }
        match &mut self.observer {
            Some(observer) => observer(&told),
            None => Ok(()),
        }
    }
}
