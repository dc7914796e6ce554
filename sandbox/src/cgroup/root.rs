//! Makes our own group fit to hand out controllers, and takes down what herd made at its end.
#![forbid(unsafe_code)]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::apply::{Removal, enable_in, new_directory, remove_all};
use super::files::{CgroupError, read, write};
use super::plan::{CgroupPlan, LIMITING, LeafV1, PlanError, plan};
use crate::config::{CgroupLimits, CgroupName};
use crate::host::{Host, SUPERVISOR_LEAF};

/// What was done to the caller's own group, once at herd's start.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The leaf into which herd moved itself.
    pub moved: Option<PathBuf>,
    /// Controllers that services below `base` can have on v2.
    pub enabled: Vec<String>,
    /// Controllers that the kernel did not let us hand out, and why.
    pub refused: Vec<(String, CgroupError)>,
}

/// Lets the groups below `base` have every controller that we are offered.
///
/// A v2 group with processes cannot hand out controllers ("no internal processes"), but for the
/// real root; so herd moves itself from its own group into a leaf beside its services. Other
/// people's processes in the same group are left alone: then the kernel refuses, and
/// [`Prepared::refused`] tells. A hybrid machine's v2 offers nothing to all and is left as it is.
///
/// # Errors
/// [`CgroupError`] when herd could not be moved, or `base` not be made.
pub fn prepare_root(host: &Host, base: &CgroupName) -> Result<Prepared, CgroupError> {
    let mut prepared = Prepared::default();
    let Some(v2) = host.cgroups.v2.as_ref().filter(|v2| v2.writable) else {
        return Ok(prepared);
    };
    let wanted: Vec<&String> = v2
        .controllers
        .iter()
        .filter(|name| LIMITING.contains(&name.as_str()))
        .collect();
    if wanted.is_empty() {
        return Ok(prepared);
    }
    prepared.moved = move_out(&v2.own)?;
    let no_limits = CgroupLimits::default();
    let base = match plan(base, &no_limits, host) {
        Ok(plan) => plan,
        Err(PlanError::Name(name, reason)) => {
            return Err(CgroupError::Garbled {
                path: name.into(),
                text: reason.to_owned(),
            });
        }
        // No limit is asked for, so no other error is possible; nothing would be prepared.
        Err(_) => return Ok(prepared),
    };
    super::create(&base)?;
    // One by one: a controller that is refused does not take the others with it.
    for name in wanted {
        let one = std::slice::from_ref(name);
        let groups = base
            .v2
            .as_ref()
            .map(|leaf| super::apply::ancestors(&leaf.own, &leaf.path))
            .unwrap_or_default();
        let done = groups
            .into_iter()
            .chain(base.tracking_path())
            .try_for_each(|group| enable_in(group, one));
        match done {
            Ok(()) => prepared.enabled.push(name.clone()),
            Err(error) => prepared.refused.push((name.clone(), error)),
        }
    }
    Ok(prepared)
}

/// The part of [`prepare_root`] that a plan needs which [hands out](CgroupPlan::hands_out) what is not handed out to
/// all: a hybrid machine's v2 may have `hugetlb` alone. To move takes the kernel 15 ms, so who starts does without.
///
/// # Errors
/// [`CgroupError`] when herd could not be moved.
pub fn step_aside(host: &Host) -> Result<Option<PathBuf>, CgroupError> {
    match host.cgroups.v2.as_ref().filter(|v2| v2.writable) {
        Some(v2) => move_out(&v2.own),
        None => Ok(None),
    }
}

/// Moves this process into a leaf of `own`, if it is in `own` itself and that is a group which has
/// to be without processes to hand out controllers.
fn move_out(own: &Path) -> Result<Option<PathBuf>, CgroupError> {
    let me = std::process::id().to_string();
    // The real root has no `cgroup.events` and is free of the rule.
    let is_inside = || {
        let processes = read(&own.join("cgroup.procs"))?;
        Ok(processes.lines().any(|pid| pid == me))
    };
    if !own.join("cgroup.events").exists() || !is_inside()? {
        return Ok(None);
    }
    let leaf = own.join(SUPERVISOR_LEAF);
    match new_directory(&leaf) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => {
            return Err(CgroupError::Make { path: leaf, source });
        }
        Ok(()) | Err(_) => {}
    }
    write(&leaf.join("cgroup.procs"), &me)?;
    Ok(Some(leaf))
}

/// A group that somebody else has left, as far as it is still there: in the hierarchies of its limits
/// too, which nobody knows any more.
///
/// # Errors
/// [`PlanError::Name`] for what is no name of a group.
pub fn left(name: &CgroupName, host: &Host) -> Result<CgroupPlan, PlanError> {
    let mut left = plan(name, &CgroupLimits::default(), host)?;
    for (controller, group) in &host.cgroups.v1 {
        let path = group.own.join(&name.0);
        if left.v1.iter().all(|leaf| leaf.path != path) && path.is_dir() {
            left.v1.push(LeafV1 {
                controllers: vec![controller.clone()],
                own: group.own.clone(),
                path,
                settings: Vec::new(),
            });
        }
    }
    Ok(left)
}

/// Removes the base group of every hierarchy in which it is empty, at herd's end.
///
/// # Errors
/// As [`remove`](super::remove).
pub fn remove_base(host: &Host, base: &CgroupName) -> Result<Removal, CgroupError> {
    let v2 = host.cgroups.v2.iter().map(|v2| &v2.own);
    let owns: Vec<PathBuf> = v2
        .chain(
            host.cgroups
                .v1
                .values()
                .filter(|v1| v1.writable)
                .map(|v1| &v1.own),
        )
        .map(|own| own.join(&base.0))
        .collect();
    remove_all(owns.iter())
}
