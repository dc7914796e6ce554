//! Makes, joins and removes the groups of a plan.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, lchown};
use std::path::{Path, PathBuf};

use super::devices::{self, DeviceKeeper};
use super::disk;
use super::files::{CgroupError, is_gone, read, write};
use super::plan::{CgroupPlan, LeafV1, LeafV2, Owner, SLICE, Setting, Value};

/// What became of the groups of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// None is left.
    Removed,
    /// This one still has processes; the others may be gone.
    Busy(PathBuf),
}

/// Makes every group of the plan and writes its limits. Groups that are there already are taken as
/// they are, so the second command of a service joins the first one's.
///
/// On v2 without limits this is one `mkdir(2)`.
///
/// # Errors
/// [`CgroupError`]; what was made stays for [`remove`] to take away.
pub fn create(plan: &CgroupPlan) -> Result<(), CgroupError> {
    for _ in 1..TRIES {
        match try_to_create(plan) {
            Err(CgroupError::Make { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            done => return done,
        }
    }
    try_to_create(plan)
}

/// Somebody else may take a slice away with its last group, just before ours is made in it.
const TRIES: usize = 5;

fn try_to_create(plan: &CgroupPlan) -> Result<(), CgroupError> {
    plan.slices.iter().try_for_each(try_to_create)?;
    if let Some(leaf) = &plan.v2 {
        create_v2(leaf)?;
    }
    plan.v1.iter().try_for_each(create_v1)?;
    let Some(devices) = &plan.devices else {
        return Ok(());
    };
    match (devices.keeper, &plan.v2, plan.v1_leaf("devices")) {
        (DeviceKeeper::Program, Some(leaf), _) => devices::attach(devices, &leaf.path),
        (DeviceKeeper::V1, _, Some(leaf)) => devices::restrict(devices, &leaf.path),
        (DeviceKeeper::Program | DeviceKeeper::V1, ..) => Err(CgroupError::NoHierarchy),
    }
}

/// Moves the calling process into every group of the plan. Allocates: not between fork and exec of
/// a process with threads.
///
/// # Errors
/// [`CgroupError::Write`] names the group that refused.
pub fn join(plan: &CgroupPlan) -> Result<(), CgroupError> {
    // The kernel reads 0 as "who writes", which is right in any PID namespace.
    add(plan, 0)
}

/// Moves the process `pid`, as the caller's PID namespace numbers it, into every group of the plan.
///
/// # Errors
/// [`CgroupError::Write`] names the group that refused.
pub fn add(plan: &CgroupPlan, pid: i32) -> Result<(), CgroupError> {
    let v1 = plan.v1.iter().map(|leaf| &leaf.path);
    let v2 = plan.v2.iter().map(|leaf| &leaf.entry);
    v1.chain(v2)
        .try_for_each(|path| write(&path.join("cgroup.procs"), &pid.to_string()))
}

/// Removes every group of the plan with the groups that the service made below. All are tried, the
/// first error is told at the end. A group that is not there is no error. A slice goes with its last
/// group, and so does everything above it on v1; on v2 what is above stays, for it hands controllers
/// out.
///
/// # Errors
/// [`CgroupError::Remove`] for anything but a group that still has processes.
pub fn remove(plan: &CgroupPlan) -> Result<Removal, CgroupError> {
    let v2 = plan.v2.iter().map(|leaf| &leaf.path);
    let removal = remove_all(v2.chain(plan.v1.iter().map(|leaf| &leaf.path)))?;
    if removal == Removal::Removed {
        if let Some(leaf) = &plan.v2 {
            remove_empty(
                leaf.path
                    .ancestors()
                    .skip(1)
                    .take_while(|group| is_slice(group)),
            );
        }
        for leaf in &plan.v1 {
            let above = leaf.path.ancestors().skip(1);
            remove_empty(above.take_while(|group| **group != leaf.own));
        }
    }
    Ok(removal)
}

fn is_slice(group: &Path) -> bool {
    let name = group.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.ends_with(SLICE))
}

/// From the innermost up, as far as nobody is in them.
fn remove_empty<'a>(groups: impl Iterator<Item = &'a Path>) {
    for group in groups {
        // In use, as a rule; then so are those above it.
        if fs::remove_dir(group).is_err() {
            return;
        }
    }
}

pub(super) fn remove_all<'a>(
    paths: impl Iterator<Item = &'a PathBuf>,
) -> Result<Removal, CgroupError> {
    let (mut busy, mut failed) = (None, None);
    for path in paths {
        match remove_tree(path, MAX_DEPTH) {
            Ok(()) => {}
            Err((path, error)) if error.raw_os_error() == Some(libc::EBUSY) => {
                busy.get_or_insert(path);
            }
            Err((path, source)) => {
                failed.get_or_insert(CgroupError::Remove { path, source });
            }
        }
    }
    match (failed, busy) {
        (Some(error), _) => Err(error),
        (None, Some(path)) => Ok(Removal::Busy(path)),
        (None, None) => Ok(Removal::Removed),
    }
}

/// How deep a service may have nested groups for us to follow.
pub(super) const MAX_DEPTH: u32 = 64;

fn create_v2(leaf: &LeafV2) -> Result<(), CgroupError> {
    make(&leaf.own, &leaf.path)?;
    enable(leaf)?;
    set_all(&leaf.path, &leaf.settings)?;
    if let Some(owner) = &leaf.owner {
        give(&leaf.path, *owner)?;
    }
    if leaf.entry == leaf.path {
        Ok(())
    } else {
        make(&leaf.own, &leaf.entry)
    }
}

/// What a service needs to make groups of its own, and no file that holds a limit
/// (`Documentation/admin-guide/cgroup-v2.rst`, *Delegation*).
fn give(group: &Path, owner: Owner) -> Result<(), CgroupError> {
    let files = ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"];
    let paths = files.iter().map(|file| group.join(file));
    for path in paths.chain([group.to_owned()]) {
        match lchown(&path, Some(owner.uid), Some(owner.gid)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let (uid, source) = (owner.uid, error);
                return Err(CgroupError::Delegate { path, uid, source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn create_v1(leaf: &LeafV1) -> Result<(), CgroupError> {
    make(&leaf.own, &leaf.path)?;
    // A new cpuset has neither CPUs nor memory and lets nobody in.
    if leaf.controllers.iter().any(|name| name == "cpuset") {
        inherit_cpuset(&leaf.own, &leaf.path)?;
    }
    set_all(&leaf.path, &leaf.settings)
}

/// `mkdir` of the leaf; of what is above it only when that is missing.
fn make(own: &Path, path: &Path) -> Result<(), CgroupError> {
    let mut tries = MAKE_TRIES;
    loop {
        let source = match new_directory(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => error,
        };
        tries -= 1;
        match path.parent() {
            Some(parent) if source.kind() == ErrorKind::NotFound && parent != own && tries > 0 => {
                make(own, parent)?;
            }
            _ => {
                return Err(CgroupError::Make {
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
}

/// The executor's umask is 0: without a mode everybody could make groups in ours.
pub(super) fn new_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(path)
}

/// The last service of a slice may take it away while we are making the first one's group in it.
const MAKE_TRIES: u32 = 10;

/// Hands the controllers down: a group offers to its children what its own parent offers to it.
fn enable(leaf: &LeafV2) -> Result<(), CgroupError> {
    if leaf.controllers.is_empty() {
        return Ok(());
    }
    for group in ancestors(&leaf.own, &leaf.path) {
        enable_in(group, &leaf.controllers)?;
    }
    Ok(())
}

pub(super) fn enable_in(group: &Path, controllers: &[String]) -> Result<(), CgroupError> {
    let file = group.join("cgroup.subtree_control");
    let enabled = read(&file)?;
    let missing: Vec<String> = controllers
        .iter()
        .filter(|name| !enabled.split_whitespace().any(|have| have == *name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    write(&file, &missing.join(" "))
}

/// The groups from `own` down to the parent of `path`.
pub(super) fn ancestors<'a>(own: &Path, path: &'a Path) -> Vec<&'a Path> {
    let mut groups: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .take_while(|group| group.starts_with(own))
        .collect();
    groups.reverse();
    groups
}

fn inherit_cpuset(own: &Path, path: &Path) -> Result<(), CgroupError> {
    let mut groups = ancestors(own, path);
    groups.push(path);
    for pair in groups.windows(2) {
        let &[parent, child] = pair else { continue };
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let target = child.join(file);
            if read(&target)?.trim().is_empty() {
                write(&target, read(&parent.join(file))?.trim())?;
            }
        }
    }
    Ok(())
}

fn set_all(group: &Path, settings: &[Setting]) -> Result<(), CgroupError> {
    settings.iter().try_for_each(|setting| set(group, setting))
}

fn set(group: &Path, setting: &Setting) -> Result<(), CgroupError> {
    for (file, value) in &setting.alternatives {
        let path = group.join(file);
        let text = match value {
            Value::Text(text) => text.clone(),
            Value::Device { path: disk, rest } => {
                format!("{} {rest}", disk::resolve(&setting.key, disk)?)
            }
        };
        match write(&path, &text) {
            // The next one, where this kernel or this group lacks the file.
            Err(CgroupError::Write { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            answer => return answer,
        }
    }
    if setting.optional {
        return Ok(());
    }
    let files = setting.alternatives.iter().map(|(file, _)| file.as_str());
    Err(CgroupError::NoFile {
        key: setting.key.clone(),
        path: group.to_owned(),
        files: files.collect::<Vec<_>>().join(", "),
    })
}

/// Children first. Only directories can be removed from a cgroup file system, and only they matter.
fn remove_tree(path: &Path, depth: u32) -> Result<(), (PathBuf, io::Error)> {
    let fail = |error| (path.to_owned(), error);
    let first = match fs::remove_dir(path) {
        Ok(()) => return Ok(()),
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => error,
    };
    if depth == 0 || first.raw_os_error() != Some(libc::EBUSY) {
        return Err(fail(first));
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(fail(error)),
    };
    for entry in entries {
        let entry = entry.map_err(fail)?;
        if entry.file_type().map_err(fail)?.is_dir() {
            remove_tree(&entry.path(), depth - 1)?;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if !is_gone(&error) => Err(fail(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
