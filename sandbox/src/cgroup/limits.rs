//! Each limit's file and value, on v2 and on v1 (`Documentation/admin-guide/cgroup-v2.rst` and
//! `cgroup-v1/`).
#![forbid(unsafe_code)]

use std::path::Path;

use super::plan::{OomGroup, Placed, PlanError, Setting, Value};
use crate::config::{Amount, CgroupLimits};
use crate::host::Host;

/// Puts every limit where `host` can hold it.
pub(super) fn place(
    limits: &CgroupLimits,
    host: &Host,
    placed: &mut Placed,
) -> Result<OomGroup, PlanError> {
    let mut placer = Placer { host, placed };
    placer.memory(limits)?;
    placer.cpu(limits)?;
    placer.tasks(limits)?;
    placer.io(limits)?;
    if !limits.oom_group {
        return Ok(OomGroup::No);
    }
    match placer.side("oom_group", "memory", "memory")? {
        Side::V2 => {
            placer.v2("oom_group", "memory", "memory.oom.group", "1");
            Ok(OomGroup::Kernel)
        }
        Side::V1 => {
            placer.v1_leaf("memory");
            Ok(OomGroup::Herd)
        }
    }
}

enum Side {
    V2,
    V1,
}

struct Placer<'a> {
    host: &'a Host,
    placed: &'a mut Placed,
}

impl Placer<'_> {
    fn memory(&mut self, limits: &CgroupLimits) -> Result<(), PlanError> {
        let all = self.host.memory_bytes;
        for (key, file, amount) in [
            ("memory_high", "memory.high", limits.memory_high),
            ("memory_low", "memory.low", limits.memory_low),
            ("memory_min", "memory.min", limits.memory_min),
        ] {
            let Some(amount) = amount else { continue };
            match self.side(key, "memory", "memory")? {
                Side::V2 => {
                    let value = bytes(key, amount, all, "max")?;
                    self.v2(key, "memory", file, &value);
                }
                Side::V1 => {
                    return Err(PlanError::NeedsV2 {
                        key,
                        reason: "memory is a v1 controller here, which has only a hard limit",
                    });
                }
            }
        }
        if let Some(amount) = limits.memory {
            match self.side("memory", "memory", "memory")? {
                Side::V2 => {
                    let value = bytes("memory", amount, all, "max")?;
                    self.v2("memory", "memory", "memory.max", &value);
                }
                Side::V1 => {
                    let value = bytes("memory", amount, all, "-1")?;
                    self.v1("memory", "memory", "memory.limit_in_bytes", &value);
                }
            }
        }
        let Some(swap) = limits.swap else {
            return Ok(());
        };
        match self.side("swap", "memory", "memory")? {
            Side::V2 => {
                let value = bytes("swap", swap, all, "max")?;
                self.v2("swap", "memory", "memory.swap.max", &value);
                Ok(())
            }
            Side::V1 => self.swap_v1(swap, limits.memory),
        }
    }

    /// v1 limits memory and swap together, and never below the limit of memory alone.
    fn swap_v1(&mut self, swap: Amount, memory: Option<Amount>) -> Result<(), PlanError> {
        if !self.host.cgroups.v1_swap {
            return Err(PlanError::NoController {
                key: "swap",
                controller: "memory",
                reason: "this kernel does not count swap (swapaccount=1)".to_owned(),
            });
        }
        let all = self.host.memory_bytes;
        let sum = match (amount("swap", swap, all)?, memory) {
            (None, _) => "-1".to_owned(),
            (Some(swap), Some(memory)) => match amount("memory", memory, all)? {
                Some(memory) => memory.saturating_add(swap).to_string(),
                None => return Err(SWAP_ALONE),
            },
            (Some(_), None) => return Err(SWAP_ALONE),
        };
        self.v1("swap", "memory", "memory.memsw.limit_in_bytes", &sum);
        Ok(())
    }

    fn cpu(&mut self, limits: &CgroupLimits) -> Result<(), PlanError> {
        if let Some(percent) = limits.cpu_percent {
            if percent == 0 {
                return Err(value("cpu", percent, "at least 1 percent is needed"));
            }
            let quota = u64::from(percent) * (CPU_PERIOD_US / 100);
            match self.side("cpu", "cpu", "cpu")? {
                Side::V2 => {
                    let value = format!("{quota} {CPU_PERIOD_US}");
                    self.v2("cpu", "cpu", "cpu.max", &value);
                }
                Side::V1 => {
                    let period = CPU_PERIOD_US.to_string();
                    self.v1("cpu", "cpu", "cpu.cfs_period_us", &period);
                    self.v1("cpu", "cpu", "cpu.cfs_quota_us", &quota.to_string());
                    self.account_cpu();
                }
            }
        }
        if let Some(weight) = limits.cpu_weight {
            check_weight("cpu_weight", weight)?;
            match self.side("cpu_weight", "cpu", "cpu")? {
                Side::V2 => self.v2("cpu_weight", "cpu", "cpu.weight", &weight.to_string()),
                Side::V1 => {
                    // The kernel's defaults, 100 and 1024, stand for the same share.
                    let shares = (u64::from(weight) * 1024 / 100).clamp(2, 262_144);
                    self.v1("cpu_weight", "cpu", "cpu.shares", &shares.to_string());
                    self.account_cpu();
                }
            }
        }
        if let Some(cpus) = &limits.cpus {
            check_cpus(cpus)?;
            match self.side("cpus", "cpuset", "cpuset")? {
                Side::V2 => self.v2("cpus", "cpuset", "cpuset.cpus", cpus),
                Side::V1 => self.v1("cpus", "cpuset", "cpuset.cpus", cpus),
            }
        }
        Ok(())
    }

    /// A service that is limited on v1 is counted there, too.
    fn account_cpu(&mut self) {
        if self
            .host
            .cgroups
            .v1
            .get("cpuacct")
            .is_some_and(|v1| v1.writable)
        {
            self.v1_leaf("cpuacct");
        }
    }

    fn tasks(&mut self, limits: &CgroupLimits) -> Result<(), PlanError> {
        let Some(tasks) = limits.tasks else {
            return Ok(());
        };
        let value = bytes("tasks", tasks, self.host.threads_max, "max")?;
        match self.side("tasks", "pids", "pids")? {
            Side::V2 => self.v2("tasks", "pids", "pids.max", &value),
            Side::V1 => self.v1("tasks", "pids", "pids.max", &value),
        }
        Ok(())
    }

    fn io(&mut self, limits: &CgroupLimits) -> Result<(), PlanError> {
        if let Some(weight) = limits.io_weight {
            check_weight("io_weight", weight)?;
            let text = |weight: u16| Value::Text(weight.to_string());
            let bfq = text(bfq_weight(weight));
            match self.side("io_weight", "io", "blkio")? {
                Side::V2 => self.v2_first_of(
                    "io_weight",
                    "io",
                    vec![
                        ("io.weight".to_owned(), text(weight)),
                        ("io.bfq.weight".to_owned(), bfq),
                    ],
                ),
                Side::V1 => self.v1_first_of(
                    "io_weight",
                    "blkio",
                    vec![
                        ("blkio.bfq.weight".to_owned(), bfq),
                        ("blkio.weight".to_owned(), text(blkio_weight(weight))),
                    ],
                ),
            }
        }
        let rates = [
            (
                "io_read",
                "rbps",
                "blkio.throttle.read_bps_device",
                &limits.io_read,
            ),
            (
                "io_write",
                "wbps",
                "blkio.throttle.write_bps_device",
                &limits.io_write,
            ),
        ];
        for (key, word, file, devices) in rates {
            for (path, rate) in devices {
                if *rate == 0 {
                    return Err(value(key, rate, "at least 1 byte a second is needed"));
                }
                match self.side(key, "io", "blkio")? {
                    Side::V2 => {
                        let value = device(path, format!("{word}={rate}"));
                        self.v2_first_of(key, "io", vec![("io.max".to_owned(), value)]);
                    }
                    Side::V1 => {
                        let value = device(path, rate.to_string());
                        self.v1_first_of(key, "blkio", vec![(file.to_owned(), value)]);
                    }
                }
            }
        }
        Ok(())
    }

    /// Where a limit can be held: v2 if the controller is there, else v1.
    fn side(
        &self,
        key: &'static str,
        v2_name: &'static str,
        v1_name: &'static str,
    ) -> Result<Side, PlanError> {
        let cgroups = &self.host.cgroups;
        let offered = cgroups
            .v2
            .as_ref()
            .filter(|v2| v2.controllers.iter().any(|name| name == v2_name));
        if offered.is_some_and(|v2| v2.writable) {
            return Ok(Side::V2);
        }
        let v1 = cgroups.v1.get(v1_name);
        if v1.is_some_and(|v1| v1.writable) {
            return Ok(Side::V1);
        }
        let closed = offered.map(|v2| &v2.own).or(v1.map(|v1| &v1.own));
        Err(PlanError::NoController {
            key,
            controller: v2_name,
            reason: match closed {
                Some(path) => format!("{} is not writable for us", path.display()),
                None if cgroups.v2.is_none() && cgroups.v1.is_empty() => {
                    "no cgroup hierarchy is mounted".to_owned()
                }
                None => "no mounted hierarchy offers it to us".to_owned(),
            },
        })
    }

    fn v2(&mut self, key: &str, controller: &str, file: &str, text: &str) {
        let alternative = (file.to_owned(), Value::Text(text.to_owned()));
        self.v2_first_of(key, controller, vec![alternative]);
    }

    fn v2_first_of(&mut self, key: &str, controller: &str, alternatives: Vec<(String, Value)>) {
        let controllers = &mut self.placed.v2_controllers;
        if !controllers.iter().any(|name| name == controller) {
            controllers.push(controller.to_owned());
        }
        self.placed.v2.push(Setting {
            key: key.to_owned(),
            alternatives,
        });
    }

    fn v1(&mut self, key: &str, controller: &str, file: &str, text: &str) {
        let alternative = (file.to_owned(), Value::Text(text.to_owned()));
        self.v1_first_of(key, controller, vec![alternative]);
    }

    fn v1_first_of(&mut self, key: &str, controller: &str, alternatives: Vec<(String, Value)>) {
        self.v1_leaf(controller).push(Setting {
            key: key.to_owned(),
            alternatives,
        });
    }

    fn v1_leaf(&mut self, controller: &str) -> &mut Vec<Setting> {
        self.placed.v1.entry(controller.to_owned()).or_default()
    }
}

const CPU_PERIOD_US: u64 = 100_000;

const SWAP_ALONE: PlanError = PlanError::NeedsV2 {
    key: "swap",
    reason: "memory is a v1 controller here, which limits swap only together with a limit on memory",
};

fn value(key: &'static str, value: impl ToString, reason: &'static str) -> PlanError {
    PlanError::Value {
        key,
        value: value.to_string(),
        reason,
    }
}

fn device(path: &Path, rest: String) -> Value {
    Value::Device {
        path: path.to_owned(),
        rest,
    }
}

/// `None` is no limit.
fn amount(key: &'static str, amount: Amount, whole: u64) -> Result<Option<u64>, PlanError> {
    match amount {
        Amount::Exactly(number) => Ok(Some(number)),
        Amount::Infinity => Ok(None),
        Amount::Percent(percent) if percent > 100 => {
            Err(value(key, format!("{percent}%"), "more than all there is"))
        }
        Amount::Percent(percent) => Ok(Some(
            u64::try_from(u128::from(whole) * u128::from(percent) / 100).unwrap_or(u64::MAX),
        )),
    }
}

fn bytes(
    key: &'static str,
    wanted: Amount,
    whole: u64,
    infinity: &str,
) -> Result<String, PlanError> {
    Ok(amount(key, wanted, whole)?.map_or_else(|| infinity.to_owned(), |n| n.to_string()))
}

fn check_weight(key: &'static str, weight: u16) -> Result<(), PlanError> {
    if (1..=10_000).contains(&weight) {
        return Ok(());
    }
    Err(value(key, weight, "1 to 10000 are allowed"))
}

/// The kernel's list format without its strides: `0-1,3`.
fn check_cpus(cpus: &str) -> Result<(), PlanError> {
    let is_range = |range: &str| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        match (low.parse::<u16>(), high.parse::<u16>()) {
            (Ok(first), Ok(last)) => {
                first <= last && [low, high].iter().all(|n| !n.starts_with('+'))
            }
            _ => false,
        }
    };
    if cpus.split(',').all(is_range) {
        return Ok(());
    }
    Err(value("cpus", cpus, "a list of CPUs is written as 0-1,3"))
}

/// bfq knows 1 to 1,000 with the same default: below it 1:1, above it squeezed.
fn bfq_weight(weight: u16) -> u16 {
    if weight <= 100 {
        weight
    } else {
        100 + (weight - 100) / 11
    }
}

/// v1's own scale is 10 to 1,000 with 500 as default.
fn blkio_weight(weight: u16) -> u16 {
    u16::try_from((u32::from(weight) * 5).clamp(10, 1000)).unwrap_or(1000)
}
