//! The zygote and its copies, the spare executors: see [`crate::spare`] for who says what to whom.

use std::io;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd, RawFd};

use rustix::net::RecvFlags;

use crate::executor::{self, Numbers, Work};
use crate::main_process::NOT_EXECUTED;
use crate::message::{next_length, receive, send};
use crate::spare::Answer;
use crate::step::NamespaceSet;
use crate::sys::clone::{Child, Parent, Side, fork};
use crate::sys::{Errno, descriptors, process, signals};

/// Where the zygote finds its end of the control channel.
const CONTROL: RawFd = 3;

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
    // What comes by message is all that a spare has.
    descriptors::close_between(0, CONTROL - 1)?;
    rustix::process::chdir(c"/")?;
    process::set_name(c"herd-spare")?;
    let ignored = signals::ignored();
    loop {
        let mut wanted = [0; size_of::<u64>()];
        let (length, mut received) = receive(control.as_fd(), &mut wanted, RecvFlags::empty())?;
        if length == 0 {
            return Ok(());
        }
        let Some(channel) = received.pop() else {
            continue;
        };
        match make(NamespaceSet(u64::from_ne_bytes(wanted))) {
            Ok((Side::Parent(spare), namespaces)) => {
                drop(channel);
                answer(&control, Some(&spare), namespaces)?;
            }
            Ok((Side::Child, namespaces)) => {
                drop(control);
                wait_for_work(channel, namespaces, ignored)
            }
            Err(_) => answer(&control, None, NamespaceSet::default())?,
        }
    }
}

/// A copy of ourselves: where we may, in namespaces of its own, so that it can become the first process
/// of a box without another copy. Says in which.
fn make(wanted: NamespaceSet) -> Result<(Side, NamespaceSet), Errno> {
    let none = NamespaceSet::default();
    match fork(Parent::OurParent, wanted.0) {
        // Not allowed, or too many of them.
        Err(_) => Ok((fork(Parent::OurParent, none.0)?, none)),
        made => Ok((made?, wanted)),
    }
}

fn answer(control: &OwnedFd, spare: Option<&Child>, namespaces: NamespaceSet) -> io::Result<()> {
    let answer = Answer {
        pid: spare.map_or(0, |spare| spare.pid),
        namespaces,
    };
    let pidfd = spare.map(|spare| spare.pidfd.as_fd());
    send(control.as_fd(), &answer.to_bytes(), pidfd.as_slice())
}

/// Waits for a plan and becomes its executor; ends where none comes.
fn wait_for_work(channel: OwnedFd, namespaces: NamespaceSet, ignored: signals::Set) -> ! {
    match take_work(channel, namespaces, ignored) {
        Ok(Some(work)) => executor::run(&work),
        Ok(None) => process::exit_now(0),
        Err(_) => process::exit_now(NOT_EXECUTED),
    }
}

fn take_work(
    channel: OwnedFd,
    namespaces: NamespaceSet,
    ignored: signals::Set,
) -> io::Result<Option<Work>> {
    // A caller that has died already has closed the channel.
    process::die_with_parent()?;
    let mut handed = vec![0; next_length(channel.as_fd(), RecvFlags::empty())?];
    let (length, received) = receive(channel.as_fd(), &mut handed, RecvFlags::empty())?;
    if length == 0 {
        return Ok(None);
    }
    let numbers = received.into_iter().map(IntoRawFd::into_raw_fd).collect();
    Ok(Some(Work {
        handed,
        channel: channel.into_raw_fd(),
        files: Numbers::Received(numbers),
        ignored,
        namespaces,
    }))
}
