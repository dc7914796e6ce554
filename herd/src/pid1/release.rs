//! What a machine lets go of before it ends: file systems, what lies between them and the disks, and the
//! swap that keeps one of these busy.
//!
//! In rounds, the last mounted first: what lies on another goes before it, and what was busy in one round
//! may be free in the next. What stays busy becomes read-only.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::fstab;
use super::power::{say, within};
use super::swap::{self, Swap};
use crate::mount_table::unescaped_path;

const ROUNDS: u32 = 8;
/// Of one file system, device or swap file. Data was written before; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than most take: then it is said what is waited for.
const SOON: Duration = Duration::from_secs(3);

/// Says what it could not let go of.
pub(super) fn let_go() -> Vec<String> {
    let mut notes = Vec::new();
    let mut hanging = BTreeSet::new();
    take_apart(&mut hanging);
    // Only now: what lay on a tmpfs was given up with it, and need not find a place in memory.
    let (is_free, kept) = free_swap();
    notes.extend(kept);
    if is_free {
        take_apart(&mut hanging);
    }
    notes.extend(make_read_only(&hanging));
    notes.extend(hanging.iter().map(|path| {
        let path = path.display();
        format!("{path} stays mounted: it did not answer")
    }));
    notes
}

fn take_apart(hanging: &mut BTreeSet<PathBuf>) {
    for _ in 0..ROUNDS {
        let mut progress = unmount_all(hanging);
        progress |= detach_loops();
        progress |= remove_mappings();
        progress |= stop_arrays();
        if !progress {
            break;
        }
    }
}

/// Whether some was let go, and what is said of the others. Without a swap file and without a device that
/// lies on another nothing is kept busy by it: the kernel gives plain partitions up by itself.
fn free_swap() -> (bool, Vec<String>) {
    let mut is_free = false;
    let mut notes = Vec::new();
    for swap in swap::in_use().into_iter().filter(Swap::pins) {
        let what = format!("swap {}", swap.path.display());
        if let Some(why) = swap.obstacle() {
            notes.push(format!("{what} stays in use: {why}"));
            continue;
        }
        let path = swap.path;
        let outcome = patiently(&what, move || sandbox::swap_off(&path));
        is_free |= matches!(outcome, Some(Ok(())));
        notes.extend(complaint(&what, "stays in use", outcome));
    }
    (is_free, notes)
}

fn unmount_all(hanging: &mut BTreeSet<PathBuf>) -> bool {
    let mut progress = false;
    for mounted in mounts().iter().rev().filter(|mounted| mounted.can_go()) {
        if hanging.contains(&mounted.target) {
            continue;
        }
        let target = mounted.target.clone();
        let mut flags = MntFlags::UMOUNT_NOFOLLOW;
        if mounted.is_of_network() {
            // Nobody may be there any more who would answer.
            flags |= MntFlags::MNT_FORCE;
        }
        let what = format!("file system {}", target.display());
        match patiently(&what, move || umount2(&target, flags)) {
            Some(outcome) => progress |= outcome.is_ok(),
            None => {
                hanging.insert(mounted.target.clone());
            }
        }
    }
    progress
}

fn make_read_only(hanging: &BTreeSet<PathBuf>) -> Vec<String> {
    let mut notes = Vec::new();
    for mounted in mounts().iter().rev().filter(|mounted| mounted.holds_data()) {
        if hanging.contains(&mounted.target) {
            continue;
        }
        let target = mounted.target.clone();
        let what = target.display().to_string();
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let none = None::<&str>;
        let remount = move || mount(none, &target, none, flags, none).map_err(io::Error::from);
        notes.extend(complaint(
            &what,
            "stays writable",
            patiently(&what, remount),
        ));
    }
    notes
}

/// loop(4): files that are disks.
fn detach_loops() -> bool {
    let is_used = |path: &Path| path.join("loop/backing_file").exists();
    block_devices("loop", is_used).fold(false, |progress, (name, path)| {
        let node = format!("/dev/{name}");
        let what = format!("loop device {name}");
        patiently(&what, move || sandbox::detach_loop(fs::File::open(node)?));
        // Of a device that is used the kernel says that all is well.
        progress | !is_used(&path)
    })
}

/// The device mapper's: what lies on another keeps that busy, and goes in an earlier round.
fn remove_mappings() -> bool {
    block_devices("dm-", |_| true).fold(false, |progress, (_, path)| {
        let Ok(name) = fs::read_to_string(path.join("dm/name")) else {
            return progress;
        };
        let what = format!("mapping {}", name.trim_end());
        let remove = move || {
            let control = fs::File::open("/dev/mapper/control")?;
            sandbox::remove_mapping(control, name.trim_end_matches('\n'))
        };
        progress | matches!(patiently(&what, remove), Some(Ok(())))
    })
}

/// md(4).
fn stop_arrays() -> bool {
    let runs = |path: &Path| {
        let state = fs::read_to_string(path.join("md/array_state"));
        state.is_ok_and(|state| !matches!(state.trim_end(), "clear" | "inactive"))
    };
    block_devices("md", runs).fold(false, |progress, (name, _)| {
        let node = format!("/dev/{name}");
        let what = format!("array {name}");
        let stop = move || sandbox::stop_array(fs::File::open(node)?);
        progress | matches!(patiently(&what, stop), Some(Ok(())))
    })
}

fn block_devices(
    prefix: &str,
    is_meant: impl Fn(&Path) -> bool,
) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut devices: Vec<_> = entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .filter(|(name, path)| name.starts_with(prefix) && is_meant(path))
        .collect();
    devices.sort();
    devices.into_iter().rev()
}

/// With its time; what does not come soon is told.
fn patiently<T: Send + 'static>(what: &str, act: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let what = what.to_owned();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let teller = std::thread::Builder::new().spawn(move || {
        use std::sync::mpsc::RecvTimeoutError::Timeout;
        if is_done.recv_timeout(SOON) == Err(Timeout) {
            let most = PATIENCE.as_secs();
            say(&format!("{what}: letting go of it, for {most} s at most"));
        }
    });
    // Without a teller nothing is said.
    let outcome = within(PATIENCE, act);
    drop(done);
    if let Ok(teller) = teller {
        teller.join().ok();
    }
    outcome
}

fn complaint(what: &str, how: &str, outcome: Option<io::Result<()>>) -> Option<String> {
    match outcome {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(format!("{what} {how}: {error}")),
        None => Some(format!("{what} {how}: it did not answer")),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    target: PathBuf,
    kind: String,
    is_read_only: bool,
}

impl Mounted {
    /// The kernel's own file systems hold nothing that could be lost, and are needed until the end.
    fn is_of_the_kernel(&self) -> bool {
        const KINDS: [&str; 18] = [
            "proc",
            "sysfs",
            "devtmpfs",
            "devpts",
            "cgroup",
            "cgroup2",
            "mqueue",
            "hugetlbfs",
            "securityfs",
            "debugfs",
            "tracefs",
            "configfs",
            "fusectl",
            "pstore",
            "bpf",
            "efivarfs",
            "binfmt_misc",
            "rpc_pipefs",
        ];
        KINDS.contains(&self.kind.as_str())
    }

    fn is_of_network(&self) -> bool {
        fstab::is_of_network(&self.kind)
    }

    fn can_go(&self) -> bool {
        let is_kept = ["/", "/run", "/dev"]
            .iter()
            .any(|kept| self.target == Path::new(kept));
        !is_kept && !self.is_of_the_kernel()
    }

    fn holds_data(&self) -> bool {
        !self.is_read_only
            && !self.is_of_the_kernel()
            && self.kind != "tmpfs"
            && self.kind != "ramfs"
    }
}

fn mounts() -> Vec<Mounted> {
    parse_mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// proc_pid_mountinfo(5). Lines that are none are passed over.
fn parse_mounts(text: &str) -> Vec<Mounted> {
    let parse = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ');
        let target = front.nth(4)?;
        let mut back = back.split(' ');
        let kind = back.next()?.to_owned();
        let of_file_system = back.nth(1).unwrap_or_default();
        let has_ro = |options: &str| options.split(',').any(|option| option == "ro");
        Some(Mounted {
            target: unescaped_path(target),
            kind,
            // Not the mount's own options: a read-only bind shows a file system that others write to.
            is_read_only: has_ro(of_file_system),
        })
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_with_data_are_let_go_and_the_kernels_stay() {
        let text = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
                    23 22 0:21 / /proc rw - proc proc rw\n\
                    24 22 8:2 / /srv/my\\040data rw - xfs /dev/sda2 rw\n\
                    25 22 8:3 / /mnt ro - ext4 /dev/sda3 ro\n\
                    26 22 0:25 / /run rw - tmpfs tmpfs rw\n\
                    27 22 8:4 / /bound ro - ext4 /dev/sda4 rw\n\
                    nonsense\n";
        let mounts = parse_mounts(text);
        let go: Vec<_> = mounts
            .iter()
            .filter(|m| m.can_go())
            .map(|m| &m.target)
            .collect();
        assert_eq!(
            go,
            [
                Path::new("/srv/my data"),
                Path::new("/mnt"),
                Path::new("/bound")
            ]
        );
        let data: Vec<_> = mounts
            .iter()
            .filter(|m| m.holds_data())
            .map(|m| &m.target)
            .collect();
        assert_eq!(
            data,
            [
                Path::new("/"),
                Path::new("/srv/my data"),
                Path::new("/bound")
            ]
        );
    }
}
