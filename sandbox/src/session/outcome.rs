//! How a session ended, or why it never began.
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::event::AbortLaunch;
use super::instance::InstanceId;
use super::lock::LockError;
use super::validate::ValidationError;
use crate::cgroup::CgroupError;
use crate::compile::CompileError;
use crate::failure::StepFailure;
use crate::host::HostError;
use crate::launch::LaunchError;
use crate::network::NetworkError;
use crate::plan::GivenUp;

/// How the program of a box ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOutcome {
    pub instance: InstanceId,
    /// The program's process, as the caller's PID namespace numbered it.
    pub pid: i32,
    pub status: ExitStatus,
    pub reason: EndReason,
}

impl RunOutcome {
    /// The program's own code; 128 and the signal's number where a signal ended it, as shells have it.
    pub fn exit_code(&self) -> i32 {
        exit_code(self.status)
    }
}

/// The code that a launcher ends with for a program that ended like this: see
/// [`RunOutcome::exit_code`].
pub fn exit_code(status: ExitStatus) -> i32 {
    let by_signal = status.signal().map(|signal| 128 + signal);
    status.code().or(by_signal).unwrap_or(255)
}

/// What made a program end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// It ended itself.
    Exited,
    /// A signal.
    Signaled,
    /// SIGKILL from the kernel, because the group's memory was used up.
    OutOfMemory,
}

impl EndReason {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Signaled => "signaled",
            Self::OutOfMemory => "out_of_memory",
        }
    }
}

/// Why there is no session. Nothing was started, or nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("the config makes no sense: {}", listed(.0))]
    Invalid(Vec<ValidationError>),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error("walls would be missing: {}", given_up(.0))]
    Warnings(Vec<GivenUp>),
    #[error(
        "this program has several threads and did not call sandbox::executor_entry() first thing in \
         main, so nobody can build the box"
    )]
    NoExecutor,
    #[error(transparent)]
    Launch(LaunchError),
    /// The step that failed.
    #[error(transparent)]
    Step(#[from] StepFailure),
    #[error("cannot make the box's cgroup")]
    Cgroup(#[source] CgroupError),
    #[error("the observer does not want the box")]
    Aborted(#[source] AbortLaunch),
    #[error("cannot follow the launch: {action}")]
    Follow {
        action: &'static str,
        source: io::Error,
    },
}

impl From<LaunchError> for SpawnError {
    fn from(error: LaunchError) -> Self {
        match error {
            LaunchError::Step(failure) => Self::Step(failure),
            LaunchError::Cgroup(error) => Self::Cgroup(error),
            other @ (LaunchError::Image(_)
            | LaunchError::Prepare { .. }
            | LaunchError::Encode(_)
            | LaunchError::Target(_)
            | LaunchError::Threads
            | LaunchError::Clone(_)) => Self::Launch(other),
        }
    }
}

fn listed(problems: &[ValidationError]) -> String {
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    words.join("; ")
}

fn given_up(warnings: &[GivenUp]) -> String {
    let words: Vec<String> = warnings
        .iter()
        .map(|one| format!("{}: {}", one.wall, one.reason))
        .collect();
    words.join("; ")
}

/// Why the end of a session is not known.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    #[error("cannot follow the box")]
    Follow(#[from] io::Error),
    /// The box has ended; its group is still there.
    #[error("cannot remove the box's cgroup")]
    Cgroup(#[source] CgroupError),
    /// The box has ended; its place on networks is still taken, until [`collect`](crate::network::collect).
    #[error("cannot give back the box's network")]
    Network(#[source] NetworkError),
}

/// Of [`launch`](super::launch), which is `spawn` and `wait`.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Wait(#[from] WaitError),
}
