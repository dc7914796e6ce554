//! One client: what it sent and what it has not read yet.

use std::io::{self, Read, Write};

use mio::net::UnixStream;

use super::access::Peer;
use super::codec::Decoder;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: UnixStream,
    pub(super) peer: Peer,
    pub(super) decoder: Decoder,
    /// The call that was handed out and not answered.
    pub(super) pending: Option<Pending>,
    /// The socket may hold bytes: epoll spoke, and no read has come back empty since.
    pub(super) unread: bool,
    /// The client will send nothing more.
    pub(super) ended: bool,
    /// To be closed when everything is sent.
    pub(super) closing: bool,
    out: Vec<u8>,
    sent: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub(super) serial: u64,
    pub(super) oneway: bool,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, peer: Peer) -> Self {
        Self {
            stream,
            peer,
            decoder: Decoder::default(),
            pending: None,
            unread: false,
            ended: false,
            closing: false,
            out: Vec::new(),
            sent: 0,
        }
    }

    /// Reads as much as there is and the decoder has room for.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        if self.ended {
            // An event after the end says nothing new.
            self.unread = false;
        }
        let mut chunk = [0_u8; 4096];
        while self.unread {
            let room = self.decoder.room().min(chunk.len());
            let Some(space) = chunk.get_mut(..room).filter(|space| !space.is_empty()) else {
                return Ok(());
            };
            match self.stream.read(space) {
                Ok(0) => {
                    self.ended = true;
                    self.unread = false;
                }
                Ok(length) => {
                    let bytes = chunk.get(..length).unwrap_or_default();
                    self.decoder.feed(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.unread = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    pub(super) fn queue(&mut self, frame: Vec<u8>) {
        if self.unsent() == 0 {
            self.out = frame;
            self.sent = 0;
        } else {
            self.out.drain(..self.sent);
            self.sent = 0;
            self.out.extend_from_slice(&frame);
        }
    }

    /// Writes as much as the socket takes; being full is no error.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out = Vec::new();
        self.sent = 0;
        Ok(())
    }
}
