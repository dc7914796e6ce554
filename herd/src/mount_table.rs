//! How `fstab(5)` and the kernel's tables of mounts and swaps write what their fields cannot hold.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A table as text, empty where there is none. The name of a mount point need not be text, and anybody may have given it
/// (fuse): bytes that are none get the escapes which the kernel itself gives to blanks, so that one such line does not
/// hide the others.
pub(crate) fn read(path: &Path) -> String {
    escaped(&fs::read(path).unwrap_or_default())
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\{byte:03o}"));
        }
    }
    text
}

/// `\040` is a blank; any byte may be written so.
pub(crate) fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        let is_octal = |digits: &&[u8]| digits.iter().all(|digit| matches!(digit, b'0'..=b'7'));
        let digits = tail.get(..3).filter(is_octal);
        match digits.filter(|_| *first == b'\\').and_then(octal) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

/// As [`unescaped`], for a path, which need not be text.
pub(crate) fn unescaped_path(field: &str) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&unescaped(field.as_bytes())))
}

/// Where something is mounted, by proc_pid_mountinfo(5). Lines that are none are passed over.
pub(crate) fn mount_points(text: &str) -> impl Iterator<Item = PathBuf> {
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(unescaped_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_text_keeps_its_bytes_and_its_neighbours() {
        let text = escaped(b"x /srv/\xe4\\040\xf6 tmpfs\ny /\xc3\xa4 tmpfs\n");
        assert_eq!(text, "x /srv/\\344\\040\\366 tmpfs\ny /ä tmpfs\n");
        assert_eq!(unescaped(b"/srv/\\344\\040\\366"), b"/srv/\xe4 \xf6");
    }

    #[test]
    fn three_octal_digits_behind_a_backslash_are_a_byte_and_nothing_else_is() {
        assert_eq!(unescaped(b"/a\\040b\\134\\011"), b"/a b\\\t");
        assert_eq!(unescaped(b"\\134040"), b"\\040");
        assert_eq!(unescaped(b"\\08 \\+12 \\4"), b"\\08 \\+12 \\4");
        assert_eq!(unescaped_path("/\\303\\244"), PathBuf::from("/ä"));
    }
}
