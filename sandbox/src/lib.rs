//! The isolation engine of herd: what one process is to run as and behind which walls, compiled to
//! a plan for this machine, and the plan carried out.
//!
//! ```text
//! Config + Host ──compile──▶ Plan ──Launcher::launch──▶ Launched ──status::receive──▶ Message
//!      data        pure      data       effects           pidfd       one datagram      data
//! ```
//!
//! # Terminology
//! * **Config**: what is wanted, in words of the unit. Knows no machine.
//! * **Host**: what this machine can do, read once. Plans for other machines can be made and tested.
//! * **Wall**: one protection. A wall that the host cannot build is an error, or, where the unit
//!   said `best_effort`, a [`GivenUp`] that the caller shows. Nothing is left out in silence.
//! * **Step**: one thing to do, as data, with one sentence. A **plan** is a list of steps; printed,
//!   it is what `herd plan` shows. A failure is a step's number, its sentence and the kernel's reason.
//! * **Carrier**: who walks the steps. A *bare* process is a child that shares the caller's memory
//!   until `execve`: the caller is held up for tens of microseconds whatever its size. Anything
//!   else is the **executor**, our own binary started in the same way under the name `herd-exec`: it
//!   has one thread and a fresh heap, so it may do what a forked child must not, and holds nobody up.
//!   A caller with one thread may be its own executor, by a **copy** of itself.
//! * **Spare**: an executor made ahead ([`Launcher::keep_spares`]), a copy of one that does nothing but
//!   copy itself (the **zygote**). It is the first process of a PID namespace already and becomes init.
//! * **Init**: the first process of a box's PID namespace, the caller's own child. It starts the
//!   **main process** (the command), reaps, passes signals on, says how the main process ended,
//!   and ends with it; the kernel then ends the rest of the box.
//! * **Launcher**: holds our own executable by descriptor, so that replacing the file on disk
//!   does not change what later launches run.
//!
//! # Where to begin
//! [`session`] is for programs that want boxes: `spawn`, `wait`, events. [`pty`] gives a box a terminal.
//! [`config`] is the vocabulary of both. [`compile()`], [`Launcher`] and [`status`] are the engine below, for
//! supervisors with a loop of their own. [`from_voidbox`] maps that library's options to these.
//!
//! # The order of isolation
//! The reasons stand where the order is made: `compile.rs` has the whole, `filesystem/plan.rs` the
//! mounts. In short: first what needs the host's tree and rights, then the namespaces, then what
//! only the inside can do, then the process itself, and the privileges last, with the filter
//! directly before `execve`.
//!
//! # What is held against whom
//! * The *service* is not trusted once it runs. Nothing of ours runs behind its privileges: init
//!   keeps no capability but `CAP_KILL`, cannot be traced, and holds no descriptor of the service.
//! * A *box root* is not trusted at all, even while it is being mounted into: every target is
//!   opened by `openat2(RESOLVE_IN_ROOT)` and mounted on by descriptor; a symlink in the place of
//!   `/proc` or `/dev` is refused.
//! * A *caller that dies* during the set-up takes the set-up with it (`PR_SET_PDEATHSIG`).

pub mod capability;
pub mod cgroup;
mod compile;
pub mod config;
mod executor;
mod failure;
mod filesystem;
mod fork;
pub mod from_voidbox;
#[doc = include_str!("hardening.md")]
pub mod hardening {}
mod held;
pub mod host;
mod identity;
mod in_child;
mod init;
pub mod ipc;
pub mod landlock;
mod launch;
mod main_process;
mod message;
mod namespaces;
pub mod network;
mod paths;
mod plan;
mod process;
mod profile;
pub mod pty;
mod relax;
pub mod seccomp;
pub mod session;
mod spare;
pub mod status;
mod step;
mod sys;
mod walk;
mod zygote;

pub use compile::{CompileError, compile, compile_with};
pub use config::Config;
pub use executor::{executor_entry, herd_exec_main};
pub use failure::{About, StepFailure, Wanting};
pub use filesystem::{MountFailure, MountOperation};
pub use fork::launch_by_copy;
pub use host::Host;
pub use host::doctor::check_host;
pub use identity::{MapError, check_ranges};
pub use in_child::{
    ApplyError, UserNamespaceSync, apply_isolation_in_child, apply_isolation_in_child_sync,
};
pub use launch::{Files, LaunchError, Launched, Launcher};
pub use namespaces::NamespaceIds;
pub use plan::{Carrier, GivenUp, Plan};
pub use profile::{Profile, with_profile};
pub use sys::capabilities::{CapabilitySets, of_caller as capabilities_of_caller};
pub use sys::crash::{catch_crashes, read_on_after_crash, refuse_after_crash, stay_alive};
pub use sys::descriptors::{
    inherited as inherited_descriptors, is_open, keep as keep_descriptors, start_bare,
    take as take_descriptor,
};
pub use sys::disks::{detach_loop, remove_mapping, stop_array, swap_off};
pub use sys::network::bring_loopback_up;
pub use sys::process::{exit_now, leave_terminal};
pub use sys::signals::{end_by_closed_pipe, expect_children, signal_descriptor};
