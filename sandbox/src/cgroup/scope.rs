//! One group for one launch, for a caller that is no supervisor and has no place of its own.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::process::{Pid, test_kill_process};

use super::apply::{Removal, remove};
use super::files::{CgroupError, read};
use super::plan::{CgroupPlan, PlanError, plan};
use super::processes::{is_populated, kill, wait_until_empty};
use super::root::left;
use super::usage::{Usage, usage};
use crate::config::{CgroupLimits, CgroupName};
use crate::host::{Host, V2};

/// A group with limits that holds what one [launch](crate::Launcher) starts, and is gone with it.
///
/// ```no_run
/// use sandbox::cgroup::Scope;
/// use sandbox::config::{Amount, CgroupLimits};
///
/// let host = sandbox::Host::detect()?;
/// let limits = CgroupLimits {
///     memory: Some(Amount::Exactly(256 << 20)),
///     tasks: Some(Amount::Exactly(64)),
///     ..CgroupLimits::default()
/// };
/// let scope = Scope::open(&host, "vb", &limits)?;
/// // config.cgroup = Some(scope.name().clone());
/// // config.limits.cgroup = limits;
/// // let plan = sandbox::compile(&config, scope.host())?;
/// // … launch the plan and wait for its end …
/// scope.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Groups that others with the same stem have left behind, killed by SIGKILL, are removed on the way.
///
/// The group itself is made by the launch, before the process exists. [`close`](Self::close) kills
/// what is left in it and removes it; so does dropping, which has nobody to tell of a failure.
///
/// # Where the group is made
/// On v1 below the caller's own groups. On v2 a group with processes cannot hand out controllers, and
/// the caller's own has at least one; so limits take the nearest group from the caller's own up that
/// hands out what they need, and that the caller may write: the limits of all groups from there up
/// hold as before. A user finds one where a service manager delegated one to them
/// (`user@1000.service`); without, [`ScopeError`] says what is missing. Nothing above is changed but the
/// real root's `cgroup.subtree_control`.
#[derive(Debug)]
pub struct Scope {
    host: Host,
    plan: CgroupPlan,
    closed: bool,
}

/// No group can hold these limits for this caller.
#[derive(Debug, thiserror::Error)]
pub enum ScopeError {
    #[error(transparent)]
    Limits(#[from] PlanError),
    #[error(
        "limits need a cgroup that may hand out {}, and {own} is not one for us: it has processes, \
         and no group above it that we may write hands them out",
        controllers.join(", "),
        own = own.display()
    )]
    NotDelegated {
        own: PathBuf,
        controllers: Vec<String>,
    },
}

/// How long [`Scope::close`] waits for a killed process to end.
const PATIENCE: Duration = Duration::from_secs(10);

impl Scope {
    /// Finds the place of a group that can hold `limits`. Its name begins with `stem` and is no
    /// other's.
    ///
    /// # Errors
    /// [`ScopeError`] names the limit or the controllers that this caller cannot have here.
    pub fn open(host: &Host, stem: &str, limits: &CgroupLimits) -> Result<Self, ScopeError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = CgroupName(format!("{stem}-{}-{count}{}", std::process::id(), place()));
        let first = plan(&name, limits, host);
        let Some(v2) = &host.cgroups.v2 else {
            return Ok(Self::at(host.clone(), first?, stem));
        };
        if let Ok(plan) = &first
            && hands_out(&v2.own, needed(plan))
        {
            return Ok(Self::at(host.clone(), plan.clone(), stem));
        }
        let above = v2.own.ancestors().skip(1);
        for group in above.take_while(|group| group.starts_with(&v2.mount)) {
            let host = seen_from(host, v2, group);
            if let Ok(plan) = plan(&name, limits, &host)
                && plan.v2.is_some()
                && hands_out(group, needed(&plan))
            {
                return Ok(Self::at(host, plan, stem));
            }
        }
        Err(ScopeError::NotDelegated {
            own: v2.own.clone(),
            controllers: needed(&first?).to_vec(),
        })
    }

    fn at(host: Host, plan: CgroupPlan, stem: &str) -> Self {
        sweep(&host, stem);
        Self {
            host,
            plan,
            closed: false,
        }
    }

    /// The host to compile for: the same, with the groups below which this one is made.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// For [`Config::cgroup`](crate::Config).
    pub fn name(&self) -> &CgroupName {
        &self.plan.name
    }

    pub fn plan(&self) -> &CgroupPlan {
        &self.plan
    }

    /// What has been used so far, out-of-memory kills included: to be read before closing.
    ///
    /// # Errors
    /// As [`usage`](super::usage()).
    pub fn usage(&self) -> Result<Usage, CgroupError> {
        usage(&self.plan)
    }

    /// Kills whatever is left in the group, waits for it to end, and removes the group.
    ///
    /// # Errors
    /// [`CgroupError`]; [`CgroupError::Busy`] after ten seconds in which a killed process did not
    /// end.
    pub fn close(mut self) -> Result<(), CgroupError> {
        self.closed = true;
        self.end()
    }

    fn end(&self) -> Result<(), CgroupError> {
        // As a rule nobody is left, and one call says so.
        if remove(&self.plan)? == Removal::Removed {
            return Ok(());
        }
        kill(&self.plan)?;
        wait_until_empty(&self.plan, PATIENCE)?;
        match remove(&self.plan)? {
            Removal::Removed => Ok(()),
            Removal::Busy(path) => Err(CgroupError::Busy(path)),
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if !self.closed {
            // Nobody is left to be told; the group stays visible under its name.
            self.end().ok();
        }
    }
}

/// The end of a scope's name: pids are told apart by the namespace that numbers them, where that is not
/// the machine's first.
fn place() -> String {
    // `PROC_PID_INIT_INO` of include/linux/proc_ns.h.
    const FIRST: u64 = 0xEFFF_FFFC;
    match fs::metadata("/proc/self/ns/pid").map(|of| of.ino()) {
        Ok(FIRST) => String::new(),
        Ok(number) => format!(".{number}"),
        Err(_) => ".unknown".to_owned(),
    }
}

/// Removes what callers have left who were killed: their groups without processes, beside which a new one
/// is about to be made.
fn sweep(host: &Host, stem: &str) {
    let place = place();
    let is_of_the_dead = |name: &str| {
        let rest = name.strip_prefix(stem)?.strip_prefix('-')?;
        let (pid, count) = rest.strip_suffix(place.as_str())?.split_once('-')?;
        count.parse::<u32>().ok()?;
        let pid = Pid::from_raw(pid.parse().ok()?)?;
        Some(test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
    };
    let v2 = host.cgroups.v2.iter().map(|v2| &v2.own);
    for own in v2.chain(host.cgroups.v1.values().map(|v1| &v1.own)) {
        for entry in fs::read_dir(own).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if is_of_the_dead(&name) != Some(true) {
                continue;
            }
            if let Ok(group) = left(&CgroupName(name), host)
                && is_populated(&group).is_ok_and(|populated| !populated)
            {
                // What cannot be removed was there before.
                remove(&group).ok();
            }
        }
    }
}

fn needed(plan: &CgroupPlan) -> &[String] {
    plan.v2.as_ref().map_or(&[], |leaf| &leaf.controllers)
}

/// Whether groups made in this one can have the controllers. The real root may always switch them on.
fn hands_out(group: &Path, controllers: &[String]) -> bool {
    let writable = |path: &Path| access(path, Access::WRITE_OK).is_ok();
    if controllers.is_empty() {
        return true;
    }
    if !writable(group) || !writable(&group.join("cgroup.procs")) {
        return false;
    }
    if !group.join("cgroup.events").exists() {
        return true;
    }
    let enabled = read(&group.join("cgroup.subtree_control")).unwrap_or_default();
    controllers
        .iter()
        .all(|name| enabled.split_whitespace().any(|have| have == name))
}

fn seen_from(host: &Host, v2: &V2, group: &Path) -> Host {
    let mut host = host.clone();
    let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    host.cgroups.v2 = Some(V2 {
        mount: v2.mount.clone(),
        own: group.to_owned(),
        controllers: controllers.split_whitespace().map(str::to_owned).collect(),
        writable: access(group, Access::WRITE_OK).is_ok(),
    });
    host
}
