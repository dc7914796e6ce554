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
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::executor::status_channel;
use crate::sys::clone::Child;

/// `SCM_MAX_FD` of the kernel: so many descriptors go with one message.
pub(crate) const MOST_DESCRIPTORS: usize = 253;

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

    /// Gives the plan in `handed` to a spare, with `files` (0 to 2, then the passed ones). Gives
    /// nothing where none is ready.
    pub(crate) fn hand(
        &mut self,
        handed: BorrowedFd<'_>,
        files: &[BorrowedFd<'_>],
    ) -> io::Result<Option<Spare>> {
        self.collect()?;
        let mut all = vec![handed];
        all.extend_from_slice(files);
        if all.len() > MOST_DESCRIPTORS {
            return Ok(None);
        }
        while let Some(spare) = self.ready.pop_front() {
            match send(spare.channel.as_fd(), &[], &all) {
                Ok(()) => return Ok(Some(spare)),
                // It is dead, or will be by the closing of its channel.
                Err(_) => end(&spare.child),
            }
        }
        Ok(None)
    }

    /// Asks for as many as are missing.
    pub(crate) fn fill_up(&mut self, count: usize) -> io::Result<()> {
        while self.asked.len() + self.ready.len() < count {
            let (ours, theirs) = status_channel()?;
            send(self.control.as_fd(), &[], &[theirs.as_fd()])?;
            self.asked.push_back(ours);
        }
        Ok(())
    }

    /// Takes the zygote's answers, without waiting for one.
    fn collect(&mut self) -> io::Result<()> {
        while !self.asked.is_empty() {
            let mut bytes = [0; size_of::<i32>()];
            let (length, mut descriptors) = match receive(self.control.as_fd(), &mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                answer => answer?,
            };
            let channel = self.asked.pop_front();
            match (channel, descriptors.pop()) {
                _ if length == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                (Some(channel), Some(pidfd)) => {
                    let pid = i32::from_ne_bytes(bytes);
                    let child = Child { pid, pidfd };
                    self.ready.push_back(Spare { child, channel });
                }
                // It could not make one.
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        // What is still being made ends by its closed channel, and is the caller's to reap.
        self.collect().ok();
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

/// Sends one message with descriptors; one byte where there is nothing else to say.
pub(crate) fn send(
    channel: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let rights = SendAncillaryMessage::ScmRights(descriptors);
    let mut room = vec![MaybeUninit::uninit(); rights.size()];
    let mut ancillary = SendAncillaryBuffer::new(&mut room);
    if !descriptors.is_empty() && !ancillary.push(rights) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let parts = [IoSlice::new(if bytes.is_empty() { b"." } else { bytes })];
    rustix::net::sendmsg(channel, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes one message with its descriptors; its length is 0 when the other end is closed.
pub(crate) fn receive(
    channel: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let received = loop {
        let mut parts = [IoSliceMut::new(bytes)];
        match rustix::net::recvmsg(channel, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            answer => break answer?,
        }
    };
    let descriptors = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        })
        .flatten()
        .collect();
    if received.flags.contains(ReturnFlags::CTRUNC) {
        // No room for all of them in our table.
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((received.bytes, descriptors))
}
