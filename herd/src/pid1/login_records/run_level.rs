//! sysvinit's runlevel in utmp: for runlevel(8), who(1) and the scripts that ask them.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use units::Power;

use super::{ID, LONGEST, RUN_LVL, Record, SIZE, UTMP, kernel_release, mark};

/// `ut_type` of a record that says nothing.
const EMPTY: i16 = 0;
/// `ut_pid`.
const PID: usize = 4;

/// Which unit makes which level, the first that is active: what systemd says of its targets of these names.
pub const OF_UNITS: [(&str, u8); 4] = [
    ("graphical", b'5'),
    ("multi-user", b'3'),
    ("rescue", b'1'),
    ("emergency", b'S'),
];

/// The level of an end; a soft reboot is none.
pub fn of_end(power: Power) -> Option<u8> {
    match power {
        Power::PowerOff | Power::Halt => Some(b'0'),
        Power::Reboot | Power::Kexec => Some(b'6'),
        Power::SoftReboot => None,
    }
}

/// Letters; `N 3` to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLevel {
    previous: Option<u8>,
    present: u8,
}

impl fmt::Display for RunLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let previous = self.previous.unwrap_or(b'N');
        write!(f, "{} {}", char::from(previous), char::from(self.present))
    }
}

impl RunLevel {
    /// As `ut_pid` holds it: 0 above is no level before.
    fn decode(pid: i32) -> Option<Self> {
        let letter = |number: i32| u8::try_from(number).ok().filter(u8::is_ascii_alphanumeric);
        Some(Self {
            previous: letter(pid >> 8),
            present: letter(pid & 0xff)?,
        })
    }

    fn encode(self) -> i32 {
        i32::from(self.present) | i32::from(self.previous.unwrap_or(0)) << 8
    }
}

/// The place that is kept for it in a new utmp, so that it need not be added while sessions are.
pub(super) fn place() -> [u8; SIZE] {
    mark(EMPTY, "", "", 0).encode()
}

/// What utmp or another file of its kind says.
///
/// # Errors
/// As `open(2)` and `read(2)`.
pub fn read(file: Option<&Path>) -> io::Result<Option<RunLevel>> {
    let bytes = crate::plain_file::read(file.unwrap_or(Path::new(UTMP)), LONGEST)?;
    Ok(find(&bytes).and_then(|(_, level)| level))
}

/// Writes the level into utmp, if it is another one; the one before is remembered there.
///
/// # Errors
/// As `open(2)`, `read(2)` and `write(2)`.
pub fn write(present: u8, at: i64) -> io::Result<()> {
    let bytes = match crate::plain_file::read(Path::new(UTMP), LONGEST) {
        // Nobody who does not want it has it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    let found = find(&bytes);
    let before = found.and_then(|(_, level)| level);
    if before.is_some_and(|before| before.present == present) {
        return Ok(());
    }
    let level = RunLevel {
        previous: before.map(|before| before.present),
        present,
    };
    let release = kernel_release();
    let record = Record {
        pid: level.encode(),
        ..mark(RUN_LVL, "runlevel", &release, at)
    };
    // What is open for appending is appended to at any offset (pwrite(2), BUGS).
    let mut file = OpenOptions::new()
        .write(true)
        .append(found.is_none())
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(UTMP)?;
    match found {
        None => file.write_all(&record.encode()),
        Some((index, _)) => file.write_all_at(&record.encode(), index * SIZE as u64),
    }
}

/// The record of the level, by its number in the file, or else the place kept for it.
fn find(bytes: &[u8]) -> Option<(u64, Option<RunLevel>)> {
    let kind = |record: &[u8]| record.first_chunk().map(|kind| i16::from_ne_bytes(*kind));
    let records = || (0_u64..).zip(bytes.chunks_exact(SIZE));
    // One that tells of an end of the machine holds no level.
    let level = records()
        .filter(|(_, record)| kind(record) == Some(RUN_LVL))
        .find_map(|(index, record)| {
            let pid = record.get(PID..)?.first_chunk()?;
            Some((index, Some(RunLevel::decode(i32::from_ne_bytes(*pid))?)))
        });
    let is_place = |record: &[u8]| {
        kind(record) == Some(EMPTY) && record.get(ID..ID + 4) == Some(b"~~\0\0".as_slice())
    };
    level.or_else(|| {
        let place = records().find(|(_, record)| is_place(record));
        place.map(|(index, _)| (index, None))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_level_lies_in_the_pid_as_sysvinit_has_it() {
        let level = |previous: Option<u8>, present| RunLevel { previous, present };
        assert_eq!(level(None, b'5').encode(), 0x35);
        assert_eq!(level(Some(b'5'), b'1').encode(), 0x3531);
        assert_eq!(level(None, b'3').to_string(), "N 3");
        assert_eq!(level(Some(b'S'), b'3').to_string(), "S 3");
        // What sysvinit itself writes at a boot.
        assert_eq!(RunLevel::decode(0x4e32).unwrap().to_string(), "N 2");
        for pid in [0, 7, 0x3500, -1] {
            assert_eq!(RunLevel::decode(pid), None, "{pid}");
        }
    }

    #[test]
    fn the_level_is_found_before_its_place_and_an_end_is_none() {
        let of = |pid, kind| {
            let mark = mark(kind, "x", "", 0);
            Record { pid, ..mark }.encode()
        };
        let boot = of(0, 2);
        let end = of(0, RUN_LVL);
        let level = of(0x35, RUN_LVL);
        assert_eq!(find(&[boot, end].concat()), None);
        assert_eq!(find(&[boot, place()].concat()), Some((1, None)));
        let (index, found) = find(&[boot, place(), end, level].concat()).unwrap();
        assert_eq!((index, found.unwrap().to_string().as_str()), (3, "N 5"));
        let torn = [boot.as_slice(), &level[..SIZE - 1]].concat();
        assert_eq!(find(&torn), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_through(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            find(&bytes);
        }
    }
}
