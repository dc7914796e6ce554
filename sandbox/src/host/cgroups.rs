//! Which cgroup hierarchies there are, and where we stand in them.
//!
//! `/proc/self/mountinfo` says where each is mounted and which of its groups is the mount's root;
//! `/proc/self/cgroup` says in which group we are. Both are needed: in a container the mount's root
//! is not the hierarchy's. The parsers take text and answer with what they understood; a line that
//! makes no sense is skipped.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, access};

use super::{Cgroups, HostError, SUPERVISOR_LEAF, V1, V2, status};

/// One cgroup mount of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Which group of the hierarchy is seen at the mount point.
    pub root: PathBuf,
    pub point: PathBuf,
    pub read_only: bool,
    /// `None` is v2; else the controllers and `name=` of a v1 hierarchy.
    pub controllers: Option<Vec<String>>,
}

/// The cgroup mounts among the lines of a mountinfo (`proc_pid_mountinfo(5)`).
pub fn parse_mountinfo(text: &str) -> Vec<Mount> {
    text.lines().filter_map(mount).collect()
}

/// The group of each hierarchy in a `/proc/PID/cgroup` (`cgroups(7)`); v2's key is empty.
pub fn parse_cgroup(text: &str) -> BTreeMap<String, PathBuf> {
    let mut groups = BTreeMap::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if !path.starts_with('/') {
            continue;
        }
        if id == "0" && controllers.is_empty() {
            groups.insert(String::new(), PathBuf::from(path));
            continue;
        }
        for controller in controllers.split(',').filter(|name| !name.is_empty()) {
            groups.insert(controller.to_owned(), PathBuf::from(path));
        }
    }
    groups
}

pub(super) fn detect() -> Result<Cgroups, HostError> {
    let mounts = parse_mountinfo(&status::text(Path::new("/proc/self/mountinfo"))?);
    // A kernel without cgroups has no such file; that is a fact, not a failure.
    let groups = status::text(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let mut cgroups = layout(&mounts, &parse_cgroup(&groups));
    if let Some(v2) = &mut cgroups.v2 {
        v2.writable = v2.writable && is_writable(&v2.own);
        cgroups.device_programs = crate::cgroup::has_programs(&v2.own);
        v2.controllers = fs::read_to_string(v2.own.join("cgroup.controllers"))
            .map(|text| text.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default();
    }
    for v1 in cgroups.v1.values_mut() {
        v1.writable = v1.writable && is_writable(&v1.own);
    }
    cgroups.v1_swap = cgroups
        .v1
        .get("memory")
        .is_some_and(|v1| v1.own.join("memory.memsw.limit_in_bytes").exists());
    Ok(cgroups)
}

/// Joins mounts and groups; `writable` says only that the mount is not read-only.
fn layout(mounts: &[Mount], groups: &BTreeMap<String, PathBuf>) -> Cgroups {
    let mut cgroups = Cgroups::default();
    for mount in mounts {
        let own = |key: &str| own(mount, groups.get(key)?);
        match &mount.controllers {
            None => {
                if let (None, Some(own)) = (&cgroups.v2, own("")) {
                    cgroups.v2 = Some(V2 {
                        mount: mount.point.clone(),
                        own,
                        controllers: Vec::new(),
                        writable: !mount.read_only,
                    });
                }
            }
            Some(controllers) => {
                for controller in controllers {
                    let Some(own) = own(controller) else { continue };
                    cgroups.v1.entry(controller.clone()).or_insert(V1 {
                        mount: mount.point.clone(),
                        own,
                        writable: !mount.read_only,
                    });
                }
            }
        }
    }
    cgroups
}

/// Where our group is found below a mount; `None` when this mount does not show it.
fn own(mount: &Mount, group: &Path) -> Option<PathBuf> {
    let below = group.strip_prefix(&mount.root).ok()?;
    // `/../x` is a group outside our cgroup namespace.
    if below
        .components()
        .any(|part| !matches!(part, Component::Normal(_)))
    {
        return None;
    }
    let own = mount.point.join(below);
    // A herd that has moved itself (`cgroup::prepare_root`) still works below the group it came from.
    if own.file_name().is_some_and(|name| name == SUPERVISOR_LEAF) {
        return own.parent().map(Path::to_owned);
    }
    // `join("")` leaves a slash at the end.
    Some(own.components().collect())
}

fn mount(line: &str) -> Option<Mount> {
    // 36 35 98:0 /root /point rw,noatime master:1 - type source superoptions
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point, options) = (left.next()?, left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (kind, _source, superoptions) = (right.next()?, right.next()?, right.next()?);
    let controllers = match kind {
        "cgroup2" => None,
        "cgroup" => Some(
            superoptions
                .split(',')
                .filter(|option| !NOT_CONTROLLERS.contains(option))
                .filter(|option| !option.starts_with("release_agent="))
                .map(str::to_owned)
                .collect(),
        ),
        _ => return None,
    };
    let read_only = |options: &str| options.split(',').any(|option| option == "ro");
    Some(Mount {
        root: unescape(root),
        point: unescape(point),
        read_only: read_only(options) || read_only(superoptions),
        controllers,
    })
}

/// Superblock options of cgroup v1 that are no controllers.
const NOT_CONTROLLERS: [&str; 7] = [
    "rw",
    "ro",
    "xattr",
    "noprefix",
    "clone_children",
    "cpuset_v2_mode",
    "none",
];

/// Undoes mountinfo's octal escapes (`\040` for a space).
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn is_writable(directory: &Path) -> bool {
    access(directory, Access::WRITE_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HYBRID: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd ro,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime shared:3 - cgroup2 cgroup2 rw
1 0 8:1 / / rw - ext4 /dev/sda1 rw";

    #[test]
    fn a_hybrid_machine_has_both_kinds() {
        let groups = parse_cgroup("9:name=systemd:/\n4:memory:/a/b\n1:cpu,cpuacct:/\n0::/x\n");
        let cgroups = layout(&parse_mountinfo(HYBRID), &groups);
        let v2 = cgroups.v2.unwrap();
        assert_eq!(v2.own, Path::new("/sys/fs/cgroup/uni fied/x"));
        assert!(v2.writable);
        assert_eq!(
            cgroups.v1["memory"].own,
            Path::new("/sys/fs/cgroup/memory/a/b")
        );
        assert_eq!(cgroups.v1["cpuacct"].own, Path::new("/sys/fs/cgroup/cpu"));
        assert!(!cgroups.v1["name=systemd"].writable);
    }

    #[test]
    fn a_container_s_mount_root_is_not_the_hierarchy_s() {
        let mounts = parse_mountinfo("1 0 0:1 /box/7 /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
        let own = |path: &str| layout(&mounts, &parse_cgroup(path)).v2.map(|v2| v2.own);
        assert_eq!(own("0::/box/7/a"), Some("/sys/fs/cgroup/a".into()));
        assert_eq!(own("0::/box/7"), Some("/sys/fs/cgroup".into()));
        assert_eq!(own("0::/elsewhere"), None);
    }

    #[test]
    fn a_group_outside_the_namespace_is_not_used() {
        let mounts = parse_mountinfo("1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
        assert_eq!(layout(&mounts, &parse_cgroup("0::/../x")).v2, None);
    }

    #[test]
    fn a_herd_in_its_leaf_works_below_the_group_it_came_from() {
        let mounts = parse_mountinfo("1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
        let cgroups = layout(&mounts, &parse_cgroup("0::/user/herd-supervisor"));
        assert_eq!(cgroups.v2.unwrap().own, Path::new("/sys/fs/cgroup/user"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in ".*", more in "[-/: \\\\0-9a-z,\n.]*") {
            for text in [&text, &more] {
                layout(&parse_mountinfo(text), &parse_cgroup(text));
            }
        }

        #[test]
        fn our_group_is_always_below_the_mount(group in "(/[a-z.]{1,3}){0,4}") {
            let mounts = parse_mountinfo("1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
            let groups = parse_cgroup(&format!("0::/{}", group.trim_start_matches('/')));
            if let Some(v2) = layout(&mounts, &groups).v2 {
                prop_assert!(v2.own.starts_with("/sys/fs/cgroup"));
                prop_assert!(!v2.own.components().any(|part| part == Component::ParentDir));
            }
        }
    }
}
