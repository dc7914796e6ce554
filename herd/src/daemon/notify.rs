//! The notify socket: datagrams as `sd_notify(3)` sends them, parsed here, answered elsewhere.
//!
//! A message is believed only as far as its sender goes: the kernel says which process sent it,
//! and only a process of the service itself can speak for it.
#![forbid(unsafe_code)]

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SocketAddrUnix, SocketFlags, SocketType, bind, recvmsg, socket_with, sockopt,
};

use crate::supervisor::event::Notice;

/// Longest message taken; systemd takes 4 KiB.
const MAX_MESSAGE: usize = 4096;
/// Descriptors taken with one message (systemd's limit is the kernel's 253).
const MAX_FDS: usize = 64;

#[derive(Debug)]
pub(super) struct NotifySocket(OwnedFd);

/// One datagram.
#[derive(Debug)]
pub(super) struct Datagram {
    /// Sender, in our PID namespace.
    pub pid: i32,
    pub words: Vec<Word>,
    pub fds: Vec<OwnedFd>,
}

/// One line of a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    Notice(Notice),
    MainPid(i32),
    /// The descriptors sent along are to be kept.
    FdStore {
        name: Option<String>,
    },
    FdStoreRemove {
        name: String,
    },
    /// A descriptor sent along is to be closed once all before it has been handled.
    Barrier,
    /// Known and without consequence here (`MONOTONIC_USEC=`, `ERRNO=`, …).
    Informal,
    /// Not understood: for the flight recorder.
    Unknown(String),
}

impl NotifySocket {
    /// Binds the socket at `path`, where every service may send (0666: who sends is checked).
    ///
    /// # Errors
    /// As `bind(2)` and the file system say.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        sockopt::set_socket_passcred(&fd, true)?;
        bind(&fd, &SocketAddrUnix::new(path)?)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(path, mode)?;
        Ok(Self(fd))
    }

    /// The next datagram, `None` when there is none. Senders without credentials are passed over.
    ///
    /// # Errors
    /// As `recvmsg(2)`.
    pub(super) fn receive(&self) -> io::Result<Option<Datagram>> {
        let mut bytes = [0_u8; MAX_MESSAGE];
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS), ScmCredentials(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = match recvmsg(&self.0, &mut parts, &mut ancillary, flags) {
            Ok(received) => received,
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let mut datagram = Datagram {
            pid: 0,
            words: Vec::new(),
            fds: Vec::new(),
        };
        for message in ancillary.drain() {
            match message {
                RecvAncillaryMessage::ScmRights(fds) => datagram.fds.extend(fds),
                RecvAncillaryMessage::ScmCredentials(credentials) => {
                    datagram.pid = credentials.pid.as_raw_nonzero().get();
                }
                _ => {}
            }
        }
        // A message that was cut says something other than what was meant.
        if !received.flags.contains(ReturnFlags::TRUNC) {
            let text = bytes.get(..received.bytes).unwrap_or_default();
            datagram.words = parse(text);
        }
        Ok(Some(datagram))
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads the lines of a datagram. Never fails: what is not understood is kept as such.
pub fn parse(bytes: &[u8]) -> Vec<Word> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text
        .split('\n')
        .map(|line| line.trim_end_matches('\0'))
        .filter(|l| !l.is_empty())
        .collect();
    let fd_name = lines.iter().find_map(|line| line.strip_prefix("FDNAME="));
    let fd_name = fd_name.filter(|name| is_fd_name(name)).map(str::to_owned);
    let mut words = Vec::new();
    for line in lines {
        let Some((key, value)) = line.split_once('=') else {
            words.push(Word::Unknown(line.to_owned()));
            continue;
        };
        let micros = || value.parse::<u64>().ok().map(Duration::from_micros);
        let word = match (key, value) {
            ("READY", "1") => Some(Word::Notice(Notice::Ready)),
            ("RELOADING", "1") => Some(Word::Notice(Notice::Reloading)),
            ("STOPPING", "1") => Some(Word::Notice(Notice::Stopping)),
            ("STATUS", text) => Some(Word::Notice(Notice::Status(Arc::from(text)))),
            ("WATCHDOG", "1") => Some(Word::Notice(Notice::WatchdogPing)),
            ("WATCHDOG", "trigger") => Some(Word::Notice(Notice::WatchdogTrigger)),
            ("WATCHDOG_USEC", _) => micros().map(|at| Word::Notice(Notice::WatchdogInterval(at))),
            ("EXTEND_TIMEOUT_USEC", _) => {
                micros().map(|by| Word::Notice(Notice::ExtendTimeout(by)))
            }
            ("MAINPID", pid) => pid.parse().ok().filter(|pid| *pid > 1).map(Word::MainPid),
            ("FDSTORE", "1") => Some(Word::FdStore {
                name: fd_name.clone(),
            }),
            ("FDSTOREREMOVE", "1") => fd_name.clone().map(|name| Word::FdStoreRemove { name }),
            ("BARRIER", "1") => Some(Word::Barrier),
            (
                "FDNAME" | "FDPOLL" | "ERRNO" | "BUSERROR" | "VARLINKERROR" | "EXIT_STATUS"
                | "MONOTONIC_USEC" | "NOTIFYACCESS" | "MAINPIDFDID" | "MAINPIDFD" | "INVOCATION_ID",
                _,
            ) => Some(Word::Informal),
            _ => None,
        };
        words.push(word.unwrap_or_else(|| Word::Unknown(line.to_owned())));
    }
    words
}

/// `sd_listen_fds_with_names(3)`: printable ASCII without colon, at most 255.
fn is_fd_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_may_hold_several_words() {
        let words = parse(b"READY=1\nSTATUS=serving\nMAINPID=4711\n");
        assert_eq!(
            words,
            vec![
                Word::Notice(Notice::Ready),
                Word::Notice(Notice::Status("serving".into())),
                Word::MainPid(4711),
            ]
        );
    }

    #[test]
    fn nonsense_is_kept_as_such_and_never_panics() {
        assert_eq!(parse(b"MAINPID=1"), vec![Word::Unknown("MAINPID=1".into())]);
        assert_eq!(
            parse(b"\xff\xfe"),
            vec![Word::Unknown("\u{fffd}\u{fffd}".into())]
        );
        assert_eq!(
            parse(b"WATCHDOG_USEC=x"),
            vec![Word::Unknown("WATCHDOG_USEC=x".into())]
        );
        assert!(parse(b"\n\n\0").is_empty());
    }

    #[test]
    fn a_stored_descriptor_takes_the_name_of_its_datagram() {
        let words = parse(b"FDSTORE=1\nFDNAME=socket");
        assert_eq!(
            words,
            vec![
                Word::FdStore {
                    name: Some("socket".into())
                },
                Word::Informal
            ]
        );
        assert_eq!(
            parse(b"FDSTORE=1\nFDNAME=a:b"),
            vec![Word::FdStore { name: None }, Word::Informal]
        );
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(0_u8.., 0..512)) {
            let lines = bytes.split(|b| *b == b'\n').count();
            proptest::prop_assert!(parse(&bytes).len() <= lines);
        }
    }
}
