//! Profiles: walls by name, under what the other options ask for.
#![forbid(unsafe_code)]

use sandbox::Profile;
use sandbox::config::Walls;

use super::arguments::Arguments;
use super::operation::{Access, Operation, Source};

/// Adds what the profile means to the options, before they are settled.
pub fn apply(arguments: &mut Arguments) {
    let Some(profile) = arguments.own.profile() else {
        return;
    };
    let unshare = &mut arguments.unshare;
    unshare.pid = true;
    unshare.ipc = true;
    unshare.uts = true;
    unshare.cgroup_try = true;
    unshare.net |= profile == Profile::Strict;
    arguments.new_session = true;
    arguments.die_with_parent = true;
    if profile != Profile::Minimal && !arguments.capabilities.chosen {
        arguments.capabilities.wanted = 0;
        arguments.capabilities.chosen = true;
    }
    let is_tree = |operation: &Operation| !matches!(operation, Operation::Hostname(_));
    if arguments.own.root.is_none() && !arguments.operations.iter().any(is_tree) {
        arguments.operations.extend(readable_host());
    }
}

/// The host's own tree, to be read, with what every program expects to write to.
fn readable_host() -> [Operation; 4] {
    [
        Operation::Bind {
            source: Source::Path("/".into()),
            target: "/".into(),
            access: Access::ReadOnly,
            optional: false,
        },
        Operation::Devices("/dev".into()),
        Operation::Proc("/proc".into()),
        Operation::Tmpfs {
            target: "/tmp".into(),
            mode: 0o1777,
            size: None,
        },
    ]
}

/// The walls that are neither namespaces nor mounts.
pub fn fine_walls(profile: Profile, walls: &mut Walls) {
    if profile == Profile::Minimal {
        return;
    }
    let boxed = profile.walls();
    walls.system_calls = boxed.system_calls;
    walls.lock_personality = boxed.lock_personality;
    walls.memory_deny_write_execute = boxed.memory_deny_write_execute;
    walls.restrict_realtime = boxed.restrict_realtime;
    walls.restrict_suid_sgid = boxed.restrict_suid_sgid;
    walls.restrict_namespaces = boxed.restrict_namespaces;
    walls.restrict_address_families = boxed.restrict_address_families;
    walls.keyring = boxed.keyring;
}
