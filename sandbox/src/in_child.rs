//! Isolation for callers that fork and execute by themselves.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::compile::{CompileError, compile};
use crate::config::{Config, IdMaps, Inherit, UserNamespace};
use crate::failure::StepFailure;
use crate::held::HeldDescriptors;
use crate::host::{Host, HostError};
use crate::init;
use crate::main_process::{Descriptors, Prepared};
use crate::plan::Plan;
use crate::session::{ValidationError, validate};
use crate::status;
use crate::step::{NamespaceSet, Step};
use crate::sys::clone::{Child, Parent, Side, fork};
use crate::sys::{Errno, descriptors, process, signals};
use crate::walk::{Trouble, Walker, told, write_maps};

/// Why a process was not isolated. It may be in some of the namespaces already: all that is left to do
/// is to end it.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("the config makes no sense: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<ValidationError>),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error("only a process with one thread can be isolated, as a child is after fork(2)")]
    Threads,
    #[error(transparent)]
    Step(#[from] StepFailure),
    #[error("cannot agree with the parent on the maps")]
    Sync(#[source] io::Error),
}

/// Two descriptors by which a child and its parent agree on who writes the maps of the child's user
/// namespace.
#[derive(Debug, Clone, Copy)]
pub struct UserNamespaceSync<'a> {
    /// One byte is written here once the calling process is in its user namespace.
    pub ready: BorrowedFd<'a>,
    /// One byte is read from here; by then the parent has written `/proc/PID/uid_map` and `gid_map` of the
    /// process that it forked. The end of the file means that it will not.
    pub done: BorrowedFd<'a>,
}

/// Isolates the calling process, which its parent has forked and which executes the program itself
/// afterwards: for callers that set something up between the two.
///
/// All of the config is done but two things: the descriptors, of which those from 3 on are only made to
/// close at `execve` (unless [`Inherit::All`]), and the program, its arguments and its environment, which
/// are what the caller executes. The system call filter stands when this returns, so it has to allow what
/// the caller still does.
///
/// # Processes
/// A PID namespace is for children. So where the config has one, this returns in *another* process, the
/// caller's copy: process 1 of the namespace with [`as_pid_1`](crate::config::Walls::as_pid_1), else the child
/// of a process 1 that reaps. The process that was forked stays outside, passes signals on, and ends with
/// the code of the program (128 and the number of the signal that ended it), so that the parent waits for
/// the pid it knows.
///
/// # Errors
/// [`ApplyError`] names the step. The process that it is given to has to end.
pub fn apply_isolation_in_child(config: &Config) -> Result<(), ApplyError> {
    apply(config, None)
}

/// [`apply_isolation_in_child`] in a user namespace whose maps the parent writes, as has to be where
/// somebody who is not root maps more than itself, or where a security module lets only the parent do so.
///
/// # Errors
/// As there; [`ApplyError::Sync`] when the parent does not write them.
pub fn apply_isolation_in_child_sync(
    config: &Config,
    sync: UserNamespaceSync<'_>,
) -> Result<(), ApplyError> {
    let mut config = config.clone();
    if let Some(walls) = &mut config.walls {
        let wanted = walls
            .user_namespace
            .get_or_insert_with(UserNamespace::default);
        wanted.maps = IdMaps::ByCaller;
        config.lifecycle.gate = true;
    }
    apply(&config, Some(sync))
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "every other step is done as in any walk"
)]
fn apply(config: &Config, sync: Option<UserNamespaceSync<'_>>) -> Result<(), ApplyError> {
    // The command is the caller's business.
    let mut config = config.clone();
    if config.process.argv.is_empty() {
        config.process.argv.push("/".into());
    }
    validate(&config).map_err(ApplyError::Invalid)?;
    if !process::is_single_threaded().map_err(|errno| ApplyError::Sync(errno.into()))? {
        return Err(ApplyError::Threads);
    }
    let plan = compile(&config, &Host::detect()?)?;
    let prepared = Prepared::new(&plan, Descriptors::new(None, []), signals::ignored());
    // Nobody speaks on it: it is there so that the walk sees a caller that lives.
    let (_ours, theirs) = status::pair().map_err(ApplyError::Sync)?;
    let mut applying = Applying {
        plan: &plan,
        sync,
        walker: Walker::new(&plan, &prepared, theirs, HeldDescriptors::default()),
    };
    for (index, step) in plan.steps.iter().enumerate() {
        let failed = |trouble: Trouble| told(&plan, index, trouble);
        match step {
            Step::Exec(_) => break,
            Step::FirstProcess(set) => applying.go_inside(index, *set)?,
            Step::Gate if applying.sync.is_none() => {}
            Step::Gate => applying.agree().map_err(ApplyError::Sync)?,
            Step::StartMain => applying.leave_init().map_err(|e| failed(e.into()))?,
            Step::Descriptors(Inherit::All) => {}
            Step::Descriptors(Inherit::Passed) => {
                descriptors::close_on_exec_from(3).map_err(|e| failed(e.into()))?;
            }
            // A caller that has set a terminal up leads a session already.
            Step::Session {
                controlling_terminal: false,
            } if leads_session() => {}
            step => applying.walker.perform(index, step).map_err(failed)?,
        }
    }
    Ok(())
}

fn leads_session() -> bool {
    // The C library's wrapper: a leader outside of our PID namespace is 0.
    nix::unistd::getsid(None).is_ok_and(|session| session == nix::unistd::getpid())
}

struct Applying<'a> {
    plan: &'a Plan,
    sync: Option<UserNamespaceSync<'a>>,
    walker: Walker<'a>,
}

impl Applying<'_> {
    /// The copy goes on; what was forked by the caller's parent stays outside.
    fn go_inside(&mut self, index: usize, set: NamespaceSet) -> Result<(), ApplyError> {
        let failed = |errno: Errno| StepFailure::new(self.plan, index, errno);
        let mut set = set;
        if let Some(sync) = self.sync.take() {
            // The parent knows the pid of this process, and of no copy.
            let user = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
            process::unshare(user).map_err(failed)?;
            agree(sync).map_err(ApplyError::Sync)?;
            set.0 &= !user;
        }
        let (outside, inside) = status::pair().map_err(ApplyError::Sync)?;
        match fork(Parent::Ourselves, set.0).map_err(failed)? {
            Side::Child => {
                drop(outside);
                self.walker.report = Some(inside);
                process::die_with_parent().map_err(failed)?;
                Ok(())
            }
            Side::Parent(child) => {
                drop(inside);
                self.write_maps(&child, outside.as_fd())?;
                init::stand_by(child.pid, &[])
            }
        }
    }

    fn write_maps(&self, child: &Child, channel: BorrowedFd<'_>) -> Result<(), ApplyError> {
        let Some(maps) = self.plan.maps() else {
            return Ok(());
        };
        match write_maps(self.plan, maps, child, channel).map_err(ApplyError::Sync)? {
            None => Ok(()),
            Some(failure) => Err(failure.into()),
        }
    }

    fn agree(&mut self) -> io::Result<()> {
        self.sync.take().map_or(Ok(()), agree)
    }

    /// Process 1 stays, its child goes on.
    fn leave_init(&mut self) -> Result<(), Errno> {
        match fork(Parent::Ourselves, 0)? {
            Side::Child => process::die_with_parent(),
            Side::Parent(child) => {
                let kept: Vec<_> = self.walker.kept.iter().map(AsRawFd::as_raw_fd).collect();
                init::stand_by(child.pid, &kept)
            }
        }
    }
}

fn agree(sync: UserNamespaceSync<'_>) -> io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::io::write(sync.ready, &[1]))?;
    match rustix::io::retry_on_intr(|| rustix::io::read(sync.done, &mut [0u8; 1]))? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
