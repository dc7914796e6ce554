//! Descriptors that a caller holds for the launch, as the walkers of a plan have them.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::config::Held;
use crate::sys::Errno;

/// What [`Files::held`](crate::Files::held) was, in the process that walks the steps: closed at
/// `execve`, and before it where the box's first process goes on.
#[derive(Debug, Default)]
pub(crate) struct HeldDescriptors(Vec<OwnedFd>);

impl HeldDescriptors {
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> Self {
        Self(descriptors)
    }

    /// # Errors
    /// `EBADF` when the caller gave fewer.
    pub(crate) fn borrow(&self, held: Held) -> Result<BorrowedFd<'_>, Errno> {
        usize::try_from(held.0)
            .ok()
            .and_then(|index| self.0.get(index))
            .map(AsFd::as_fd)
            .ok_or(Errno(libc::EBADF))
    }
}
