//! The keys of `[box]` about what a process may ask of the kernel.
#![forbid(unsafe_code)]

use sandbox::config::{
    AddressFamilies, Architectures, Refusal, RestrictNamespaces, SystemCallEntry, SystemCallFilter,
    Walls,
};
use toml::de::DeValue;

use super::walls::read_namespaces;
use crate::reader::{Item, Reader};
use crate::value::address_family::parse_address_family;
use crate::value::capability::{all_capabilities, nearest_capability, parse_capability};
use crate::value::errno::parse_errno;
use crate::value::system_call::{is_system_call_or_group, nearest_system_call};

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
        "box.system_call_filter" => {
            if let Some(filter) = read_filter(reader, item, walls.system_calls.filter.as_ref()) {
                walls.system_calls.filter = filter;
            }
        }
        "box.system_call_error_number" => {
            if let Some(refusal) = read_refusal(reader, item) {
                walls.system_calls.refusal = refusal;
            }
        }
        "box.system_call_architectures" => {
            let items = reader.list(item);
            walls.system_calls.architectures = if items.is_empty() {
                Architectures::All
            } else {
                Architectures::NATIVE
            };
            for item in items {
                if let Some(text) = reader.raw_text(item).filter(|text| *text != "native") {
                    let message = format!("the architecture {text:?} is not supported");
                    reader.error_with_hint(item, message, "write \"native\", or [] for all");
                }
            }
        }
        "box.restrict_namespaces" => {
            if let Some(restrict) = read_restrict_namespaces(reader, item) {
                walls.restrict_namespaces = restrict;
            }
        }
        "box.restrict_address_families" => {
            if let Some(families) = read_families(reader, item) {
                walls.restrict_address_families = families;
            }
        }
        _ => return false,
    }
    true
}

/// Words of a list in systemd's manner: split at blanks, `~` in front of the first inverts all.
/// `None` when one of them is no text.
fn words<'d>(reader: &mut Reader<'_>, item: Item<'d>) -> Option<(bool, Vec<(Item<'d>, &'d str)>)> {
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

fn read_families(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Option<AddressFamilies>> {
    if matches!(item.value(), DeValue::String(text) if text == "none") {
        return Some(Some(AddressFamilies::Only(Vec::new())));
    }
    let (inverted, words) = words(reader, item)?;
    let mut named = Vec::new();
    for (item, word) in words {
        match parse_address_family(word) {
            Some(family) => named.push(family),
            None => {
                let hint = "address families are written \"AF_UNIX\", \"AF_INET\"";
                reader.error_with_hint(item, format!("{word:?} is no address family"), hint);
                return None;
            }
        }
    }
    named.sort_unstable();
    named.dedup();
    if inverted {
        return Some(Some(AddressFamilies::AllBut(named)));
    }
    Some((!named.is_empty()).then_some(AddressFamilies::Only(named)))
}

/// An empty list filters nothing. Entries with `~` take away: from what stands before them, from
/// the profile's list when they come first, or from all calls when the profile has none.
fn read_filter(
    reader: &mut Reader<'_>,
    item: Item<'_>,
    profile: Option<&SystemCallFilter>,
) -> Option<Option<SystemCallFilter>> {
    let mut filter: Option<SystemCallFilter> = None;
    for item in reader.list(item) {
        let text = reader.raw_text(item)?;
        let (takes_away, text) = match text.strip_prefix('~') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let filter = filter.get_or_insert_with(|| match profile {
            Some(profile) if takes_away => profile.clone(),
            _ => SystemCallFilter {
                allow: !takes_away,
                entries: Vec::new(),
            },
        });
        for word in text.split_whitespace() {
            let (name, errno) = match word.split_once(':') {
                Some((name, errno)) => (name, Some(errno)),
                None => (word, None),
            };
            if !is_system_call_or_group(name) {
                let message = format!("{name:?} is no system call and no group of them");
                match nearest_system_call(name) {
                    Some(near) => {
                        reader.error_with_hint(item, message, format!("did you mean {near:?}?"));
                    }
                    None => reader.error(item, message),
                }
                return None;
            }
            let errno = match errno.map(|errno| (errno, parse_errno(errno))) {
                Some((text, None)) => {
                    reader.error(item, format!("{text:?} is no errno"));
                    return None;
                }
                Some((_, number)) => number,
                None => None,
            };
            filter.entries.push(SystemCallEntry {
                name: name.to_owned(),
                remove: takes_away == filter.allow,
                refusal: errno.map(Refusal::Errno),
            });
        }
    }
    Some(filter)
}

fn read_refusal(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Refusal> {
    if let DeValue::Integer(_) = item.value() {
        return reader.number(item, 1..=4_095).map(Refusal::Errno);
    }
    let text = reader.raw_text(item)?;
    if text == "kill" {
        return Some(Refusal::KillProcess);
    }
    let number = parse_errno(text);
    if number.is_none() {
        let hint = "write \"EPERM\", another name of errno(3), or \"kill\"";
        reader.error_with_hint(item, format!("{text:?} is no errno"), hint);
    }
    number.map(Refusal::Errno)
}

fn read_restrict_namespaces(reader: &mut Reader<'_>, item: Item<'_>) -> Option<RestrictNamespaces> {
    match item.value() {
        DeValue::Boolean(true) => Some(RestrictNamespaces::All),
        DeValue::Boolean(false) => Some(RestrictNamespaces::None),
        _ => read_namespaces(reader, item).map(RestrictNamespaces::AllowOnly),
    }
}
