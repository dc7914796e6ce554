//! What the first process does instead of dying: the kernel would panic.
//!
//! A signal that would end it, or a mistake nothing can be made of any more, ends all deciding: a shell is
//! offered on the console, again and again. Meanwhile children are reaped, and what services write is read and
//! thrown away, so that none of them waits for ever at a full pipe. Nothing here allocates or takes a lock:
//! the heap may be what broke. Which descriptors are to be read is known to the kernel alone (`epoll(7)`), for
//! the same reason.
#![allow(
    unsafe_code,
    reason = "sigaction, sigaltstack, fork and execve in a process that may be broken"
)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

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

/// Of one descriptor at a time, so that a service which floods keeps neither the others nor the reaping.
const READ_AT_ONCE: usize = 16;
const CHUNK: usize = 16 * 1024;
/// Should a child's end not wake us.
const LOOK_EVERY: libc::c_int = 1_000;

/// The descriptors that [`read_on_after_crash`] was told of; -1 where no crash is caught.
static OUTPUTS: AtomicI32 = AtomicI32::new(-1);
/// The socket that [`refuse_after_crash`] was told of, or -1.
static DOOR: AtomicI32 = AtomicI32::new(-1);
/// [`stay_alive`] was called.
static HAS_STOPPED: AtomicBool = AtomicBool::new(false);

/// From now on those signals lead to [`stay_alive`].
///
/// # Errors
/// As `mmap(2)`, `sigaltstack(2)`, `sigaction(2)` and `epoll_create1(2)`.
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
        action.sa_sigaction = crashed as Handler as libc::sighandler_t;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_NODEFER | libc::SA_SIGINFO;
        // SAFETY: the action is whole; its handler makes only async-signal-safe calls, and where it comes back,
        // which is from a signal that somebody sent, it has changed nothing, `errno` included; the old action is
        // not asked for.
        if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: takes a flag; the kernel makes a descriptor.
    let outputs = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if outputs < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, so it is nobody else's.
    let outputs = unsafe { OwnedFd::from_raw_fd(outputs) };
    // For good: there is no end of this process.
    OUTPUTS.store(outputs.into_raw_fd(), Ordering::Relaxed);
    Ok(())
}

/// Who writes into this descriptor goes on after a crash: what arrives is read then, and thrown away. It must not
/// block. Closing it takes it back. Nothing happens where no crash is caught.
///
/// # Errors
/// As `epoll_ctl(2)`.
pub fn read_on_after_crash(fd: impl AsFd) -> io::Result<()> {
    let outputs = OUTPUTS.load(Ordering::Relaxed);
    if outputs < 0 {
        return Ok(());
    }
    control(outputs, libc::EPOLL_CTL_ADD, fd.as_fd().as_raw_fd())
}

/// Who connects to this listening socket after a crash is refused at once, instead of waiting for an answer that
/// never comes. It must stay open.
pub fn refuse_after_crash(fd: impl AsFd) {
    DOOR.store(fd.as_fd().as_raw_fd(), Ordering::Relaxed);
}

fn control(epoll: libc::c_int, what: libc::c_int, fd: libc::c_int) -> io::Result<()> {
    let mut event = libc::epoll_event {
        // Edges only: a descriptor whose number is another's by then is told of once, and not for ever.
        events: (libc::EPOLLIN | libc::EPOLLET).cast_unsigned(),
        u64: u64::from(fd.cast_unsigned()),
    };
    // SAFETY: the event is whole, and copied.
    if unsafe { libc::epoll_ctl(epoll, what, fd, &raw mut event) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

extern "C" fn crashed(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: takes no argument and cannot fail.
    let thread = unsafe { libc::gettid() };
    // SAFETY: as above.
    let process = unsafe { libc::getpid() };
    if thread != process {
        static IS_TOLD: AtomicBool = AtomicBool::new(false);
        // What broke may be everybody's. The thread that decides is to stop, and nobody but it reaps.
        if !HAS_STOPPED.load(Ordering::Relaxed) && !IS_TOLD.swap(true, Ordering::Relaxed) {
            // SAFETY: the thread that a process is numbered by lives as long as the process.
            unsafe { libc::syscall(libc::SYS_tgkill, process, process, signal) };
        }
        stand_still();
    }
    if HAS_STOPPED.load(Ordering::Relaxed) {
        // SAFETY: with SA_SIGINFO the kernel hands over a whole record.
        if unsafe { (*info).si_code } <= 0 {
            // Sent by somebody (sigaction(2)): there is nothing to stop any more.
            return;
        }
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

/// Offers a shell on the console for ever, reaps what ends meanwhile, and reads on from what
/// [`read_on_after_crash`] was told of. For the first thread of process 1 alone: it never returns, and nothing else of
/// this process goes on but threads that already run.
pub fn stay_alive(reason: &CStr) -> ! {
    HAS_STOPPED.store(true, Ordering::Relaxed);
    // Nobody hears ctrl-alt-del as a signal any more: the kernel is to restart the machine at it (reboot(2)).
    // SAFETY: takes a number; without the right to, nothing changes.
    unsafe { libc::reboot(libc::RB_ENABLE_CAD) };
    // SAFETY: takes numbers; of one that is no socket the kernel says so.
    unsafe { libc::shutdown(DOOR.load(Ordering::Relaxed), libc::SHUT_RDWR) };
    let waits = hear_children();
    loop {
        say(&[
            b"\r\nherd: stopped deciding after ",
            reason.to_bytes(),
            b"; services run on, nobody looks after them, and what they write is thrown away.\r\nherd: a shell on \
              the console; 'reboot -f' starts the machine anew.\r\n",
        ]);
        match fork() {
            Some(0) => become_shell(),
            Some(shell) => attend(&waits, Some(shell)),
            None => {}
        }
        // So that a shell which cannot start does not fill the console.
        attend(&waits, None);
    }
}

/// The ends of children wake us from now on; gives the signals that are held back while nothing is waited for.
fn hear_children() -> libc::sigset_t {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: all-zero is a valid sigaction: an empty mask, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the action is whole and its handler does nothing; the old one is not asked for.
    unsafe { libc::sigaction(libc::SIGCHLD, &raw const action, ptr::null_mut()) };
    let mut children = empty_set();
    // SAFETY: the set is whole, and the number a signal's.
    unsafe { libc::sigaddset(&raw mut children, libc::SIGCHLD) };
    let mut before = empty_set();
    // SAFETY: both sets are whole and ours.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const children, &raw mut before) };
    // SAFETY: as above.
    unsafe { libc::sigdelset(&raw mut before, libc::SIGCHLD) };
    before
}

fn empty_set() -> libc::sigset_t {
    // SAFETY: an all-zero set is the empty one.
    unsafe { std::mem::zeroed() }
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
    let none = empty_set();
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

/// Reaps and reads on until that child has ended, or nobody is left to wait for. Without one it is a pause, of one
/// to three seconds: seconds are counted whole, and looked at after each wait.
fn attend(waits: &libc::sigset_t, shell: Option<libc::pid_t>) {
    let begun = seconds();
    loop {
        // SAFETY: no status is asked for.
        let pid = unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) };
        if shell == Some(pid) {
            return;
        }
        if pid > 0 {
            continue;
        }
        let has_none = pid < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD);
        if has_none && shell.is_some() {
            return;
        }
        read_on(waits);
        if shell.is_none() && seconds() > begun + 1 {
            return;
        }
    }
}

fn seconds() -> libc::time_t {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time is whole and ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec
}

/// Waits for something to read or the end of a child, and throws away what services have written.
fn read_on(waits: &libc::sigset_t) {
    let outputs = OUTPUTS.load(Ordering::Relaxed);
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 16];
    let room = libc::c_int::try_from(events.len()).unwrap_or(1);
    // SAFETY: the events have the room that is told, the set is whole. Without a queue it fails at once.
    let count = unsafe { libc::epoll_pwait(outputs, events.as_mut_ptr(), room, LOOK_EVERY, waits) };
    if count < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
        let while_nothing_comes = libc::timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        // SAFETY: no descriptor is looked at; time and set are whole.
        unsafe { libc::ppoll(ptr::null_mut(), 0, &raw const while_nothing_comes, waits) };
        return;
    }
    for event in events.iter().take(usize::try_from(count).unwrap_or(0)) {
        let told = event.u64;
        if let Ok(fd) = libc::c_int::try_from(told)
            && !is_read_out(fd)
        {
            // Said again at once, after the others.
            control(outputs, libc::EPOLL_CTL_MOD, fd).ok();
        }
    }
}

fn is_read_out(fd: libc::c_int) -> bool {
    let mut bytes = [0_u8; CHUNK];
    (0..READ_AT_ONCE).any(|_| {
        // Another file has the number by now if its owner crashed between a close and what follows: that may block.
        let mut polled = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one record, whole and ours.
        if unsafe { libc::poll(&raw mut polled, 1, 0) } <= 0 {
            return true;
        }
        // SAFETY: the bytes are ours for their length.
        unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) <= 0 }
    })
}
