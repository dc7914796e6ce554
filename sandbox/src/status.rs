//! What the executor and the box's first process tell the caller about one launch.
//!
//! ```text
//! caller                executor                  box's init              main process
//!   |-- spawn ------------->|                         |                        |
//!   |                       |-- clone3(PARENT) ------>|                        |
//!   |                       |   (a sibling: the       |-- vfork -------------->|
//!   |                       |    caller's own child)  |<------- execve --------|
//!   |<---------- Moved, Executed ---------------------|
//!   |                       |<------ report closes ---|
//!   |<-------- exits 0 -----|                         |
//!   |<---------- Exited ------------------------------|<------- exits ---------|
//!   |<---------- exits -------------------------------|
//! ```
//!
//! A step that fails is told by whoever is left: the executor, for itself and for an init that is
//! gone already; the message then carries the dead init, which [`receive`] reaps.
//! Without a PID namespace the executor itself becomes the main process: there is no `Moved`. It says
//! `Executing` as its last word, so that a channel that closes after it was closed by `execve`, and
//! one that closes without it by a death. A copy of the caller saves itself that message unless the
//! plan is followed by a session: whoever waits for it asks [`has_executed`].

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::process::{WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use crate::failure::{DIED, StepFailure};
use crate::message;
use crate::namespaces::NamespaceIds;
use crate::sys::{Errno, process};

/// One message of the status channel.
#[derive(Debug)]
pub enum Message {
    /// A step failed; no process of the box is left but the executor, which is exiting.
    Failed(StepFailure),
    /// The launched process is about to become the program: system call filters and `execve` are
    /// all that is left to be done. The channel closing without [`Self::Failed`] then says that it has.
    Executing,
    /// The main process runs its program.
    Executed,
    /// From now on `pid` (the box's own first process, a child of the caller) stands for the box;
    /// the executor exits. `main_pid` is the service's main process as the caller sees it: the
    /// same as `pid`, without a descriptor of its own, where the command itself is PID 1.
    Moved {
        pid: i32,
        pidfd: OwnedFd,
        main_pid: i32,
        main_pidfd: Option<OwnedFd>,
    },
    /// The box is held at its gate ([`Lifecycle::gate`](crate::config::Lifecycle::gate)): its
    /// namespaces exist, nothing else of it does. `pid` is the process that waits for [`let_go`],
    /// the box's first process where it has one of its own.
    AtGate {
        pid: i32,
        pidfd: OwnedFd,
        namespaces: NamespaceIds,
    },
    /// The launched process is the box's first process and stays; the main process is this one.
    Main { pid: i32, pidfd: OwnedFd },
    /// The main process, which has the terminal's [foreground](crate::config::Process::foreground), was
    /// stopped by this signal: the caller takes the terminal, and stops too or continues it.
    Stopped(i32),
    /// The main process ended like this; the box's first process is exiting, unless it
    /// [lingers](crate::config::Lifecycle::linger).
    Exited(ExitStatus),
    /// Nobody is left who could say anything.
    Closed,
}

/// Takes the next message without blocking; `None` when there is none yet.
///
/// # Errors
/// When the channel is none of ours, or the kernel refuses to read it.
pub fn receive(channel: BorrowedFd<'_>) -> io::Result<Option<Message>> {
    loop {
        match read(channel, RecvFlags::DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
            Ok(None) => return Ok(Some(Message::Closed)),
            Ok(Some((Wire::Aside, ended))) => {
                ended
                    .iter()
                    .try_for_each(|ended| reap_dead(ended.as_fd()).map(drop))?;
            }
            Ok(Some((wire, mut descriptors))) => {
                return understand(wire, &mut descriptors).map(Some);
            }
        }
    }
}

/// One message and its descriptors; `None` when the other end is closed.
pub(crate) fn read(
    channel: BorrowedFd<'_>,
    flags: RecvFlags,
) -> io::Result<Option<(Wire, Vec<OwnedFd>)>> {
    // A failure can have paths of 4 KiB each: one that is longer than the others is looked at first.
    let mut short = [0u8; LONGEST_BUT_FAILURES];
    let mut long = Vec::new();
    let length = message::next_length(channel, flags)?;
    let bytes = match length <= short.len() {
        true => &mut short[..],
        false => {
            long.resize(length, 0);
            &mut long[..]
        }
    };
    let (received, descriptors) = match message::receive(channel, bytes, flags) {
        // Told once, as to `next_length`.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            message::receive(channel, bytes, flags)?
        }
        answer => answer?,
    };
    if received == 0 {
        return Ok(None);
    }
    let wire = postcard::from_bytes(&bytes[..received])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some((wire, descriptors)))
}

/// Lets a box go that has said [`Message::AtGate`].
///
/// # Errors
/// `EPIPE` when it has ended meanwhile.
pub fn let_go(channel: BorrowedFd<'_>) -> io::Result<()> {
    send(channel, &Wire::Go, &[])
}

fn understand(wire: Wire, descriptors: &mut Vec<OwnedFd>) -> io::Result<Message> {
    match wire {
        Wire::Failed(mut failure) => {
            if let Some(init) = descriptors.first() {
                let killed_by = reap_dead(init.as_fd())?;
                if failure.errno == DIED.0 && failure.signal.is_none() {
                    failure.signal = killed_by;
                }
            }
            Ok(Message::Failed(failure))
        }
        Wire::Executing => Ok(Message::Executing),
        Wire::Executed => Ok(Message::Executed),
        Wire::Moved => {
            let main_pidfd = (descriptors.len() > 1).then(|| descriptors.remove(1));
            let pidfd = descriptors.pop().ok_or(io::ErrorKind::InvalidData)?;
            let pid = pid_of(pidfd.as_fd())?;
            let main_pid = main_pidfd
                .as_ref()
                .map_or(Ok(pid), |main| pid_of(main.as_fd()))?;
            Ok(Message::Moved {
                pid,
                pidfd,
                main_pid,
                main_pidfd,
            })
        }
        Wire::AtGate(namespaces) => {
            let pidfd = descriptors.pop().ok_or(io::ErrorKind::InvalidData)?;
            let pid = pid_of(pidfd.as_fd())?;
            Ok(Message::AtGate {
                pid,
                pidfd,
                namespaces,
            })
        }
        Wire::Main => {
            let pidfd = descriptors.pop().ok_or(io::ErrorKind::InvalidData)?;
            let pid = pid_of(pidfd.as_fd())?;
            Ok(Message::Main { pid, pidfd })
        }
        // The caller's own word.
        Wire::Go => Err(io::ErrorKind::InvalidData.into()),
        Wire::Stopped(signal) => Ok(Message::Stopped(signal)),
        Wire::Exited(status) => Ok(Message::Exited(ExitStatus::from_raw(status))),
        Wire::Mapped | Wire::Between | Wire::Aside => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The init that failed has ended before this was sent, so nothing here waits. Gives the signal that
/// has killed it.
fn reap_dead(init: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match rustix::process::waitid(WaitId::PidFd(init), options) {
        Ok(status) => Ok(status.and_then(|status| status.terminating_signal())),
        // The caller's own sweep may have been quicker.
        Err(rustix::io::Errno::CHILD) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Claims that a child which began as a copy of this process (that of
/// [`Carrier::Fork`](crate::Carrier::Fork)) has executed a program. It may have ended since, and is not
/// reaped yet: for a launcher whose box was killed, and that wants to know whether its program ran.
///
/// # Errors
/// When `/proc` does not tell.
pub fn has_executed(pid: i32) -> io::Result<bool> {
    /// `include/linux/sched.h`: forked, and has executed nothing.
    const PF_FORKNOEXEC: u32 = 0x40;
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may have anything in it: state, ppid, pgrp, session, tty_nr, tpgid, flags.
    let behind = stat.rsplit(|byte| *byte == b')').next();
    let flags = behind
        .and_then(|fields| fields.split(|byte| *byte == b' ').nth(7))
        .and_then(|flags| std::str::from_utf8(flags).ok())
        .and_then(|flags| flags.parse::<u32>().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok(flags & PF_FORKNOEXEC == 0)
}

/// The number, in our own PID namespace, of the process behind a pidfd; −1 once it is reaped.
pub(crate) fn pid_of(pidfd: BorrowedFd<'_>) -> io::Result<i32> {
    match process::pid_behind(pidfd) {
        Ok(pid) if pid != 0 => return Ok(pid),
        Err(Errno(libc::ESRCH)) => return Ok(-1),
        // An older kernel.
        Ok(_) | Err(_) => {}
    }
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    info.lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .and_then(|number| number.trim().parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A message as it crosses the socket; descriptors go beside it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Wire {
    Failed(StepFailure),
    Executing,
    Executed,
    /// With the pidfd of the box's first process and that of the main process.
    Moved,
    /// With the pidfd of the process that waits.
    AtGate(NamespaceIds),
    /// From the caller: the box may go on, or has been heard of.
    Go,
    /// With the pidfd of the main process.
    Main,
    /// A signal.
    Stopped(i32),
    /// A wait status.
    Exited(i32),
    /// From the executor to the box's first process: its maps are written.
    Mapped,
    /// To the executor, from a process that has made the box's first process and ends: with the
    /// pidfd of that one, and the channel on which it reports.
    Between,
    /// To the caller: with the pidfd of a process that stood between, and has ended.
    Aside,
}

/// The longest message that is no failure: that of the gate, with eight numbers.
const LONGEST_BUT_FAILURES: usize = 128;

/// A pair of ends that speak in messages.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// Claims that nobody holds the other end any more, or that this cannot be found out.
pub(crate) fn is_closed(channel: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut ends = [PollFd::from_borrowed_fd(channel, PollFlags::empty())];
    match poll(&mut ends, Some(&at_once)) {
        Ok(_) => ends[0].revents().contains(PollFlags::HUP),
        Err(_) => true,
    }
}

/// Waits for one message that brings no descriptors; `None` when the other end is closed.
pub(crate) fn take(channel: BorrowedFd<'_>) -> io::Result<Option<Wire>> {
    Ok(read(channel, RecvFlags::empty())?.map(|(wire, _)| wire))
}

/// Sends one message; blocks only while the channel's buffer is full. Allocates nothing for one that
/// tells of no failure and brings no descriptors.
pub(crate) fn send(
    channel: BorrowedFd<'_>,
    wire: &Wire,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    if let Wire::Failed(_) = wire {
        let bytes = postcard::to_stdvec(wire).map_err(invalid)?;
        return message::send(channel, &bytes, descriptors);
    }
    let mut bytes = [0u8; LONGEST_BUT_FAILURES];
    let used = postcard::to_slice(wire, &mut bytes).map_err(invalid)?;
    message::send(channel, used, descriptors)
}
