//! A program and what it says on stderr.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Seek};
use std::process::{ExitStatus, Stdio};

use rustix::fs::MemfdFlags;

const LONGEST: u64 = 4096;

/// Its end, and the beginning of what it said.
pub(super) fn run(program: &OsStr, words: &[&OsStr]) -> io::Result<(ExitStatus, String)> {
    // Not a pipe: a file system's daemon that keeps it open would keep us waiting.
    let mut said = fs::File::from(rustix::fs::memfd_create("said", MemfdFlags::CLOEXEC)?);
    #[expect(
        clippy::disallowed_methods,
        reason = "a process of its own below a unit, with nothing but its stdio"
    )]
    let status = std::process::Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stderr(said.try_clone()?)
        .status()?;
    let mut text = Vec::new();
    said.rewind()?;
    said.take(LONGEST).read_to_end(&mut text)?;
    let said = String::from_utf8_lossy(&text).trim().to_owned();
    Ok((status, said))
}
