//! The id of a machine (machine-id(5)): 128 random bits in `/etc/machine-id`, made at the first boot.
//!
//! Where the root cannot be written yet, the id lies in `/run` and is bound over the file; once file systems are there
//! `herd machine machine-id` writes it below the bind and lets go of that, so that the next boot finds it.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::FIRST_BOOT;

const PATH: &str = "/etc/machine-id";
/// The id of this boot, until `PATH` holds it.
const OF_THIS_BOOT: &str = "/run/machine-id";

/// Gives a machine that has none an id.
pub(super) fn give() -> io::Result<()> {
    let text = match fs::read_to_string(PATH) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        // One that cannot be read is no id, and no sign of a first boot.
        Err(_) => Some(String::new()),
    };
    if text.as_deref().is_some_and(is_id) {
        return Ok(());
    }
    if is_first_boot(text.as_deref()) {
        fs::create_dir_all("/run/herd")?;
        fs::write(FIRST_BOOT, "")?;
    }
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    // As systemd does: a valid random UUID (RFC 9562, version 4).
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let line = format!("{id}\n");
    if write(CWD, Path::new(PATH), &line).is_ok() {
        return Ok(());
    }
    fs::write(OF_THIS_BOOT, &line)?;
    // Without a file to put it on, programs find it nowhere until it is kept; that is what the note says.
    let none = None::<&str>;
    mount(Some(OF_THIS_BOOT), PATH, none, MsFlags::MS_BIND, none)?;
    Ok(())
}

/// What became of the id of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// The file holds it now.
    Written,
    /// What has been mounted meanwhile brings an id of its own.
    OfItsOwn,
}

/// Keeps the id of this boot for the next ones.
///
/// # Errors
/// The file cannot be written, as on a root that stays read-only; the bind is left then.
pub(super) fn keep() -> io::Result<Kept> {
    let line = fs::read_to_string(OF_THIS_BOOT)?;
    let place = |path: &str| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    let is_bound = place(PATH).ok() == place(OF_THIS_BOOT).ok();
    let kept = if is_bound {
        write_below(&line)?;
        umount2(PATH, MntFlags::MNT_DETACH)?;
        Kept::Written
    } else if is_id(&fs::read_to_string(PATH).unwrap_or_default()) {
        Kept::OfItsOwn
    } else {
        write(CWD, Path::new(PATH), &line)?;
        Kept::Written
    };
    fs::remove_file(OF_THIS_BOOT)?;
    Ok(kept)
}

/// Into the file that the bind covers: nobody finds it empty meanwhile.
fn write_below(line: &str) -> io::Result<()> {
    // A link is bound over at its end.
    let path = fs::canonicalize(PATH)?;
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // A copy of the mount, without those on top of it.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let uncovered = open_tree(CWD, directory, flags)?;
    write(uncovered, Path::new(name), line)
}

/// In place, for nothing can be renamed over what is mounted on; on the disk before this returns.
fn write(directory: impl AsFd, name: &Path, line: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o444);
    let mut file = fs::File::from(openat(directory, name, flags, mode)?);
    file.write_all(line.as_bytes())?;
    file.set_len(line.len() as u64)?;
    file.sync_all()
}

/// machine-id(5), "First Boot Semantics": there is no file, or it says that nobody has been here. An empty one is an
/// image's that makes an id at each boot.
fn is_first_boot(text: Option<&str>) -> bool {
    text.is_none_or(|text| text.trim() == "uninitialized")
}

fn is_id(text: &str) -> bool {
    let text = text.trim();
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_id_has_32_hexadecimal_digits() {
        assert!(is_id("0123456789abcdef0123456789abcdef\n"));
        assert!(!is_id("uninitialized\n"));
        assert!(!is_id(""));
        assert!(!is_id("0123456789abcdef0123456789abcdeg"));
    }

    #[test]
    fn only_a_missing_id_and_the_word_uninitialized_tell_of_a_first_boot() {
        assert!(is_first_boot(None) && is_first_boot(Some("uninitialized\n")));
        for text in [
            "",
            "\n",
            "uninitialised\n",
            "0123456789abcdef0123456789abcdef\n",
        ] {
            assert!(!is_first_boot(Some(text)), "{text:?}");
        }
    }

    #[test]
    fn what_was_longer_is_cut_off() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("machine-id");
        fs::write(&path, "uninitialized, and a good deal longer than an id\n").unwrap();
        write(CWD, &path, "0123456789abcdef0123456789abcdef\n").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "0123456789abcdef0123456789abcdef\n");
    }
}
