//! The process that runs a box's user-mode program, and lets it live exactly as long as the box.
//!
//! It is a copy of the builder that stays outside of the box's user namespace. The program forgets whom it is to
//! die with when it enters that namespace, so somebody has to end it:
//!
//! ```text
//! builder, box's first process      keeper                       program
//!   |-- namespaces, itself ---------->|-- fork, execve ------------->|
//!   |                                 |<--------- ready, or its end -|
//!   |<------- done, or its words -----|                              |
//!   |  (the channel is held for       |                              |
//!   |   as long as the box lives)     |                              |
//!   X  ----- closed ----------------->|-- SIGKILL ------------------>X
//!                                     |<--------- ended -------------X
//!   X<------ SIGKILL, and a line -----|
//! ```
//!
//! A box whose program has ended would never hear anything again, so it ends too, and says why in its log.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Signal, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::apply::failed;
use super::user_mode::{self, Given, UserModeKind, UserNetwork};
use super::{NetworkError, apply, settings};
use crate::launch::wait_for_end;
use crate::main_process::{Descriptors, NOT_EXECUTED};
use crate::message;
use crate::status;
use crate::sys::clone::{Child, Parent, Side, fork};
use crate::sys::exec::{StringArray, execve};
use crate::sys::signals::{Blocked, Disposition, set_disposition};
use crate::sys::{descriptors, process};

/// Our end of the channel: the box lives for as long as somebody has it.
#[derive(Debug)]
pub(crate) struct Keeper {
    channel: OwnedFd,
    program: &'static str,
}

/// What a keeper answers: nothing, or the program's words.
#[derive(Debug, Serialize, Deserialize)]
struct Answer(Option<String>);

impl Keeper {
    /// Makes a keeper, which waits. `log` is where it says that its program has ended.
    pub(crate) fn start(wanted: &UserNetwork, log: Option<RawFd>) -> Result<Self, NetworkError> {
        for port in &wanted.ports {
            apply::is_free(port)?;
        }
        let start = || -> io::Result<OwnedFd> {
            let mark = mark(&wanted.id)?;
            let (ours, theirs) = status::pair()?;
            match fork(Parent::Ourselves, 0)? {
                Side::Parent(_) => Ok(ours),
                Side::Child => {
                    drop(ours);
                    let code = match serve(wanted, &theirs, &mark, log) {
                        Ok(()) => 0,
                        Err(_) => NOT_EXECUTED,
                    };
                    process::exit_now(code)
                }
            }
        };
        let program = wanted.program.kind.name();
        let channel = start().map_err(failed(&format!("start a process to keep {program}")))?;
        Ok(Self { channel, program })
    }

    /// In the box's namespaces: has the program begin, and waits until the box has its interface.
    pub(crate) fn connect(&self) -> Result<(), NetworkError> {
        settings::inside()?;
        settings::address_at_once("default")?;
        let ask = || -> io::Result<Answer> {
            let open = |path: &str| -> io::Result<OwnedFd> {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                Ok(rustix::fs::open(path, flags, Mode::empty())?)
            };
            let network = open("/proc/self/ns/net")?;
            let user = open("/proc/self/ns/user")?;
            let ourselves = process::own_pidfd()?;
            let all = [network.as_fd(), user.as_fd(), ourselves.as_fd()];
            message::send(self.channel.as_fd(), &[1], &all)?;
            let mut bytes = [0; LONGEST_ANSWER];
            let (length, _) =
                message::receive(self.channel.as_fd(), &mut bytes, RecvFlags::empty())?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let answer = bytes.get(..length).unwrap_or_default();
            postcard::from_bytes(answer).map_err(io::Error::other)
        };
        let program = self.program;
        match ask() {
            Ok(Answer(None)) => Ok(()),
            Ok(Answer(Some(words))) => Err(NetworkError::UserMode { program, words }),
            Err(source) => Err(failed(&format!("have {program} lead the network outside"))(
                source,
            )),
        }
    }

    /// For the box's first process to hold.
    pub(crate) fn into_channel(self) -> OwnedFd {
        self.channel
    }
}

const LONGEST_ANSWER: usize = 4096;

fn name_of_mark(id: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new_abstract_name(
        format!("herd-network-{id}").as_bytes(),
    )?)
}

fn stream() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// Says that this keeper is there: nobody is ever answered, and all hear its end.
pub(super) fn mark(id: &str) -> io::Result<OwnedFd> {
    let socket = stream()?;
    rustix::net::bind(&socket, &name_of_mark(id)?)?;
    rustix::net::listen(&socket, 8)?;
    Ok(socket)
}

/// Somebody who has taken the name of a keeper holds nobody up for longer.
const PATIENCE: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// Waits until the keepers of these boxes have ended, and with them their programs: for all at once, and not for those
/// of other users, who may call themselves what they like. At once where there is none.
///
/// # Errors
/// `ETIMEDOUT` where one does not end.
pub(super) fn wait_for_ends(ids: &[&str]) -> io::Result<()> {
    let mut keepers = Vec::new();
    for id in ids {
        let socket = stream()?;
        if rustix::net::connect(&socket, &name_of_mark(id)?).is_ok() {
            let credentials = rustix::net::sockopt::socket_peercred(&socket)?;
            keepers.extend((credentials.uid == rustix::process::geteuid()).then_some(socket));
        }
    }
    while !keepers.is_empty() {
        let mut all: Vec<_> = keepers
            .iter()
            .map(|keeper| PollFd::new(keeper, PollFlags::IN))
            .collect();
        match poll(&mut all, Some(&PATIENCE)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut lives = all
            .iter()
            .map(|one| one.revents().is_empty())
            .collect::<Vec<_>>()
            .into_iter();
        keepers.retain(|_| lives.next().unwrap_or_default());
    }
    Ok(())
}

fn serve(
    wanted: &UserNetwork,
    channel: &OwnedFd,
    mark: &OwnedFd,
    log: Option<RawFd>,
) -> io::Result<()> {
    process::set_name(c"herd-net")?;
    // Who signals all of a service means its own processes: these two end with the last of them.
    Blocked::new()?.keep();
    let own = [channel.as_raw_fd(), mark.as_raw_fd()];
    let kept: Vec<RawFd> = own.into_iter().chain(log).collect();
    descriptors::close_all_but(&kept)?;
    let log = log.map(descriptors::adopt).transpose()?;
    process::set_dumpable(false)?;
    process::no_new_privileges()?;
    let (length, received) = message::receive(channel.as_fd(), &mut [0], RecvFlags::empty())?;
    let Ok([network, user, first]) = <[OwnedFd; 3]>::try_from(received) else {
        return Ok(());
    };
    if length == 0 {
        return Ok(());
    }
    let mut running = Running::start(wanted, &network, &user)?;
    drop((network, user));
    let end = match running.wait_until_ready(channel.as_fd())? {
        Became::Ready => {
            answer(channel, None)?;
            running.wait_for_end(channel.as_fd())?
        }
        Became::Ended(end) => {
            return answer(channel, Some(running.words(end)));
        }
        Became::Unwanted => return Ok(()),
    };
    if let Some(end) = end {
        let words = running.words(end);
        let program = wanted.program.kind.name();
        let line = format!(
            "herd: {program}, which leads the box's network outside, {words}: the box ends\n"
        );
        if let Some(log) = log {
            // A log that nobody reads holds up nobody.
            rustix::io::ioctl_fionbio(&log, true).ok();
            rustix::io::write(&log, line.as_bytes()).ok();
        }
        pidfd_send_signal(&first, Signal::KILL)?;
    }
    Ok(())
}

fn answer(channel: &OwnedFd, words: Option<String>) -> io::Result<()> {
    let bytes = postcard::to_stdvec(&Answer(words)).map_err(io::Error::other)?;
    message::send(channel.as_fd(), &bytes, &[])
}

/// The program at work. It is killed with this.
struct Running {
    child: Child,
    kind: UserModeKind,
    /// Closed once it has been read to its end.
    pipe: Option<OwnedFd>,
    ready: Option<OwnedFd>,
    _end: Option<OwnedFd>,
    said: String,
}

enum Became {
    Ready,
    Ended(ExitStatus),
    /// The box is not built any more.
    Unwanted,
}

/// What one look at everything came to.
struct Seen {
    is_unwanted: bool,
    has_ended: bool,
    is_ready: bool,
}

impl Running {
    fn start(wanted: &UserNetwork, network: &OwnedFd, user: &OwnedFd) -> io::Result<Self> {
        let kind = wanted.program.kind;
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        let (said, says) = rustix::pipe::pipe_with(flags)?;
        rustix::io::ioctl_fionbio(&said, true)?;
        let (ready, says_ready) = rustix::pipe::pipe_with(flags)?;
        let (hears_end, end) = rustix::pipe::pipe_with(flags)?;
        let null = fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        let moves = user_mode::given(kind).iter().zip(0..).map(|(given, to)| {
            let from = match given {
                Given::Nothing => null.as_raw_fd(),
                Given::NetworkNamespace => network.as_raw_fd(),
                Given::UserNamespace => user.as_raw_fd(),
                Given::Said => says.as_raw_fd(),
                Given::Ready => says_ready.as_raw_fd(),
                Given::End => hears_end.as_raw_fd(),
            };
            (from, to)
        });
        let places = Descriptors::new(None, moves);
        let path = CString::new(wanted.program.path.as_os_str().as_bytes())?;
        let arguments = StringArray::new(user_mode::arguments(wanted));
        let environment = StringArray::new(Vec::new());
        match fork(Parent::Ourselves, 0)? {
            Side::Parent(child) => Ok(Self {
                child,
                kind,
                pipe: Some(said),
                ready: (kind == UserModeKind::Slirp4netns).then_some(ready),
                _end: Some(end),
                said: String::new(),
            }),
            Side::Child => {
                // pasta takes a SIGPIPE that is ignored already for a failure.
                let begun = process::die_with_parent()
                    .and_then(|()| set_disposition(libc::SIGPIPE, Disposition::Default))
                    .and_then(|()| places.fill());
                let failure = match begun {
                    Ok(()) => execve(&path, &arguments, &environment),
                    Err(errno) => errno,
                };
                let text = crate::sys::text_of(failure.0);
                // Descriptor 2 is the pipe, where it came to that.
                rustix::io::write(rustix::stdio::stderr(), text.as_bytes()).ok();
                process::exit_now(NOT_EXECUTED)
            }
        }
    }

    fn wait_until_ready(&mut self, channel: BorrowedFd<'_>) -> io::Result<Became> {
        loop {
            let seen = self.look(channel)?;
            if seen.is_unwanted {
                return Ok(Became::Unwanted);
            }
            if seen.has_ended {
                return Ok(Became::Ended(self.reap()?));
            }
            let own = self.child.pid.to_string();
            let has_pid = self.said.lines().any(|line| line == own);
            if seen.is_ready || (self.kind == UserModeKind::Pasta && has_pid) {
                self.ready = None;
                return Ok(Became::Ready);
            }
        }
    }

    /// Of the box (`None`) or of the program.
    fn wait_for_end(&mut self, channel: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
        loop {
            let seen = self.look(channel)?;
            if seen.is_unwanted {
                return Ok(None);
            }
            if seen.has_ended {
                return self.reap().map(Some);
            }
        }
    }

    /// Waits until something happens.
    fn look(&mut self, channel: BorrowedFd<'_>) -> io::Result<Seen> {
        let mut all = vec![
            PollFd::from_borrowed_fd(channel, PollFlags::IN),
            PollFd::new(&self.child.pidfd, PollFlags::IN),
        ];
        // What has nothing more to say is not asked: it would answer at once, for ever.
        let others = [&self.pipe, &self.ready].into_iter().flatten();
        all.extend(others.map(|other| PollFd::new(other, PollFlags::IN)));
        while let Err(errno) = poll(&mut all, None) {
            if errno != rustix::io::Errno::INTR {
                return Err(errno.into());
            }
        }
        let is_there: Vec<bool> = all.iter().map(|one| !one.revents().is_empty()).collect();
        let at = |index: usize| is_there.get(index).copied().unwrap_or_default();
        let (is_unwanted, has_ended) = (at(0), at(1));
        let (says, ready) = match &self.pipe {
            Some(_) => (at(2), at(3)),
            None => (false, at(2)),
        };
        if says || has_ended {
            self.listen()?;
        }
        let mut is_ready = false;
        if let Some(pipe) = self.ready.as_ref().filter(|_| ready) {
            is_ready = rustix::io::read(pipe, &mut [0; 8])? > 0;
            self.ready = None;
        }
        Ok(Seen {
            is_unwanted,
            has_ended,
            is_ready,
        })
    }

    /// Keeps the end of what it says.
    fn listen(&mut self) -> io::Result<()> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        let mut bytes = [0; 4096];
        let length = match rustix::io::read(pipe, &mut bytes) {
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            length => length?,
        };
        if length == 0 {
            self.pipe = None;
        }
        let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
        if self.said.len() > bytes.len() {
            self.said.clear();
        }
        self.said.push_str(&text);
        Ok(())
    }

    fn reap(&self) -> io::Result<ExitStatus> {
        wait_for_end(self.child.pidfd.as_fd())
    }

    fn words(&self, end: ExitStatus) -> String {
        let said = user_mode::words(&self.said, self.child.pid);
        let how = match (end.signal(), end.code()) {
            (Some(signal), _) => format!("was killed by signal {signal}"),
            (None, code) => format!("ended with status {}", code.unwrap_or_default()),
        };
        match &*said {
            "" => how,
            said => format!("{how} ({said})"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has been reaped is no more; our own end would not end one that has entered the namespaces.
        if pidfd_send_signal(&self.child.pidfd, Signal::KILL).is_ok() {
            self.reap().ok();
        }
    }
}
