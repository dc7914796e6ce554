//! Mistakes made on purpose, so that tests see what becomes of them. Builds for use do not have this file: herd would
//! not build with it. Elsewhere a signal asks for one, and the kernel lets nobody send it who may not end herd anyway.
#![forbid(unsafe_code)]

#[cfg(not(debug_assertions))]
compile_error!("mistakes on purpose are for builds with debug assertions");

use nix::sys::signal::{Signal, raise};

use super::Daemon;

/// What is to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// While an event is handled.
    Event,
    /// In the loop, outside of events.
    Loop,
    /// And again when that is being cleared up.
    LoopTwice,
    /// In the thread that writes logs.
    LogWriter,
    Abort,
    /// A memory access in a thread that does not decide.
    Thread,
}

/// Real-time signals that mean nothing to systemd either (systemd(1), "Signals"), counted from `SIGRTMIN`.
pub(super) const SIGNALS: [(i32, Fault); 6] = [
    (8, Fault::Event),
    (9, Fault::Loop),
    (10, Fault::LogWriter),
    (11, Fault::Abort),
    (12, Fault::Thread),
    (19, Fault::LoopTwice),
];

#[expect(clippy::panic, reason = "that is what it is for")]
impl Daemon {
    pub(super) fn make_mistake(&mut self, fault: Fault) {
        if fault == Fault::LogWriter {
            // Before the note, which wakes the writer.
            self.sink.break_writer();
        }
        self.note(&format!("a mistake on purpose: {fault:?}"));
        match fault {
            Fault::Event => panic!("a mistake on purpose in an event"),
            Fault::Loop => self.breaks = 1,
            Fault::LoopTwice => self.breaks = 2,
            Fault::LogWriter => {}
            Fault::Abort => std::process::abort(),
            Fault::Thread => {
                let crash = || raise(Signal::SIGSEGV);
                std::thread::Builder::new().spawn(crash).ok();
            }
        }
    }

    /// Asked by the loop where nothing catches it.
    pub(super) fn break_if_told(&mut self) {
        if let Some(left) = self.breaks.checked_sub(1) {
            self.breaks = left;
            panic!("a mistake on purpose in the loop");
        }
    }
}
