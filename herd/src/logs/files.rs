//! The log files: one chain of `UNIT.log`, `UNIT.log.1`, … for each unit, in one directory.
//!
//! Everything is done below a directory descriptor, follows no link, and works only on regular
//! files. A write that fails half-way is cut back to the last whole record.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, fstat, ftruncate, open, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use units::UnitName;
use units::unit::LogPolicy;

use super::timestamp::{Timestamp, WIDTH};

/// The directory, and by what name it was opened.
#[derive(Debug)]
pub(super) struct LogDir(OwnedFd, PathBuf);

/// The open current file of a unit.
#[derive(Debug)]
pub(super) struct LogFile {
    file: OwnedFd,
    size: u64,
    /// When its oldest record was written; `None` while it is empty.
    begun_at: Option<Timestamp>,
    /// The last write left part of a record that could not be cut off.
    is_torn: bool,
}

/// The name of the current file, or of the `number`th rotated one.
pub(super) fn file_name(unit: &UnitName, number: u32) -> String {
    match number {
        0 => format!("{unit}.log"),
        number => format!("{unit}.log.{number}"),
    }
}

impl LogDir {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(path)?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let directory = open(path, flags, Mode::empty())?;
        Ok(Self(directory, path.to_owned()))
    }

    /// Claims that both are the same directory, by whatever name.
    pub(super) fn is(&self, other: &Self) -> bool {
        let of = |directory: &Self| fstat(&directory.0).map(|stat| (stat.st_dev, stat.st_ino));
        of(self).is_ok_and(|one| of(other) == Ok(one))
    }

    /// Puts what the current files of units hold elsewhere behind our own, and removes it there.
    pub(super) fn take_over<'a>(&self, before: &Self, units: impl Iterator<Item = &'a UnitName>) {
        for unit in units {
            // What cannot be moved stays where it is.
            self.take_file(before, unit).ok();
        }
        // Who looks for logs takes the old place for the right one as long as it is there.
        if fs::remove_dir(&before.1).is_err() {
            fs::rename(&before.1, before.1.with_extension("rest")).ok();
        }
    }

    fn take_file(&self, before: &Self, unit: &UnitName) -> io::Result<()> {
        let name = file_name(unit, 0);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut old = fs::File::from(openat(&before.0, &name, flags, Mode::empty())?);
        let own = self.open_file(unit)?;
        let mut file = fs::File::from(own.file);
        if own.is_torn {
            file.write_all(b"\n")?;
        }
        io::copy(&mut old, &mut file)?;
        Ok(unlinkat(&before.0, &name, AtFlags::empty())?)
    }

    pub(super) fn open_file(&self, unit: &UnitName) -> Result<LogFile, Errno> {
        // NONBLOCK: a fifo put in the file's place must not hold us up before it is refused.
        let flags = OFlags::RDWR
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o640);
        let file = openat(&self.0, file_name(unit, 0), flags, mode)?;
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut first = [0_u8; WIDTH];
        let begun_at = match rustix::io::pread(&file, &mut first, 0) {
            Ok(WIDTH) => Timestamp::parse(&first),
            Ok(_) | Err(_) => None,
        };
        // A machine that lost power may have left half a record.
        let mut last = [b'\n'];
        if let Some(end) = size.checked_sub(1) {
            rustix::io::pread(&file, &mut last, end)?;
        }
        Ok(LogFile {
            file,
            size,
            begun_at,
            is_torn: last != *b"\n",
        })
    }

    /// Moves each file of the chain one further and drops what is over the count or the age. The
    /// current file is closed by its owner and made anew with the next write.
    pub(super) fn rotate(
        &self,
        unit: &UnitName,
        policy: &LogPolicy,
        now: Timestamp,
    ) -> Result<(), Errno> {
        // What a longer chain of an earlier policy left, and the oldest.
        let mut number = policy.max_files.max(1);
        while self.remove(&file_name(unit, number))? {
            number = number.saturating_add(1);
        }
        if policy.max_files == 0 {
            self.remove(&file_name(unit, 0))?;
            return Ok(());
        }
        for number in (0..policy.max_files).rev() {
            let name = file_name(unit, number);
            if number > 0 && self.is_older(&name, policy.max_age, now) {
                self.remove(&name)?;
                continue;
            }
            match renameat(&self.0, name, &self.0, file_name(unit, number + 1)) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<bool, Errno> {
        match unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn is_older(&self, name: &str, age: Option<Duration>, now: Timestamp) -> bool {
        let Some(age) = age else {
            return false;
        };
        statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            let written = Timestamp(stat.st_mtime.saturating_mul(1_000_000));
            is_past(written, age, now)
        })
    }
}

impl LogFile {
    /// Claims that a record of `length` bytes belongs into a new file.
    pub(super) fn is_full(&self, length: u64, policy: &LogPolicy, now: Timestamp) -> bool {
        let is_empty = self.size == 0;
        !is_empty && !self.has_room(length, policy, now, now)
    }

    /// Claims that somebody removed the file: what is written to it is lost, and takes room.
    pub(super) fn is_removed(&self) -> bool {
        fstat(&self.file).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Claims that `length` bytes may be appended whose first record is from `first` and whose last
    /// is from `last`.
    pub(super) fn has_room(
        &self,
        length: u64,
        policy: &LogPolicy,
        first: Timestamp,
        last: Timestamp,
    ) -> bool {
        let begun_at = self.begun_at.unwrap_or(first);
        let is_too_old = policy
            .max_age
            .is_some_and(|age| is_past(begun_at, age, last));
        self.size.saturating_add(length) <= policy.max_size && !is_too_old
    }

    /// Appends whole records that end at `ends` (offsets in `bytes`, ascending). On an error says
    /// how many records did get in; the file then ends after the last of them.
    pub(super) fn append(
        &mut self,
        bytes: &[u8],
        ends: impl Iterator<Item = usize>,
        first: Timestamp,
    ) -> Result<(), (usize, Errno)> {
        if self.is_torn {
            self.write_all(b"\n").map_err(|(_, error)| (0, error))?;
            self.is_torn = false;
        }
        let before = self.size;
        let outcome = self.write_all(bytes);
        let Err((written, error)) = outcome else {
            self.begun_at = self.begun_at.or(Some(first));
            return Ok(());
        };
        let (whole, kept) = ends
            .take_while(|end| *end <= written)
            .fold((0, 0), |(count, _), end| (count + 1, end));
        if kept < written {
            let size = before + u64::try_from(kept).unwrap_or(0);
            match ftruncate(&self.file, size) {
                Ok(()) => self.size = size,
                Err(_) => self.is_torn = true,
            }
        }
        Err((whole, error))
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), (usize, Errno)> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match rustix::io::write(&self.file, rest) {
                Ok(0) => return Err((written, Errno::IO)),
                Ok(length) => {
                    written += length;
                    self.size += u64::try_from(length).unwrap_or(0);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }
}

fn is_past(start: Timestamp, age: Duration, now: Timestamp) -> bool {
    let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    now.0.saturating_sub(start.0) > age
}
