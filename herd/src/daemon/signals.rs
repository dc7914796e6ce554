//! Signals as events: all are blocked, and read from a descriptor (`signalfd(2)`). No handler ever
//! runs, so none can run in a child that still shares our memory.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::pid1::power::Power;

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
    /// To the first process of a machine alone.
    Power(Power),
}

/// glibc's `SIGRTMIN`, which is what container engines and kill(1) of Debian count from; musl's is one more.
const REAL_TIME: i32 = 34;

/// Everything herd hears: what it means, and what it means to the first process of a machine. A signal without a
/// meaning is taken and dropped: process 1 would not die of it, and nobody else's herd should.
const TABLE: &[(i32, Option<Word>, Option<Word>)] = &[
    (libc::SIGCHLD, Some(Word::Child), Some(Word::Child)),
    (libc::SIGTERM, Some(Word::Terminate), POWER_OFF),
    // The kernel's word for ctrl-alt-del on a machine.
    (libc::SIGINT, Some(Word::Terminate), REBOOT),
    (libc::SIGPWR, Some(Word::Terminate), POWER_OFF),
    (libc::SIGQUIT, Some(Word::Quit), Some(Word::Quit)),
    (libc::SIGHUP, Some(Word::Reload), Some(Word::Reload)),
    (libc::SIGPIPE, None, None),
    (libc::SIGUSR1, None, None),
    (libc::SIGUSR2, None, None),
    (libc::SIGWINCH, None, None),
    (REAL_TIME + 3, Some(END), HALT),
    (REAL_TIME + 4, Some(END), POWER_OFF),
    (REAL_TIME + 5, Some(AGAIN), REBOOT),
    (REAL_TIME + 6, Some(AGAIN), None),
    (REAL_TIME + 13, Some(END_AT_ONCE), None),
    (REAL_TIME + 14, Some(END_AT_ONCE), None),
    (REAL_TIME + 15, Some(AGAIN_AT_ONCE), None),
    (REAL_TIME + 16, Some(AGAIN_AT_ONCE), None),
];

const POWER_OFF: Option<Word> = Some(Word::Power(Power::PowerOff));
const REBOOT: Option<Word> = Some(Word::Power(Power::Reboot));
const HALT: Option<Word> = Some(Word::Power(Power::Halt));
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
pub(super) struct Signals {
    fd: OwnedFd,
    is_machine: bool,
}

impl Signals {
    /// Blocks the signals for this thread and all that it starts later.
    ///
    /// # Errors
    /// When the kernel gives no signal descriptor.
    pub(super) fn block(is_machine: bool) -> io::Result<Self> {
        let numbers: Vec<i32> = TABLE.iter().map(|(number, ..)| *number).collect();
        let fd = sandbox::signal_descriptor(&numbers)?;
        Ok(Self { fd, is_machine })
    }

    /// The next word, until none is left.
    ///
    /// # Errors
    /// As `read(2)`.
    pub(super) fn next(&mut self) -> io::Result<Option<Word>> {
        let mut record = [0_u8; RECORD];
        loop {
            match rustix::io::read(&self.fd, &mut record) {
                Ok(RECORD) => {}
                Ok(_) | Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            let [a, b, c, d, ..] = record;
            let number = i32::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(0);
            if let Some(word) = meaning(number, self.is_machine) {
                return Ok(Some(word));
            }
        }
    }
}

fn meaning(number: i32, is_machine: bool) -> Option<Word> {
    let (_, usual, of_machine) = TABLE.iter().find(|(listed, ..)| *listed == number)?;
    if is_machine { *of_machine } else { *usual }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
