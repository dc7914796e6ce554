//! Reading the logs back: the last lines without reading the rest, or all in order of time, across
//! rotations and units.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use units::UnitName;

use super::files::file_name;
use super::record::{Kind, Record};
use super::timestamp::Timestamp;

const BLOCK: u64 = 64 * 1024;

/// A record with the unit it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub unit: UnitName,
    pub at: Timestamp,
    pub kind: Kind,
    pub text: Vec<u8>,
}

/// Which records are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub contains: Option<Needle>,
}

/// A piece of text to look for, byte by byte.
#[derive(Debug, Clone)]
pub struct Needle {
    bytes: Vec<u8>,
    ignore_case: bool,
}

/// Where the newest file of a unit was read up to, for who wants to go on from there.
#[derive(Debug)]
pub struct Position {
    pub unit: UnitName,
    pub file: File,
    pub offset: u64,
}

impl Needle {
    /// `ignore_case` is for ASCII letters.
    pub fn new(text: &str, ignore_case: bool) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        if ignore_case {
            bytes.make_ascii_lowercase();
        }
        Self { bytes, ignore_case }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        if self.bytes.is_empty() {
            return true;
        }
        text.windows(self.bytes.len()).any(|window| {
            if self.ignore_case {
                window.eq_ignore_ascii_case(&self.bytes)
            } else {
                window == self.bytes
            }
        })
    }
}

impl Filter {
    pub fn admits(&self, at: Timestamp, text: &[u8]) -> bool {
        self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at <= until)
            && self.contains.as_ref().is_none_or(|it| it.is_in(text))
    }
}

/// The units that have a log in the directory, by name.
///
/// # Errors
/// When the directory cannot be read.
pub fn units(directory: &Path) -> io::Result<Vec<UnitName>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if let Some(unit) = name.to_str().and_then(unit_of) {
            found.push(unit);
        }
    }
    found.sort();
    Ok(found)
}

/// The unit whose current log has this file name.
pub(super) fn unit_of(file: &str) -> Option<UnitName> {
    UnitName::new(file.strip_suffix(".log")?).ok()
}

/// The last `count` records of all these units together, oldest first, and where each unit's newest
/// file ends. Reads backwards, no further than it must.
///
/// # Errors
/// When a file that is there cannot be read. A unit without one has no records.
pub fn last(
    directory: &Path,
    units: &[UnitName],
    count: usize,
    filter: &Filter,
) -> io::Result<(Vec<Entry>, Vec<Position>)> {
    let mut positions = Vec::new();
    let mut readers = Vec::new();
    let mut heap = BinaryHeap::new();
    for unit in units {
        let files = chain(directory, unit)?;
        if let Some(newest) = files.first() {
            positions.push(Position {
                unit: unit.clone(),
                offset: whole_length(newest)?,
                file: newest.try_clone()?,
            });
        }
        let mut reader = Backwards::new(files);
        if let Some(entry) = reader.next_entry(unit, filter)? {
            heap.push((entry.at, readers.len(), HeapEntry(entry)));
        }
        readers.push(reader);
    }
    let mut found = Vec::new();
    while found.len() < count {
        let Some((_, index, HeapEntry(entry))) = heap.pop() else {
            break;
        };
        if let Some(reader) = readers.get_mut(index)
            && let Some(before) = reader.next_entry(&entry.unit, filter)?
        {
            heap.push((before.at, index, HeapEntry(before)));
        }
        found.push(entry);
    }
    found.reverse();
    Ok((found, positions))
}

/// Every record of these units that `filter` admits, in order of time.
///
/// # Errors
/// When a file cannot be read, or what `take` returns.
pub fn all(
    directory: &Path,
    units: &[UnitName],
    filter: &Filter,
    mut take: impl FnMut(Entry) -> io::Result<()>,
) -> io::Result<()> {
    let mut readers = Vec::new();
    let mut heap = BinaryHeap::new();
    for unit in units {
        let mut reader = Forwards::new(directory, unit, filter)?;
        if let Some(entry) = reader.next_entry(unit, filter)? {
            heap.push(Reverse((entry.at, readers.len(), HeapEntry(entry))));
        }
        readers.push(reader);
    }
    while let Some(Reverse((_, index, HeapEntry(entry)))) = heap.pop() {
        if let Some(reader) = readers.get_mut(index)
            && let Some(next) = reader.next_entry(&entry.unit, filter)?
        {
            heap.push(Reverse((next.at, index, HeapEntry(next))));
        }
        take(entry)?;
    }
    Ok(())
}

/// An entry that takes no part in the order of the heap.
struct HeapEntry(Entry);

impl PartialEq for HeapEntry {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for HeapEntry {}

impl PartialOrd for HeapEntry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HeapEntry {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// The files of a unit, newest first. Opened in that order, so that a rotation under way makes one
/// appear twice (which is seen by its inode) and none be missed.
pub(super) fn chain(directory: &Path, unit: &UnitName) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut inodes = Vec::new();
    for number in 0.. {
        match open(&directory.join(file_name(unit, number))) {
            Ok(file) => {
                let inode = file.metadata()?.ino();
                if !inodes.contains(&inode) {
                    inodes.push(inode);
                    files.push(file);
                }
            }
            // Between two renames, or after one that has no new file yet, number 0 is missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound && number == 0 => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// How much of the file is whole lines; the rest is still being written, or torn.
fn whole_length(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let block = block(file, start, end)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + u64::try_from(at).unwrap_or(0) + 1);
        }
        end = start;
    }
    Ok(0)
}

fn block(file: &File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

/// The lines of a chain from the last to the first.
struct Backwards {
    /// Oldest first, so that the next one is at the end.
    older: Vec<File>,
    /// The file at hand, and how much of its beginning is unread.
    current: Option<(File, u64)>,
    /// Read and not handed out.
    bytes: Vec<u8>,
}

impl Backwards {
    fn new(newest_first: Vec<File>) -> Self {
        let mut older = newest_first;
        older.reverse();
        Self {
            older,
            current: None,
            bytes: Vec::new(),
        }
    }

    fn next_entry(&mut self, unit: &UnitName, filter: &Filter) -> io::Result<Option<Entry>> {
        while let Some(line) = self.next_line()? {
            if let Some(record) = Record::parse(&line) {
                // Clocks may go back a little; a day is taken as the sign that all else is older.
                const DAY: i64 = 86_400_000_000;
                if filter
                    .since
                    .is_some_and(|since| record.at.0 < since.0.saturating_sub(DAY))
                {
                    return Ok(None);
                }
                if filter.admits(record.at, record.text) {
                    return Ok(Some(entry(unit, &record)));
                }
            }
        }
        Ok(None)
    }

    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.bytes.iter().rposition(|byte| *byte == b'\n') {
                let line = self.bytes.split_off(at + 1);
                self.bytes.truncate(at);
                return Ok(Some(line));
            }
            match &mut self.current {
                Some((_, 0)) => {
                    self.current = None;
                    return Ok(Some(std::mem::take(&mut self.bytes)));
                }
                Some((file, unread)) => {
                    let start = unread.saturating_sub(BLOCK);
                    let mut bytes = block(file, start, *unread)?;
                    bytes.append(&mut self.bytes);
                    self.bytes = bytes;
                    *unread = start;
                }
                None => {
                    let Some(file) = self.older.pop() else {
                        return Ok(None);
                    };
                    // The newline at the very end begins no further line.
                    if let Some(length) = whole_length(&file)?.checked_sub(1) {
                        self.current = Some((file, length));
                    }
                }
            }
        }
    }
}

/// The lines of a chain from the first to the last.
struct Forwards {
    /// Newest first, so that the next one is at the end.
    newer: Vec<File>,
    current: Option<BufReader<io::Take<File>>>,
    line: Vec<u8>,
}

impl Forwards {
    fn new(directory: &Path, unit: &UnitName, filter: &Filter) -> io::Result<Self> {
        let mut newer = chain(directory, unit)?;
        if let Some(since) = filter.since {
            // A file whose last record is too old has nothing to say.
            let mut kept = Vec::new();
            for file in newer {
                let last =
                    Backwards::new(vec![file.try_clone()?]).next_entry(unit, &Filter::default())?;
                if last.is_some_and(|last| last.at >= since) {
                    kept.push(file);
                }
            }
            newer = kept;
        }
        Ok(Self {
            newer,
            current: None,
            line: Vec::new(),
        })
    }

    fn next_entry(&mut self, unit: &UnitName, filter: &Filter) -> io::Result<Option<Entry>> {
        loop {
            let Some(reader) = &mut self.current else {
                let Some(file) = self.newer.pop() else {
                    return Ok(None);
                };
                let length = whole_length(&file)?;
                self.current = Some(BufReader::new(file.take(length)));
                continue;
            };
            self.line.clear();
            if reader.read_until(b'\n', &mut self.line)? == 0 {
                self.current = None;
                continue;
            }
            self.line.pop();
            if let Some(record) = Record::parse(&self.line)
                && filter.admits(record.at, record.text)
            {
                return Ok(Some(entry(unit, &record)));
            }
        }
    }
}

pub(super) fn entry(unit: &UnitName, record: &Record<'_>) -> Entry {
    Entry {
        unit: unit.clone(),
        at: record.at,
        kind: record.kind,
        text: record.text.to_vec(),
    }
}
