//! Overlay file systems (`Documentation/filesystems/overlayfs.rst`).
//!
//! Layers are named to the kernel by `/proc/self/fd/N`: whatever stands in a path (colons, commas,
//! backslashes) needs no escape, and nothing is looked up twice.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountAttrFlags, fsconfig_set_flag, fsconfig_set_string};

use super::apply::{Mounts, finish, open_file_system, path_of};
use super::hold::{Holding, InMemory};
use super::order::Surroundings;
use super::resolve::about;
use super::step::{Overlay, OverlayUpper};
use super::trouble::{MountOperation, MountTrouble};
use crate::compile::CompileError;
use crate::config::Upper;
use crate::host::KernelVersion;
use crate::paths::{absolute, c_path};
use crate::sys::Errno;

/// `lowerdir+` takes one layer at a time; before, all of them share [`LONGEST_VALUE`] bytes.
const LAYER_BY_LAYER: KernelVersion = KernelVersion { major: 6, minor: 7 };
/// `userxattr`.
const USER_ATTRIBUTES: KernelVersion = KernelVersion {
    major: 5,
    minor: 11,
};
/// tmpfs has `user.*` attributes.
const USER_ATTRIBUTES_IN_MEMORY: KernelVersion = KernelVersion { major: 6, minor: 6 };
/// Of a string given to `fsconfig(2)`.
const LONGEST_VALUE: usize = 255;
/// What fits there of `/proc/self/fd/123`.
const FEW_LAYERS: usize = 14;

pub(super) fn plan(
    lower: &[PathBuf],
    upper: &Upper,
    target: CString,
    launch: Surroundings,
) -> Result<Overlay, CompileError> {
    let host_path = |path: &PathBuf| {
        absolute("a layer of an overlay", path)?;
        c_path(path)
    };
    let lower = lower
        .iter()
        .map(host_path)
        .collect::<Result<Vec<_>, CompileError>>()?;
    if lower.is_empty() {
        return Err(CompileError::Root("an overlay needs a lower directory"));
    }
    if *upper == Upper::ReadOnly && lower.len() < 2 {
        return Err(CompileError::Root(
            "a read-only overlay needs two lower directories at least",
        ));
    }
    if lower.len() > FEW_LAYERS && launch.kernel < LAYER_BY_LAYER {
        return Err(CompileError::Root(
            "an overlay of more than 14 lower directories takes Linux 6.7",
        ));
    }
    let upper = match upper {
        Upper::ReadOnly => OverlayUpper::None,
        Upper::Temporary => OverlayUpper::Memory,
        Upper::Persistent { upper, work } => OverlayUpper::Kept {
            upper: host_path(upper)?,
            work: host_path(work)?,
        },
    };
    // Where there is a choice, the marks that everybody can make: what is kept can be used by either.
    let user_attributes = launch.kernel >= USER_ATTRIBUTES
        && (launch.in_user_namespace
            || upper != OverlayUpper::Memory
            || launch.kernel >= USER_ATTRIBUTES_IN_MEMORY);
    Ok(Overlay {
        lower,
        upper,
        target,
        user_attributes,
    })
}

impl Mounts {
    pub(super) fn hold_overlay(&mut self, wanted: &Overlay) -> Result<(), MountTrouble> {
        let lower = wanted
            .lower
            .iter()
            // overlayfs lists the top first.
            .rev()
            .map(|path| layer(path_of(path)))
            .collect::<Result<Vec<_>, _>>()?;
        let upper = match &wanted.upper {
            OverlayUpper::None => None,
            OverlayUpper::Kept { upper, work } => {
                Some((layer(path_of(upper))?, layer(path_of(work))?))
            }
            OverlayUpper::Memory => {
                let made = (self.new_layer("upper")?, self.new_layer("work")?);
                Some(made)
            }
        };
        let layers = Layers {
            lower,
            upper,
            user_attributes: wanted.user_attributes,
            source: wanted.lower.last().cloned().unwrap_or_default(),
            target: wanted.target.clone(),
        };
        if wanted.upper == OverlayUpper::Memory {
            let slot = self.held.len();
            self.held.push(None);
            self.in_memory.push(InMemory::Overlay { slot, layers });
        } else {
            self.held.push(Some(Holding::Tree(layers.mount()?)));
        }
        Ok(())
    }

    fn new_layer(&mut self, kind: &str) -> Result<OwnedFd, Errno> {
        let name = format!("{}-{kind}", self.held.len());
        let scratch = self.scratch()?;
        rustix::fs::mkdirat(scratch, &name, Mode::from_raw_mode(0o755))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(scratch, &name, flags, Mode::empty())?)
    }
}

fn layer(path: &Path) -> Result<OwnedFd, MountTrouble> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|errno| about(errno.into(), MountOperation::Source, path))
}

/// An overlay before it is mounted.
#[derive(Debug)]
pub(super) struct Layers {
    /// From the top to the bottom.
    lower: Vec<OwnedFd>,
    upper: Option<(OwnedFd, OwnedFd)>,
    user_attributes: bool,
    source: CString,
    target: CString,
}

impl Layers {
    pub(super) fn mount(&self) -> Result<OwnedFd, MountTrouble> {
        self.try_mount().map_err(|errno| {
            let mut trouble = about(errno, MountOperation::Overlay, path_of(&self.target));
            if let Some(about) = &mut trouble.about {
                about.source = Some(path_of(&self.source).as_os_str().to_owned());
            }
            trouble
        })
    }

    fn try_mount(&self) -> Result<OwnedFd, Errno> {
        let name = |layer: &OwnedFd| format!("/proc/self/fd/{}", layer.as_raw_fd());
        let file_system = open_file_system(c"overlay")?;
        let configured = file_system.as_fd();
        let names: Vec<String> = self.lower.iter().map(name).collect();
        let together = names.join(":");
        if together.len() <= LONGEST_VALUE {
            fsconfig_set_string(configured, c"lowerdir", together)?;
        } else {
            for name in names {
                fsconfig_set_string(configured, c"lowerdir+", name)?;
            }
        }
        if let Some((upper, work)) = &self.upper {
            fsconfig_set_string(configured, c"upperdir", name(upper))?;
            fsconfig_set_string(configured, c"workdir", name(work))?;
        }
        if self.user_attributes {
            fsconfig_set_flag(configured, c"userxattr")?;
        }
        finish(
            &file_system,
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
        )
    }
}
