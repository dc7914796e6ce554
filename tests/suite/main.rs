//! One binary for every test through the real herd.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start programs and wait with deadlines; the rules are for herd itself"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected has failed"
)]
#![allow(unused_imports, reason = "the fixture shows all it has")]
#![allow(
    dead_code,
    reason = "the fixture serves files that are not all there on each machine"
)]

mod architecture;
mod attacks;
mod attacks_control;
mod attacks_files;
mod attacks_processes;
mod attacks_setup;
mod attacks_table;
mod boot_times;
mod boot_units;
mod box_ends;
mod box_entry;
mod box_identity;
mod box_keys;
mod box_landlock;
mod box_mounts;
mod box_plans;
mod box_probe;
mod box_refusals;
mod box_root;
mod box_system_calls;
mod box_user;
mod boxes;
mod breakdown;
mod container_end;
mod container_engines;
mod container_poor;
mod container_talk;
mod control;
mod dependencies;
mod doctor;
mod ends;
mod files;
mod fixture;
mod groups;
mod health;
mod limits;
mod logs;
mod machine;
mod modes;
mod needs;
mod network_bridges;
mod network_damage;
mod network_example;
mod network_files;
mod network_life;
mod network_probes;
mod network_reach;
mod network_refusals;
mod network_relay;
mod network_rootless;
mod network_rules;
mod network_walls;
mod oneshot;
mod quickstart;
mod readiness;
mod restart;
mod security;
mod stack;
mod status;
mod stop;
mod units;
mod vb;
