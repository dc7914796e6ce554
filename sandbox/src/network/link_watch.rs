//! Hears of bridges and interfaces of herd's that go, or are changed.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::address_pool as pool;
use super::netlink::{AddressView, Frame, LinkView, NEWLINK, link_name};
use super::news::News;
use super::strangers::is_end_of_a_box;

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` (`linux/rtnetlink.h`).
const GROUPS: u32 = 1 | 0x10 | 0x100;
const DELLINK: u16 = 17;
const DELADDR: u16 = 21;
/// Of so many interfaces it is told whose they were; of more at once it is not.
const MOST_GONE: usize = 256;

/// A socket that is readable when interfaces of its network namespace have changed. It may be polled; it never waits.
#[derive(Debug)]
pub struct LinkWatch {
    news: News,
}

/// What a look has brought.
#[derive(Debug, Default)]
pub struct LinksHeard {
    /// Something may be wrong with a bridge: [`mend`](super::mend()) looks. Boxes that end and networks that come are
    /// heard too, and are nothing to mend.
    pub is_touched: bool,
    /// Ends of boxes that have gone.
    pub gone: BTreeSet<String>,
    /// There is more to hear, and nothing will say so again.
    pub is_more: bool,
}

impl LinkWatch {
    /// Of the caller's network namespace.
    ///
    /// # Errors
    /// As `socket(2)`.
    pub fn new() -> io::Result<Self> {
        let news = News::new(None, GROUPS)?;
        Ok(Self { news })
    }

    /// What has happened since the last time. When more happened than the kernel keeps, something may be wrong.
    pub fn hear(&mut self) -> LinksHeard {
        let mut heard = LinksHeard::default();
        heard.is_more = self.news.hear(|frame| match frame {
            Some(frame) => heard.look(frame),
            None => heard.is_touched = true,
        });
        heard
    }
}

impl LinksHeard {
    fn look(&mut self, frame: &Frame<'_>) {
        let Frame { kind, content, .. } = *frame;
        match kind {
            DELADDR => {
                self.is_touched |= AddressView::of(content).is_some_and(|one| !one.is_narrow);
            }
            NEWLINK | DELLINK => {
                let Some(name) = link_name(content) else {
                    return;
                };
                let is_end = is_end_of_a_box(name);
                if !is_end && !name.starts_with(pool::DEVICE_PREFIX) {
                    return;
                }
                // What has left a bridge is said to be gone too, by a message of that family.
                let is_gone = kind == DELLINK;
                if is_gone && is_end && content.first() == Some(&0) && self.gone.len() < MOST_GONE {
                    self.gone.insert(name.to_owned());
                }
                self.is_touched |= is_gone || LinkView::of(content).is_some_and(|one| !one.is_up);
            }
            _ => {}
        }
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn heard(kind: u16, family: u8, is_up: bool, name: &str) -> LinksHeard {
        let mut content = vec![
            family,
            0,
            0,
            0,
            7,
            0,
            0,
            0,
            is_up.into(),
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        let length = u8::try_from(4 + name.len() + 1).unwrap();
        content.extend([length, 0, 3, 0]);
        content.extend(name.as_bytes());
        content.push(0);
        let mut heard = LinksHeard::default();
        heard.look(&Frame {
            kind,
            flags: 0,
            sequence: 0,
            content: &content,
        });
        heard
    }

    #[test]
    fn only_what_goes_or_is_down_of_herds_is_something_to_look_at() {
        const BRIDGE: u8 = 7;
        assert!(heard(DELLINK, 0, true, "herd-default").is_touched);
        assert!(heard(NEWLINK, 0, false, "herd-default").is_touched);
        assert!(!heard(NEWLINK, 0, true, "herd-default").is_touched);
        for nobodys in ["eth0", "docker0", "hv0", "veth1f2e3d4"] {
            let of_nobody = heard(DELLINK, 0, false, nobodys);
            assert!(
                !of_nobody.is_touched && of_nobody.gone.is_empty(),
                "{nobodys}"
            );
        }
        let left = heard(DELLINK, BRIDGE, true, "hv1f2e3d4c.0");
        assert!(left.is_touched && left.gone.is_empty());
        let gone = heard(DELLINK, 0, true, "hv1f2e3d4c.0");
        assert_eq!(gone.gone.first().unwrap(), "hv1f2e3d4c.0");
    }

    proptest! {
        #[test]
        fn no_news_is_too_odd_to_hear(
            kind in 14u16..24, content in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let frame = Frame { kind, flags: 0, sequence: 0, content: &content };
            LinksHeard::default().look(&frame);
        }
    }
}
