//! Between a terminal of ours and that of a box.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr, tcsetwinsize};

use super::{Terminal, size_of};
use crate::session::{Forwarder, RunOutcome, Session, WaitError};

/// Holds the outer terminal raw, carries bytes between it and a box, and gives it back as it was.
#[derive(Debug)]
pub struct Relay {
    input: OwnedFd,
    output: OwnedFd,
    /// `None` where the input is no terminal.
    before: Option<Termios>,
    forwarder: Forwarder,
}

const AT_ONCE: usize = 4096;

impl Relay {
    /// Makes `input` raw if it is a terminal; anything else (a pipe, a file) is read as it is.
    ///
    /// Called in the main thread, before others are started: see [`Forwarder`].
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn new(input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> io::Result<Self> {
        let (input, output) = (input.try_clone_to_owned()?, output.try_clone_to_owned()?);
        let forwarder = Forwarder::new()?;
        let before = match isatty(&input) {
            true => Some(tcgetattr(&input)?),
            false => None,
        };
        let relay = Self {
            input,
            output,
            before,
            forwarder,
        };
        if let Some(before) = &relay.before {
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(&relay.input, OptionalActions::Flush, &raw)?;
        }
        Ok(relay)
    }

    /// Carries until the program has ended and its last words are shown. The end of the input is typed
    /// as the terminal's own end-of-file key, so that the program sees it.
    ///
    /// # Errors
    /// [`WaitError`]; the box has ended or is ended then, and the outer terminal is as it was.
    pub fn run(self, session: Session<'_>, terminal: Terminal) -> Result<RunOutcome, WaitError> {
        let mut session = session;
        let inner = terminal.into_caller_end();
        let mut typed = Typed::default();
        let mut input_is_open = true;
        loop {
            let ended = session.pidfd();
            let mut fds = vec![
                PollFd::new(&inner, typed.wanted()),
                PollFd::new(&self.forwarder, PollFlags::IN),
            ];
            fds.extend(ended.map(|ended| PollFd::from_borrowed_fd(ended, PollFlags::IN)));
            let has_room = input_is_open && typed.is_empty();
            if has_room {
                fds.push(PollFd::new(&self.input, PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
            let shown = !fds[0].revents().is_empty();
            let (signalled, over) = (!fds[1].revents().is_empty(), !fds[2].revents().is_empty());
            let readable = has_room && fds.last().is_some_and(|fd| !fd.revents().is_empty());
            drop(fds);
            if shown {
                typed.send(&inner)?;
                self.show(&inner)?;
            }
            if readable {
                input_is_open = typed.take(&self.input, &inner)?;
            }
            if signalled {
                self.signals(&session, &inner)?;
            }
            if over && let Some(outcome) = session.try_wait()? {
                // Who is left in the box has no say any more, but what was written is shown.
                while self.show(&inner)? {}
                return Ok(outcome);
            }
        }
    }

    /// One piece of output. Gives whether there may be more.
    fn show(&self, inner: &OwnedFd) -> io::Result<bool> {
        let mut bytes = [0u8; AT_ONCE];
        let mut fds = [PollFd::new(inner, PollFlags::IN)];
        match poll(&mut fds, Some(&rustix::event::Timespec::default())) {
            Ok(0) | Err(Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        match rustix::io::read(inner, &mut bytes) {
            // The last one to hold the other end has closed it.
            Ok(0) | Err(Errno::IO) => Ok(false),
            Ok(count) => {
                write_all(&self.output, &bytes[..count])?;
                Ok(true)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn signals(&self, session: &Session<'_>, inner: &OwnedFd) -> io::Result<()> {
        while let Some(signal) = self.forwarder.next()? {
            if signal == libc::SIGWINCH {
                tcsetwinsize(inner, size_of(self.input.as_fd()).into())?;
                continue;
            }
            match session.signal(signal) {
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            match tcsetattr(&self.input, OptionalActions::Flush, before) {
                // A terminal that has been hung up needs nothing any more.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// What was read and is still to be typed.
#[derive(Debug, Default)]
struct Typed {
    bytes: Vec<u8>,
}

impl Typed {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn wanted(&self) -> PollFlags {
        if self.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::IN | PollFlags::OUT
        }
    }

    /// Gives whether there may be more.
    fn take(&mut self, input: &OwnedFd, inner: &OwnedFd) -> io::Result<bool> {
        let mut bytes = [0u8; AT_ONCE];
        let count = match rustix::io::read(input, &mut bytes) {
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
            // The outer terminal has been hung up.
            Err(Errno::IO) => 0,
            Err(errno) => return Err(errno.into()),
        };
        if count == 0 {
            self.bytes.push(END_OF_FILE);
        } else {
            self.bytes.extend_from_slice(&bytes[..count]);
        }
        self.send(inner)?;
        Ok(count > 0)
    }

    /// As much as the terminal takes now.
    fn send(&mut self, inner: &OwnedFd) -> io::Result<()> {
        while !self.bytes.is_empty() {
            let mut fds = [PollFd::new(inner, PollFlags::OUT)];
            match poll(&mut fds, Some(&rustix::event::Timespec::default())) {
                Ok(0) | Err(Errno::INTR) => return Ok(()),
                Ok(_) => {}
                Err(errno) => return Err(errno.into()),
            }
            // One at a time never blocks: the kernel has said that there is room.
            match rustix::io::write(inner, &self.bytes[..1]) {
                Ok(count) => drop(self.bytes.drain(..count)),
                Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
                // Nobody is left to read it.
                Err(Errno::IO) => self.bytes.clear(),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// Ctrl-d, the default of `VEOF`.
const END_OF_FILE: u8 = 4;

fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(to, PollFlags::OUT)], None)?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
