//! Capability sets, without allocation.
#![allow(unsafe_code, reason = "capset on two live structs")]

use super::process::prctl;
use super::{Errno, done};

/// A set of capabilities: bit n is capability n.
pub(crate) type Set = u64;

/// Takes `capability` from the bounding set for good. A number the kernel does not know is
/// already absent.
pub(crate) fn drop_from_bounding_set(capability: u8) -> Result<(), Errno> {
    match prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0) {
        Err(Errno(libc::EINVAL)) => Ok(()),
        answer => answer,
    }
}

/// Permitted capabilities survive the next change of user.
pub(crate) fn keep_over_user_change() -> Result<(), Errno> {
    prctl(libc::PR_SET_KEEPCAPS, 1, 0)
}

pub(crate) fn raise_ambient(capability: u8) -> Result<(), Errno> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_RAISE as u64,
        u64::from(capability),
    )
}

pub(crate) fn clear_ambient() -> Result<(), Errno> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as u64,
        0,
    )
}

/// Replaces the secure bits, bit n as `capabilities(7)` numbers them.
pub(crate) fn set_secure_bits(bits: u64) -> Result<(), Errno> {
    prctl(libc::PR_SET_SECUREBITS, bits, 0)
}

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Which capabilities a process has, bit by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapabilitySets {
    pub permitted: u64,
    pub effective: u64,
}

/// Those of this process.
///
/// # Errors
/// What `capget(2)` answers: nothing, by the manual.
pub fn of_caller() -> std::io::Result<CapabilitySets> {
    let halves = read()?;
    let join = |of: fn(&Half) -> u32| u64::from(of(&halves[0])) | u64::from(of(&halves[1])) << 32;
    Ok(CapabilitySets {
        permitted: join(|half| half.permitted),
        effective: join(|half| half.effective),
    })
}

/// What this process is permitted.
pub(crate) fn permitted() -> Result<Set, Errno> {
    let halves = read()?;
    Ok(u64::from(halves[0].permitted) | u64::from(halves[1].permitted) << 32)
}

fn read() -> Result<[Half; 2], Errno> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut halves = [Half::default(); 2];
    // SAFETY: version 3 reads one header and writes two halves, both live.
    done(unsafe { libc::syscall(libc::SYS_capget, &raw const header, halves.as_mut_ptr()) })?;
    Ok(halves)
}

/// Replaces the sets of this process; effective is made equal to permitted.
pub(crate) fn set(permitted: Set, inheritable: Set) -> Result<(), Errno> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| Half {
        effective: low(permitted >> shift),
        permitted: low(permitted >> shift),
        inheritable: low(inheritable >> shift),
    };
    let halves = [half(0), half(32)];
    // SAFETY: version 3 reads one header and two halves, both live.
    done(unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) })
}

fn low(bits: u64) -> u32 {
    u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}
