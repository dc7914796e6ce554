//! Each limit's file and value, on v2 and on v1 (`Documentation/admin-guide/cgroup-v2.rst` and
//! `cgroup-v1/`).
#![forbid(unsafe_code)]

use std::path::Path;

use super::devices::{DeviceKeeper, DevicePlan};
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
    placer.huge_pages(limits)?;
    placer.devices(limits)?;
    placer.delegation(limits)?;
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
            check_list("cpus", cpus, "a list of CPUs is written as 0-1,3")?;
            match self.side("cpus", "cpuset", "cpuset")? {
                Side::V2 => self.v2("cpus", "cpuset", "cpuset.cpus", cpus),
                Side::V1 => self.v1("cpus", "cpuset", "cpuset.cpus", cpus),
            }
        }
        if let Some(nodes) = &limits.memory_nodes {
            check_list("memory_nodes", nodes, "a list of nodes is written as 0-1,3")?;
            match self.side("memory_nodes", "cpuset", "cpuset")? {
                Side::V2 => self.v2("memory_nodes", "cpuset", "cpuset.mems", nodes),
                Side::V1 => self.v1("memory_nodes", "cpuset", "cpuset.mems", nodes),
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

    fn huge_pages(&mut self, limits: &CgroupLimits) -> Result<(), PlanError> {
        let key = "huge_pages";
        for pages in &limits.huge_pages {
            let Some(size) = page_size(pages.size) else {
                return Err(value(key, pages.size, "a page is a power of two"));
            };
            let amount = amount(key, pages.amount, self.host.memory_bytes)?;
            let text = |infinity: &str| {
                amount.map_or_else(|| infinity.to_owned(), |amount| amount.to_string())
            };
            let side = self.side(key, "hugetlb", "hugetlb")?;
            // A page is charged when it is used; reservations (kernel 5.7) make mmap(2) fail before.
            for (reserved, optional) in [("", false), (".rsvd", true)] {
                let setting = |file: String, text: String| Setting {
                    key: key.to_owned(),
                    alternatives: vec![(file, Value::Text(text))],
                    optional,
                };
                match side {
                    Side::V2 => {
                        self.v2_controller("hugetlb");
                        let file = format!("hugetlb.{size}{reserved}.max");
                        self.placed.v2.push(setting(file, text("max")));
                    }
                    Side::V1 => {
                        let file = format!("hugetlb.{size}{reserved}.limit_in_bytes");
                        let setting = setting(file, text("-1"));
                        self.v1_leaf("hugetlb").push(setting);
                    }
                }
            }
        }
        Ok(())
    }

    fn devices(&mut self, limits: &CgroupLimits) -> Result<(), PlanError> {
        let Some(devices) = &limits.devices else {
            return Ok(());
        };
        let cgroups = &self.host.cgroups;
        if !self.host.is_root {
            let reason = "only root may say which devices are open";
            return Err(PlanError::Devices(reason.to_owned()));
        }
        let on_v2 = cgroups.device_programs && cgroups.v2.as_ref().is_some_and(|v2| v2.writable);
        let keeper = if on_v2 {
            DeviceKeeper::Program
        } else if cgroups.v1.get("devices").is_some_and(|v1| v1.writable) {
            self.v1_leaf("devices");
            DeviceKeeper::V1
        } else {
            let reason = "neither the cgroup v1 controller devices is here nor a kernel with \
                          device programs on v2 (CONFIG_CGROUP_BPF)";
            return Err(PlanError::Devices(reason.to_owned()));
        };
        self.placed.devices = Some(DevicePlan {
            keeper,
            devices: devices.clone(),
        });
        Ok(())
    }

    fn delegation(&mut self, limits: &CgroupLimits) -> Result<(), PlanError> {
        let Some(delegation) = &limits.delegation else {
            return Ok(());
        };
        let key = "delegate";
        let Some(v2) = self.host.cgroups.v2.as_ref().filter(|v2| v2.writable) else {
            let reason = "a group of v1 that is given away is no limit any more";
            return Err(PlanError::NeedsV2 { key, reason });
        };
        for name in &delegation.controllers {
            if !v2.controllers.contains(name) {
                let reason = "cgroup v2 does not offer this controller here";
                return Err(value(key, name, reason));
            }
        }
        let wanted = if delegation.controllers.is_empty() {
            &v2.controllers
        } else {
            &delegation.controllers
        };
        for name in wanted.clone() {
            self.v2_controller(&name);
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
        self.v2_controller(controller);
        self.placed.v2.push(Setting {
            key: key.to_owned(),
            alternatives,
            optional: false,
        });
    }

    fn v2_controller(&mut self, controller: &str) {
        let controllers = &mut self.placed.v2_controllers;
        if !controllers.iter().any(|name| name == controller) {
            controllers.push(controller.to_owned());
        }
    }

    fn v1(&mut self, key: &str, controller: &str, file: &str, text: &str) {
        let alternative = (file.to_owned(), Value::Text(text.to_owned()));
        self.v1_first_of(key, controller, vec![alternative]);
    }

    fn v1_first_of(&mut self, key: &str, controller: &str, alternatives: Vec<(String, Value)>) {
        self.v1_leaf(controller).push(Setting {
            key: key.to_owned(),
            alternatives,
            optional: false,
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
fn check_list(key: &'static str, list: &str, reason: &'static str) -> Result<(), PlanError> {
    let is_range = |range: &str| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        match (low.parse::<u16>(), high.parse::<u16>()) {
            (Ok(first), Ok(last)) => {
                first <= last && [low, high].iter().all(|n| !n.starts_with('+'))
            }
            _ => false,
        }
    };
    if list.split(',').all(is_range) {
        return Ok(());
    }
    Err(value(key, list, reason))
}

/// The kernel's name for a size of huge pages: `2MB` (`mem_fmt` in mm/hugetlb_cgroup.c).
fn page_size(bytes: u64) -> Option<String> {
    if !bytes.is_power_of_two() || bytes < 1 << 12 {
        return None;
    }
    Some(match bytes {
        gigabytes if gigabytes >= 1 << 30 => format!("{}GB", gigabytes >> 30),
        megabytes if megabytes >= 1 << 20 => format!("{}MB", megabytes >> 20),
        kilobytes => format!("{}KB", kilobytes >> 10),
    })
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
