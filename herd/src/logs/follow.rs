//! New records as they are written: inotify says when, nothing is polled.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use inotify::{Inotify, WatchMask};
use rustix::event::{PollFd, PollFlags, poll};
use units::UnitName;

use super::read::{Entry, Filter, Position, chain, entry, unit_of};
use super::record::Record;

/// Follows the logs of one directory.
#[derive(Debug)]
pub struct Follow {
    directory: PathBuf,
    inotify: Inotify,
    /// `None` follows every unit, those to come included.
    wanted: Option<Vec<UnitName>>,
    units: Vec<Followed>,
}

#[derive(Debug)]
struct Followed {
    unit: UnitName,
    file: Option<File>,
    /// Everything before it was handed out.
    offset: u64,
}

impl Follow {
    /// Begins to listen. To be made before the logs are read up to the positions that are then
    /// handed to [`go_on_from`](Self::go_on_from), so that nothing falls between.
    ///
    /// # Errors
    /// When the directory cannot be watched.
    pub fn new(directory: &Path, wanted: Option<Vec<UnitName>>) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let mask = WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ONLYDIR;
        inotify.watches().add(directory, mask)?;
        Ok(Self {
            directory: directory.to_owned(),
            inotify,
            wanted,
            units: Vec::new(),
        })
    }

    pub fn go_on_from(&mut self, positions: Vec<Position>) {
        for position in positions {
            self.units.push(Followed {
                unit: position.unit,
                file: Some(position.file),
                offset: position.offset,
            });
        }
    }

    /// Waits for new records and returns them in order of time. `None` when nobody reads `reader`
    /// any more (the other end of a pipe was closed).
    ///
    /// # Errors
    /// When the logs cannot be read.
    pub fn next(
        &mut self,
        filter: &Filter,
        reader: BorrowedFd<'_>,
    ) -> io::Result<Option<Vec<Entry>>> {
        loop {
            let gone = {
                let mut fds = [
                    PollFd::new(&self.inotify, PollFlags::IN),
                    PollFd::from_borrowed_fd(reader.as_fd(), PollFlags::empty()),
                ];
                match poll(&mut fds, None) {
                    Err(rustix::io::Errno::INTR) => continue,
                    other => other?,
                };
                let [_, reader] = &fds;
                reader.revents().intersects(PollFlags::ERR | PollFlags::HUP)
            };
            if gone {
                return Ok(None);
            }
            let mut found = Vec::new();
            for unit in self.changed()? {
                self.drain(&unit, &mut found)?;
            }
            found.retain(|entry| filter.admits(entry.at, &entry.text));
            found.sort_by_key(|entry| entry.at);
            if !found.is_empty() {
                return Ok(Some(found));
            }
        }
    }

    /// The units whose files something happened to.
    fn changed(&mut self) -> io::Result<Vec<UnitName>> {
        let mut buffer = [0; 8192];
        let mut changed = Vec::new();
        let mut overflowed = false;
        let events = match self.inotify.read_events(&mut buffer) {
            Ok(events) => events,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
            Err(error) => return Err(error),
        };
        for event in events {
            overflowed |= event.mask.contains(inotify::EventMask::Q_OVERFLOW);
            let unit = event.name.and_then(|name| name.to_str()).and_then(unit_of);
            if let Some(unit) = unit.filter(|unit| !changed.contains(unit)) {
                changed.push(unit);
            }
        }
        if overflowed {
            changed = super::read::units(&self.directory)?;
        }
        if let Some(wanted) = &self.wanted {
            changed.retain(|unit| wanted.contains(unit));
        }
        Ok(changed)
    }

    fn drain(&mut self, unit: &UnitName, found: &mut Vec<Entry>) -> io::Result<()> {
        let index = self.units.iter().position(|one| one.unit == *unit);
        let index = index.unwrap_or_else(|| {
            self.units.push(Followed {
                unit: unit.clone(),
                file: None,
                offset: 0,
            });
            self.units.len() - 1
        });
        let Some(followed) = self.units.get_mut(index) else {
            return Ok(());
        };
        followed.read_on(found)?;
        // Whatever is newer than the file at hand came by rotation.
        let mut newer = chain(&self.directory, unit)?;
        if let Some(file) = &followed.file {
            let inode = file.metadata()?.ino();
            let mut inodes = Vec::new();
            for file in &newer {
                inodes.push(file.metadata()?.ino());
            }
            if let Some(at) = inodes.iter().position(|one| *one == inode) {
                newer.truncate(at);
            }
            if !newer.is_empty() {
                // What was written between the reading above and the rotation.
                followed.read_on(found)?;
            }
        }
        for file in newer.into_iter().rev() {
            followed.file = Some(file);
            followed.offset = 0;
            followed.read_on(found)?;
        }
        Ok(())
    }
}

impl Followed {
    /// Hands out the whole lines after the offset.
    fn read_on(&mut self, found: &mut Vec<Entry>) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let length = file.metadata()?.len();
        // A torn record may have been cut off behind us.
        self.offset = self.offset.min(length);
        let mut bytes = vec![0; usize::try_from(length - self.offset).unwrap_or(0)];
        let read = file.read_at(&mut bytes, self.offset)?;
        bytes.truncate(read);
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        let Some(whole) = whole.and_then(|end| bytes.get(..end)) else {
            return Ok(());
        };
        self.offset += u64::try_from(whole.len()).unwrap_or(0) + 1;
        for line in whole.split(|byte| *byte == b'\n') {
            if let Some(record) = Record::parse(line) {
                found.push(entry(&self.unit, &record));
            }
        }
        Ok(())
    }
}
