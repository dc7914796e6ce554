//! Paths and strings on their way to the kernel.
#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use crate::compile::CompileError;

/// The names of a path, from `/` on.
pub(crate) fn names(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => {
            None
        }
    })
}

/// A path from `/` on that says itself where it leads.
pub(crate) fn absolute(what: &'static str, path: &Path) -> Result<(), CompileError> {
    if !path.is_absolute() {
        return Err(CompileError::Relative {
            what,
            path: path.to_owned(),
        });
    }
    if path
        .components()
        .any(|component| component == Component::ParentDir)
    {
        return Err(CompileError::Upwards {
            what,
            path: path.to_owned(),
        });
    }
    Ok(())
}

pub(crate) fn c_path(path: &Path) -> Result<CString, CompileError> {
    c_string(path.as_os_str())
}

pub(crate) fn c_string(string: &OsStr) -> Result<CString, CompileError> {
    CString::new(string.as_bytes())
        .map_err(|_| CompileError::Nul(string.to_string_lossy().into_owned()))
}
