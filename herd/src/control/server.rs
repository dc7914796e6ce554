//! The daemon's end of the control socket: many clients, none of which can block it.
//!
//! The server does not own the loop. The loop hands it events ([`Server::handle`]), asks for calls
//! ([`Server::next_call`]) and answers each when it can ([`Server::reply`]), be it minutes later.
//! A connection's calls are answered in their order, as varlink wants it: the next is handed out
//! when the last is answered; what a client sends ahead waits in its own socket.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;

use mio::event::Event;
use mio::net::UnixListener;
use mio::{Interest, Registry, Token};
use serde_json::json;

use super::access::{self, Peer};
use super::call::{Request, SERVICE_INTERFACE};
use super::codec;
use super::connection::{Connection, Pending};
use super::protocol::{Call, INTERFACE, Refusal, Reply};

/// Connections at one time; a client above that is told that herd is busy.
pub const MAX_CONNECTIONS: usize = 128;
/// Connections of one user who is neither root nor herd's own, so that nobody can lock them out.
const MAX_OF_STRANGER: usize = 16;
/// Connections of all such users together.
const MAX_OF_STRANGERS: usize = 64;
/// Unsent bytes of one connection beyond its current frame.
const MAX_UNSENT: usize = 1 << 20;
/// Unsent bytes of all connections.
const MAX_UNSENT_IN_ALL: usize = 32 << 20;
const MAX_NOTES: usize = 32;

/// The interface as varlink describes it.
pub const DESCRIPTION: &str = include_str!("org.herd.varlink");
const SERVICE_DESCRIPTION: &str = include_str!("org.varlink.service.varlink");

/// Which call of which client. It stays valid, and harmless, after the client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId {
    slot: usize,
    serial: u64,
}

#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    registry: Registry,
    first_token: usize,
    own_uid: u32,
    slots: Vec<Option<Box<Connection>>>,
    /// Slots that may hold a whole call.
    runnable: VecDeque<usize>,
    last_serial: u64,
    unsent: usize,
    notes: Vec<String>,
}

/// Binds the socket at `path`, taking the place of a dead one.
///
/// # Errors
/// `AddrInUse` when another herd answers there; else what `bind(2)` or the file system says.
pub fn listen(path: &Path) -> io::Result<StdListener> {
    if StdStream::connect(path).is_ok() {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = StdListener::bind(path)?;
    // Everyone may connect; what they may say is decided by who they are.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl AsFd for Server {
    /// The socket that clients connect to.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Server {
    /// The tokens a server takes up, counted from its first.
    pub const TOKENS: usize = MAX_CONNECTIONS + 1;

    /// Registers `listener` (nonblocking) under `first_token`, and each connection under one of the
    /// [`TOKENS`](Self::TOKENS) from there.
    ///
    /// # Errors
    /// When the listener cannot be registered.
    pub fn new(
        listener: StdListener,
        registry: &Registry,
        first_token: usize,
        own_uid: u32,
    ) -> io::Result<Self> {
        let mut listener = UnixListener::from_std(listener);
        registry.register(&mut listener, Token(first_token), Interest::READABLE)?;
        Ok(Self {
            listener,
            registry: registry.try_clone()?,
            first_token,
            own_uid,
            slots: std::iter::repeat_with(|| None)
                .take(MAX_CONNECTIONS)
                .collect(),
            runnable: VecDeque::new(),
            last_serial: 0,
            unsent: 0,
            notes: Vec::new(),
        })
    }

    pub fn owns(&self, token: Token) -> bool {
        (self.first_token..self.first_token + Self::TOKENS).contains(&token.0)
    }

    /// Does what an event of one of the server's tokens asks for. `is_boxed` says of a cgroup path
    /// (`/herd/web`) whether a boxed service lives there; it is asked once for each new client.
    pub fn handle(&mut self, event: &Event, is_boxed: &dyn Fn(&str) -> bool) {
        let Some(offset) = event.token().0.checked_sub(self.first_token) else {
            return;
        };
        let Some(slot) = offset.checked_sub(1) else {
            self.accept(is_boxed);
            return;
        };
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
            return; // an event of the same batch as its closing
        };
        if event.is_write_closed() || event.is_error() {
            self.close(slot);
            return;
        }
        if event.is_readable() || event.is_read_closed() {
            connection.unread = true;
            self.runnable.push_back(slot);
        }
        if event.is_writable() {
            self.flush(slot);
        }
    }

    /// The next call of any client, in turn. To be asked until `None` before each wait for events,
    /// for an answer also lets the next call of its client come up; a loop that wants to do other
    /// things between may stop earlier and not wait while [`has_calls`] is true.
    ///
    /// [`has_calls`]: Self::has_calls
    pub fn next_call(&mut self) -> Option<(CallId, Call)> {
        while let Some(slot) = self.runnable.pop_front() {
            if let Some(found) = self.advance(slot) {
                return Some(found);
            }
        }
        None
    }

    pub fn has_calls(&self) -> bool {
        !self.runnable.is_empty()
    }

    /// Answers a call for good. Nothing happens when the client is gone.
    pub fn reply(&mut self, id: CallId, outcome: Result<Reply, Refusal>) {
        let Some(pending) = self.pending(id) else {
            return;
        };
        if let Some(connection) = self.slots.get_mut(id.slot).and_then(Option::as_mut) {
            connection.pending = None;
        }
        self.runnable.push_back(id.slot);
        if pending.oneway {
            return;
        }
        let frame = match outcome {
            Ok(reply) => codec::success(&reply, false),
            Err(refused) => codec::refusal(&refused),
        };
        self.send(id.slot, frame);
    }

    /// Sends one more answer of a stream (`Watch`); `false` says that nobody listens any more.
    #[must_use]
    pub fn continue_(&mut self, id: CallId, reply: &Reply) -> bool {
        if self.pending(id).is_none() {
            return false;
        }
        self.send(id.slot, codec::success(reply, true));
        self.is_open(id)
    }

    /// Claims that the call still waits for an answer and its client has not gone.
    pub fn is_open(&self, id: CallId) -> bool {
        self.pending(id).is_some()
    }

    /// What happened to clients that misbehaved, for herd's own log.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn pending(&self, id: CallId) -> Option<Pending> {
        let connection = self.slots.get(id.slot)?.as_ref()?;
        connection
            .pending
            .filter(|pending| pending.serial == id.serial)
    }

    fn accept(&mut self, is_boxed: &dyn Fn(&str) -> bool) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = self.admit(stream, is_boxed) {
                        self.note(format!("control: cannot take a connection: {error}"));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => {}
                Err(error) => {
                    // Out of descriptors: those that wait are taken with the next one to come.
                    self.note(format!("control: cannot accept: {error}"));
                    return;
                }
            }
        }
    }

    fn admit(
        &mut self,
        mut stream: mio::net::UnixStream,
        is_boxed: &dyn Fn(&str) -> bool,
    ) -> io::Result<()> {
        let peer = access::look_up(&stream, is_boxed)?;
        let Some(slot) = self.free_slot(&peer) else {
            let busy = codec::refusal(&Refusal::Busy {
                reason: "too many connections".to_owned(),
            });
            // The socket is new and its buffer empty, so that this one frame fits or nobody reads.
            io::Write::write(&mut stream, &busy)?;
            return Err(io::Error::other(format!(
                "too many connections (uid {}, pid {})",
                peer.uid, peer.pid
            )));
        };
        self.registry.register(
            &mut stream,
            Token(self.first_token + 1 + slot),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(Box::new(Connection::new(stream, peer)));
        }
        Ok(())
    }

    fn free_slot(&self, peer: &Peer) -> Option<usize> {
        let free = self.slots.iter().position(Option::is_none)?;
        if access::is_owner(peer.uid, self.own_uid) {
            return Some(free);
        }
        let strangers = || {
            let open = self.slots.iter().flatten();
            open.filter(|one| !access::is_owner(one.peer.uid, self.own_uid))
        };
        let same = strangers().filter(|one| one.peer.uid == peer.uid).count();
        (same < MAX_OF_STRANGER && strangers().count() < MAX_OF_STRANGERS).then_some(free)
    }

    /// Reads what there is and hands out the next call of this connection, unless one is pending.
    fn advance(&mut self, slot: usize) -> Option<(CallId, Call)> {
        loop {
            let connection = self.slots.get_mut(slot)?.as_mut()?;
            if let Err(error) = connection.fill() {
                self.note_and_close(slot, &format!("cannot be read: {error}"));
                return None;
            }
            if connection.pending.is_some() || connection.closing {
                return None;
            }
            let frame = match connection.decoder.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) if connection.unread => continue,
                Ok(None) => {
                    if connection.ended {
                        self.finish(slot);
                    }
                    return None;
                }
                Err(error) => {
                    self.give_up(slot, &error);
                    return None;
                }
            };
            let envelope = match codec::parse_call(&frame) {
                Ok(envelope) => envelope,
                Err(error) => {
                    self.give_up(slot, &error);
                    return None;
                }
            };
            self.last_serial += 1;
            let serial = self.last_serial;
            let oneway = envelope.oneway;
            connection.pending = Some(Pending { serial, oneway });
            let id = CallId { slot, serial };
            let allowed = envelope.into_request().and_then(|request| {
                access::decide(&connection.peer, self.own_uid, &request).map(|()| request)
            });
            match allowed {
                Ok(Request::Herd(call)) => {
                    self.runnable.push_back(slot);
                    return Some((id, call));
                }
                Ok(Request::GetInfo) => self.answer(id, &service_info()),
                Ok(Request::GetInterfaceDescription { interface }) => match interface.as_str() {
                    INTERFACE => self.answer(id, &json!({ "description": DESCRIPTION })),
                    SERVICE_INTERFACE => {
                        self.answer(id, &json!({ "description": SERVICE_DESCRIPTION }));
                    }
                    _ => self.reply(id, Err(Refusal::InterfaceNotFound { interface })),
                },
                Err(refused) => self.reply(id, Err(refused)),
            }
        }
    }

    fn answer(&mut self, id: CallId, parameters: &serde_json::Value) {
        let Some(connection) = self.slots.get_mut(id.slot).and_then(Option::as_mut) else {
            return;
        };
        let pending = connection.pending.take();
        if pending.is_some_and(|pending| !pending.oneway) {
            self.send(id.slot, codec::success(parameters, false));
        }
    }

    fn send(&mut self, slot: usize, frame: Vec<u8>) {
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        let unsent = connection.unsent();
        if unsent > 0 && unsent + frame.len() > MAX_UNSENT {
            self.note_and_close(slot, "does not read its answers");
            return;
        }
        let frame = if self.unsent + frame.len() > MAX_UNSENT_IN_ALL {
            codec::refusal(&Refusal::Busy {
                reason: "too many unread answers".to_owned(),
            })
        } else {
            frame
        };
        self.unsent += frame.len();
        connection.queue(frame);
        self.flush(slot);
    }

    fn flush(&mut self, slot: usize) {
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        let before = connection.unsent();
        let outcome = connection.flush();
        let left = connection.unsent();
        let done = left == 0 && connection.closing;
        self.unsent -= before - left;
        if outcome.is_err() || done {
            self.close(slot);
        }
    }

    /// Tells the client what was wrong with its frame, then closes: there is no way back into step.
    fn give_up(&mut self, slot: usize, error: &codec::FrameError) {
        let who = self.describe(slot);
        self.note(format!("control: {who} sent {error}"));
        self.send(
            slot,
            codec::refusal(&Refusal::InvalidParameter {
                parameter: error.to_string(),
            }),
        );
        self.finish(slot);
    }

    /// Closes once everything is sent.
    fn finish(&mut self, slot: usize) {
        if let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) {
            connection.closing = true;
            self.flush(slot);
        }
    }

    fn note_and_close(&mut self, slot: usize, what: &str) {
        let who = self.describe(slot);
        self.note(format!("control: {who} {what}; connection dropped"));
        self.close(slot);
    }

    fn describe(&self, slot: usize) -> String {
        match self.slots.get(slot).and_then(Option::as_ref) {
            Some(one) => format!("client with uid {}, pid {}", one.peer.uid, one.peer.pid),
            None => "a client".to_owned(),
        }
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note);
        }
    }

    fn close(&mut self, slot: usize) {
        let Some(mut connection) = self.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        self.unsent -= connection.unsent();
        if let Err(error) = self.registry.deregister(&mut connection.stream) {
            self.note(format!("control: cannot deregister a connection: {error}"));
        }
    }
}

fn service_info() -> serde_json::Value {
    json!({
        "vendor": "herd",
        "product": "herd",
        "version": env!("CARGO_PKG_VERSION"),
        "url": "",
        "interfaces": [SERVICE_INTERFACE, INTERFACE],
    })
}
