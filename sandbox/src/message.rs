//! Messages with descriptors, on sockets that keep them apart (`unix(7)`, `SCM_RIGHTS`).
#![forbid(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// `SCM_MAX_FD` of the kernel: so many descriptors go with one message.
pub(crate) const MOST_DESCRIPTORS: usize = 253;

/// Sends one message, which is not empty.
pub(crate) fn send(
    channel: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    if descriptors.is_empty() {
        rustix::net::send(channel, bytes, SendFlags::NOSIGNAL)?;
        return Ok(());
    }
    let rights = SendAncillaryMessage::ScmRights(descriptors);
    let mut room = vec![MaybeUninit::uninit(); rights.size()];
    let mut ancillary = SendAncillaryBuffer::new(&mut room);
    if !ancillary.push(rights) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let parts = [IoSlice::new(bytes)];
    rustix::net::sendmsg(channel, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The length of the message that [`receive`] will take; 0 when the other end is closed.
pub(crate) fn next_length(channel: BorrowedFd<'_>, flags: RecvFlags) -> io::Result<usize> {
    let mut nothing: [u8; 0] = [];
    let mut was_reset = false;
    loop {
        let flags = flags | RecvFlags::PEEK | RecvFlags::TRUNC;
        match rustix::net::recv(channel, &mut nothing, flags) {
            Ok((_, length)) => return Ok(length),
            Err(rustix::io::Errno::INTR) => {}
            // Told once, when the other end was closed with a message of ours unread: what it has sent
            // before is there still.
            Err(rustix::io::Errno::CONNRESET) if !was_reset => was_reset = true,
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Takes one message; its length is 0 when the other end is closed.
pub(crate) fn receive(
    channel: BorrowedFd<'_>,
    bytes: &mut [u8],
    flags: RecvFlags,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        let mut parts = [IoSliceMut::new(bytes)];
        match rustix::net::recvmsg(channel, &mut parts, &mut ancillary, flags) {
            Err(rustix::io::Errno::INTR) => {}
            answer => break answer?,
        }
    };
    let descriptors = ancillary
        .drain()
        .filter_map(|message| {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                Some(rights)
            } else {
                None
            }
        })
        .flatten()
        .collect();
    if received.flags.contains(ReturnFlags::CTRUNC) {
        // No room for all of them in our table.
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((received.bytes, descriptors))
}
