//! `system_call_filter`: names and groups to a verdict for each call.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::groups;
use crate::config::{Abi, Refusal, SystemCallEntry, SystemCallFilter, SystemCallLog};
use crate::host::Architecture;

/// An entry of a filter that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("there is no system call {name:?}{hint}", hint = hint(.nearest))]
    UnknownCall {
        name: String,
        nearest: Option<String>,
    },
    #[error("there is no group of system calls {name:?}{hint}", hint = hint(.nearest))]
    UnknownGroup {
        name: String,
        nearest: Option<String>,
    },
    #[error("errno {errno} of {name:?} is not between 1 and 4095")]
    Errno { name: String, errno: i32 },
    #[error("{0:?} is let through by this entry, so it can have no answer of its own")]
    Contradiction(String),
}

fn hint(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|name| format!("; did you mean {name:?}?"))
        .unwrap_or_default()
}

/// The filter of the default box: systemd's `@system-service` without what a service seldom needs
/// and attackers often do. io_uring answers ENOSYS, so that programs fall back.
pub fn default_filter() -> SystemCallFilter {
    let entry = |name: &str, remove, errno: Option<i32>| SystemCallEntry {
        name: name.to_owned(),
        remove,
        refusal: errno.map(Refusal::Errno),
    };
    SystemCallFilter {
        allow: true,
        entries: vec![
            entry("@system-service", false, None),
            entry("@keyring", true, None),
            entry("io_uring_setup", true, Some(libc::ENOSYS)),
            entry("io_uring_enter", true, Some(libc::ENOSYS)),
            entry("io_uring_register", true, Some(libc::ENOSYS)),
            entry("userfaultfd", true, None),
        ],
    }
}

/// Checks a filter's names and errnos without making a program, for `herd check`.
///
/// # Errors
/// The first [`FilterError`].
pub fn check(filter: &SystemCallFilter, architecture: Architecture) -> Result<(), FilterError> {
    Listed::resolve(filter, &[Abi::native(architecture)]).map(drop)
}

/// The calls that a filter's entries came to.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// By name; the answer is the entry's own.
    pub(super) calls: BTreeMap<&'static str, Option<Refusal>>,
    /// Written out in the filter, and of other ABIs only.
    pub(super) foreign: Vec<String>,
}

impl Listed {
    /// Goes through the entries in order. An allow-list always begins with `@default`, without
    /// which no program starts or ends.
    pub(super) fn resolve(filter: &SystemCallFilter, abis: &[Abi]) -> Result<Self, FilterError> {
        let mut listed = Self::default();
        if filter.allow {
            let always = members("@default", abis).unwrap_or_default();
            listed
                .calls
                .extend(always.into_iter().map(|name| (name, None)));
        }
        for entry in &filter.entries {
            listed.apply(entry, filter.allow, abis)?;
        }
        Ok(listed)
    }

    fn apply(
        &mut self,
        entry: &SystemCallEntry,
        allow: bool,
        abis: &[Abi],
    ) -> Result<(), FilterError> {
        let name = &entry.name;
        if let Some(Refusal::Errno(errno)) = entry.refusal {
            checked_errno(name, errno)?;
        }
        if !allow && entry.remove && entry.refusal.is_some() {
            return Err(FilterError::Contradiction(name.clone()));
        }
        let names = named(name, abis)?;
        if !name.starts_with('@') && !exists(name, abis) {
            self.foreign.push(name.clone());
        }
        for name in names {
            // An answer of its own always refuses: so does a removed call that has one.
            if entry.remove && entry.refusal.is_none() {
                self.calls.remove(name);
            } else {
                self.calls.insert(name, entry.refusal);
            }
        }
        Ok(())
    }
}

/// The names that are to be logged.
pub(super) fn logged(
    log: &SystemCallLog,
    abis: &[Abi],
) -> Result<BTreeSet<&'static str>, FilterError> {
    let mut all = BTreeSet::new();
    for name in &log.names {
        all.extend(named(name, abis)?);
    }
    Ok(all)
}

pub(super) fn checked_errno(name: &str, errno: i32) -> Result<(), FilterError> {
    if (1..=4095).contains(&errno) {
        return Ok(());
    }
    Err(FilterError::Errno {
        name: name.to_owned(),
        errno,
    })
}

/// The calls of a name or a group.
fn named(name: &str, abis: &[Abi]) -> Result<BTreeSet<&'static str>, FilterError> {
    if let Some(names) = members(name, abis) {
        return Ok(names);
    }
    if name.starts_with('@') {
        return Err(FilterError::UnknownGroup {
            name: name.to_owned(),
            nearest: nearest(name, groups::names().chain(["@known"])),
        });
    }
    let here = abis.first().map(|abi| abi.calls().keys().copied());
    Err(FilterError::UnknownCall {
        name: name.to_owned(),
        nearest: nearest(name, here.into_iter().flatten()),
    })
}

/// `None` for a name that means nothing on any architecture.
fn members(name: &str, abis: &[Abi]) -> Option<BTreeSet<&'static str>> {
    if name == "@known" {
        let known = abis.iter().flat_map(|abi| abi.calls().keys());
        return Some(known.copied().collect());
    }
    if !name.starts_with('@') {
        return known(name).map(|name| BTreeSet::from([name]));
    }
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::from([name]);
    let mut open = vec![groups::members(name)?];
    while let Some(members) = open.pop() {
        for member in members {
            if !member.starts_with('@') {
                found.insert(*member);
            } else if seen.insert(member) {
                open.extend(groups::members(member));
            }
        }
    }
    Some(found)
}

/// The name as one that lives on, if any architecture has such a call.
pub(super) fn known(name: &str) -> Option<&'static str> {
    const ALL: [Abi; 6] = [
        Abi::X86_64,
        Abi::X86,
        Abi::Aarch64,
        Abi::Arm,
        Abi::Riscv64,
        Abi::Riscv32,
    ];
    ALL.iter()
        .find_map(|abi| abi.calls().get_key_value(name).map(|(name, _)| *name))
        .or_else(|| groups::all_calls().find(|known| *known == name))
}

fn exists(name: &str, abis: &[Abi]) -> bool {
    abis.iter().any(|abi| abi.number(name).is_some())
}

fn nearest<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> Option<String> {
    all.map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(name.len()) / 3)
        .min()
        .map(|(_, known)| known.to_owned())
}
