//! What a network of a box takes, tried in a network namespace that nobody else sees.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;
use std::thread;

use super::address_pool as pool;
use super::links::{self, End};
use super::netlink::{Netlink, Request};
use super::state::{Around, State};
use super::{nft, rules};
use crate::config::{Interface, PrivateNetwork};
use crate::sys::process;

/// What was tried.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) bridge: io::Result<()>,
    pub(crate) pair: io::Result<()>,
    pub(crate) firewall: io::Result<()>,
    pub(crate) queue: io::Result<()>,
    pub(crate) on_the_wire: io::Result<()>,
}

/// Makes one of each, in a thread that has left the network; they go with it.
///
/// # Errors
/// When it may not leave.
pub(crate) fn tried() -> io::Result<Trial> {
    let leave = || -> io::Result<Trial> {
        process::unshare(u64::from(libc::CLONE_NEWNET.unsigned_abs()))?;
        let mut socket = Netlink::route()?;
        let mac = pool::mac([10, 0, 0, 1].into());
        let bridge = socket.one(links::bridge("herd-doctor", mac, None));
        let place = std::fs::File::open("/proc/thread-self/ns/net")?;
        let end = |name| End {
            name,
            namespace: place.as_raw_fd(),
            mac: None,
            mtu: None,
        };
        let mut on = |parent: &str, make: &dyn Fn(u32) -> Request| {
            let index = socket.index(parent)?;
            socket.one(make(index))
        };
        let pair = on("herd-doctor", &|bridge| {
            links::pair("herd-out", bridge, &end("herd-in"))
        });
        let queue = on("herd-out", &|index| links::shape(index, 1_000_000));
        let on_the_wire = on("herd-in", &|parent| {
            links::on_parent(parent, true, &end("herd-wire"))
        });
        Ok(Trial {
            bridge,
            pair,
            firewall: firewall(),
            queue,
            on_the_wire,
        })
    };
    match thread::Builder::new().spawn(leave)?.join() {
        Ok(trial) => trial,
        Err(_) => Err(io::ErrorKind::Other.into()),
    }
}

/// The rules of one box, whole.
fn firewall() -> io::Result<()> {
    let wanted = PrivateNetwork {
        id: "doctor".to_owned(),
        name: "doctor".to_owned(),
        interfaces: vec![Interface::on("doctor")],
        ..PrivateNetwork::default()
    };
    let mut state = State::default();
    let around = Around {
        has_ipv6: true,
        ..Around::default()
    };
    state.add(&wanted, &around).map_err(io::Error::other)?;
    Netlink::netfilter()?.batch(&nft::replace(&rules::tables(&state)))
}
