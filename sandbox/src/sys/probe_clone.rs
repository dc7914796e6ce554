//! Questions to the kernel that only a system call answers: may we make these namespaces, is there
//! landlock, is there seccomp.
#![allow(
    unsafe_code,
    reason = "raw system calls that neither nix nor rustix wrap"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

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
    has_seccomp_action(libc::SECCOMP_RET_ERRNO)
}

/// Claims that filters may answer with this action.
pub(crate) fn has_seccomp_action(action: u32) -> bool {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_ulong = 2;
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

/// Claims that no call reaches a keyring: the kernel has none, or a filter around us, which goes on to
/// whomever we start, refuses all three.
pub(crate) fn are_keyrings_shut() -> bool {
    let shut = |errno: Option<i32>| matches!(errno, Some(libc::ENOSYS | libc::EPERM));
    const NO_SUCH_OPERATION: libc::c_long = -1;
    // SAFETY: plain numbers; there is no such operation, which the kernel answers with EOPNOTSUPP.
    let keyctl = unsafe { libc::syscall(libc::SYS_keyctl, NO_SUCH_OPERATION, 0, 0, 0, 0) };
    if keyctl != -1 || !shut(io::Error::last_os_error().raw_os_error()) {
        return false;
    }
    let nothing = std::ptr::null::<libc::c_void>();
    for call in [libc::SYS_add_key, libc::SYS_request_key] {
        // SAFETY: without a type, which is read first, the kernel answers EFAULT and looks at nothing else.
        let answer = unsafe { libc::syscall(call, nothing, nothing, nothing, 0, 0) };
        if answer != -1 || !shut(io::Error::last_os_error().raw_os_error()) {
            return false;
        }
    }
    true
}

/// What trees of mounts are made with.
const MOUNT_CALLS: [(&str, libc::c_long); 5] = [
    ("fsopen", libc::SYS_fsopen),
    ("open_tree", libc::SYS_open_tree),
    ("move_mount", libc::SYS_move_mount),
    ("pivot_root", libc::SYS_pivot_root),
    ("umount2", libc::SYS_umount2),
];
/// The first call for mounts that a filter refuses, and with what, asked by a child in new namespaces of these
/// kinds, in which it has `CAP_SYS_ADMIN`.
///
/// # Errors
/// The namespaces cannot be made, so that nothing could be asked.
pub(crate) fn refused_mount_call(
    flags: libc::c_ulong,
) -> io::Result<Option<(&'static str, io::Error)>> {
    let ask = |calls: &[(&str, libc::c_long)]| {
        end_in_new_namespaces(flags, || {
            let mut refusals = calls.iter().filter_map(|(_, call)| refusal(*call));
            refusals.next().unwrap_or(0)
        })
    };
    // One child is enough where none is; a filter that kills tells of a call only by itself.
    if ask(&MOUNT_CALLS)? == 0 {
        return Ok(None);
    }
    for call in &MOUNT_CALLS {
        let ended = ask(std::slice::from_ref(call))?;
        if ended != 0 {
            return Ok(Some((call.0, io::Error::from_raw_os_error(ended))));
        }
    }
    Ok(None)
}

/// Asks for a call of [`MOUNT_CALLS`] in a way in which it does nothing. Who has `CAP_SYS_ADMIN` where it is passes
/// what the kernel asks for before it reads anything: `EPERM` and `ENOSYS` are a filter's.
fn refusal(call: libc::c_long) -> Option<i32> {
    const NOBODY: libc::c_long = -1;
    let nothing = std::ptr::null::<libc::c_void>();
    let first = match call {
        libc::SYS_open_tree | libc::SYS_move_mount => NOBODY,
        _ => 0,
    };
    // SAFETY: descriptors that nobody has, null pointers for every path, and no size: the kernel answers
    // EFAULT, EBADF or EINVAL and does nothing.
    let answer = unsafe { libc::syscall(call, first, nothing, nothing, nothing, 0, 0) };
    let errno = io::Error::last_os_error().raw_os_error();
    errno.filter(|errno| answer == -1 && [libc::ENOSYS, libc::EPERM].contains(errno))
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
    let ended = end_in_new_namespaces(flags, || {
        body(prepared).map_or_else(|error| error.raw_os_error().unwrap_or(255), |()| 0)
    });
    match ended? {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// What a child in new namespaces of these kinds ends with; the error is the refusal of the clone.
fn end_in_new_namespaces(flags: libc::c_ulong, act: impl FnOnce() -> i32) -> io::Result<i32> {
    // No exit signal: only a wait with __WALL sees this child, so no reaper's sweep takes it away.
    // SAFETY: without CLONE_VM the child gets a copy of the memory, so a null stack means to go on
    // with the copy of this one; no flag that would use the other pointers is set. The child makes
    // system calls only and leaves by _exit, so no lock that another thread held is needed.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    if pid == 0 {
        let code = act();
        // SAFETY: _exit has no requirement; it runs no destructors, which is what a copy needs.
        unsafe { libc::_exit(code) }
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    wait(libc::pid_t::try_from(pid).map_err(io::Error::other)?)
}

/// What a probe's child needs, made before the clone because it may not allocate.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// The texts for `uid_map` and `gid_map`; empty where there is no user namespace.
    pub(crate) uid_map: String,
    pub(crate) gid_map: String,
    /// The owners of an idmapped mount.
    pub(crate) user_namespace: Option<OwnedFd>,
}

/// A user namespace with this map of users and groups, held by nothing but the descriptor.
pub(crate) fn user_namespace(map: &str) -> io::Result<OwnedFd> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let flags = libc::CLONE_NEWUSER;
    // SAFETY: as in `in_new_namespaces`.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    if pid == 0 {
        // Waits for the end of the pipe, which it would itself hold open.
        drop(write);
        let mut byte = [0_u8];
        let ended = rustix::io::read(&read, &mut byte);
        // SAFETY: as in `in_new_namespaces`.
        unsafe { libc::_exit(i32::from(ended.is_err())) }
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    let process = format!("/proc/{pid}");
    let made = std::fs::write(format!("{process}/uid_map"), map)
        .and_then(|()| std::fs::write(format!("{process}/gid_map"), map))
        .and_then(|()| std::fs::File::open(format!("{process}/ns/user")));
    drop(write);
    let ended = wait(libc::pid_t::try_from(pid).map_err(io::Error::other)?);
    ended.and(made).map(OwnedFd::from)
}

/// Translates the owners of a mount that is not attached yet (`mount_setattr(2)`).
pub(crate) fn idmap(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(user_namespace.as_raw_fd().unsigned_abs()),
    };
    // SAFETY: the path is a constant, the struct is live and of the size passed, and the descriptor
    // named in it is borrowed for the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    answered(answer)
}

/// Makes a child that is born in this group and ends (`CLONE_INTO_CGROUP`, Linux 5.7).
pub(crate) fn into_cgroup(group: BorrowedFd<'_>) -> io::Result<()> {
    // libc's constant is an int, into which it does not fit.
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: all fields are numbers, for which zero is a value: none wanted.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
    // SAFETY: the struct is live and of the size passed; without CLONE_VM and a stack the child goes
    // on with a copy of ours, and leaves at once. No exit signal: see `in_new_namespaces`.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    };
    if pid == 0 {
        // SAFETY: as in `in_new_namespaces`.
        unsafe { libc::_exit(0) }
    }
    answered(pid)?;
    wait(libc::pid_t::try_from(pid).map_err(io::Error::other)?).map(drop)
}

fn answered(answer: libc::c_long) -> io::Result<()> {
    match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Asks for a child of no size, which the kernel refuses (`EINVAL`) and a filter does not know.
pub(crate) fn has_clone3() -> bool {
    // SAFETY: a size of 0 is refused before the null pointer is looked at.
    let answer =
        answered(unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0_usize) });
    answer.is_err_and(|error| error.raw_os_error() != Some(libc::ENOSYS))
}

/// Closes nothing, by `close_range(2)`.
pub(crate) fn has_close_range() -> io::Result<()> {
    // SAFETY: plain numbers; no descriptor has the highest number of all.
    answered(unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0) })
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
