//! The box's first process: starts the main process, reaps for it, passes signals on to it, says
//! how it ended, and ends; the kernel then ends what is left of the box.

use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus};

use crate::failure::StepFailure;
use crate::main_process::{Prepared, Walk};
use crate::plan::Plan;
use crate::status::{self, Wire};
use crate::step::Step;
use crate::sys::clone::{Child, Manner, Stack};
use crate::sys::signals::{self, Blocked};
use crate::sys::{Errno, capabilities, process};
use crate::walk::{start_main, tell_failure};

/// Becomes the reaper of a box whose steps up to `first` are done.
pub(crate) fn run(
    plan: Plan,
    prepared: Prepared,
    first: usize,
    channel: OwnedFd,
    report: Option<OwnedFd>,
) -> ! {
    let walk = start_main(&plan, &prepared, first);
    let main = match start(&walk, &channel, report.as_ref(), &plan) {
        Ok(main) => main,
        Err((step, errno)) => {
            let failure = StepFailure::new(&plan, step, errno);
            tell_failure(failure, &channel, report.as_ref());
        }
    };
    // Nothing but the channel and a number is needed from here on.
    drop((plan, prepared, report));
    let status = reap_until_end_of(main);
    let told = status::send(channel.as_fd(), &Wire::Exited(status), &[]);
    let code = if status & 0x7f == 0 {
        status >> 8 & 0xff
    } else {
        128 + (status & 0x7f)
    };
    match told {
        // A caller that has gone does not hear it; the exit status says nearly the same.
        Ok(()) | Err(_) => process::exit_now(code),
    }
}

/// Starts the main process and tells the caller; gives its pid here inside.
fn start(
    walk: &Walk<'_>,
    channel: &OwnedFd,
    report: Option<&OwnedFd>,
    plan: &Plan,
) -> Result<i32, (usize, Errno)> {
    let here = walk.first.saturating_sub(1);
    let at_start = |errno: Errno| (here, errno);
    // For good: everything that comes is taken by `reap_until_end_of`.
    let blocked = Blocked::new().map_err(at_start)?;
    // A terminal's ctrl-c is for the caller; passed on, it would undo the order of a stop.
    if plan.leaves_session() {
        process::new_session().map_err(at_start)?;
    }
    let mut stack = Stack::new().map_err(at_start)?;
    let child = stack
        .spawn(&blocked, Manner::default(), Walk::run, walk)
        .map_err(at_start)?;
    drop(stack);
    if let Some(failed) = walk.failure.get() {
        return Err(failed);
    }
    settle(walk, &child, channel, report, plan.outlives_parent()).map_err(at_start)?;
    blocked.keep();
    Ok(child.pid)
}

fn settle(
    walk: &Walk<'_>,
    main: &Child,
    channel: &OwnedFd,
    report: Option<&OwnedFd>,
    outlives_parent: bool,
) -> Result<(), Errno> {
    let number = |error: std::io::Error| Errno(error.raw_os_error().unwrap_or(libc::EIO));
    let own = Pid::from_raw(process::own_pid()).ok_or(Errno(libc::ESRCH))?;
    let ourselves = rustix::process::pidfd_open(own, PidfdFlags::empty())?;
    if outlives_parent {
        process::outlive_parent()?;
    }
    give_up_privileges()?;
    let both = [ourselves.as_fd(), main.pidfd.as_fd()];
    status::send(channel.as_fd(), &Wire::Moved, &both).map_err(number)?;
    status::send(channel.as_fd(), &Wire::Executed, &[]).map_err(number)?;
    if let Some(report) = report {
        status::send(report.as_fd(), &Wire::Executed, &[]).map_err(number)?;
    }
    // The service's own descriptors are the main process's alone: a pipe it closes is closed.
    walk.prepared.descriptors.close_sources()
}

const CAP_KILL: u32 = 5;

/// All that is left is to send signals to a process that may have another user.
fn give_up_privileges() -> Result<(), Errno> {
    let kill = capabilities::permitted()? & 1 << CAP_KILL;
    capabilities::set(kill, 0)?;
    process::no_new_privileges()
}

/// Gives the wait status of `main`.
fn reap_until_end_of(main: i32) -> i32 {
    loop {
        if let Some(status) = reap_ended(main) {
            return status;
        }
        match signals::wait_for(signals::ALL) {
            Ok(libc::SIGCHLD) | Err(_) => {}
            // What is ours alone, or harmless to lose.
            Ok(libc::SIGPIPE | libc::SIGURG) => {}
            Ok(signal) => match process::kill(main, signal) {
                // It has ended: the next round takes its status.
                Ok(()) | Err(_) => {}
            },
        }
    }
}

/// Reaps every process that has ended; gives the status of `main` if it is among them.
fn reap_ended(main: i32) -> Option<i32> {
    let mut found = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == main => {
                found = Some(raw(status))
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return found,
            // No child at all: without its status, say that it was killed.
            Err(_) => return found.or(Some(libc::SIGKILL)),
        }
    }
}

fn raw(status: WaitStatus) -> i32 {
    status.as_raw()
}

impl Plan {
    /// Claims that the box goes on when the caller ends.
    pub(crate) fn outlives_parent(&self) -> bool {
        !self.steps.contains(&Step::DieWithParent)
    }

    /// Claims that the service has a session of its own.
    fn leaves_session(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Session { .. }))
    }
}
