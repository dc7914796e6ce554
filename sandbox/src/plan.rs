//! What `compile` makes: the steps of one launch, in order, as data.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use crate::cgroup::CgroupPlan;
use crate::config::{Inherit, Wall};
use crate::step::{NamespaceSet, Step};

/// The steps from the caller to the service's `execve`, for one machine.
///
/// Its `Display` is the golden format: one numbered line for each step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub(crate) carrier: Carrier,
    pub(crate) steps: Vec<Step>,
    pub(crate) warnings: Vec<GivenUp>,
    pub(crate) cgroup: Option<CgroupPlan>,
    pub(crate) fail_at: Option<usize>,
    /// The caller says when it has heard of the main process.
    pub(crate) is_followed: bool,
}

/// Which process walks the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Carrier {
    /// A child in the caller's own memory: nothing but system calls until `execve`.
    Vfork,
    /// This binary, executed again as `herd-exec`: the caller is not held up by the walk.
    Executor,
    /// A copy of the caller, which has to have one thread: no second `execve`, and one process
    /// less where the box needs nothing before its namespaces.
    Fork,
}

/// A wall that this machine cannot build and that the config said it can do without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    pub wall: Wall,
    pub reason: String,
}

impl Plan {
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// The walls given up, each with the reason.
    pub fn warnings(&self) -> &[GivenUp] {
        &self.warnings
    }

    pub fn steps_len(&self) -> usize {
        self.steps.len()
    }

    pub fn cgroup(&self) -> Option<&CgroupPlan> {
        self.cgroup.as_ref()
    }

    /// Claims that the main process lives below a process of ours that is the box's PID 1.
    pub fn has_reaper(&self) -> bool {
        self.steps.contains(&Step::StartMain)
    }

    /// The program, as the config has it.
    pub(crate) fn command(&self) -> Option<&OsStr> {
        let program = self.steps.iter().find_map(Step::as_exec)?;
        Some(OsStr::from_bytes(program.command.to_bytes()))
    }

    /// Claims that the program leads a session of its own.
    pub(crate) fn has_session(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Session { .. }))
    }

    pub(crate) fn makes_second_user_namespace(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::SecondUserNamespace(_)))
    }

    pub(crate) fn makes_user_namespace(&self) -> bool {
        let made = |step: &Step| {
            matches!(step, Step::UserNamespace(_))
                || matches!(step, Step::FirstProcess(set) if set.has(libc::CLONE_NEWUSER))
        };
        self.steps.iter().any(made)
    }

    /// The same steps, walked by a copy of the caller ([`Carrier::Fork`]).
    #[must_use]
    pub fn by_fork(mut self) -> Self {
        self.carrier = Carrier::Fork;
        self
    }

    /// The main process is not reaped before the caller has said ([`let_go`](crate::status::let_go))
    /// that it was told of it, and so knows its number: for callers that read at once.
    #[must_use]
    pub(crate) fn followed(mut self) -> Self {
        self.is_followed = true;
        self
    }

    /// Which of the caller's descriptors the program gets.
    pub(crate) fn inherit(&self) -> Inherit {
        let step = self.steps.iter().find_map(Step::as_descriptors);
        step.unwrap_or_default()
    }

    /// The new namespaces in which a process may be already that walks this plan: none, or its PID
    /// namespace, whose first process it is, and those that are the same whenever they are made. A mount
    /// namespace shows what was mounted when it was made, a cgroup namespace the group of its maker; a host
    /// name is that of then unless the plan sets one.
    ///
    /// What comes before the namespaces has to be the same inside and outside of them, and somebody has to
    /// stay who says what happens.
    pub(crate) fn begins_inside(&self) -> NamespaceSet {
        let before = |step: &&Step| {
            matches!(
                step,
                Step::Directory(_)
                    | Step::CreateCgroup(_)
                    | Step::JoinCgroup(_)
                    | Step::TakeNetwork(_)
            )
        };
        let mut rest = self.steps.iter().skip_while(before);
        let Some(Step::FirstProcess(set)) = rest.next() else {
            return NamespaceSet::default();
        };
        let again = |step: &Step| matches!(step, Step::FirstProcess(_) | Step::Maps(_));
        let alone = set.has_pid() && !set.has(libc::CLONE_NEWUSER);
        if !alone || !self.has_reaper() || rest.any(again) {
            return NamespaceSet::default();
        }
        let mut timeless = NamespaceSet::of(libc::CLONE_NEWPID);
        timeless.add(libc::CLONE_NEWIPC);
        // The host's is left when the lease has been taken in it.
        if !self
            .steps
            .iter()
            .any(|step| matches!(step, Step::TakeNetwork(_)))
        {
            timeless.add(libc::CLONE_NEWNET);
        }
        let names = |step: &Step| matches!(step, Step::Hostname(_));
        if self.steps.iter().any(names) {
            timeless.add(libc::CLONE_NEWUTS);
        }
        timeless.and(*set)
    }

    /// Fault injection, for tests: step `n` (from 1) fails with `ECANCELED` instead of being done.
    #[must_use]
    pub fn fail_at(mut self, n: usize) -> Self {
        self.fail_at = n.checked_sub(1);
        self
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:>3}. {step}", index + 1)?;
        }
        for given_up in &self.warnings {
            writeln!(f, "without {}: {}", given_up.wall, given_up.reason)?;
        }
        Ok(())
    }
}
