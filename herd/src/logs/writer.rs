//! The one thread that writes log files, and may therefore wait for a disk.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use units::UnitName;
use units::unit::{LogPolicy, LogTarget};

use super::echo::{Destination, Echo, Format};
use super::files::{LogDir, LogFile};
use super::record::{Kind, Record};
use super::sink::{DEFAULT_POLICY, Entry, News, Queue, Shared, lost_notice};
use super::timestamp::Timestamp;

/// Files kept open between batches.
const MAX_OPEN: usize = 64;

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    directory: Option<LogDir>,
    units: Vec<Option<Box<WriterUnit>>>,
    /// Slots with an open file.
    open: Vec<u32>,
    turn: u64,
    stdout: Option<Echo>,
    console: Option<Echo>,
    /// How every line also goes to stdout, if it does.
    echo: Option<Format>,
    kmsg: Option<OwnedFd>,
    /// Lines lost in the batch at hand.
    lost: Vec<(u32, u64)>,
    /// Entries of the batch at hand that are dealt with.
    past: usize,
    /// What is to be learned before the next line.
    news: VecDeque<News>,
}

#[derive(Debug)]
struct WriterUnit {
    name: UnitName,
    policy: LogPolicy,
    file: Option<LogFile>,
    last_used: u64,
    /// Lost since the last record that could be written, and why the last of them was.
    lost: u64,
    lost_why: Why,
}

/// Why lines were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Error(Errno),
    /// The writer panicked.
    Mistake,
}

/// Consecutive records of one unit.
struct Run<'a> {
    slot: u32,
    bytes: &'a [u8],
    entries: &'a [Entry],
    /// Where `bytes` lies in the queue.
    offset: usize,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        directory: Option<LogDir>,
        echo: Option<Format>,
    ) -> Self {
        Self {
            shared,
            directory,
            units: Vec::new(),
            open: Vec::new(),
            turn: 0,
            stdout: None,
            console: None,
            echo,
            kmsg: None,
            lost: Vec::new(),
            past: 0,
            news: VecDeque::new(),
        }
    }

    pub(super) fn run(&mut self) {
        while let Some((queue, news, directory)) = self.shared.take() {
            self.past = 0;
            self.news.extend(news);
            // A mistake costs what was being written, not all logs from then on; the panic hook tells of it.
            let turn = AssertUnwindSafe(|| self.turn(&queue, directory));
            if catch_unwind(turn).is_err() {
                self.give_up(&queue);
            }
            let lost = std::mem::take(&mut self.lost);
            self.shared.give_back(&queue, &lost);
        }
        let echoes = [self.stdout.take(), self.console.take()];
        for echo in echoes.into_iter().flatten() {
            echo.close();
        }
        self.shared.finished();
    }

    fn turn(&mut self, queue: &Queue, directory: Option<LogDir>) {
        if let Some(directory) = directory {
            self.move_to(directory);
        }
        while let Some(one) = self.news.pop_front() {
            self.learn(one);
        }
        #[cfg(debug_assertions)]
        #[expect(clippy::panic, reason = "that is what it is for")]
        if self.shared.is_to_break() {
            panic!("a mistake on purpose in the log writer");
        }
        for run in runs(queue) {
            self.write(&run);
            self.past += run.entries.len();
        }
    }

    /// What was not written when the writer panicked is lost; of the run at hand some may have been.
    fn give_up(&mut self, queue: &Queue) {
        self.begin_anew();
        for entry in queue.entries.get(self.past..).unwrap_or_default() {
            self.lost.push((entry.slot, 1));
            let unit = self.units.get_mut(index(entry.slot));
            if let Some(Some(unit)) = unit
                && unit.policy.target == LogTarget::File
            {
                unit.lost += 1;
                unit.lost_why = Why::Mistake;
            }
        }
    }

    /// Nobody knows how far the files had got.
    fn begin_anew(&mut self) {
        self.open.clear();
        for unit in self.units.iter_mut().flatten() {
            unit.file = None;
        }
    }

    /// Files that are open lie in the old place, and what they hold goes along.
    fn move_to(&mut self, directory: LogDir) {
        let is_same = |before: &LogDir| before.is(&directory);
        if self.directory.as_ref().is_some_and(is_same) {
            return;
        }
        self.begin_anew();
        let before = self.directory.replace(directory);
        if let (Some(before), Some(directory)) = (&before, &self.directory) {
            let units = self.units.iter().flatten().map(|unit| &unit.name);
            directory.take_over(before, units);
        }
    }

    fn learn(&mut self, news: News) {
        let index = index(news.slot);
        if self.units.len() <= index {
            self.units.resize_with(index + 1, || None);
        }
        match self.units.get_mut(index) {
            Some(Some(unit)) => unit.policy = news.policy,
            Some(place) => {
                *place = Some(Box::new(WriterUnit {
                    name: news.name,
                    policy: news.policy,
                    file: None,
                    last_used: 0,
                    lost: 0,
                    lost_why: Why::Mistake,
                }));
            }
            None => {}
        }
    }

    fn write(&mut self, run: &Run<'_>) {
        let target = self
            .unit(run.slot)
            .map_or(DEFAULT_POLICY.target, |unit| unit.policy.target);
        match target {
            LogTarget::File => self.write_file(run),
            LogTarget::Kmsg => self.write_kmsg(run),
            LogTarget::Console => {
                let name = self.unit(run.slot).map(|unit| unit.name.clone());
                let console = self.console.get_or_insert_with(|| {
                    Echo::start(Destination::Console, Format::Prefix, false)
                });
                show(console, name.as_ref(), run);
            }
            LogTarget::Inherit | LogTarget::Null => {}
        }
        if target == LogTarget::Inherit || (self.echo.is_some() && target != LogTarget::Null) {
            let name = self.unit(run.slot).map(|unit| unit.name.clone());
            let format = self.echo.unwrap_or_default();
            let is_only_copy = self.directory.is_none();
            let stdout = self
                .stdout
                .get_or_insert_with(|| Echo::start(Destination::Stdout, format, is_only_copy));
            show(stdout, name.as_ref(), run);
        }
    }

    fn unit(&self, slot: u32) -> Option<&WriterUnit> {
        self.units.get(index(slot)).and_then(Option::as_deref)
    }

    /// Writes the run in as few writes as rotation allows; what cannot be written is counted.
    fn write_file(&mut self, run: &Run<'_>) {
        let Some(directory) = &self.directory else {
            return;
        };
        self.turn += 1;
        let slot = run.slot;
        let Some(unit) = self
            .units
            .get_mut(index(slot))
            .and_then(Option::as_deref_mut)
        else {
            return;
        };
        unit.last_used = self.turn;
        let was_open = unit.file.is_some();
        let (done, error) = unit.append(directory, run);
        let missed = u64::try_from(run.entries.len() - done).unwrap_or(0);
        if let Some(error) = error {
            unit.lost += missed;
            unit.lost_why = Why::Error(error);
            self.lost.push((slot, missed));
        }
        if unit.file.is_some() && !was_open {
            self.open.push(slot);
            if self.open.len() > MAX_OPEN {
                self.close_oldest();
            }
        } else if unit.file.is_none() && was_open {
            self.open.retain(|open| *open != slot);
        }
    }

    fn close_oldest(&mut self) {
        let used = |slot: &u32| self.unit(*slot).map_or(0, |unit| unit.last_used);
        let Some(oldest) = self.open.iter().copied().min_by_key(used) else {
            return;
        };
        self.open.retain(|slot| *slot != oldest);
        if let Some(unit) = self.units.get_mut(index(oldest)).and_then(Option::as_mut) {
            unit.file = None;
        }
    }

    /// One write(2) is one record of the kernel's log; facility daemon, level informational.
    fn write_kmsg(&mut self, run: &Run<'_>) {
        let mut missed = 0;
        let name = self.unit(run.slot).map(|unit| unit.name.to_string());
        if self.kmsg.is_none() {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
            self.kmsg = open("/dev/kmsg", flags, Mode::empty()).ok();
        }
        for (_, text) in run.texts() {
            let mut line = b"<30>herd: ".to_vec();
            line.extend_from_slice(name.as_deref().unwrap_or_default().as_bytes());
            line.extend_from_slice(b": ");
            // The kernel refuses records of a kilobyte and more.
            line.extend(text.iter().take(900));
            let written = self
                .kmsg
                .as_ref()
                .is_some_and(|kmsg| rustix::io::write(kmsg, &line).is_ok());
            missed += u64::from(!written);
        }
        if missed > 0 {
            self.lost.push((run.slot, missed));
        }
    }
}

impl WriterUnit {
    /// Says how many records of the run were written, and why not all.
    fn append(&mut self, directory: &LogDir, run: &Run<'_>) -> (usize, Option<Errno>) {
        let mut done = 0;
        while let Some(rest) = run.entries.get(done..).filter(|rest| !rest.is_empty()) {
            match self.append_some(directory, run, rest) {
                Ok(written) => done += written,
                Err((written, error)) => {
                    // A file that was removed or whose disk changed is tried afresh next time.
                    self.file = None;
                    return (done + written, Some(error));
                }
            }
        }
        (done, None)
    }

    /// Writes the first of `entries` and as many more as the current file has room for.
    fn append_some(
        &mut self,
        directory: &LogDir,
        run: &Run<'_>,
        entries: &[Entry],
    ) -> Result<usize, (usize, Errno)> {
        let Some(first) = entries.first() else {
            return Ok(0);
        };
        let now = first.at;
        let begin = run.begin(entries);
        let notice = self.notice(now);
        if self.file.as_ref().is_some_and(LogFile::is_removed) {
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            closed => closed.insert(
                directory
                    .open_file(&self.name)
                    .map_err(|error| (0, error))?,
            ),
        };
        let first_length = index(first.end) - begin + notice.len();
        let length = u64::try_from(first_length).unwrap_or(u64::MAX);
        let file = if file.is_full(length, &self.policy, now) {
            directory
                .rotate(&self.name, &self.policy, now)
                .map_err(|error| (0, error))?;
            self.file = None;
            let fresh = directory
                .open_file(&self.name)
                .map_err(|error| (0, error))?;
            self.file.insert(fresh)
        } else {
            file
        };
        if !notice.is_empty() {
            file.append(&notice, std::iter::once(notice.len()), now)
                .map_err(|(_, error)| (0, error))?;
            self.lost = 0;
        }
        let fitting = entries
            .iter()
            .take_while(|entry| {
                let length = u64::try_from(index(entry.end) - begin).unwrap_or(u64::MAX);
                file.has_room(length, &self.policy, now, entry.at)
            })
            .count()
            .max(1);
        let chosen = entries.get(..fitting).unwrap_or_default();
        let end = chosen.last().map_or(begin, |entry| index(entry.end));
        let bytes = run.slice(begin, end);
        let ends = chosen.iter().map(|entry| index(entry.end) - begin);
        file.append(bytes, ends, now)?;
        Ok(fitting)
    }

    /// The record that tells of lost ones, as bytes; empty when none were.
    fn notice(&self, at: Timestamp) -> Vec<u8> {
        let mut notice = Vec::new();
        if self.lost > 0 {
            let why = match self.lost_why {
                Why::Error(error) => words(error),
                Why::Mistake => "a mistake in herd's log writer".to_owned(),
            };
            let text = lost_notice(self.lost, &why);
            let record = Record {
                at,
                kind: Kind::Herd,
                text: text.as_bytes(),
            };
            record.write(&mut notice);
        }
        notice
    }
}

impl Run<'_> {
    fn begin(&self, entries: &[Entry]) -> usize {
        let skipped = self.entries.len() - entries.len();
        skipped
            .checked_sub(1)
            .and_then(|last| self.entries.get(last))
            .map_or(self.offset, |entry| index(entry.end))
    }

    fn slice(&self, begin: usize, end: usize) -> &[u8] {
        self.bytes
            .get(begin - self.offset..end - self.offset)
            .unwrap_or_default()
    }

    fn texts(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        let mut begin = self.offset;
        self.entries.iter().map(move |entry| {
            let end = index(entry.end);
            let record = self.slice(begin, end);
            begin = end;
            let text = record.get(entry.kind.text_offset()..record.len() - 1);
            (entry, text.unwrap_or_default())
        })
    }
}

fn show(echo: &Echo, name: Option<&UnitName>, run: &Run<'_>) {
    if let Some(name) = name {
        for (entry, text) in run.texts() {
            echo.show(name, entry.at, entry.kind, text);
        }
    }
}

fn runs(queue: &Queue) -> impl Iterator<Item = Run<'_>> {
    let mut offset = 0;
    queue
        .entries
        .chunk_by(|one, next| one.slot == next.slot)
        .map(move |entries| {
            let begin = offset;
            offset = entries.last().map_or(begin, |entry| index(entry.end));
            Run {
                slot: entries.first().map_or(0, |entry| entry.slot),
                bytes: queue.bytes.get(begin..offset).unwrap_or_default(),
                entries,
                offset: begin,
            }
        })
}

/// The error in herd's style: lower case, without the number.
fn words(error: Errno) -> String {
    let text = std::io::Error::from(error).to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    words.to_lowercase()
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
