//! What herd tells whoever started it: systemd (`Type=notify`), a container engine, another herd.
//!
//! `sd_notify(3)`: `READY=1` once everything that starts by itself has started, or failed to; `STATUS=`, `STOPPING=1`,
//! `RELOADING=1`, and `EXIT_STATUS=` of the container interface at the end. It is said once and not waited for.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with,
};

use super::Daemon;
use crate::supervisor::State;

/// Variables that are about herd itself, and never about what it starts.
pub(super) const OWN_VARIABLES: &[&str] = &[
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

#[derive(Debug, Default)]
pub(super) struct Manager {
    line: Option<(OwnedFd, SocketAddrUnix)>,
    is_told_ready: bool,
}

impl Manager {
    /// The socket of `$NOTIFY_SOCKET`; an `@` in front is an abstract name.
    pub(super) fn from_environment() -> Self {
        Self {
            line: std::env::var_os("NOTIFY_SOCKET").and_then(open),
            is_told_ready: false,
        }
    }

    fn tell(&self, words: &str) {
        if let Some((socket, address)) = &self.line {
            // Whoever does not listen any more misses nothing that it could still use.
            sendto(socket, words.as_bytes(), SendFlags::DONTWAIT, address).ok();
        }
    }

    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping everything in order");
    }

    pub(super) fn ended(&self, code: u8) {
        self.tell(&format!("EXIT_STATUS={code}"));
    }
}

fn open(name: OsString) -> Option<(OwnedFd, SocketAddrUnix)> {
    let address = match name.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddrUnix::new_abstract_name(name).ok()?,
        Some((b'/', _)) => SocketAddrUnix::new(&name).ok()?,
        _ => return None,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).ok()?;
    Some((socket, address))
}

impl Daemon {
    /// `READY=1`, the first time that nothing is on its way up.
    pub(super) fn tell_ready(&mut self) {
        if self.manager.line.is_none()
            || self.manager.is_told_ready
            || self.supervisor.is_shutting_down()
            || self.supervisor.is_starting()
        {
            return;
        }
        self.manager.is_told_ready = true;
        self.manager
            .tell(&format!("READY=1\nSTATUS={}", self.summary()));
    }

    /// The units are read again (`Type=notify-reload`).
    pub(super) fn tell_reloading(&mut self) {
        let now = super::clock::monotonic_micros();
        self.manager
            .tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
        self.manager.is_told_ready = false;
    }

    fn summary(&self) -> String {
        let (mut active, mut failed) = (0_usize, 0_usize);
        for service in self.supervisor.services() {
            active += usize::from(service.state().is_active());
            failed += usize::from(matches!(service.state(), State::Failed(_)));
        }
        match failed {
            0 => format!("{active} units active"),
            _ => format!("{active} units active, {failed} failed"),
        }
    }
}
