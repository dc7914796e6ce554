//! Signals to the launcher, handed on to the command: who ends `vb` ends what it runs, and hears how that
//! ended. Called as `bwrap` the launcher ends by itself, as bubblewrap does.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Blocked from before the command runs, by the launch: the command would get them blocked from us.
pub const HANDED_ON: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// The signals that came, by descriptor.
#[derive(Debug)]
pub struct Forwarder(SignalFd);

impl Forwarder {
    /// Takes the signals, which are blocked already, for [`Self::hand_on`].
    ///
    /// # Errors
    /// When the kernel gives no signal descriptor.
    pub fn new() -> io::Result<Self> {
        let mut set = SigSet::empty();
        HANDED_ON.iter().for_each(|signal| set.add(*signal));
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self(SignalFd::with_flags(&set, flags)?))
    }

    /// Hands on what has come. Keys of the terminal have reached the command already.
    ///
    /// # Errors
    /// When the signal descriptor cannot be read.
    pub fn hand_on(&self, to: BorrowedFd<'_>) -> io::Result<()> {
        while let Some(info) = self.0.read_signal()? {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            let signal = rustix::process::Signal::from_named_raw(number);
            let is_of_terminal = info.ssi_code == libc::SI_KERNEL;
            if let Some(signal) = signal.filter(|_| !is_of_terminal) {
                match rustix::process::pidfd_send_signal(to, signal) {
                    // It has ended: that is seen next.
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(())
    }
}

impl AsFd for Forwarder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
