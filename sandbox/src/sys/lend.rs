//! A child in our own memory that stays: we wait while it works in there, and when it gives the memory
//! back, it goes on beside us without touching it. What `CLONE_VFORK` is, with an end that the child names.
//!
//! A copy of the memory costs a page table, a fault for each page that either side writes to afterwards,
//! and a second tear-down: for a box built of a launcher of a few megabytes a quarter of a millisecond.
//!
//! At any time one of the two runs in the memory, thread-local state of the C library included, and the
//! other is in the kernel. After [`Lent::give_back`] the child may do system calls on its stack, and
//! nothing else: no allocation, no lock, no panic, and no call of the C library, whose `errno` is ours.
#![allow(
    unsafe_code,
    reason = "a child that shares our memory, on a stack of its own"
)]

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::futex;

use super::clone::{Child, Stack};
use super::{Errno, process, signals};

/// What the child has of us until it gives it back, executes a program, or ends.
#[derive(Debug)]
pub(crate) struct Lent {
    gate: &'static AtomicU32,
    blocked: signals::Set,
}

impl Lent {
    /// The signals that the caller had blocked.
    pub(crate) fn blocked(&self) -> signals::Set {
        self.blocked
    }

    /// Lets the caller go on. From here on its memory is its own: see above for what is left to us.
    pub(crate) fn give_back(self) {
        open(self.gate);
    }
}

fn open(gate: &AtomicU32) {
    gate.store(GIVEN_BACK, Ordering::Release);
    // One that does not sleep yet sees the gate; nobody else waits there.
    match futex::wake(gate, futex::Flags::empty(), 1) {
        Ok(_) | Err(_) => {}
    }
}

const LENT: u32 = 1;
/// What the kernel writes too, when the child executes a program or ends (`CLONE_CHILD_CLEARTID`).
const GIVEN_BACK: u32 = 0;

/// Signals that a program gets from others, and ends or stops by.
const OF_OTHERS: [i32; 10] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Runs `run(argument)` in a child in new `namespaces` (`CLONE_NEW*`), in our own memory; comes back once
/// it has given the memory back, executed a program, or ended. The child begins with all signals blocked
/// and none handled.
///
/// Meanwhile we end and stop by the signals of others as ever, but those that we have a handler for wait:
/// it would run beside the child. Those `held_back` wait too, and stay blocked for the caller to take.
///
/// # Errors
/// `EINVAL` when this process has more than one thread; what `mmap(2)` and `clone3(2)` answer.
pub(crate) fn lend_memory<T: Sync>(
    namespaces: u64,
    held_back: signals::Set,
    run: fn(&T, Lent) -> !,
    argument: &T,
) -> Result<Child, Errno> {
    if !process::is_single_threaded()? {
        return Err(Errno(libc::EINVAL));
    }
    // The child lives on it for as long as it lives.
    let stack = Stack::new()?.for_good();
    let gate = stack.word();
    gate.store(LENT, Ordering::Relaxed);
    let blocked = signals::Blocked::new()?;
    let start = Start {
        run,
        argument,
        gate,
        blocked: blocked.before(),
    };
    let child = stack.start_in_our_memory(namespaces, gate, begin::<T>, &start)?;
    let unhandled = OF_OTHERS
        .into_iter()
        .filter(|signal| !signals::is_handled(*signal));
    let may_come = unhandled.fold(0, |set, signal| set | signals::bit(signal)) & !held_back;
    let waiting = signals::set_mask(signals::ALL & !may_come | blocked.before());
    debug_assert!(waiting.is_ok(), "a mask is a number");
    while gate.load(Ordering::Acquire) != GIVEN_BACK {
        match futex::wait(gate, futex::Flags::empty(), LENT, None) {
            // It has changed meanwhile, or a signal was ignored or has gone by.
            Ok(()) | Err(_) => {}
        }
    }
    blocked.except(held_back);
    Ok(child)
}

struct Start<'a, T> {
    run: fn(&T, Lent) -> !,
    argument: &'a T,
    gate: &'static AtomicU32,
    blocked: signals::Set,
}

extern "C" fn begin<T>(start: &Start<'_, T>) -> ! {
    let lent = Lent {
        gate: start.gate,
        blocked: start.blocked,
    };
    (start.run)(start.argument, lent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The harness has threads: what can be tried here is that this is seen.
    #[test]
    fn a_program_with_threads_lends_nothing() {
        let wait = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.1.recv());
        let refused = lend_memory(0, 0, |_: &(), _| process::exit_now(0), &());
        assert_eq!(refused.map(drop), Err(Errno(libc::EINVAL)));
        drop(wait.0);
        other.join().unwrap().unwrap_err();
    }
}
