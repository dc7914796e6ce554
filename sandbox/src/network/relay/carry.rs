//! The loop of a relay.
//!
//! Each socket is waited for only as long as something is wanted of it. One that is registered for nothing would still
//! tell of its hang-up, again and again; so it is not registered then, and its end is found when it is used next.
#![forbid(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, sockopt,
};
use rustix::time::{ClockId, clock_gettime};

use super::door::Door;
use super::flows::{self, Flows};
use super::pipe::Pipe;
use crate::config::Protocol;

/// More wait in the kernel until one of these ends.
pub(super) const MOST_CONNECTIONS: usize = 1024;

/// The largest datagram, and what one read of a stream takes.
const BUFFER: usize = 64 * 1024;
/// What is done for one socket before the others have their turn.
const TURN: usize = 32;
/// Milliseconds until connections are taken again after the system had no room for one.
const PAUSE: u64 = 1000;

/// What an event is about, as the kernel hands it back.
const LIFE: u64 = 0;
const DOORS: u64 = 1 << 32;
const CONNECTIONS: u64 = 2 << 32;
const FLOWS: u64 = 3 << 32;

const CLIENT: usize = 0;
const BOX: usize = 1;

pub(super) struct Carrier {
    epoll: OwnedFd,
    doors: Vec<Door>,
    addresses: Vec<IpAddr>,
    connections: Vec<Option<Connection>>,
    /// Places in `connections`.
    free: Vec<usize>,
    /// As above, once nothing told already can be about those that were there.
    freed: Vec<usize>,
    flows: Flows<OwnedFd>,
    takes_connections: bool,
    /// When to take connections again.
    paused_until: Option<u64>,
    buffer: Vec<u8>,
}

struct Connection {
    ends: [End; 2],
    /// Those from each end to the other.
    pipes: [Pipe; 2],
    /// Which of the box's addresses is being asked; `None` once one has answered.
    asked: Option<usize>,
    port: u16,
}

struct End {
    socket: OwnedFd,
    /// What it is waited for.
    waits: EventFlags,
}

impl End {
    fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            waits: EventFlags::empty(),
        }
    }
}

fn milliseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let whole = u64::try_from(now.tv_sec).unwrap_or_default() * 1000;
    whole + u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000_000
}

/// A socket of the box's side, which is on its way there.
fn call(kind: SocketType, address: IpAddr, port: u16) -> Result<OwnedFd, Errno> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if kind == SocketType::STREAM {
        sockopt::set_tcp_nodelay(&socket, true)?;
    }
    match rustix::net::connect(&socket, &SocketAddr::new(address, port)) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

/// The system has no room for one more socket.
fn is_full(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM
    )
}

impl Carrier {
    /// Made before the filter stands: where the clock is read is asked for once.
    pub(super) fn new(doors: Vec<Door>, addresses: &[IpAddr]) -> io::Result<Self> {
        milliseconds();
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            doors,
            addresses: addresses.to_vec(),
            connections: Vec::new(),
            free: Vec::new(),
            freed: Vec::new(),
            flows: Flows::default(),
            takes_connections: false,
            paused_until: None,
            buffer: vec![0; BUFFER],
        })
    }

    /// Ends when what is behind this descriptor is told to have.
    pub(super) fn ends_with(&self, life: &OwnedFd) -> io::Result<()> {
        let data = EventData::new_u64(LIFE);
        Ok(epoll::add(&self.epoll, life, data, EventFlags::IN)?)
    }

    /// Until the end.
    pub(super) fn carry(&mut self) -> io::Result<()> {
        for (number, door) in (0..).zip(&self.doors) {
            if door.protocol == Protocol::Udp {
                let data = EventData::new_u64(DOORS | number);
                epoll::add(&self.epoll, &door.socket, data, EventFlags::IN)?;
            }
        }
        let mut room = [MaybeUninit::<epoll::Event>::uninit(); 64];
        loop {
            let timeout = self.before_waiting()?;
            let events = match epoll::wait(&self.epoll, &mut room, timeout.as_ref()) {
                Ok((events, _)) => events,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            for event in events.iter().copied() {
                let (flags, data) = (event.flags, event.data.u64());
                let number = usize::try_from(data & 0xffff_ffff).unwrap_or_default();
                match data & !0xffff_ffff {
                    LIFE => {
                        self.finish();
                        return Ok(());
                    }
                    DOORS => self.at_door(number)?,
                    CONNECTIONS => self.at_connection(number / 2, number % 2, flags),
                    _ => self.at_flow(number),
                }
            }
            self.free.append(&mut self.freed);
        }
    }

    /// Forgets what is over, and says how long to wait at most.
    fn before_waiting(&mut self) -> io::Result<Option<Timespec>> {
        let now = milliseconds();
        self.paused_until = self.paused_until.filter(|until| now < *until);
        let is_free = self.connections.len() - self.free.len() < MOST_CONNECTIONS;
        self.take_connections(is_free && self.paused_until.is_none())?;
        let times = [self.flows.expire(now), self.paused_until];
        let first = times.into_iter().flatten().min();
        Ok(first.map(|time| {
            // Not a moment too early, which would be told as nothing.
            let left = Duration::from_millis(time.saturating_sub(now) + 1);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        }))
    }

    fn take_connections(&mut self, takes: bool) -> io::Result<()> {
        if takes == self.takes_connections {
            return Ok(());
        }
        for (number, door) in (0..).zip(&self.doors) {
            if door.protocol == Protocol::Udp {
                continue;
            }
            if takes {
                let data = EventData::new_u64(DOORS | number);
                epoll::add(&self.epoll, &door.socket, data, EventFlags::IN)?;
            } else {
                epoll::delete(&self.epoll, &door.socket)?;
            }
        }
        self.takes_connections = takes;
        Ok(())
    }

    fn at_door(&mut self, number: usize) -> io::Result<()> {
        match self.doors.get(number).map(|door| door.protocol) {
            Some(Protocol::Tcp) => self.accept(number),
            Some(Protocol::Udp) => {
                self.hear(number);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn accept(&mut self, number: usize) -> io::Result<()> {
        for _ in 0..TURN {
            let Some(door) = self.doors.get(number) else {
                return Ok(());
            };
            if self.connections.len() - self.free.len() - self.freed.len() >= MOST_CONNECTIONS {
                return self.take_connections(false);
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let client = match rustix::net::accept_with(&door.socket, flags) {
                Ok(client) => client,
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) if is_full(errno) => {
                    self.paused_until = Some(milliseconds() + PAUSE);
                    return self.take_connections(false);
                }
                // Of the one connection (`accept(2)`); it is gone already.
                Err(_) => continue,
            };
            let port = door.inside;
            sockopt::set_tcp_nodelay(&client, true).ok();
            if let Some((asked, socket)) = self.ask(0, port) {
                self.add(Connection {
                    ends: [End::new(client), End::new(socket)],
                    pipes: Default::default(),
                    asked: Some(asked),
                    port,
                });
            } else {
                reset(&client);
            }
        }
        Ok(())
    }

    /// Calls the box at the first address from this one on that can be called.
    fn ask(&self, from: usize, port: u16) -> Option<(usize, OwnedFd)> {
        let mut addresses = self.addresses.iter().enumerate().skip(from);
        addresses.find_map(|(number, address)| {
            let socket = call(SocketType::STREAM, *address, port).ok()?;
            Some((number, socket))
        })
    }

    fn add(&mut self, connection: Connection) {
        let number = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        if let Some(place) = self.connections.get_mut(number) {
            *place = Some(connection);
        }
        self.wait_for(number);
    }

    /// Has a connection waited for as it wants it now; one that cannot be is cut off.
    fn wait_for(&mut self, number: usize) {
        let Some(Some(connection)) = self.connections.get_mut(number) else {
            return;
        };
        let wanted = connection.wants();
        for (side, wanted) in wanted.into_iter().enumerate() {
            let Some(end) = connection.ends.get_mut(side) else {
                continue;
            };
            if end.waits == wanted {
                continue;
            }
            let told = u64::try_from(number * 2 + side).unwrap_or_default();
            let data = EventData::new_u64(CONNECTIONS | told);
            let done = if wanted.is_empty() {
                epoll::delete(&self.epoll, &end.socket)
            } else if end.waits.is_empty() {
                epoll::add(&self.epoll, &end.socket, data, wanted)
            } else {
                epoll::modify(&self.epoll, &end.socket, data, wanted)
            };
            if done.is_err() {
                return self.cut(number);
            }
            end.waits = wanted;
        }
    }

    fn remove(&mut self, number: usize) -> Option<Connection> {
        let connection = self.connections.get_mut(number)?.take()?;
        self.freed.push(number);
        Some(connection)
    }

    fn cut(&mut self, number: usize) {
        if let Some(connection) = self.remove(number) {
            for end in &connection.ends {
                reset(&end.socket);
            }
        }
    }

    fn at_connection(&mut self, number: usize, side: usize, flags: EventFlags) {
        let Some(Some(connection)) = self.connections.get_mut(number) else {
            return;
        };
        if let Some(asked) = connection.asked {
            match sockopt::socket_error(&connection.ends[BOX].socket) {
                Ok(Ok(())) => connection.asked = None,
                Ok(Err(_)) | Err(_) => {
                    let port = connection.port;
                    let next = self.ask(asked + 1, port);
                    let place = self.connections.get_mut(number).and_then(Option::as_mut);
                    let (Some((asked, socket)), Some(connection)) = (next, place) else {
                        return self.cut(number);
                    };
                    connection.asked = Some(asked);
                    // The one before is closed, and waited for no more.
                    connection.ends[BOX] = End::new(socket);
                    return self.wait_for(number);
                }
            }
        }
        match connection.advance(&mut self.buffer) {
            Ok(_) if connection.is_over() => {
                self.remove(number);
            }
            // A hang-up that nothing comes of, where something is waited for, would be told for ever.
            Ok(false)
                if flags.intersects(EventFlags::HUP | EventFlags::ERR)
                    && !connection.wants()[side].is_empty() =>
            {
                self.cut(number);
            }
            Ok(_) => self.wait_for(number),
            Err(_) => self.cut(number),
        }
    }

    /// The box has ended. What it has said still goes out, as far as that waits for nobody; who has not heard all of it
    /// hears that.
    fn finish(&mut self) {
        for number in 0..flows::MOST {
            self.at_flow(number);
        }
        for mut connection in self.connections.drain(..).flatten() {
            let went = connection.advance(&mut self.buffer);
            if went.is_err() || !connection.pipes[BOX].is_over() {
                reset(&connection.ends[CLIENT].socket);
            }
        }
    }

    /// Datagrams at a door.
    fn hear(&mut self, number: usize) {
        for _ in 0..TURN {
            let Some(door) = self.doors.get(number) else {
                return;
            };
            let received =
                rustix::net::recvfrom(&door.socket, &mut self.buffer[..], RecvFlags::DONTWAIT);
            let (length, from) = match received {
                Ok((length, _, Some(from))) => (length, from),
                Err(Errno::AGAIN) => return,
                Ok((_, _, None)) | Err(_) => continue,
            };
            let Ok(from) = SocketAddrV6::try_from(from) else {
                continue;
            };
            let (key, port) = ((number, from), door.inside);
            let now = milliseconds();
            let Some(flow) = self.flow(key, port, now) else {
                continue;
            };
            if let Some((_, socket)) = self.flows.at(flow, now) {
                let bytes = self.buffer.get(..length).unwrap_or_default();
                // One that does not go is lost, as datagrams are.
                rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).ok();
            }
        }
    }

    fn flow(&mut self, key: flows::Key, port: u16, now: u64) -> Option<usize> {
        if let Some(number) = self.flows.find(&key, now) {
            return Some(number);
        }
        let address = *self.addresses.first()?;
        let number = self.flows.make_place();
        let socket = call(SocketType::DGRAM, address, port).ok()?;
        let data = EventData::new_u64(FLOWS | u64::try_from(number).ok()?);
        epoll::add(&self.epoll, &socket, data, EventFlags::IN).ok()?;
        self.flows.put(number, key, socket, now);
        Some(number)
    }

    /// Answers of the box.
    fn at_flow(&mut self, number: usize) {
        let now = milliseconds();
        for _ in 0..TURN {
            let Some(((door, client), socket)) = self.flows.at(number, now) else {
                return;
            };
            match rustix::net::recv(socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    let bytes = self.buffer.get(..length).unwrap_or_default();
                    if let Some(door) = self.doors.get(door) {
                        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                        rustix::net::sendto(&door.socket, bytes, flags, &client).ok();
                    }
                }
                Err(Errno::AGAIN) => return,
                // That nobody listens there is told once.
                Err(_) => {}
            }
        }
    }
}

/// Whoever is behind it hears that this was no end.
fn reset(socket: &impl AsFd) {
    sockopt::set_socket_linger(socket, Some(Duration::ZERO)).ok();
}

impl Connection {
    /// What each end is to be waited for.
    fn wants(&self) -> [EventFlags; 2] {
        if self.asked.is_some() {
            return [EventFlags::empty(), EventFlags::OUT];
        }
        [CLIENT, BOX].map(|side| {
            let mut wanted = EventFlags::empty();
            wanted.set(EventFlags::IN, self.pipes[side].wants_more());
            wanted.set(EventFlags::OUT, self.pipes[1 - side].has_waiting());
            wanted
        })
    }

    fn is_over(&self) -> bool {
        self.pipes.iter().all(Pipe::is_over)
    }

    /// As far as it goes, both ways; whether anything went.
    fn advance(&mut self, buffer: &mut [u8]) -> Result<bool, Errno> {
        let mut any = false;
        for from in [CLIENT, BOX] {
            let (source, target) = (&self.ends[from].socket, &self.ends[1 - from].socket);
            any |= move_bytes(&mut self.pipes[from], source, target, buffer)?;
        }
        Ok(any)
    }
}

fn move_bytes(
    pipe: &mut Pipe,
    source: &OwnedFd,
    target: &OwnedFd,
    buffer: &mut [u8],
) -> Result<bool, Errno> {
    let send = |bytes: &[u8]| match rustix::net::send(
        target,
        bytes,
        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    ) {
        Err(Errno::AGAIN) => Ok(0),
        answer => answer,
    };
    let mut any = false;
    for _ in 0..TURN {
        if pipe.has_waiting() {
            let sent = send(pipe.waiting())?;
            pipe.pass(sent);
            any |= sent > 0;
            if pipe.has_waiting() {
                break;
            }
        }
        if !pipe.wants_more() {
            break;
        }
        let length = match rustix::net::recv(source, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((length, _)) => length,
            Err(Errno::AGAIN) => break,
            Err(errno) => return Err(errno),
        };
        any = true;
        if length == 0 {
            pipe.ends();
            break;
        }
        let bytes = buffer.get(..length).unwrap_or_default();
        let sent = send(bytes)?;
        pipe.keep(bytes.get(sent..).unwrap_or_default());
    }
    if pipe.is_to_be_told() {
        // Who has gone altogether does not wait for an end.
        rustix::net::shutdown(target, Shutdown::Write).ok();
        pipe.told();
        any = true;
    }
    Ok(any)
}
