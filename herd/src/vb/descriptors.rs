//! The descriptors that options name: held for the launch, each once however often it is named.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sandbox::config::Held;

/// What a launch holds, by number and by [`Held`] index.
#[derive(Debug, Default)]
pub struct Holdings {
    numbers: Vec<i32>,
    descriptors: Vec<OwnedFd>,
}

impl Holdings {
    /// Takes the descriptor of this number from the command; `None` when it is not open.
    ///
    /// # Errors
    /// When the table of descriptors is full.
    pub fn hold(&mut self, number: i32) -> io::Result<Option<Held>> {
        let index = match self.numbers.iter().position(|known| *known == number) {
            Some(index) => index,
            None => {
                let Some(descriptor) = take(number)? else {
                    return Ok(None);
                };
                self.numbers.push(number);
                self.descriptors.push(descriptor);
                self.numbers.len() - 1
            }
        };
        Ok(Some(Held(u32::try_from(index).unwrap_or(u32::MAX))))
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

/// Everything that can be read.
///
/// # Errors
/// The kernel's error number.
pub fn read_all(descriptor: BorrowedFd<'_>) -> Result<Vec<u8>, i32> {
    let mut bytes = Vec::new();
    let mut part = vec![0; 1 << 14];
    loop {
        match rustix::io::read(descriptor, part.as_mut_slice()) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(part.get(..count).unwrap_or_default()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.raw_os_error()),
        }
    }
}
