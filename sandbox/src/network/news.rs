//! A socket on which the kernel tells of changes that nobody asked it for.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType};

use super::netlink::{Frame, frames};

/// The kernel keeps no more than some 200 KiB for us; what is more in one go came meanwhile.
const MOST: usize = 64;
/// The kernel's own for one message of news.
const LONGEST: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct News {
    socket: OwnedFd,
    received: Vec<u8>,
}

impl News {
    /// Of the caller's network namespace; `groups` are bits, of those that the protocol has (`None` is rtnetlink).
    pub(super) fn new(protocol: Option<Protocol>, groups: u32) -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            protocol,
        )?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self {
            socket,
            received: vec![0; LONGEST],
        })
    }

    /// Has everything looked at that came since the last time; `None` is what was lost, cut off or cannot be read. Says
    /// whether there is more to hear, of which nothing will tell again.
    pub(super) fn hear(&mut self, mut look: impl FnMut(Option<&Frame<'_>>)) -> bool {
        for _ in 0..MOST {
            match rustix::net::recv(&self.socket, &mut self.received[..], RecvFlags::TRUNC) {
                Ok((read, whole)) if read == whole => {
                    for frame in frames(&self.received[..read]) {
                        look(frame.as_ref().ok());
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return false,
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => look(None),
            }
        }
        true
    }
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
