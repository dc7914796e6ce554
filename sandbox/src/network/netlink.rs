//! Netlink, asked and answered in order: no runtime, no thread, nothing waited for without an end.
//!
//! Source: `netlink(7)`, `rtnetlink(7)`, `linux/netlink.h` of Linux 6.18.
#![forbid(unsafe_code)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::address_pool::Routes;
use super::connections;
use super::links;
use super::nft::Batch;
use super::picture::{Picture, is_anothers_nat};

/// A socket of one protocol, in the network namespace that it was made in, whatever its maker enters later.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    received: Vec<u8>,
}

/// The longest answer of the kernel; one that is cut off counts as an error.
const LONGEST: usize = 64 * 1024;
/// A kernel that says nothing for so long will not.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many messages of a dump are looked at: as many routes as a router of the internet has are not.
const MOST_FRAMES: usize = 100_000;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const DUMP: u16 = 0x300;
pub(crate) const NEWLINK: u16 = 16;
const GETADDR: u16 = 22;
const GETROUTE: u16 = 26;
/// An empty `struct rtmsg`.
const ROUTES: [u8; 12] = [0; 12];
/// An empty `struct ifaddrmsg`.
const ADDRESSES: [u8; 8] = [0; 8];

/// What is to be done, and in which manner.
pub(crate) type Request = (RouteNetlinkMessage, Manner);

/// What a request does where the thing is there, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It must not be there.
    Add,
    /// It must be there.
    Change,
}

impl Netlink {
    /// Links, addresses and routes (`rtnetlink(7)`).
    pub(crate) fn route() -> io::Result<Self> {
        // Its number is 0.
        Self::open(None)
    }

    /// The firewall.
    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
            received: vec![0; LONGEST],
        })
    }

    /// Has all of these done, in this order; the first that is refused ends it.
    pub(crate) fn all(&mut self, requests: impl IntoIterator<Item = Request>) -> io::Result<()> {
        requests.into_iter().try_for_each(|one| self.one(one))
    }

    pub(crate) fn one(&mut self, (message, manner): Request) -> io::Result<()> {
        let flags = match manner {
            Manner::Add => CREATE | EXCLUSIVE,
            Manner::Change => 0,
        };
        self.send_one(message, ACK | flags)?;
        self.await_answer(self.sequence)
    }

    /// The number of the interface of this name in the network namespace of this socket.
    pub(crate) fn index(&mut self, name: &str) -> io::Result<u32> {
        self.link(name).map(|link| link.index)
    }

    /// The interface of this name, as it is; `None` where there is none.
    pub(crate) fn link_if_any(&mut self, name: &str) -> io::Result<Option<LinkView>> {
        match self.link(name) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            answer => answer.map(Some),
        }
    }

    fn link(&mut self, name: &str) -> io::Result<LinkView> {
        self.send_one(links::ask(name), 0)?;
        let length = self.receive()?;
        for frame in frames(&self.received[..length]) {
            let frame = frame?;
            if frame.kind == NEWLINK {
                return LinkView::of(frame.content)
                    .ok_or_else(|| io::ErrorKind::InvalidData.into());
            }
            frame.error()?;
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    fn send_one(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.sequence_number = self.sequence;
        header.flags = REQUEST | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.send(&bytes)
    }

    /// Has a batch of the firewall done: all of it, or nothing.
    pub(crate) fn batch(&mut self, batch: &Batch) -> io::Result<()> {
        // The kernel copies the whole, and its default for what is under way is less.
        let needed = batch.bytes.len().saturating_add(LONGEST);
        // Root may go over the limit of the machine.
        sockopt::set_socket_send_buffer_size_force(&self.socket, needed)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&self.socket, needed))?;
        sockopt::set_socket_recv_buffer_size_force(&self.socket, needed)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&self.socket, needed))?;
        self.send(&batch.bytes)?;
        let answer = self.await_answer(batch.last);
        if answer.is_err() {
            // What was refused behind the first has its own answer, and there are all of them already.
            self.drain();
        }
        answer
    }

    /// Where routes of the host lead, but for the default ones, and where it is itself.
    pub(crate) fn routes(&mut self) -> io::Result<Routes> {
        let mut routes = Routes::default();
        self.dump(GETROUTE, &ROUTES, |frame| {
            if let Some((leads, to)) = route(frame.content) {
                match leads {
                    Leads::There => routes.main.push(to),
                    Leads::Nowhere => routes.nowhere.push(to),
                    Leads::Elsewhere => routes.elsewhere.push(to),
                }
            }
        })?;
        // Of an interface that is down there is no route yet.
        let addresses = self.addresses()?.unwrap_or_default();
        for one in addresses.iter().filter(|one| !one.is_narrow) {
            routes.main.push(one.address.into());
            if one.subnet.prefix_len() >= SHORTEST {
                routes.elsewhere.push(one.subnet);
            }
        }
        Ok(routes)
    }

    /// The addresses that are the host's own.
    pub(crate) fn own_addresses(&mut self) -> io::Result<Vec<IpAddr>> {
        let mut own = Vec::new();
        self.dump(GETROUTE, &ROUTES, |frame| {
            own.extend(own_address(frame.content));
        })?;
        Ok(own)
    }

    /// The addresses of all interfaces; `None` where they go on changing.
    pub(crate) fn addresses(&mut self) -> io::Result<Option<Vec<AddressView>>> {
        const TRIES: u32 = 4;
        for _ in 0..TRIES {
            let mut all = Vec::new();
            let is_whole = self.dump(GETADDR, &ADDRESSES, |frame| {
                all.extend(AddressView::of(frame.content));
            })?;
            if is_whole {
                return Ok(Some(all));
            }
        }
        Ok(None)
    }

    /// Asks for all there is of a kind, and has each message looked at. `false` when it has changed meanwhile, so
    /// that something may be missing.
    pub(crate) fn dump(
        &mut self,
        kind: u16,
        question: &[u8],
        mut look: impl FnMut(Frame<'_>),
    ) -> io::Result<bool> {
        const INTERRUPTED: u16 = 0x10;
        self.sequence += 1;
        let message = message(kind, REQUEST | DUMP, self.sequence, question);
        self.send(&message)?;
        let mut is_whole = true;
        let mut seen = 0;
        loop {
            let length = self.receive()?;
            for frame in frames(&self.received[..length]) {
                let frame = frame?;
                seen += 1;
                is_whole &= frame.flags & INTERRUPTED == 0;
                match frame.kind {
                    DONE => return Ok(is_whole),
                    ERROR => frame.error()?,
                    _ => look(frame),
                }
                if seen > MOST_FRAMES {
                    return Err(io::Error::other("more answers than can be looked at"));
                }
            }
        }
    }

    /// Has one thing done that a message of the caller's own says.
    pub(crate) fn ask(&mut self, kind: u16, question: &[u8]) -> io::Result<()> {
        self.sequence += 1;
        let message = message(kind, REQUEST | ACK, self.sequence, question);
        self.send(&message)?;
        self.await_answer(self.sequence)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match rustix::net::send(&self.socket, bytes, SendFlags::empty()) {
                Ok(sent) if sent == bytes.len() => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        loop {
            match rustix::net::recv(&self.socket, &mut self.received[..], RecvFlags::TRUNC) {
                Ok((read, whole)) if read == whole => return Ok(read),
                Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn drain(&mut self) {
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        for _ in 0..MOST_FRAMES {
            match rustix::net::recv(&self.socket, &mut self.received[..], flags) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Until the message of this number is answered, or an earlier one is refused.
    fn await_answer(&mut self, last: u32) -> io::Result<()> {
        for _ in 0..MOST_FRAMES {
            let length = self.receive()?;
            for frame in frames(&self.received[..length]) {
                let frame = frame?;
                if frame.kind == ERROR {
                    frame.error()?;
                    if frame.sequence == last {
                        return Ok(());
                    }
                }
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// `struct nlmsghdr` and what follows.
fn message(kind: u16, flags: u16, sequence: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + content.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(content);
    bytes
}

/// One message of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) content: &'a [u8],
}

impl Frame<'_> {
    fn error(&self) -> io::Result<()> {
        let code = self.content.first_chunk::<4>();
        match code.map(|code| i32::from_ne_bytes(*code)) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The messages in what was received; each step is at least a header long, so it ends.
pub(crate) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = io::Result<Frame<'_>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let frame = take_frame(&mut bytes);
        if frame.is_none() {
            bytes = &[];
        }
        Some(frame.ok_or_else(|| io::ErrorKind::InvalidData.into()))
    })
}

fn take_frame<'a>(bytes: &mut &'a [u8]) -> Option<Frame<'a>> {
    let header = bytes.first_chunk::<HEADER>()?;
    let [a, b, c, d, kind, kind2, flags, flags2, e, f, g, h, ..] = *header;
    let length = usize::try_from(u32::from_ne_bytes([a, b, c, d])).ok()?;
    let content = bytes.get(HEADER..length)?;
    *bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(Frame {
        kind: u16::from_ne_bytes([kind, kind2]),
        flags: u16::from_ne_bytes([flags, flags2]),
        sequence: u32::from_ne_bytes([e, f, g, h]),
        content,
    })
}

/// An interface, as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkView {
    pub(crate) index: u32,
    pub(crate) is_up: bool,
    /// The number of the bridge that it is on.
    pub(crate) bridge: Option<u32>,
}

impl LinkView {
    /// Reads `struct ifinfomsg` (family, a hole, type, index, flags, change) and what follows.
    pub(crate) fn of(content: &[u8]) -> Option<Self> {
        const UP: u32 = 1;
        const MASTER: u16 = 10;
        let number = |bytes: &[u8]| Some(u32::from_ne_bytes(*bytes.first_chunk()?));
        let (head, more) = content.split_at_checked(16)?;
        let bridge = attributes(more).find(|(kind, _)| *kind == MASTER);
        Some(Self {
            index: number(head.get(4..)?)?,
            is_up: number(head.get(8..)?)? & UP != 0,
            bridge: bridge.and_then(|(_, master)| number(master)),
        })
    }
}

/// The name of the interface that a message about one is about.
pub(crate) fn link_name(content: &[u8]) -> Option<&str> {
    const NAME: u16 = 3;
    let (_, name) = attributes(content.get(16..)?).find(|(kind, _)| *kind == NAME)?;
    std::str::from_utf8(name.split(|byte| *byte == 0).next()?).ok()
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressView {
    /// Of the interface.
    pub(crate) index: u32,
    pub(crate) address: IpAddr,
    /// What it says is on the link.
    pub(crate) subnet: IpNet,
    /// It is of this link alone, or of this machine.
    pub(crate) is_narrow: bool,
}

impl AddressView {
    /// Reads `struct ifaddrmsg` (family, length of the prefix, flags, scope, index) and what follows.
    pub(crate) fn of(content: &[u8]) -> Option<Self> {
        const ADDRESS: u16 = 1;
        const LOCAL: u16 = 2;
        let [family, length, _, scope, a, b, c, d] = *content.first_chunk()?;
        let find = |wanted| attributes(content.get(8..)?).find(|(kind, _)| *kind == wanted);
        // Of a link with two ends the address is the other's, and where there is one the local is ours.
        let (_, bytes) = find(LOCAL).or_else(|| find(ADDRESS))?;
        let address = match i32::from(family) {
            libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(*bytes.first_chunk::<16>()?)),
            _ => return None,
        };
        Some(Self {
            index: u32::from_ne_bytes([a, b, c, d]),
            address,
            subnet: IpNet::new(address, length).ok()?.trunc(),
            is_narrow: scope != 0,
        })
    }
}

/// Reads bytes in every way in which an answer of the kernel is read, whatever it is said to be; gives a number for
/// the kind of what was found.
pub(crate) fn read_in_every_way(bytes: &[u8]) -> u64 {
    const FIXED: [usize; 4] = [4, 8, 12, 16];
    let mut found = 0;
    let mut note = |what: u64| found = (found ^ what).wrapping_mul(0x0000_0100_0000_01b3);
    for frame in frames(bytes) {
        let Ok(frame) = frame else {
            note(1);
            continue;
        };
        note(u64::from(frame.kind.min(64)) << 8);
        if let Err(error) = frame.error() {
            note(error.raw_os_error().map_or(2, |_| 3));
        }
        let link = LinkView::of(frame.content);
        note(link.map_or(4, |link| {
            5 + u64::from(link.is_up) + u64::from(link.bridge.is_some())
        }));
        note(link_name(frame.content).map_or(8, |name| 9 + name.len().min(16) as u64));
        let address = AddressView::of(frame.content);
        note(address.map_or(30, |address| 31 + u64::from(address.subnet.prefix_len())));
        note(route(frame.content).map_or(6, |(_, to)| 7 + u64::from(to.prefix_len())));
        let mut picture = Picture::default();
        picture.add(&frame);
        note(u64::from(picture == Picture::default()));
        note(u64::from(is_anothers_nat(&frame)));
        note(connections::is_readable(&frame).into());
        for start in FIXED {
            let behind = frame.content.get(start..).unwrap_or_default();
            let kinds = attributes(behind).map(|(kind, value)| (kind, attributes(value).count()));
            note(kinds.fold(0, |sum, (kind, inside)| {
                sum + u64::from(kind.min(64)) + (inside as u64).min(8)
            }));
        }
    }
    found
}

/// The attributes behind a fixed part.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d] = *bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The two highest bits are flags.
        Some((u16::from_ne_bytes([c, d]) & 0x3fff, value))
    })
}

/// What becomes of a packet that takes a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leads {
    There,
    Nowhere,
    /// By another table than the main one, if it comes to that.
    Elsewhere,
}

/// Two halves of everything are a default route too, as tunnels set it.
const SHORTEST: u8 = 8;

/// Where a route leads; `None` for default routes, those of the host's own addresses, and what cannot be read.
fn route(message: &[u8]) -> Option<(Leads, IpNet)> {
    const MAIN: u8 = 254;
    const LOCAL: u8 = 255;
    /// `RTN_BLACKHOLE`, `RTN_UNREACHABLE`, `RTN_PROHIBIT` and `RTN_THROW`.
    const NOWHERE: std::ops::RangeInclusive<u8> = 6..=9;
    let (table, kind, to) = destination(message)?;
    let leads = match table {
        MAIN if NOWHERE.contains(&kind) => Leads::Nowhere,
        MAIN => Leads::There,
        _ => Leads::Elsewhere,
    };
    (table != LOCAL && to.prefix_len() >= SHORTEST).then_some((leads, to))
}

/// The address that a route of the local table says is the host's own.
fn own_address(message: &[u8]) -> Option<IpAddr> {
    const TABLE: u8 = 255;
    const LOCAL: u8 = 2;
    let (table, kind, to) = destination(message)?;
    (table == TABLE && kind == LOCAL).then(|| to.network())
}

/// A route's table, its kind (`RTN_*`), and where it leads.
fn destination(message: &[u8]) -> Option<(u8, u8, IpNet)> {
    const DESTINATION: u16 = 1;
    // struct rtmsg: family, length of the destination, of the source, tos, table, protocol, scope, kind, …
    let [family, length, _, _, table, _, _, kind, ..] = *message.first_chunk::<12>()?;
    let (_, to) = attributes(message.get(12..)?).find(|(kind, _)| *kind == DESTINATION)?;
    let to: IpNet = match i32::from(family) {
        libc::AF_INET => {
            let address = Ipv4Addr::from(*to.first_chunk::<4>()?);
            Ipv4Net::new(address, length).ok()?.trunc().into()
        }
        libc::AF_INET6 => {
            let address = Ipv6Addr::from(*to.first_chunk::<16>()?);
            Ipv6Net::new(address, length).ok()?.trunc().into()
        }
        _ => return None,
    };
    Some((table, kind, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_of_the_kernel_are_too_odd_to_read(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            for frame in frames(&bytes).flatten() {
                frame.error().ok();
                route(frame.content);
            }
            route(&bytes);
            LinkView::of(&bytes);
            link_name(&bytes);
            AddressView::of(&bytes);
            prop_assert!(attributes(&bytes).count() <= bytes.len() / 4 + 1);
            prop_assert!(frames(&bytes).count() <= bytes.len() / HEADER + 1);
        }

        #[test]
        fn what_is_nearly_a_message_is_read_too(
            length in 0u32..64, kind in 0u16..40, content in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(&content);
            for frame in frames(&bytes).flatten() {
                frame.error().ok();
                route(frame.content);
            }
        }
    }

    #[test]
    fn a_message_that_is_longer_than_what_came_is_an_error() {
        let mut bytes = 64u32.to_ne_bytes().to_vec();
        bytes.extend([0; 12]);
        let read: Vec<_> = frames(&bytes).collect();
        assert_eq!(read.len(), 1);
        assert!(read[0].is_err());
    }

    #[test]
    fn the_loopback_interface_of_this_machine_can_be_read() {
        let mut host = Netlink::route().unwrap();
        let link = host.link_if_any("lo").unwrap().unwrap();
        assert_eq!((link.index, link.bridge), (links::LOOPBACK, None));
        assert_eq!(host.link_if_any("nobody0").unwrap(), None);
        let all = host.addresses().unwrap().unwrap();
        let own = all.iter().filter(|one| one.address.is_loopback());
        for one in own {
            assert!(one.subnet.contains(&one.address), "{one:?}");
            assert!(one.is_narrow, "{one:?}");
        }
    }

    #[test]
    fn the_routes_of_this_machine_can_be_read() {
        Netlink::route().unwrap().routes().unwrap();
        let own = Netlink::route().unwrap().own_addresses().unwrap();
        assert!(
            own.iter().all(|address| !address.is_unspecified()),
            "{own:?}"
        );
    }
}
