//! `[[box.mount]]`: what is done to the tree of the box, in order.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use sandbox::config::{BindMount, BindSource, Data, MountAction, Upper};
use toml::de::DeValue;

use crate::keys::nearest;
use crate::reader::{Item, Reader};
use crate::value::size::parse_size;

/// The action of a table is the one of these words that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Bind { read_only: bool, devices: bool },
    Proc,
    Dev,
    Tmpfs,
    MessageQueues,
    ControlGroups,
    Directory,
    File,
    Data { read_only: bool },
    Symlink,
    Chmod,
    RemountReadOnly,
    Overlay,
    TemporaryOverlay,
    ReadOnlyOverlay,
}

const BIND: &[&str] = &["target", "optional", "recursive"];

/// Each word, with the keys that may stand beside it.
const WORDS: [(&str, Word, &[&str]); 18] = [
    (
        "bind",
        Word::Bind {
            read_only: false,
            devices: false,
        },
        BIND,
    ),
    (
        "ro_bind",
        Word::Bind {
            read_only: true,
            devices: false,
        },
        BIND,
    ),
    (
        "dev_bind",
        Word::Bind {
            read_only: false,
            devices: true,
        },
        BIND,
    ),
    ("proc", Word::Proc, &[]),
    ("dev", Word::Dev, &[]),
    ("tmpfs", Word::Tmpfs, &["mode", "size"]),
    ("mqueue", Word::MessageQueues, &[]),
    ("cgroup", Word::ControlGroups, &["writable"]),
    ("dir", Word::Directory, &["mode"]),
    ("file", Word::File, &["content", "mode"]),
    (
        "data",
        Word::Data { read_only: false },
        &["content", "mode"],
    ),
    (
        "ro_data",
        Word::Data { read_only: true },
        &["content", "mode"],
    ),
    ("symlink", Word::Symlink, &["to"]),
    ("chmod", Word::Chmod, &["mode"]),
    ("remount_ro", Word::RemountReadOnly, &[]),
    ("overlay", Word::Overlay, &["lower", "upper", "work"]),
    ("tmp_overlay", Word::TemporaryOverlay, &["lower"]),
    ("ro_overlay", Word::ReadOnlyOverlay, &["lower"]),
];

pub(super) fn read_actions(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<MountAction> {
    let items = reader.list(item);
    items
        .into_iter()
        .filter_map(|item| read_action(reader, item))
        .collect()
}

fn read_action(reader: &mut Reader<'_>, item: Item<'_>) -> Option<MountAction> {
    let table = reader.table(item)?;
    let mut given = BTreeMap::new();
    for (key, value) in table {
        given.insert(&**key.get_ref(), item.sibling(value));
    }
    let mut actions = WORDS.iter().filter(|(word, ..)| given.contains_key(word));
    let Some((name, word, beside)) = actions.next() else {
        let near = given
            .keys()
            .find_map(|key| nearest(key, WORDS.iter().map(|(word, ..)| *word)));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let known: Vec<&str> = WORDS.iter().map(|(word, ..)| *word).collect();
                format!("known are {}", known.join(", "))
            }
        };
        reader.error_with_hint(item, "this table names no action", hint);
        return None;
    };
    if let Some((second, ..)) = actions.next() {
        let message = format!("a table is one action, and this one has `{name}` and `{second}`");
        let hint = "write a [[box.mount]] for each; they are done in order";
        reader.error_with_hint(item, message, hint);
        return None;
    }
    let unknown = given
        .iter()
        .find(|(key, _)| *key != name && !beside.contains(key));
    if let Some((key, value)) = unknown {
        let hint = match (nearest(key, beside.iter().copied()), beside.is_empty()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, true) => format!("`{name}` stands alone"),
            (None, false) => format!("beside `{name}` may stand {}", beside.join(", ")),
        };
        reader.error_with_hint(*value, format!("`{name}` has no `{key}`"), hint);
        return None;
    }
    let value = *given.get(name)?;
    Fields {
        reader,
        item,
        name,
        given: &given,
    }
    .action(*word, value)
}

/// One table, whose action is known.
struct Fields<'r, 's, 'd> {
    reader: &'r mut Reader<'s>,
    item: Item<'d>,
    name: &'static str,
    given: &'r BTreeMap<&'r str, Item<'d>>,
}

impl<'d> Fields<'_, '_, 'd> {
    fn action(mut self, word: Word, value: Item<'d>) -> Option<MountAction> {
        let path = self.reader.path(value)?;
        Some(match word {
            Word::Bind { read_only, devices } => {
                let target = match self.given.get("target") {
                    Some(item) => self.reader.path(*item)?,
                    None => path.clone(),
                };
                MountAction::Bind(BindMount {
                    source: BindSource::Path(path),
                    target,
                    read_only,
                    devices,
                    optional: self.truth("optional", false)?,
                    recursive: self.truth("recursive", true)?,
                    id_map: None,
                })
            }
            Word::Proc => MountAction::Proc { target: path },
            Word::Dev => MountAction::Devices { target: path },
            Word::Tmpfs => MountAction::Tmpfs {
                target: path,
                mode: self.mode(0o755)?,
                size: self.size()?,
            },
            Word::MessageQueues => MountAction::MessageQueues { target: path },
            Word::ControlGroups => MountAction::ControlGroups {
                target: path,
                read_only: !self.truth("writable", false)?,
            },
            Word::Directory => MountAction::Directory {
                path,
                mode: self.mode(0o755)?,
            },
            Word::File => MountAction::File {
                path,
                mode: self.mode(0o644)?,
                data: self.content()?,
            },
            Word::Data { read_only } => MountAction::BindData {
                target: path,
                mode: self.mode(0o644)?,
                data: self.content()?,
                read_only,
            },
            Word::Symlink => {
                let to = self.required("to")?;
                MountAction::Symlink {
                    target: PathBuf::from(self.reader.text(to)?),
                    path,
                }
            }
            Word::Chmod => {
                let mode = self.required("mode")?;
                MountAction::Chmod {
                    path,
                    mode: self.reader.mode(mode)?,
                }
            }
            Word::RemountReadOnly => MountAction::RemountReadOnly { path },
            Word::Overlay => {
                let (upper, work) = (self.required("upper")?, self.required("work")?);
                MountAction::Overlay {
                    lower: self.lower()?,
                    upper: Upper::Persistent {
                        upper: self.reader.path(upper)?,
                        work: self.reader.path(work)?,
                    },
                    target: path,
                }
            }
            Word::TemporaryOverlay => MountAction::Overlay {
                lower: self.lower()?,
                upper: Upper::Temporary,
                target: path,
            },
            Word::ReadOnlyOverlay => {
                let lower = self.lower()?;
                if lower.len() < 2 {
                    let message = "a read-only overlay needs two lower directories at least";
                    self.reader
                        .error_with_hint(self.item, message, "one alone is a ro_bind");
                    return None;
                }
                MountAction::Overlay {
                    lower,
                    upper: Upper::ReadOnly,
                    target: path,
                }
            }
        })
    }

    fn required(&mut self, key: &str) -> Option<Item<'d>> {
        let found = self.given.get(key).copied();
        if found.is_none() {
            let message = format!("`{}` needs `{key}` beside it", self.name);
            self.reader.error(self.item, message);
        }
        found
    }

    fn truth(&mut self, key: &str, default: bool) -> Option<bool> {
        match self.given.get(key) {
            Some(item) => self.reader.boolean(*item),
            None => Some(default),
        }
    }

    fn mode(&mut self, default: u32) -> Option<u32> {
        match self.given.get("mode") {
            Some(item) => self.reader.mode(*item),
            None => Some(default),
        }
    }

    fn size(&mut self) -> Option<Option<u64>> {
        let Some(item) = self.given.get("size") else {
            return Some(None);
        };
        let text = self.reader.text(*item)?;
        match parse_size(&text) {
            Ok(size) => Some(Some(size)),
            Err(problem) => {
                let hint = "sizes are written \"64M\"";
                self.reader
                    .error_with_hint(*item, problem.to_string(), hint);
                None
            }
        }
    }

    fn content(&mut self) -> Option<Data> {
        let content = self.required("content")?;
        let text = self.reader.text(content)?;
        Some(Data::Bytes(text.into_bytes()))
    }

    fn lower(&mut self) -> Option<Vec<PathBuf>> {
        let lower = self.required("lower")?;
        let items = self.reader.list(lower);
        let paths: Vec<PathBuf> = items
            .iter()
            .map_while(|item| self.reader.path(*item))
            .collect();
        if items.is_empty() {
            self.reader
                .error(lower, "an overlay needs a lower directory");
        }
        (!paths.is_empty() && paths.len() == items.len()).then_some(paths)
    }
}

/// `"tmp"`, or `{ upper, work }`.
pub(super) fn read_root_overlay(
    reader: &mut Reader<'_>,
    item: Item<'_>,
) -> Option<sandbox::config::RootOverlay> {
    use sandbox::config::RootOverlay;
    let DeValue::Table(table) = item.value() else {
        return reader
            .choice(item, &[("tmp", ())])
            .map(|()| RootOverlay::Temporary);
    };
    let (mut upper, mut work) = (None, None);
    for (key, value) in table {
        let value = item.sibling(value);
        match &**key.get_ref() {
            "upper" => upper = Some(reader.path(value)?),
            "work" => work = Some(reader.path(value)?),
            other => {
                let message = format!("an overlay has no `{other}`");
                reader.error_with_hint(value, message, "its keys are upper and work");
                return None;
            }
        }
    }
    let (Some(upper), Some(work)) = (upper, work) else {
        let hint = "work is an empty directory on the file system of upper";
        reader.error_with_hint(item, "an overlay that is kept has `upper` and `work`", hint);
        return None;
    };
    Some(RootOverlay::Persistent { upper, work })
}
