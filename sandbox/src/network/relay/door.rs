//! Where a relay listens.
#![forbid(unsafe_code)]

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::is_for;
use crate::config::{Port, Protocol};
use crate::network::{NetworkError, holder, settings};

/// A socket on `[::1]`, and the port of the box that it leads to.
#[derive(Debug)]
pub(in crate::network) struct Door {
    pub(super) socket: OwnedFd,
    pub(super) protocol: Protocol,
    pub(super) inside: u16,
}

/// Connections that wait until they are taken; the kernel's `net.core.somaxconn` may be less.
const BACKLOG: i32 = 1024;

/// Opens those of these ports that take a relay, all of them or none.
pub(in crate::network) fn open(ports: &[Port]) -> Result<Vec<Door>, NetworkError> {
    let mut doors = Vec::new();
    for port in ports.iter().filter(|port| is_for(port)) {
        for (number, inside) in port.on_host().zip(port.inside..) {
            let socket = listen(number, port.protocol).map_err(|source| {
                if source.kind() == io::ErrorKind::AddrInUse {
                    return NetworkError::PortInUse {
                        port: *port,
                        number,
                        by: holder::of(number, port.protocol),
                        source,
                    };
                }
                if source.kind() == io::ErrorKind::PermissionDenied {
                    return NetworkError::PortOfRoot {
                        port: *port,
                        first: settings::first_port_of_all(),
                    };
                }
                NetworkError::Relay {
                    port: *port,
                    source,
                }
            })?;
            doors.push(Door {
                socket,
                protocol: port.protocol,
                inside,
            });
        }
    }
    Ok(doors)
}

fn listen(number: u16, protocol: Protocol) -> io::Result<OwnedFd> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET6, kind, flags, None)?;
    if protocol == Protocol::Tcp {
        // Connections of the run before may still be remembered.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    let address = SocketAddrV6::new(Ipv6Addr::LOCALHOST, number, 0, 0);
    rustix::net::bind(&socket, &address)?;
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}
