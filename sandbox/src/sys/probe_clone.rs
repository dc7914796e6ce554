//! Questions to the kernel that only a system call answers: may we make these namespaces, is there
//! landlock, is there seccomp.
#![allow(
    unsafe_code,
    reason = "raw system calls that neither nix nor rustix wrap"
)]

use std::io;

/// The kernel's landlock version, 0 where there is none (`landlock_create_ruleset(2)`).
pub(crate) fn landlock_abi() -> u32 {
    const LANDLOCK_CREATE_RULESET_VERSION: libc::c_ulong = 1;
    // SAFETY: with LANDLOCK_CREATE_RULESET_VERSION the attribute has to be null and its size 0, as
    // they are here; the call then only returns a number and makes no descriptor.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

/// Claims that the kernel takes seccomp filters (`seccomp(2)`, `SECCOMP_GET_ACTION_AVAIL`).
pub(crate) fn has_seccomp_filter() -> bool {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_ulong = 2;
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the third argument has to point to a u32 that lives through the call: it is a local;
    // the flags have to be 0, as they are.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_GET_ACTION_AVAIL,
            0_usize,
            std::ptr::from_ref(&action),
        )
    };
    answer == 0
}

/// Claims that a process may ask for its session keyring (`keyctl(2)`): the kernel has keys, and no
/// filter of a container's stands before them.
pub(crate) fn has_keyrings() -> bool {
    const KEYCTL_GET_KEYRING_ID: libc::c_long = 0;
    const KEY_SPEC_SESSION_KEYRING: libc::c_long = -3;
    const DO_NOT_CREATE: libc::c_long = 0;
    // SAFETY: plain numbers; without the wish to create one the call only gives a serial number.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_GET_KEYRING_ID,
            KEY_SPEC_SESSION_KEYRING,
            DO_NOT_CREATE,
        )
    };
    let refused = [Some(libc::ENOSYS), Some(libc::EPERM), Some(libc::EACCES)];
    answer >= 0 || !refused.contains(&io::Error::last_os_error().raw_os_error())
}

/// Makes a child in new namespaces of these kinds (`CLONE_NEW*`) that does `body` and ends, and
/// reports the refusal of the clone or the errno with which `body` ended.
///
/// `body` runs in a copy of a process that may have had other threads, so it is limited to what a
/// `fn` without captures and with one pointer's worth of input can do: system calls.
pub(crate) fn in_new_namespaces(
    flags: libc::c_ulong,
    body: fn(&Prepared) -> io::Result<()>,
    prepared: &Prepared,
) -> io::Result<()> {
    // No exit signal: only a wait with __WALL sees this child, so no reaper's sweep takes it away.
    // SAFETY: without CLONE_VM the child gets a copy of the memory, so a null stack means to go on
    // with the copy of this one; no flag that would use the other pointers is set. The child makes
    // system calls only and leaves by _exit, so no lock that another thread held is needed.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    if pid == 0 {
        let code = body(prepared).map_or_else(|error| error.raw_os_error().unwrap_or(255), |()| 0);
        // SAFETY: _exit has no requirement; it runs no destructors, which is what a copy needs.
        unsafe { libc::_exit(code) }
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    match wait(pid)? {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// What a probe's child needs, made before the clone because it may not allocate.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// The texts for `uid_map` and `gid_map`; empty where there is no user namespace.
    pub(crate) uid_map: String,
    pub(crate) gid_map: String,
}

fn wait(pid: libc::pid_t) -> io::Result<i32> {
    loop {
        let mut status = 0;
        // SAFETY: the status has to be writable for the call: it is a local. The pid is our own
        // child's, which nobody else waits for.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        if waited == pid {
            return Ok(if libc::WIFEXITED(status) {
                libc::WEXITSTATUS(status)
            } else {
                libc::EINTR
            });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
