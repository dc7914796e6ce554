//! A step that failed, as its caller tells it.
#![forbid(unsafe_code)]

use std::ffi::{CStr, OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use crate::config::NamespaceKind;
use crate::filesystem::MountFailure;
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
    /// The command itself could not be run: the sentence says everything.
    pub is_command: bool,
    /// What a mount step was about.
    pub mount: Option<Box<MountFailure>>,
    /// What the step was about: for callers that have words of their own.
    pub about: About,
}

/// See [`StepFailure::about`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum About {
    /// Executing the program.
    Command,
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
            Step::JoinSecondUser => Self::SecondUserNamespace,
            Step::AssertNoUserNamespaces => Self::FurtherUserNamespaces,
            Step::UserNamespace(_) | Step::SecondUserNamespace(_) | Step::Maps(_) => Self::Maps,
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
        let (sentence, is_command) = match plan.steps.get(step) {
            Some(Step::Exec(program)) if plan.fail_at != Some(step) => {
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
            is_command,
            mount: None,
            about: plan.steps.get(step).map_or(About::Other, About::step),
        }
    }
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_command {
            return f.write_str(&self.sentence);
        }
        write!(
            f,
            "{} (step {} of {}): {}",
            self.sentence,
            self.step,
            self.total,
            text_of(self.errno)
        )
    }
}

impl std::error::Error for StepFailure {}
