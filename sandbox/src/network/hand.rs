//! A copy of the builder that stays outside of the box's user namespace, where links can be made.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::RecvFlags;
use rustix::process::{WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use super::NetworkError;
use crate::message;
use crate::status;
use crate::sys::clone::{Child, Parent, Side, fork};
use crate::sys::process;

/// One that waits for a network namespace. It ends with its one task, or with who made it.
#[derive(Debug)]
pub(crate) struct Hand {
    channel: OwnedFd,
    child: Child,
}

/// What a copy answers: nothing, or its words and the kernel's reason.
#[derive(Debug, Serialize, Deserialize)]
struct Answer(Option<(String, i32)>);

const LONGEST: usize = 4096;

impl Hand {
    /// Makes a copy of this process, which has one thread. In the copy `work` is done with the namespace that
    /// [`call`](Self::call) is given.
    pub(crate) fn start(
        work: impl FnOnce(BorrowedFd<'_>) -> Result<(), NetworkError>,
    ) -> io::Result<Self> {
        let (ours, theirs) = status::pair()?;
        match fork(Parent::Ourselves, 0)? {
            Side::Parent(child) => Ok(Self {
                channel: ours,
                child,
            }),
            Side::Child => {
                drop(ours);
                let code = match serve(&theirs, work) {
                    Ok(()) => 0,
                    Err(_) => 1,
                };
                process::exit_now(code)
            }
        }
    }

    /// Has the work done for this namespace, and waits for the copy's end.
    pub(crate) fn call(self, namespace: BorrowedFd<'_>) -> Result<(), NetworkError> {
        let ask = || -> io::Result<Answer> {
            message::send(self.channel.as_fd(), &[1], &[namespace])?;
            let mut bytes = [0; LONGEST];
            let (length, _) =
                message::receive(self.channel.as_fd(), &mut bytes, RecvFlags::empty())?;
            postcard::from_bytes(&bytes[..length]).map_err(io::Error::other)
        };
        let answer = ask();
        let child = WaitId::PidFd(self.child.pidfd.as_fd());
        let ended = || rustix::process::waitid(child.clone(), WaitIdOptions::EXITED);
        // Another error says that somebody else has reaped it.
        while matches!(ended(), Err(rustix::io::Errno::INTR)) {}
        match answer {
            Ok(Answer(None)) => Ok(()),
            Ok(Answer(Some((action, errno)))) => Err(NetworkError::Link {
                action,
                source: io::Error::from_raw_os_error(errno),
            }),
            Err(source) => Err(NetworkError::Link {
                action: "have links made outside of the user namespace".to_owned(),
                source,
            }),
        }
    }
}

fn serve(
    channel: &OwnedFd,
    work: impl FnOnce(BorrowedFd<'_>) -> Result<(), NetworkError>,
) -> io::Result<()> {
    let (length, received) = message::receive(channel.as_fd(), &mut [0], RecvFlags::empty())?;
    let Some(namespace) = received.first().filter(|_| length > 0) else {
        return Ok(());
    };
    let answer = Answer(work(namespace.as_fd()).err().map(|error| {
        let errno = error.errno().0;
        if let NetworkError::Link { action, .. } = error {
            (action, errno)
        } else {
            (error.to_string(), errno)
        }
    }));
    let bytes = postcard::to_stdvec(&answer).map_err(io::Error::other)?;
    message::send(channel.as_fd(), &bytes, &[])
}
