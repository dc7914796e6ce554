//! Swap that is let go, unless memory has no room for what lies in it.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use super::super::swap;
use super::{TaskError, become_program, device};

pub(super) fn run(source: &str) -> TaskError {
    // A file is listed by its own name, a tag by that of its device.
    let path = device::wait(source, Some(Duration::ZERO)).unwrap_or_else(|_| source.into());
    let path = path.canonicalize().unwrap_or(path);
    let is_meant = |one: &swap::Swap| one.path == path || one.path == Path::new(source);
    let used = swap::in_use().into_iter().find(is_meant);
    match used.and_then(|swap| swap.obstacle()) {
        Some(why) => TaskError::Swap {
            device: source.to_owned(),
            why,
        },
        None => become_program("swapoff", &[OsStr::new(source)]),
    }
}
