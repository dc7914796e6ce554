//! The descriptors that options name: held for the launch, each once however often it is named.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use sandbox::config::Held;

/// What a launch holds, by number and by [`Held`] index.
#[derive(Debug, Default)]
pub struct Holdings {
    numbers: Vec<i32>,
    descriptors: Vec<OwnedFd>,
}

impl Holdings {
    /// Takes the descriptor of this number from the command. A number that is not open stands for
    /// one that nothing can be read from, so that whoever tries gets the kernel's own answer.
    ///
    /// # Errors
    /// When the table of descriptors is full.
    pub fn hold(&mut self, number: i32) -> io::Result<Held> {
        let index = match self.numbers.iter().position(|known| *known == number) {
            Some(index) => index,
            None => {
                let descriptor = match take(number)? {
                    Some(descriptor) => descriptor,
                    None => unreadable()?,
                };
                self.numbers.push(number);
                self.descriptors.push(descriptor);
                self.numbers.len() - 1
            }
        };
        Ok(Held(u32::try_from(index).unwrap_or(u32::MAX)))
    }

    /// The same for a descriptor of our own.
    pub fn hold_own(&mut self, descriptor: OwnedFd) -> Held {
        self.numbers.push(-1);
        self.descriptors.push(descriptor);
        Held(u32::try_from(self.numbers.len() - 1).unwrap_or(u32::MAX))
    }

    pub fn get(&self, held: Held) -> Option<&OwnedFd> {
        self.descriptors.get(usize::try_from(held.0).ok()?)
    }

    pub fn borrowed(&self) -> Vec<BorrowedFd<'_>> {
        self.descriptors.iter().map(AsFd::as_fd).collect()
    }
}

/// The descriptor of this number, closed at `execve` from now on; `None` when it is not open.
///
/// # Errors
/// When the table of descriptors is full.
pub fn take(number: i32) -> io::Result<Option<OwnedFd>> {
    match sandbox::take_descriptor(number) {
        Ok(descriptor) => Ok(Some(descriptor)),
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `read(2)` of an `O_PATH` descriptor is `EBADF`.
fn unreadable() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::open(c"/", flags, Mode::empty())?)
}
