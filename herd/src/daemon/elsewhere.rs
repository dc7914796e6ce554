//! File systems and swaps of fstab that come and go without herd, on the machine that it booted.
//!
//! The kernel says that its tables have changed (`poll` of proc_pid_mountinfo(5) and proc_swaps(5)) and not how often:
//! they are read once for all changes of a moment, and again so much later at the earliest. What a change means is for
//! `pid1/fstab/watched.rs`.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use mio::Interest;
use units::UnitName;

use super::sources::Source;
use super::{Daemon, clock};
use crate::mount_table;
use crate::pid1;
use crate::pid1::fstab::watched::{Seen, Tables};
use crate::supervisor::{Event, Time};

const MOUNTS: &str = "/proc/self/mountinfo";
const SWAPS: &str = "/proc/swaps";

/// One change seldom comes alone.
const READ_AFTER: Duration = Duration::from_millis(20);
/// And who changes them without end is not to keep herd busy.
const READ_EVERY: Duration = Duration::from_millis(250);

/// The tables, while they are listened to.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    files: Vec<File>,
    seen: Seen,
    read_at: Option<Time>,
    last_read: Option<Time>,
}

impl Elsewhere {
    pub(super) fn deadline(&self) -> Option<Time> {
        self.read_at
    }
}

impl Daemon {
    /// Begins to listen. A kernel without swap has no table of it.
    pub(super) fn listen_to_tables(&mut self) {
        if !self.options.mode.is_machine() {
            return;
        }
        for path in [MOUNTS, SWAPS] {
            match self.listen_to_table(path) {
                Ok(file) => self.elsewhere.files.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.note(&format!("cannot watch {path}: {error}")),
            }
        }
        self.read_tables();
    }

    fn listen_to_table(&mut self, path: &str) -> io::Result<File> {
        let file = File::open(path)?;
        self.sources.add(
            self.poll.registry(),
            &file,
            Source::Tables,
            Interest::PRIORITY,
        )?;
        Ok(file)
    }

    /// They have changed, or the units made of fstab have.
    pub(super) fn hear_tables(&mut self) {
        if self.elsewhere.files.is_empty() {
            return;
        }
        let at = next_reading(clock::now(), self.elsewhere.last_read);
        self.elsewhere.read_at.get_or_insert(at);
    }

    pub(super) fn read_tables_when_due(&mut self) {
        let now = clock::now();
        if self.elsewhere.read_at.is_some_and(|at| at <= now) {
            self.read_tables();
        }
    }

    fn read_tables(&mut self) {
        self.elsewhere.read_at = None;
        self.elsewhere.last_read = Some(clock::now());
        let [mounts, swaps] = [MOUNTS, SWAPS].map(|path| mount_table::read(Path::new(path)));
        // What cannot be read says nothing of what is gone: the root is always there, and a line of titles.
        if mounts.is_empty() || (swaps.is_empty() && Path::new(SWAPS).exists()) {
            return self.note("cannot read the kernel's tables of mounts and swaps");
        }
        let tables = Tables::read(&mounts, &swaps);
        let units = pid1::units_of_fstab();
        // Below /dev nothing has to be waited for.
        let real = |path: &Path| match path.starts_with("/dev") {
            true => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
            false => path.to_owned(),
        };
        for (name, is_done) in self.elsewhere.seen.changes(&tables, units, real) {
            self.tell_elsewhere(&name, is_done);
        }
        self.turn();
    }

    fn tell_elsewhere(&mut self, name: &UnitName, is_done: bool) {
        // One that nobody starts at the boot is not known yet.
        if is_done
            && !self.supervisor.knows(name)
            && let Err(problem) = self.bring_in(name)
        {
            return self.note(&problem.to_string());
        }
        if let Some(id) = self.supervisor.id(name) {
            self.inbox.push_back(Event::Elsewhere { id, is_done });
        }
    }
}

/// When a change that was heard of now is looked at.
fn next_reading(now: Time, last: Option<Time>) -> Time {
    let soon = now + READ_AFTER;
    last.map_or(soon, |last| soon.max(last + READ_EVERY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_without_end_are_looked_at_four_times_a_second() {
        let (mut now, mut last, mut readings) = (Time::from_micros(0), None, 0);
        let end = now + Duration::from_secs(10);
        while now < end {
            now = next_reading(now, last);
            last = Some(now);
            readings += 1;
        }
        assert!((39..=42).contains(&readings), "{readings}");
        // After a pause the next one is told of at once.
        let later = now + Duration::from_secs(60);
        assert_eq!(next_reading(later, last), later + READ_AFTER);
    }
}
