//! herd as the first process of a machine or of a container.

pub mod place;
