//! Executors made ahead, the caller's side: starting one takes longer than building a box.
//!
//! ```text
//! caller                     zygote                      spare
//!   |-- one end of a channel ->|                           |
//!   |                          |-- clone3(PARENT) -------->|
//!   |<------ pid, pidfd -------|                           | waits, until the channel is closed
//!   |-- a plan, descriptors, on the channel -------------->|
//!   |<= from here on the channel of any executor =========>|
//! ```
//!
//! The zygote is an executor too (`herd-exec zygote`): it has one thread, has seen no plan, and
//! only ever copies itself. Its copies are children of the caller. Who dies, whatever the reason, costs
//! the next launch the time of starting an executor, and nothing else.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::executor::status_channel;
use crate::message::{MOST_DESCRIPTORS, receive, send};
use crate::plan::Plan;
use crate::sys::clone::Child;

/// The longest plan that goes by message; a socket takes 200 KiB at once.
const LONGEST: usize = 64 << 10;

/// For a zygote that somebody has stopped: what it was asked for ends by its closed channel, and
/// stays the caller's to reap.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// What one zygote has made and is asked for.
#[derive(Debug)]
pub(crate) struct Spares {
    zygote: Child,
    control: OwnedFd,
    /// Our ends of the channels of those that are being made, in order.
    asked: VecDeque<OwnedFd>,
    ready: VecDeque<Spare>,
}

/// An executor that waits for a plan.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) child: Child,
    pub(crate) channel: OwnedFd,
    /// It is the first process of a PID namespace: of use for such boxes only.
    is_first: bool,
}

/// What the zygote says of a spare that it was asked for, its pidfd beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// 0 where it could not be made.
    pub(crate) pid: i32,
    pub(crate) is_first: bool,
}

impl Answer {
    const LENGTH: usize = size_of::<i32>() + 1;

    pub(crate) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let [a, b, c, d] = self.pid.to_ne_bytes();
        [a, b, c, d, u8::from(self.is_first)]
    }

    fn from_bytes([a, b, c, d, is_first]: [u8; Self::LENGTH]) -> Self {
        Self {
            pid: i32::from_ne_bytes([a, b, c, d]),
            is_first: is_first != 0,
        }
    }
}

impl Spares {
    /// Of a zygote whose end of `control` is the other one.
    pub(crate) fn new(zygote: Child, control: OwnedFd) -> Self {
        Self {
            zygote,
            control,
            asked: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }

    /// Gives what is `handed` to a spare, with `files` (0 to 2, then the passed ones). Gives nothing
    /// where none is ready that `plan` can begin in.
    pub(crate) fn hand(
        &mut self,
        plan: &Plan,
        handed: &[u8],
        files: &[BorrowedFd<'_>],
    ) -> io::Result<Option<Spare>> {
        self.collect()?;
        if files.len() > MOST_DESCRIPTORS || handed.len() > LONGEST {
            return Ok(None);
        }
        while let Some(spare) = self.ready.pop_front() {
            if spare.is_first && !plan.can_begin_inside() {
                self.ready.push_front(spare);
                return Ok(None);
            }
            match send(spare.channel.as_fd(), handed, files) {
                Ok(()) => return Ok(Some(spare)),
                // It is dead, or will be by the closing of its channel.
                Err(_) => end(&spare.child),
            }
        }
        Ok(None)
    }

    /// Claims that there is one, or will be.
    pub(crate) fn has_any(&self) -> bool {
        !(self.ready.is_empty() && self.asked.is_empty())
    }

    /// Asks for as many as are missing.
    pub(crate) fn fill_up(&mut self, count: usize) -> io::Result<()> {
        while self.asked.len() + self.ready.len() < count {
            let (ours, theirs) = status_channel()?;
            send(self.control.as_fd(), b".", &[theirs.as_fd()])?;
            self.asked.push_back(ours);
        }
        Ok(())
    }

    /// Waits until one is ready, or none is being made.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        while self.ready.is_empty() && !self.asked.is_empty() {
            self.wait_for_answer(None)?;
        }
        Ok(())
    }

    fn wait_for_answer(&mut self, at_most: Option<&Timespec>) -> io::Result<()> {
        match poll(&mut [PollFd::new(&self.control, PollFlags::IN)], at_most) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => self.collect(),
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes the zygote's answers, without waiting for one.
    fn collect(&mut self) -> io::Result<()> {
        while !self.asked.is_empty() {
            let mut bytes = [0; Answer::LENGTH];
            let (length, mut descriptors) =
                match receive(self.control.as_fd(), &mut bytes, RecvFlags::empty()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    answer => answer?,
                };
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Answer { pid, is_first } = Answer::from_bytes(bytes);
            // Without a pidfd, it could not make one.
            if let (Some(channel), Some(pidfd)) = (self.asked.pop_front(), descriptors.pop()) {
                let child = Child { pid, pidfd };
                self.ready.push_back(Spare {
                    child,
                    channel,
                    is_first,
                });
            }
        }
        Ok(())
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        // Those that are being made have to be known to be reaped.
        let told = rustix::net::shutdown(&self.control, rustix::net::Shutdown::Write);
        while told.is_ok() && !self.asked.is_empty() {
            if self.wait_for_answer(Some(&PATIENCE)).is_err() {
                break;
            }
        }
        self.ready.iter().for_each(|spare| end(&spare.child));
        end(&self.zygote);
    }
}

/// Ends and reaps a child that is of no more use.
fn end(child: &Child) {
    // It may be gone, and the caller's own sweep may have reaped it.
    pidfd_send_signal(child.pidfd.as_fd(), Signal::KILL).ok();
    waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).ok();
}
