//! Whether what was asked of the kernel now holds, by trying it.

use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, Ipv4Addr, SocketAddrAny, SocketAddrUnix, SocketAddrV4, SocketFlags, SocketType,
    bind, connect, getsockname, socket_with,
};

use super::rights::{ABSTRACT_UNIX_SOCKETS, BIND_TCP, SIGNALS, ScopeSet, TcpRights};
use crate::sys::{Errno, files, process};

/// Something is let through that was to be denied.
const NOT_ENFORCED: Errno = Errno(libc::EOPNOTSUPP);

/// An abstract socket made before the rules hold, and so outside of them.
#[derive(Debug)]
pub(super) struct Outside(Option<(OwnedFd, SocketAddrAny)>);

impl Outside {
    pub(super) fn new(scopes: ScopeSet) -> Result<Self, Errno> {
        if scopes & ABSTRACT_UNIX_SOCKETS == 0 {
            return Ok(Self(None));
        }
        let socket = datagram_socket()?;
        // Bound to no name, it gets one that is free.
        bind(&socket, &SocketAddrUnix::new_unnamed())?;
        let address = getsockname(&socket)?;
        Ok(Self(Some((socket, address))))
    }
}

/// Fails where one of these is let: to list `/` (if `root_is_shut`), TCP on port 0 (which no rule
/// can grant), to connect to `outside`, to signal a parent outside.
pub(super) fn is_enforced(
    root_is_shut: bool,
    tcp: TcpRights,
    scopes: ScopeSet,
    outside: &Outside,
) -> Result<(), Errno> {
    if root_is_shut && files::open(c"/", libc::O_RDONLY | libc::O_DIRECTORY).is_ok() {
        return Err(NOT_ENFORCED);
    }
    if tcp != 0 && is_tcp_let(tcp)? {
        return Err(NOT_ENFORCED);
    }
    if let Outside(Some((_, address))) = outside
        && connect(&datagram_socket()?, address).is_ok()
    {
        return Err(NOT_ENFORCED);
    }
    // In a box the parent is its first process, which has set no rules for itself. (0: it is us.)
    let parent = process::parent_pid();
    if scopes & SIGNALS != 0 && parent != 0 && process::kill(parent, 0).is_ok() {
        return Err(NOT_ENFORCED);
    }
    Ok(())
}

/// Landlock is asked before the kernel looks whether the port makes sense.
fn is_tcp_let(tcp: TcpRights) -> Result<bool, Errno> {
    let made = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    );
    let socket = match made {
        // A kernel without IPv4.
        Err(rustix::io::Errno::AFNOSUPPORT) => return Ok(false),
        made => made?,
    };
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let answer = if tcp & BIND_TCP != 0 {
        bind(&socket, &address)
    } else {
        connect(&socket, &address)
    };
    Ok(answer != Err(rustix::io::Errno::ACCESS))
}

fn datagram_socket() -> Result<OwnedFd, Errno> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::DGRAM);
    Ok(socket_with(family, kind, SocketFlags::CLOEXEC, None)?)
}
