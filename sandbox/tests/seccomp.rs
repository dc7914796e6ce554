//! Filters installed for real, in children of this test, and what the kernel then answers.
#![allow(
    unsafe_code,
    reason = "raw system calls by number, which is what a filter is about"
)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "fixtures of tests, which clippy does not take for tests"
)]

use sandbox::config::{
    AddressFamilies, Architectures, Refusal, RestrictNamespaces, SystemCalls, Walls,
};
use sandbox::host::Host;
use sandbox::seccomp::{Program, compile, default_filter};

/// No wall but those of system calls, and the default box's list.
fn walls() -> Walls {
    Walls {
        no_new_privileges: true,
        capability_bounding_set: vec![],
        lock_personality: true,
        memory_deny_write_execute: true,
        restrict_realtime: true,
        restrict_suid_sgid: true,
        restrict_namespaces: RestrictNamespaces::All,
        restrict_address_families: Some(AddressFamilies::Only(vec![1, 2, 10])),
        system_calls: SystemCalls {
            filter: Some(default_filter()),
            architectures: Architectures::NATIVE,
            ..SystemCalls::default()
        },
        ..Walls::bare()
    }
}

fn program(walls: &Walls) -> Option<Program> {
    let host = Host::detect().unwrap();
    if !host.seccomp {
        eprintln!("skipped: this kernel takes no filters");
        return None;
    }
    let mut programs = compile(walls, &host).unwrap();
    assert_eq!(programs.len(), 1);
    programs.pop().map(|filter| filter.program)
}

/// How a child ended that installed the filter and ran `body`.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Code(i32),
    Signal(i32),
}

/// Code with which a child says that the filter was not taken.
const NOT_INSTALLED: i32 = 250;

/// What a child does behind the filter; the errno it saw.
type Body = fn() -> i32;

fn behind(program: &Program, body: Body) -> End {
    // SAFETY: the child makes system calls only (the filter is made already) and leaves by _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let code = if install(program) {
            body()
        } else {
            NOT_INSTALLED
        };
        // SAFETY: _exit has no requirement.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: the status is a local; the pid is our child's.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    if libc::WIFSIGNALED(status) {
        End::Signal(libc::WTERMSIG(status))
    } else {
        End::Code(libc::WEXITSTATUS(status))
    }
}

fn install(program: &Program) -> bool {
    let fprog = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(0),
        filter: program.words().as_ptr().cast_mut().cast(),
    };
    // SAFETY: all five arguments are given; no_new_privs takes 1, 0, 0, 0.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return false;
    }
    // SAFETY: the kernel reads `len` filters of 8 bytes from the vector, which lives on.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, 1, 0, &raw const fprog) };
    result == 0
}

/// The errno of a call, 0 if it went through.
fn call(number: libc::c_long, arguments: [usize; 4]) -> i32 {
    let [a, b, c, d] = arguments;
    // SAFETY: the tests below give arguments that the filter refuses or that are harmless: null
    // pointers, closed descriptors, no flags.
    let result = unsafe { libc::syscall(number, a, b, c, d) };
    if result >= 0 {
        return 0;
    }
    std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(255)
}

const X32: libc::c_long = 0x4000_0000;

#[test]
fn what_is_listed_works_and_what_is_not_is_refused() {
    let Some(program) = program(&walls()) else {
        return;
    };
    let cases: &[(&str, Body, i32)] = &[
        ("getpid", || call(libc::SYS_getpid, [0; 4]), 0),
        ("mount", || call(libc::SYS_mount, [0; 4]), libc::EPERM),
        ("bpf", || call(libc::SYS_bpf, [0; 4]), libc::EPERM),
        (
            "perf",
            || call(libc::SYS_perf_event_open, [0; 4]),
            libc::EPERM,
        ),
        ("keyctl", || call(libc::SYS_keyctl, [0; 4]), libc::EPERM),
        (
            "io_uring",
            || call(libc::SYS_io_uring_setup, [1, 0, 0, 0]),
            libc::ENOSYS,
        ),
        (
            "userfaultfd",
            || call(libc::SYS_userfaultfd, [0; 4]),
            libc::EPERM,
        ),
        ("kexec", || call(libc::SYS_kexec_load, [0; 4]), libc::EPERM),
        ("newer", || call(999, [0; 4]), libc::ENOSYS),
        (
            "unshare user",
            || call(libc::SYS_unshare, [0x1000_0000, 0, 0, 0]),
            libc::EPERM,
        ),
        (
            "unshare files",
            || call(libc::SYS_unshare, [0x400, 0, 0, 0]),
            0,
        ),
        (
            "clone user",
            || call(libc::SYS_clone, [0x1000_0011, 0, 0, 0]),
            libc::EPERM,
        ),
        ("clone3", || call(libc::SYS_clone3, [0; 4]), libc::ENOSYS),
        ("setns", || call(libc::SYS_setns, [0, 0, 0, 0]), libc::EPERM),
        (
            "packet socket",
            || call(libc::SYS_socket, [17, 3, 0, 0]),
            libc::EAFNOSUPPORT,
        ),
        ("unix socket", || call(libc::SYS_socket, [1, 1, 0, 0]), 0),
        (
            "fifo policy",
            || call(libc::SYS_sched_setscheduler, [0, 1, 0, 0]),
            libc::EPERM,
        ),
        (
            "suid",
            || call(libc::SYS_fchmodat, [99, 0, 0o4755, 0]),
            libc::EPERM,
        ),
        (
            "no suid",
            || call(libc::SYS_fchmodat, [99, 0, 0o755, 0]),
            libc::EFAULT,
        ),
        (
            "personality",
            || call(libc::SYS_personality, [8, 0, 0, 0]),
            libc::EPERM,
        ),
        (
            "ask personality",
            || call(libc::SYS_personality, [0xffff_ffff, 0, 0, 0]),
            0,
        ),
        (
            "wx",
            || call(libc::SYS_mmap, [0, 4096, 7, 0x22]),
            libc::EPERM,
        ),
        (
            "make executable",
            || call(libc::SYS_mprotect, [0, 0, 5, 0]),
            libc::EPERM,
        ),
        (
            "TIOCSTI",
            || call(libc::SYS_ioctl, [0, 0x5412, 0, 0]),
            libc::EPERM,
        ),
        (
            "TIOCSTI high",
            || call(libc::SYS_ioctl, [0, 0x5412 | 1 << 32, 0, 0]),
            libc::EPERM,
        ),
        (
            "TIOCLINUX",
            || call(libc::SYS_ioctl, [0, 0x541c, 0, 0]),
            libc::EPERM,
        ),
    ];
    for (name, body, errno) in cases {
        assert_eq!(behind(&program, *body), End::Code(*errno), "{name}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_other_two_doors_of_x86_are_shut() {
    let Some(program) = program(&walls()) else {
        return;
    };
    let x32 = || call(libc::SYS_getpid | X32, [0; 4]);
    assert_eq!(behind(&program, x32), End::Code(libc::ENOSYS));
    // getpid is 20 there.
    assert_eq!(behind(&program, || int80(20)), End::Code(libc::EPERM));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_filter_may_kill() {
    let mut walls = walls();
    walls.system_calls.refusal = Refusal::KillProcess;
    let Some(program) = program(&walls) else {
        return;
    };
    let mount = || call(libc::SYS_mount, [0; 4]);
    assert_eq!(behind(&program, mount), End::Signal(libc::SIGSYS));
    assert_eq!(behind(&program, || int80(20)), End::Signal(libc::SIGSYS));
    let newer = || call(999, [0; 4]);
    assert_eq!(behind(&program, newer), End::Code(libc::ENOSYS));
}

/// A 32-bit call without arguments; the errno, 0 if it went through.
#[cfg(target_arch = "x86_64")]
fn int80(number: u32) -> i32 {
    let result: i32;
    // SAFETY: the 32-bit entry keeps all registers but eax (r8 to r11 may be cleared, which is
    // declared); calls without arguments read no memory.
    unsafe {
        core::arch::asm!(
            "int 0x80",
            inlateout("eax") number => result,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    if result < 0 { -result } else { 0 }
}
