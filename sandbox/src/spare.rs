//! Executors made ahead, the caller's side: starting one takes longer than building a box.
//!
//! ```text
//! caller                     zygote                      spare
//!   |-- one end of a channel ->|                           |
//!   |   namespaces             |-- clone3(PARENT) -------->|
//!   |<------ pid, pidfd -------|                           | waits, until the channel is closed
//!   |-- a plan, descriptors, on the channel -------------->|
//!   |<= from here on the channel of any executor =========>|
//! ```
//!
//! The zygote is an executor too (`herd-exec zygote`): it has one thread, has seen no plan, and
//! only ever copies itself. Its copies are children of the caller, and wait in new namespaces already: in
//! those that the last plans had, as far as what is in them does not depend on when they are made
//! ([`Plan::begins_inside`]). Who dies, whatever the reason, costs
//! the next launch the time of starting an executor, and nothing else.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::executor::status_channel;
use crate::message::{MOST_DESCRIPTORS, receive, send};
use crate::plan::Plan;
use crate::step::NamespaceSet;
use crate::sys::clone::Child;

/// The longest plan that goes by message; a socket takes 200 KiB at once.
const LONGEST: usize = 64 << 10;

/// For a zygote that somebody has stopped: what it was asked for ends by its closed channel, and
/// stays the caller's to reap.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// So many plans say what the next ones will be like.
const REMEMBERED: usize = 8;

/// What one zygote has made and is asked for.
#[derive(Debug)]
pub(crate) struct Spares {
    zygote: Child,
    control: OwnedFd,
    /// Our ends of the channels of those that are being made, in order.
    asked: VecDeque<(OwnedFd, NamespaceSet)>,
    ready: VecDeque<Spare>,
    /// What the last plans could have begun in, of those that could begin in anything.
    last: VecDeque<NamespaceSet>,
    /// How many there are to be.
    count: usize,
}

/// An executor that waits for a plan.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) child: Child,
    pub(crate) channel: OwnedFd,
    /// What it is in: it is of use for boxes that have them all.
    namespaces: NamespaceSet,
}

/// What the zygote says of a spare that it was asked for, its pidfd beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// 0 where it could not be made.
    pub(crate) pid: i32,
    pub(crate) namespaces: NamespaceSet,
}

impl Answer {
    const LENGTH: usize = size_of::<i32>() + size_of::<u64>();

    pub(crate) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let [a, b, c, d] = self.pid.to_ne_bytes();
        let [e, f, g, h, i, j, k, l] = self.namespaces.0.to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    fn from_bytes([a, b, c, d, e, f, g, h, i, j, k, l]: [u8; Self::LENGTH]) -> Self {
        Self {
            pid: i32::from_ne_bytes([a, b, c, d]),
            namespaces: NamespaceSet(u64::from_ne_bytes([e, f, g, h, i, j, k, l])),
        }
    }
}

impl Spares {
    /// Of a zygote whose end of `control` is the other one.
    pub(crate) fn new(zygote: Child, control: OwnedFd) -> Self {
        Self {
            zygote,
            control,
            asked: VecDeque::new(),
            ready: VecDeque::new(),
            last: VecDeque::new(),
            count: 0,
        }
    }

    /// Gives what is `handed` to a spare, with `files` (0 to 2, then the passed ones). Gives nothing
    /// where none is ready that `plan` can begin in.
    pub(crate) fn hand(
        &mut self,
        plan: &Plan,
        handed: &[u8],
        files: &[BorrowedFd<'_>],
    ) -> io::Result<Option<Spare>> {
        self.collect()?;
        if files.len() > MOST_DESCRIPTORS || handed.len() > LONGEST {
            return Ok(None);
        }
        let inside = plan.begins_inside();
        self.remember(inside);
        while let Some(index) = self.fit_for(inside) {
            let Some(spare) = self.ready.remove(index) else {
                break;
            };
            match send(spare.channel.as_fd(), handed, files) {
                Ok(()) => return Ok(Some(spare)),
                // It is dead, or will be by the closing of its channel.
                Err(_) => end(&spare.child),
            }
        }
        self.give_up_unfit();
        Ok(None)
    }

    /// The next ones are to be of use for plans like this one.
    pub(crate) fn expect(&mut self, plan: &Plan) {
        self.remember(plan.begins_inside());
    }

    fn remember(&mut self, inside: NamespaceSet) {
        if inside.is_empty() {
            return;
        }
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(inside);
    }

    /// The ready one that has the most of what a plan can begin in, and nothing else.
    fn fit_for(&self, inside: NamespaceSet) -> Option<usize> {
        let fit = self.ready.iter().enumerate();
        let fit = fit.filter(|(_, spare)| inside.has_all(spare.namespaces));
        fit.max_by_key(|(_, spare)| spare.namespaces.len())
            .map(|(index, _)| index)
    }

    /// Others take the place of those that have more than any that is wanted now.
    fn give_up_unfit(&mut self) {
        let wanted = kinds(&self.last, self.count);
        self.ready.retain(|spare| {
            let fits = wanted.iter().any(|kind| kind.has_all(spare.namespaces));
            if !fits {
                end(&spare.child);
            }
            fits
        });
    }

    /// Claims that there is one, or will be.
    pub(crate) fn has_any(&self) -> bool {
        !(self.ready.is_empty() && self.asked.is_empty())
    }

    /// Asks for as many as are missing.
    pub(crate) fn fill_up(&mut self, count: usize) -> io::Result<()> {
        let there = self.ready.iter().map(|spare| spare.namespaces);
        let coming = self.asked.iter().map(|(_, namespaces)| *namespaces);
        let there: Vec<NamespaceSet> = there.chain(coming).collect();
        self.count = count;
        for wanted in missing(&there, kinds(&self.last, count)) {
            let (ours, theirs) = status_channel()?;
            send(
                self.control.as_fd(),
                &wanted.0.to_ne_bytes(),
                &[theirs.as_fd()],
            )?;
            self.asked.push_back((ours, wanted));
        }
        Ok(())
    }

    /// Waits until one is ready, or none is being made.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        while self.ready.is_empty() && !self.asked.is_empty() {
            self.wait_for_answer(None)?;
        }
        Ok(())
    }

    fn wait_for_answer(&mut self, at_most: Option<&Timespec>) -> io::Result<()> {
        match poll(&mut [PollFd::new(&self.control, PollFlags::IN)], at_most) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => self.collect(),
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes the zygote's answers, without waiting for one.
    fn collect(&mut self) -> io::Result<()> {
        while !self.asked.is_empty() {
            let mut bytes = [0; Answer::LENGTH];
            let (length, mut descriptors) =
                match receive(self.control.as_fd(), &mut bytes, RecvFlags::empty()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    answer => answer?,
                };
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Answer { pid, namespaces } = Answer::from_bytes(bytes);
            // Without a pidfd, it could not make one.
            if let (Some((channel, _)), Some(pidfd)) = (self.asked.pop_front(), descriptors.pop()) {
                let child = Child { pid, pidfd };
                self.ready.push_back(Spare {
                    child,
                    channel,
                    namespaces,
                });
            }
        }
        Ok(())
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        // Those that are being made have to be known to be reaped.
        let told = rustix::net::shutdown(&self.control, rustix::net::Shutdown::Write);
        while told.is_ok() && !self.asked.is_empty() {
            if self.wait_for_answer(Some(&PATIENCE)).is_err() {
                break;
            }
        }
        self.ready.iter().for_each(|spare| end(&spare.child));
        end(&self.zygote);
    }
}

/// What `count` spares are to be: one for each kind of the `last` plans, the latest first, and more of the
/// latest. Where there are more kinds than places, the last place is for all of them.
fn kinds(last: &VecDeque<NamespaceSet>, count: usize) -> Vec<NamespaceSet> {
    let mut kinds: Vec<NamespaceSet> = Vec::new();
    for kind in last.iter().rev() {
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    let common = kinds.iter().copied().reduce(NamespaceSet::and);
    let common = common.unwrap_or(NamespaceSet::of(libc::CLONE_NEWPID));
    if kinds.len() > count {
        kinds.truncate(count.saturating_sub(1));
        kinds.push(common);
    }
    let latest = kinds.first().copied().unwrap_or(common);
    kinds.resize(count, latest);
    kinds
}

/// What is to be made of it. One that is there, of whatever kind, has a place.
fn missing(there: &[NamespaceSet], mut kinds: Vec<NamespaceSet>) -> Vec<NamespaceSet> {
    let mut others = there.to_vec();
    kinds.retain(|kind| match others.iter().position(|other| other == kind) {
        Some(index) => {
            others.swap_remove(index);
            false
        }
        None => true,
    });
    kinds.truncate(kinds.len().saturating_sub(others.len()));
    kinds
}

/// Ends and reaps a child that is of no more use.
fn end(child: &Child) {
    // It may be gone, and the caller's own sweep may have reaped it.
    pidfd_send_signal(child.pidfd.as_fd(), Signal::KILL).ok();
    waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: NamespaceSet = NamespaceSet(1);
    const WITH_NETWORK: NamespaceSet = NamespaceSet(3);
    const WITH_IPC: NamespaceSet = NamespaceSet(5);

    #[test]
    fn there_is_a_spare_for_each_kind_of_box_as_far_as_there_is_room() {
        let last = VecDeque::from([PLAIN, WITH_NETWORK, WITH_NETWORK]);
        assert_eq!(kinds(&last, 0), []);
        assert_eq!(kinds(&last, 1), [PLAIN]);
        assert_eq!(kinds(&last, 2), [WITH_NETWORK, PLAIN]);
        assert_eq!(kinds(&last, 3), [WITH_NETWORK, PLAIN, WITH_NETWORK]);
        let last = VecDeque::from([WITH_IPC, WITH_NETWORK]);
        assert_eq!(kinds(&last, 1), [PLAIN]);
        let nothing = kinds(&VecDeque::new(), 1);
        assert_eq!(nothing, [NamespaceSet::of(libc::CLONE_NEWPID)]);
    }

    #[test]
    fn one_that_is_there_has_a_place() {
        let wanted = || vec![WITH_NETWORK, PLAIN];
        assert_eq!(missing(&[], wanted()), wanted());
        assert_eq!(missing(&[WITH_NETWORK], wanted()), [PLAIN]);
        assert_eq!(missing(&[PLAIN], wanted()), [WITH_NETWORK]);
        assert_eq!(missing(&[PLAIN, PLAIN], wanted()), []);
        assert_eq!(missing(&[WITH_IPC], wanted()), [WITH_NETWORK]);
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let answer = Answer {
            pid: 0x0102_0304,
            namespaces: NamespaceSet(0x0506_0708_0900_0000),
        };
        assert_eq!(Answer::from_bytes(answer.to_bytes()), answer);
    }
}
