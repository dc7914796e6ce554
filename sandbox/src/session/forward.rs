//! Signals of a launcher that are for its box.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, pidfd_send_signal};

/// Takes the signals that end or poke a process from the calling thread (they are blocked in it while
/// this lives) and sends them to a box instead: SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2,
/// SIGALRM and SIGWINCH.
///
/// Made in the main thread of a program, before it starts others: a signal to a process goes to any
/// thread that does not block it. SIGTSTP, SIGTTIN, SIGTTOU and SIGCONT stay as they are, so that a shell's
/// job control stops and continues launcher and box as one job.
#[derive(Debug)]
pub struct Forwarder {
    signals: SignalFd,
    before: SigSet,
}

const FORWARDED: [NixSignal; 8] = [
    NixSignal::SIGTERM,
    NixSignal::SIGINT,
    NixSignal::SIGHUP,
    NixSignal::SIGQUIT,
    NixSignal::SIGUSR1,
    NixSignal::SIGUSR2,
    NixSignal::SIGALRM,
    NixSignal::SIGWINCH,
];

/// `SI_KERNEL`: nobody's `kill(2)`, but a terminal's own doing.
const FROM_KERNEL: i32 = 0x80;

impl Forwarder {
    /// # Errors
    /// When there is no descriptor left.
    pub fn new() -> io::Result<Self> {
        let wanted: SigSet = FORWARDED.into_iter().collect();
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&wanted), Some(&mut before))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        match SignalFd::with_flags(&wanted, flags) {
            Ok(signals) => Ok(Self { signals, before }),
            Err(errno) => {
                pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
                Err(errno.into())
            }
        }
    }

    /// The number of a signal that has come, if one has; for callers with a loop of their own, which wait
    /// for this value's descriptor to become readable.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn next(&self) -> io::Result<Option<i32>> {
        let info = self.signals.read_signal()?;
        Ok(info.map(|info| i32::try_from(info.ssi_signo).unwrap_or(0)))
    }

    /// Sends what comes to `process` until `ready` can be read.
    pub(super) fn forward_until(
        &self,
        ready: BorrowedFd<'_>,
        process: BorrowedFd<'_>,
        has_session: bool,
    ) -> io::Result<()> {
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(ready, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let is_over = !fds[0].revents().is_empty();
            self.take_all(process, has_session)?;
            if is_over {
                return Ok(());
            }
        }
    }

    fn take_all(&self, process: BorrowedFd<'_>, has_session: bool) -> io::Result<()> {
        while let Some(info) = self.signals.read_signal()? {
            // The terminal has sent it to the program too, which is in our group.
            if info.ssi_code == FROM_KERNEL && !has_session {
                continue;
            }
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            let Some(signal) = Signal::from_named_raw(number) else {
                continue;
            };
            match pidfd_send_signal(process, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

impl AsFd for Forwarder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        // What is pending and was for the box is not to end us now.
        while let Ok(Some(_)) = self.signals.read_signal() {}
        let restored = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
        debug_assert!(
            restored.is_ok(),
            "a mask the kernel gave us is one it takes"
        );
    }
}
