//! The loopback interface, and which network namespace it is in.
#![allow(
    unsafe_code,
    reason = "two ioctls on a live struct, and a socket option that no crate has"
)]

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

/// The number of this network namespace, which no other has had or will have as long as the machine runs
/// (`SO_NETNS_COOKIE` of Linux 5.14).
pub(crate) fn namespace_cookie() -> Result<u64, Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of_val(&cookie)).unwrap_or(0);
    // SAFETY: the socket is open; the kernel writes at most `length` bytes to `cookie`, which is as long and lives, and the
    // length of what it wrote to `length`, which lives.
    done(unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            &raw mut cookie,
            &raw mut length,
        )
    })?;
    Ok(cookie)
}

const _: () = assert!(size_of::<InterfaceFlags>() == size_of::<libc::ifreq>());
