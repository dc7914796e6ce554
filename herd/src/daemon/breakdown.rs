//! What is done when the loop itself breaks: one mistake in an event is recorded and gone on from, one outside of
//! events, or one after the other without end, is not.
//!
//! ```text
//! machine    ──▶ a shell on the console; every descriptor stays open, nothing is stopped
//! all others ──▶ everything is killed, in the loop while it still turns ──▶ exit code 70
//! ```
//!
//! Panics are caught in these places and nowhere else in herd, each for what would be lost without it:
//!
//! | where | what would be lost |
//! |---|---|
//! | `Daemon::guarded`, around each event | all services, to a mistake about one |
//! | `Daemon::try_to_live`, around the loop | the kill of everything, or the shell of a machine |
//! | `Daemon::stop_deciding`, around a last note | that shell, if logs are what is broken |
//! | `start::run`, around what comes after the loop | the end of a machine whose units have stopped |
//! | `pid1::main`, around a boot | a machine: the kernel panics where its first process ends |
//! | `logs::writer`, around each batch | all logs from then on |
//! | `daemon::releaser`, around each turn | all networks that are still to be given back |
//!
//! The last two are threads of their own, whose panics the loop would never hear of.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use sandbox::cgroup;

use super::start::complain;
use super::{Daemon, panic_words, reason};
use crate::supervisor::Event;

/// What herd ends with that found a mistake in itself: `EX_SOFTWARE` of sysexits.h(3head).
const BUG_CODE: u8 = 70;
/// What lives longer after SIGKILL hangs in the kernel.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many turns of the loop, one after the other, with a mistake in each.
const MOST_BUGS: u32 = 100;

/// Turns of the loop in a row in which something went wrong.
#[derive(Debug, Default)]
pub(super) struct Bugs {
    turns: u32,
    is_in_this_turn: bool,
}

impl Bugs {
    pub(super) fn note(&mut self) {
        self.is_in_this_turn = true;
    }

    /// A turn is over; whether there is no use in another.
    pub(super) fn end_turn(&mut self) -> bool {
        self.turns = match std::mem::take(&mut self.is_in_this_turn) {
            true => self.turns + 1,
            false => 0,
        };
        self.turns >= MOST_BUGS
    }
}

impl Daemon {
    /// The loop, to its end; herd's exit code. For a machine whose loop breaks it does not return, and so lets go
    /// of nothing that a service holds the other end of.
    pub(super) fn live(&mut self) -> u8 {
        let first = self.try_to_live(|daemon| {
            daemon.listen_to_tables();
            daemon.rescan();
            daemon.turn();
            daemon.tell_ready();
            daemon.run_loop()
        });
        let why = match first {
            Ok(code) => return code,
            Err(why) => why,
        };
        if self.options.mode.is_machine() {
            self.stop_deciding(&why);
        }
        complain(&format!("{why}; killing everything"));
        let second = self.try_to_live(|daemon| {
            daemon.note(&format!("{why}; killing everything"));
            daemon.exit = None;
            daemon.bugs = Bugs::default();
            daemon.inbox.clear();
            daemon.inbox.push_back(Event::ShutdownNow);
            daemon.turn();
            daemon.run_loop()
        });
        if let Err(why) = second {
            complain(&format!(
                "{why}, once more; the kernel is to kill everything"
            ));
            self.kill_without_thought();
        }
        BUG_CODE
    }

    fn try_to_live(&mut self, act: impl FnOnce(&mut Self) -> io::Result<u8>) -> Result<u8, String> {
        match catch_unwind(AssertUnwindSafe(|| act(self))) {
            Ok(Ok(code)) => Ok(code),
            Ok(Err(error)) => Err(format!("the event queue failed: {error}")),
            Err(panic) => Err(format!("bug in herd: {}", panic_words(&*panic))),
        }
    }

    fn stop_deciding(&self, why: &str) -> ! {
        // Should even this fail, the console says it.
        catch_unwind(AssertUnwindSafe(|| self.note(why))).ok();
        let reason = CString::new(why.replace('\0', " ")).unwrap_or_default();
        sandbox::stay_alive(&reason)
    }

    /// Whatever the state of things: the groups of all services, and their processes.
    fn kill_without_thought(&self) {
        let groups = || {
            self.runtimes
                .values()
                .filter_map(|runtime| runtime.group.as_ref())
        };
        for group in groups() {
            if let Err(error) = cgroup::kill(group) {
                complain(&reason(&error));
            }
        }
        for pid in super::group::own_children() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // Ours and unreaped, so the number is still its own.
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
        for group in groups() {
            let gone = cgroup::wait_until_empty(group, PATIENCE)
                .and_then(|_| cgroup::remove(group).map(drop));
            if let Err(error) = gone {
                complain(&reason(&error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_with_mistakes_count_once_each_and_only_in_a_row() {
        let mut bugs = Bugs::default();
        let mut turn = |mistakes: u32| {
            (0..mistakes).for_each(|_| bugs.note());
            bugs.end_turn()
        };
        assert!(!turn(2 * MOST_BUGS));
        assert!((2..MOST_BUGS).all(|_| !turn(1)));
        assert!(!turn(0));
        assert!((1..MOST_BUGS).all(|_| !turn(3)));
        assert!(turn(1));
    }
}
