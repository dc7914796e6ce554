//! `clone3(2)`: the only place a process is made. Where a filter around us answers that there is no such call, as
//! docker's does to processes without `CAP_SYS_ADMIN`, by `clone(2)`, which does the same but for cgroups and for
//! signal handlers: a child of that call forgets them itself, before anything else.
#![allow(
    unsafe_code,
    reason = "a child that shares our memory, on a stack of its own"
)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32};

use super::{Errno, check, process, signals};

// `libc` defines the flags above bit 31 as `c_int`, where they overflow to 0.
const CLONE_INTO_CGROUP: u64 = 1 << 33;
const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
const CLONE_VM: u64 = 0x100;
const CLONE_FILES: u64 = 0x400;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_PARENT: u64 = 0x8000;
const CLONE_PARENT_SETTID: u64 = 0x10_0000;
const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;

/// A child as its parent holds it.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
}

impl Child {
    /// From what the kernel answered.
    ///
    /// # Safety
    /// Where `returned` is a pid, the kernel has stored a new descriptor (`CLONE_PIDFD`) in `pidfd` that
    /// nobody else owns.
    unsafe fn born(returned: i64, pidfd: i32) -> Result<Self, Errno> {
        if returned < 0 {
            return Err(Errno(i32::try_from(-returned).unwrap_or(libc::EIO)));
        }
        Ok(Self {
            pid: i32::try_from(returned).unwrap_or(i32::MAX),
            // SAFETY: the caller vouches for it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        })
    }
}

/// What the child of [`Stack::spawn`] is to be.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner<'a> {
    /// The child starts in this (v2) cgroup.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// Shares the descriptor table until the child unshares it: the cost of a spawn then does
    /// not grow with the number of open descriptors.
    pub(crate) shared_descriptors: bool,
    /// Where the child's pid is stored before it runs, for other threads to see: its parent sees nothing until
    /// the child executes a program. Stays untouched where there is no `clone3`.
    pub(crate) announce: Option<&'a AtomicI32>,
}

/// A stack for children that share our memory. One at a time: [`Stack::spawn`] returns only when
/// the child has left it.
#[derive(Debug)]
pub(crate) struct Stack {
    base: *mut libc::c_void,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl Send for Stack {}

/// 128 KiB: the walk of the steps is flat; the kernel commits only the pages touched.
const STACK_SIZE: usize = 128 * 1024;
const GUARD: usize = 4096;
/// Kept free above a lasting stack, a multiple of what the stack is aligned to.
const ABOVE: usize = 64;

impl Stack {
    pub(crate) fn new() -> Result<Self, Errno> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of
        // ours; the arguments are the constants mmap(2) asks for.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                STACK_SIZE + GUARD,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(check(-1).err().unwrap_or(Errno(libc::ENOMEM)));
        }
        let stack = Self { base };
        // SAFETY: the first page of the mapping just made; nothing has been stored in it.
        check(libc::c_long::from(unsafe {
            libc::mprotect(base, GUARD, libc::PROT_NONE)
        }))?;
        Ok(stack)
    }

    /// Starts a child in our own memory that runs `run` and never returns; comes back once the
    /// child has called `execve` or `_exit`.
    ///
    /// The caller has all signals blocked ([`super::signals::Blocked`]), which the token proves.
    /// `run` must not allocate, lock or panic; it is a plain function for that reason.
    pub(crate) fn spawn<T: Sync>(
        &mut self,
        _blocked: &signals::Blocked,
        manner: Manner<'_>,
        run: extern "C" fn(&T) -> !,
        argument: &T,
    ) -> Result<Child, Errno> {
        let lowest = self.base as u64 + GUARD as u64;
        // SAFETY: a live mapping that no other child uses (`&mut self`).
        unsafe { vfork(lowest, STACK_SIZE as u64, manner, run, argument) }
    }
}

/// [`Stack::spawn`] on the caller's own stack, below what it uses of it: nothing is mapped for it, and the
/// guard is the caller's.
#[inline(never)]
pub(crate) fn spawn_below<T: Sync>(
    _blocked: &signals::Blocked,
    manner: Manner<'_>,
    run: extern "C" fn(&T) -> !,
    argument: &T,
) -> Result<Child, Errno> {
    let top = (stack_pointer() - FRAMES) & !0xf;
    // SAFETY: nothing of ours lies below the stack pointer but the frames of the calls between here and
    // `clone3`, which are left free above `top`; while the child is there we are suspended, and no signal is
    // delivered. The size only tells the kernel where the top is.
    unsafe { vfork(top - FRAMES, FRAMES, manner, run, argument) }
}

/// Far more than the frames between [`spawn_below`] and `clone3`.
const FRAMES: u64 = 4096;

fn stack_pointer() -> u64 {
    let pointer: u64;
    // SAFETY: copies one register.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    // SAFETY: copies one register.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    // SAFETY: copies one register.
    #[cfg(target_arch = "riscv64")]
    unsafe {
        std::arch::asm!("mv {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    pointer
}

/// Comes back once the child has called `execve` or `_exit`.
///
/// # Safety
/// The stack, `size` bytes from `lowest` on and what lies below for it to grow into, is nobody else's while
/// the child runs; all signals are blocked; `run` does what is sound in memory shared with a suspended
/// caller.
unsafe fn vfork<T: Sync>(
    lowest: u64,
    size: u64,
    manner: Manner<'_>,
    run: extern "C" fn(&T) -> !,
    argument: &T,
) -> Result<Child, Errno> {
    let mut pidfd = -1i32;
    let mut flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_CLEAR_SIGHAND;
    if manner.shared_descriptors {
        flags |= CLONE_FILES;
    }
    let mut arguments = CloneArguments {
        flags,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: lowest,
        stack_size: size,
        ..CloneArguments::default()
    };
    if let Some(cgroup) = manner.cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    if let Some(pid) = manner.announce {
        arguments.flags |= CLONE_PARENT_SETTID;
        arguments.parent_tid = pid.as_ptr() as u64;
    }
    // SAFETY: `extern "C" fn(&T) -> !` and `extern "C" fn(*const c_void) -> !` take one
    // pointer in the same register; the child gets exactly the `&T` of this call, which
    // outlives it because the parent does not return before the child is gone (VFORK).
    let run: extern "C" fn(*const libc::c_void) -> ! = unsafe { std::mem::transmute(run) };
    // SAFETY: `arguments` is a complete clone_args; the caller vouches for its stack; `pidfd` and `parent_tid`
    // point at i32s that outlive the call; signals are blocked, so none comes before the child has no handler any more;
    // `run` never returns, so the child's stack is never unwound.
    let returned = unsafe { clone_onto_stack(&arguments, run, ptr::from_ref(argument).cast()) };
    // SAFETY: this is the answer of a call that was to store into `pidfd`.
    unsafe { Child::born(returned, pidfd) }
}

impl Stack {
    /// For a child that does not leave it before it ends: the mapping stays for as long as the process.
    pub(crate) fn for_good(self) -> LastingStack {
        let stack = LastingStack { base: self.base };
        #[allow(clippy::mem_forget, reason = "not unmapping it is the point")]
        std::mem::forget(self);
        stack
    }
}

/// A stack that is never unmapped.
#[derive(Debug)]
pub(crate) struct LastingStack {
    base: *mut libc::c_void,
}

impl LastingStack {
    /// A word above the place where the child's stack begins.
    pub(crate) fn word(&self) -> &'static AtomicU32 {
        // SAFETY: the last bytes of the live mapping.
        let word = unsafe { self.base.byte_add(GUARD + STACK_SIZE - ABOVE) };
        // SAFETY: aligned (sizes are), zeroed by the kernel, mapped for good; nothing but this word is ever
        // made of the place: the child's stack begins below it and grows down.
        unsafe { AtomicU32::from_ptr(word.cast()) }
    }

    /// Starts a child in our own memory, in new `namespaces`, and comes back at once: `gate` becomes 0
    /// when it executes a program or ends.
    ///
    /// The caller does nothing then but raw system calls until the child is done with its memory, and
    /// keeps `argument` until then. All signals are blocked ([`super::signals::Blocked`]).
    pub(crate) fn start_in_our_memory<T>(
        self,
        namespaces: u64,
        gate: &'static AtomicU32,
        run: extern "C" fn(&T) -> !,
        argument: &T,
    ) -> Result<Child, Errno> {
        let mut pidfd = -1i32;
        let arguments = CloneArguments {
            flags: namespaces | CLONE_VM | CLONE_PIDFD | CLONE_CLEAR_SIGHAND | CLONE_CHILD_CLEARTID,
            pidfd: (&raw mut pidfd) as u64,
            child_tid: gate.as_ptr() as u64,
            exit_signal: libc::SIGCHLD as u64,
            stack: self.base as u64 + GUARD as u64,
            stack_size: (STACK_SIZE - ABOVE) as u64,
            ..CloneArguments::default()
        };
        // SAFETY: as in `Stack::spawn`; the caller keeps the `&T`.
        let run: extern "C" fn(*const libc::c_void) -> ! = unsafe { std::mem::transmute(run) };
        // SAFETY: as in `Stack::spawn`, but that the caller is not suspended by the kernel: it waits
        // itself ([`super::lend`]). The stack is this child's for good (`self` is consumed).
        let returned = unsafe { clone_onto_stack(&arguments, run, ptr::from_ref(argument).cast()) };
        // SAFETY: this is the answer of a call that was to store into `pidfd`.
        unsafe { Child::born(returned, pidfd) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this size and no child runs on it.
        let returned = unsafe { libc::munmap(self.base, STACK_SIZE + GUARD) };
        debug_assert_eq!(returned, 0, "the mapping is ours");
    }
}

/// Which side of [`fork`] this is.
#[derive(Debug)]
pub(crate) enum Side {
    Parent(Child),
    Child,
}

/// Whose child a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    Ourselves,
    /// Our own parent: the copy is our sibling.
    OurParent,
}

/// Copies this process into one with new `namespaces` (`CLONE_NEW*`) and without our signal handlers.
///
/// Refused with `EINVAL` when the process has more than one thread: the copy would inherit locks
/// held by threads it does not have.
pub(crate) fn fork(parent: Parent, namespaces: u64) -> Result<Side, Errno> {
    if !process::is_single_threaded()? {
        return Err(Errno(libc::EINVAL));
    }
    let mut pidfd = -1i32;
    let mut arguments = CloneArguments {
        flags: namespaces | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd) as u64,
        ..CloneArguments::default()
    };
    match parent {
        // The kernel takes the exit signal of a sibling from ourselves.
        Parent::OurParent => arguments.flags |= CLONE_PARENT,
        Parent::Ourselves => arguments.exit_signal = libc::SIGCHLD as u64,
    }
    // SAFETY: a complete clone_args of the size given; no CLONE_VM, so the child has its own copy
    // of all memory; the process has one thread, so no lock is held by another.
    let mut returned = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<CloneArguments>(),
        )
    });
    let mut has_handlers = false;
    if returned == Err(Errno(libc::ENOSYS))
        && let Some(call) = arguments.for_clone()
    {
        let [a, b, c, d, e] = call.arguments;
        has_handlers = true;
        // SAFETY: as above; a null stack means to go on with the copy of this one, and the only pointer is
        // that to `pidfd`.
        returned = check(unsafe { libc::syscall(call.number, a, b, c, d, e) });
    }
    let returned = returned?;
    if returned == 0 {
        // An error here would be taken for one of the parent, by a child that goes on as if it were that.
        if has_handlers && signals::forget_handlers().is_err() {
            process::exit_now(NOT_BEGUN);
        }
        return Ok(Side::Child);
    }
    // SAFETY: this is the answer of a call that was to store into `pidfd`.
    unsafe { Child::born(returned, pidfd) }.map(Side::Parent)
}

/// The exit status of a child that cannot begin.
const NOT_BEGUN: i32 = crate::main_process::NOT_EXECUTED;

/// `struct clone_args` up to `CLONE_INTO_CGROUP` (Linux 5.7).
#[repr(C)]
#[derive(Debug, Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

impl CloneArguments {
    fn for_clone3(&self) -> Call {
        Call {
            number: libc::SYS_clone3,
            arguments: [
                ptr::from_ref(self) as u64,
                size_of::<Self>() as u64,
                0,
                0,
                0,
            ],
        }
    }

    /// `clone(2)` has no room for the cgroup. Handlers stay: the child is to forget them ([`forget_and_run`]).
    fn for_clone(&self) -> Option<Call> {
        if self.flags & CLONE_INTO_CGROUP != 0 {
            return None;
        }
        let flags = self.flags & !CLONE_CLEAR_SIGHAND & !CLONE_PARENT_SETTID | self.exit_signal;
        let top = self.stack + self.stack_size;
        // The pidfd is stored where the pid would be: both cannot be asked for.
        let (pidfd, tls) = (self.pidfd, 0);
        let arguments = if cfg!(target_arch = "x86_64") {
            [flags, top, pidfd, self.child_tid, tls]
        } else {
            // CONFIG_CLONE_BACKWARDS.
            [flags, top, pidfd, tls, self.child_tid]
        };
        let number = libc::SYS_clone;
        Some(Call { number, arguments })
    }
}

/// A system call and what it is given.
#[derive(Debug, Clone, Copy)]
struct Call {
    number: libc::c_long,
    arguments: [u64; 5],
}

/// `clone3`, or else `clone`, after which the child calls `run(argument)` on its own stack, without a signal
/// handler. Gives the kernel's answer in the parent: a pid, or a negated error number.
///
/// # Safety
/// `arguments` names a stack nobody uses; all signals are blocked, and the flags have `CLONE_CLEAR_SIGHAND` and not
/// `CLONE_SIGHAND`; what `run` does must be sound in memory shared with a suspended parent.
unsafe fn clone_onto_stack(
    arguments: &CloneArguments,
    run: extern "C" fn(*const libc::c_void) -> !,
    argument: *const libc::c_void,
) -> i64 {
    // SAFETY: the caller vouches for the stack, for the signals and for `run`; `arguments` is complete.
    let returned = unsafe { call_onto_stack(arguments.for_clone3(), run, argument) };
    // Only while we are suspended is the record below there for as long as the child reads it.
    let call = arguments.for_clone();
    match call.filter(|_| arguments.flags & CLONE_VFORK != 0) {
        Some(call) if returned == -i64::from(libc::ENOSYS) => {
            let begin = Begin { run, argument };
            // SAFETY: the same call in its older form; the first one has made no child. The record is whole and
            // outlives the child's use of it: we come back when it has left our memory. Before it calls `run`
            // it makes system calls alone.
            unsafe { call_onto_stack(call, forget_and_run, ptr::from_ref(&begin).cast()) }
        }
        _ => returned,
    }
}

/// What a child of `clone(2)` begins with.
struct Begin {
    run: extern "C" fn(*const libc::c_void) -> !,
    argument: *const libc::c_void,
}

/// Does what `CLONE_CLEAR_SIGHAND` would have done: without `CLONE_SIGHAND` the child has a table of its own. All
/// signals are blocked until then.
extern "C" fn forget_and_run(begin: *const libc::c_void) -> ! {
    // SAFETY: `clone_onto_stack` gives a `Begin` that lives on its own stack while it is suspended.
    let begin = unsafe { &*begin.cast::<Begin>() };
    if signals::forget_handlers().is_err() {
        process::exit_now(NOT_BEGUN);
    }
    (begin.run)(begin.argument)
}

/// # Safety
/// That of [`clone_onto_stack`]; `call` is one of the two, with whole arguments.
#[cfg(target_arch = "x86_64")]
unsafe fn call_onto_stack(
    call: Call,
    run: extern "C" fn(*const libc::c_void) -> !,
    argument: *const libc::c_void,
) -> i64 {
    let returned: i64;
    let [a, b, c, d, e] = call.arguments;
    // SAFETY: the caller vouches for the stack and for `run`. The child leaves this block by the
    // call only, with the stack the kernel gave it (16-byte aligned: the size is), so the
    // parent's frame is never touched by it; rcx and r11 are lost to `syscall`.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") call.number => returned,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r12") argument,
            in("r13") run,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    returned
}

/// See the x86_64 twin.
///
/// # Safety
/// As there.
#[cfg(target_arch = "aarch64")]
unsafe fn call_onto_stack(
    call: Call,
    run: extern "C" fn(*const libc::c_void) -> !,
    argument: *const libc::c_void,
) -> i64 {
    let returned: i64;
    let [a, b, c, d, e] = call.arguments;
    // SAFETY: as on x86_64; the kernel preserves every register but x0 across `svc`.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x21",
            "blr x22",
            "brk #1",
            "2:",
            inlateout("x0") a => returned,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x8") call.number,
            in("x21") argument,
            in("x22") run,
        );
    }
    returned
}

/// See the x86_64 twin.
///
/// # Safety
/// As there.
#[cfg(target_arch = "riscv64")]
unsafe fn call_onto_stack(
    call: Call,
    run: extern "C" fn(*const libc::c_void) -> !,
    argument: *const libc::c_void,
) -> i64 {
    let returned: i64;
    let [a, b, c, d, e] = call.arguments;
    // SAFETY: as on x86_64; the kernel preserves every register but a0 across `ecall`.
    unsafe {
        std::arch::asm!(
            "ecall",
            "bnez a0, 2f",
            "mv a0, s2",
            "jalr s3",
            "ebreak",
            "2:",
            inlateout("a0") a => returned,
            in("a1") b,
            in("a2") c,
            in("a3") d,
            in("a4") e,
            in("a7") call.number,
            in("s2") argument,
            in("s3") run,
        );
    }
    returned
}

#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
compile_error!(
    "no trampoline for a child's stack on this architecture: see the three in this file"
);

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::process::ExitStatusExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::launch::wait_for_end;

    static HAS_RUN: AtomicBool = AtomicBool::new(false);

    extern "C" fn note(_: libc::c_int) {
        HAS_RUN.store(true, Ordering::Relaxed);
    }

    extern "C" fn signal_itself(_: &()) -> ! {
        let opened = signals::set_mask(0).is_ok();
        // SAFETY: sends a signal to the process that asks.
        let sent = unsafe { libc::kill(process::own_pid(), libc::SIGUSR1) };
        process::exit_now(i32::from(opened && sent == 0))
    }

    /// From now on this thread, and what it starts, has no clone3.
    fn refuse_clone3() {
        let word = |code: u64, yes: u64, no: u64, operand: u64| {
            u64::from_ne_bytes({
                let mut bytes = [0; 8];
                bytes[..2].copy_from_slice(&u16::try_from(code).unwrap().to_ne_bytes());
                bytes[2] = u8::try_from(yes).unwrap();
                bytes[3] = u8::try_from(no).unwrap();
                bytes[4..].copy_from_slice(&u32::try_from(operand).unwrap().to_ne_bytes());
                bytes
            })
        };
        let refused = u64::from(libc::SECCOMP_RET_ERRNO) | libc::ENOSYS as u64;
        let program = [
            word(0x20, 0, 0, 0),
            word(0x15, 0, 1, libc::SYS_clone3 as u64),
            word(0x06, 0, 0, refused),
            word(0x06, 0, 0, u64::from(libc::SECCOMP_RET_ALLOW)),
        ];
        process::no_new_privileges().unwrap();
        process::install_filter(&program, 0).unwrap();
    }

    #[test]
    fn a_child_made_without_clone3_runs_no_handler_of_its_parent() {
        // SAFETY: all-zero is a valid sigaction: an empty mask, no flags.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the action is whole and its handler stores one flag; the old one is not asked for.
        let set = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut()) };
        assert_eq!(set, 0);
        // A filter is the thread's own.
        let behind_filter = std::thread::spawn(|| {
            refuse_clone3();
            let blocked = signals::Blocked::new().unwrap();
            let mut stack = Stack::new().unwrap();
            let child = stack.spawn(&blocked, Manner::default(), signal_itself, &());
            let below = spawn_below(&blocked, Manner::default(), signal_itself, &());
            [child.unwrap(), below.unwrap()]
        });
        for child in behind_filter.join().unwrap() {
            let end = wait_for_end(child.pidfd.as_fd()).unwrap();
            assert_eq!(end.signal(), Some(libc::SIGUSR1), "{end:?}");
        }
        assert!(!HAS_RUN.load(Ordering::Relaxed));
        assert!(signals::is_handled(libc::SIGUSR1), "our own table stays");
    }
}
