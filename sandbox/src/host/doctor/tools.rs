//! Programs and files of the system that some keys work with.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::{Finding, Look, Need, Subject};
use crate::host::Host;

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    vec![
        several_ids(host),
        program(
            "nft",
            "only needed to look at the rules that herd makes: package nftables",
        ),
    ]
}

fn find(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| {
            fs::metadata(path).is_ok_and(|meta| meta.is_file())
                && access(path, Access::EXEC_OK).is_ok()
        })
}

fn program(name: &'static str, advice: &str) -> Finding {
    let look = Look::new(Subject::Tools, Need::Comfort, name);
    match find(name) {
        Some(path) => look.ok(path.display().to_string()),
        None => look.missing("not installed", advice),
    }
}

/// A user's box with more than the user in it: `newuidmap`, and a range for it to hand out.
fn several_ids(host: &Host) -> Finding {
    let look = Look::new(Subject::Tools, Need::Key, "several ids in a box");
    if host.is_root {
        return look.ok("root writes any map");
    }
    if find("newuidmap").is_none() || find("newgidmap").is_none() {
        return look.missing("newuidmap(1) is not installed", "Debian: package uidmap");
    }
    let name = own_name(host.uid);
    let has_range = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let mut owners = text.lines().filter_map(|line| line.split(':').next());
        owners.any(|owner| owner == host.uid.to_string() || Some(owner) == name.as_deref())
    };
    match ["/etc/subuid", "/etc/subgid"]
        .iter()
        .find(|file| !has_range(file))
    {
        None => look.ok("newuidmap, newgidmap and a range of each"),
        Some(file) => look.missing(
            format!("{file} has no range for this user"),
            "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER",
        ),
    }
}

fn own_name(uid: u32) -> Option<String> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    let mut users = text.lines().map(|line| line.split(':'));
    users.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    })
}
