//! Races with somebody who owns the root of a box and swaps names in it while boxes start
//! (CVE-2021-30465, CVE-2019-19921, CVE-2024-45310). `tests/dev race` makes the long form of it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use sandbox::Config;
use sandbox::config::{Bind, MountAction};

use crate::boxed::small_root;
use crate::fixture::{Case, outcome_of, plan};
use crate::mounts::{data, dir, file, link, ro_bind, tmpfs};

/// How often a box starts while names are swapped.
fn launches() -> usize {
    let told = std::env::var("HERD_RACE_LAUNCHES").ok();
    told.and_then(|number| number.parse().ok()).unwrap_or(40)
}

/// Starts boxes in a root whose `/data` is by turns a directory and a link to one outside, which has to
/// stay as it is.
fn race(launches: usize, change: impl FnOnce(&mut Config)) {
    let outside = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let mut config = small_root(place.path());
    let target = outside.path().join("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("sentinel"), "untouched").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).unwrap();
    let (inside, link) = (place.path().join("data"), place.path().join("link"));
    fs::create_dir(&inside).unwrap();
    fs::write(inside.join("sentinel"), "").unwrap();
    symlink(&target, &link).unwrap();
    change(&mut config);
    let plan = plan(&config);
    let before = facts(&target);
    let (mut stood, mut failed) = (0, 0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &inside, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..launches {
            match outcome_of(&plan, &[]).failure {
                None => stood += 1,
                Some(_) => failed += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{stood} boxes stood, {failed} were refused");
    assert_eq!(facts(&target), before);
    assert_eq!(stood + failed, launches);
}

/// Everything that a mount, a file or a mode gone astray would change.
fn facts(target: &Path) -> (Vec<String>, u32, String, u64) {
    let names = fs::read_dir(target).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let about = fs::metadata(target).unwrap();
    let sentinel = fs::read_to_string(target.join("sentinel")).unwrap();
    (names, about.mode(), sentinel, about.dev())
}

pub(crate) const CASES: &[Case] = &[
    (
        "a_link_swapped_with_a_mount_point_while_boxes_start_harms_nothing_outside",
        || {
            race(launches(), |config| {
                config.walls.as_mut().unwrap().binds.push(Bind {
                    source: "/usr/bin".into(),
                    target: "/data/deep".into(),
                    read_only: true,
                    optional: false,
                    recursive: true,
                });
            });
        },
    ),
    (
        "a_link_swapped_under_the_ordered_actions_harms_nothing_outside",
        || {
            let actions = [
                dir("/data/deep/er", 0o700),
                file("/data/sentinel", 0o644, "overwritten"),
                link("x", "/data/link"),
                tmpfs("/data/deep/er", 0o700, None),
                ro_bind("/usr/bin", "/data/bin/er"),
                data("/data/sentinel", true, "covered"),
                MountAction::Chmod {
                    path: "/data".into(),
                    mode: 0o700,
                },
            ];
            for action in &actions {
                race(launches().div_ceil(actions.len()), |config| {
                    let walls = config.walls.as_mut().unwrap();
                    walls.read_only_root = false;
                    walls.protect_system = sandbox::config::ProtectSystem::No;
                    walls.mounts = vec![action.clone()];
                });
            }
        },
    ),
];
