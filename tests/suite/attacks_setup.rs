//! What the set-up of a box could be led to do by files that others filled (goals.md, items 8, 18,
//! 19 and the directories of services).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use serde_json::Value;

use crate::box_probe::{Boxed, NOBODY, default_box, run, user_boxes};
use crate::fixture::Herd;
use crate::needs;

/// CVE-2025-52881: herd's own writes below `/proc` go to the kernel or nowhere.
#[test]
fn a_proc_that_somebody_else_filled_is_written_by_nobody() {
    if !needs::root() {
        return;
    }
    let case = default_box()
        .top("oom_score_adjust = 500")
        .keys("bind_paths = ['@D@/fake:/proc']");
    let builder = Herd::builder().file("fake/self/oom_score_adj", "untouched");
    let directory = builder.dir().display().to_string();
    let herd = builder
        .available("web", &case.unit("report").replace("@D@", &directory))
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert_eq!(herd.read("fake/self/oom_score_adj"), "untouched");
    let step = "set the out-of-memory score to 500";
    assert!(output.stderr.contains(step), "{}", output.stderr);
    assert!(
        output.stderr.contains("operation not supported"),
        "{}",
        output.stderr
    );
}

/// Every mount of the kernel's own trees that is seen here says what it forbids.
fn is_inert(report: &Value) {
    let mut seen = 0;
    for mount in report["mounts"].as_array().unwrap() {
        let path = mount["path"].as_str().unwrap();
        let trees = ["/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/sys"];
        if !trees.iter().any(|tree| Path::new(path).starts_with(tree)) {
            continue;
        }
        seen += 1;
        let options: Vec<&str> = mount["options"].as_str().unwrap().split(',').collect();
        for option in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(options.contains(&option), "{path}: {options:?}");
        }
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn the_kernels_trees_are_read_only_and_inert_all_the_way_down() {
    if !user_boxes() {
        return;
    }
    is_inert(&default_box().report());
    is_inert(&default_box().top("user = 'nobody'").report());
    let (_herd, output) = run(Herd::builder().owner(NOBODY), &default_box().unit("report"));
    is_inert(&serde_json::from_str(&output).unwrap());
}

/// A box that may make user namespaces, and call all that there is.
fn loose() -> Boxed {
    default_box()
        .top("user = 'nobody'")
        .keys("restrict_namespaces = false\nsystem_call_filter = []")
}

#[test]
fn root_of_a_nested_user_namespace_uncovers_nothing() {
    if !user_boxes() {
        return;
    }
    let attacks = [
        "nested|proc",
        "nested|umount|/proc/sys",
        "nested|umount|/proc/kcore",
        "nested|umount|/root",
        "nested|remount|/proc/sys",
        "nested|remount|/sys",
        "nested|remount|/",
    ];
    // That namespaces can be made at all is what makes this a test.
    assert_eq!(loose().answer("nested|none"), "ok");
    for (attack, answer) in loose().tries(&attacks) {
        let refused = ["EPERM", "EINVAL", "EACCES"].contains(&answer.as_str());
        assert!(refused, "{attack}: {answer}");
    }
}

/// A box of root could plant a link in its own directory for its own next start.
#[test]
fn a_link_of_roots_below_a_services_own_directory_opens_nothing() {
    if !needs::root() {
        return;
    }
    let name = format!("herd-test-nested-{}", std::process::id());
    let state = Path::new("/var/lib").join(&name);
    let outside = tempfile::tempdir().unwrap();
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::create_dir(&state).unwrap();
    symlink(outside.path(), state.join("sub")).unwrap();
    let case = default_box().top(&format!("state_directory = ['{name}', '{name}/sub']"));
    let words = format!("tries create|/var/lib/{name}/sub/x");
    let herd = Herd::builder().available("web", &case.unit(&words)).start();
    let output = herd.ctl(&["start", "web"]);
    // A link above what the service can write is the administrator's, and followed.
    fs::remove_dir_all(&state).unwrap();
    let moved = tempfile::tempdir_in("/var/lib").unwrap();
    symlink(moved.path(), &state).unwrap();
    let case = default_box().top(&format!("state_directory = '{name}'"));
    let herd_of_moved = Herd::builder()
        .available("web", &case.unit("report"))
        .start();
    let followed = herd_of_moved.ctl(&["start", "web"]);
    fs::remove_file(&state).unwrap();
    assert_eq!(output.code, 1);
    let said = "too many levels of symbolic links";
    assert!(output.stderr.contains(said), "{}", output.stderr);
    let mode = fs::metadata(outside.path()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o711, "opened");
    assert_eq!(followed.code, 0, "{followed:?}");
}

#[test]
fn an_output_file_behind_a_link_of_the_services_is_not_opened() {
    if !needs::root() {
        return;
    }
    let outside = tempfile::tempdir().unwrap();
    let builder = Herd::builder();
    let own = builder.dir().join("own");
    fs::create_dir(&own).unwrap();
    symlink(outside.path(), own.join("log")).unwrap();
    lchown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
    lchown(own.join("log"), Some(NOBODY), Some(NOBODY)).unwrap();
    let unit = "command = '/bin/echo written'\nuser = 'nobody'\noneshot = true\n\
                stdout = 'append:@D@/own/log/out'";
    let herd = builder.available("web", unit).start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1, "{output:?}");
    let said = format!("cannot open {}/own/log/out", herd.dir().display());
    assert!(output.stderr.contains(&said), "{}", output.stderr);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}
