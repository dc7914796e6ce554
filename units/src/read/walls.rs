//! `boxed`, `[box]` and `[network]`.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use sandbox::config::{
    Bind, BoxPath, Keyring, Namespaces, Network, ProtectHome, ProtectProc, ProtectSystem, Refusal,
    RestrictNamespaces, SystemCallEntry, SystemCallFilter, TemporaryFileSystem, Wall, Walls,
};
use toml::de::DeValue;

use super::Draft;
use crate::reader::{Item, Reader};
use crate::value::address_family::{other_families, parse_address_family};
use crate::value::capability::{all_capabilities, parse_capability};
use crate::value::errno::parse_errno;
use crate::value::size::parse_size;
use crate::value::system_call::{is_system_call_or_group, nearest_system_call};

const NETWORKS: [(&str, Network); 3] = [
    ("host", Network::Host),
    ("none", Network::None),
    ("loopback", Network::Loopback),
];

const PROTECT_PROC: [(&str, ProtectProc); 4] = [
    ("default", ProtectProc::Default),
    ("noaccess", ProtectProc::NoAccess),
    ("invisible", ProtectProc::Invisible),
    ("ptraceable", ProtectProc::Ptraceable),
];

const WALLS: [(&str, Wall); 16] = [
    ("mount_namespace", Wall::MountNamespace),
    ("pid_namespace", Wall::PidNamespace),
    ("ipc_namespace", Wall::IpcNamespace),
    ("uts_namespace", Wall::UtsNamespace),
    ("cgroup_namespace", Wall::CgroupNamespace),
    ("user_namespace", Wall::UserNamespace),
    ("net_namespace", Wall::NetNamespace),
    ("read_only_root", Wall::ReadOnlyRoot),
    ("private_tmp", Wall::PrivateTmp),
    ("private_devices", Wall::PrivateDevices),
    ("protect_proc", Wall::ProtectProc),
    ("capabilities", Wall::Capabilities),
    ("system_calls", Wall::SystemCalls),
    ("landlock", Wall::Landlock),
    ("keyring", Wall::Keyring),
    ("limits", Wall::Limits),
];

pub(super) fn read(draft: &mut Draft, reader: &mut Reader<'_>, path: &str, item: Item<'_>) -> bool {
    match path {
        "boxed" => {
            draft.boxed = reader.boolean(item).unwrap_or_default();
            draft.walls();
            return true;
        }
        "mount" => {
            for item in reader.list(item) {
                reader.choice(item, &[("proc", ()), ("tmpfs", ())]);
            }
            return true;
        }
        "box.profile" => {
            let profiles: [(&str, fn() -> Walls); 4] = [
                ("default", Walls::default_box),
                ("strict", Walls::strict_box),
                ("minimal", Walls::minimal_box),
                ("none", Walls::bare),
            ];
            if let Some(profile) = reader.choice(item, &profiles) {
                let root = draft.walls().root.take();
                *draft.walls() = Walls { root, ..profile() };
            }
            return true;
        }
        _ => {}
    }
    let walls = draft.walls();
    read_switch(walls, reader, path, item)
        || read_file_system(walls, reader, path, item)
        || read_privileges(walls, reader, path, item)
        || read_words(walls, reader, path, item)
}

pub(super) fn read_network(
    draft: &mut Draft,
    reader: &mut Reader<'_>,
    name: &str,
    item: Item<'_>,
) -> bool {
    if name != "mode" {
        return false;
    }
    if let DeValue::String(text) = item.value()
        && (text == "bridge" || text.starts_with("join:"))
    {
        let message = format!("the network mode {text:?} is not supported yet");
        reader.error_with_hint(item, message, "it comes with networks");
        return true;
    }
    if let Some(network) = reader.choice(item, &NETWORKS) {
        let walls = draft.walls();
        walls.network = network;
        walls.namespaces.net |= network != Network::Host;
    }
    true
}

/// Walls that follow others: a strict tree is a read-only root and the other way round, and a
/// capability that is given must be in the bounding set.
pub(super) fn assemble(walls: &mut Walls, given: &impl Fn(&str) -> bool) {
    match (given("box.protect_system"), given("box.read_only_root")) {
        (true, false) => walls.read_only_root &= walls.protect_system == ProtectSystem::Strict,
        (false, true) if !walls.read_only_root && walls.protect_system == ProtectSystem::Strict => {
            walls.protect_system = ProtectSystem::Full;
        }
        _ => {}
    }
    if !given("box.capability_bounding_set") {
        let kept = &mut walls.capability_bounding_set;
        kept.extend_from_slice(&walls.ambient_capabilities);
        kept.sort_unstable();
        kept.dedup();
    }
}

fn read_switch(walls: &mut Walls, reader: &mut Reader<'_>, path: &str, item: Item<'_>) -> bool {
    let switch = match path {
        "box.read_only_root" => &mut walls.read_only_root,
        "box.private_tmp" => &mut walls.private_tmp,
        "box.private_devices" => &mut walls.private_devices,
        "box.no_new_privileges" => &mut walls.no_new_privileges,
        "box.lock_personality" => &mut walls.lock_personality,
        "box.memory_deny_write_execute" => &mut walls.memory_deny_write_execute,
        "box.restrict_realtime" => &mut walls.restrict_realtime,
        "box.restrict_suid_sgid" => &mut walls.restrict_suid_sgid,
        "box.protect_kernel_tunables" => &mut walls.protect_kernel_tunables,
        "box.protect_kernel_modules" => &mut walls.protect_kernel_modules,
        "box.protect_kernel_logs" => &mut walls.protect_kernel_logs,
        "box.protect_control_groups" => &mut walls.protect_control_groups,
        "box.protect_clock" => &mut walls.protect_clock,
        "box.protect_hostname" => &mut walls.protect_hostname,
        "box.as_pid_1" => &mut walls.as_pid_1,
        _ => return false,
    };
    if let Some(value) = reader.boolean(item) {
        *switch = value;
    }
    true
}

fn read_file_system(
    walls: &mut Walls,
    reader: &mut Reader<'_>,
    path: &str,
    item: Item<'_>,
) -> bool {
    match path {
        "box_root" => walls.root = reader.path(item).filter(|root| root.parent().is_some()),
        "box.read_only_paths" => walls.read_only_paths = read_paths(reader, item),
        "box.read_write_paths" => walls.read_write_paths = read_paths(reader, item),
        "box.inaccessible_paths" => walls.inaccessible_paths = read_paths(reader, item),
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

fn read_privileges(walls: &mut Walls, reader: &mut Reader<'_>, path: &str, item: Item<'_>) -> bool {
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
            walls.system_calls.native_only = !items.is_empty();
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

fn read_words(walls: &mut Walls, reader: &mut Reader<'_>, path: &str, item: Item<'_>) -> bool {
    let truth = match item.value() {
        DeValue::Boolean(truth) => Some(*truth),
        _ => None,
    };
    match path {
        "box.namespaces" => {
            if let Some(namespaces) = read_namespaces(reader, item) {
                walls.namespaces = namespaces;
                if namespaces.net && walls.network == Network::Host {
                    walls.network = Network::Loopback;
                }
            }
        }
        "box.protect_system" => {
            let words = [
                ("full", ProtectSystem::Full),
                ("strict", ProtectSystem::Strict),
            ];
            let read = match truth {
                Some(true) => Some(ProtectSystem::Yes),
                Some(false) => Some(ProtectSystem::No),
                None => reader.choice(item, &words),
            };
            walls.protect_system = read.unwrap_or(walls.protect_system);
        }
        "box.protect_home" => {
            let words = [
                ("read-only", ProtectHome::ReadOnly),
                ("tmpfs", ProtectHome::Tmpfs),
            ];
            let read = match truth {
                Some(true) => Some(ProtectHome::Yes),
                Some(false) => Some(ProtectHome::No),
                None => reader.choice(item, &words),
            };
            walls.protect_home = read.unwrap_or(walls.protect_home);
        }
        "box.protect_proc" => {
            let read = reader.choice(item, &PROTECT_PROC);
            walls.protect_proc = read.unwrap_or(walls.protect_proc);
        }
        "box.proc_subset" => {
            let read = reader.choice(item, &[("all", false), ("pid", true)]);
            walls.proc_subset_pid = read.unwrap_or(walls.proc_subset_pid);
        }
        "box.keyring_mode" => {
            let words = [("private", Keyring::Private), ("inherit", Keyring::Inherit)];
            walls.keyring = reader.choice(item, &words).unwrap_or(walls.keyring);
        }
        "box.hostname" => walls.hostname = read_hostname(reader, item),
        "box.best_effort" => {
            let items = reader.list(item);
            walls.best_effort = items
                .into_iter()
                .filter_map(|item| reader.choice(item, &WALLS))
                .collect();
        }
        _ => return false,
    }
    true
}

fn read_hostname(reader: &mut Reader<'_>, item: Item<'_>) -> Option<String> {
    let text = reader.text(item)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) || text.starts_with(['-', '.'])
    {
        let hint = "a host name is 1 to 64 letters, digits, - and .";
        reader.error_with_hint(item, format!("{text:?} is no host name"), hint);
        return None;
    }
    Some(text)
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
                let hint = "capabilities are written \"CAP_NET_BIND_SERVICE\"";
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

fn read_families(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Option<Vec<u16>>> {
    if matches!(item.value(), DeValue::String(text) if text == "none") {
        return Some(Some(Vec::new()));
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
    if inverted {
        return Some(Some(other_families(&named)));
    }
    named.sort_unstable();
    named.dedup();
    Some((!named.is_empty()).then_some(named))
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
                errno,
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

fn read_namespaces(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Namespaces> {
    let kinds: [(&str, fn(&mut Namespaces) -> &mut bool); 10] = [
        ("mount", |n| &mut n.mount),
        ("mnt", |n| &mut n.mount),
        ("pid", |n| &mut n.pid),
        ("ipc", |n| &mut n.ipc),
        ("uts", |n| &mut n.uts),
        ("cgroup", |n| &mut n.cgroup),
        ("user", |n| &mut n.user),
        ("net", |n| &mut n.net),
        ("network", |n| &mut n.net),
        ("time", |n| &mut n.time),
    ];
    let mut namespaces = Namespaces::default();
    for item in reader.list(item) {
        *reader.choice(item, &kinds)?(&mut namespaces) = true;
    }
    Some(namespaces)
}
