//! utmp and wtmp: when the machine began and ended, and who is logged in where (utmp(5), glibc's layout).
//!
//! The kernel knows nothing of these files and nobody locks them for long: records are fixed in size and each is
//! written at once. Sessions are written by those who make them (agetty, login, sshd).
#![forbid(unsafe_code)]

pub mod run_level;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

use crate::users::Users;

const UTMP: &str = "/run/utmp";
const WTMP: &str = "/var/log/wtmp";
/// proc_sys_kernel(5): another one each time that a kernel begins.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The one that wtmp has heard of.
const RECORDED_BOOT: &str = "/run/herd/recorded-boot";
/// The longest file that is read: a thousand sessions and more.
const LONGEST: u64 = 1 << 20;

/// `ut_type`.
const RUN_LVL: i16 = 1;
const BOOT_TIME: i16 = 2;
const USER_PROCESS: i16 = 7;

/// Where 64-bit glibc keeps 32-bit times for the sake of 32-bit programs, and where it does not.
const HAS_LONG_TIMES: bool = cfg!(target_arch = "aarch64");
const SIZE: usize = if HAS_LONG_TIMES { 400 } else { 384 };

const LINE: usize = 8;
const ID: usize = 40;
const USER: usize = 44;
const HOST: usize = 76;
const TIME: usize = if HAS_LONG_TIMES { 344 } else { 340 };

#[derive(Debug, Clone, PartialEq, Eq)]
struct Record<'a> {
    kind: i16,
    pid: i32,
    line: &'a str,
    id: &'a str,
    user: &'a str,
    host: &'a str,
    /// Microseconds since 1970.
    at: i64,
}

impl Record<'_> {
    /// What does not fit is cut, as everybody does.
    fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0_u8; SIZE];
        put(&mut bytes, 0, &self.kind.to_ne_bytes());
        put(&mut bytes, 4, &self.pid.to_ne_bytes());
        let texts = [
            (LINE, 32, self.line),
            (ID, 4, self.id),
            (USER, 32, self.user),
            (HOST, 256, self.host),
        ];
        for (at, room, text) in texts {
            let text = text.as_bytes();
            put(&mut bytes, at, text.get(..room).unwrap_or(text));
        }
        let (seconds, micros) = (self.at.div_euclid(1_000_000), self.at.rem_euclid(1_000_000));
        if HAS_LONG_TIMES {
            put(&mut bytes, TIME, &seconds.to_ne_bytes());
            put(&mut bytes, TIME + 8, &micros.to_ne_bytes());
        } else {
            // Unsigned, which lasts until 2106.
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            let micros = u32::try_from(micros).unwrap_or(0);
            put(&mut bytes, TIME, &seconds.to_ne_bytes());
            put(&mut bytes, TIME + 4, &micros.to_ne_bytes());
        }
        bytes
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(value) {
        *to = *from;
    }
}

/// Writes that the machine has begun; `/run/utmp` is made if it is not there. Not after a soft reboot: the machine
/// goes on.
///
/// # Errors
/// As `open(2)`, `chown(2)` and `write(2)`.
pub(super) fn write_boot() -> io::Result<()> {
    if fs::metadata(UTMP).is_ok_and(|metadata| metadata.len() > 0) {
        return Ok(());
    }
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o664)
        .custom_flags(libc::O_NOFOLLOW)
        .open(UTMP)?;
    file.set_permissions(fs::Permissions::from_mode(0o664))?;
    if let Some(group) = Users::read().ok().and_then(|users| users.group("utmp")) {
        chown(UTMP, Some(0), Some(group))?;
    }
    let release = kernel_release();
    let now = clock_gettime(ClockId::Realtime);
    let at = now.tv_sec.saturating_mul(1_000_000) + now.tv_nsec / 1_000;
    let boot = mark(BOOT_TIME, "reboot", &release, at).encode();
    file.write_all(&[boot, run_level::place()].concat())
}

/// Appends that the machine has begun: once for each time that a kernel has, and so not after a soft reboot.
///
/// # Errors
/// As `open(2)` and `write(2)`.
pub fn write_begin_to_history(at: i64) -> io::Result<()> {
    let boot = fs::read(BOOT_ID).unwrap_or_default();
    if !boot.is_empty() && fs::read(RECORDED_BOOT).is_ok_and(|recorded| recorded == boot) {
        return Ok(());
    }
    write_to_history(true, at)?;
    fs::write(RECORDED_BOOT, boot)
}

/// Who begins next on this kernel is to record it all the same: an end that was recorded has become a soft reboot.
///
/// # Errors
/// As `unlink(2)`.
pub fn await_another_begin() -> io::Result<()> {
    match fs::remove_file(RECORDED_BOOT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Appends to the file of all that ever was, if there is one. Nobody who does not want it has it.
///
/// # Errors
/// As `open(2)` and `write(2)`.
pub fn write_to_history(has_begun: bool, at: i64) -> io::Result<()> {
    let release = kernel_release();
    let record = if has_begun {
        mark(BOOT_TIME, "reboot", &release, at)
    } else {
        mark(RUN_LVL, "shutdown", &release, at)
    };
    let file = OpenOptions::new()
        .append(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(WTMP);
    match file {
        Ok(mut file) => file.write_all(&record.encode()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn kernel_release() -> String {
    let name = rustix::system::uname();
    name.release().to_string_lossy().into_owned()
}

fn mark<'a>(kind: i16, user: &'a str, host: &'a str, at: i64) -> Record<'a> {
    Record {
        kind,
        pid: 0,
        line: "~",
        id: "~~",
        user,
        host,
        at,
    }
}

/// The terminals (below `/dev`) on which somebody is logged in.
pub(super) fn terminals_in_use() -> Vec<String> {
    let bytes = crate::plain_file::read(Path::new(UTMP), LONGEST);
    terminals(&bytes.unwrap_or_default())
}

fn terminals(bytes: &[u8]) -> Vec<String> {
    let session = |record: &[u8]| {
        let kind = record.first_chunk().map(|kind| i16::from_ne_bytes(*kind));
        let line = record.get(LINE..LINE + 32)?;
        let line = line.split(|byte| *byte == 0).next()?;
        let line = std::str::from_utf8(line).ok()?;
        (kind == Some(USER_PROCESS) && !line.is_empty()).then(|| line.to_owned())
    };
    bytes.chunks_exact(SIZE).filter_map(session).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(kind: i16, line: &str) -> [u8; SIZE] {
        Record {
            kind,
            pid: 77,
            line,
            id: "p/3",
            user: "ann",
            host: "",
            at: 0,
        }
        .encode()
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_record_lies_where_glibc_looks_for_it() {
        let bytes = mark(BOOT_TIME, "reboot", "6.12", 1_700_000_000_000_007).encode();
        assert_eq!(bytes.len(), 384);
        assert_eq!(bytes[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[8..11], *b"~\0\0");
        assert_eq!(bytes[40..46], *b"~~\0\0re");
        assert_eq!(bytes[76..81], *b"6.12\0");
        assert_eq!(bytes[340..344], 1_700_000_000_u32.to_ne_bytes());
        assert_eq!(bytes[344..348], 7_u32.to_ne_bytes());
        assert!(bytes[348..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_is_too_long_is_cut_and_touches_nothing_else() {
        let bytes = mark(RUN_LVL, &"u".repeat(40), &"h".repeat(300), 0).encode();
        assert_eq!(bytes[USER..HOST], [b'u'; 32]);
        assert_eq!(bytes[HOST..HOST + 256], [b'h'; 256]);
        assert_eq!(bytes[HOST + 256..], [0; SIZE - HOST - 256]);
    }

    #[test]
    fn sessions_are_found_and_what_is_no_record_is_not() {
        let mut bytes = Vec::new();
        bytes.extend(session(BOOT_TIME, "~"));
        bytes.extend(session(USER_PROCESS, "pts/3"));
        bytes.extend(session(8, "pts/4"));
        bytes.extend(session(USER_PROCESS, "tty1"));
        bytes.extend([7, 0, 1, 2]);
        assert_eq!(terminals(&bytes), ["pts/3", "tty1"]);
        assert_eq!(terminals(&[0xff; SIZE]), [""; 0]);
    }
}
