//! A step that failed, as its caller tells it.
#![forbid(unsafe_code)]

use std::ffi::{CStr, OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::config::{NamespaceKind, Resource};
use crate::filesystem::MountFailure;
use crate::landlock::LandlockStep;
use crate::plan::Plan;
use crate::step::Step;
use crate::sys::{Errno, text_of};

/// The step of a plan that could not be done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailure {
    /// From 1.
    pub step: usize,
    pub total: usize,
    pub sentence: String,
    pub errno: i32,
    /// The process that was at this step, or behind it, was killed by this signal (`signal(7)`) before it
    /// executed the program.
    pub signal: Option<i32>,
    /// What was wanting, where the kernel refused a right.
    pub wanting: Option<Wanting>,
    /// The command itself could not be run: the sentence says everything.
    pub is_command: bool,
    /// What a mount step was about.
    pub mount: Option<Box<MountFailure>>,
    /// What the step was about: for callers that have words of their own.
    pub about: About,
}

/// What a step takes of its caller, which the kernel's answer does not tell apart from other reasons: a capability
/// (`capabilities(7)`) or a terminal. [`Display`](fmt::Display) says no more than is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanting {
    SysResource,
    /// That one for a hard limit that is raised; above `fs.nr_open` nobody may have more open files (`getrlimit(2)`).
    OpenFiles,
    SysNice,
    /// That one for other supplementary groups, and a user namespace that lets them be set (`user_namespaces(7)`).
    Groups,
    SetGid,
    SetUid,
    /// A user namespace whose maps have the number (`user_namespaces(7)`).
    Mapping,
    SetPcap,
    /// One that no other session has, for who leads no group of processes yet (`setsid(2)`, `TIOCSCTTY`).
    Terminal,
}

/// See [`StepFailure::about`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum About {
    /// Executing the program.
    Command,
    /// Opening this path for a Landlock rule.
    Rule(OsString),
    /// Entering this directory.
    WorkingDirectory(OsString),
    Hostname(OsString),
    /// Holding a lock on this file.
    Lock(OsString),
    /// Joining a namespace of others.
    Join(NamespaceKind),
    /// Entering a user namespace that was there already, once everything is set up.
    SecondUserNamespace,
    /// A user namespace could be made where none should.
    FurtherUserNamespaces,
    /// The maps of a user namespace.
    Maps,
    /// Becoming this user.
    User(u32),
    /// Becoming a member of this group.
    Group(u32),
    Loopback,
    Filter,
    /// The tree: [`StepFailure::mount`] says more.
    Mount,
    Other,
}

impl About {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other step has the engine's own words only"
    )]
    fn step(step: &Step) -> Self {
        match step {
            Step::Exec(_) => Self::Command,
            Step::WorkingDirectory { path, .. } => Self::WorkingDirectory(owned(path)),
            Step::FirstDirectory(paths) => {
                Self::WorkingDirectory(paths.last().map(|path| owned(path)).unwrap_or_default())
            }
            Step::Hostname(name) => Self::Hostname(owned(name)),
            Step::Lock(path) => Self::Lock(owned(path)),
            Step::Landlock(LandlockStep::Path { path, .. }) => Self::Rule(owned(path)),
            Step::JoinSecondUser => Self::SecondUserNamespace,
            Step::AssertNoUserNamespaces => Self::FurtherUserNamespaces,
            Step::UserNamespace(_) | Step::SecondUserNamespace(_) | Step::Maps(_) => Self::Maps,
            Step::Uid(uid) => Self::User(*uid),
            Step::Gid(gid) => Self::Group(*gid),
            Step::Loopback | Step::Connect => Self::Loopback,
            Step::Filter { .. } => Self::Filter,
            Step::Mount(_) => Self::Mount,
            _ => Self::Other,
        }
    }
}

fn owned(string: &CStr) -> OsString {
    OsStr::from_bytes(string.to_bytes()).to_owned()
}

impl StepFailure {
    /// `step` counts from 0.
    pub(crate) fn new(plan: &Plan, step: usize, errno: Errno) -> Self {
        let is_dead = errno == DIED;
        let (sentence, is_command) = match plan.steps.get(step) {
            Some(Step::Exec(program)) if plan.fail_at != Some(step) && !is_dead => {
                (program.failure(errno.0), true)
            }
            Some(other) => (other.to_string(), false),
            None => ("prepare the plan".to_owned(), false),
        };
        Self {
            step: step + 1,
            total: plan.steps.len(),
            sentence,
            errno: errno.0,
            signal: None,
            wanting: plan.steps.get(step).and_then(|step| wanting(step, errno)),
            is_command,
            mount: None,
            about: plan.steps.get(step).map_or(About::Other, About::step),
        }
    }

    /// The end of a process that was at this step, or behind it, and has said nothing.
    pub(crate) fn died(plan: &Plan, step: usize, end: ExitStatus) -> Self {
        Self {
            signal: end.signal(),
            ..Self::new(plan, step, DIED)
        }
    }

    /// Of a process that told nothing until its end, and so may have been at any step.
    pub(crate) fn died_somewhere(plan: &Plan, end: ExitStatus) -> Self {
        Self::died(plan, plan.steps.len().saturating_sub(1), end)
    }
}

/// Stands for an end that the process itself could not tell of.
pub(crate) const DIED: Errno = Errno(libc::EOWNERDEAD);

/// What the kernel answers with this errno for want of.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other step takes nothing, or what was asked for when the plan was made"
)]
fn wanting(step: &Step, errno: Errno) -> Option<Wanting> {
    if errno.0 == libc::EINVAL {
        let sets_numbers = matches!(step, Step::Groups(_) | Step::Gid(_) | Step::Uid(_));
        return sets_numbers.then_some(Wanting::Mapping);
    }
    if !matches!(errno.0, libc::EPERM | libc::EACCES) {
        return None;
    }
    match step {
        Step::Rlimit(limit) if limit.resource == Resource::OpenFiles => Some(Wanting::OpenFiles),
        Step::OomScore(_) | Step::Rlimit(_) => Some(Wanting::SysResource),
        Step::Nice(_) | Step::Scheduler { .. } | Step::IoPriority { .. } => Some(Wanting::SysNice),
        Step::Groups(_) => Some(Wanting::Groups),
        Step::Gid(_) => Some(Wanting::SetGid),
        Step::Uid(_) => Some(Wanting::SetUid),
        Step::BoundingSet { .. } => Some(Wanting::SetPcap),
        Step::Session {
            controlling_terminal: true,
        } => Some(Wanting::Terminal),
        _ => None,
    }
}

impl fmt::Display for Wanting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SysResource => "it may take CAP_SYS_RESOURCE",
            Self::OpenFiles => {
                "it may take CAP_SYS_RESOURCE, or a limit that is not above the sysctl fs.nr_open"
            }
            Self::SysNice => "it may take CAP_SYS_NICE",
            Self::Groups => {
                "it takes CAP_SETGID, and a user namespace in which setgroups is not denied"
            }
            Self::SetGid => "it takes CAP_SETGID",
            Self::SetUid => "it takes CAP_SETUID",
            Self::Mapping => "this user namespace has no such number",
            Self::SetPcap => "it takes CAP_SETPCAP",
            Self::Terminal => {
                "another session has that terminal, or the process leads a group already"
            }
        })
    }
}

/// Why a step was not done.
pub(crate) fn reason(errno: i32, signal: Option<i32>) -> String {
    match signal {
        Some(signal) => format!(
            "killed by {} before it executed its program",
            name_of(signal)
        ),
        None if errno == DIED.0 => "ended before it executed its program".to_owned(),
        None => text_of(errno),
    }
}

/// As `signal(7)` calls it.
fn name_of(signal: i32) -> String {
    match Signal::try_from(signal) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => format!("signal {signal}"),
    }
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_command {
            return f.write_str(&self.sentence);
        }
        let reason = reason(self.errno, self.signal);
        let (step, total) = (self.step, self.total);
        write!(f, "{} (step {step} of {total}): {reason}", self.sentence)?;
        match &self.wanting {
            Some(wanting) => write!(f, "; {wanting}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for StepFailure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_that_was_refused_is_named() {
        let terminal = Step::Session {
            controlling_terminal: true,
        };
        let wanting = |step: &Step, errno| wanting(step, Errno(errno));
        assert_eq!(
            wanting(&terminal, libc::EPERM).unwrap().to_string(),
            "another session has that terminal, or the process leads a group already"
        );
        assert_eq!(wanting(&terminal, libc::ENOTTY), None);
        let wants = |step: &Step| wanting(step, libc::EINVAL).unwrap().to_string();
        assert_eq!(
            wants(&Step::Groups(vec![33])),
            "this user namespace has no such number"
        );
        let nice = Step::Nice(-5);
        assert_eq!(wanting(&nice, libc::EACCES), Some(Wanting::SysNice));
    }

    #[test]
    fn where_a_right_is_not_the_only_reason_the_others_are_told() {
        let limit = |resource| {
            let (soft, hard) = (Some(1 << 40), Some(1 << 40));
            let limit = crate::config::Rlimit {
                resource,
                soft,
                hard,
            };
            wanting(&Step::Rlimit(limit), Errno(libc::EPERM)).unwrap()
        };
        assert_eq!(
            limit(Resource::OpenFiles).to_string(),
            "it may take CAP_SYS_RESOURCE, or a limit that is not above the sysctl fs.nr_open"
        );
        assert_eq!(
            limit(Resource::Core).to_string(),
            "it may take CAP_SYS_RESOURCE"
        );
        let groups = wanting(&Step::Groups(Vec::new()), Errno(libc::EPERM)).unwrap();
        assert_eq!(
            groups.to_string(),
            "it takes CAP_SETGID, and a user namespace in which setgroups is not denied"
        );
    }
}
