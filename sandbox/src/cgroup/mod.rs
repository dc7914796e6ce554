//! Control groups: where a service's processes are held together, limited, counted and killed.
//!
//! [`plan()`] is pure and turns limits into a [`CgroupPlan`] for one host; the rest acts on a plan.
//! On a *hybrid* machine (v1 controllers beside a v2 without them) the v2 group still tells when it
//! is empty, kills as a whole and freezes, so it is always made where v2 is mounted; v1 groups are
//! made only for the controllers that a limit needs.
//!
//! Both versions are plain file writes and are written by hand: the one crate for it hard-codes
//! v2's mount point, drops the errors of `cgroup.subtree_control` and joins every controller.
//!
//! # What holds a limit
//! The controller of v2 where the caller's group has it, else that of v1; neither is an error that
//! names the key. Files are those of `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/`.
//!
//! | [`CgroupLimits`](crate::config::CgroupLimits) | v2 | v1 |
//! |---|---|---|
//! | `memory` | `memory.max` | `memory.limit_in_bytes` |
//! | `memory_high`, `memory_low`, `memory_min` | `memory.high`, `.low`, `.min` | refused |
//! | `swap` | `memory.swap.max` | `memory.memsw.limit_in_bytes`, with `memory` alone |
//! | `cpu_percent`, `cpu_weight` | `cpu.max`, `cpu.weight` | `cpu.cfs_quota_us`, `cpu.shares` |
//! | `cpus`, `memory_nodes` | `cpuset.cpus`, `.mems` | the same |
//! | `tasks` | `pids.max` | `pids.max` |
//! | `io_weight` | `io.weight`, `io.bfq.weight` | `blkio.bfq.weight`, `blkio.weight` |
//! | `io_read`, `io_write` | `io.max` | `blkio.throttle.{read,write}_bps_device` |
//! | `huge_pages` | `hugetlb.SIZE.max`, `.rsvd.max` | `hugetlb.SIZE.limit_in_bytes`, `.rsvd.…` |
//! | `devices` | a `BPF_CGROUP_DEVICE` program (4.15) | `devices.deny`, `devices.allow` |
//! | `delegation` | the files of the subtree change hands | refused |
//! | `oom_group` | `memory.oom.group` | [`kill()`] by whoever heard of it ([`watch_oom`]) |
//!
//! # The life of a group
//! [`create`] makes it and writes its limits, before anybody is in it: a process is born in a v2 group
//! (`CLONE_INTO_CGROUP`, 5.7) or joins before its `execve`, never later. [`kill()`] ends all in it, in the
//! kernel where `cgroup.kill` is (5.14), [`freeze`] makes them stand still, [`wait_until_empty`] and
//! [`open_events`] tell of the last end, [`remove`] takes it away with whatever was made below, and
//! with the slices that nobody else is in. [`usage()`], [`pressure`] and [`oom_kills`] count.
//! A caller that is no supervisor has all of that in a [`Scope`].

mod apply;
mod devices;
mod disk;
mod events;
mod files;
mod limits;
mod plan;
mod processes;
mod root;
mod scope;
#[cfg(test)]
mod tests;
mod usage;

pub use apply::{Removal, add, create, join, remove};
pub(crate) use devices::has_programs;
pub use devices::{DeviceKeeper, DevicePlan};
pub use events::{
    Events, OomWatch, oom_kills, open_events, own_oom_kills, parse_events, watch_oom,
};
pub use files::CgroupError;
pub use plan::{
    CgroupPlan, LeafV1, LeafV2, OomGroup, Owner, PlanError, SLICE, Setting, Value, plan, plan_in,
};
pub use processes::{
    Standstill, freeze, is_populated, kill, pids, signal, standstill, thaw, wait_until_empty,
};
pub use root::{Prepared, left, prepare_root, remove_base, step_aside};
pub use scope::{Scope, ScopeError};
pub use usage::{Pressure, Stalls, Usage, memory_and_cpu, pressure, usage};
