//! The loopback interface.
#![allow(unsafe_code, reason = "two ioctls on a live struct")]

use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{Errno, done};

/// `IFF_UP`, which `libc` has as an int.
const UP: libc::c_short = 1;

/// `struct ifreq` as these two ioctls use it.
#[repr(C)]
struct InterfaceFlags {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// Brings the loopback interface of the caller's network namespace up.
///
/// # Errors
/// As `socket(2)` and `SIOCSIFFLAGS` (netdevice(7)); `EPERM` without CAP_NET_ADMIN.
pub fn bring_loopback_up() -> std::io::Result<()> {
    loopback_up().map_err(Into::into)
}

/// Brings `lo` of this network namespace up.
pub(crate) fn loopback_up() -> Result<(), Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let mut request = InterfaceFlags {
        name: [0; libc::IFNAMSIZ],
        flags: 0,
        rest: [0; 22],
    };
    request.name[..2].copy_from_slice(b"lo");
    // SAFETY: the struct is live, begins with a NUL-terminated name and is as large as the
    // kernel's ifreq (40 bytes on 64-bit machines), which the kernel reads and writes whole.
    done(unsafe {
        libc::syscall(
            libc::SYS_ioctl,
            socket.as_raw_fd(),
            libc::SIOCGIFFLAGS,
            &raw mut request,
        )
    })?;
    request.flags |= UP;
    // SAFETY: as above.
    done(unsafe {
        libc::syscall(
            libc::SYS_ioctl,
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS,
            &raw const request,
        )
    })
}

const _: () = assert!(size_of::<InterfaceFlags>() == size_of::<libc::ifreq>());
