//! What is to be seen from here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

pub(crate) fn everything() -> Value {
    let status = status();
    json!({
        "pid": std::process::id(),
        "ppid": nix::unistd::getppid().as_raw(),
        "parent_death_signal": nix::sys::prctl::get_pdeathsig().ok().map(|signal| signal.map(|signal| signal.as_str())),
        "session": nix::unistd::getsid(None).map(nix::unistd::Pid::as_raw).ok(),
        "namespaces": namespaces(),
        "mounts": mounts(),
        "capabilities": {
            "inheritable": status.get("CapInh"), "permitted": status.get("CapPrm"),
            "effective": status.get("CapEff"), "bounding": status.get("CapBnd"),
            "ambient": status.get("CapAmb"),
        },
        "no_new_privs": status.get("NoNewPrivs").is_some_and(|value| value == "1"),
        "seccomp": status.get("Seccomp"),
        "dumpable": nix::sys::prctl::get_dumpable().ok(),
        "signals": { "blocked": status.get("SigBlk"), "ignored": status.get("SigIgn") },
        "uid": numbers(status.get("Uid")),
        "gid": numbers(status.get("Gid")),
        "groups": numbers(status.get("Groups")),
        "umask": status.get("Umask"),
        "limits": limits(),
        "cgroup": lines("/proc/self/cgroup"),
        "descriptors": descriptors(),
        "environment": environment(),
        "arguments": std::env::args().collect::<Vec<_>>(),
        "working_directory": std::env::current_dir().ok(),
        "root": names("/"),
        "devices": names("/dev"),
        "processes": names("/proc").into_iter().filter(|name| name.parse::<u32>().is_ok()).collect::<Vec<_>>(),
        "hostname": nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()),
        "domainname": lines("/proc/sys/kernel/domainname").first(),
        "interfaces": interfaces(),
        "routes": lines("/proc/net/route").len().saturating_sub(1),
        "keys": lines("/proc/keys"),
        "uid_map": lines("/proc/self/uid_map"),
        "nice": nice(),
        "cpus": status.get("Cpus_allowed_list"),
        "oom_score_adj": lines("/proc/self/oom_score_adj").first(),
    })
}

fn nice() -> Option<i64> {
    let stat = lines("/proc/self/stat");
    // What follows the name, which may hold anything: field 3 of proc(5) is the first.
    let fields = stat.first()?.rsplit(')').next()?;
    fields.split_whitespace().nth(16)?.parse().ok()
}

fn lines(file: &str) -> Vec<String> {
    fs::read_to_string(file)
        .map(|text| text.lines().map(str::to_owned).collect())
        .unwrap_or_default()
}

fn names(directory: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

fn status() -> BTreeMap<String, String> {
    lines("/proc/self/status")
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

fn numbers(field: Option<&String>) -> Vec<u32> {
    field
        .map(|text| {
            text.split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect()
        })
        .unwrap_or_default()
}

/// `{"mnt": "mnt:[4026531841]", …}`
fn namespaces() -> Map<String, Value> {
    names("/proc/self/ns")
        .into_iter()
        .map(|name| {
            let link = fs::read_link(Path::new("/proc/self/ns").join(&name));
            (name, json!(link.ok()))
        })
        .collect()
}

/// Each mount as `{"path", "root", "options", "type", "source"}`.
fn mounts() -> Vec<Value> {
    lines("/proc/self/mountinfo")
        .iter()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let before: Vec<&str> = before.split(' ').collect();
            let after: Vec<&str> = after.split(' ').collect();
            Some(json!({
                "path": before.get(4)?, "root": before.get(3)?, "options": before.get(5)?,
                "type": after.first()?, "source": after.get(1)?,
            }))
        })
        .collect()
}

/// `{"Max open files": ["1024", "4096"], …}`
fn limits() -> Map<String, Value> {
    lines("/proc/self/limits")
        .iter()
        .skip(1)
        .filter(|line| line.len() > 66)
        .map(|line| {
            let column = |range: std::ops::Range<usize>| {
                line.get(range).unwrap_or_default().trim().to_owned()
            };
            (column(0..26), json!([column(26..47), column(47..68)]))
        })
        .collect()
}

/// `{"0": "/dev/null", …}`, without the one that reads the directory.
fn descriptors() -> Map<String, Value> {
    names("/proc/self/fd")
        .into_iter()
        .filter_map(|name| {
            let link = fs::read_link(Path::new("/proc/self/fd").join(&name)).ok()?;
            Some((name, json!(link)))
        })
        .collect()
}

fn environment() -> Map<String, Value> {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                json!(value.to_string_lossy()),
            )
        })
        .collect()
}

fn interfaces() -> Vec<String> {
    lines("/proc/net/dev")
        .iter()
        .skip(2)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}
