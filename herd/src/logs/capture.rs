//! The reading end of one service's output: bytes become records, herd never waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::pipe::{PipeFlags, pipe_with};
use units::UnitName;

use super::record::{Kind, MAX_TEXT};
use super::sink::{Batch, Sink};
use super::timestamp::Timestamp;

/// The least a `drain` buffer should hold, and the most one call reads.
pub const DRAIN_SIZE: usize = 64 * 1024;

/// One pipe that carries stdout and stderr of a service, so that their order is kept.
///
/// Idle it holds a descriptor and a name; the line being received is allocated only while there
/// is one.
#[derive(Debug)]
pub struct Capture {
    pipe: OwnedFd,
    unit: UnitName,
    /// The beginning of a line whose end has not come, at most [`MAX_TEXT`] long.
    partial: Vec<u8>,
}

/// How a call of [`Capture::drain`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// There may be more; to be called again soon, for no event will say so.
    More,
    /// An event will tell of more.
    Empty,
    /// Every writer is gone and all they wrote is recorded.
    Closed,
}

/// A pipe for a service: the nonblocking end for [`Capture::new`], the blocking one for the
/// service. Both are close-on-exec.
///
/// A program that opens `/dev/stdout` anew is asked for the rights to the pipe (`pipe(7)`), which belongs to herd's user
/// and not to the service's. The way there leads through its own `/proc/PID/fd`, so they are for all.
///
/// # Errors
/// As `pipe2(2)`, `ioctl(2)` and `fchmod(2)`.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    rustix::fs::fchmod(&write, Mode::from_raw_mode(0o622))?;
    Ok((read, write))
}

impl Capture {
    /// `pipe` must not block; [`pipe`] makes such.
    pub fn new(pipe: OwnedFd, unit: UnitName) -> Self {
        Self {
            pipe,
            unit,
            partial: Vec::new(),
        }
    }

    pub fn unit(&self) -> &UnitName {
        &self.unit
    }

    /// Reads at most [`DRAIN_SIZE`] bytes (and the size of `buffer` at once) and hands whole lines
    /// to `sink`. All lines of one call carry the time `now`.
    pub fn drain(&mut self, buffer: &mut [u8], now: Timestamp, sink: &Sink) -> Drained {
        let mut left = DRAIN_SIZE;
        while left > 0 {
            match rustix::io::read(&self.pipe, &mut *buffer) {
                Ok(0) => {
                    self.finish(now, sink);
                    return Drained::Closed;
                }
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    self.take(bytes, now, &mut sink.batch(&self.unit));
                    left = left.saturating_sub(length);
                }
                Err(rustix::io::Errno::AGAIN) => return Drained::Empty,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => {
                    // A pipe that cannot be read any more is at its end for us.
                    self.finish(now, sink);
                    return Drained::Closed;
                }
            }
        }
        Drained::More
    }

    /// Records a line that was begun and never ended.
    pub fn finish(&mut self, now: Timestamp, sink: &Sink) {
        if !self.partial.is_empty() {
            let partial = std::mem::take(&mut self.partial);
            sink.line(&self.unit, now, Kind::Out, &partial);
        }
    }

    fn take(&mut self, bytes: &[u8], now: Timestamp, batch: &mut Batch<'_>) {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        // What follows the last newline, or everything when there is none: a line not yet ended.
        let begun = lines.next_back().unwrap_or_default();
        for line in lines {
            let rest = self.cut(line, now, batch);
            if self.partial.is_empty() {
                batch.line(now, Kind::Out, rest);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(rest);
                batch.line(now, Kind::Out, &whole);
            }
        }
        let rest = self.cut(begun, now, batch);
        self.partial.extend_from_slice(rest);
    }

    /// Records pieces while partial and `line` together are longer than a record; what is left of
    /// `line` fits into one with what is left of the partial line.
    fn cut<'a>(&mut self, line: &'a [u8], now: Timestamp, batch: &mut Batch<'_>) -> &'a [u8] {
        let mut line = line;
        while self.partial.len() + line.len() > MAX_TEXT {
            let (now_full, rest) = line.split_at(MAX_TEXT - self.partial.len());
            if self.partial.is_empty() {
                batch.line(now, Kind::Piece, now_full);
            } else {
                let mut piece = std::mem::take(&mut self.partial);
                piece.extend_from_slice(now_full);
                batch.line(now, Kind::Piece, &piece);
            }
            line = rest;
        }
        line
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
