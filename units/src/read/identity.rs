//! The keys of `[box]` about who is who inside, and whose namespaces it stands in.
#![forbid(unsafe_code)]

use sandbox::config::{IdRange, Join, NamespaceKind, NamespaceSource, SecureBit, Walls};
use toml::de::DeValue;

use super::Draft;
use crate::reader::{Item, Reader};
use crate::unit::PrivateUsers;

pub(super) fn read_identity(
    draft: &mut Draft,
    reader: &mut Reader<'_>,
    path: &str,
    item: Item<'_>,
) -> bool {
    match path {
        "box.private_users" => {
            draft.entry().private_users = read_private_users(reader, item).unwrap_or_default();
        }
        "box.disable_userns" => {
            draft.entry().disable_userns = reader.boolean(item).unwrap_or_default();
        }
        "box.remove_ipc" => draft.entry().remove_ipc = reader.boolean(item).unwrap_or_default(),
        "box.uid_map" | "box.gid_map" => {
            if let Some(ranges) = read_map(reader, item) {
                draft.walls();
                match path {
                    "box.uid_map" => draft.uid_map = ranges,
                    _ => draft.gid_map = ranges,
                }
            }
        }
        "box.namespace_paths" => draft.walls().join = read_joins(reader, item),
        "box.secure_bits" => {
            let names: Vec<_> = SecureBit::ALL
                .iter()
                .map(|(name, bit, _)| (*name, *bit))
                .collect();
            let items = reader.list(item).into_iter();
            draft.walls().secure_bits = items
                .filter_map(|item| reader.choice(item, &names))
                .collect();
        }
        _ => return false,
    }
    true
}

/// What is joined is not made, unless the unit asks for both, which is told as a contradiction.
pub(super) fn assemble(walls: &mut Walls, given: &impl Fn(&str) -> bool) {
    if given("box.namespaces") {
        return;
    }
    for join in &walls.join {
        match join.kind {
            NamespaceKind::Ipc => walls.namespaces.ipc = false,
            NamespaceKind::Uts => walls.namespaces.uts = false,
            NamespaceKind::Cgroup => walls.namespaces.cgroup = false,
            NamespaceKind::Net if !given("network.mode") => {
                walls.namespaces.net = false;
                walls.network = sandbox::config::Network::Host;
            }
            // A new one is a copy of the one that is joined, or lies below it.
            NamespaceKind::Net
            | NamespaceKind::Mount
            | NamespaceKind::Pid
            | NamespaceKind::User
            | NamespaceKind::SecondUser
            | NamespaceKind::Time => {}
        }
    }
}

fn read_private_users(reader: &mut Reader<'_>, item: Item<'_>) -> Option<PrivateUsers> {
    match item.value() {
        DeValue::Boolean(true) => Some(PrivateUsers::Own),
        DeValue::Boolean(false) => Some(PrivateUsers::No),
        _ => reader.choice(
            item,
            &[
                ("self", PrivateUsers::Own),
                ("identity", PrivateUsers::Identity),
                ("pick", PrivateUsers::Pick),
            ],
        ),
    }
}

/// `["0:100000:65536"]`: inside, outside, how many.
fn read_map(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Vec<IdRange>> {
    let mut ranges = Vec::new();
    for item in reader.list(item) {
        let text = reader.raw_text(item)?;
        let numbers: Option<Vec<u32>> = text.split(':').map(|word| word.parse().ok()).collect();
        let Some([inside, outside, count]) = numbers.as_deref() else {
            let hint = "a range is written \"INSIDE:OUTSIDE:COUNT\", as \"0:100000:65536\"";
            reader.error_with_hint(item, format!("{text:?} is no range of ids"), hint);
            return None;
        };
        ranges.push(IdRange {
            inside: *inside,
            outside: *outside,
            count: *count,
        });
    }
    if let Err(error) = sandbox::check_ranges(&ranges) {
        reader.error(item, error.to_string());
        return None;
    }
    Some(ranges)
}

/// `{ net = "/run/netns/blue" }`
fn read_joins(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<Join> {
    const KINDS: [(&str, NamespaceKind); 10] = [
        ("mount", NamespaceKind::Mount),
        ("mnt", NamespaceKind::Mount),
        ("pid", NamespaceKind::Pid),
        ("ipc", NamespaceKind::Ipc),
        ("uts", NamespaceKind::Uts),
        ("cgroup", NamespaceKind::Cgroup),
        ("user", NamespaceKind::User),
        ("net", NamespaceKind::Net),
        ("network", NamespaceKind::Net),
        ("time", NamespaceKind::Time),
    ];
    let mut joins: Vec<Join> = Vec::new();
    let Some(table) = reader.table(item) else {
        return joins;
    };
    for (name, value) in table {
        let value = item.sibling(value);
        let known = KINDS.iter().find(|(known, _)| known == name.get_ref());
        let Some((_, kind)) = known else {
            let message = format!("{:?} is no kind of namespace", name.get_ref());
            let hint = "they are mount, pid, ipc, uts, cgroup, user, net and time";
            reader.error_with_hint(value, message, hint);
            continue;
        };
        if joins.iter().any(|join| join.kind == *kind) {
            reader.error(value, format!("{:?} is there twice", name.get_ref()));
            continue;
        }
        if let Some(path) = reader.path(value) {
            joins.push(Join {
                kind: *kind,
                from: NamespaceSource::Path(path),
            });
        }
    }
    joins.sort_by_key(|join| join.kind);
    joins
}
