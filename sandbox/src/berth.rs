//! What one launch at a time works with: a stack for the child, and low descriptor numbers.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::launch::{LaunchError, preparing};
use crate::sys::clone::Stack;
use crate::sys::descriptors;

const SLOTS: usize = 16;

/// What one launch at a time works with.
#[derive(Debug)]
pub(crate) struct Berth {
    /// Low numbers, filled with the launch's descriptors while it lasts: a child then copies a
    /// descriptor table of this length, not of the caller's thousands.
    pub(crate) slots: Vec<OwnedFd>,
    pub(crate) stack: Stack,
}

impl Berth {
    pub(crate) fn new(image: &OwnedFd) -> Result<Self, LaunchError> {
        let slots = (0..SLOTS)
            .map(|_| image.try_clone())
            .collect::<Result<Vec<OwnedFd>, io::Error>>()
            .map_err(preparing("reserve descriptors"))?;
        let stack = Stack::new().map_err(|errno| preparing("map a stack")(errno.into()))?;
        Ok(Self { slots, stack })
    }
}

/// Descriptors of one launch under low numbers, taken back when dropped.
pub(crate) struct Lent<'a> {
    slots: &'a [OwnedFd],
    image: &'a OwnedFd,
    pub(crate) numbers: Vec<RawFd>,
    used: usize,
}

impl<'a> Lent<'a> {
    pub(crate) fn new(
        slots: &'a [OwnedFd],
        image: &'a OwnedFd,
        sources: impl Iterator<Item = RawFd>,
    ) -> Result<Self, LaunchError> {
        let mut lent = Self {
            slots,
            image,
            numbers: Vec::new(),
            used: 0,
        };
        for source in sources {
            let number = match slots.get(lent.used).map(AsRawFd::as_raw_fd) {
                Some(slot) if slot < source => {
                    descriptors::duplicate_onto_closing(source, slot)
                        .map_err(|errno| preparing("lend a descriptor")(errno.into()))?;
                    lent.used += 1;
                    slot
                }
                _ => source,
            };
            lent.numbers.push(number);
        }
        Ok(lent)
    }

    /// The first number above all that the child needs.
    pub(crate) fn above(&self, more: &[RawFd]) -> RawFd {
        self.numbers
            .iter()
            .chain(more)
            .max()
            .map_or(0, |highest| highest + 1)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        for slot in &self.slots[..self.used] {
            // Back to what it held: a slot must not keep the service's pipe open.
            let restored =
                descriptors::duplicate_onto_closing(self.image.as_raw_fd(), slot.as_raw_fd());
            debug_assert!(restored.is_ok(), "both numbers are open and ours");
        }
    }
}
