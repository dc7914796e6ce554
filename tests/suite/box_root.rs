//! A box with a root of its own: nothing of the host is in it but what the unit mounts.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::Value;

use crate::box_probe::{probe, run};
use crate::fixture::{Builder, Herd};
use crate::needs;

/// A herd whose directory holds `tree` with the probe as `/bin/probe` and nothing else.
fn with_tree() -> Builder {
    let builder = Herd::builder();
    let tree = builder.dir().join("tree");
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::copy(probe(), tree.join("bin/probe")).unwrap();
    builder
}

/// A oneshot in that tree; further lines go to the top and to `[box]`.
fn unit(words: &str, top: &str, keys: &str) -> String {
    format!(
        "command = \"/bin/probe {words}\"\noneshot = true\nrestart = 'no'\nboxed = true\n\
         box_root = '@D@/tree'\nstdout = 'file:@D@/out'\n{top}\n[box]\n{keys}\n"
    )
}

fn report(builder: Builder, top: &str, keys: &str) -> Value {
    serde_json::from_str(&run(builder, &unit("report", top, keys)).1).unwrap()
}

fn tries(builder: Builder, attacks: &str, keys: &str) -> Value {
    serde_json::from_str(&run(builder, &unit(&format!("tries {attacks}"), "", keys)).1).unwrap()
}

/// What `herd start` says of a box that is not to stand.
fn refusal(builder: Builder, keys: &str) -> String {
    let herd = builder.available("web", &unit("report", "", keys)).start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1, "{output:?}");
    output.stderr
}

#[test]
fn a_box_root_holds_nothing_of_the_host() {
    if !needs::root() {
        return;
    }
    let report = report(with_tree(), "", "");
    assert_eq!(
        report["root"],
        serde_json::json!(["bin", "dev", "proc", "tmp"])
    );
    for mount in report["mounts"].as_array().unwrap() {
        let kind = mount["type"].as_str().unwrap();
        let path = mount["path"].as_str().unwrap();
        let own = ["tmpfs", "proc", "devpts", "mqueue"].contains(&kind);
        assert!(own || path == "/" || kind == "devtmpfs", "{mount}");
    }
    for set in ["permitted", "bounding", "ambient"] {
        assert_eq!(report["capabilities"][set], "0000000000000000");
    }
    assert_eq!(report["seccomp"], "2");
    assert_eq!(report["processes"], serde_json::json!(["1", "2"]));
    assert_eq!(report["descriptors"].as_object().unwrap().len(), 3);
}

#[test]
fn a_box_root_is_read_only_but_for_tmp() {
    if !needs::root() {
        return;
    }
    let answers = tries(
        with_tree(),
        "create|/x create|/bin/x create|/tmp/x list|/etc list|/sys",
        "",
    );
    assert_eq!(
        answers,
        serde_json::json!({
            "create|/x": "EROFS", "create|/bin/x": "EROFS", "create|/tmp/x": "ok",
            "list|/etc": "ENOENT", "list|/sys": "ENOENT",
        })
    );
}

#[test]
fn a_box_root_can_be_writable() {
    if !needs::root() {
        return;
    }
    let keys = "read_only_root = false";
    let answers = tries(with_tree(), "create|/x create|/tmp/x", keys);
    assert_eq!(
        answers,
        serde_json::json!({ "create|/x": "ok", "create|/tmp/x": "ok" })
    );
}

#[test]
fn a_box_root_has_what_the_unit_binds_and_its_own_directories() {
    if !needs::root() {
        return;
    }
    let builder = with_tree().file("config/a", "secret");
    let name = format!("herd-test-root-{}", std::process::id());
    let top = format!("state_directory = '{name}'\nuser = 'nobody'");
    let keys = "bind_read_only_paths = ['@D@/config:/etc/web', '-/nowhere:/nowhere']";
    let words = format!(
        "tries read|/etc/web/a open-write|/etc/web/a create|/var/lib/{name}/x list|/nowhere"
    );
    fs::set_permissions(
        builder.dir().join("config/a"),
        fs::Permissions::from_mode(0o666),
    )
    .unwrap();
    let (_herd, output) = run(builder, &unit(&words, &top, keys));
    fs::remove_dir(format!("/var/lib/{name}")).unwrap();
    let answers: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(answers["read|/etc/web/a"], "ok");
    assert_eq!(answers["open-write|/etc/web/a"], "EROFS");
    assert_eq!(answers[format!("create|/var/lib/{name}/x")], "ok");
    assert_eq!(answers["list|/nowhere"], "ENOENT");
}

#[test]
fn the_seeds_own_unit_runs_with_busybox() {
    if !needs::root() || !needs::program("busybox") {
        return;
    }
    let builder = Herd::builder();
    let bin = builder.dir().join("tree/bin");
    fs::create_dir_all(&bin).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let busybox = std::env::split_paths(&path)
        .map(|dir| dir.join("busybox"))
        .find(|p| p.is_file());
    fs::copy(busybox.unwrap(), bin.join("sh")).unwrap();
    let herd = builder
        .unit(
            "web",
            "command = \"/bin/sh -c 'echo $((6*7)); exec sleep 1000'\"\nboxed = true\n\
             box_root = '@D@/tree'\nrestart = true",
        )
        .start();
    // A Debian busybox may be dynamic, and then cannot run in a tree without libraries.
    let (_, change) = herd.wait_change(0, "an end of the start", |change| {
        ["active", "failed"].contains(&change.state.as_str()) || change.substate == "backoff"
    });
    if change.state != "active" {
        eprintln!("SKIPPED: needs a static busybox");
        return;
    }
    assert_eq!(herd.wait_log("web", "42"), "out 42");
}

#[test]
fn a_missing_box_root_is_named() {
    if !needs::root() {
        return;
    }
    let said = refusal(Herd::builder(), "");
    assert!(said.contains("/tree as the new root (step "), "{said}");
    assert!(said.contains("no such file or directory"), "{said}");
}

#[test]
fn a_link_in_the_place_of_a_mount_point_is_refused() {
    if !needs::root() {
        return;
    }
    for name in ["proc", "dev"] {
        let builder = with_tree();
        let elsewhere = builder.dir().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, builder.dir().join("tree").join(name)).unwrap();
        let said = refusal(builder, "");
        assert!(
            said.contains(&format!("/{name}")) && said.contains(" (step "),
            "{said}"
        );
        assert!(said.contains("too many levels of symbolic links"), "{said}");
        assert_eq!(fs::read_dir(&elsewhere).map_or(0, Iterator::count), 0);
    }
}

#[test]
fn a_link_in_the_root_leads_no_mount_to_the_host() {
    if !needs::root() {
        return;
    }
    let builder = with_tree().file("config/a", "planted");
    let outside = builder.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    let tree = builder.dir().join("tree");
    symlink(&outside, tree.join("absolute")).unwrap();
    symlink(Path::new("../outside"), tree.join("climbing")).unwrap();
    symlink(&outside, tree.join("tmp")).unwrap();
    for target in ["absolute/etc/deep", "climbing/etc/deep"] {
        let keys = format!("bind_paths = ['@D@/config:/{target}']");
        // Whether it stands or not: nothing appears outside.
        let herd = Herd::builder();
        let root = tree.display();
        let text = unit("report", "", &keys)
            .replace("@D@/tree", &root.to_string())
            .replace(
                "@D@/config",
                &builder.dir().join("config").display().to_string(),
            );
        let herd = herd.available("web", &text).start();
        herd.ctl(&["start", "web"]);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{target}");
    }
    assert_eq!(
        fs::metadata(&outside).unwrap().permissions().mode() & 0o777,
        0o755
    );
}

/// CVE-2021-30465: a mount point that is a directory now and a link then.
#[test]
fn a_mount_point_that_changes_while_the_box_starts_leads_nowhere_else() {
    if !needs::root() {
        return;
    }
    let builder = with_tree().file("config/a", "planted");
    let outside = builder.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("sentinel"), "untouched").unwrap();
    let tree = builder.dir().join("tree");
    fs::create_dir_all(tree.join("etc/web")).unwrap();
    symlink(&outside, tree.join("swap")).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (etc, swap, until) = (
        tree.join("etc"),
        tree.join("swap"),
        std::sync::Arc::clone(&stop),
    );
    let racer = std::thread::spawn(move || {
        let mut rounds = 0u32;
        while !until.load(std::sync::atomic::Ordering::Relaxed) {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(rustix::fs::CWD, &etc, rustix::fs::CWD, &swap, flags)
                .unwrap();
            rounds += 1;
        }
        rounds
    });
    let keys = "bind_paths = ['@D@/config:/etc/web']";
    let herd = builder
        .available("web", &unit("tries create|/etc/web/mine", "", keys))
        .start();
    for _ in 0..25 {
        // Some starts are refused, which is as good as one that stands.
        herd.ctl(&["start", "web"]);
        assert_eq!(
            fs::read_to_string(outside.join("sentinel")).unwrap(),
            "untouched"
        );
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(racer.join().unwrap() > 100);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&outside.display().to_string()), "{mounts}");
}

/// CVE-2025-31133: what a root calls /dev/null is a link to something else.
#[test]
fn a_dev_null_of_the_root_is_never_used() {
    if !needs::root() {
        return;
    }
    let builder = with_tree();
    let dev = builder.dir().join("tree/dev");
    fs::create_dir(&dev).unwrap();
    symlink("/proc/sys/kernel/core_pattern", dev.join("null")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", dev.join("console")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", dev.join("ptmx")).unwrap();
    fs::write(builder.dir().join("tree/masked"), "hidden").unwrap();
    let answers = tries(
        builder,
        "read|/masked open-write|/proc/sys/kernel/core_pattern open-write|/dev/null read|/dev/console",
        "inaccessible_paths = ['/masked']",
    );
    assert_eq!(answers["read|/masked"], "EACCES");
    assert_eq!(answers["open-write|/proc/sys/kernel/core_pattern"], "EROFS");
    assert_eq!(answers["open-write|/dev/null"], "ok");
    assert_eq!(answers["read|/dev/console"], "ENOENT");
}
