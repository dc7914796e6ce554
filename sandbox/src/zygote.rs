//! The zygote and its copies, the spare executors: see [`crate::spare`] for who says what to whom.

use std::io;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd, RawFd};

use crate::executor::{self, FIRST_PASSED, PLAN, STATUS};
use crate::main_process::{Descriptors, NOT_EXECUTED};
use crate::spare::{receive, send};
use crate::sys::clone::{Side, fork_sibling};
use crate::sys::{Errno, descriptors, process};

/// Where the zygote finds its end of the control channel.
pub(crate) const CONTROL: RawFd = 3;

/// Makes spares until nobody holds the other end of the control channel.
pub(crate) fn run() -> ! {
    let code = match serve() {
        Ok(()) => 0,
        Err(_) => NOT_EXECUTED,
    };
    process::exit_now(code)
}

fn serve() -> io::Result<()> {
    let control = descriptors::adopt(CONTROL)?;
    rustix::process::chdir(c"/")?;
    let caller = process::parent_pid();
    loop {
        let (length, mut received) = receive(control.as_fd(), &mut [0])?;
        if length == 0 {
            return Ok(());
        }
        let Some(channel) = received.pop() else {
            continue;
        };
        match fork_sibling(0) {
            Ok(Side::Parent(spare)) => {
                drop(channel);
                send(
                    control.as_fd(),
                    &spare.pid.to_ne_bytes(),
                    &[spare.pidfd.as_fd()],
                )?;
            }
            Ok(Side::Child) => {
                drop(control);
                wait_for_work(channel, caller)
            }
            Err(_) => send(control.as_fd(), &0i32.to_ne_bytes(), &[])?,
        }
    }
}

/// Waits for a plan and becomes its executor; ends where none comes.
fn wait_for_work(channel: OwnedFd, caller: i32) -> ! {
    match take_work(channel, caller) {
        Ok(true) => executor::run(),
        Ok(false) => process::exit_now(0),
        Err(_) => process::exit_now(NOT_EXECUTED),
    }
}

/// Puts what it is given where an executor that has just been started has it.
fn take_work(channel: OwnedFd, caller: i32) -> io::Result<bool> {
    process::die_with_parent()?;
    if process::parent_pid() != caller {
        return Err(Errno(libc::ESRCH).into());
    }
    let (length, received) = receive(channel.as_fd(), &mut [0])?;
    let mut received = received.into_iter().map(IntoRawFd::into_raw_fd);
    let Some(plan) = received.next().filter(|_| length > 0) else {
        return Ok(false);
    };
    let moves = [(plan, PLAN), (channel.into_raw_fd(), STATUS)]
        .into_iter()
        .chain(received.by_ref().take(3).zip(0..).collect::<Vec<_>>())
        .chain(received.zip(FIRST_PASSED..));
    let placed = Descriptors::new(None, moves);
    placed.fill()?;
    // The numbers they came by, and whatever else an executor would not have.
    descriptors::close_from(placed.above())?;
    Ok(true)
}
