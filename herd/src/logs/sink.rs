//! The daemon's end of the logs: a bounded queue before the thread that writes.
//!
//! A unit may hold a quarter of the queue, so that one that floods costs its own lines only.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use units::UnitName;
use units::unit::{LogPolicy, LogTarget};

use super::echo::Format;
use super::files::LogDir;
use super::record::{Kind, Record};
use super::timestamp::Timestamp;
use super::writer::Writer;

/// Bytes waiting to be written, of all units.
const MAX_QUEUED: usize = 16 << 20;
/// Bytes waiting to be written, of one unit.
const MAX_QUEUED_OF_UNIT: usize = 4 << 20;
/// Up to here a unit's pipe is read on. What one reading of 64 KiB makes of the shortest lines still
/// fits in above, so that a line is dropped only when the writer stands still.
const ROOM_OF_UNIT: usize = 1 << 20;
const ROOM: usize = 8 << 20;

/// What a unit without `[log]` gets: 10 MiB a file, five rotated ones.
pub const DEFAULT_POLICY: LogPolicy = LogPolicy {
    target: LogTarget::File,
    max_size: 10 << 20,
    max_files: 5,
    max_age: None,
    rate_limit: None,
};

/// A handle on the logs; clones share one queue and one writer thread.
#[derive(Debug, Clone)]
pub struct Sink {
    shared: Arc<Shared>,
}

#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Where the files go; made with mode 0750. Without one nothing is kept.
    pub directory: Option<PathBuf>,
    /// The directory is opened by [`Sink::begin`]; until then lines wait in the queue.
    pub is_later: bool,
    /// How every line is also shown on stdout (`herd run`).
    pub echo: Option<Format>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use {path} for logs")]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot start the log writer")]
    Thread(#[source] io::Error),
}

/// Several lines of one unit under one lock.
#[derive(Debug)]
pub struct Batch<'a> {
    shared: &'a Shared,
    state: MutexGuard<'a, State>,
    slot: u32,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// To the writer: there is work, or the end.
    work: Condvar,
    /// From the writer: it is done.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// Bytes queued or being written.
    held: usize,
    slots: HashMap<UnitName, u32>,
    units: Vec<UnitState>,
    /// Names and policies the writer has not seen.
    news: Vec<News>,
    is_waiting: bool,
    wants_room: bool,
    waker: Option<mio::Waker>,
    /// The directory is not there yet.
    is_held: bool,
    /// One that was opened since, for the writer.
    directory: Option<LogDir>,
    is_closing: bool,
    is_done: bool,
    #[cfg(debug_assertions)]
    is_to_break: bool,
}

#[derive(Debug)]
struct UnitState {
    held: usize,
    lost: u64,
    /// Dropped since the last line that got through, by want of room and by the rate limit.
    dropped: u64,
    over_rate: u64,
    target: LogTarget,
    rate: Option<Box<Rate>>,
}

#[derive(Debug)]
struct Rate {
    lines: u32,
    interval: Duration,
    window_start: Timestamp,
    in_window: u32,
}

/// Records in the form of the files, one after the other.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) slot: u32,
    /// Where the record ends in the bytes; it begins where the one before ends.
    pub(super) end: u32,
    pub(super) kind: Kind,
    pub(super) at: Timestamp,
}

/// What the writer is to know of a unit.
#[derive(Debug)]
pub(super) struct News {
    pub(super) slot: u32,
    pub(super) name: UnitName,
    pub(super) policy: LogPolicy,
}

impl Sink {
    /// Opens the directory and starts the writer thread.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is left running.
    pub fn open(setup: &Setup) -> Result<Self, OpenError> {
        let directory = match &setup.directory {
            None => None,
            Some(_) if setup.is_later => None,
            Some(path) => Some(LogDir::open(path).map_err(|source| OpenError::Directory {
                path: path.clone(),
                source,
            })?),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                is_held: setup.is_later,
                ..State::default()
            }),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let mut writer = Writer::new(Arc::clone(&shared), directory, setup.echo);
        std::thread::Builder::new()
            .name("herd-log".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        Ok(Self { shared })
    }

    /// Opens the directory that was not there at first, and lets the writer begin.
    ///
    /// # Errors
    /// [`OpenError::Directory`]; lines go on waiting.
    pub fn begin(&self, directory: &Path) -> Result<(), OpenError> {
        let opened = LogDir::open(directory).map_err(|source| OpenError::Directory {
            path: directory.to_owned(),
            source,
        })?;
        let mut state = self.shared.lock();
        state.directory = Some(opened);
        state.is_held = false;
        self.shared.work.notify_all();
        Ok(())
    }

    /// Lines wait for a directory that is not there yet: nobody can read them.
    pub fn is_held(&self) -> bool {
        self.shared.lock().is_held
    }

    /// Records one line; `text` is cut at the longest record.
    pub fn line(&self, unit: &UnitName, at: Timestamp, kind: Kind, text: &[u8]) {
        self.batch(unit).line(at, kind, text);
    }

    /// Records herd's own words about a unit.
    pub fn say(&self, unit: &UnitName, at: Timestamp, text: &str) {
        self.line(unit, at, Kind::Herd, text.as_bytes());
    }

    pub fn batch(&self, unit: &UnitName) -> Batch<'_> {
        let mut state = self.shared.lock();
        let slot = state.slot(unit);
        Batch {
            shared: &self.shared,
            state,
            slot,
        }
    }

    /// Takes effect with the next line; `None` is the default policy.
    pub fn set_policy(&self, unit: &UnitName, policy: Option<&LogPolicy>) {
        let policy = policy.unwrap_or(&DEFAULT_POLICY);
        let mut state = self.shared.lock();
        let slot = state.slot(unit);
        state.news.push(News {
            slot,
            name: unit.clone(),
            policy: policy.clone(),
        });
        if let Some(unit) = state.unit(slot) {
            unit.target = policy.target;
            unit.rate = policy.rate_limit.map(|(lines, interval)| {
                Box::new(Rate {
                    lines,
                    interval,
                    window_start: Timestamp(i64::MIN),
                    in_window: 0,
                })
            });
        }
    }

    /// Whether the unit's pipe may be read on. If not, `waker` is woken when it may.
    pub fn has_room(&self, unit: &UnitName) -> bool {
        let mut state = self.shared.lock();
        let slot = state.slot(unit);
        let held = state.unit(slot).map_or(0, |unit| unit.held);
        let has_room = held < ROOM_OF_UNIT && state.held < ROOM;
        state.wants_room |= !has_room;
        has_room
    }

    /// Who is to be woken when there is room again.
    pub fn set_waker(&self, waker: mio::Waker) {
        self.shared.lock().waker = Some(waker);
    }

    /// Lines of the unit dropped since herd started, for whatever reason.
    pub fn lost(&self, unit: &UnitName) -> u64 {
        let state = self.shared.lock();
        let slot = state
            .slots
            .get(unit)
            .and_then(|slot| usize::try_from(*slot).ok());
        slot.and_then(|slot| state.units.get(slot))
            .map_or(0, |unit| unit.lost)
    }

    /// The writer is to panic at the next line.
    #[cfg(debug_assertions)]
    pub fn break_writer(&self) {
        self.shared.lock().is_to_break = true;
    }

    /// Lets the writer finish; `false` when it did not by the deadline. Lines after this are lost.
    pub fn close(&self, deadline: Duration) -> bool {
        let mut state = self.shared.lock();
        state.is_closing = true;
        self.shared.work.notify_all();
        let (state, _) = self
            .shared
            .done
            .wait_timeout_while(state, deadline, |state| !state.is_done)
            .unwrap_or_else(PoisonError::into_inner);
        state.is_done
    }
}

impl Batch<'_> {
    pub fn line(&mut self, at: Timestamp, kind: Kind, text: &[u8]) {
        self.state.push(self.slot, at, kind, text);
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.state.is_waiting && !self.state.queue.entries.is_empty() {
            self.state.is_waiting = false;
            self.shared.work.notify_one();
        }
    }
}

impl Shared {
    /// No code under the lock panics half-way through a change, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for records and takes them all; `None` is the end.
    pub(super) fn take(&self) -> Option<(Queue, Vec<News>, Option<LogDir>)> {
        let mut state = self.lock();
        loop {
            let is_held = state.is_held && !state.is_closing;
            if !state.queue.entries.is_empty() && !is_held {
                let queue = std::mem::take(&mut state.queue);
                let news = std::mem::take(&mut state.news);
                return Some((queue, news, state.directory.take()));
            }
            if state.is_closing {
                return None;
            }
            state.is_waiting = true;
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The records taken are written, or lost: so many of each slot.
    pub(super) fn give_back(&self, queue: &Queue, lost: &[(u32, u64)]) {
        let mut state = self.lock();
        state.held = state
            .held
            .saturating_sub(cost(queue.bytes.len(), queue.entries.len()));
        let mut start = 0;
        for entry in &queue.entries {
            let length = entry.end - start;
            start = entry.end;
            if let Some(unit) = state.unit(entry.slot) {
                unit.held = unit.held.saturating_sub(cost(to_usize(length), 1));
            }
        }
        for (slot, lines) in lost {
            if let Some(unit) = state.unit(*slot) {
                unit.lost += lines;
            }
        }
        if std::mem::take(&mut state.wants_room)
            && let Some(waker) = &state.waker
        {
            // Cannot fail but for a full event counter, which wakes as well.
            waker.wake().ok();
        }
    }

    #[cfg(debug_assertions)]
    pub(super) fn is_to_break(&self) -> bool {
        std::mem::take(&mut self.lock().is_to_break)
    }

    pub(super) fn finished(&self) {
        self.lock().is_done = true;
        self.done.notify_all();
    }
}

impl State {
    fn slot(&mut self, unit: &UnitName) -> u32 {
        if let Some(slot) = self.slots.get(unit) {
            return *slot;
        }
        let slot = u32::try_from(self.units.len()).unwrap_or(u32::MAX);
        self.slots.insert(unit.clone(), slot);
        self.units.push(UnitState {
            held: 0,
            lost: 0,
            dropped: 0,
            over_rate: 0,
            target: DEFAULT_POLICY.target,
            rate: None,
        });
        self.news.push(News {
            slot,
            name: unit.clone(),
            policy: DEFAULT_POLICY,
        });
        slot
    }

    fn unit(&mut self, slot: u32) -> Option<&mut UnitState> {
        self.units.get_mut(to_usize(slot))
    }

    fn push(&mut self, slot: u32, at: Timestamp, kind: Kind, text: &[u8]) {
        let (is_closing, held) = (self.is_closing, self.held);
        let Some(unit) = self.unit(slot) else {
            return;
        };
        if unit.target == LogTarget::Null {
            return;
        }
        if kind != Kind::Herd && unit.rate.as_mut().is_some_and(|rate| rate.is_over(at)) {
            unit.lost += 1;
            unit.over_rate += 1;
            return;
        }
        // Room for the record and for the notices that may go before it.
        let length = cost(kind.text_offset() + text.len() + 1, 1) + 512;
        if is_closing || unit.held + length > MAX_QUEUED_OF_UNIT || held + length > MAX_QUEUED {
            unit.lost += 1;
            unit.dropped += 1;
            return;
        }
        for (lines, reason) in [
            (std::mem::take(&mut unit.dropped), "the log queue was full"),
            (std::mem::take(&mut unit.over_rate), "over the rate limit"),
        ] {
            if lines > 0 {
                self.append(slot, at, Kind::Herd, lost_notice(lines, reason).as_bytes());
            }
        }
        self.append(slot, at, kind, text);
    }

    fn append(&mut self, slot: u32, at: Timestamp, kind: Kind, text: &[u8]) {
        let start = self.queue.bytes.len();
        Record { at, kind, text }.write(&mut self.queue.bytes);
        let end = self.queue.bytes.len();
        let length = cost(end - start, 1);
        self.queue.entries.push(Entry {
            slot,
            // The queue is far shorter than 4 GiB.
            end: u32::try_from(end).unwrap_or(u32::MAX),
            kind,
            at,
        });
        self.held += length;
        if let Some(unit) = self.unit(slot) {
            unit.held += length;
        }
    }
}

impl Rate {
    fn is_over(&mut self, at: Timestamp) -> bool {
        let interval = i64::try_from(self.interval.as_micros()).unwrap_or(i64::MAX);
        let age = at.0.saturating_sub(self.window_start.0);
        // A clock that went back begins a new window too.
        if age >= interval || age < 0 {
            self.window_start = at;
            self.in_window = 0;
        }
        self.in_window = self.in_window.saturating_add(1);
        self.in_window > self.lines
    }
}

pub(super) fn lost_notice(lines: u64, reason: &str) -> String {
    let noun = if lines == 1 { "line" } else { "lines" };
    format!("{lines} {noun} lost: {reason}")
}

/// What records cost in memory.
fn cost(bytes: usize, entries: usize) -> usize {
    bytes + entries * size_of::<Entry>()
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
