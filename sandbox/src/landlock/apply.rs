//! The effects, in the main process: nothing here allocates.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags};

use super::rights::{OF_FILES, READ_DIR};
use super::step::LandlockStep;
use super::verify;
use crate::sys::{Errno, files, landlock};

/// The ruleset between its making and its enforcement.
#[derive(Debug)]
pub(crate) struct Ruleset {
    /// Of its descriptor, which `execve` closes.
    number: AtomicI32,
    /// A rule lets `/` be listed.
    root_is_listed: AtomicBool,
}

impl Ruleset {
    pub(crate) fn none() -> Self {
        Self {
            number: AtomicI32::new(-1),
            root_is_listed: AtomicBool::new(false),
        }
    }

    fn number(&self) -> i32 {
        self.number.load(Ordering::Relaxed)
    }
}

pub(crate) fn perform(step: &LandlockStep, ruleset: &Ruleset) -> Result<(), Errno> {
    match step {
        LandlockStep::Ruleset {
            files, tcp, scopes, ..
        } => {
            let number = landlock::create_ruleset(*files, *tcp, *scopes)?;
            ruleset.number.store(number, Ordering::Relaxed);
            Ok(())
        }
        LandlockStep::Path {
            path,
            rights,
            optional,
            ..
        } => match allow_path(path, *rights, ruleset) {
            Err(Errno::ENOENT) if *optional => Ok(()),
            answer => answer,
        },
        LandlockStep::Port { port, rights } => {
            landlock::allow_port(ruleset.number(), *port, *rights)
        }
        LandlockStep::Enforce { files, tcp, scopes } => {
            let outside = verify::Outside::new(*scopes)?;
            landlock::restrict_self(ruleset.number())?;
            let root_is_shut =
                files & READ_DIR != 0 && !ruleset.root_is_listed.load(Ordering::Relaxed);
            verify::is_enforced(root_is_shut, *tcp, *scopes, &outside)
        }
    }
}

fn allow_path(path: &std::ffi::CStr, rights: u64, ruleset: &Ruleset) -> Result<(), Errno> {
    // Links are followed, inside the box; `/proc/self/fd/N` and its like would lead out of it.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let open = |path| {
        let how = ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), how)
    };
    let opened = open(path)?;
    let rights = if files::kind_of(opened.as_fd())?.is_directory() {
        rights
    } else {
        rights & OF_FILES
    };
    if rights & READ_DIR != 0 && is_same(&opened, &open(c"/")?)? {
        ruleset.root_is_listed.store(true, Ordering::Relaxed);
    }
    if rights == 0 {
        return Ok(());
    }
    landlock::allow_path(ruleset.number(), opened.as_fd(), rights)
}

fn is_same(one: impl AsFd, other: impl AsFd) -> Result<bool, Errno> {
    let look = |file: std::os::fd::BorrowedFd<'_>| {
        rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::INO)
            .map(|stat| (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
    };
    Ok(look(one.as_fd())? == look(other.as_fd())?)
}
