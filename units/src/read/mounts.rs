//! `box_root` and the keys of `[box]` that put paths into the box or take them away.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use sandbox::config::{Bind, BoxPath, EnterRoot, Propagation, Root, TemporaryFileSystem, Walls};
use toml::de::DeValue;

use super::actions::{read_actions, read_root_overlay};
use crate::reader::{Item, Reader};
use crate::value::size::parse_size;

pub(super) fn read_file_system(
    walls: &mut Walls,
    reader: &mut Reader<'_>,
    path: &str,
    item: Item<'_>,
) -> bool {
    match path {
        "box_root" => {
            if matches!(item.value(), DeValue::String(text) if text == "empty") {
                walls.root = Root::Empty;
                return true;
            }
            let named = reader.path(item).filter(|root| root.parent().is_some());
            walls.root = named.map_or(Root::Host, Root::Directory);
        }
        "box.read_only_paths" => walls.read_only_paths = read_paths(reader, item),
        "box.read_write_paths" => walls.read_write_paths = read_paths(reader, item),
        "box.inaccessible_paths" => walls.inaccessible_paths = read_paths(reader, item),
        "box.no_exec_paths" => walls.no_exec_paths = read_paths(reader, item),
        "box.exec_paths" => walls.exec_paths = read_paths(reader, item),
        "box.root_overlay" => {
            return set(&mut walls.root_overlay, read_root_overlay(reader, item));
        }
        "box.pivot" => {
            let how = |pivot| {
                if pivot {
                    EnterRoot::Pivot
                } else {
                    EnterRoot::Chroot
                }
            };
            return set(&mut walls.enter_root, reader.boolean(item).map(how));
        }
        "box.private_mounts" => {
            let private = reader.boolean(item);
            walls.namespaces.mount |= private == Some(true);
            let how = |private| {
                if private {
                    Propagation::Private
                } else {
                    Propagation::FromHost
                }
            };
            return set(&mut walls.propagation, private.map(how));
        }
        "box.mount" => walls.mounts = read_actions(reader, item),
        "box.temporary_file_system" => {
            let items = reader.list(item);
            walls.temporary_file_systems = items
                .into_iter()
                .filter_map(|item| read_temporary_file_system(reader, item))
                .collect();
        }
        "box.bind_paths" => {
            walls.binds.retain(|bind| bind.read_only);
            walls.binds.extend(read_binds(reader, item, false));
        }
        "box.bind_read_only_paths" => {
            walls.binds.retain(|bind| !bind.read_only);
            walls.binds.extend(read_binds(reader, item, true));
        }
        _ => return false,
    }
    true
}

/// What could not be read leaves things as they are; it has been told.
fn set<T>(place: &mut T, value: Option<T>) -> bool {
    if let Some(value) = value {
        *place = value;
    }
    true
}

fn read_paths(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<BoxPath> {
    let items = reader.list(item);
    items
        .into_iter()
        .filter_map(|item| reader.optional_path(item))
        .map(|(path, optional)| BoxPath { path, optional })
        .collect()
}

/// `PATH[:size=10M,mode=0755,ro]`
fn read_temporary_file_system(
    reader: &mut Reader<'_>,
    item: Item<'_>,
) -> Option<TemporaryFileSystem> {
    let text = reader.text(item)?;
    let (path, options) = text.split_once(':').unwrap_or((&text, ""));
    let mut made = TemporaryFileSystem {
        path: reader.absolute(item, path)?,
        mode: 0o755,
        size: None,
        read_only: false,
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let understood = match option.split_once('=') {
            None if option == "ro" => {
                made.read_only = true;
                true
            }
            None => option == "rw",
            Some(("size", size)) => {
                made.size = parse_size(size).ok();
                made.size.is_some()
            }
            Some(("mode", mode)) => match u32::from_str_radix(mode, 8) {
                Ok(mode) if mode <= 0o7777 => {
                    made.mode = mode;
                    true
                }
                Ok(_) | Err(_) => false,
            },
            Some(_) => false,
        };
        if !understood {
            let hint = "options are size=10M, mode=0755 and ro";
            reader.error_with_hint(item, format!("{option:?} is no option here"), hint);
            return None;
        }
    }
    Some(made)
}

/// `[-]SOURCE[:TARGET[:rbind|norbind]]`
fn read_binds(reader: &mut Reader<'_>, item: Item<'_>, read_only: bool) -> Vec<Bind> {
    let mut binds = Vec::new();
    for item in reader.list(item) {
        let Some(text) = reader.text(item) else {
            continue;
        };
        let optional = text.starts_with('-');
        let mut parts = text.strip_prefix('-').unwrap_or(&text).split(':');
        let source = parts.next().unwrap_or_default();
        let target = parts.next().unwrap_or(source);
        let recursive = match (parts.next(), parts.next()) {
            (None | Some("rbind"), None) => true,
            (Some("norbind"), None) => false,
            (_, _) => {
                let hint = "write \"SOURCE:TARGET\" or \"SOURCE:TARGET:norbind\"";
                reader.error_with_hint(item, format!("{text:?} is no bind"), hint);
                continue;
            }
        };
        let source = reader.absolute(item, source);
        let target: Option<PathBuf> = source.as_ref().and_then(|_| reader.absolute(item, target));
        if let (Some(source), Some(target)) = (source, target) {
            binds.push(Bind {
                source,
                target,
                read_only,
                optional,
                recursive,
            });
        }
    }
    binds
}
