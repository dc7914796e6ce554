//! What a machine lets go of before it ends: file systems, what lies between them and the disks, and the
//! swap that keeps one of these busy.
//!
//! In rounds, the last mounted first: what lies on another goes before it, and what was busy in one round
//! may be free in the next. What stays busy becomes read-only.
#![forbid(unsafe_code)]

mod tables;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::power::{say, within};
use super::swap::{self, Swap};
use crate::prepare::words;
use tables::{mounts, root_source};

const ROUNDS: u32 = 8;
/// Of one file system, device or swap file. Data was written before; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than most take: then it is said what is waited for.
const SOON: Duration = Duration::from_secs(3);

/// Names on one line of the console.
const NAMED: usize = 12;

#[derive(Default)]
struct Releases {
    /// Names, in the order in which they went.
    gone: Vec<String>,
    /// File systems that did not answer, and are not asked again.
    hanging: BTreeSet<PathBuf>,
}

/// Says what was let go and what was not.
pub(super) fn let_go() -> Vec<String> {
    let mut notes = Vec::new();
    let mut releases = Releases::default();
    take_apart(&mut releases);
    // Only now: what lay on a tmpfs was given up with it, and need not find a place in memory.
    let before = releases.gone.len();
    notes.extend(free_swap(&mut releases));
    if releases.gone.len() > before {
        take_apart(&mut releases);
    }
    notes.extend(make_read_only(&releases.hanging));
    notes.extend(releases.hanging.iter().map(|path| {
        let path = path.display();
        format!("{path} stays mounted: it did not answer")
    }));
    let needed = below_root();
    let stacked = loops().chain(mappings()).chain(arrays());
    let kept = stacked.filter(|device| !needed.contains(&device.kernel_name));
    notes.extend(kept.map(|device| format!("{} stays in use", device.what)));
    notes.extend(gone(&releases.gone));
    notes
}

fn gone(names: &[String]) -> Option<String> {
    let named = names.iter().take(NAMED).cloned().collect::<Vec<_>>();
    let named = named.join(", ");
    match names.len().saturating_sub(NAMED) {
        0 if named.is_empty() => None,
        0 => Some(format!("let go of {named}")),
        more => Some(format!("let go of {named} and {more} more")),
    }
}

fn take_apart(releases: &mut Releases) {
    for _ in 0..ROUNDS {
        let before = releases.gone.len();
        unmount_all(releases);
        detach_loops(releases);
        remove_mappings(releases);
        stop_arrays(releases);
        if releases.gone.len() == before {
            break;
        }
    }
}

/// What is said of those that stay. Without a swap file and without a device that lies on another nothing is
/// kept busy by it: the kernel gives plain partitions up by itself.
fn free_swap(releases: &mut Releases) -> Vec<String> {
    let mut notes = Vec::new();
    for swap in swap::in_use().into_iter().filter(Swap::pins) {
        let what = format!("swap {}", swap.path.display());
        if let Some(why) = swap.obstacle() {
            notes.push(format!("{what} stays in use: {why}"));
            continue;
        }
        let path = swap.path;
        let outcome = patiently(&what, move || sandbox::swap_off(&path));
        if matches!(outcome, Some(Ok(()))) {
            releases.gone.push(what.clone());
        }
        notes.extend(complaint(&what, "stays in use", outcome));
    }
    notes
}

fn unmount_all(releases: &mut Releases) {
    for mounted in mounts().iter().rev().filter(|mounted| mounted.can_go()) {
        if releases.hanging.contains(&mounted.target) {
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
            Some(Ok(())) => releases.gone.push(mounted.target.display().to_string()),
            Some(Err(_)) => {}
            None => {
                releases.hanging.insert(mounted.target.clone());
            }
        }
    }
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

/// A block device that lies on another, or on a file.
struct Stacked {
    kernel_name: String,
    /// The device mapper's own; else the same.
    name: String,
    /// For people.
    what: String,
    path: PathBuf,
}

/// loop(4): files that are disks.
fn loops() -> impl Iterator<Item = Stacked> {
    block_devices("loop", "loop device", is_attached)
}

fn is_attached(path: &Path) -> bool {
    path.join("loop/backing_file").exists()
}

fn detach_loops(releases: &mut Releases) {
    for device in loops() {
        let node = Path::new("/dev").join(&device.kernel_name);
        patiently(&device.what, move || {
            sandbox::detach_loop(fs::File::open(node)?)
        });
        // Of a device that is used the kernel says that all is well.
        if !is_attached(&device.path) {
            releases.gone.push(device.what);
        }
    }
}

/// The device mapper's: what lies on another keeps that busy, and goes in an earlier round.
fn mappings() -> impl Iterator<Item = Stacked> {
    block_devices("dm-", "mapping", |_| true)
}

fn remove_mappings(releases: &mut Releases) {
    for device in mappings() {
        let remove = move || {
            let control = fs::File::open("/dev/mapper/control")?;
            sandbox::remove_mapping(control, &device.name)
        };
        if let Some(Ok(())) = patiently(&device.what, remove) {
            releases.gone.push(device.what);
        }
    }
}

/// md(4).
fn arrays() -> impl Iterator<Item = Stacked> {
    block_devices("md", "array", |path| {
        let state = fs::read_to_string(path.join("md/array_state"));
        state.is_ok_and(|state| !matches!(state.trim_end(), "clear" | "inactive"))
    })
}

fn stop_arrays(releases: &mut Releases) {
    for device in arrays() {
        let node = Path::new("/dev").join(&device.kernel_name);
        let stop = move || sandbox::stop_array(fs::File::open(node)?);
        if let Some(Ok(())) = patiently(&device.what, stop) {
            releases.gone.push(device.what);
        }
    }
}

/// The youngest first.
fn block_devices(
    prefix: &str,
    kind: &str,
    is_meant: impl Fn(&Path) -> bool,
) -> impl Iterator<Item = Stacked> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let device = |entry: fs::DirEntry| {
        let kernel_name = entry.file_name().into_string().ok()?;
        let path = entry.path();
        if !kernel_name.starts_with(prefix) || !is_meant(&path) {
            return None;
        }
        let name = fs::read_to_string(path.join("dm/name"));
        let name = name.map_or_else(
            |_| kernel_name.clone(),
            |name| name.trim_end_matches('\n').to_owned(),
        );
        Some(Stacked {
            what: format!("{kind} {name}"),
            kernel_name,
            name,
            path,
        })
    };
    let mut devices: Vec<_> = entries.filter_map(device).collect();
    devices.sort_by(|a, b| b.kernel_name.cmp(&a.kernel_name));
    devices.into_iter()
}

/// The devices that the root file system lies on, which stay as long as it does.
fn below_root() -> BTreeSet<String> {
    let mut unseen = Vec::new();
    // The number of a btrfs or an overlay is that of no device.
    let source = root_source(mounts()).and_then(|path| rustix::fs::stat(path).ok());
    let numbers = [
        rustix::fs::stat("/").ok().map(|root| root.st_dev),
        source.map(|node| node.st_rdev),
    ];
    for number in numbers.into_iter().flatten() {
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        unseen.push(PathBuf::from(format!("/sys/dev/block/{major}:{minor}")));
    }
    all_below(unseen)
}

/// These, given by their folders below `/sys`, and what they lie on.
fn all_below(mut unseen: Vec<PathBuf>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    while let Some(path) = unseen.pop() {
        let Ok(device) = fs::canonicalize(path) else {
            continue;
        };
        // A partition lies on its disk.
        let disk = device
            .parent()
            .filter(|_| device.join("partition").exists());
        let name = device
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if !name.is_some_and(|name| found.insert(name)) {
            continue;
        }
        let slaves = fs::read_dir(device.join("slaves"))
            .into_iter()
            .flatten()
            .flatten();
        unseen.extend(slaves.map(|slave| slave.path()));
        unseen.extend(disk.map(Path::to_owned));
    }
    found
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
        Some(Err(error)) => Some(format!("{what} {how}: {}", words(&error))),
        None => Some(format!("{what} {how}: it did not answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_one_line() {
        let names = |count: usize| (1..=count).map(|n| format!("/{n}")).collect::<Vec<_>>();
        assert_eq!(gone(&[]), None);
        assert_eq!(gone(&names(2)).as_deref(), Some("let go of /1, /2"));
        let many = gone(&names(14)).unwrap();
        assert!(many.ends_with("/12 and 2 more"), "{many}");
    }

    #[test]
    fn a_root_keeps_its_mapping_and_the_disk_that_is_below() {
        let place = tempfile::tempdir().unwrap();
        let sys = |path: &str| place.path().join(path);
        for path in ["dm-0/slaves", "sda/sda2"] {
            fs::create_dir_all(sys(path)).unwrap();
        }
        fs::write(sys("sda/sda2/partition"), "2\n").unwrap();
        std::os::unix::fs::symlink(sys("sda/sda2"), sys("dm-0/slaves/sda2")).unwrap();
        // A number that is no device's comes before.
        let found = all_below(vec![sys("dm-0"), sys("0:21")]);
        assert_eq!(found, ["dm-0", "sda", "sda2"].map(str::to_owned).into());
    }
}
