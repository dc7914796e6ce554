//! The keys of `[box]` about capabilities and namespaces.
#![forbid(unsafe_code)]

use sandbox::config::{RestrictNamespaces, Walls};
use toml::de::DeValue;

use super::walls::read_namespaces;
use crate::reader::{Item, Reader};
use crate::value::capability::{all_capabilities, nearest_capability, parse_capability};

pub(super) fn read_privileges(
    walls: &mut Walls,
    reader: &mut Reader<'_>,
    path: &str,
    item: Item<'_>,
) -> bool {
    match path {
        "box.capability_bounding_set" => {
            if let Some(kept) = read_capabilities(reader, item) {
                walls.capability_bounding_set = kept;
            }
        }
        "box.ambient_capabilities" => {
            if let Some(given) = read_capabilities(reader, item) {
                walls.ambient_capabilities = given;
            }
        }
        "box.restrict_namespaces" => {
            if let Some(restrict) = read_restrict_namespaces(reader, item) {
                walls.restrict_namespaces = restrict;
            }
        }
        _ => return false,
    }
    true
}

/// Words of a list in systemd's manner: split at blanks, `~` in front of the first inverts all.
/// `None` when one of them is no text.
pub(super) fn words<'d>(
    reader: &mut Reader<'_>,
    item: Item<'d>,
) -> Option<(bool, Vec<(Item<'d>, &'d str)>)> {
    let mut words = Vec::new();
    let mut inverted = false;
    for item in reader.list(item) {
        let mut text = reader.raw_text(item)?;
        if let Some(rest) = text.strip_prefix('~') {
            if words.is_empty() {
                inverted = true;
            } else if !inverted {
                reader.error(item, "\"~\" belongs in front of the first entry");
                return None;
            }
            text = rest;
        }
        words.extend(text.split_whitespace().map(|word| (item, word)));
    }
    Some((inverted, words))
}

fn read_capabilities(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Vec<u8>> {
    let (inverted, words) = words(reader, item)?;
    let mut named = Vec::new();
    for (item, word) in words {
        match parse_capability(word) {
            Some(capability) => named.push(capability),
            None => {
                let hint = match nearest_capability(word) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => "capabilities are written \"CAP_NET_BIND_SERVICE\"".to_owned(),
                };
                reader.error_with_hint(item, format!("{word:?} is no capability"), hint);
                return None;
            }
        }
    }
    if inverted {
        let mut all = all_capabilities();
        all.retain(|capability| !named.contains(capability));
        return Some(all);
    }
    named.sort_unstable();
    named.dedup();
    Some(named)
}

fn read_restrict_namespaces(reader: &mut Reader<'_>, item: Item<'_>) -> Option<RestrictNamespaces> {
    match item.value() {
        DeValue::Boolean(true) => Some(RestrictNamespaces::All),
        DeValue::Boolean(false) => Some(RestrictNamespaces::None),
        _ => read_namespaces(reader, item).map(RestrictNamespaces::AllowOnly),
    }
}
