//! What a service uses, from whichever hierarchy counts it.
#![forbid(unsafe_code)]

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::events::oom_kills;
use super::files::{CgroupError, keyed, read_if_there};
use super::plan::CgroupPlan;

/// `None` is "nobody counts that here": a caller adds it up from `/proc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// bytes
    pub memory_current: Option<u64>,
    /// bytes
    pub memory_peak: Option<u64>,
    /// microseconds
    pub cpu_usec: Option<u64>,
    pub tasks: Option<u64>,
    pub oom_kills: Option<u64>,
}

/// Reads the counters of the service's groups.
///
/// # Errors
/// [`CgroupError::Read`]; a missing file or group is a `None`.
pub fn usage(plan: &CgroupPlan) -> Result<Usage, CgroupError> {
    let mut usage = Usage {
        oom_kills: oom_kills(plan)?,
        ..Usage::default()
    };
    if let Some(leaf) = &plan.v2 {
        // Present even without the cpu controller.
        usage.cpu_usec =
            read_if_there(&leaf.path.join("cpu.stat"))?.and_then(|text| keyed(&text, "usage_usec"));
        // A parent may have switched these on for others; a file that is there counts.
        usage.memory_current = number(&leaf.path, "memory.current")?;
        usage.memory_peak = number(&leaf.path, "memory.peak")?;
        usage.tasks = number(&leaf.path, "pids.current")?;
    }
    if let (None, Some(leaf)) = (usage.memory_current, plan.v1_leaf("memory")) {
        usage.memory_current = number(&leaf.path, "memory.usage_in_bytes")?;
        usage.memory_peak = number(&leaf.path, "memory.max_usage_in_bytes")?;
    }
    if let (None, Some(leaf)) = (usage.cpu_usec, plan.v1_leaf("cpuacct")) {
        usage.cpu_usec = number(&leaf.path, "cpuacct.usage")?.map(|nanoseconds| nanoseconds / 1000);
    }
    if let (None, Some(leaf)) = (usage.tasks, plan.v1_leaf("pids")) {
        usage.tasks = number(&leaf.path, "pids.current")?;
    }
    Ok(usage)
}

fn number(group: &Path, file: &str) -> Result<Option<u64>, CgroupError> {
    Ok(read_if_there(&group.join(file))?.and_then(|text| text.trim().parse().ok()))
}
