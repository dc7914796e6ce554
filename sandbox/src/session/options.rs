//! What surrounds one launch and is no part of the box.
#![forbid(unsafe_code)]

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::event::{AbortLaunch, Observer, Told};

/// Who builds the box (see the [module](super)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Carriage {
    /// The executor if the program can be one, else a copy of the caller if it has one thread.
    #[default]
    Auto,
    /// A copy of the caller, which has to have one thread: the quickest way for a launcher that does
    /// nothing but wait.
    Fork,
    /// The calling program, started once more: it holds nobody up, and shares nothing with the caller.
    Executor,
}

/// Everything around a launch but the config.
#[derive(Default)]
pub struct Options<'a> {
    pub(super) carriage: Carriage,
    pub(super) observer: Option<Box<Observer<'a>>>,
    pub(super) lines: Option<OwnedFd>,
    pub(super) lock: Option<PathBuf>,
    pub(super) fail_on_warnings: bool,
}

impl<'a> Options<'a> {
    /// Nobody is told, nothing is locked, a wall that is given up is no error.
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn carriage(mut self, carriage: Carriage) -> Self {
        self.carriage = carriage;
        self
    }

    /// Is called with every event, in the caller's thread. At [`Event::Spawned`](super::Event::Spawned)
    /// the box waits for the answer, and `Err` ends it; the answers to other events count for nothing.
    #[must_use]
    pub fn on_event(mut self, observer: impl FnMut(&Told) -> Result<(), AbortLaunch> + 'a) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Every event is written here as [a line of JSON](Told::to_json_line), before the observer sees it.
    /// A reader that has gone is no error.
    #[must_use]
    pub fn events_to(mut self, descriptor: impl Into<OwnedFd>) -> Self {
        self.lines = Some(descriptor.into());
        self
    }

    /// A file of the host that the session holds [locked](super::HostLock) for as long as it lives.
    #[must_use]
    pub fn lock_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.lock = Some(path.into());
        self
    }

    /// A wall that could be given up is an error all the same.
    #[must_use]
    pub fn fail_on_warnings(mut self) -> Self {
        self.fail_on_warnings = true;
        self
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("carriage", &self.carriage)
            .field("lock", &self.lock)
            .field("fail_on_warnings", &self.fail_on_warnings)
            .finish_non_exhaustive()
    }
}
