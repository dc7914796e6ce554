//! Which bundle of walls a unit started from, and which of its own keys changed it: the first line of
//! `herd plan`.
#![forbid(unsafe_code)]

use sandbox::config::Walls;
use units::Unit;
use units::unit::Entry;

/// One line; `None` when the unit is not boxed.
pub fn heading(unit: &Unit) -> Option<String> {
    let walls = unit.walls.as_deref()?;
    let none = Entry::default();
    let entry = unit.entry.as_deref().unwrap_or(&none);
    let keys = changed(walls, &entry.profile.walls());
    let name = entry.profile.name();
    Some(if keys.is_empty() {
        format!("profile {name}, unchanged")
    } else {
        format!("profile {name}, changed by {}", keys.join(", "))
    })
}

/// The keys whose walls differ. Destructured, so that a new field cannot be forgotten here.
fn changed(walls: &Walls, profile: &Walls) -> Vec<&'static str> {
    let Walls {
        namespaces,
        join,
        user_namespace,
        // A launcher's, no unit's.
        assert_user_namespaces_disabled: _,
        root,
        root_overlay,
        enter_root,
        propagation,
        read_only_root,
        hostname,
        time_offsets,
        domainname,
        protect_system,
        protect_home,
        private_tmp,
        private_devices,
        protect_proc,
        proc_subset_pid,
        protect_kernel_tunables,
        protect_kernel_modules,
        protect_kernel_logs,
        protect_control_groups,
        protect_clock,
        protect_hostname,
        read_only_paths,
        read_write_paths,
        inaccessible_paths,
        no_exec_paths,
        exec_paths,
        temporary_file_systems,
        binds,
        mounts,
        no_new_privileges,
        capability_bounding_set,
        capabilities,
        ambient_capabilities,
        secure_bits,
        lock_personality,
        memory_deny_write_execute,
        restrict_realtime,
        restrict_suid_sgid,
        restrict_namespaces,
        restrict_address_families,
        system_calls,
        landlock,
        keyring,
        network,
        network_names: _,
        as_pid_1,
        best_effort,
    } = walls;
    let p = profile;
    let bind_paths = |walls: &[sandbox::config::Bind], read_only: bool| {
        walls.iter().any(|bind| bind.read_only == read_only)
    };
    let keys = [
        ("namespaces", *namespaces != p.namespaces),
        ("namespace_paths", *join != p.join),
        ("private_users", *user_namespace != p.user_namespace),
        ("box_root", *root != p.root),
        ("root_overlay", *root_overlay != p.root_overlay),
        ("pivot", *enter_root != p.enter_root),
        ("private_mounts", *propagation != p.propagation),
        ("read_only_root", *read_only_root != p.read_only_root),
        ("hostname", *hostname != p.hostname),
        ("time_offsets", *time_offsets != p.time_offsets),
        ("domainname", *domainname != p.domainname),
        ("protect_system", *protect_system != p.protect_system),
        ("protect_home", *protect_home != p.protect_home),
        ("private_tmp", *private_tmp != p.private_tmp),
        ("private_devices", *private_devices != p.private_devices),
        ("protect_proc", *protect_proc != p.protect_proc),
        ("proc_subset", *proc_subset_pid != p.proc_subset_pid),
        (
            "protect_kernel_tunables",
            *protect_kernel_tunables != p.protect_kernel_tunables,
        ),
        (
            "protect_kernel_modules",
            *protect_kernel_modules != p.protect_kernel_modules,
        ),
        (
            "protect_kernel_logs",
            *protect_kernel_logs != p.protect_kernel_logs,
        ),
        (
            "protect_control_groups",
            *protect_control_groups != p.protect_control_groups,
        ),
        ("protect_clock", *protect_clock != p.protect_clock),
        ("protect_hostname", *protect_hostname != p.protect_hostname),
        ("read_only_paths", *read_only_paths != p.read_only_paths),
        ("read_write_paths", *read_write_paths != p.read_write_paths),
        (
            "inaccessible_paths",
            *inaccessible_paths != p.inaccessible_paths,
        ),
        ("no_exec_paths", *no_exec_paths != p.no_exec_paths),
        ("exec_paths", *exec_paths != p.exec_paths),
        (
            "temporary_file_system",
            *temporary_file_systems != p.temporary_file_systems,
        ),
        ("bind_paths", bind_paths(binds, false)),
        ("bind_read_only_paths", bind_paths(binds, true)),
        ("mount", *mounts != p.mounts),
        (
            "no_new_privileges",
            *no_new_privileges != p.no_new_privileges,
        ),
        (
            "capability_bounding_set",
            *capability_bounding_set != p.capability_bounding_set,
        ),
        (
            "ambient_capabilities",
            *ambient_capabilities != p.ambient_capabilities || *capabilities != p.capabilities,
        ),
        ("secure_bits", *secure_bits != p.secure_bits),
        ("lock_personality", *lock_personality != p.lock_personality),
        (
            "memory_deny_write_execute",
            *memory_deny_write_execute != p.memory_deny_write_execute,
        ),
        (
            "restrict_realtime",
            *restrict_realtime != p.restrict_realtime,
        ),
        (
            "restrict_suid_sgid",
            *restrict_suid_sgid != p.restrict_suid_sgid,
        ),
        (
            "restrict_namespaces",
            *restrict_namespaces != p.restrict_namespaces,
        ),
        (
            "restrict_address_families",
            *restrict_address_families != p.restrict_address_families,
        ),
        (
            "system_call_filter",
            system_calls.filter != p.system_calls.filter,
        ),
        (
            "system_call_error_number",
            system_calls.refusal != p.system_calls.refusal,
        ),
        (
            "system_call_architectures",
            system_calls.architectures != p.system_calls.architectures,
        ),
        ("system_call_log", system_calls.log != p.system_calls.log),
        (
            "seccomp_profile",
            system_calls.profile != p.system_calls.profile,
        ),
        ("landlock", *landlock != p.landlock),
        ("keyring_mode", *keyring != p.keyring),
        ("network", *network != p.network),
        ("as_pid_1", *as_pid_1 != p.as_pid_1),
        ("best_effort", *best_effort != p.best_effort),
    ];
    let differs = keys.into_iter().filter(|(_, differs)| *differs);
    differs.map(|(key, _)| key).collect()
}
