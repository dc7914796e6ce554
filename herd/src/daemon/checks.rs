//! `[condition]`, `[assert]` and `requires_mounts_for`, looked at when a service is to start.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Access;
use sandbox::Host;
use units::Unit;
use units::unit::{Check, Comparison, Conditions, Test};

use crate::mount_table::{self, unescaped_path};
use crate::pid1::place::Place;
use crate::supervisor::event::CheckResult;
use crate::users::Users;

/// What the checks are held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub host: &'a Host,
    pub users: &'a Users,
    pub environment: &'a BTreeMap<String, String>,
}

/// Looks at all checks of a unit; the first that does not hold is named.
pub(super) fn evaluate(unit: &Unit, facts: Facts<'_>) -> CheckResult {
    if let Some(path) = unit
        .dependencies
        .requires_mounts_for
        .iter()
        .find_map(|path| missing_mount(path))
    {
        let text = format!(
            "requires_mounts_for: {} is in /etc/fstab and not mounted",
            path.display()
        );
        return CheckResult::AssertFailed(text.into());
    }
    if let Some(why) = unit
        .assert
        .as_deref()
        .and_then(|asserts| first_unmet(asserts, facts))
    {
        return CheckResult::AssertFailed(why);
    }
    match unit
        .condition
        .as_deref()
        .and_then(|conditions| first_unmet(conditions, facts))
    {
        Some(why) => CheckResult::Skip(why),
        None => CheckResult::Met,
    }
}

fn first_unmet(conditions: &Conditions, facts: Facts<'_>) -> Option<Arc<str>> {
    let unmet = |check: &&Check| holds(&check.test, facts) == check.negated;
    conditions.checks.iter().find(unmet).map(|check| {
        let not = if check.negated { "not " } else { "" };
        format!("{not}{} does not hold", describe(&check.test)).into()
    })
}

fn holds(test: &Test, facts: Facts<'_>) -> bool {
    match test {
        Test::PathExists(path) => fs::symlink_metadata(path).is_ok(),
        Test::PathIsDirectory(path) => fs::metadata(path).is_ok_and(|m| m.is_dir()),
        Test::DirectoryNotEmpty(path) => {
            fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
        }
        Test::FileNotEmpty(path) => fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() > 0),
        Test::FileIsExecutable(path) => {
            fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        }
        Test::PathIsReadWrite(path) => {
            let writable = rustix::fs::access(path, Access::WRITE_OK).is_ok();
            let mount = rustix::fs::statvfs(path);
            writable
                && mount.is_ok_and(|m| !m.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
        }
        Test::User(name) => {
            let uid = facts.host.uid;
            match name.as_str() {
                "@system" => uid < 1000 || uid == 65534,
                name => facts.users.user(name).is_some_and(|user| user.uid == uid),
            }
        }
        Test::Group(name) => facts.users.group(name).is_some_and(|gid| {
            gid == facts.host.gid
                || rustix::process::getgroups().is_ok_and(|g| g.iter().any(|g| g.as_raw() == gid))
        }),
        Test::Virtualization(kind) => virtualization(kind),
        Test::KernelCommandLine(word) => {
            let line = crate::pid1::command_line::of_kernel();
            line.split_whitespace().any(|have| {
                have == word || (!word.contains('=') && have.split('=').next() == Some(word))
            })
        }
        Test::Capability(number) => {
            bounding_set() & 1_u64.checked_shl(u32::from(*number)).unwrap_or(0) != 0
        }
        Test::Architecture(name) => {
            let machine = rustix::system::uname();
            let machine = machine.machine().to_string_lossy().into_owned();
            let known = match machine.as_str() {
                "x86_64" => "x86-64",
                "aarch64" => "arm64",
                other => other,
            };
            name == &machine || name == known || name == "native"
        }
        Test::Environment(assignment) => match assignment.split_once('=') {
            Some((name, value)) => facts
                .environment
                .get(name)
                .is_some_and(|have| have == value),
            None => facts.environment.contains_key(assignment),
        },
        Test::Memory(comparison, bytes) => compare(*comparison, facts.host.memory_bytes, *bytes),
        Test::Cpus(comparison, cpus) => compare(*comparison, facts.host.cpus, *cpus),
        Test::FirstBoot(wanted) => {
            // By now the machine has an id; the boot that gave it left a sign.
            if Path::new(crate::pid1::FIRST_BOOT).exists() {
                return *wanted;
            }
            let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
            let first = id.trim().is_empty() || id.trim() == "uninitialized";
            first == *wanted
        }
    }
}

fn compare<T: PartialOrd>(comparison: Comparison, have: T, wanted: T) -> bool {
    match comparison {
        Comparison::Less => have < wanted,
        Comparison::LessOrEqual => have <= wanted,
        Comparison::Equal => have == wanted,
        Comparison::NotEqual => have != wanted,
        Comparison::GreaterOrEqual => have >= wanted,
        Comparison::Greater => have > wanted,
    }
}

fn describe(test: &Test) -> String {
    match test {
        Test::PathExists(path) => format!("path_exists = {:?}", path.display().to_string()),
        Test::PathIsDirectory(path) => format!("path_is_directory = {path:?}"),
        Test::DirectoryNotEmpty(path) => format!("directory_not_empty = {path:?}"),
        Test::FileNotEmpty(path) => format!("file_not_empty = {path:?}"),
        Test::FileIsExecutable(path) => format!("file_is_executable = {path:?}"),
        Test::PathIsReadWrite(path) => format!("path_is_read_write = {path:?}"),
        Test::User(name) => format!("user = {name:?}"),
        Test::Group(name) => format!("group = {name:?}"),
        Test::Virtualization(kind) => format!("virtualization = {kind:?}"),
        Test::KernelCommandLine(word) => format!("kernel_command_line = {word:?}"),
        Test::Capability(number) => format!("capability = {number}"),
        Test::Architecture(name) => format!("architecture = {name:?}"),
        Test::Environment(assignment) => format!("environment = {assignment:?}"),
        Test::Memory(comparison, bytes) => format!("memory {} {bytes}", sign(*comparison)),
        Test::Cpus(comparison, cpus) => format!("cpus {} {cpus}", sign(*comparison)),
        Test::FirstBoot(wanted) => format!("first_boot = {wanted}"),
    }
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Equal => "=",
        Comparison::NotEqual => "!=",
        Comparison::GreaterOrEqual => ">=",
        Comparison::Greater => ">",
    }
}

fn bounding_set() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

/// Container first, as `systemd-detect-virt` says it; then what the firmware calls itself.
fn virtualization(wanted: &str) -> bool {
    let container = container();
    let vm = vm();
    match wanted {
        "yes" | "true" => container.is_some() || vm.is_some(),
        "no" | "false" => container.is_none() && vm.is_none(),
        "container" => container.is_some(),
        "vm" => vm.is_some(),
        name => container.as_deref() == Some(name) || vm == Some(name),
    }
}

fn container() -> Option<String> {
    let environ = fs::read("/proc/1/environ").unwrap_or_default();
    let named = environ
        .split(|b| *b == 0)
        .find_map(|entry| entry.strip_prefix(b"container="));
    if let Some(name) = named.filter(|name| !name.is_empty()) {
        return Some(String::from_utf8_lossy(name).into_owned());
    }
    match Place::here() {
        Place::Container(container) => {
            let unknown = || "container-other".to_owned();
            Some(container.manager.unwrap_or_else(unknown))
        }
        // Files of an image that was made of a container's make none of it.
        Place::Machine => None,
    }
}

fn vm() -> Option<&'static str> {
    let dmi = |file: &str| fs::read_to_string(Path::new("/sys/class/dmi/id").join(file));
    let text = format!(
        "{} {}",
        dmi("sys_vendor").unwrap_or_default(),
        dmi("product_name").unwrap_or_default()
    );
    let known = [
        ("KVM", "kvm"),
        ("QEMU", "qemu"),
        ("VMware", "vmware"),
        ("VirtualBox", "oracle"),
        ("Xen", "xen"),
        ("Microsoft Corporation Virtual", "microsoft"),
        ("Amazon EC2", "amazon"),
        ("Google", "google"),
        ("Firecracker", "firecracker"),
    ];
    if let Some((_, name)) = known.iter().find(|(mark, _)| text.contains(mark)) {
        return Some(name);
    }
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if cpu.contains("User Mode Linux") {
        return Some("uml");
    }
    let flags = cpu.lines().find(|line| line.starts_with("flags"));
    flags
        .is_some_and(|flags| flags.split(' ').any(|f| f == "hypervisor"))
        .then_some("vm-other")
}

/// The innermost mount of `/etc/fstab` on the way to `path`, when it is not there.
fn missing_mount(path: &Path) -> Option<PathBuf> {
    let table = mount_table::read(Path::new("/etc/fstab"));
    let mounted = mount_table::read(Path::new("/proc/self/mounts"));
    let second = |line: &str| line.split_whitespace().nth(1).map(unescaped_path);
    let here: Vec<PathBuf> = mounted.lines().filter_map(second).collect();
    let entries = table
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let on_the_way = entries
        .filter_map(second)
        .filter(|point| path.starts_with(point));
    on_the_way
        .filter(|point| !here.contains(point))
        .max_by_key(|point| point.as_os_str().len())
}
