//! fstab(5): bytes into entries, entries into units.
//!
//! ```text
//! bytes ──read──▶ Table { entries, problems } ──of──▶ Made { units, additions, notes } ──▶ /run/herd/boot
//! ```
//! Pure: what a line means does not depend on the machine. A line that cannot be understood is told with its number and
//! stops no other.
#![forbid(unsafe_code)]

mod kinds;
mod options;
mod texts;
pub mod watched;

use std::path::{Component, Path, PathBuf};

use crate::mount_table::unescaped;

pub(super) use kinds::is_of_network;
pub(super) use texts::TAGS;
pub use texts::{Check, Machine, Made};

/// The file, by whose name lines are told.
pub const PATH: &str = "/etc/fstab";

/// All lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    pub entries: Vec<Entry>,
    /// What is wrong, each with the number of its line.
    pub problems: Vec<String>,
}

/// One line that could be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 1.
    pub line: usize,
    /// A device, `UUID=…`, a share, a directory (`bind`), or a word nobody reads (`tmpfs`).
    pub source: String,
    /// Absolute and without `..`; `None` for swap.
    pub target: Option<PathBuf>,
    /// `ext4`, `auto`, `nfs`, …
    pub kind: String,
    pub options: Vec<String>,
    /// 0 is never checked, 1 the root, 2 the others.
    pub pass: u32,
}

/// Why a line is passed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum LineError {
    #[error("it is not UTF-8")]
    Text,
    #[error("a line has a device, a mount point and a type")]
    Fields,
    #[error("the mount point {0:?} is not an absolute path")]
    Target(String),
    #[error("the mount point {0:?} has \"..\" in it")]
    Parent(String),
    #[error("{field} {text:?} is not a number")]
    Number { field: &'static str, text: String },
    #[error("{point} is the mount point of line {line} already")]
    Twice { point: String, line: usize },
    #[error("the swap {0:?} is neither a device nor an absolute path")]
    Swap(String),
    #[error("{0} is swap of line {1} already")]
    SwapTwice(String, usize),
}

/// Reads the file.
pub fn read(bytes: &[u8]) -> Table {
    let mut table = Table::default();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let entry = entry(number, line).and_then(|entry| table.is_new(entry));
        match entry {
            Ok(Some(entry)) => table.entries.push(entry),
            Ok(None) => {}
            Err(error) => {
                let problem = format!("line {number} of {PATH} is passed over: {error}");
                table.problems.push(problem);
            }
        }
    }
    table
}

impl Table {
    fn is_new(&self, entry: Option<Entry>) -> Result<Option<Entry>, LineError> {
        let Some(entry) = entry else { return Ok(None) };
        let same = self.entries.iter().find(|other| match &entry.target {
            Some(_) => other.target == entry.target,
            None => other.target.is_none() && other.source == entry.source,
        });
        match (same, &entry.target) {
            (None, _) => Ok(Some(entry)),
            (Some(other), Some(target)) => Err(LineError::Twice {
                point: target.display().to_string(),
                line: other.line,
            }),
            (Some(other), None) => Err(LineError::SwapTwice(entry.source, other.line)),
        }
    }
}

fn entry(line: usize, text: &[u8]) -> Result<Option<Entry>, LineError> {
    let fields = text.split(|byte| matches!(byte, b' ' | b'\t'));
    let mut fields = fields.filter(|field| !field.is_empty()).map(unescaped);
    let mut next = || -> Result<Option<String>, LineError> {
        let field = fields.next();
        let text = field.map(|bytes| String::from_utf8(bytes).map_err(|_| LineError::Text));
        text.transpose()
    };
    let (Some(source), Some(point), Some(kind)) = (next()?, next()?, next()?) else {
        return Err(LineError::Fields);
    };
    let options = next()?.unwrap_or_default();
    // What comes after a number sign is a comment there too, as libmount has it.
    let dump = next()?.filter(|field| !field.starts_with('#'));
    let pass = match dump {
        Some(_) => next()?.filter(|field| !field.starts_with('#')),
        None => None,
    };
    number("the fifth field", dump)?;
    let pass = number("the sixth field", pass)?;
    if kind == "ignore" {
        return Ok(None);
    }
    let target = match kind.as_str() {
        "swap" if !source.starts_with('/') && !texts::is_device(&source) => {
            return Err(LineError::Swap(source));
        }
        "swap" => None,
        _ => Some(target(&point)?),
    };
    Ok(Some(Entry {
        line,
        source,
        target,
        kind,
        options: options::words(&options),
        pass,
    }))
}

fn number(field: &'static str, text: Option<String>) -> Result<u32, LineError> {
    match text {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| LineError::Number { field, text }),
    }
}

fn target(text: &str) -> Result<PathBuf, LineError> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(LineError::Target(text.to_owned()));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(LineError::Parent(text.to_owned()));
    }
    // Without double slashes, dots and one at the end.
    Ok(path.components().collect())
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_read_as_the_manual_page_has_them() {
        let table = read(
            b"# comment\n\n\
              UUID=1234 / ext4 defaults,errors=remount-ro 0 1\n\
              /dev/sda2\tnone swap sw\n\
              /dev/sdb1 /srv/my\\040data//x/ xfs noatime 0 2 # the big one\n\
              proc /proc ignore\n\
              tmpfs /tmp tmpfs\n",
        );
        assert_eq!(table.problems, [""; 0]);
        let lines: Vec<usize> = table.entries.iter().map(|entry| entry.line).collect();
        assert_eq!(lines, [3, 4, 5, 7]);
        let [root, swap, data, tmp] = &table.entries[..] else {
            panic!("{table:?}")
        };
        assert_eq!(root.options, ["defaults", "errors=remount-ro"]);
        assert_eq!((swap.target.as_ref(), swap.pass), (None, 0));
        assert_eq!(data.target.as_deref(), Some(Path::new("/srv/my data/x")));
        assert_eq!(data.pass, 2);
        assert_eq!(tmp.options, [""; 0]);
    }

    #[test]
    fn a_broken_line_is_told_with_its_number_and_stops_no_other() {
        let table = read(
            b"/dev/sda1 /boot\n/dev/sdb1 srv ext4\n/dev/sdc1 /a/../b ext4\n/dev/sdd1 /d ext4 defaults 0 two\n\
              /dev/sde1 /\xff ext4\n/dev/sdf1 /f ext4\n/dev/sdg1 /f/ ext4\n/s none swap\n/s none swap\nzram none swap\n",
        );
        assert_eq!(
            table.problems,
            [
                "line 1 of /etc/fstab is passed over: a line has a device, a mount point and a type",
                "line 2 of /etc/fstab is passed over: the mount point \"srv\" is not an absolute path",
                "line 3 of /etc/fstab is passed over: the mount point \"/a/../b\" has \"..\" in it",
                "line 4 of /etc/fstab is passed over: the sixth field \"two\" is not a number",
                "line 5 of /etc/fstab is passed over: it is not UTF-8",
                "line 7 of /etc/fstab is passed over: /f is the mount point of line 6 already",
                "line 9 of /etc/fstab is passed over: /s is swap of line 8 already",
                "line 10 of /etc/fstab is passed over: the swap \"zram\" is neither a device nor an absolute path",
            ]
        );
        assert_eq!(table.entries.len(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_table_and_units(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let table = read(&bytes);
            Made::of(&table, &Machine::default());
        }

        #[test]
        fn likely_lines_give_sound_units(
            lines in prop::collection::vec(
                "(/dev/[a-z$%\\\\-]{1,5}|UUID=[0-9a-f]{4}|[a-z:/]{1,9}) (/[a-z%$\\\\\"'-]{0,4}){1,3} \
                 (ext4|nfs|swap|none|tmpfs) (x-systemd\\.requires=[a-z/.]{0,6}|bind|nofail|_netdev|ro|pri=3|,){1,4} 0 [012]",
                0..6,
            )
        ) {
            let table = read(lines.join("\n").as_bytes());
            let machine = Machine { herd: "/usr/bin/herd".into(), ..Machine::default() };
            let made = Made::of(&table, &machine);
            for (name, text) in &made.units {
                let name = units::UnitName::new(name).unwrap();
                let source = units::SourceText::new("/run/herd/boot/x.toml", text.as_str());
                let parsed = units::parse_unit(&name, &[source], &units::load::host_facts());
                prop_assert!(parsed.unit.is_some(), "{name}\n{text}\n{:?}", parsed.diagnostics);
            }
        }
    }
}
