//! Lines shown on herd's own stdout or the console: `web | text`.
//!
//! A terminal can be stopped with one key, so a thread of its own writes to it, from a bounded
//! buffer. What does not fit is dropped and counted on the terminal itself; the files have it all. Where there
//! are no files, as in a container that keeps none, the lines wait instead, and so at last do the services.

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use units::UnitName;

use super::escape::sanitise;
use super::record::Kind;
use super::timestamp::Timestamp;

const MAX_WAITING: usize = 1 << 20;
/// Names are padded to the longest seen, up to this.
const MAX_PAD: usize = 24;
/// Colours that can be read on a dark and on a light ground.
const COLOURS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    Stdout,
    Console,
}

/// What a line on stdout looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `web | text`; `*` instead of `|` where herd speaks.
    #[default]
    Prefix,
    /// The text alone; herd's own words begin with `herd: UNIT: `.
    Plain,
    /// An object as `herd logs --json` prints it.
    Json,
}

/// A handle on the echo thread.
#[derive(Debug)]
pub(super) struct Echo {
    shared: Arc<Shared>,
}

/// herd's own words on the console of a machine.
#[derive(Debug)]
pub struct Console(Echo);

impl Console {
    pub fn open() -> Self {
        Self(Echo::start(Destination::Console, Format::Prefix, false))
    }

    pub fn say(&self, unit: &UnitName, text: &str) {
        // A prefixed line has no time.
        self.0
            .show(unit, Timestamp::default(), Kind::Herd, text.as_bytes());
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    done: Condvar,
    /// Nothing else keeps the lines: they wait for room.
    is_only_copy: bool,
}

#[derive(Debug)]
struct State {
    waiting: Vec<u8>,
    dropped: u64,
    pad: usize,
    style: Style,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Closing,
    /// The thread has ended: nobody reads, or all is written.
    Done,
}

/// How lines look there.
#[derive(Debug, Clone, Copy)]
struct Style {
    format: Format,
    colour: bool,
    /// On a terminal control characters are shown, not sent.
    escapes: bool,
}

impl Echo {
    pub(super) fn start(destination: Destination, format: Format, is_only_copy: bool) -> Self {
        let target = Target::open(destination);
        let is_terminal = target
            .as_ref()
            .is_some_and(|target| target.as_fd().is_terminal());
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                waiting: Vec::new(),
                dropped: 0,
                pad: 8,
                style: Style {
                    format,
                    colour: is_terminal
                        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
                    escapes: is_terminal || destination == Destination::Console,
                },
                phase: Phase::Open,
            }),
            work: Condvar::new(),
            done: Condvar::new(),
            is_only_copy,
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("herd-echo".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || {
                if let Some(target) = target {
                    theirs.serve(&target);
                }
                theirs.end();
            });
        if thread.is_err() {
            shared.end();
        }
        Self { shared }
    }

    pub(super) fn show(&self, unit: &UnitName, at: Timestamp, kind: Kind, text: &[u8]) {
        let mut state = self.shared.lock();
        let is_full = |state: &State| {
            state.waiting.len() + text.len() > MAX_WAITING && state.phase == Phase::Open
        };
        if self.shared.is_only_copy {
            let room = &self.shared.done;
            state = room
                .wait_while(state, |state| is_full(state))
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.phase != Phase::Open {
            return;
        }
        if is_full(&state) {
            state.dropped += 1;
            return;
        }
        let dropped = std::mem::take(&mut state.dropped);
        if dropped > 0 {
            let notice = format!("{dropped} lines not shown");
            state.line("herd", at, Kind::Herd, notice.as_bytes());
        }
        state.line(unit.as_str(), at, kind, text);
        self.shared.work.notify_one();
    }

    /// Lets the thread finish. It waits as long as the terminal does; who closes the logs has the
    /// deadline.
    pub(super) fn close(&self) {
        let mut state = self.shared.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        self.shared.work.notify_one();
        drop(
            self.shared
                .done
                .wait_while(state, |state| state.phase != Phase::Done),
        );
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, target: &Target) {
        loop {
            let mut state = self.lock();
            while state.waiting.is_empty() {
                if state.phase != Phase::Open {
                    return;
                }
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let bytes = std::mem::take(&mut state.waiting);
            drop(state);
            self.done.notify_all();
            if write_all(target.as_fd(), &bytes).is_err() {
                return; // closed pipe, hung-up terminal: nobody looks any more
            }
        }
    }

    fn end(&self) {
        let mut state = self.lock();
        state.phase = Phase::Done;
        state.waiting = Vec::new();
        self.done.notify_all();
    }
}

impl State {
    fn line(&mut self, unit: &str, at: Timestamp, kind: Kind, text: &[u8]) {
        match self.style.format {
            Format::Prefix => self.prefixed(unit, kind, text),
            Format::Plain => {
                if kind == Kind::Herd {
                    let prefix = match unit {
                        "herd" => "herd: ".to_owned(),
                        unit => format!("herd: {unit}: "),
                    };
                    self.waiting.extend_from_slice(prefix.as_bytes());
                }
                self.text(text);
            }
            Format::Json => {
                let object = super::json(at, unit, kind, text).to_string();
                self.waiting.extend_from_slice(object.as_bytes());
            }
        }
        self.waiting.push(b'\n');
    }

    fn prefixed(&mut self, unit: &str, kind: Kind, text: &[u8]) {
        self.pad = self.pad.max(unit.len().min(MAX_PAD));
        let pad = self.pad;
        let mark = match kind {
            Kind::Out | Kind::Piece => '|',
            Kind::Herd => '*',
        };
        let prefix = if self.style.colour {
            let colour = colour(unit);
            format!("\x1b[{colour}m{unit:<pad$} {mark}\x1b[0m ")
        } else {
            format!("{unit:<pad$} {mark} ")
        };
        self.waiting.extend_from_slice(prefix.as_bytes());
        self.text(text);
    }

    fn text(&mut self, text: &[u8]) {
        if self.style.escapes {
            sanitise(text, &mut self.waiting);
        } else {
            self.waiting.extend_from_slice(text);
        }
    }
}

/// The same unit has the same colour each time.
fn colour(unit: &str) -> &'static str {
    let sum = unit.bytes().fold(0_usize, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    COLOURS.get(sum % COLOURS.len()).unwrap_or(&"36")
}

#[derive(Debug)]
enum Target {
    Stdout(std::io::Stdout),
    Console(OwnedFd),
}

impl Target {
    fn open(destination: Destination) -> Option<Self> {
        match destination {
            Destination::Stdout => Some(Self::Stdout(std::io::stdout())),
            Destination::Console => {
                let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
                open("/dev/console", flags, Mode::empty())
                    .ok()
                    .map(Self::Console)
            }
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stdout(stdout) => stdout.as_fd(),
            Self::Console(console) => console.as_fd(),
        }
    }
}

fn write_all(target: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(target, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // Someone made our stdout nonblocking; then the wait is ours.
            Err(Errno::AGAIN) => {
                poll(
                    &mut [PollFd::from_borrowed_fd(target, PollFlags::OUT)],
                    None,
                )?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
