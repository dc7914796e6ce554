//! What the kernel remembers of connections, which outlives boxes and would lead the packets of the next one astray.
//!
//! Source: `linux/netfilter/nfnetlink_conntrack.h` of Linux 6.18.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netlink::{Frame, Netlink, attributes};
use super::nft::{attribute, nest};
use super::picture::attribute as find;
use crate::config::{Port, Protocol};

const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;

const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
/// So many are looked at whole, which is one walk through the kernel's table. Of more the kernel picks itself, by one walk
/// for each address and direction.
const FEW: u64 = 4096;

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Direction {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    destination_port: u16,
}

/// One connection that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    original: Direction,
    reply: Direction,
    /// What names it when it is to be forgotten.
    named: Vec<u8>,
}

/// Forgets all connections that these addresses have begun or answered. Where the kernel remembers none there is nothing to
/// do.
pub(super) fn forget(addresses: &[IpAddr]) -> io::Result<()> {
    let count = count();
    if addresses.is_empty() || count == 0 {
        return Ok(());
    }
    let questions = if count <= FEW {
        vec![vec![0; 4]]
    } else {
        let each = addresses.iter();
        each.flat_map(|address| [ORIGINAL, REPLY].map(|way| from(*address, way)))
            .collect()
    };
    forget_all(&questions, |entry| {
        addresses.contains(&entry.original.source) || addresses.contains(&entry.reply.source)
    })
}

/// Forgets what came to these ports of the host over UDP while they led nowhere: as long as somebody goes on sending, that
/// is where the packets would go on going.
pub(super) fn forget_ports(host: &mut Netlink, ports: &[Port]) -> io::Result<()> {
    let udp: Vec<&Port> = ports
        .iter()
        .filter(|port| port.protocol == Protocol::Udp)
        .collect();
    if udp.is_empty() || count() == 0 {
        return Ok(());
    }
    let own = host.own_addresses()?;
    forget_all(&[vec![0; 4]], |entry| {
        let to = entry.original;
        let is_of = |port: &&Port| {
            port.on_host().contains(&to.destination_port) && port.is_at(to.destination)
        };
        i32::from(to.protocol) == libc::IPPROTO_UDP
            && entry.reply.source == to.destination
            && own.contains(&to.destination)
            && udp.iter().any(is_of)
    })
}

/// How many the kernel remembers; where it does not say, many.
fn count() -> u64 {
    let count = fs::read_to_string(COUNT).ok();
    let count = count.and_then(|count| count.trim().parse().ok());
    count.unwrap_or(u64::MAX)
}

fn forget_all(questions: &[Vec<u8>], is_over: impl Fn(&Entry) -> bool) -> io::Result<()> {
    let mut socket = match Netlink::netfilter() {
        Err(error) if is_missing(&error) => return Ok(()),
        socket => socket?,
    };
    let mut over = Vec::new();
    for question in questions {
        let listed = socket.dump(GET, question, |frame| {
            over.extend(entry(&frame).filter(|entry| is_over(entry)));
        });
        match listed {
            Err(error) if is_missing(&error) => return Ok(()),
            listed => listed?,
        };
    }
    for entry in over {
        match socket.ask(DELETE, &entry.named) {
            // It has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            answer => answer?,
        }
    }
    Ok(())
}

/// No netfilter, or no `nf_conntrack_netlink` in it.
fn is_missing(error: &io::Error) -> bool {
    let missing = [libc::EPROTONOSUPPORT, libc::EOPNOTSUPP, libc::EINVAL];
    error
        .raw_os_error()
        .is_some_and(|errno| missing.contains(&errno))
}

fn family(address: IpAddr) -> u8 {
    let family = match address {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    u8::try_from(family).unwrap_or(0)
}

/// Asks for those of which `address` sends one direction. Kernels before 5.8 answer with all there are.
fn from(address: IpAddr, way: u16) -> Vec<u8> {
    const SOURCE_ADDRESS: u32 = 1;
    let mut bytes = vec![family(address), 0, 0, 0];
    nest(&mut bytes, way, |bytes| {
        nest(bytes, 1, |bytes| match address {
            IpAddr::V4(four) => attribute(bytes, 1, &four.octets()),
            IpAddr::V6(six) => attribute(bytes, 3, &six.octets()),
        });
    });
    nest(&mut bytes, FILTER, |bytes| {
        attribute(bytes, way, &SOURCE_ADDRESS.to_ne_bytes());
    });
    bytes
}

/// Claims that a message tells of a connection, for those who try changed bytes.
pub(super) fn is_readable(frame: &Frame<'_>) -> bool {
    entry(frame).is_some()
}

/// `None` for what cannot be read.
fn entry(frame: &Frame<'_>) -> Option<Entry> {
    let (family, body) = (frame.content.first()?, frame.content.get(4..)?);
    if frame.kind != NEW {
        return None;
    }
    let original = find(body, ORIGINAL)?;
    let mut named = vec![*family, 0, 0, 0];
    for kind in [ORIGINAL, ID, ZONE] {
        if let Some(value) = find(body, kind) {
            // NLA_F_NESTED.
            let flags = if kind == ORIGINAL { 0x8000 } else { 0 };
            attribute(&mut named, kind | flags, value);
        }
    }
    Some(Entry {
        original: direction(original)?,
        reply: direction(find(body, REPLY)?)?,
        named,
    })
}

fn direction(bytes: &[u8]) -> Option<Direction> {
    let (mut source, mut destination) = (None, None);
    for (kind, value) in attributes(find(bytes, 1)?) {
        let four = value.first_chunk::<4>();
        let four = four.map(|four| IpAddr::from(Ipv4Addr::from(*four)));
        let six = value.first_chunk::<16>();
        let six = six.map(|six| IpAddr::from(Ipv6Addr::from(*six)));
        match kind {
            1 => source = four,
            2 => destination = four,
            3 => source = six,
            4 => destination = six,
            _ => {}
        }
    }
    let protocol = find(bytes, 2)?;
    // Not every protocol has ports.
    let port = find(protocol, 3).and_then(|port| port.first_chunk());
    Some(Direction {
        source: source?,
        destination: destination?,
        protocol: *find(protocol, 1)?.first()?,
        destination_port: port.map_or(0, |port| u16::from_be_bytes(*port)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_connection_is_too_odd_to_read(content in proptest::collection::vec(any::<u8>(), 0..256)) {
            let frame = Frame { kind: NEW, flags: 0, sequence: 0, content: &content };
            entry(&frame);
            direction(&content);
        }
    }

    #[test]
    fn a_connection_is_read_as_the_kernel_writes_it() {
        let mut content = vec![2, 0, 0, 0];
        for (way, from, to) in [
            (ORIGINAL, [10, 0, 0, 1], [10, 0, 0, 2]),
            (REPLY, [10, 0, 0, 2], [10, 0, 0, 1]),
        ] {
            nest(&mut content, way, |bytes| {
                nest(bytes, 1, |bytes| {
                    attribute(bytes, 1, &from);
                    attribute(bytes, 2, &to);
                });
                nest(bytes, 2, |bytes| {
                    attribute(bytes, 1, &[17]);
                    attribute(bytes, 2, &[0, 9]);
                    attribute(bytes, 3, &[0x1f, 0x90]);
                });
            });
        }
        attribute(&mut content, ID, &[1, 2, 3, 4]);
        let frame = Frame {
            kind: NEW,
            flags: 0,
            sequence: 0,
            content: &content,
        };
        let read = entry(&frame).unwrap();
        assert_eq!(read.original.destination_port, 8080);
        assert_eq!(read.original.destination, read.reply.source);
        assert_eq!(read.named.len(), 4 + 52 + 8);
    }
}
