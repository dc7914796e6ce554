//! Hears of changes of herd's tables by others.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::netlink::{Frame, frames};
use super::{nft, picture};

/// `NFNLGRP_NFTABLES` as a bit (`linux/netfilter/nfnetlink.h`).
const GROUP: u32 = 1 << 6;
const NEWGEN: u16 = 15;
/// The kernel keeps no more than some 200 KiB for us; what is more in one go came meanwhile.
const MOST: usize = 64;
/// The kernel's own for one message of news.
const LONGEST: usize = 64 * 1024;

/// A socket that is readable when the firewall of its network namespace has changed. It may be polled; it never waits.
#[derive(Debug)]
pub struct Watch {
    socket: OwnedFd,
    received: Vec<u8>,
    /// Something of ours was changed, and it was not yet told by whom.
    is_touched: bool,
}

/// Who has changed a table of herd's, as far as the kernel says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stranger {
    pub name: Option<String>,
    pub pid: Option<u32>,
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.pid) {
            (Some(name), Some(pid)) => write!(f, "{name} (process {pid})"),
            (Some(name), None) => f.write_str(name),
            (None, _) => f.write_str("somebody"),
        }
    }
}

/// What a look has brought.
#[derive(Debug, Default)]
pub struct Heard {
    /// Somebody has changed, or may have changed, what is herd's. Changes by any herd on the machine do not count.
    pub by: Option<Stranger>,
    /// There is more to hear, and nothing will say so again.
    pub is_more: bool,
}

impl Watch {
    /// Of the caller's network namespace.
    ///
    /// # Errors
    /// As `socket(2)`: `EPROTONOSUPPORT` where the kernel has no netfilter.
    pub fn new() -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(netlink::NETFILTER),
        )?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUP))?;
        Ok(Self {
            socket,
            received: vec![0; LONGEST],
            is_touched: false,
        })
    }

    /// What has happened since the last time. When more happened than the kernel keeps, that counts as a change by
    /// somebody.
    pub fn hear(&mut self) -> Heard {
        let mut heard = Heard::default();
        for _ in 0..MOST {
            match rustix::net::recv(&self.socket, &mut self.received[..], RecvFlags::TRUNC) {
                Ok((read, whole)) if read == whole => {
                    for frame in frames(&self.received[..read]) {
                        match frame {
                            Ok(frame) => look(&frame, &mut self.is_touched, &mut heard.by),
                            Err(_) => heard.by = Some(Stranger::default()),
                        }
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return heard,
                Err(rustix::io::Errno::INTR) => {}
                // Lost, or cut off.
                Ok(_) | Err(_) => heard.by = Some(Stranger::default()),
            }
        }
        heard.is_more = true;
        heard
    }
}

/// A change comes as messages of what is new and gone, and then one of who did it, which has the number of the request.
fn look(frame: &Frame<'_>, is_touched: &mut bool, by: &mut Option<Stranger>) {
    let Some((what, _, body)) = picture::of_nftables(frame) else {
        return;
    };
    if what != NEWGEN {
        *is_touched |= picture::is_of_herds_table(frame);
        return;
    }
    if std::mem::take(is_touched) && !nft::is_ours(frame.sequence) {
        let pid = picture::attribute(body, 2).and_then(|pid| pid.first_chunk());
        let name = picture::attribute(body, 3).map(|name| {
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            let plain = name.iter().filter(|byte| byte.is_ascii_graphic());
            plain.map(|byte| char::from(*byte)).collect()
        });
        *by = Some(Stranger {
            name,
            pid: pid.map(|pid| u32::from_be_bytes(*pid)),
        });
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A change of a table's name `herd` with this number, and who did it.
    fn change(sequence: u32, table: &str) -> Option<Stranger> {
        let mut body = vec![nft::INET, 0, 0, 0];
        nft::string(&mut body, 1, table);
        let kind = nft::NFNL_SUBSYS_NFTABLES << 8;
        let (mut is_touched, mut by) = (false, None);
        let mut hear = |kind: u16, content: &[u8]| {
            let frame = Frame {
                kind,
                flags: 0,
                sequence,
                content,
            };
            look(&frame, &mut is_touched, &mut by);
        };
        hear(kind | 2, &body);
        let mut who = vec![0; 4];
        nft::attribute(&mut who, 2, &7u32.to_be_bytes());
        nft::string(&mut who, 3, "nft\n");
        hear(kind | NEWGEN, &who);
        by
    }

    #[test]
    fn only_a_strangers_change_of_herds_table_is_told() {
        let told = change(3, "herd").unwrap().to_string();
        assert_eq!(told, "nft (process 7)");
        assert_eq!(change(3, "filter"), None);
        assert_eq!(change(3, "herdsman"), None);
        let batch = nft::remove();
        assert_eq!(change(batch.last, "herd"), None);
    }

    proptest! {
        #[test]
        fn no_news_is_too_odd_to_hear(
            kind in 0xa00u16..0xa20, content in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let frame = Frame { kind, flags: 0, sequence: 0, content: &content };
            let (mut is_touched, mut by) = (true, None);
            look(&frame, &mut is_touched, &mut by);
        }
    }
}
