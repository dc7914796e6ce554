//! Maps of a user namespace: what makes sense, and the kernel's way of writing it.
#![forbid(unsafe_code)]

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use crate::config::IdRange;

/// A map that the kernel would refuse, or in which somebody has no place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    #[error("the map of {0} is empty")]
    Empty(Ids),
    #[error("the map of {0} has more than {MOST_RANGES} ranges")]
    TooMany(Ids),
    #[error("the map of {ids}: {range} holds nobody")]
    Nobody { ids: Ids, range: Range },
    #[error("the map of {ids}: {range} goes past the last id, {LAST_ID}")]
    TooLong { ids: Ids, range: Range },
    #[error("the map of {ids}: {first} and {second} overlap {side}")]
    Overlap {
        ids: Ids,
        first: Range,
        second: Range,
        side: &'static str,
    },
    #[error("{id} has no place in the map of {ids}")]
    NoPlace { ids: Ids, id: u32 },
}

/// Which of the two maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    Users,
    Groups,
    Any,
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Users => "users",
            Self::Groups => "groups",
            Self::Any => "ids",
        })
    }
}

/// A range as `INSIDE:OUTSIDE:COUNT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range(IdRange);

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IdRange {
            inside,
            outside,
            count,
        } = self.0;
        write!(f, "{inside}:{outside}:{count}")
    }
}

/// `UID_GID_MAP_MAX_EXTENTS` (Linux 4.15).
const MOST_RANGES: usize = 340;
/// −1 stands for nobody in every call that takes an id.
const LAST_ID: u32 = u32::MAX - 1;

/// Both maps of a namespace, and who its first process becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maps {
    pub(crate) uids: Vec<IdRange>,
    pub(crate) gids: Vec<IdRange>,
    /// By the carrier itself; else by the setuid programs.
    pub(crate) directly: bool,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl fmt::Display for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ranges: &[IdRange]| {
            let words: Vec<_> = ranges.iter().map(|one| Range(*one).to_string()).collect();
            words.join(" ")
        };
        write!(
            f,
            "map users {}, groups {}",
            list(&self.uids),
            list(&self.gids)
        )?;
        if !self.directly {
            f.write_str(" with newuidmap and newgidmap")?;
        }
        write!(f, " and become user {}, group {}", self.uid, self.gid)
    }
}

/// One id of ours under another number in a namespace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alone {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) outside_uid: u32,
    pub(crate) outside_gid: u32,
}

impl fmt::Display for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "as user {}, group {}", self.uid, self.gid)?;
        if (self.uid, self.gid) != (self.outside_uid, self.outside_gid) {
            write!(f, " ({}, {} outside)", self.outside_uid, self.outside_gid)?;
        }
        Ok(())
    }
}

/// Refuses ranges that the kernel would refuse as a map, whomever they are of.
///
/// # Errors
/// [`MapError`] for the first range that is empty, too long, or overlaps another.
pub fn check_ranges(ranges: &[IdRange]) -> Result<(), MapError> {
    check(Ids::Any, ranges)
}

/// Refuses what the kernel would refuse with a bare `EINVAL`.
pub(crate) fn check(ids: Ids, ranges: &[IdRange]) -> Result<(), MapError> {
    if ranges.is_empty() {
        return Err(MapError::Empty(ids));
    }
    if ranges.len() > MOST_RANGES {
        return Err(MapError::TooMany(ids));
    }
    for (index, one) in ranges.iter().enumerate() {
        let range = Range(*one);
        if one.count == 0 {
            return Err(MapError::Nobody { ids, range });
        }
        let fits = |first: u32| u64::from(first) + u64::from(one.count) - 1 <= LAST_ID.into();
        if !fits(one.inside) || !fits(one.outside) {
            return Err(MapError::TooLong { ids, range });
        }
        for earlier in &ranges[..index] {
            let overlap = |a: u32, b: u32| {
                u64::from(a) < u64::from(b) + u64::from(one.count)
                    && u64::from(b) < u64::from(a) + u64::from(earlier.count)
            };
            let side = if overlap(earlier.inside, one.inside) {
                "inside"
            } else if overlap(earlier.outside, one.outside) {
                "outside"
            } else {
                continue;
            };
            return Err(MapError::Overlap {
                ids,
                first: Range(*earlier),
                second: range,
                side,
            });
        }
    }
    Ok(())
}

/// Who `inside` is outside of the namespace.
pub(crate) fn outside_of(ids: Ids, ranges: &[IdRange], inside: u32) -> Result<u32, MapError> {
    let found = ranges.iter().find_map(|range| {
        let offset = inside.checked_sub(range.inside)?;
        (offset < range.count).then(|| range.outside + offset)
    });
    found.ok_or(MapError::NoPlace { ids, id: inside })
}

/// Who `outside` is in the namespace.
pub(crate) fn inside_of(ranges: &[IdRange], outside: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = outside.checked_sub(range.outside)?;
        (offset < range.count).then(|| range.inside + offset)
    })
}

/// As `/proc/PID/uid_map` reads it.
pub(crate) fn text(ranges: &[IdRange]) -> String {
    ranges.iter().fold(String::new(), |mut text, range| {
        let IdRange {
            inside,
            outside,
            count,
        } = range;
        writeln!(text, "{inside} {outside} {count}").expect("a string takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(inside: u32, outside: u32, count: u32) -> IdRange {
        IdRange {
            inside,
            outside,
            count,
        }
    }

    #[test]
    fn ranges_side_by_side_make_a_map() {
        let map = [
            range(0, 100_000, 1000),
            range(1000, 1000, 1),
            range(1001, 101_000, 10),
        ];
        assert_eq!(check(Ids::Users, &map), Ok(()));
        assert_eq!(text(&map), "0 100000 1000\n1000 1000 1\n1001 101000 10\n");
        assert_eq!(outside_of(Ids::Users, &map, 1005), Ok(101_004));
        assert_eq!(inside_of(&map, 1000), Some(1000));
        assert_eq!(inside_of(&map, 5), None);
    }

    #[test]
    fn a_map_that_the_kernel_would_refuse_is_refused_by_name() {
        let says = |ranges: &[IdRange]| check(Ids::Groups, ranges).unwrap_err().to_string();
        assert_eq!(says(&[]), "the map of groups is empty");
        assert_eq!(
            says(&[range(0, 1, 0)]),
            "the map of groups: 0:1:0 holds nobody"
        );
        assert_eq!(
            says(&[range(u32::MAX - 5, 0, 6)]),
            "the map of groups: 4294967290:0:6 goes past the last id, 4294967294"
        );
        assert_eq!(check(Ids::Groups, &[range(u32::MAX - 5, 0, 5)]), Ok(()));
        assert_eq!(
            says(&[range(0, 1000, 10), range(9, 5000, 1)]),
            "the map of groups: 0:1000:10 and 9:5000:1 overlap inside"
        );
        assert_eq!(
            says(&[range(0, 1000, 10), range(50, 995, 6)]),
            "the map of groups: 0:1000:10 and 50:995:6 overlap outside"
        );
        let error = outside_of(Ids::Users, &[range(0, 1000, 10)], 10).unwrap_err();
        assert_eq!(error.to_string(), "10 has no place in the map of users");
    }
}
