//! What a service uses, from whichever hierarchy counts it, and what it waits for.
#![forbid(unsafe_code)]

use std::io;
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
    /// bytes
    pub swap_current: Option<u64>,
    /// microseconds
    pub cpu_usec: Option<u64>,
    pub tasks: Option<u64>,
    /// bytes, of disks
    pub io_read: Option<u64>,
    /// bytes, of disks
    pub io_written: Option<u64>,
    pub oom_kills: Option<u64>,
}

/// Memory and CPU time alone: two files a service.
///
/// # Errors
/// As [`usage`].
pub fn memory_and_cpu(plan: &CgroupPlan) -> Result<Usage, CgroupError> {
    let mut usage = Usage::default();
    if let Some(leaf) = &plan.v2 {
        // Present even without the cpu controller.
        usage.cpu_usec =
            read_if_there(&leaf.path.join("cpu.stat"))?.and_then(|text| keyed(&text, "usage_usec"));
        // A parent may have switched it on for others; a file that is there counts.
        usage.memory_current = number(&leaf.path, "memory.current")?;
    }
    if let (None, Some(leaf)) = (usage.memory_current, plan.v1_leaf("memory")) {
        usage.memory_current = number(&leaf.path, "memory.usage_in_bytes")?;
    }
    if let (None, Some(leaf)) = (usage.cpu_usec, plan.v1_leaf("cpuacct")) {
        usage.cpu_usec = number(&leaf.path, "cpuacct.usage")?.map(|nanoseconds| nanoseconds / 1000);
    }
    Ok(usage)
}

/// Reads the counters of the service's groups.
///
/// # Errors
/// [`CgroupError::Read`]; a missing file or group is a `None`.
pub fn usage(plan: &CgroupPlan) -> Result<Usage, CgroupError> {
    let mut usage = Usage {
        oom_kills: oom_kills(plan)?,
        ..memory_and_cpu(plan)?
    };
    if let Some(leaf) = &plan.v2 {
        usage.memory_peak = number(&leaf.path, "memory.peak")?;
        usage.swap_current = number(&leaf.path, "memory.swap.current")?;
        usage.tasks = number(&leaf.path, "pids.current")?;
        if let Some(text) = read_if_there(&leaf.path.join("io.stat"))? {
            usage.io_read = Some(io_v2(&text, "rbytes="));
            usage.io_written = Some(io_v2(&text, "wbytes="));
        }
    }
    if let (None, Some(leaf)) = (usage.memory_peak, plan.v1_leaf("memory")) {
        usage.memory_peak = number(&leaf.path, "memory.max_usage_in_bytes")?;
        // Memory and swap together; the two are not read at one moment.
        let both = number(&leaf.path, "memory.memsw.usage_in_bytes")?;
        usage.swap_current = both
            .zip(usage.memory_current)
            .map(|(both, memory)| both.saturating_sub(memory));
    }
    if let (None, Some(leaf)) = (usage.tasks, plan.v1_leaf("pids")) {
        usage.tasks = number(&leaf.path, "pids.current")?;
    }
    if let (None, Some(leaf)) = (usage.io_read, plan.v1_leaf("blkio")) {
        let file = "blkio.throttle.io_service_bytes_recursive";
        if let Some(text) = read_if_there(&leaf.path.join(file))? {
            usage.io_read = Some(io_v1(&text, "Read"));
            usage.io_written = Some(io_v1(&text, "Write"));
        }
    }
    Ok(usage)
}

/// How long processes of the service stood still for want of something (PSI,
/// `Documentation/accounting/psi.rst`).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Pressure {
    pub cpu: Option<Stalls>,
    pub memory: Option<Stalls>,
    pub io: Option<Stalls>,
}

/// Shares of the last ten seconds in percent, and microseconds in all: in which `some`, and in which
/// `full`y all processes that had something to do waited.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Stalls {
    pub some_avg10: f64,
    pub some_usec: u64,
    pub full_avg10: f64,
    pub full_usec: u64,
}

/// Reads the v2 group's pressure, which is there even where v1 holds the controllers; `None` on a
/// kernel without PSI (`CONFIG_PSI`, `psi=1`).
///
/// # Errors
/// [`CgroupError::Read`]; a missing file or group is a `None`.
pub fn pressure(plan: &CgroupPlan) -> Result<Pressure, CgroupError> {
    let Some(leaf) = &plan.v2 else {
        return Ok(Pressure::default());
    };
    let read = |file: &str| match read_if_there(&leaf.path.join(file)) {
        // The files are there and say that nobody counts (`psi=0`).
        Err(CgroupError::Read { source, .. }) if is_unsupported(&source) => Ok(None),
        text => Ok(text?.and_then(|text| stalls(&text))),
    };
    Ok(Pressure {
        cpu: read("cpu.pressure")?,
        memory: read("memory.pressure")?,
        io: read("io.pressure")?,
    })
}

fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`, which `cpu` lacked
/// before 5.13.
fn stalls(text: &str) -> Option<Stalls> {
    let line = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let field = |name: &str| line.split_whitespace().find_map(|f| f.strip_prefix(name));
        Some((
            field("avg10=")?.parse().ok()?,
            field("total=")?.parse().ok()?,
        ))
    };
    let (some_avg10, some_usec) = line("some ")?;
    let (full_avg10, full_usec) = line("full ").unwrap_or_default();
    Some(Stalls {
        some_avg10,
        some_usec,
        full_avg10,
        full_usec,
    })
}

/// `254:0 rbytes=4096 wbytes=0 …`, a line for each disk.
fn io_v2(text: &str, field: &str) -> u64 {
    let fields = text.split_whitespace();
    let values = fields.filter_map(|word| word.strip_prefix(field)?.parse::<u64>().ok());
    values.fold(0, u64::saturating_add)
}

/// `254:0 Read 4096`, a line for each disk and operation.
fn io_v1(text: &str, operation: &str) -> u64 {
    let values = text.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        (words.next()? == operation).then(|| words.next()?.parse::<u64>().ok())?
    });
    values.fold(0, u64::saturating_add)
}

fn number(group: &Path, file: &str) -> Result<Option<u64>, CgroupError> {
    Ok(read_if_there(&group.join(file))?.and_then(|text| text.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pressure_is_read_with_and_without_full() {
        let text = "some avg10=1.50 avg60=0.00 avg300=0.00 total=270\n\
                    full avg10=0.25 avg60=0.00 avg300=0.00 total=7\n";
        let both = stalls(text).unwrap();
        assert_eq!((both.some_usec, both.full_usec), (270, 7));
        assert!((both.some_avg10 - 1.5).abs() < 1e-9 && (both.full_avg10 - 0.25).abs() < 1e-9);
        let some = stalls(text.lines().next().unwrap()).unwrap();
        assert_eq!((some.some_usec, some.full_usec), (270, 0));
        assert_eq!(stalls("nonsense"), None);
    }

    #[test]
    fn bytes_of_all_disks_are_added_up() {
        let v2 = "254:0 rbytes=10 wbytes=1 rios=1\n7:0 \n8:0 rbytes=5 wbytes=2\n";
        assert_eq!((io_v2(v2, "rbytes="), io_v2(v2, "wbytes=")), (15, 3));
        let v1 = "254:0 Read 10\n254:0 Write 1\n254:0 Total 11\n8:0 Read 5\nTotal 16\n";
        assert_eq!((io_v1(v1, "Read"), io_v1(v1, "Write")), (15, 1));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "[-a-z0-9=.: \n]*") {
            stalls(&text);
            io_v2(&text, "rbytes=");
            io_v1(&text, "Read");
        }
    }
}
