//! The attributes of the calling process, by the kernel's own calls: the C library's versions of
//! some of them speak to all threads, or keep state, which a child that shares memory must not.
#![allow(unsafe_code, reason = "system calls on plain numbers and live structs")]

use std::ffi::CStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::process::{Pid, PidfdFlags};
use syscalls::Sysno;

use super::{Errno, check, done};

/// Ends this process at once: no destructors, no flushing.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: exit_group(2) takes a number and does not return.
    unsafe { libc::_exit(code) }
}

pub(crate) fn own_pid() -> i32 {
    // SAFETY: getpid(2) takes nothing and cannot fail.
    let pid = unsafe { libc::syscall(libc::SYS_getpid) };
    i32::try_from(pid).unwrap_or(0)
}

pub(crate) fn parent_pid() -> i32 {
    // SAFETY: getppid(2) takes nothing and cannot fail.
    let pid = unsafe { libc::syscall(libc::SYS_getppid) };
    i32::try_from(pid).unwrap_or(0)
}

/// This process by a descriptor.
pub(crate) fn own_pidfd() -> Result<OwnedFd, Errno> {
    let own = Pid::from_raw(own_pid()).ok_or(Errno(libc::ESRCH))?;
    Ok(rustix::process::pidfd_open(own, PidfdFlags::empty())?)
}

/// The number, in our own PID namespace, of the process behind a pidfd (`PIDFD_GET_INFO` of `ioctl(2)`,
/// Linux 6.13). `ESRCH` once it is reaped, `ENOTTY` on older kernels.
pub(crate) fn pid_behind(pidfd: BorrowedFd<'_>) -> Result<i32, Errno> {
    /// The first version of `struct pidfd_info`.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        pid: u32,
        rest: [u32; 11],
    }
    const PIDFD_GET_INFO: libc::c_ulong = 0xc040_ff0b;
    const { assert!(size_of::<Info>() == 0x40) };
    let mut info = Info::default();
    // SAFETY: the kernel fills at most as many bytes of the live struct as the number of the request says.
    done(unsafe {
        libc::syscall(
            libc::SYS_ioctl,
            pidfd.as_raw_fd(),
            PIDFD_GET_INFO,
            &raw mut info,
        )
    })?;
    i32::try_from(info.pid).map_err(|_| Errno(libc::ESRCH))
}

/// Claims that this process has one thread only.
pub(crate) fn is_single_threaded() -> Result<bool, Errno> {
    // Does nothing, and is refused to a process with threads (`unshare(2)`).
    match unshare(u64::from(libc::CLONE_THREAD.unsigned_abs())) {
        Ok(()) => return Ok(true),
        Err(Errno(libc::EINVAL)) => return Ok(false),
        // A filter around us that refuses the call as such.
        Err(_) => {}
    }
    let tasks = fs::read_dir("/proc/self/task")
        .map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EIO)))?;
    Ok(tasks.count() == 1)
}

pub(crate) fn new_session() -> Result<(), Errno> {
    // SAFETY: setsid(2) takes nothing.
    done(unsafe { libc::syscall(libc::SYS_setsid) })
}

/// Makes descriptor 0 the controlling terminal of the session this process leads.
pub(crate) fn take_terminal() -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes a number, not a pointer.
    done(unsafe { libc::syscall(libc::SYS_ioctl, 0, libc::TIOCSCTTY, 0) })
}

/// Gives up the controlling terminal, at descriptor 0, of the session this process leads: another session can have it
/// then (`TIOCNOTTY` of `ioctl_tty(2)`). The group in its foreground is sent SIGHUP and SIGCONT.
///
/// # Errors
/// `ENOTTY` where descriptor 0 is no terminal, or not that of this session.
pub fn leave_terminal() -> std::io::Result<()> {
    // SAFETY: TIOCNOTTY takes a number, not a pointer.
    Ok(done(unsafe {
        libc::syscall(libc::SYS_ioctl, 0, libc::TIOCNOTTY, 0)
    })?)
}

/// Makes this process the leader of a new process group, and that the foreground one of the terminal at
/// descriptor 0.
pub(crate) fn take_foreground() -> Result<(), Errno> {
    // SAFETY: setpgid(2) takes numbers; zeros are this process itself.
    done(unsafe { libc::syscall(libc::SYS_setpgid, 0, 0) })?;
    // A group in the background is stopped for asking, unless it blocks SIGTTOU.
    let before = super::signals::set_mask(super::signals::ALL)?;
    let group = own_pid();
    // SAFETY: TIOCSPGRP reads a live pid_t.
    let taken =
        done(unsafe { libc::syscall(libc::SYS_ioctl, 0, libc::TIOCSPGRP, &raw const group) });
    super::signals::set_mask(before)?;
    taken
}

/// The signal that has stopped the child `pid` since this was last asked.
pub(crate) fn stopped_by(pid: i32) -> Option<i32> {
    // SAFETY: siginfo_t is plain data, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WSTOPPED | libc::WNOHANG;
    // SAFETY: waitid(2) fills a live siginfo_t, and takes no resource usage.
    done(unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PID,
            pid,
            &raw mut info,
            options,
            std::ptr::null::<libc::rusage>(),
        )
    })
    .ok()?;
    // SAFETY: filled for a child, or zero as it was: the pid is there in both cases.
    let found = unsafe { info.si_pid() };
    // SAFETY: as above; the status of a stopped child is a signal.
    let signal = unsafe { info.si_status() };
    (found != 0).then_some(signal)
}

pub(crate) fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the pointer and the length are those of one live slice of gid_t.
    done(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
}

/// Real, effective and saved group at once.
pub(crate) fn set_gid(gid: u32) -> Result<(), Errno> {
    // SAFETY: plain numbers.
    done(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })
}

/// Real, effective and saved user at once.
pub(crate) fn set_uid(uid: u32) -> Result<(), Errno> {
    // SAFETY: plain numbers.
    done(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

pub(crate) fn set_umask(mask: u32) {
    // SAFETY: umask(2) takes a number and cannot fail.
    unsafe { libc::syscall(libc::SYS_umask, mask) };
}

/// `resource` is a `RLIMIT_*` number.
pub(crate) fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = [soft, hard];
    // SAFETY: struct rlimit64 is two u64s; the old limit is not asked for; pid 0 is ourselves.
    done(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            limit.as_ptr(),
            std::ptr::null::<u64>(),
        )
    })
}

pub(crate) fn set_nice(nice: i8) -> Result<(), Errno> {
    // SAFETY: plain numbers; 0 is ourselves.
    done(unsafe {
        libc::syscall(
            libc::SYS_setpriority,
            libc::PRIO_PROCESS,
            0,
            i32::from(nice),
        )
    })
}

/// `policy` is a `SCHED_*` number.
pub(crate) fn set_scheduler(policy: i32, priority: i32) -> Result<(), Errno> {
    // SAFETY: struct sched_param is one int, which lives for the call; 0 is ourselves.
    done(unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) })
}

/// Bit n of the mask is CPU n.
pub(crate) fn set_affinity(mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: pointer and size are those of one live slice; 0 is ourselves.
    done(unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            0,
            size_of_val(mask),
            mask.as_ptr(),
        )
    })
}

/// `value` is class and priority as ioprio_set(2) packs them.
pub(crate) fn set_io_priority(value: u32) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: plain numbers; 0 is ourselves.
    done(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) })
}

pub(crate) fn set_timer_slack(nanoseconds: u64) -> Result<(), Errno> {
    prctl(libc::PR_SET_TIMERSLACK, nanoseconds, 0)
}

pub(crate) fn die_with_parent() -> Result<(), Errno> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0)
}

/// Takes [`die_with_parent`] back.
pub(crate) fn outlive_parent() -> Result<(), Errno> {
    prctl(libc::PR_SET_PDEATHSIG, 0, 0)
}

pub(crate) fn no_new_privileges() -> Result<(), Errno> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
}

/// What `ps` and `/proc/PID/comm` call this process; 15 bytes of it.
pub(crate) fn set_name(name: &CStr) -> Result<(), Errno> {
    // SAFETY: PR_SET_NAME reads up to 16 bytes of a NUL-terminated string, which outlives the call.
    done(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) })
}

pub(crate) fn set_dumpable(dumpable: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, u64::from(dumpable), 0)
}

pub(crate) fn is_dumpable() -> Result<bool, Errno> {
    // SAFETY: PR_GET_DUMPABLE takes no pointer.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_GET_DUMPABLE, 0, 0, 0, 0) })
        .map(|answer| answer == 1)
}

/// A new session keyring that nothing else holds.
pub(crate) fn join_new_keyring() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    done(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    })
}

/// What is in the keyring of our user is found through our session keyring too.
pub(crate) fn link_user_keyring() -> Result<(), Errno> {
    const KEYCTL_LINK: i32 = 8;
    const KEY_SPEC_SESSION_KEYRING: i32 = -3;
    const KEY_SPEC_USER_KEYRING: i32 = -4;
    // SAFETY: plain numbers.
    done(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_LINK,
            KEY_SPEC_USER_KEYRING,
            KEY_SPEC_SESSION_KEYRING,
        )
    })
}

pub(crate) fn set_hostname(name: &CStr) -> Result<(), Errno> {
    // SAFETY: pointer and length are those of one live string.
    done(unsafe { libc::syscall(libc::SYS_sethostname, name.as_ptr(), name.to_bytes().len()) })
}

pub(crate) fn set_domainname(name: &CStr) -> Result<(), Errno> {
    // SAFETY: pointer and length are those of one live string.
    done(unsafe {
        libc::syscall(
            libc::SYS_setdomainname,
            name.as_ptr(),
            name.to_bytes().len(),
        )
    })
}

/// Moves this process into new namespaces (`CLONE_NEW*`).
pub(crate) fn unshare(namespaces: u64) -> Result<(), Errno> {
    // SAFETY: a plain number; namespaces do not touch memory.
    done(unsafe { libc::syscall(libc::SYS_unshare, namespaces) })
}

/// Moves this process into the namespace behind a descriptor, which has to be of this kind
/// (`CLONE_NEW*`); a PID or time namespace takes in its children only.
pub(crate) fn join_namespace(namespace: BorrowedFd<'_>, kind: i32) -> Result<(), Errno> {
    // SAFETY: plain numbers; namespaces do not touch memory.
    done(unsafe { libc::syscall(libc::SYS_setns, namespace.as_raw_fd(), kind) })
}

/// Installs a seccomp program, one `struct sock_filter` per number; the flags are
/// `SECCOMP_FILTER_FLAG_*` that ask for no listener.
pub(crate) fn install_filter(program: &[u64], flags: u32) -> Result<(), Errno> {
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const u64,
    }
    let program = Program {
        length: u16::try_from(program.len()).map_err(|_| Errno(libc::E2BIG))?,
        filter: program.as_ptr(),
    };
    // SAFETY: struct sock_fprog: the length is that of the live slice, whose elements have the
    // size and alignment of struct sock_filter (8 bytes); the kernel checks the instructions.
    done(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    })
}

pub(crate) fn prctl(operation: i32, second: u64, third: u64) -> Result<(), Errno> {
    // SAFETY: every operation of this crate's callers takes numbers, not pointers.
    done(unsafe { libc::syscall(libc::SYS_prctl, operation, second, third, 0, 0) })
}

/// The current signal is sent to `pid`. Leaves `errno` alone.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: plain numbers.
    unsafe { syscalls::syscall!(Sysno::kill, pid, signal) }?;
    Ok(())
}

/// A child that has ended and is still to be reaped; `None` when all that are left run. Leaves `errno`
/// alone.
pub(crate) fn ended_child() -> Result<Option<i32>, Errno> {
    // SAFETY: siginfo_t is plain data, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: waitid(2) fills a live siginfo_t, and takes no resource usage.
    unsafe {
        syscalls::syscall!(
            Sysno::waitid,
            libc::P_ALL,
            0,
            &raw mut info,
            options,
            std::ptr::null::<libc::rusage>()
        )
    }?;
    // SAFETY: filled for a child, or zero as it was: the pid is there in both cases.
    let pid = unsafe { info.si_pid() };
    Ok((pid != 0).then_some(pid))
}
