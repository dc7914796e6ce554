//! What others do to the file systems and swaps of fstab: mount them by hand, let go of them.
//!
//! Pure: the kernel's tables come as text. A unit's place is read back from its name. What changed is told, not what is:
//! a mount point with a link in its path is in no table by its name, and so is never missed there.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use units::UnitName;
use units::load::path_of_unit;

use crate::mount_table::mount_points;
use crate::pid1::mounts::early_at;
use crate::pid1::swap;

/// What the tables hold.
#[derive(Debug, Default)]
pub struct Tables {
    mounted: BTreeSet<PathBuf>,
    swaps: BTreeSet<PathBuf>,
}

impl Tables {
    /// Of `/proc/self/mountinfo` and `/proc/swaps`.
    pub fn read(mounts: &str, swaps: &str) -> Self {
        Self {
            mounted: mount_points(mounts).collect(),
            swaps: swap::places(swaps).into_iter().collect(),
        }
    }

    fn has(&self, place: &Place) -> bool {
        match place {
            Place::Mount(path) => self.mounted.contains(path),
            Place::Swap(path) => self.swaps.contains(path),
        }
    }
}

/// What a unit of fstab stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Mount(PathBuf),
    Swap(PathBuf),
}

impl Place {
    /// Links to devices, as swap by UUID has them, are followed by `real`; the kernel lists what they lead to. What
    /// herd itself has mounted before any unit is always there.
    fn of(name: &UnitName, real: impl FnOnce(PathBuf) -> PathBuf) -> Option<Self> {
        let mount = || path_of_unit("mount", name).filter(|path| early_at(path).is_none());
        let swap = || path_of_unit("swap", name);
        mount()
            .map(Self::Mount)
            .or_else(|| swap().map(|path| Self::Swap(real(path))))
    }
}

/// The units whose places the last tables had.
#[derive(Debug, Default)]
pub struct Seen {
    there: BTreeSet<UnitName>,
    is_first_over: bool,
}

impl Seen {
    /// What others, or herd itself, have done since the last look: `true` of what has come. The first look tells of
    /// nothing: the boot takes what it finds as its units say.
    pub fn changes(
        &mut self,
        tables: &Tables,
        units: impl IntoIterator<Item = UnitName>,
        real: impl Fn(&Path) -> PathBuf,
    ) -> Vec<(UnitName, bool)> {
        let is_there = |name: &UnitName| {
            Place::of(name, |path| real(&path)).is_some_and(|place| tables.has(&place))
        };
        let there: BTreeSet<UnitName> = units.into_iter().filter(is_there).collect();
        let gone = self.there.difference(&there).map(|name| (name, false));
        let come = there.difference(&self.there).map(|name| (name, true));
        let changes = gone.chain(come).map(|(name, come)| (name.clone(), come));
        let changes: Vec<_> = changes.filter(|_| self.is_first_over).collect();
        *self = Self {
            there,
            is_first_over: true,
        };
        changes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNITS: [&str; 6] = [
        "mount-srv",
        "mount-srv-my\\x20data",
        "mount-run",
        "swap-dev-disk-by\\x2duuid-1",
        "swap-var-file",
        "fsck-srv",
    ];

    fn changes(seen: &mut Seen, mounts: &[&str], swaps: &[&str]) -> Vec<String> {
        let line = |point: &&str| format!("24 22 8:2 / {point} rw - xfs /dev/sda2 rw\n");
        let mounts: String = mounts.iter().map(line).collect();
        let line = |path: &&str| format!("{path} file 8 0 -2\n");
        let swaps: String = std::iter::once("Filename\n".to_owned())
            .chain(swaps.iter().map(line))
            .collect();
        let real = |path: &Path| match path.to_str() {
            Some("/dev/disk/by-uuid/1") => "/dev/sda3".into(),
            _ => path.to_owned(),
        };
        let units = UNITS.map(|name| UnitName::new(name).unwrap());
        let tables = Tables::read(&mounts, &swaps);
        let told = seen.changes(&tables, units, real).into_iter();
        told.map(|(name, come)| format!("{}{name}", if come { "+" } else { "-" }))
            .collect()
    }

    #[test]
    fn what_comes_and_goes_is_told_once_and_what_was_there_at_first_is_not() {
        let mut seen = Seen::default();
        let none: [&str; 0] = [];
        assert_eq!(changes(&mut seen, &["/", "/run", "/srv"], &[]), none);
        let both = ["/srv", "/srv/my\\040data"];
        assert_eq!(
            changes(&mut seen, &both, &["/dev/sda3"]),
            ["+mount-srv-my\\x20data", "+swap-dev-disk-by\\x2duuid-1"]
        );
        assert_eq!(changes(&mut seen, &both, &["/dev/sda3"]), none);
        assert_eq!(
            changes(&mut seen, &["/srv"], &["/var/file"]),
            [
                "-mount-srv-my\\x20data",
                "-swap-dev-disk-by\\x2duuid-1",
                "+swap-var-file"
            ]
        );
        // One of two that lie on each other.
        assert_eq!(changes(&mut seen, &["/srv", "/srv"], &["/var/file"]), none);
        assert_eq!(changes(&mut seen, &["/srv"], &["/var/file"]), none);
        // What herd has mounted itself is no business of a unit.
        assert_eq!(changes(&mut seen, &["/srv", "/run"], &["/var/file"]), none);
    }

    proptest! {
        #[test]
        fn any_text_is_a_table(mounts in ".{0,200}", swaps in ".{0,200}") {
            Tables::read(&mounts, &swaps);
        }

        #[test]
        fn a_units_name_leads_back_to_its_path(path in "(/[a-z %\\\\.é-]{1,6}){1,3}") {
            let path: PathBuf = Path::new(&path).components().collect();
            prop_assume!(!path.components().any(|part| part.as_os_str() == ".."));
            // The root has no unit, and its name would be that of /root.
            prop_assume!(path != Path::new("/"));
            if let Some(name) = units::load::mount_unit(&path) {
                prop_assert_eq!(path_of_unit("mount", &name), Some(path));
            }
        }

        #[test]
        fn any_name_has_one_path_or_none(rest in "[a-z0-9x\\\\.-]{0,12}") {
            if let Ok(name) = UnitName::new(&format!("swap{rest}"))
                && let Some(path) = path_of_unit("swap", &name)
            {
                prop_assert_eq!(units::load::path_unit("swap", &path), Some(name));
            }
        }
    }
}
