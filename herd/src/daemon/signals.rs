//! Signals as events: all are blocked, and read from a descriptor (`signalfd(2)`). No handler ever
//! runs, so none can run in a child that still shares our memory.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use units::{Haste, Power};

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
    /// The others are for the first process of a machine alone: how it ends,
    Power(Power, Haste),
    /// what the kernel says of a key and of a power supply that ends,
    CtrlAltDel,
    PowerFailure,
    KeyboardRequest,
    /// what it is to come to,
    Goal(&'static str),
    /// and that it is to tell how things stand.
    Dump,
    #[cfg(debug_assertions)]
    Mistake(super::fault::Fault),
}

/// glibc's `SIGRTMIN`, which is what container engines and kill(1) of Debian count from; musl's is one more.
const REAL_TIME: i32 = 34;

/// What herd hears that did not boot the machine. What has no meaning here and stands in [`MACHINE`] is taken and
/// dropped: process 1 of a container would not die of it, and nobody else's herd should.
const TABLE: &[(i32, Word)] = &[
    (libc::SIGCHLD, Word::Child),
    (libc::SIGTERM, Word::Terminate),
    (libc::SIGINT, Word::Terminate),
    (libc::SIGPWR, Word::Terminate),
    (libc::SIGQUIT, Word::Quit),
    (libc::SIGHUP, Word::Reload),
    (REAL_TIME + 3, END),
    (REAL_TIME + 4, END),
    (REAL_TIME + 5, AGAIN),
    (REAL_TIME + 6, AGAIN),
    (REAL_TIME + 13, END_AT_ONCE),
    (REAL_TIME + 14, END_AT_ONCE),
    (REAL_TIME + 15, AGAIN_AT_ONCE),
    (REAL_TIME + 16, AGAIN_AT_ONCE),
];

/// What the first process of a machine hears: systemd(1), "Signals", but for SIGTERM. systemd executes itself anew
/// at that; whoever sends it to this one wants the machine to end.
const MACHINE: &[(i32, Word)] = &[
    (libc::SIGCHLD, Word::Child),
    (libc::SIGTERM, in_order(Power::PowerOff)),
    (libc::SIGINT, Word::CtrlAltDel),
    (libc::SIGPWR, Word::PowerFailure),
    (libc::SIGHUP, Word::Reload),
    (libc::SIGUSR2, Word::Dump),
    (libc::SIGWINCH, Word::KeyboardRequest),
    (REAL_TIME, Word::Goal("default")),
    (REAL_TIME + 1, Word::Goal("rescue")),
    (REAL_TIME + 2, Word::Goal("emergency")),
    (REAL_TIME + 3, in_order(Power::Halt)),
    (REAL_TIME + 4, in_order(Power::PowerOff)),
    (REAL_TIME + 5, in_order(Power::Reboot)),
    (REAL_TIME + 6, in_order(Power::Kexec)),
    (REAL_TIME + 7, in_order(Power::SoftReboot)),
    (REAL_TIME + 13, at_once(Power::Halt)),
    (REAL_TIME + 14, at_once(Power::PowerOff)),
    (REAL_TIME + 15, at_once(Power::Reboot)),
    (REAL_TIME + 16, at_once(Power::Kexec)),
    (REAL_TIME + 17, at_once(Power::SoftReboot)),
];

/// Taken and dropped everywhere. The last two are the kernel's, at limits that whoever started herd has set: of a log
/// file that is large enough by them `write(2)` says so as well, and no service shall be without herd for that.
const HARMLESS: [i32; 5] = [
    libc::SIGPIPE,
    libc::SIGUSR1,
    libc::SIGQUIT,
    libc::SIGXFSZ,
    libc::SIGXCPU,
];

const fn in_order(power: Power) -> Word {
    Word::Power(power, Haste::InOrder)
}

const fn at_once(power: Power) -> Word {
    Word::Power(power, Haste::AtOnce)
}

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
        let listed = TABLE.iter().chain(MACHINE).map(|(number, _)| *number);
        let numbers = listed.chain(HARMLESS);
        #[cfg(debug_assertions)]
        let numbers = numbers.chain(super::fault::SIGNALS.map(|(number, _)| REAL_TIME + number));
        let numbers: Vec<i32> = numbers.collect();
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
    #[cfg(debug_assertions)]
    if let Some((_, fault)) = super::fault::SIGNALS
        .iter()
        .find(|(past, _)| REAL_TIME + past == number)
    {
        return Some(Word::Mistake(*fault));
    }
    let table = if is_machine { MACHINE } else { TABLE };
    let (_, word) = table.iter().find(|(listed, _)| *listed == number)?;
    Some(*word)
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_hears_what_systemd_would_and_others_end_of_it() {
        let halt = meaning(REAL_TIME + 3, true);
        assert_eq!(halt, Some(Word::Power(Power::Halt, Haste::InOrder)));
        let kexec = meaning(REAL_TIME + 16, true);
        assert_eq!(kexec, Some(Word::Power(Power::Kexec, Haste::AtOnce)));
        assert_eq!(meaning(REAL_TIME + 1, true), Some(Word::Goal("rescue")));
        assert_eq!(meaning(REAL_TIME + 3, false), Some(END));
        assert_eq!(meaning(REAL_TIME + 7, false), None);
        assert_eq!(meaning(libc::SIGQUIT, true), None);
        assert_eq!(meaning(libc::SIGUSR1, true), None);
    }

    #[test]
    fn no_signal_means_two_things() {
        for table in [TABLE, MACHINE] {
            let numbers: std::collections::BTreeSet<i32> = table.iter().map(|(n, _)| *n).collect();
            assert_eq!(numbers.len(), table.len());
        }
    }
}
