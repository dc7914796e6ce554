//! Files that units and services name, read without waiting for anybody.
//!
//! Opening a fifo waits for its writer, and a service may put one where its pid file is to be: herd's loop
//! must not wait there. Nothing but a regular file is read. (A file system that does not answer still holds up
//! whoever opens a file of it.)

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The whole content of a regular file of at most `longest` bytes.
///
/// # Errors
/// When it is something else, is longer, or cannot be read.
pub fn read(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    // The opened file is asked, not the path: nothing can be put in its place in between.
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(io::Error::other(format!("longer than {longest} bytes")));
    }
    Ok(bytes)
}

/// The same, as text.
///
/// # Errors
/// Also when it is no UTF-8.
pub fn read_text(path: &Path, longest: u64) -> io::Result<String> {
    String::from_utf8(read(path, longest)?).map_err(|_| io::Error::other("not UTF-8"))
}
