//! Waiting for an address that others reach: nothing is polled, the kernel tells of each.
#![forbid(unsafe_code)]

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use nix::ifaddrs::getifaddrs;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

/// rtnetlink(7): `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR`.
const GROUPS: u32 = 0x10 | 0x100;

/// Why nobody knows whether there is one.
#[derive(Debug, thiserror::Error)]
#[error("cannot wait for an address of {interface}")]
pub struct AddressError {
    interface: String,
    source: io::Error,
}

/// The interface's address, as soon as it has one that is not of the link alone. The interface need not be there yet.
pub(super) fn wait(interface: &str) -> Result<IpAddr, AddressError> {
    let failed = |source: io::Error| AddressError {
        interface: interface.to_owned(),
        source,
    };
    let open = || -> io::Result<_> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // The protocol 0 is that of routes.
        let news = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&news, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(news)
    };
    // Before the look: what comes in between is heard.
    let news = open().map_err(failed)?;
    loop {
        if let Some(address) = address(interface).map_err(failed)? {
            return Ok(address);
        }
        match poll(&mut [PollFd::new(&news, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let mut buffer = [0_u8; 8192];
        drain(|| rustix::io::read(news.as_fd(), &mut buffer)).map_err(failed)?;
    }
}

/// Reads until nothing is left. What it says does not matter, nor what was lost: everything is looked at again.
fn drain(mut read: impl FnMut() -> Result<usize, Errno>) -> io::Result<()> {
    loop {
        match read() {
            Ok(0) | Err(Errno::AGAIN) => return Ok(()),
            // netlink(7): more came than there was room for.
            Ok(_) | Err(Errno::INTR | Errno::NOBUFS) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn address(interface: &str) -> io::Result<Option<IpAddr>> {
    let addresses = getifaddrs()?.filter(|entry| entry.interface_name == interface);
    let address = addresses.filter_map(|entry| {
        let address = entry.address?;
        let of_four = address
            .as_sockaddr_in()
            .map(|address| IpAddr::V4(address.ip()));
        of_four.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))
    });
    Ok(address.into_iter().find(reaches_others))
}

fn reaches_others(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => !four.is_link_local() && !four.is_unspecified(),
        IpAddr::V6(six) => !six.is_unicast_link_local() && !six.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_link_reach_nobody() {
        let reaches = |text: &str| reaches_others(&text.parse().unwrap());
        assert!(reaches("192.0.2.5") && reaches("2001:db8::5"));
        assert!(!reaches("169.254.3.4") && !reaches("fe80::1") && !reaches("0.0.0.0"));
    }

    #[test]
    fn lost_news_are_passed_over_and_an_error_that_lasts_is_returned() {
        let drained = |results: &[Result<usize, Errno>]| {
            let mut results = results.iter().copied();
            let outcome = drain(|| results.next().unwrap());
            (outcome.map_err(|error| error.raw_os_error()), results.len())
        };
        let lost = [Ok(64), Err(Errno::NOBUFS), Err(Errno::INTR), Ok(8)];
        let all = [&lost[..], &[Err(Errno::AGAIN)]].concat();
        assert_eq!(drained(&all), (Ok(()), 0));
        let all = [&lost[..], &[Err(Errno::NOMEM), Err(Errno::AGAIN)]].concat();
        assert_eq!(drained(&all), (Err(Some(Errno::NOMEM.raw_os_error())), 1));
    }
}
