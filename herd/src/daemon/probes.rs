//! Probes of readiness and health, without ever waiting for one: each is a connection in the loop,
//! or a process like any other. Where the unit has a network of its own, connections begin in it.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use mio::net::{TcpStream, UnixStream};
use rustix::thread::LinkNameSpaceType;
use units::unit::Probe;

/// A probe under way.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    /// What to say once connected, and how much of the answer has come.
    talk: Option<Talk>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[derive(Debug)]
struct Talk {
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
}

/// What came of starting or continuing a probe.
#[derive(Debug)]
pub(super) enum Progress {
    Done(Result<(), Arc<str>>),
    Pending,
}

/// Longest beginning of an HTTP answer that is read: the status line is in it.
const MAX_ANSWER: usize = 1024;

impl Connection {
    /// Begins a probe of the network kind, in this network namespace where one is given; `None` says that the
    /// answer is already known.
    ///
    /// # Errors
    /// The reason why the probe does not succeed.
    pub(super) fn open(
        probe: &Probe,
        network: Option<BorrowedFd<'_>>,
    ) -> Result<Option<Self>, Arc<str>> {
        match probe {
            Probe::Tcp(address) => {
                let stream = connect(address, network)?;
                Ok(Some(Self {
                    stream: Stream::Tcp(stream),
                    talk: None,
                }))
            }
            Probe::Http(url) => {
                let rest = url.strip_prefix("http://").unwrap_or(url);
                let (host, path) = match rest.split_once('/') {
                    Some((host, path)) => (host, format!("/{path}")),
                    None => (rest, "/".to_owned()),
                };
                let address = if host.contains(':') && !host.ends_with(']') {
                    host.to_owned()
                } else {
                    format!("{host}:80")
                };
                let stream = connect(&address, network)?;
                let request = format!(
                    "GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: herd\r\nConnection: close\r\n\r\n"
                );
                let talk = Talk {
                    request: request.into_bytes(),
                    sent: 0,
                    answer: Vec::new(),
                };
                Ok(Some(Self {
                    stream: Stream::Tcp(stream),
                    talk: Some(talk),
                }))
            }
            Probe::Unix(path) => {
                let stream = UnixStream::connect(path)
                    .map_err(|error| words(&format!("connect to {}", path.display()), &error))?;
                Ok(Some(Self {
                    stream: Stream::Unix(stream),
                    talk: None,
                }))
            }
            Probe::Path(path) => exists(path).map(|()| None),
            Probe::Command(_) => Err("a command is no connection".into()),
        }
    }

    /// Goes on as far as it can now.
    pub(super) fn advance(&mut self) -> Progress {
        let error = match &self.stream {
            Stream::Tcp(stream) => stream.take_error(),
            Stream::Unix(stream) => stream.take_error(),
        };
        match error {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Progress::Done(Err(words("connect", &error))),
        }
        if let Stream::Tcp(stream) = &self.stream
            && let Err(error) = stream.peer_addr()
        {
            return match error.kind() {
                io::ErrorKind::NotConnected => Progress::Pending,
                _ => Progress::Done(Err(words("connect", &error))),
            };
        }
        let Some(talk) = &mut self.talk else {
            return Progress::Done(Ok(()));
        };
        let Stream::Tcp(stream) = &mut self.stream else {
            return Progress::Done(Ok(()));
        };
        talk.advance(stream)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Talk {
    fn advance(&mut self, stream: &mut TcpStream) -> Progress {
        while let Some(rest) = self
            .request
            .get(self.sent..)
            .filter(|rest| !rest.is_empty())
        {
            match stream.write(rest) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Progress::Pending;
                }
                Err(error) => return Progress::Done(Err(words("send", &error))),
            }
        }
        let mut chunk = [0_u8; 256];
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => return Progress::Done(Err("closed before it answered".into())),
                Ok(count) => {
                    self.answer.extend(chunk.get(..count).unwrap_or_default());
                    if let Some(end) = self.answer.iter().position(|b| *b == b'\n') {
                        let line =
                            String::from_utf8_lossy(self.answer.get(..end).unwrap_or_default())
                                .trim_end()
                                .to_owned();
                        return Progress::Done(judge(&line));
                    }
                    if self.answer.len() > MAX_ANSWER {
                        return Progress::Done(Err("answered no HTTP".into()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Progress::Pending;
                }
                Err(error) => return Progress::Done(Err(words("read", &error))),
            }
        }
    }
}

/// The status line of RFC 9112: 200 to 399 is well.
fn judge(line: &str) -> Result<(), Arc<str>> {
    let code = line
        .strip_prefix("HTTP/")
        .and_then(|rest| rest.split(' ').nth(1));
    match code.and_then(|code| code.parse::<u16>().ok()) {
        Some(200..=399) => Ok(()),
        Some(code) => Err(format!("answered {code}").into()),
        None => Err("answered no HTTP".into()),
    }
}

fn exists(path: &Path) -> Result<(), Arc<str>> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(words(&path.display().to_string(), &error)),
    }
}

fn connect(address: &str, network: Option<BorrowedFd<'_>>) -> Result<TcpStream, Arc<str>> {
    let parsed = match address.strip_prefix("localhost:") {
        Some(port) => port
            .parse()
            .ok()
            .map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        None => address.parse().ok(),
    };
    let Some(parsed) = parsed else {
        return Err(format!("{address} is no address and port").into());
    };
    let connecting = match network {
        None => TcpStream::connect(parsed),
        Some(network) => connect_in(network, parsed)?,
    };
    connecting.map_err(|error| words(&format!("connect to {address}"), &error))
}

/// A socket stays in the namespace that it was made in, so that a thread is there for as long as `socket(2)` and the
/// beginning of `connect(2)` take, which wait for nobody.
fn connect_in(network: BorrowedFd<'_>, to: SocketAddr) -> Result<io::Result<TcpStream>, Arc<str>> {
    let there = || {
        let kind = Some(LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(network, kind)
            .map_err(|errno| words("enter the network of the box", &errno.into()))?;
        Ok(TcpStream::connect(to))
    };
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("probe".to_owned());
        let thread = builder.spawn_scoped(scope, there);
        let thread = thread.map_err(|error| words("start a thread", &error))?;
        let panicked = |_| Err(Arc::from("connect: the thread of the probe has panicked"));
        thread.join().unwrap_or_else(panicked)
    })
}

fn words(what: &str, error: &io::Error) -> Arc<str> {
    format!("{what}: {error}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_200_to_399_is_well() {
        assert_eq!(judge("HTTP/1.1 200 OK"), Ok(()));
        assert_eq!(judge("HTTP/1.0 302 Found"), Ok(()));
        assert_eq!(judge("HTTP/1.1 503 Busy"), Err("answered 503".into()));
        assert_eq!(judge("SSH-2.0-OpenSSH"), Err("answered no HTTP".into()));
    }
}
