//! The terminal that a session shares with its caller, as a shell's job does.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal, pthread_sigmask};
use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process, kill_process_group};
use rustix::termios::{isatty, tcgetpgrp, tcsetpgrp};

/// A terminal in whose foreground the caller was, and which it gets back.
#[derive(Debug)]
pub(super) struct Job {
    terminal: OwnedFd,
    own: Pid,
}

impl Job {
    /// `None` where there is no terminal, or its foreground is not ours to give.
    pub(super) fn of(terminal: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let own = getpgrp();
        if !isatty(terminal) || tcgetpgrp(terminal).ok() != Some(own) {
            return Ok(None);
        }
        Ok(Some(Self {
            terminal: terminal.try_clone_to_owned()?,
            own,
        }))
    }

    /// The program was stopped: so are we, and both go on together.
    ///
    /// A program that was stopped for reading in the background, while we have the foreground (because
    /// a shell gave it to us since), is handed it and goes on at once.
    pub(super) fn stopped(&self, main: Pid, signal: i32) -> io::Result<()> {
        let wants = signal == libc::SIGTTIN || signal == libc::SIGTTOU;
        let has_foreground = || tcgetpgrp(&self.terminal).ok() == Some(self.own);
        if !(wants && has_foreground()) {
            self.give(self.own)?;
            // Ignored where nobody is there to continue us (an orphaned group, `setpgid(2)`).
            kill_process(getpid(), Signal::TSTP)?;
        }
        if has_foreground() {
            self.give(main)?;
        }
        match kill_process_group(main, Signal::CONT) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Who is in the background and asks is stopped, unless it blocks SIGTTOU.
    fn give(&self, group: Pid) -> io::Result<()> {
        let wanted: SigSet = [NixSignal::SIGTTOU].into_iter().collect();
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&wanted), Some(&mut before))?;
        let given = tcsetpgrp(self.terminal.as_fd(), group);
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        match given {
            // It has ended meanwhile.
            Ok(()) | Err(rustix::io::Errno::SRCH | rustix::io::Errno::PERM) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        match self.give(self.own) {
            // A terminal that has been hung up is nobody's.
            Ok(()) | Err(_) => {}
        }
    }
}
