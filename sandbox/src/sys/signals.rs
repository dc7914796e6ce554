//! Signal masks and dispositions, by the kernel's own calls.
#![allow(
    unsafe_code,
    reason = "rt_sigprocmask, rt_sigaction, rt_sigtimedwait, signalfd4"
)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Errno, check, done};

/// The kernel's signal set: bit n−1 is signal n.
pub(crate) type Set = u64;

pub(crate) const ALL: Set = !0;
pub(crate) const LAST_SIGNAL: i32 = 64;
const SET_SIZE: usize = size_of::<Set>();

/// While it lives, no signal is delivered to this thread.
#[derive(Debug)]
pub(crate) struct Blocked {
    before: Set,
}

impl Blocked {
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self {
            before: set_mask(ALL)?,
        })
    }
}

impl Blocked {
    /// What was blocked before.
    pub(crate) fn before(&self) -> Set {
        self.before
    }

    /// Restores what was before, but for `still`, which stays blocked.
    pub(crate) fn except(mut self, still: Set) {
        self.before |= still;
    }

    /// Blocked for good.
    pub(crate) fn keep(mut self) {
        self.before = ALL;
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let restored = set_mask(self.before);
        debug_assert!(
            restored.is_ok(),
            "a mask the kernel gave us is a mask it takes"
        );
    }
}

/// Replaces the mask of this thread, giving the old one.
pub(crate) fn set_mask(mask: Set) -> Result<Set, Errno> {
    let mut before: Set = 0;
    // SAFETY: both pointers are to live u64s, and the size passed is theirs.
    done(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut before,
            SET_SIZE,
        )
    })?;
    Ok(before)
}

/// `struct sigaction` as the kernel has it, large enough for every architecture.
#[repr(C)]
#[derive(Default)]
struct KernelAction {
    handler: usize,
    rest: [u64; 4],
}

/// The signals this process ignores.
pub(crate) fn ignored() -> Set {
    (1..=LAST_SIGNAL)
        .filter(|signal| is_ignored(*signal))
        .fold(0, |set, signal| set | 1 << (signal - 1))
}

/// Claims that a function of this program runs when the signal comes.
pub(crate) fn is_handled(signal: i32) -> bool {
    disposition(signal).is_none_or(|handler| handler != libc::SIG_DFL && handler != libc::SIG_IGN)
}

/// Gives every signal that has a handler its default, as `CLONE_CLEAR_SIGHAND` does.
pub(crate) fn forget_handlers() -> Result<(), Errno> {
    for signal in (1..=LAST_SIGNAL).filter(|signal| is_handled(*signal)) {
        set_disposition(signal, Disposition::Default)?;
    }
    Ok(())
}

/// The signal as a member of a [`Set`].
pub(crate) fn bit(signal: i32) -> Set {
    1 << (signal - 1)
}

fn is_ignored(signal: i32) -> bool {
    disposition(signal) == Some(libc::SIG_IGN)
}

fn disposition(signal: i32) -> Option<usize> {
    let mut action = KernelAction::default();
    // SAFETY: no new action is given; the old one goes to a live struct at least as large as the
    // kernel's.
    let answer = check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            ptr::null::<KernelAction>(),
            &raw mut action,
            SET_SIZE,
        )
    });
    answer.is_ok().then_some(action.handler)
}

/// Whether SIGPIPE was ignored when this program was started.
static IGNORED_PIPE: AtomicBool = AtomicBool::new(false);

// Rust's own start ignores SIGPIPE before `main`, and does not say what was before.
// SAFETY: the C library calls each function of this section once, before `main`, with arguments that
// one without parameters leaves alone; it makes one system call and stores one flag.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_SIGNALS: extern "C" fn() = note_signals;

/// Called by the C library, and by [`start_bare`](crate::start_bare), which may come first.
pub(crate) extern "C" fn note_signals() {
    let ignored = is_ignored(libc::SIGPIPE);
    IGNORED_PIPE.store(ignored, Ordering::Relaxed);
}

/// Claims that this program was started with SIGPIPE ignored.
pub(crate) fn ignored_pipe_at_start() -> bool {
    IGNORED_PIPE.load(Ordering::Relaxed)
}

/// Ends a program that was not started with SIGPIPE ignored as that signal does. Otherwise it comes back.
pub fn end_by_closed_pipe() {
    if ignored_pipe_at_start() {
        return;
    }
    let ended = set_disposition(libc::SIGPIPE, Disposition::Default).and_then(|()| set_mask(0));
    if ended.is_ok() {
        match rustix::process::kill_process(
            rustix::process::getpid(),
            rustix::process::Signal::PIPE,
        ) {
            // There is always one of us.
            Ok(()) | Err(_) => {}
        }
    }
}

/// SIGCHLD as a program that waits for its children needs it: a caller that ignores it hands that on, and the
/// kernel then keeps no child's status.
///
/// # Errors
/// Never, by the manual.
pub fn expect_children() -> io::Result<()> {
    Ok(set_disposition(libc::SIGCHLD, Disposition::Default)?)
}

/// What a signal does in a program that has installed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    Default,
    Ignore,
}

pub(crate) fn set_disposition(signal: i32, disposition: Disposition) -> Result<(), Errno> {
    let action = KernelAction {
        handler: match disposition {
            Disposition::Default => libc::SIG_DFL,
            Disposition::Ignore => libc::SIG_IGN,
        },
        rest: [0; 4],
    };
    // SAFETY: a live struct whose handler is one of the kernel's two constants: no code of ours
    // will ever be called by it; the old action is not asked for.
    done(unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            &raw const action,
            ptr::null_mut::<KernelAction>(),
            SET_SIZE,
        )
    })
}

/// A signal that was waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) signal: i32,
    /// Sent by the kernel itself, as for a key of the terminal.
    pub(crate) is_of_kernel: bool,
}

/// Sleeps until one of the (blocked) signals of `set` is pending, and takes it. Leaves `errno` alone.
pub(crate) fn wait_for(set: Set) -> Result<Taken, Errno> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the set is a live u64 of the size passed; the siginfo is one of the C library's, which
    // has the kernel's size; no timeout is asked for.
    let signal = unsafe {
        syscalls::syscall!(
            syscalls::Sysno::rt_sigtimedwait,
            &raw const set,
            info.as_mut_ptr(),
            ptr::null::<libc::timespec>(),
            SET_SIZE
        )
    }?;
    // SAFETY: it was zeroed, and zeros are a siginfo; the kernel has filled in its head since.
    let info = unsafe { info.assume_init() };
    Ok(Taken {
        signal: i32::try_from(signal).unwrap_or(0),
        is_of_kernel: info.si_code == libc::SI_KERNEL,
    })
}

/// Blocks the signals for this thread and for all that it starts later, and gives a descriptor from which they
/// are read, one `struct signalfd_siginfo` of 128 bytes each (signalfd(2)); reading does not wait. Real-time signals
/// are numbers as any other.
///
/// # Errors
/// `EINVAL` for a number that is no signal, and what signalfd(2) says.
pub fn signal_descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    let mut set: Set = 0;
    for signal in signals {
        if !(1..=LAST_SIGNAL).contains(signal) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        set |= bit(*signal);
    }
    let before = set_mask(ALL)?;
    set_mask(before | set)?;
    // SAFETY: the set is a live u64 of the size passed, and -1 asks for a new descriptor.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const set,
            SET_SIZE,
            libc::SFD_NONBLOCK | libc::SFD_CLOEXEC,
        )
    };
    let number = i32::try_from(answer).unwrap_or(-1);
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
