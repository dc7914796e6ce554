//! Signals as events: all are blocked, and read from a descriptor (`signalfd(2)`). No handler ever
//! runs, so none can run in a child that still shares our memory.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

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
    /// To the first process of a machine alone.
    Power(Power),
}

#[derive(Debug)]
pub(super) struct Signals {
    fd: SignalFd,
    is_machine: bool,
}

impl Signals {
    /// Blocks the signals for this thread and all that it starts later.
    ///
    /// # Errors
    /// When the kernel gives no signal descriptor.
    pub(super) fn block(is_machine: bool) -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [
            Signal::SIGCHLD,
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGPIPE,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGPWR,
        ] {
            set.add(signal);
        }
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { fd, is_machine })
    }

    /// The next word, until none is left.
    ///
    /// # Errors
    /// As `read(2)`.
    pub(super) fn next(&mut self) -> io::Result<Option<Word>> {
        while let Some(info) = self.fd.read_signal()? {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) => return Ok(Some(Word::Child)),
                // The kernel's word for ctrl-alt-del, and for a power supply that ends.
                Ok(Signal::SIGINT) if self.is_machine => {
                    return Ok(Some(Word::Power(Power::Reboot)));
                }
                Ok(Signal::SIGTERM | Signal::SIGPWR) if self.is_machine => {
                    return Ok(Some(Word::Power(Power::PowerOff)));
                }
                Ok(Signal::SIGTERM | Signal::SIGINT | Signal::SIGPWR) => {
                    return Ok(Some(Word::Terminate));
                }
                Ok(Signal::SIGQUIT) => return Ok(Some(Word::Quit)),
                Ok(Signal::SIGHUP) => return Ok(Some(Word::Reload)),
                _ => {}
            }
        }
        Ok(None)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
