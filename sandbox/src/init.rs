//! The box's first process: starts the main process, reaps for it, passes signals on to it, says
//! how it ended, and ends; the kernel then ends what is left of the box.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rustix::process::{WaitOptions, WaitStatus};

use crate::capability::CAP_KILL;
use crate::failure::StepFailure;
use crate::launch::wait_for_end;
use crate::main_process::{NOT_EXECUTED, Walk};
use crate::plan::Plan;
use crate::status::{self, Wire};
use crate::step::Step;
use crate::sys::clone::{Child, Manner, spawn_below};
use crate::sys::signals::{self, Blocked, Taken};
use crate::sys::{Errno, capabilities, descriptors, process};
use crate::walk::Walker;

/// Becomes the reaper of a box whose steps up to `first` are done.
pub(crate) fn run(mut walker: Walker<'_>, first: usize) -> ! {
    let main = match start(&mut walker, first) {
        Ok(main) => main,
        Err(failure) => walker.tell_failure(failure),
    };
    let channel = walker.plan.is_followed.then(|| walker.channel.as_fd());
    let jobs = walker
        .plan
        .steps
        .contains(&Step::Foreground)
        .then(|| walker.channel.as_fd());
    let passed_on = match (jobs, walker.plan.leaves_session()) {
        // The caller continues the job once it has the terminal.
        (Some(_), _) => PassedOn::AllBut(libc::SIGCONT),
        (None, true) => PassedOn::All,
        (None, false) => PassedOn::None,
    };
    let lingers = walker.plan.lingers();
    // Where it is the caller's memory that we live in, all of it but our stack is lost to us from here on,
    // the plan too, and nothing allocates, locks or panics (see `sys::lend`).
    if let Some(lent) = walker.lent.take() {
        lent.give_back();
    }
    let status = reap_until_end_of(main, passed_on, channel, jobs);
    let told = status::send(walker.channel.as_fd(), &Wire::Exited(status), &[]);
    let code = code_of(status);
    match told {
        // A caller that has gone does not hear it; the exit status says nearly the same.
        Ok(()) | Err(_) => {}
    }
    if lingers {
        reap_all();
    }
    process::exit_now(code)
}

/// Starts the main process and tells the caller; gives its pid here inside.
fn start(walker: &mut Walker<'_>, first: usize) -> Result<i32, StepFailure> {
    let plan = walker.plan;
    let at_start = |errno: Errno| StepFailure::new(plan, first.saturating_sub(1), errno);
    // For good: everything that comes is taken by `reap_until_end_of`.
    let blocked = Blocked::new().map_err(at_start)?;
    // A terminal's ctrl-c is for the caller; passed on, it would undo the order of a stop.
    if walker.plan.leaves_session() {
        process::new_session().map_err(at_start)?;
    }
    let walk = Walk::new(walker.plan, walker.prepared, first);
    let child = spawn_below(&blocked, Manner::default(), Walk::run, &walk).map_err(at_start)?;
    if let Some((step, errno)) = walk.failure() {
        return Err(StepFailure::new(plan, step, errno));
    }
    if let Some(step) = walk.cut_short() {
        let end = wait_for_end(child.pidfd.as_fd()).map_err(|error| at_start(number(error)))?;
        return Err(StepFailure::died(plan, step, end));
    }
    let main = child.pid;
    settle(walker, child).map_err(at_start)?;
    blocked.keep();
    Ok(main)
}

fn number(error: std::io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

fn settle(walker: &mut Walker<'_>, main: Child) -> Result<(), Errno> {
    if walker.plan.outlives_parent() {
        process::outlive_parent()?;
    }
    give_up_privileges(walker.plan.may_change_user())?;
    let channel = walker.channel.as_fd();
    match walker.report.take() {
        Some(report) => {
            let ourselves = process::own_pidfd()?;
            let both = [ourselves.as_fd(), main.pidfd.as_fd()];
            status::send(channel, &Wire::Moved, &both).map_err(number)?;
            status::send(channel, &Wire::Executed, &[]).map_err(number)?;
            match status::send(report.as_fd(), &Wire::Executed, &[]) {
                // The caller has heard it, whatever has become of the executor.
                Ok(()) | Err(_) => {}
            }
        }
        None => {
            status::send(channel, &Wire::Main, &[main.pidfd.as_fd()]).map_err(number)?;
            status::send(channel, &Wire::Executed, &[]).map_err(number)?;
        }
    }
    drop(main);
    // The service's own descriptors are the main process's alone: a pipe it closes is closed.
    let mut kept: Vec<_> = walker.kept.iter().map(AsRawFd::as_raw_fd).collect();
    kept.push(walker.channel.as_raw_fd());
    descriptors::close_all_but(&kept)
}

/// All that is left is to send signals, which takes a capability where the main process may have
/// another user than we.
fn give_up_privileges(other_user: bool) -> Result<(), Errno> {
    let kill = match other_user {
        true => capabilities::permitted()? & 1 << CAP_KILL,
        false => 0,
    };
    capabilities::set(kill, 0)?;
    process::no_new_privileges()
}

/// Stays behind a child that goes on with the walk: reaps, passes signals on, and ends as it does.
pub(crate) fn stand_by(main: i32, kept: &[RawFd]) -> ! {
    let begun = Blocked::new()
        .map(Blocked::keep)
        .and_then(|()| process::outlive_parent())
        .and_then(|()| descriptors::close_all_but(kept));
    let code = match begun {
        Ok(()) => code_of(reap_until_end_of(main, PassedOn::All, None, None)),
        Err(_) => NOT_EXECUTED,
    };
    process::exit_now(code)
}

fn code_of(status: i32) -> i32 {
    match status & 0x7f {
        0 => status >> 8 & 0xff,
        signal => 128 + signal,
    }
}

/// Which of our signals the main process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PassedOn {
    All,
    AllBut(i32),
    /// It is in our process group: what is sent to that it has had already, and what is sent to us
    /// alone cannot be told from it.
    None,
}

impl PassedOn {
    fn has(self, signal: i32) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(kept) => signal != kept,
            Self::None => false,
        }
    }
}

/// Gives the wait status of `main`.
///
/// `jobs` is told when `main` stops: the terminal is then the caller's.
fn reap_until_end_of(
    main: i32,
    passed_on: PassedOn,
    channel: Option<BorrowedFd<'_>>,
    jobs: Option<BorrowedFd<'_>>,
) -> i32 {
    loop {
        if let Some(status) = reap_ended(main, channel) {
            return status;
        }
        if let Some(jobs) = jobs
            && let Some(signal) = process::stopped_by(main)
        {
            match status::send(jobs, &Wire::Stopped(signal), &[]) {
                // Nobody is there to continue it, but by the box itself.
                Ok(()) | Err(_) => {}
            }
        }
        match signals::wait_for(signals::ALL) {
            Ok(Taken {
                signal: libc::SIGCHLD,
                ..
            })
            | Err(_) => {}
            // What is ours alone, or harmless to lose.
            Ok(Taken {
                signal: libc::SIGPIPE | libc::SIGURG,
                ..
            }) => {}
            // A terminal's: the main process has had it too.
            Ok(Taken {
                is_of_kernel: true, ..
            }) => {}
            Ok(Taken { signal, .. }) if !passed_on.has(signal) => {}
            Ok(Taken { signal, .. }) => match process::kill(main, signal) {
                // It has ended: the next round takes its status.
                Ok(()) | Err(_) => {}
            },
        }
    }
}

/// Reaps every process that has ended; gives the status of `main` if it is among them.
fn reap_ended(main: i32, channel: Option<BorrowedFd<'_>>) -> Option<i32> {
    let mut found = None;
    loop {
        match process::ended_child() {
            Ok(Some(pid)) if pid == main => {
                if let Some(channel) = channel {
                    wait_until_heard(channel);
                }
            }
            Ok(Some(_)) | Err(Errno(libc::EINTR)) => {}
            Ok(None) => return found,
            // No child at all: without its status, say that it was killed.
            Err(_) => return found.or(Some(libc::SIGKILL)),
        }
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == main => {
                found = Some(raw(status))
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// The caller learns the main process's number from its descriptor, which has none once it is reaped:
/// so that waits until the caller has looked, or has gone.
fn wait_until_heard(channel: BorrowedFd<'_>) {
    match status::take(channel) {
        Ok(_) | Err(_) => {}
    }
}

/// Until nothing of the box is left.
fn reap_all() {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn raw(status: WaitStatus) -> i32 {
    status.as_raw()
}

impl Plan {
    /// Claims that the main process becomes, or could become, somebody else.
    fn may_change_user(&self) -> bool {
        let changes = |step: &Step| matches!(step, Step::Uid(_));
        self.steps.iter().any(changes) || !self.steps.contains(&Step::NoNewPrivileges)
    }

    /// Claims that the box goes on when the caller ends.
    pub(crate) fn outlives_parent(&self) -> bool {
        !self.steps.contains(&Step::DieWithParent)
    }

    /// Claims that the box goes on after its main process.
    fn lingers(&self) -> bool {
        self.steps.contains(&Step::Linger)
    }

    /// Claims that the service has a session of its own.
    fn leaves_session(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Session { .. }))
    }
}
