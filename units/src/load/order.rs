//! The order of a machine's boot, which units need not spell out.
//!
//! As systemd's default dependencies: a service starts once the machine is set up (`sysinit`, which it
//! requires, and `basic`), a target is reached once what it wants is there, and `multi-user` once everything enabled
//! is. An order that a unit gives itself goes before: nothing here closes a circle.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Boot, Loader};
use crate::name::UnitName;
use crate::unit::{Dependencies, Kind, Unit};

type Units = BTreeMap<UnitName, Arc<Unit>>;

/// What every service of a machine waits for.
const SET_UP: [&str; 2] = ["sysinit", "basic"];
/// Without it nothing starts: what a service would find instead of its disks is not what it looks for.
const NEEDED: &str = "sysinit";
/// Reached when everything enabled is up.
const ALL_UP: &str = "multi-user";

impl Loader<'_> {
    pub(super) fn order_boot(&mut self) {
        if let Some(boot) = &self.search.boot {
            order(&mut self.loaded.units, &self.loaded.enabled, boot);
        }
    }

    /// What the set-up of the machine is, for a unit that waits for it.
    pub(super) fn set_up_for(&self, unit: &Unit) -> Vec<UnitName> {
        let boot = self.search.boot.as_ref();
        let waits = boot.is_some_and(|boot| waits_for_set_up(unit, boot));
        let names = SET_UP.iter().filter(|_| waits);
        names.filter_map(|name| UnitName::new(name).ok()).collect()
    }

    /// What a boot adds to a unit: the mounts it needs, and names in `NAME.wants` and `NAME.requires` beside
    /// the boot's units. Unlike a drop-in that takes no list of the unit's away.
    pub(super) fn tie(&self, unit: &mut Unit) {
        let Some(boot) = &self.search.boot else {
            return;
        };
        let mounts = mounts_for(boot, &unit.dependencies.requires_mounts_for);
        let added = |how: &str| match format!("{}.{how}", unit.name) {
            folder if self.ties.contains(&folder) => names_in(&boot.directory.join(folder)),
            _ => Vec::new(),
        };
        let (wanted, required) = (added("wants"), added("requires"));
        if mounts.is_empty() && wanted.is_empty() && required.is_empty() {
            return;
        }
        // What is beside its files is part of what it is.
        let mut hasher = DefaultHasher::new();
        (unit.source.digest, &mounts, &wanted, &required).hash(&mut hasher);
        unit.source.digest = hasher.finish();
        let dependencies = Arc::make_mut(&mut unit.dependencies);
        for name in mounts.iter().chain(&required) {
            push(&mut dependencies.requires, name);
        }
        for name in &mounts {
            push(&mut dependencies.after, name);
        }
        for name in &wanted {
            push(&mut dependencies.wants, name);
        }
    }
}

/// The units that mount what lies above the paths, as far as the boot has them.
fn mounts_for(boot: &Boot, paths: &[PathBuf]) -> Vec<UnitName> {
    let above = paths.iter().flat_map(|path| path.ancestors());
    let names: BTreeSet<UnitName> = above.filter_map(mount_unit).collect();
    let is_there = |name: &UnitName| boot.directory.join(format!("{name}.toml")).exists();
    names.into_iter().filter(is_there).collect()
}

/// The folders of names beside the units of a boot.
pub(super) fn ties(boot: &Boot) -> BTreeSet<String> {
    let is_tie = |name: &String| name.ends_with(".wants") || name.ends_with(".requires");
    files_in(&boot.directory).filter(is_tie).collect()
}

/// What is in a directory; nothing if it is not there.
fn files_in(directory: &Path) -> impl Iterator<Item = String> {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    files.filter_map(|file| file.file_name().into_string().ok())
}

fn names_in(directory: &Path) -> Vec<UnitName> {
    let names = files_in(directory).filter_map(|name| UnitName::new(&name).ok());
    let mut names: Vec<UnitName> = names.collect();
    names.sort();
    names
}

/// The name of the unit that mounts on a path: `mount-srv-data` for `/srv/data`.
///
/// As `systemd-escape --path`: `/` becomes `-`, and what may not stand in a name or would be read
/// as a separator its bytes, `\x2d`. The root is `mount-root`; `None` when the name is too long.
pub fn mount_unit(path: &Path) -> Option<UnitName> {
    path_unit("mount", path)
}

/// As [`mount_unit`], with another first word.
pub fn path_unit(word: &str, path: &Path) -> Option<UnitName> {
    use std::os::unix::ffi::OsStrExt;
    let mut name = word.to_owned();
    let parts = path.as_os_str().as_bytes().split(|byte| *byte == b'/');
    for part in parts.filter(|part| !part.is_empty() && *part != b".") {
        name.push('-');
        for byte in part {
            if byte.is_ascii_alphanumeric() || b"_.:".contains(byte) {
                name.push(char::from(*byte));
            } else {
                name.push_str(&format!("\\x{byte:02x}"));
            }
        }
    }
    if name == word {
        name.push_str("-root");
    }
    UnitName::new(&name).ok()
}

/// The path of a unit that [`path_unit`] names with this word; `None` of any other name. Of the root, which shares its
/// name with `/root`, it is that one's.
pub fn path_of_unit(word: &str, name: &UnitName) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let rest = name.as_str().strip_prefix(word)?;
    let (mut path, mut left) = (Vec::new(), rest.as_bytes());
    while let [first, tail @ ..] = left {
        left = tail;
        match (first, tail) {
            (b'-', _) => path.push(b'/'),
            (b'\\', [b'x', high, low, rest @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok()?;
                path.push(u8::from_str_radix(digits, 16).ok()?);
                left = rest;
            }
            (byte, _) => path.push(*byte),
        }
    }
    let path = PathBuf::from(std::ffi::OsString::from_vec(path));
    // Of several spellings of a name one is meant.
    (path_unit(word, &path).as_ref() == Some(name)).then_some(path)
}

fn order(units: &mut Units, enabled: &BTreeSet<UnitName>, boot: &Boot) {
    let mut later = Later::of(units);
    let names: Vec<UnitName> = units.keys().cloned().collect();

    // Those that the set-up itself comes after do not wait for it.
    let set_up: Vec<UnitName> = SET_UP
        .iter()
        .filter_map(|name| known(units, name))
        .collect();
    let is_spared = |name: &UnitName| {
        let later = later.than(name);
        set_up.iter().any(|target| later.contains(target))
    };
    let waits = |name: &&UnitName| {
        let unit = units.get(*name);
        unit.is_some_and(|unit| waits_for_set_up(unit, boot)) && !is_spared(name)
    };
    let waiting: Vec<UnitName> = names.iter().filter(waits).cloned().collect();
    for name in &waiting {
        for target in set_up.iter().filter(|target| *target != name) {
            change(units, name, |dependencies| {
                push(&mut dependencies.after, target);
                if target.as_str() == NEEDED {
                    push(&mut dependencies.requires, target);
                }
            });
        }
    }
    // The edges that came are all from `sysinit` and `basic`, to units they did not lead to yet.
    later = Later::of(units);

    for name in &names {
        let Some(unit) = units.get(name).filter(|unit| is_ordering_target(unit)) else {
            continue;
        };
        let d = &unit.dependencies;
        let mut awaited: Vec<UnitName> = d.wants.iter().chain(&d.requires).cloned().collect();
        if name.as_str() == ALL_UP {
            awaited.extend(enabled.iter().filter(|name| **name != boot.goal).cloned());
        }
        // Taken out of the list: who is in it twice, or comes after us by a way of its own.
        let mut passed = later.than(name);
        passed.insert(name.clone());
        passed.extend(d.after.iter().cloned());
        awaited.retain(|other| {
            let spared = units
                .get(other)
                .is_none_or(|other| other.dependencies.no_default_dependencies);
            !spared && passed.insert(other.clone())
        });
        for other in &awaited {
            later.add(other, name);
        }
        change(units, name, |dependencies| {
            dependencies.after.extend(awaited)
        });
    }
}

fn waits_for_set_up(unit: &Unit, boot: &Boot) -> bool {
    !unit.source.path.starts_with(&boot.directory) && !unit.dependencies.no_default_dependencies
}

fn is_ordering_target(unit: &Unit) -> bool {
    unit.kind == Kind::Target && !unit.dependencies.no_default_dependencies
}

fn known(units: &Units, name: &str) -> Option<UnitName> {
    let name = UnitName::new(name).ok()?;
    units.contains_key(&name).then_some(name)
}

fn change(units: &mut Units, name: &UnitName, change: impl FnOnce(&mut Dependencies)) {
    if let Some(unit) = units.get_mut(name) {
        change(Arc::make_mut(&mut Arc::make_mut(unit).dependencies));
    }
}

fn push(list: &mut Vec<UnitName>, name: &UnitName) {
    if !list.contains(name) {
        list.push(name.clone());
    }
}

/// For each unit those that start only once it is ready.
struct Later(BTreeMap<UnitName, Vec<UnitName>>);

impl Later {
    fn of(units: &Units) -> Self {
        let mut later = Self(BTreeMap::new());
        for (name, unit) in units {
            for earlier in &unit.dependencies.after {
                later.add(earlier, name);
            }
            for other in &unit.dependencies.before {
                later.add(name, other);
            }
        }
        later
    }

    fn add(&mut self, earlier: &UnitName, later: &UnitName) {
        self.0
            .entry(earlier.clone())
            .or_default()
            .push(later.clone());
    }

    /// All that start after it, directly or not.
    fn than(&self, name: &UnitName) -> BTreeSet<UnitName> {
        let mut found = BTreeSet::new();
        let mut todo = vec![name];
        while let Some(next) = todo.pop() {
            for other in self.0.get(next).into_iter().flatten() {
                if found.insert(other.clone()) {
                    todo.push(other);
                }
            }
        }
        found
    }
}
