//! The facts of this machine and user that specifiers stand for.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::value::environment_file::parse_environment_file;
use crate::value::specifier::Facts;

/// Reads the facts once; what the machine does not tell stays empty.
pub fn host_facts() -> Facts {
    let line = |path: &str| {
        let text = text(path);
        text.trim().to_owned()
    };
    let mut facts = Facts {
        host_name: line("/proc/sys/kernel/hostname"),
        pretty_host_name: assigned("/etc/machine-info", &["PRETTY_HOSTNAME"]).swap_remove(0),
        machine_id: line("/etc/machine-id"),
        boot_id: line("/proc/sys/kernel/random/boot_id").replace('-', ""),
        kernel_release: line("/proc/sys/kernel/osrelease"),
        architecture: match std::env::consts::ARCH {
            "x86_64" => "x86-64",
            "aarch64" => "arm64",
            other => other,
        }
        .to_owned(),
        os: os_release(),
        ..Facts::of_the_system()
    };
    // The owner of a process's directory in /proc is its effective user.
    if let Ok(own) = fs::metadata("/proc/self") {
        facts.uid = own.uid().to_string();
        facts.gid = own.gid().to_string();
    }
    name_user(&mut facts);
    if facts.uid != "0" {
        use_own_directories(&mut facts);
    }
    facts
}

/// Empty where there is none. A real name in an old encoding hides no other line.
fn text(path: &str) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn os_release() -> [String; 6] {
    let names = [
        "ID",
        "VERSION_ID",
        "VARIANT_ID",
        "BUILD_ID",
        "IMAGE_ID",
        "IMAGE_VERSION",
    ];
    let path = match fs::exists("/etc/os-release") {
        Ok(true) => "/etc/os-release",
        Ok(false) | Err(_) => "/usr/lib/os-release",
    };
    let mut values = assigned(path, &names).into_iter();
    std::array::from_fn(|_| values.next().unwrap_or_default())
}

/// The values of these variables in an environment file; empty where there is none.
fn assigned(path: &str, names: &[&str]) -> Vec<String> {
    let text = text(path);
    let assignments = parse_environment_file(&text).assignments;
    let value = |name: &&str| {
        let mut found = assignments.iter().rev();
        found
            .find(|(known, _)| known == name)
            .map_or_else(String::new, |(_, value)| value.clone())
    };
    names.iter().map(value).collect()
}

/// Names, home and shell from the account files; a static binary has no other source.
fn name_user(facts: &mut Facts) {
    let passwd = text("/etc/passwd");
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [name, _, uid, _, _, home, shell] = fields[..]
            && uid == facts.uid
        {
            (facts.user, facts.home, facts.shell) = (name.into(), home.into(), shell.into());
            break;
        }
    }
    let groups = text("/etc/group");
    for line in groups.lines() {
        let mut fields = line.split(':');
        if let (Some(name), _, Some(gid)) = (fields.next(), fields.next(), fields.next())
            && gid == facts.gid
        {
            name.clone_into(&mut facts.group);
            break;
        }
    }
}

/// A user's own herd keeps to the XDG directories.
fn use_own_directories(facts: &mut Facts) {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let home = variable("HOME").unwrap_or_else(|| facts.home.clone());
    let below = |name: &str, rest: &str| variable(name).unwrap_or_else(|| format!("{home}/{rest}"));
    facts.runtime =
        variable("XDG_RUNTIME_DIR").unwrap_or_else(|| format!("/run/user/{}", facts.uid));
    facts.state = below("XDG_STATE_HOME", ".local/state");
    facts.cache = below("XDG_CACHE_HOME", ".cache");
    facts.configuration = below("XDG_CONFIG_HOME", ".config");
    facts.shared_data = below("XDG_DATA_HOME", ".local/share");
    facts.logs = format!("{}/log", facts.state);
    facts.home = home;
}
