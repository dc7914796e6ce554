//! `[limits]`: the cgroup's and the process's.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use sandbox::config::{
    Amount, Delegation, DeviceRule, Devices, HugePages, Limits, Resource, Rlimit,
};
use toml::de::DeValue;

use super::Draft;
use crate::reader::{Item, Reader};
use crate::unit::OomPolicy;
use crate::value::cpu_list::{format_cpu_list, parse_cpu_list};
use crate::value::device::parse_device_rule;
use crate::value::percent::parse_percent;
use crate::value::size::{parse_amount, parse_size};
use crate::value::slice::parse_slice;

const OOM_POLICIES: [(&str, OomPolicy); 3] = [
    ("continue", OomPolicy::Continue),
    ("stop", OomPolicy::Stop),
    ("kill", OomPolicy::Kill),
];

pub(super) fn read(draft: &mut Draft, reader: &mut Reader<'_>, name: &str, item: Item<'_>) -> bool {
    if name == "oom_policy" {
        draft.unit.oom_policy = reader.choice(item, &OOM_POLICIES).unwrap_or_default();
        return true;
    }
    if read_placement(draft, reader, name, item) {
        return true;
    }
    if name == "devices" {
        draft.devices.allow = Some(device_rules(reader, item));
        return true;
    }
    let limits = draft.unit.limits.get_or_insert_default();
    read_cgroup(limits, reader, name, item) || read_rlimit(limits, reader, name, item)
}

fn read_placement(draft: &mut Draft, reader: &mut Reader<'_>, name: &str, item: Item<'_>) -> bool {
    match name {
        "slice" => {
            if let Some(text) = reader.text(item) {
                match parse_slice(&text) {
                    Ok(slice) => draft.unit.placement.get_or_insert_default().slice = Some(slice),
                    Err(problem) => {
                        let hint = "slices are written \"apps\", or \"apps-web\" for one in it";
                        reader.error_with_hint(item, problem, hint);
                    }
                }
            }
        }
        "freeze" => {
            if let Some(true) = reader.boolean(item) {
                draft.unit.placement.get_or_insert_default().freeze = true;
            }
        }
        _ => return false,
    }
    true
}

/// A list that is given shuts every other device, even when it is empty.
pub(super) fn assemble(draft: &mut Draft) {
    let keys = std::mem::take(&mut draft.devices);
    if keys.policy.is_some() || keys.allow.is_some() {
        let limits = draft.unit.limits.get_or_insert_default();
        limits.cgroup.devices = Some(Devices {
            policy: keys.policy.unwrap_or_default(),
            allow: keys.allow.unwrap_or_default(),
        });
    }
}

pub(super) fn device_rules(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<DeviceRule> {
    let mut rules = Vec::new();
    for item in reader.list(item) {
        let Some(text) = reader.text(item) else {
            continue;
        };
        match parse_device_rule(&text) {
            Ok(rule) => rules.push(rule),
            Err(problem) => {
                let hint = "devices are written \"/dev/fuse rw\", \"char-pts rw\" or \"block-* r\"";
                reader.error_with_hint(item, problem.to_string(), hint);
            }
        }
    }
    rules
}

fn read_cgroup(limits: &mut Limits, reader: &mut Reader<'_>, name: &str, item: Item<'_>) -> bool {
    let cgroup = &mut limits.cgroup;
    match name {
        "memory" => cgroup.memory = amount(reader, item),
        "memory_high" => cgroup.memory_high = amount(reader, item),
        "memory_low" => cgroup.memory_low = amount(reader, item),
        "memory_min" => cgroup.memory_min = amount(reader, item),
        "swap" => cgroup.swap = amount(reader, item),
        "cpu" => cgroup.cpu_percent = percent(reader, item),
        "cpu_weight" => cgroup.cpu_weight = reader.number(item, 1..=10_000),
        "cpus" => cgroup.cpus = cpu_list(reader, item).map(|cpus| format_cpu_list(&cpus)),
        "memory_nodes" => {
            cgroup.memory_nodes = list_of(reader, item, NODES).map(|nodes| format_cpu_list(&nodes));
        }
        "huge_pages" => cgroup.huge_pages = huge_pages(reader, item),
        "delegate" => cgroup.delegation = delegation(reader, item),
        "tasks" => cgroup.tasks = count(reader, item),
        "io_weight" => cgroup.io_weight = reader.number(item, 1..=10_000),
        "io_read" => cgroup.io_read = rates(reader, item),
        "io_write" => cgroup.io_write = rates(reader, item),
        "oom_group" => cgroup.oom_group = reader.boolean(item).unwrap_or_default(),
        _ => return false,
    }
    true
}

/// What one value of an rlimit is written in.
#[derive(Debug, Clone, Copy)]
enum Scale {
    Count,
    Bytes,
    Seconds,
    Microseconds,
    Nice,
    Priority,
}

fn read_rlimit(limits: &mut Limits, reader: &mut Reader<'_>, name: &str, item: Item<'_>) -> bool {
    let (resource, scale) = match name {
        "open_files" => (Resource::OpenFiles, Scale::Count),
        "core" => (Resource::Core, Scale::Bytes),
        "processes" => (Resource::Processes, Scale::Count),
        "locked_memory" => (Resource::LockedMemory, Scale::Bytes),
        "stack" => (Resource::Stack, Scale::Bytes),
        "data" => (Resource::Data, Scale::Bytes),
        "address_space" => (Resource::AddressSpace, Scale::Bytes),
        "file_size" => (Resource::FileSize, Scale::Bytes),
        "cpu_time" => (Resource::CpuTime, Scale::Seconds),
        "msgqueue" => (Resource::MessageQueue, Scale::Bytes),
        "nice" => (Resource::Nice, Scale::Nice),
        "rt_priority" => (Resource::RealtimePriority, Scale::Priority),
        "rt_time" => (Resource::RealtimeTime, Scale::Microseconds),
        "signals" => (Resource::PendingSignals, Scale::Count),
        "file_locks" => (Resource::FileLocks, Scale::Count),
        _ => return false,
    };
    let (soft, hard) = match item.value() {
        DeValue::Array(pair) => match (pair.first(), pair.get(1), pair.len()) {
            (Some(soft), Some(hard), 2) => (item.sibling(soft), item.sibling(hard)),
            _ => {
                reader.error_with_hint(item, "a limit has one value or two", "write [soft, hard]");
                return true;
            }
        },
        _ => (item, item),
    };
    let soft = bound(reader, soft, scale);
    let hard = match item.value() {
        DeValue::Array(_) => bound(reader, hard, scale),
        _ => soft,
    };
    let (Some(soft), Some(hard)) = (soft, hard) else {
        return true;
    };
    let above = match (soft, hard) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(soft), Some(hard)) => soft > hard,
    };
    if above {
        reader.error(item, "the soft limit is above the hard one");
        return true;
    }
    limits.rlimits.push(Rlimit {
        resource,
        soft,
        hard,
    });
    true
}

/// `Some(None)` is `infinity`.
fn bound(reader: &mut Reader<'_>, item: Item<'_>, scale: Scale) -> Option<Option<u64>> {
    if matches!(item.value(), DeValue::String(text) if text == "infinity") {
        return Some(None);
    }
    let value = match scale {
        Scale::Count => reader.number(item, 0..=i64::MAX),
        Scale::Priority => reader.number(item, 0..=99),
        Scale::Nice => reader
            .integer(item, -20..=19)
            .and_then(|nice| u64::try_from(20 - nice).ok()),
        Scale::Bytes => size(reader, item),
        Scale::Seconds | Scale::Microseconds => {
            let unit = match scale {
                Scale::Seconds => 1_000_000_000,
                _ => 1_000,
            };
            let duration = reader.finite_duration(item)?;
            // A part of a unit counts whole, so that no limit is tighter than written.
            u64::try_from(duration.as_nanos().div_ceil(unit)).ok()
        }
    };
    value.map(Some)
}

pub(super) fn size(reader: &mut Reader<'_>, item: Item<'_>) -> Option<u64> {
    if let DeValue::Integer(_) = item.value() {
        return reader.number(item, 0..=i64::MAX);
    }
    let text = reader.raw_text(item)?;
    match parse_size(text) {
        Ok(size) => Some(size),
        Err(problem) => {
            reader.error_with_hint(item, problem.to_string(), "sizes are written \"256M\"");
            None
        }
    }
}

fn amount(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Amount> {
    if let DeValue::Integer(_) = item.value() {
        return reader.number(item, 0..=i64::MAX).map(Amount::Exactly);
    }
    let text = reader.raw_text(item)?;
    match parse_amount(text) {
        Ok(amount) => Some(amount),
        Err(problem) => {
            let hint = "amounts are written \"256M\", \"50%\" or \"infinity\"";
            reader.error_with_hint(item, problem.to_string(), hint);
            None
        }
    }
}

/// A number of tasks: no bytes, so no units.
fn count(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Amount> {
    match item.value() {
        DeValue::Integer(_) => reader
            .number(item, 1..=i64::from(u32::MAX))
            .map(Amount::Exactly),
        DeValue::String(text) if text.ends_with('%') || text == "infinity" => amount(reader, item),
        _ => reader.wrong_type(item, "a number, \"50%\" or \"infinity\""),
    }
}

fn percent(reader: &mut Reader<'_>, item: Item<'_>) -> Option<u32> {
    let percent = match item.value() {
        DeValue::String(text) => parse_percent(text),
        _ => None,
    };
    if percent.is_none() {
        let hint = "\"150%\" is one and a half cores";
        reader.error_with_hint(item, "this is no percentage of a core", hint);
    }
    percent
}

/// `{ "2M" = "64M" }`
fn huge_pages(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<HugePages> {
    let mut all = Vec::new();
    let Some(table) = reader.table(item) else {
        return all;
    };
    for (page, amount) in table {
        let amount = item.sibling(amount);
        let page = page.get_ref();
        let size = parse_size(page)
            .ok()
            .filter(|size| size.is_power_of_two() && *size >= SMALLEST_PAGE);
        let Some(size) = size else {
            let hint = "the sizes of this machine stand in /sys/kernel/mm/hugepages";
            reader.error_with_hint(amount, format!("{page:?} is no size of a page"), hint);
            continue;
        };
        match self::amount(reader, amount) {
            Some(Amount::Percent(_)) => {
                reader.error(amount, "huge pages have no share of the machine");
            }
            Some(amount) => all.push(HugePages { size, amount }),
            None => {}
        }
    }
    all
}

/// No architecture has huge pages below 16 KiB.
const SMALLEST_PAGE: u64 = 16 << 10;

/// `true`, or the controllers.
fn delegation(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Delegation> {
    if let DeValue::Boolean(given) = item.value() {
        return given.then(Delegation::default);
    }
    let mut controllers = Vec::new();
    let items = reader.list(item);
    if items.is_empty() {
        reader.error_with_hint(
            item,
            "the list of controllers is empty",
            "write true for all",
        );
    }
    for item in items {
        let words = CONTROLLERS.map(|name| (name, name));
        if let Some(name) = reader.choice(item, &words) {
            controllers.push(name.to_owned());
        }
    }
    Some(Delegation {
        controllers,
        beside: false,
    })
}

/// Of cgroup v2 (`Documentation/admin-guide/cgroup-v2.rst`).
const CONTROLLERS: [&str; 8] = [
    "cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma",
];

/// What a list of numbers is of.
#[derive(Debug, Clone, Copy)]
struct Listed {
    what: &'static str,
    hint: &'static str,
}

const CPUS: Listed = Listed {
    what: "CPUs",
    hint: "CPUs are written \"0-3,8\" or [0, 1]",
};
const NODES: Listed = Listed {
    what: "nodes",
    hint: "nodes are written \"0-1\" or [0, 1]",
};

/// `"0-3,8"` or `[0, 1]`.
pub(super) fn cpu_list(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Vec<u32>> {
    list_of(reader, item, CPUS)
}

fn list_of(reader: &mut Reader<'_>, item: Item<'_>, listed: Listed) -> Option<Vec<u32>> {
    let Listed { what, hint } = listed;
    let mut cpus = Vec::new();
    for item in reader.list(item) {
        match item.value() {
            DeValue::Integer(_) => cpus.push(reader.number(item, 0..=8_191)?),
            _ => {
                let text = reader.raw_text(item)?;
                let Some(more) = parse_cpu_list(text) else {
                    reader.error_with_hint(item, format!("{text:?} is no list of {what}"), hint);
                    return None;
                };
                cpus.extend(more);
            }
        }
    }
    cpus.sort_unstable();
    cpus.dedup();
    if cpus.is_empty() {
        reader.error(item, format!("the list of {what} is empty"));
        return None;
    }
    Some(cpus)
}

/// `{ "/dev/sda" = "10M" }`
fn rates(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<(PathBuf, u64)> {
    let mut rates = Vec::new();
    let Some(table) = reader.table(item) else {
        return rates;
    };
    for (path, rate) in table {
        let rate = item.sibling(rate);
        let path = reader.absolute(rate, path.get_ref());
        if let (Some(path), Some(rate)) = (path, size(reader, rate)) {
            rates.push((path, rate));
        }
    }
    rates
}
