//! Which groups a service gets in which hierarchy, and what is written into their files.
//!
//! A service has one *leaf* per hierarchy that it needs. The v2 leaf tracks, kills and freezes
//! wherever v2 is mounted, with or without controllers; a limit goes to v2 if its controller is
//! there, else to the v1 hierarchy of that controller, else it is an error that names the key.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::devices::DevicePlan;
use super::limits;
use crate::config::{CgroupLimits, CgroupName};
use crate::host::{Host, SUPERVISOR_LEAF};

/// The groups of one service. Empty on a machine without a cgroup that we may write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPlan {
    pub name: CgroupName,
    pub v2: Option<LeafV2>,
    pub v1: Vec<LeafV1>,
    /// The groups above that have limits of their own, the outermost first.
    pub slices: Vec<CgroupPlan>,
    pub oom_group: OomGroup,
    pub devices: Option<DevicePlan>,
}

/// How the name of a slice's group ends: a part of a [`CgroupName`] above the last that ends so is
/// made with its first service and goes with its last.
pub const SLICE: &str = ".slice";

/// Who kills the rest of the group after an out-of-memory kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OomGroup {
    /// Nobody: one process dies.
    No,
    /// `memory.oom.group`.
    Kernel,
    /// v1 has no such file: herd kills the group when it hears of the event.
    Herd,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafV2 {
    /// The caller's own group.
    pub own: PathBuf,
    /// The service's group, below `own`.
    pub path: PathBuf,
    /// Controllers to switch on from `own` down to the leaf's parent.
    pub controllers: Vec<String>,
    pub settings: Vec<Setting>,
    /// Where processes are put: `path`, or a group of their own below a delegated one.
    pub entry: PathBuf,
    /// Delegated, and to whom.
    pub owner: Option<Owner>,
    pub delegated: bool,
}

/// Who gets the files of a delegated group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafV1 {
    /// `memory`, or `cpu,cpuacct` where they are mounted together.
    pub controllers: Vec<String>,
    pub own: PathBuf,
    pub path: PathBuf,
    pub settings: Vec<Setting>,
}

/// One value in one file; the first alternative whose file exists is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The unit's key, for messages.
    pub key: String,
    pub alternatives: Vec<(String, Value)>,
    /// A kernel without the file holds the limit well enough.
    pub optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    Text(String),
    /// `MAJOR:MINOR ` of the disk that holds `path`, then `rest`; found when it is written.
    Device {
        path: PathBuf,
        rest: String,
    },
}

/// A limit that this machine cannot hold, or that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("limits.{key} needs the cgroup controller {controller}: {reason}")]
    NoController {
        key: &'static str,
        controller: &'static str,
        reason: String,
    },
    #[error("limits.{key} needs cgroup v2: {reason}")]
    NeedsV2 {
        key: &'static str,
        reason: &'static str,
    },
    #[error("limits.devices: {0}")]
    Devices(String),
    #[error("limits.{key} = {value:?}: {reason}")]
    Value {
        key: &'static str,
        value: String,
        reason: &'static str,
    },
    #[error("{0:?} is no cgroup name: {1}")]
    Name(String, &'static str),
}

/// Decides where the group `name` lives and how `limits` are held on `host`.
///
/// # Errors
/// [`PlanError`] names the key that this host cannot hold and why. Nothing is ever left out.
pub fn plan(
    name: &CgroupName,
    limits: &CgroupLimits,
    host: &Host,
) -> Result<CgroupPlan, PlanError> {
    plan_in(name, limits, &[], host)
}

/// As [`plan`], in slices that have limits of their own, the outermost first.
///
/// # Errors
/// As [`plan`]; a slice that is not above the group is a [`PlanError::Name`].
pub fn plan_in(
    name: &CgroupName,
    limits: &CgroupLimits,
    slices: &[(CgroupName, CgroupLimits)],
    host: &Host,
) -> Result<CgroupPlan, PlanError> {
    let is_above = |slice: &CgroupName| {
        let below = name.0.strip_prefix(&slice.0);
        slice.0.ends_with(SLICE) && below.is_some_and(|below| below.starts_with('/'))
    };
    let mut above = Vec::new();
    for (slice, limits) in slices {
        if !is_above(slice) {
            return Err(PlanError::Name(
                slice.0.clone(),
                "it is no slice above the group",
            ));
        }
        above.push(plan(slice, limits, host)?);
    }
    check_name(name)?;
    let mut placed = Placed::default();
    let oom_group = limits::place(limits, host, &mut placed)?;
    let cgroups = &host.cgroups;
    if let Some(v2) = &cgroups.v2
        && is_in_slice(&name.0)
    {
        // A slice is made with its first service: what herd's own base hands out, it hands on.
        let eager = v2
            .controllers
            .iter()
            .filter(|name| LIMITING.contains(&name.as_str()));
        placed.v2_controllers.extend(eager.cloned());
        placed.v2_controllers.sort_unstable();
        placed.v2_controllers.dedup();
    }
    let v2 = cgroups.v2.as_ref().filter(|v2| v2.writable).map(|v2| {
        let path = v2.own.join(&name.0);
        let beside = limits.delegation.as_ref().is_some_and(|d| d.beside);
        LeafV2 {
            own: v2.own.clone(),
            entry: if beside {
                path.join(CONTROL)
            } else {
                path.clone()
            },
            path,
            controllers: placed.v2_controllers,
            settings: placed.v2,
            owner: None,
            delegated: limits.delegation.is_some(),
        }
    });
    let mut v1 = placed.v1;
    // Who is in no group of a hierarchy is in none of its slices either.
    for controller in above
        .iter()
        .flat_map(|slice| &slice.v1)
        .flat_map(|leaf| &leaf.controllers)
    {
        v1.entry(controller.clone()).or_default();
    }
    if v2.is_none()
        && let Some(controller) = tracking(host)
    {
        v1.entry(controller).or_default();
    }
    let mut leaves: Vec<LeafV1> = Vec::new();
    for (controller, settings) in v1 {
        let Some(group) = cgroups.v1.get(&controller) else {
            continue;
        };
        match leaves.iter_mut().find(|leaf| leaf.own == group.own) {
            Some(leaf) => {
                leaf.controllers.push(controller);
                leaf.settings.extend(settings);
            }
            None => leaves.push(LeafV1 {
                controllers: vec![controller],
                own: group.own.clone(),
                path: group.own.join(&name.0),
                settings,
            }),
        }
    }
    Ok(CgroupPlan {
        name: name.clone(),
        v2,
        v1: leaves,
        slices: above,
        oom_group,
        devices: placed.devices,
    })
}

/// Where a delegated group's processes go that are not the service's own: a group that hands out
/// controllers can have no process itself (systemd's name for it).
const CONTROL: &str = ".control";

/// The controllers that a limit of ours needs, but for `hugetlb`, which is handed out when asked for:
/// each costs every group that is made.
pub(super) const LIMITING: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

fn is_in_slice(name: &str) -> bool {
    name.rsplit_once('/')
        .is_some_and(|(above, _)| above.split('/').any(|part| part.ends_with(SLICE)))
}

/// What the limits came to, before it is known which leaf is where.
#[derive(Debug, Default)]
pub(super) struct Placed {
    pub(super) v2: Vec<Setting>,
    pub(super) v2_controllers: Vec<String>,
    pub(super) v1: BTreeMap<String, Vec<Setting>>,
    pub(super) devices: Option<DevicePlan>,
}

/// The v1 hierarchy to track in when there is no v2: one that costs nothing and can freeze.
fn tracking(host: &Host) -> Option<String> {
    ["freezer", "name=systemd", "pids", "devices", "cpuacct"]
        .into_iter()
        .find(|name| host.cgroups.v1.get(*name).is_some_and(|v1| v1.writable))
        .map(str::to_owned)
}

fn check_name(name: &CgroupName) -> Result<(), PlanError> {
    let refuse = |reason| Err(PlanError::Name(name.0.clone(), reason));
    if name.0.is_empty() || name.0.len() > 1024 {
        return refuse("1 to 1024 bytes are allowed");
    }
    if name.0.split('/').next() == Some(SUPERVISOR_LEAF) {
        return refuse("herd itself lives there");
    }
    for part in name.0.split('/') {
        if part.is_empty() || part == "." || part == ".." {
            return refuse("it is no relative path without . and ..");
        }
        if part.len() > 255 {
            return refuse("a part is longer than 255 bytes");
        }
        if part.chars().any(char::is_control) {
            return refuse("it holds a control character");
        }
        // `cgroup.procs` and its like are the kernel's files.
        let kernels = [
            "cgroup.",
            "memory.",
            "cpu.",
            "cpuset.",
            "cpuacct.",
            "pids.",
            "io.",
            "blkio.",
            "hugetlb.",
            "devices.",
            "freezer.",
            "rdma.",
            "misc.",
            "net_cls.",
            "net_prio.",
        ];
        if ["tasks", "notify_on_release", "release_agent", CONTROL].contains(&part)
            || kernels.iter().any(|prefix| part.starts_with(prefix))
        {
            return refuse("a part has a name that the kernel uses for files");
        }
    }
    Ok(())
}

impl CgroupPlan {
    /// Whether groups on its way hand out v2 controllers.
    pub fn hands_out(&self) -> bool {
        let has_any = |leaf: &LeafV2| !leaf.controllers.is_empty();
        self.v2.as_ref().is_some_and(has_any) || self.slices.iter().any(Self::hands_out)
    }

    /// Claims that there is no group at all: the service has to be tracked in another way.
    pub fn is_empty(&self) -> bool {
        self.v2.is_none() && self.v1.is_empty()
    }

    /// Gives the delegated v2 group to its service's user; nothing for one that is not delegated.
    pub(crate) fn delegate_to(&mut self, uid: u32, gid: u32) {
        if let Some(leaf) = self.v2.as_mut().filter(|leaf| leaf.delegated) {
            leaf.owner = Some(Owner { uid, gid });
        }
    }

    /// Claims that what is below the group belongs to the service.
    pub fn is_delegated(&self) -> bool {
        self.v2.as_ref().is_some_and(|leaf| leaf.delegated)
    }

    /// The v2 group, into which a process can be born (`CLONE_INTO_CGROUP`).
    pub fn v2_leaf(&self) -> Option<&Path> {
        self.v2.as_ref().map(|leaf| leaf.path.as_path())
    }

    /// Whether the process has to move itself: nobody is born into a v1 group.
    pub fn joins_in_child(&self) -> bool {
        !self.v1.is_empty()
    }

    /// The group that knows all processes of the service.
    pub fn tracking_path(&self) -> Option<&Path> {
        self.v2
            .as_ref()
            .map(|leaf| leaf.path.as_path())
            .or_else(|| self.v1.first().map(|leaf| leaf.path.as_path()))
    }

    pub(super) fn v1_leaf(&self, controller: &str) -> Option<&LeafV1> {
        self.v1
            .iter()
            .find(|leaf| leaf.controllers.iter().any(|name| name == controller))
    }

    pub(super) fn has_v2(&self, controller: &str) -> Option<&LeafV2> {
        self.v2
            .as_ref()
            .filter(|leaf| leaf.controllers.iter().any(|name| name == controller))
    }
}

impl fmt::Display for CgroupPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return write!(f, "cgroup {}: none", self.name.0);
        }
        for slice in &self.slices {
            write!(f, "{slice}; ")?;
        }
        write!(f, "cgroup {}:", self.name.0)?;
        if let Some(leaf) = &self.v2 {
            write!(f, " v2")?;
            settings(f, &leaf.settings)?;
            match leaf.owner {
                _ if !leaf.delegated => {}
                Some(owner) => write!(f, " delegated to user {}", owner.uid)?,
                None => f.write_str(" delegated")?,
            }
        }
        for (index, leaf) in self.v1.iter().enumerate() {
            let comma = if index > 0 || self.v2.is_some() {
                ","
            } else {
                ""
            };
            write!(f, "{comma} v1 {}", leaf.controllers.join("+"))?;
            settings(f, &leaf.settings)?;
        }
        if let Some(devices) = &self.devices {
            write!(f, ", {devices}")?;
        }
        match self.oom_group {
            OomGroup::Herd => f.write_str(", oom kills the group (by herd)"),
            OomGroup::No | OomGroup::Kernel => Ok(()),
        }
    }
}

fn settings(f: &mut fmt::Formatter<'_>, settings: &[Setting]) -> fmt::Result {
    for setting in settings {
        if let Some((file, value)) = setting.alternatives.first() {
            match value {
                Value::Text(text) => write!(f, " {file}={text}")?,
                Value::Device { path, rest } => write!(f, " {file}={} {rest}", path.display())?,
            }
        }
    }
    Ok(())
}
