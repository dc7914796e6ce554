//! `system_call_filter`: names and groups to a verdict for each number.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::{groups, table};
use crate::config::{SystemCallEntry, SystemCallFilter};
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
    #[error("{0:?} is let through by this entry, so it can have no errno")]
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
    let entry = |name: &str, remove, errno| SystemCallEntry {
        name: name.to_owned(),
        remove,
        errno,
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
    Listed::resolve(filter, architecture).map(|_| ())
}

/// The calls that a filter's entries came to.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// By number; an errno is the entry's own.
    pub(super) calls: BTreeMap<u32, Option<u16>>,
    /// Written out in the filter, and of another architecture only.
    pub(super) foreign: Vec<String>,
}

impl Listed {
    /// Goes through the entries in order. An allow-list always begins with `@default`, without
    /// which no program starts or ends.
    pub(super) fn resolve(
        filter: &SystemCallFilter,
        architecture: Architecture,
    ) -> Result<Self, FilterError> {
        let mut listed = Self::default();
        if filter.allow {
            let always = numbers("@default", architecture).unwrap_or_default();
            listed.calls.extend(always.into_iter().map(|n| (n, None)));
        }
        for entry in &filter.entries {
            listed.apply(entry, filter.allow, architecture)?;
        }
        Ok(listed)
    }

    fn apply(
        &mut self,
        entry: &SystemCallEntry,
        allow: bool,
        architecture: Architecture,
    ) -> Result<(), FilterError> {
        let name = &entry.name;
        let errno = entry
            .errno
            .map(|errno| checked_errno(name, errno))
            .transpose()?;
        if !allow && entry.remove && errno.is_some() {
            return Err(FilterError::Contradiction(name.clone()));
        }
        let numbers = match numbers(name, architecture) {
            Some(numbers) => numbers,
            None if name.starts_with('@') => {
                return Err(FilterError::UnknownGroup {
                    name: name.clone(),
                    nearest: nearest(name, groups::names().chain(["@known"])),
                });
            }
            None if groups::all_calls().any(|known| known == name) => {
                self.foreign.push(name.clone());
                return Ok(());
            }
            None => {
                let here = table::calls(architecture);
                return Err(FilterError::UnknownCall {
                    name: name.clone(),
                    nearest: nearest(name, here.into_values()),
                });
            }
        };
        for number in numbers {
            // An errno always refuses: a removed call then has an answer of its own.
            if entry.remove && errno.is_none() {
                self.calls.remove(&number);
            } else {
                self.calls.insert(number, errno);
            }
        }
        Ok(())
    }
}

pub(super) fn checked_errno(name: &str, errno: i32) -> Result<u16, FilterError> {
    u16::try_from(errno)
        .ok()
        .filter(|errno| (1..=4095).contains(errno))
        .ok_or_else(|| FilterError::Errno {
            name: name.to_owned(),
            errno,
        })
}

/// The numbers of a call or of a group; `None` for a name that means nothing here.
fn numbers(name: &str, architecture: Architecture) -> Option<BTreeSet<u32>> {
    if name == "@known" {
        return Some(table::calls(architecture).into_keys().collect());
    }
    if !name.starts_with('@') {
        return table::number(architecture, name).map(|number| BTreeSet::from([number]));
    }
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::from([name]);
    let mut open = vec![groups::members(name)?];
    while let Some(members) = open.pop() {
        for member in members {
            if member.starts_with('@') {
                if seen.insert(member) {
                    open.extend(groups::members(member));
                }
            } else {
                found.extend(table::number(architecture, member));
            }
        }
    }
    Some(found)
}

fn nearest<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> Option<String> {
    all.map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(name.len()) / 3)
        .min()
        .map(|(_, known)| known.to_owned())
}
