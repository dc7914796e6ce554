//! Hears of changes of herd's tables by others.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::netlink;

use super::netlink::Frame;
use super::news::News;
use super::{nft, picture};

/// `NFNLGRP_NFTABLES` as a bit (`linux/netfilter/nfnetlink.h`).
const GROUP: u32 = 1 << 6;
const NEWGEN: u16 = 15;
/// A socket that is readable when the firewall of its network namespace has changed. It may be polled; it never waits.
#[derive(Debug)]
pub struct Watch {
    news: News,
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
        Ok(Self {
            news: News::new(Some(netlink::NETFILTER), GROUP)?,
            is_touched: false,
        })
    }

    /// What has happened since the last time. When more happened than the kernel keeps, that counts as a change by
    /// somebody.
    pub fn hear(&mut self) -> Heard {
        let (is_touched, mut by) = (&mut self.is_touched, None);
        let is_more = self.news.hear(|frame| match frame {
            Some(frame) => look(frame, is_touched, &mut by),
            None => by = Some(Stranger::default()),
        });
        Heard { by, is_more }
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
        self.news.as_fd()
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
