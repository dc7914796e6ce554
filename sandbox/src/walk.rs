//! The walk of a box's steps, in the executor and then in the box's first process.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::cgroup::{self, CgroupError};
use crate::failure::StepFailure;
use crate::filesystem::{MountFailure, MountTrouble, Mounts};
use crate::held::HeldDescriptors;
use crate::init;
use crate::main_process::{NOT_EXECUTED, Prepared, perform};
use crate::namespaces::NamespaceIds;
use crate::plan::Plan;
use crate::status::{self, Wire};
use crate::step::{NamespaceSet, Step};
use crate::sys::clone::{Child, Parent, Side, fork};
use crate::sys::{Errno, files, network, process};

/// Why a step was not done.
#[derive(Debug)]
struct Trouble {
    errno: Errno,
    /// What the step's own sentence does not say.
    detail: Option<String>,
    mount: Option<Box<MountFailure>>,
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            detail: None,
            mount: None,
        }
    }
}

impl From<MountTrouble> for Trouble {
    fn from(trouble: MountTrouble) -> Self {
        Self {
            errno: trouble.errno,
            detail: trouble.about.as_ref().and_then(|about| about.detail()),
            mount: trouble.about,
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Errno(error.raw_os_error().unwrap_or(libc::EIO)).into()
    }
}

impl From<CgroupError> for Trouble {
    fn from(error: CgroupError) -> Self {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        let mut errno = Errno(libc::EIO);
        while let Some(cause) = source {
            if let Some(code) = cause
                .downcast_ref::<io::Error>()
                .and_then(io::Error::raw_os_error)
            {
                errno = Errno(code);
            }
            source = cause.source();
        }
        Self {
            errno,
            detail: Some(error.to_string()),
            mount: None,
        }
    }
}

/// The process that walks: the executor, or a copy of the caller; from [`Step::Namespaces`] on the
/// box's first process, if it has one of its own.
pub(crate) struct Walker<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) prepared: &'a Prepared,
    /// To the caller.
    pub(crate) channel: OwnedFd,
    /// To the executor, in a first process that it has made.
    pub(crate) report: Option<OwnedFd>,
    pub(crate) held: HeldDescriptors,
    /// What the box's first process holds for as long as it lives.
    pub(crate) kept: Vec<OwnedFd>,
    /// Namespaces that this process was made in, and need not enter.
    born_into: NamespaceSet,
    /// Whether this process is process 1 of the box.
    is_first: bool,
    mounts: Mounts,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        prepared: &'a Prepared,
        channel: OwnedFd,
        held: HeldDescriptors,
    ) -> Self {
        Self {
            plan,
            prepared,
            channel,
            report: None,
            held,
            kept: Vec::new(),
            born_into: NamespaceSet::default(),
            is_first: false,
            mounts: Mounts::default(),
        }
    }

    /// This process is the copy of the caller that was made in these namespaces.
    pub(crate) fn born_into(mut self, set: NamespaceSet) -> Self {
        self.born_into = set;
        self.is_first = set.has_pid();
        self
    }

    /// Walks the plan to its `execve`, and in a box with a reaper beyond: never comes back.
    pub(crate) fn walk(mut self) -> ! {
        let plan = self.plan;
        for (index, step) in plan.steps.iter().enumerate() {
            let answer = if plan.fail_at == Some(index) {
                Err(Errno(libc::ECANCELED).into())
            } else if *step == Step::StartMain {
                // Descriptors of the old tree must not outlive the set-up.
                self.mounts = Mounts::default();
                self.held = HeldDescriptors::default();
                init::run(self, index + 1)
            } else {
                self.perform(index, step)
            };
            if let Err(trouble) = answer {
                let failure = told(plan, index, trouble);
                self.tell_failure(failure);
            }
        }
        process::exit_now(NOT_EXECUTED)
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "every other step is one of the main process"
    )]
    fn perform(&mut self, index: usize, step: &Step) -> Result<(), Trouble> {
        match step {
            Step::CreateCgroup(group) => Ok(cgroup::create(group)?),
            Step::JoinCgroup(group) => Ok(cgroup::join(group)?),
            Step::UserNamespace { uid, gid } => self.enter_user_namespace(*uid, *gid),
            Step::Namespaces(set) => self.enter(index, *set),
            Step::Gate => Ok(self.wait_at_gate()?),
            Step::Hostname(name) => Ok(process::set_hostname(name)?),
            Step::Loopback => Ok(network::loopback_up()?),
            Step::Mount(step) => Ok(self.mounts.perform(step, &self.held)?),
            Step::Block(held) => Ok(block(self.held.borrow(*held)?)?),
            Step::KeepOpen(held) => {
                let kept = self.held.borrow(*held)?.try_clone_to_owned()?;
                self.kept.push(kept);
                Ok(())
            }
            Step::Lock(path) => {
                let file = files::open(path, libc::O_RDONLY | libc::O_NONBLOCK)?;
                let lock = rustix::fs::FlockOperation::NonBlockingLockShared;
                rustix::fs::fcntl_lock(&file, lock).map_err(Errno::from)?;
                self.kept.push(file);
                Ok(())
            }
            Step::Descriptors(_) => {
                self.mounts = Mounts::default();
                self.held = HeldDescriptors::default();
                // From here on this process is the service's own: it does not end with the
                // caller unless that was asked for, which is a later step.
                if self.plan.outlives_parent() {
                    process::outlive_parent()?;
                }
                Ok(perform(step, self.prepared)?)
            }
            step => Ok(perform(step, self.prepared)?),
        }
    }

    /// Only ourselves exist in the new namespace, under the numbers we have outside.
    fn enter_user_namespace(&mut self, uid: u32, gid: u32) -> Result<(), Trouble> {
        if !self.born_into.has(libc::CLONE_NEWUSER) {
            process::unshare(u64::from(libc::CLONE_NEWUSER.unsigned_abs()))?;
        }
        // Before gid_map: else a group that a file denies something to could be left.
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
        // The maps of a process that is not dumpable belong to root; from here on we are not.
        Ok(process::set_dumpable(false)?)
    }

    fn enter(&mut self, index: usize, set: NamespaceSet) -> Result<(), Trouble> {
        if self.is_first {
            return Ok(());
        }
        if !set.has_pid() {
            let missing = set.0 & !self.born_into.0;
            return match missing {
                0 => Ok(()),
                missing => Ok(process::unshare(missing)?),
            };
        }
        let (outside, inside) = status::pair()?;
        match fork(Parent::OurParent, set.0)? {
            Side::Parent(init) => {
                drop(inside);
                self.stay_outside(index, &init, &outside)
            }
            Side::Child => {
                drop(outside);
                self.is_first = true;
                // Until the box stands: a caller that dies meanwhile leaves nothing.
                process::die_with_parent()?;
                // Out of the way of the descriptors of the main process.
                let lowest = self.prepared.descriptors.above();
                let report = rustix::io::fcntl_dupfd_cloexec(&inside, lowest);
                self.report = Some(report.map_err(Errno::from)?);
                // The caller may have died before we asked to die with it.
                if status::is_closed(self.channel.as_fd()) {
                    process::exit_now(NOT_EXECUTED)
                }
                Ok(())
            }
        }
    }

    /// Tells the caller which namespaces there are, and waits for its leave to go on.
    fn wait_at_gate(&self) -> io::Result<()> {
        let ourselves = process::own_pidfd()?;
        let held = Wire::AtGate(NamespaceIds::of_self());
        status::send(self.channel.as_fd(), &held, &[ourselves.as_fd()])?;
        match status::take(self.channel.as_fd())? {
            Some(Wire::Go) => Ok(()),
            Some(_) => Err(io::ErrorKind::InvalidData.into()),
            // The caller has died, or does not want the box any more.
            None => process::exit_now(NOT_EXECUTED),
        }
    }

    /// Says it to the executor, which sees us end and passes it on; or to the caller itself. Nobody
    /// is left to hear of a send that fails.
    pub(crate) fn tell_failure(&self, failure: StepFailure) -> ! {
        let to = self.report.as_ref().unwrap_or(&self.channel);
        match status::send(to.as_fd(), &Wire::Failed(failure), &[]) {
            Ok(()) | Err(_) => process::exit_now(NOT_EXECUTED),
        }
    }

    /// The executor's last duty: to tell what became of the box's first process, once that is sure.
    fn stay_outside(&self, index: usize, init: &Child, told: &OwnedFd) -> ! {
        let code = match conclude(self.plan, index, &self.channel, init, told) {
            Ok(true) => 0,
            Ok(false) | Err(_) => NOT_EXECUTED,
        };
        process::exit_now(code)
    }
}

/// The failure of one step as the caller will read it.
fn told(plan: &Plan, index: usize, trouble: Trouble) -> StepFailure {
    let mut failure = StepFailure::new(plan, index, trouble.errno);
    if let Some(detail) = trouble.detail {
        failure.sentence = format!("{}: {detail}", failure.sentence);
    }
    failure.mount = trouble.mount;
    failure
}

/// Until there is something to read, or never will be.
fn block(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        match rustix::io::read(descriptor, &mut [0u8; 1]) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => wait_for(descriptor)?,
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Gives whether the box stands.
fn conclude(
    plan: &Plan,
    index: usize,
    channel: &OwnedFd,
    init: &Child,
    told: &OwnedFd,
) -> io::Result<bool> {
    let failure = match status::take(told.as_fd())? {
        // The first process has told the caller everything itself.
        Some(Wire::Executed) => return Ok(true),
        Some(Wire::Failed(failure)) => failure,
        Some(Wire::Moved | Wire::Main | Wire::AtGate(_) | Wire::Go | Wire::Exited(_)) => {
            return Ok(false);
        }
        // Closed by execve, or by death: the caller sees which by the pidfd.
        None if !plan.has_reaper() => {
            status::send(channel.as_fd(), &Wire::Moved, &[init.pidfd.as_fd()])?;
            status::send(channel.as_fd(), &Wire::Executed, &[])?;
            return Ok(true);
        }
        None => StepFailure::new(plan, index, Errno(libc::EOWNERDEAD)),
    };
    // Until the process is a zombie: it is our sibling, so its parent reaps it.
    wait_for(init.pidfd.as_fd())?;
    status::send(
        channel.as_fd(),
        &Wire::Failed(failure),
        &[init.pidfd.as_fd()],
    )?;
    Ok(false)
}

/// Until it can be read: a pidfd can when its process has ended.
fn wait_for(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        match poll(
            &mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)],
            None,
        ) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
