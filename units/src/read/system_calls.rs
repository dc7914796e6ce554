//! The keys of `[box]` about system calls.
#![forbid(unsafe_code)]

use sandbox::config::{
    Abi, AddressFamilies, Architectures, Refusal, SystemCallEntry, SystemCallFilter, SystemCallLog,
    Walls,
};
use toml::de::DeValue;

use super::privileges::words;
use crate::reader::{Item, Reader};
use crate::value::address_family::parse_address_family;
use crate::value::errno::parse_errno;
use crate::value::system_call::{is_system_call_or_group, nearest_system_call};

pub(super) fn read_system_calls(
    walls: &mut Walls,
    reader: &mut Reader<'_>,
    path: &str,
    item: Item<'_>,
) -> bool {
    match path {
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
            if let Some(architectures) = read_architectures(reader, item) {
                walls.system_calls.architectures = architectures;
            }
        }
        "box.system_call_log" => walls.system_calls.log = read_log(reader, item),
        "box.restrict_address_families" => {
            if let Some(families) = read_families(reader, item) {
                walls.restrict_address_families = families;
            }
        }
        _ => return false,
    }
    true
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
            let (name, answer) = match word.split_once(':') {
                Some((name, answer)) => (name, Some(answer)),
                None => (word, None),
            };
            if !is_known(reader, item, name) {
                return None;
            }
            let refusal = match answer.map(|answer| (answer, parse_refusal(answer))) {
                Some((text, None)) => {
                    reader.error(item, format!("{text:?} is no errno"));
                    return None;
                }
                Some((_, refusal)) => refusal,
                None => None,
            };
            filter.entries.push(SystemCallEntry {
                name: name.to_owned(),
                remove: takes_away == filter.allow,
                refusal,
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
    let refusal = parse_refusal(text);
    if refusal.is_none() {
        let hint = "write \"EPERM\", another name of errno(3), or \"kill\"";
        reader.error_with_hint(item, format!("{text:?} is no errno"), hint);
    }
    refusal
}

fn parse_refusal(text: &str) -> Option<Refusal> {
    if text == "kill" {
        return Some(Refusal::KillProcess);
    }
    parse_errno(text).map(Refusal::Errno)
}

/// Claims that the name is one of a call or a group; tells where it is not.
fn is_known(reader: &mut Reader<'_>, item: Item<'_>, name: &str) -> bool {
    if is_system_call_or_group(name) {
        return true;
    }
    let message = format!("{name:?} is no system call and no group of them");
    match nearest_system_call(name) {
        Some(near) => reader.error_with_hint(item, message, format!("did you mean {near:?}?")),
        None => reader.error(item, message),
    }
    false
}

/// As systemd's `SystemCallLog=`: a list, or all but a list.
fn read_log(reader: &mut Reader<'_>, item: Item<'_>) -> Option<SystemCallLog> {
    let (all_but, words) = words(reader, item)?;
    let mut names = Vec::new();
    for (item, word) in words {
        if !is_known(reader, item, word) {
            return None;
        }
        names.push(word.to_owned());
    }
    (all_but || !names.is_empty()).then_some(SystemCallLog { all_but, names })
}

/// The words of systemd's `SystemCallArchitectures=` for what herd runs on.
const ARCHITECTURES: [(&str, Option<Abi>); 8] = [
    ("native", None),
    ("x86-64", Some(Abi::X86_64)),
    ("x86", Some(Abi::X86)),
    ("x32", Some(Abi::X32)),
    ("arm64", Some(Abi::Aarch64)),
    ("arm", Some(Abi::Arm)),
    ("riscv64", Some(Abi::Riscv64)),
    ("riscv32", Some(Abi::Riscv32)),
];

fn read_architectures(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Architectures> {
    let items = reader.list(item);
    if items.is_empty() {
        return Some(Architectures::All);
    }
    let mut named = Vec::new();
    for item in items {
        named.extend(reader.choice(item, &ARCHITECTURES)?);
    }
    named.sort_unstable();
    named.dedup();
    Some(Architectures::NativeAnd(named))
}
