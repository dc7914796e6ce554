//! `bpf(2)`: programs that decide about device nodes, attached to a cgroup (Linux 4.15).
//!
//! Descriptors that the kernel makes here are close-on-exec by themselves.
#![allow(unsafe_code, reason = "one system call with structs of ours")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{Errno, check};

// `enum bpf_cmd`, `bpf_prog_type`, `bpf_attach_type` of include/uapi/linux/bpf.h.
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// Programs of the groups below are asked too.
const ALLOW_MULTI: u32 = 2;
/// `BPF_CGROUP_MAX_PROGS`.
const MOST_PROGRAMS: usize = 64;

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes what it knows of it.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// For `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct Attach {
    target: RawFd,
    program: RawFd,
    kind: u32,
    flags: u32,
}

/// For `BPF_PROG_QUERY`.
#[repr(C)]
struct Query {
    target: RawFd,
    kind: u32,
    flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// For `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// Loads a program that is asked before a device node is opened or made. Each instruction is the
/// kernel's `struct bpf_insn` in memory order.
pub(crate) fn load_device_program(code: &[u64]) -> Result<OwnedFd, Errno> {
    let mut attributes = Load {
        kind: TYPE_CGROUP_DEVICE,
        instructions: u32::try_from(code.len()).map_err(|_| Errno(libc::E2BIG))?,
        code: code.as_ptr().expose_provenance() as u64,
        // The program calls no function of the kernel's, so that no licence is asked for.
        license: c"".as_ptr().expose_provenance() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"herd_devices\0\0\0\0",
    };
    let fd = call(PROG_LOAD, &mut attributes)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds the program to those that are asked for processes of the group and of all below it: a
/// node is open if every one of them says so.
pub(crate) fn attach(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attributes = Attach {
        target: group.as_raw_fd(),
        program: program.as_raw_fd(),
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    call(PROG_ATTACH, &mut attributes).map(drop)
}

pub(crate) fn detach(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attributes = Attach {
        target: group.as_raw_fd(),
        program: program.as_raw_fd(),
        kind: ATTACH_CGROUP_DEVICE,
        flags: 0,
    };
    call(PROG_DETACH, &mut attributes).map(drop)
}

/// The ids of the programs attached to this very group. `EINVAL` or `ENOSYS` on a kernel that has
/// no such programs.
pub(crate) fn attached(group: BorrowedFd<'_>) -> Result<Vec<u32>, Errno> {
    let mut ids = vec![0u32; MOST_PROGRAMS];
    let mut attributes = Query {
        target: group.as_raw_fd(),
        kind: ATTACH_CGROUP_DEVICE,
        flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr().expose_provenance() as u64,
        count: u32::try_from(ids.len()).unwrap_or(0),
        padding: 0,
    };
    call(PROG_QUERY, &mut attributes)?;
    ids.truncate(usize::try_from(attributes.count).unwrap_or(0));
    Ok(ids)
}

pub(crate) fn program_by_id(id: u32) -> Result<OwnedFd, Errno> {
    let mut attributes = ById {
        id,
        next: 0,
        flags: 0,
    };
    let fd = call(PROG_GET_FD_BY_ID, &mut attributes)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attributes whose pointers, if any, are to memory that lives while the call lasts.
trait Attributes {}
impl Attributes for Load {}
impl Attributes for Attach {}
impl Attributes for Query {}
impl Attributes for ById {}

fn call<A: Attributes>(command: libc::c_int, attributes: &mut A) -> Result<RawFd, Errno> {
    // SAFETY: the struct is live, exclusively ours, plain integers, without padding, and of the
    // size passed; the kernel takes what is missing at its end as 0. Addresses in it are those
    // of live memory of the length told beside them, written to (`ids`) only where it is ours to
    // write.
    let answer = check(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<A>(),
        )
    })?;
    RawFd::try_from(answer).map_err(|_| Errno(libc::EOVERFLOW))
}
