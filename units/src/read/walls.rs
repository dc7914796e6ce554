//! `boxed` and `[box]`.
#![forbid(unsafe_code)]

use sandbox::Profile;
use sandbox::config::{
    DevicePolicy, Keyring, Namespaces, Network, ProtectHome, ProtectProc, ProtectSystem,
    RootOverlay, Wall, Walls,
};
use toml::de::DeValue;

use super::Draft;
use super::entry::read_entry;
use super::identity::{self, read_identity};
use super::landlock::read_landlock;
use super::limits::device_rules;
use super::mounts::read_file_system;
use super::privileges::read_privileges;
use super::system_calls::read_system_calls;
use crate::reader::{Item, Reader};

const PROTECT_PROC: [(&str, ProtectProc); 4] = [
    ("default", ProtectProc::Default),
    ("noaccess", ProtectProc::NoAccess),
    ("invisible", ProtectProc::Invisible),
    ("ptraceable", ProtectProc::Ptraceable),
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
            if let Some(profile) = reader.choice(item, &Profile::NAMES) {
                let root = std::mem::take(&mut draft.walls().root);
                *draft.walls() = Walls {
                    root,
                    ..profile.walls()
                };
                draft.entry().profile = profile;
            }
            return true;
        }
        _ if read_entry(draft, reader, path, item) => return true,
        _ if read_identity(draft, reader, path, item) => return true,
        _ => {}
    }
    if read_devices(draft, reader, path, item) {
        return true;
    }
    let walls = draft.walls();
    read_switch(walls, reader, path, item)
        || read_file_system(walls, reader, path, item)
        || read_privileges(walls, reader, path, item)
        || read_system_calls(walls, reader, path, item)
        || read_landlock(walls, reader, path, item)
        || read_words(walls, reader, path, item)
}

fn read_devices(draft: &mut Draft, reader: &mut Reader<'_>, path: &str, item: Item<'_>) -> bool {
    match path {
        "box.device_policy" => {
            let words = [
                ("auto", None),
                ("closed", Some(DevicePolicy::Closed)),
                ("strict", Some(DevicePolicy::Strict)),
            ];
            draft.devices.policy = reader.choice(item, &words).flatten();
        }
        "box.device_allow" => draft.devices.allow = Some(device_rules(reader, item)),
        _ => return false,
    }
    true
}

/// Walls that follow others: a strict tree is a read-only root and the other way round, and a
/// capability that is given must be in the bounding set.
pub(super) fn assemble(walls: &mut Walls, given: &impl Fn(&str) -> bool) {
    match (given("box.protect_system"), given("box.read_only_root")) {
        // Nobody asks where writes go and means that there are none.
        (false, false) if walls.root_overlay != RootOverlay::None => {
            walls.read_only_root = false;
            walls.protect_system = ProtectSystem::No;
        }
        (true, false) => walls.read_only_root &= walls.protect_system == ProtectSystem::Strict,
        (false, true) if !walls.read_only_root && walls.protect_system == ProtectSystem::Strict => {
            walls.protect_system = ProtectSystem::Full;
        }
        _ => {}
    }
    // A profile of the unit's own takes the place of the list that it would have by default.
    if given("box.seccomp_profile") && !given("box.system_call_filter") {
        walls.system_calls.filter = None;
    }
    identity::assemble(walls, given);
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
            let words = [
                ("private", Keyring::Private),
                ("shared", Keyring::Shared),
                ("inherit", Keyring::Inherit),
            ];
            walls.keyring = reader.choice(item, &words).unwrap_or(walls.keyring);
        }
        "box.hostname" => {
            walls.hostname = read_hostname(reader, item, "host").map(Into::into);
        }
        "box.domainname" => walls.domainname = read_hostname(reader, item, "domain"),
        "box.best_effort" => {
            walls.best_effort = read_best_effort(reader, item);
        }
        _ => return false,
    }
    true
}

fn read_best_effort(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<Wall> {
    let mut walls = Vec::new();
    for item in reader.list(item) {
        match item.value() {
            DeValue::String(text) if text == "namespaces" => walls.extend(Wall::OF_NAMESPACES),
            _ => walls.extend(reader.choice(item, &Wall::NAMES)),
        }
    }
    walls.sort_unstable();
    walls.dedup();
    walls
}

fn read_hostname(reader: &mut Reader<'_>, item: Item<'_>, kind: &str) -> Option<String> {
    let text = reader.text(item)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) || text.starts_with(['-', '.'])
    {
        let hint = format!("a {kind} name is 1 to 64 letters, digits, - and .");
        reader.error_with_hint(item, format!("{text:?} is no {kind} name"), hint);
        return None;
    }
    Some(text)
}

pub(super) fn read_namespaces(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Namespaces> {
    type Field = fn(&mut Namespaces) -> &mut bool;
    let kinds: [(&str, Field); 10] = [
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
