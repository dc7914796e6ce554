//! Ports on `[::1]`, which the kernel leads nowhere: for IPv6 it has no `route_localnet`, so no address of a box can be
//! put in place of the loopback's (RFC 4291, 2.5.3). A process of ours listens there, and calls the box.
//!
//! ```text
//! client                     relay ("herd-net")                 box
//!   |-- [::1]:8443 ----------->|                                  |
//!   |                          |-- its address, port 443 -------->|
//!   |<====== bytes, half-closes, resets, each way by itself =====>|
//! ```
//!
//! It is a copy of the builder that stays in the host's network, with sockets made before the lease is written down: a
//! port in use is found before anything is. It is there from then on, begins when the box's first process says which one
//! it is, and ends with that one, or with its builder.
//!
//! It sees bytes of strangers, so it has nothing: no capability, no descriptor but its sockets, no file to open, and a
//! filter that lets it move bytes between sockets of the internet.
#![forbid(unsafe_code)]

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::net::RecvFlags;
use serde::{Deserialize, Serialize};

use super::{NetworkError, keeper};
use crate::config::{
    AddressFamilies, Architectures, Port, Refusal, SystemCallEntry, SystemCallFilter, SystemCalls,
    Walls,
};
use crate::main_process::NOT_EXECUTED;
use crate::message;
use crate::seccomp::Program;
use crate::status;
use crate::sys::clone::{Parent, Side, fork};
use crate::sys::signals::Blocked;
use crate::sys::{capabilities, descriptors, process};

mod carry;
mod door;
mod flows;
mod pipe;

use carry::Carrier;
pub(super) use door::{Door, open};

/// Of one box: each is a socket that waits.
pub(super) const MOST_PORTS: usize = 256;

/// Claims that the kernel does not lead this port.
pub(crate) fn is_for(port: &Port) -> bool {
    port.address == Some(IpAddr::V6(Ipv6Addr::LOCALHOST))
}

/// How many of these take a process.
pub(super) fn count(ports: &[Port]) -> usize {
    let relayed = ports.iter().filter(|port| is_for(port));
    relayed.map(|port| usize::from(port.count)).sum()
}

/// What such a process may still do; the rest of its walls is the same for all of them, and set up as it begins.
pub(crate) fn walls() -> Walls {
    const INET: [u16; 2] = [2, 10];
    let entry = |name: &str, remove| SystemCallEntry {
        name: name.to_owned(),
        remove,
        refusal: None,
    };
    let allowed = [
        "accept4",
        "close",
        "connect",
        "epoll_ctl",
        "epoll_pwait",
        "epoll_pwait2",
        "epoll_wait",
        // Whether what is to be closed is open, as debug builds ask.
        "fcntl",
        "getsockopt",
        "madvise",
        "mremap",
        "recvfrom",
        "recvmsg",
        "sendto",
        "setsockopt",
        "shutdown",
        "socket",
    ];
    let allowed = allowed.map(|name| entry(name, false));
    let removed = ["execve", "prlimit64"].map(|name| entry(name, true));
    Walls {
        no_new_privileges: true,
        memory_deny_write_execute: true,
        restrict_address_families: Some(AddressFamilies::Only(INET.to_vec())),
        system_calls: SystemCalls {
            filter: Some(SystemCallFilter {
                allow: true,
                entries: allowed.into_iter().chain(removed).collect(),
            }),
            refusal: Refusal::KillProcess,
            architectures: Architectures::NATIVE,
            ..SystemCalls::default()
        },
        ..Walls::bare()
    }
}

/// Our end of the channel: until the relay has begun, it ends with the last of these.
#[derive(Debug)]
pub(super) struct Relay(OwnedFd);

/// What a relay answers: nothing, or the kernel's reason.
#[derive(Debug, Serialize, Deserialize)]
struct Answer(Option<i32>);

const LONGEST_ANSWER: usize = 16;

/// Connections, each of two sockets, and flows of UDP; some for the rest.
const MOST_DESCRIPTORS: u64 = (MOST_PORTS + 2 * carry::MOST_CONNECTIONS + flows::MOST + 64) as u64;

fn failed(source: io::Error) -> NetworkError {
    NetworkError::Link {
        action: "have ports of [::1] led to the box".to_owned(),
        source,
    }
}

impl Relay {
    /// Makes a relay from these doors to the box of this id, at the first of its addresses that answers.
    pub(super) fn start(
        id: &str,
        doors: Vec<Door>,
        addresses: &[IpAddr],
        filter: &Program,
    ) -> Result<Self, NetworkError> {
        let start = || -> io::Result<OwnedFd> {
            let mark = keeper::mark(id)?;
            let (ours, theirs) = status::pair()?;
            match fork(Parent::Ourselves, 0)? {
                Side::Parent(_) => Ok(ours),
                Side::Child => {
                    drop(ours);
                    let code = match serve(&theirs, &mark, doors, addresses, filter) {
                        Ok(()) => 0,
                        Err(error) => {
                            answer(&theirs, error.raw_os_error().or(Some(libc::EIO))).ok();
                            NOT_EXECUTED
                        }
                    };
                    process::exit_now(code)
                }
            }
        };
        start().map(Self).map_err(failed)
    }

    /// As the box's first process: the relay begins, and lives as long as we do.
    pub(super) fn begin(self) -> Result<(), NetworkError> {
        let ask = || -> io::Result<Answer> {
            let ourselves = process::own_pidfd()?;
            // One that has ended has said why.
            message::send(self.0.as_fd(), &[1], &[ourselves.as_fd()]).ok();
            let mut bytes = [0; LONGEST_ANSWER];
            let (length, _) = message::receive(self.0.as_fd(), &mut bytes, RecvFlags::empty())?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            postcard::from_bytes(bytes.get(..length).unwrap_or_default()).map_err(io::Error::other)
        };
        match ask().map_err(failed)? {
            Answer(None) => Ok(()),
            Answer(Some(errno)) => Err(failed(io::Error::from_raw_os_error(errno))),
        }
    }
}

fn answer(channel: &OwnedFd, errno: Option<i32>) -> io::Result<()> {
    let bytes = postcard::to_stdvec(&Answer(errno)).map_err(io::Error::other)?;
    message::send(channel.as_fd(), &bytes, &[])
}

fn serve(
    channel: &OwnedFd,
    mark: &OwnedFd,
    doors: Vec<Door>,
    addresses: &[IpAddr],
    filter: &Program,
) -> io::Result<()> {
    process::set_name(c"herd-net")?;
    // Who signals all of a service means its own processes: this one ends with the last of them.
    Blocked::new()?.keep();
    let sockets = doors.iter().map(|door| door.socket.as_raw_fd());
    let own = [channel.as_raw_fd(), mark.as_raw_fd()];
    let kept: Vec<RawFd> = own.into_iter().chain(sockets).collect();
    descriptors::close_all_but(&kept)?;
    rustix::process::chdir(c"/")?;
    process::new_session()?;
    process::set_rlimit(libc::RLIMIT_NOFILE, MOST_DESCRIPTORS, MOST_DESCRIPTORS)?;
    process::set_rlimit(libc::RLIMIT_CORE, 0, 0)?;
    let mut carrier = Carrier::new(doors, addresses)?;
    process::set_dumpable(false)?;
    process::no_new_privileges()?;
    capabilities::clear_ambient()?;
    capabilities::set(0, 0)?;
    process::install_filter(filter.words(), 0)?;
    let (length, mut received) = message::receive(channel.as_fd(), &mut [0], RecvFlags::empty())?;
    let Some(life) = received.pop().filter(|_| length > 0) else {
        // The box is not built any more.
        return Ok(());
    };
    carrier.ends_with(&life)?;
    answer(channel, None)?;
    carrier.carry()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Architecture, Host};

    #[test]
    fn only_what_the_kernel_does_not_lead_takes_a_relay() {
        let ports = [
            "80",
            "127.0.0.1:81:81",
            "[2001:db8::1]:82:82",
            "[::]:83:83",
            "[::1]:84:84/udp",
            "[0::1]:90-99:80-89",
        ];
        let ports: Vec<Port> = ports.iter().map(|port| port.parse().unwrap()).collect();
        assert_eq!(count(&ports), 11);
    }

    #[test]
    fn its_filter_lets_nothing_open_a_file_or_run_a_program() {
        let host = Host::of_tests(Architecture::X86_64);
        let filters = crate::seccomp::compile(&walls(), &host).unwrap();
        let [filter] = &*filters else {
            panic!("{filters:?}");
        };
        assert!(filter.words.contains("kill"), "{}", filter.words);
        let Some(listed) = walls().system_calls.filter else {
            panic!("no list");
        };
        for name in ["open", "openat", "openat2", "ptrace", "kill", "bpf", "bind"] {
            assert!(listed.entries.iter().all(|entry| entry.name != name));
        }
    }
}
