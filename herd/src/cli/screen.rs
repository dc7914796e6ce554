//! stdout as a verb sees it: colour and width of a terminal, or plain text for a program.

use std::env;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::os::fd::{AsFd, BorrowedFd};

use serde::Serialize;

use crate::logs::escape::sanitised;

#[derive(Debug)]
pub(super) struct Screen {
    out: BufWriter<Stdout>,
    pub(super) json: bool,
    pub(super) is_terminal: bool,
    colour: bool,
    /// Columns; `None` where lines may be as long as they like.
    pub(super) width: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Screen {
    pub(super) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let size = rustix::termios::tcgetwinsize(&stdout).ok();
        let width = size.map(|size| usize::from(size.ws_col));
        Self {
            json,
            is_terminal,
            colour: is_terminal && !json && wants_colour(),
            width: width.filter(|width| is_terminal && *width > 0),
            out: BufWriter::new(stdout),
        }
    }

    pub(super) fn line(&mut self, line: impl Display) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    pub(super) fn document(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.out, value)?;
        writeln!(self.out)
    }

    /// One JSON value on a line of its own, for streams.
    pub(super) fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        writeln!(self.out)
    }

    /// Text of a service or a file: without control characters where a terminal would obey them.
    pub(super) fn foreign(&self, text: &str) -> String {
        if self.is_terminal {
            sanitised(text)
        } else {
            text.to_owned()
        }
    }

    /// As [`foreign`](Self::foreign), for text of several lines.
    pub(super) fn foreign_lines(&self, text: &str) -> String {
        let lines: Vec<String> = text.lines().map(|line| self.foreign(line)).collect();
        lines.join("\n")
    }

    pub(super) fn paint(&self, colour: Colour, text: impl Display) -> String {
        let code = match colour {
            Colour::Plain => return text.to_string(),
            Colour::Bold => 1,
            Colour::Dim => 2,
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Cyan => 36,
        };
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }

    pub(super) fn has_colour(&self) -> bool {
        self.colour
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl AsFd for Screen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.out.get_ref().as_fd()
    }
}

/// <https://no-color.org>: any value but the empty one turns colour off.
fn wants_colour() -> bool {
    let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
    !no_colour && !dumb
}
