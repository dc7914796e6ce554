//! The file system of a box: what is mounted where ([`mod@plan`]), and how ([`apply`]).

mod apply;
mod devices;
mod plan;
mod resolve;
mod step;

pub(crate) use apply::Mounts;
pub(crate) use plan::plan;
pub(crate) use step::MountStep;
