//! Signals as events: all are blocked, and read from a descriptor (`signalfd(2)`). No handler ever
//! runs, so none can run in a child that still shares our memory.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// What a signal to herd means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// A child ended, or an orphan arrived and ended.
    Child,
    /// End in order; a second one ends at once.
    Terminate,
    Quit,
    Reload,
    /// The real-time signals by which systemd is told how to end a machine. herd ends; `again` when it is to be
    /// started anew by whoever started it.
    End {
        at_once: bool,
        again: bool,
    },
}

/// glibc's `SIGRTMIN`, which is what container engines and kill(1) of Debian count from; musl's is one more.
const REAL_TIME: i32 = 34;

/// Everything herd hears, and what it means. A signal without a meaning is taken and dropped: process 1 would
/// not die of it, and nobody else's herd should.
const TABLE: &[(i32, Option<Word>)] = &[
    (libc::SIGCHLD, Some(Word::Child)),
    (libc::SIGTERM, Some(Word::Terminate)),
    (libc::SIGINT, Some(Word::Terminate)),
    (libc::SIGPWR, Some(Word::Terminate)),
    (libc::SIGQUIT, Some(Word::Quit)),
    (libc::SIGHUP, Some(Word::Reload)),
    (libc::SIGPIPE, None),
    (libc::SIGUSR1, None),
    (libc::SIGUSR2, None),
    (libc::SIGWINCH, None),
    (REAL_TIME + 3, Some(END)),
    (REAL_TIME + 4, Some(END)),
    (REAL_TIME + 5, Some(AGAIN)),
    (REAL_TIME + 6, Some(AGAIN)),
    (REAL_TIME + 13, Some(END_AT_ONCE)),
    (REAL_TIME + 14, Some(END_AT_ONCE)),
    (REAL_TIME + 15, Some(AGAIN_AT_ONCE)),
    (REAL_TIME + 16, Some(AGAIN_AT_ONCE)),
];

const END: Word = Word::End {
    at_once: false,
    again: false,
};
const AGAIN: Word = Word::End {
    at_once: false,
    again: true,
};
const END_AT_ONCE: Word = Word::End {
    at_once: true,
    again: false,
};
const AGAIN_AT_ONCE: Word = Word::End {
    at_once: true,
    again: true,
};

/// `struct signalfd_siginfo`; its first four bytes are the number.
const RECORD: usize = 128;

#[derive(Debug)]
pub(super) struct Signals(OwnedFd);

impl Signals {
    /// Blocks the signals for this thread and all that it starts later.
    ///
    /// # Errors
    /// When the kernel gives no signal descriptor.
    pub(super) fn block() -> io::Result<Self> {
        let numbers: Vec<i32> = TABLE.iter().map(|(number, _)| *number).collect();
        sandbox::signal_descriptor(&numbers).map(Self)
    }

    /// The next word, until none is left.
    ///
    /// # Errors
    /// As `read(2)`.
    pub(super) fn next(&mut self) -> io::Result<Option<Word>> {
        let mut record = [0_u8; RECORD];
        loop {
            match rustix::io::read(&self.0, &mut record) {
                Ok(RECORD) => {}
                Ok(_) | Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            let [a, b, c, d, ..] = record;
            let number = i32::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(0);
            if let Some(word) = meaning(number) {
                return Ok(Some(word));
            }
        }
    }
}

fn meaning(number: i32) -> Option<Word> {
    let (_, word) = TABLE.iter().find(|(listed, _)| *listed == number)?;
    *word
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
