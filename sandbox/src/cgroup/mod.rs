//! Control groups: where a service's processes are held together, limited, counted and killed.
//!
//! [`plan()`] is pure and turns limits into a [`CgroupPlan`] for one host; the rest acts on a plan.
//! On a *hybrid* machine (v1 controllers beside a v2 without them) the v2 group still tells when it
//! is empty, kills as a whole and freezes, so it is always made where v2 is mounted; v1 groups are
//! made only for the controllers that a limit needs.
//!
//! Both versions are plain file writes and are written by hand: the one crate for it hard-codes
//! v2's mount point, drops the errors of `cgroup.subtree_control` and joins every controller.

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
pub use events::{Events, OomWatch, oom_kills, open_events, parse_events, watch_oom};
pub use files::CgroupError;
pub use plan::{
    CgroupPlan, LeafV1, LeafV2, OomGroup, Owner, PlanError, SLICE, Setting, Value, plan, plan_in,
};
pub use processes::{
    Standstill, freeze, is_populated, kill, pids, signal, standstill, thaw, wait_until_empty,
};
pub use root::{Prepared, prepare_root, remove_base};
pub use scope::{Scope, ScopeError};
pub use usage::{Pressure, Stalls, Usage, memory_and_cpu, pressure, usage};
