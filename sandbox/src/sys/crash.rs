//! What the first process does instead of dying: the kernel would panic.
//!
//! A signal that would end it, or a mistake nothing can be made of any more, ends all deciding: a shell is
//! offered on the console, again and again, and children are reaped meanwhile. Nothing here allocates
//! or takes a lock: the heap may be what broke.
#![allow(
    unsafe_code,
    reason = "sigaction, sigaltstack, fork and execve in a process that may be broken"
)]

use std::ffi::CStr;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Signals that the kernel sends for what a process did itself, and abort(3)'s.
const FATAL: [(libc::c_int, &CStr); 6] = [
    (
        libc::SIGSEGV,
        c"a memory access that is not allowed (SIGSEGV)",
    ),
    (
        libc::SIGBUS,
        c"a memory access that cannot be made (SIGBUS)",
    ),
    (libc::SIGILL, c"an instruction that does not exist (SIGILL)"),
    (libc::SIGFPE, c"a calculation that has no result (SIGFPE)"),
    (libc::SIGABRT, c"an abort, as when memory ran out (SIGABRT)"),
    (libc::SIGSYS, c"a system call that is not allowed (SIGSYS)"),
];
const STACK: usize = 64 * 1024;

static SULOGIN: [&CStr; 2] = [c"/sbin/sulogin", c"--force"];
static SHELL: [&CStr; 1] = [c"/bin/sh"];

/// From now on those signals lead to [`stay_alive`].
///
/// # Errors
/// As `mmap(2)`, `sigaltstack(2)` and `sigaction(2)`.
pub fn catch_crashes() -> io::Result<()> {
    // SAFETY: an anonymous mapping at a place the kernel chooses touches no memory of ours.
    let stack = unsafe {
        libc::mmap(
            ptr::null_mut(),
            STACK,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if stack == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let stack = libc::stack_t {
        ss_sp: stack,
        ss_flags: 0,
        ss_size: STACK,
    };
    // SAFETY: the stack is mapped for good and nobody else's; the old one is not asked for.
    if unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for (signal, _) in FATAL {
        // SAFETY: all-zero is a valid sigaction: the default action, an empty mask, no flags.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = crashed as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_NODEFER;
        // SAFETY: the action is whole, its handler makes only async-signal-safe calls and never
        // returns; the old action is not asked for.
        if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn crashed(signal: libc::c_int) {
    // SAFETY: takes no argument and cannot fail.
    let thread = unsafe { libc::gettid() };
    // SAFETY: as above.
    let process = unsafe { libc::getpid() };
    if thread != process {
        // What broke may be everybody's. The thread that decides is to stop, and nobody but it reaps.
        // SAFETY: the thread that a process is numbered by lives as long as the process.
        unsafe { libc::syscall(libc::SYS_tgkill, process, process, signal) };
        stand_still();
    }
    static HAS_CRASHED: AtomicBool = AtomicBool::new(false);
    if HAS_CRASHED.swap(true, Ordering::Relaxed) {
        // Even this was too much: not to die is all that is left.
        stand_still();
    }
    let known = FATAL.iter().find(|(number, _)| *number == signal);
    stay_alive(known.map_or(c"a signal", |(_, text)| text))
}

fn stand_still() -> ! {
    loop {
        // SAFETY: takes no argument; a signal that has a handler makes it return.
        unsafe { libc::pause() };
    }
}

/// Offers a shell on the console for ever, and reaps what ends meanwhile. For process 1 alone: it never
/// returns, and nothing else of this process goes on but threads that already run.
pub fn stay_alive(reason: &CStr) -> ! {
    // Nobody hears ctrl-alt-del as a signal any more: the kernel is to restart the machine at it (reboot(2)).
    // SAFETY: takes a number; without the right to, nothing changes.
    unsafe { libc::reboot(libc::RB_ENABLE_CAD) };
    loop {
        say(&[
            b"\r\nherd: stopped deciding after ",
            reason.to_bytes(),
            b"; services run on, nobody looks after them.\r\nherd: a shell on the console; \
              'reboot -f' starts the machine anew.\r\n",
        ]);
        match fork() {
            Some(0) => become_shell(),
            Some(shell) => reap_until(shell),
            None => pause_a_little(),
        }
    }
}

/// To the console, without waiting for one that is stopped.
fn say(parts: &[&[u8]]) {
    let flags = libc::O_WRONLY | libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: the path is a string that ends in NUL.
    let fd = unsafe { libc::open(c"/dev/console".as_ptr(), flags) };
    if fd < 0 {
        return;
    }
    for part in parts {
        // SAFETY: the bytes are valid for their length; a short write is a shorter message.
        unsafe { libc::write(fd, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: opened above and nobody else's.
    unsafe { libc::close(fd) };
}

fn fork() -> Option<libc::pid_t> {
    let flags: libc::c_long = libc::SIGCHLD.into();
    // SAFETY: the kernel's own fork: without a stack of its own the child goes on here, on a copy of
    // this memory. No handler of the C library runs, which may be what broke.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    libc::pid_t::try_from(pid).ok().filter(|pid| *pid >= 0)
}

fn become_shell() -> ! {
    // SAFETY: an all-zero set is the empty one.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is whole; nothing of the old one is asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
    // SAFETY: takes no argument.
    unsafe { libc::setsid() };
    // SAFETY: the path is a string that ends in NUL.
    let fd = unsafe { libc::open(c"/dev/console".as_ptr(), libc::O_RDWR | libc::O_NOCTTY) };
    if fd >= 0 {
        for target in 0..=2 {
            // SAFETY: duplicating a descriptor onto another touches no memory.
            unsafe { libc::dup2(fd, target) };
        }
        // SAFETY: TIOCSCTTY takes a number, here 1: also from a session that has it.
        unsafe { libc::ioctl(0, libc::TIOCSCTTY, 1) };
    }
    let environment = [
        c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".as_ptr(),
        c"HOME=/root".as_ptr(),
        c"TERM=linux".as_ptr(),
        ptr::null(),
    ];
    let sulogin = [SULOGIN[0].as_ptr(), SULOGIN[1].as_ptr(), ptr::null()];
    let shell = [SHELL[0].as_ptr(), ptr::null()];
    for arguments in [sulogin.as_slice(), shell.as_slice()] {
        // SAFETY: both lists end in a null pointer, and their strings in NUL; on success this memory is gone.
        unsafe { libc::execve(arguments[0], arguments.as_ptr(), environment.as_ptr()) };
    }
    // SAFETY: ends the child without a handler of the C library.
    unsafe { libc::_exit(127) }
}

fn reap_until(shell: libc::pid_t) {
    loop {
        // SAFETY: no status is asked for.
        let pid = unsafe { libc::waitpid(-1, ptr::null_mut(), 0) };
        if pid == shell {
            return pause_a_little();
        }
        if pid < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return pause_a_little();
        }
    }
}

/// So that a shell which cannot start does not fill the console.
fn pause_a_little() {
    let second = libc::timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    // SAFETY: the time is whole; what is left of it is not asked for.
    unsafe { libc::nanosleep(&raw const second, ptr::null_mut()) };
}
