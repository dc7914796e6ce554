//! What the loop listens to: each descriptor has a token that names what it is, with a generation,
//! so that an event which was already on its way when the descriptor was closed hits nothing.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::supervisor::{RunId, ServiceId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Signals,
    /// The log writer has room again.
    Room,
    /// Networks were given back.
    Networks,
    /// The firewall was changed.
    Firewall,
    /// Interfaces were changed.
    Links,
    Notify,
    Watch,
    /// The kernel's tables of mounts and swaps.
    Tables,
    Control,
    /// The pidfd of a process.
    Process(RunId),
    /// The status channel of a launch.
    Status(RunId),
    /// A pipe with a service's output.
    Output(ServiceId),
    /// The descriptor on which a service writes its readiness newline.
    ReadyFd(ServiceId),
    /// `cgroup.events`.
    Group(ServiceId),
    /// An out-of-memory counter.
    Memory(ServiceId),
    /// A probe's connection.
    Probe(RunId),
}

/// Index in the low 32 bits, generation above.
#[derive(Debug, Default)]
pub(super) struct Sources {
    slots: Vec<(u32, Option<Source>)>,
    free: Vec<u32>,
}

impl Sources {
    /// Listens to a descriptor.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`; nothing is listened to then.
    pub(super) fn add(
        &mut self,
        registry: &Registry,
        fd: impl AsFd,
        source: Source,
        interest: Interest,
    ) -> io::Result<Token> {
        self.add_raw(registry, fd.as_fd().as_raw_fd(), source, interest)
    }

    /// As [`add`](Self::add), for a descriptor whose owner lends it as a number only.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    pub(super) fn add_raw(
        &mut self,
        registry: &Registry,
        raw: RawFd,
        source: Source,
        interest: Interest,
    ) -> io::Result<Token> {
        let token = self.reserve(source)?;
        if let Err(error) = registry.register(&mut SourceFd(&raw), token, interest) {
            self.forget(token);
            return Err(error);
        }
        Ok(token)
    }

    /// A token for something that registers itself (`mio::Waker`).
    ///
    /// # Errors
    /// When there are more than 2^32 of them.
    pub(super) fn reserve(&mut self, source: Source) -> io::Result<Token> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push((0, None));
                u32::try_from(self.slots.len() - 1).map_err(io::Error::other)?
            }
        };
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return Err(io::Error::other("no slot"));
        };
        slot.1 = Some(source);
        Ok(token_of(index, slot.0))
    }

    /// Stops listening. Always before the descriptor is closed: a child that was just started may
    /// hold a copy, and epoll would go on reporting it (`epoll(7)`, questions and answers, Q6).
    pub(super) fn remove(&mut self, registry: &Registry, fd: impl AsFd, token: Token) {
        let raw = fd.as_fd().as_raw_fd();
        // The only failure is that it is not registered, which is what is wanted.
        drop(registry.deregister(&mut SourceFd(&raw)));
        self.forget(token);
    }

    fn forget(&mut self, token: Token) {
        let (index, generation) = split(token);
        if let Some(slot) = self.slots.get_mut(index as usize)
            && slot.0 == generation
            && slot.1.is_some()
        {
            slot.0 = slot.0.wrapping_add(1);
            slot.1 = None;
            self.free.push(index);
        }
    }

    pub(super) fn get(&self, token: Token) -> Option<Source> {
        let (index, generation) = split(token);
        let slot = self.slots.get(index as usize)?;
        slot.1.filter(|_| slot.0 == generation)
    }
}

fn token_of(index: u32, generation: u32) -> Token {
    Token((generation as usize) << 32 | index as usize)
}

fn split(token: Token) -> (u32, u32) {
    let low = u32::try_from(token.0 & 0xffff_ffff).unwrap_or(u32::MAX);
    let high = u32::try_from(token.0 >> 32).unwrap_or(u32::MAX);
    (low, high)
}
