//! The file system of a box: what is mounted where ([`mod@plan`]), and how ([`apply`]).

mod act;
mod action;
mod apply;
mod attributes;
mod devices;
mod hold;
mod id_map;
mod order;
mod overlay;
mod plan;
mod resolve;
mod root;
mod step;
mod trouble;
mod walls;

pub(crate) use apply::Mounts;
pub(crate) use plan::plan;
pub(crate) use step::MountStep;
pub(crate) use trouble::MountTrouble;
pub use trouble::{MountFailure, MountOperation};
