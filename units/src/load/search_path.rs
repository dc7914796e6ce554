//! The directories units come from, and whose files in them are believed.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::file::Trust;
use crate::name::UnitName;
use crate::value::specifier::Facts;

/// Where units are looked for; each directory may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchPath {
    /// Every unit here is wanted.
    pub enabled: Option<PathBuf>,
    pub available: Option<PathBuf>,
    pub vendor: Option<PathBuf>,
    /// Files of networks, no units.
    pub networks: Option<PathBuf>,
    /// What a machine boots with; `None` of a herd that is not its first process.
    pub boot: Option<Boot>,
    /// Units that are wanted, enabled or not, unless another unit starts them (`herd run --exit-with`).
    pub also: BTreeSet<UnitName>,
    /// The user named the directory on the command line: its owner's files are believed too.
    pub explicit: bool,
}

/// What the first process of a machine starts beside the enabled units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Units that herd brought along or made of `/etc/fstab`; weaker than every other directory.
    pub directory: PathBuf,
    /// The unit that is started.
    pub goal: UnitName,
    /// The goal and what it pulls up is all: enabled units stay down (`rescue`, `emergency`).
    pub alone: bool,
    /// Units that are not to be there, whatever names them.
    pub masked: Vec<UnitName>,
}

impl SearchPath {
    /// Claims that this boot leaves the unit out.
    pub fn is_masked(&self, name: &UnitName) -> bool {
        let boot = self.boot.as_ref();
        boot.is_some_and(|boot| boot.masked.contains(name))
    }

    /// Of the herd that serves the machine.
    pub fn system() -> Self {
        Self {
            enabled: Some("/etc/herd/enabled".into()),
            available: Some("/etc/herd/available".into()),
            vendor: Some("/usr/lib/herd/units".into()),
            networks: Some("/etc/herd/networks".into()),
            boot: None,
            also: BTreeSet::new(),
            explicit: false,
        }
    }

    /// Of a user's own herd; `configuration` is `~/.config`.
    pub fn user(configuration: &Path) -> Self {
        Self {
            enabled: Some(configuration.join("herd/enabled")),
            available: Some(configuration.join("herd/available")),
            vendor: Some("/usr/lib/herd/user".into()),
            networks: Some(configuration.join("herd/networks")),
            boot: None,
            also: BTreeSet::new(),
            explicit: false,
        }
    }

    /// `herd run DIR`: every unit of the one directory is wanted, and its networks lie below it.
    pub fn directory(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self {
            networks: Some(directory.join("networks")),
            enabled: Some(directory),
            explicit: true,
            ..Self::default()
        }
    }

    /// From the strongest to the weakest.
    pub fn directories(&self) -> impl DoubleEndedIterator<Item = &Path> {
        [&self.enabled, &self.available, &self.vendor]
            .into_iter()
            .filter_map(Option::as_deref)
            .chain(self.boot.as_ref().map(|boot| boot.directory.as_path()))
    }

    /// As root only root's files and our own are believed; a user may believe whom they like.
    pub(super) fn trust(&self, facts: &Facts) -> Trust {
        if facts.uid != "0" {
            return Trust { owners: None };
        }
        let owner = |directory: &PathBuf| std::fs::metadata(directory).ok().map(|m| m.uid());
        let named = self.enabled.as_ref().filter(|_| self.explicit);
        Trust {
            owners: Some([0, named.and_then(owner).unwrap_or(0)]),
        }
    }
}
