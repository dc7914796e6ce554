//! Who may say what: the rules, and the facts about a peer they are decided on.
//!
//! root and herd's own user may do everything; other users may look. A process of a box gets
//! nothing, whatever its uid: a box's root would otherwise rule the manager that locked it in.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::call::Request;
use super::protocol::{Call, Refusal};

/// A peer as the kernel describes it at `connect(2)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    pub pid: i32,
    pub place: Place,
}

/// Where a peer runs, seen from herd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Here,
    OtherPidNamespace,
    BoxedService,
    /// Its `/proc` entry could not be read, or it was gone by then.
    Unknown,
}

/// # Errors
/// [`Refusal::PermissionDenied`], with the reason.
pub fn decide(peer: &Peer, own_uid: u32, request: &Request) -> Result<(), Refusal> {
    match peer.place {
        Place::Here => {}
        Place::OtherPidNamespace => {
            return denied("the caller runs in another PID namespace than herd");
        }
        Place::BoxedService => return denied("the caller belongs to a boxed service"),
        // No box of a herd that is not root holds a process of the real root.
        Place::Unknown if peer.uid == 0 && own_uid != 0 => {}
        Place::Unknown => return denied("it cannot be told where the caller runs"),
    }
    if is_owner(peer.uid, own_uid) || is_harmless(request) {
        return Ok(());
    }
    denied("only root and the user that herd runs as may do this")
}

pub fn is_owner(uid: u32, own_uid: u32) -> bool {
    uid == 0 || uid == own_uid
}

/// Claims that the request changes nothing and shows no environment of a service.
fn is_harmless(request: &Request) -> bool {
    match request {
        Request::GetInfo | Request::GetInterfaceDescription { .. } => true,
        Request::Herd(call) => match call {
            Call::Status { .. }
            | Call::List { .. }
            | Call::Why { .. }
            | Call::Networks
            | Call::Boot
            | Call::Info => true,
            Call::Start(_)
            | Call::Stop(_)
            | Call::Restart(_)
            | Call::Reload(_)
            | Call::Kill { .. }
            | Call::Freeze { .. }
            | Call::Thaw { .. }
            | Call::ResetFailed { .. }
            | Call::Plan { .. }
            | Call::Cat { .. }
            | Call::Rescan
            | Call::Goal { .. }
            | Call::Shutdown { .. }
            | Call::CancelShutdown { .. }
            | Call::Watch { .. } => false,
        },
    }
}

fn denied(reason: &str) -> Result<(), Refusal> {
    Err(Refusal::PermissionDenied {
        reason: reason.to_owned(),
    })
}

/// Reads the facts. `is_boxed` is asked with each cgroup path of the peer (`/herd/web`).
///
/// # Errors
/// When the socket does not tell its peer.
pub fn look_up(socket: impl AsFd, is_boxed: &dyn Fn(&str) -> bool) -> io::Result<Peer> {
    let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
    let pid = credentials.pid();
    Ok(Peer {
        uid: credentials.uid(),
        pid,
        place: place(&socket, pid, is_boxed),
    })
}

fn place(socket: &impl AsFd, pid: i32, is_boxed: &dyn Fn(&str) -> bool) -> Place {
    if pid <= 0 {
        // The kernel shows a peer that has no number in our namespace as 0.
        return Place::OtherPidNamespace;
    }
    // Linux before 6.5 has no SO_PEERPIDFD; there the number alone must do.
    let pidfd = getsockopt(socket, sockopt::PeerPidfd).ok();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    if pidfd.is_some_and(|pidfd| has_exited(&pidfd)) {
        return Place::Unknown;
    }
    place_of(&status, &cgroups, is_boxed)
}

/// `NSpid` lists one number for each namespace from that of `/proc` inwards, and unlike the link
/// `/proc/PID/ns/pid` anyone may read it.
fn place_of(status: &str, cgroups: &str, is_boxed: &dyn Fn(&str) -> bool) -> Place {
    let Some(numbers) = status.lines().find_map(|line| line.strip_prefix("NSpid:")) else {
        return Place::Unknown;
    };
    if numbers.split_whitespace().count() != 1 {
        return Place::OtherPidNamespace;
    }
    let mut paths = cgroups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2));
    if paths.any(is_boxed) {
        Place::BoxedService
    } else {
        Place::Here
    }
}

fn has_exited(pidfd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // Not to know counts as gone: that only ever denies.
    poll(&mut fds, Some(&at_once)).map_or(true, |ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use units::UnitName;

    fn stop() -> Request {
        Request::Herd(Call::Cat {
            unit: UnitName::new("web").unwrap(),
        })
    }

    #[test]
    fn the_rules_are_these() {
        let look = Request::Herd(Call::Info);
        let cases = [
            // uid, place, own uid, may look, may act
            (0, Place::Here, 0, true, true),
            (1000, Place::Here, 1000, true, true),
            (0, Place::Here, 1000, true, true),
            (1001, Place::Here, 0, true, false),
            (1001, Place::Here, 1000, true, false),
            (0, Place::OtherPidNamespace, 0, false, false),
            (1000, Place::OtherPidNamespace, 1000, false, false),
            (0, Place::BoxedService, 0, false, false),
            (0, Place::Unknown, 0, false, false),
            (0, Place::Unknown, 1000, true, true),
            (1000, Place::Unknown, 1000, false, false),
        ];
        for (uid, place, own_uid, may_look, may_act) in cases {
            let peer = Peer { uid, pid: 1, place };
            assert_eq!(decide(&peer, own_uid, &look).is_ok(), may_look, "{peer:?}");
            assert_eq!(decide(&peer, own_uid, &stop()).is_ok(), may_act, "{peer:?}");
        }
    }

    #[test]
    fn a_nested_namespace_and_a_boxed_cgroup_are_seen() {
        let boxed = |path: &str| path.starts_with("/herd/web");
        let here = "Name:\tsh\nNSpid:\t77\n";
        assert_eq!(place_of(here, "0::/\n", &boxed), Place::Here);
        assert_eq!(
            place_of("NSpid:\t77\t1\n", "0::/\n", &boxed),
            Place::OtherPidNamespace
        );
        assert_eq!(
            place_of(here, "5:pids:/\n4:memory:/herd/web\n0::/\n", &boxed),
            Place::BoxedService
        );
        assert_eq!(place_of("", "", &boxed), Place::Unknown);
    }

    #[test]
    fn this_very_process_is_here() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = look_up(&ours, &|_| false).unwrap();
        assert_eq!(peer.uid, rustix::process::getuid().as_raw());
        assert_eq!(peer.place, Place::Here);
        assert_eq!(
            look_up(&ours, &|_| true).unwrap().place,
            Place::BoxedService
        );
    }
}
