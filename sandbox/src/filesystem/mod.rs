//! The file system of a box: what is mounted where, and how.

mod step;

pub(crate) use step::MountStep;
