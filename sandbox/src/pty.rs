//! Boxes with a terminal.
//!
//! A terminal that a box shares with its caller is a way out: what is typed into it by `TIOCSTI` is read by
//! the caller's shell (CVE-2017-5226). A [`Terminal`] is one of the box's own: a pair of pseudoterminal
//! ends, of which the box has one as its controlling terminal, and the caller the other.
//!
//! ```no_run
//! use sandbox::pty::{Relay, Terminal};
//! use sandbox::session::{Options, spawn};
//! use sandbox::Config;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     sandbox::executor_entry();
//!     let terminal = Terminal::like(rustix::stdio::stdin())?;
//!     let mut config = Config::boxed("shell", ["/bin/sh"]);
//!     config.process.controlling_terminal = true;
//!     let session = spawn(&config, terminal.files(), Options::new())?;
//!     // The outer terminal is raw from here to the end of this value.
//!     let relay = Relay::new(rustix::stdio::stdin(), rustix::stdio::stdout())?;
//!     let outcome = relay.run(session, terminal)?;
//!     std::process::exit(outcome.exit_code())
//! }
//! ```
//!
//! # What happens to signals
//! Keys go to the box as they are: ctrl-c is a byte on the outer terminal, and a SIGINT for the foreground
//! group of the inner one. A change of the outer window's size is given to the inner terminal, which sends
//! SIGWINCH. SIGTERM, SIGINT, SIGHUP and SIGQUIT sent to the relaying process go to the program.
//!
//! # The end
//! When the caller's end is closed the kernel hangs the terminal up: SIGHUP for the program, which leads
//! the session, and end of file for who reads. The relay goes on until the program has ended and what it
//! wrote last is shown; then the outer terminal is as it was. So it is after an error or a panic, and
//! after a signal that the relay forwards; not after SIGKILL, which nobody can help.

mod relay;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

pub use relay::Relay;

/// Both ends of a terminal for a box.
#[derive(Debug)]
pub struct Terminal {
    ours: OwnedFd,
    theirs: OwnedFd,
}

/// The size of a terminal's window in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

impl Terminal {
    /// A new terminal of this size.
    ///
    /// # Errors
    /// When `/dev/ptmx` cannot be opened, or the system has no terminal left
    /// (`/proc/sys/kernel/pty/max`).
    pub fn new(size: Size) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        // By descriptor: a path below /dev/pts may be anything by now (Linux 4.13).
        let theirs = ioctl_tiocgptpeer(&ours, flags)?;
        let terminal = Self { ours, theirs };
        terminal.resize(size)?;
        Ok(terminal)
    }

    /// A new terminal of the size of another; 24 by 80 if that is none.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn like(outer: BorrowedFd<'_>) -> io::Result<Self> {
        Self::new(size_of(outer))
    }

    /// Changes the size; the foreground group of the terminal gets SIGWINCH.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        Ok(tcsetwinsize(&self.ours, size.into())?)
    }

    /// The box's end: descriptors 0, 1 and 2 of a program. With
    /// [`controlling_terminal`](crate::config::Process::controlling_terminal) it becomes that of the
    /// program's session.
    pub fn box_end(&self) -> BorrowedFd<'_> {
        self.theirs.as_fd()
    }

    /// The box's end as the three standard descriptors of a program.
    pub fn files(&self) -> crate::Files<'_> {
        crate::Files {
            stdin: self.box_end(),
            stdout: self.box_end(),
            stderr: self.box_end(),
            passed: &[],
            held: &[],
            own: &[],
        }
    }

    /// The caller's end, for callers that relay by themselves: what is written is typed, what is read is
    /// shown, and reading ends with `EIO` when the box has closed its end. The box's end is closed here:
    /// the caller is not to keep the terminal open that the box has left.
    pub fn into_caller_end(self) -> OwnedFd {
        self.ours
    }
}

impl From<Size> for Winsize {
    fn from(size: Size) -> Self {
        Self {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        }
    }
}

fn size_of(terminal: BorrowedFd<'_>) -> Size {
    match tcgetwinsize(terminal) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => Size {
            rows: size.ws_row,
            columns: size.ws_col,
        },
        Ok(_) | Err(_) => Size {
            rows: 24,
            columns: 80,
        },
    }
}
