//! The default box of a normal user's herd: a user namespace around all others.

use std::fs;

use serde_json::Value;

use crate::box_probe::{NOBODY, default_box, run, user_boxes};
use crate::fixture::{Builder, Herd};

/// A herd of `nobody`, with its own places for state and the like.
fn herd() -> Builder {
    let builder = Herd::builder().owner(NOBODY);
    let directory = builder.dir().display().to_string();
    fs::create_dir(builder.dir().join("state")).unwrap();
    builder
        .environment("HOME", &directory)
        .environment("XDG_STATE_HOME", &format!("{directory}/state"))
}

#[test]
fn a_users_box_has_a_user_namespace_in_which_only_the_user_exists() {
    if !user_boxes() {
        return;
    }
    let (herd, output) = run(herd(), &default_box().unit("report"));
    let report: Value = serde_json::from_str(&output).unwrap();
    for kind in ["mnt", "pid", "ipc", "uts", "cgroup", "user"] {
        let outside = fs::read_link(format!("/proc/{}/ns/{kind}", herd.pid())).unwrap();
        assert_ne!(
            report["namespaces"][kind],
            outside.display().to_string(),
            "{kind}"
        );
    }
    let map: Vec<&str> = report["uid_map"][0]
        .as_str()
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(map, ["65534", "65534", "1"]);
    assert_eq!(
        report["uid"],
        serde_json::json!([NOBODY, NOBODY, NOBODY, NOBODY])
    );
    for set in [
        "inheritable",
        "permitted",
        "effective",
        "bounding",
        "ambient",
    ] {
        assert_eq!(report["capabilities"][set], "0000000000000000", "{set}");
    }
    assert_eq!(report["no_new_privs"], true);
    assert_eq!(report["seccomp"], "2");
    // The reaper holds more than the probe, so that /proc does not even show it.
    assert_eq!(report["processes"], serde_json::json!(["2"]));
    assert_eq!(report["descriptors"].as_object().unwrap().len(), 3);
    assert_eq!(report["hostname"], "web");
}

#[test]
fn a_users_box_can_write_to_its_state_and_to_nothing_else() {
    if !user_boxes() {
        return;
    }
    let case = default_box().top("state_directory = 'web'");
    let builder = herd();
    let state = builder.dir().join("state/web").display().to_string();
    let words = format!(
        "tries create|{state}/x create|/tmp/x create|/x create|/etc/x list|/root list|/home \
         mount umount|/tmp umount|/root remount-rw|/ unshare|user setns write-map mknod|/tmp/n \
         open-write|/proc/sys/kernel/core_pattern keyctl io-uring chroot-climb sched-fifo \
         oom-score|-500 setgroups setuid|0"
    );
    let (_herd, output) = run(builder, &case.unit(&words));
    let answers: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(answers[format!("create|{state}/x")], "ok");
    assert_eq!(answers["create|/tmp/x"], "ok");
    for (attack, answer) in answers.as_object().unwrap() {
        let allowed = attack.starts_with(&format!("create|{state}")) || attack == "create|/tmp/x";
        let refused = ["EPERM", "EACCES", "EROFS", "ENOSYS", "EINVAL"];
        assert!(
            allowed || refused.contains(&answer.as_str().unwrap()),
            "{attack}: {answer}"
        );
    }
}

#[test]
fn a_users_herd_cannot_start_a_service_as_somebody_else() {
    if !user_boxes() {
        return;
    }
    let herd = herd()
        .available("web", &default_box().top("user = 'root'").unit("report"))
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    assert!(
        output
            .stderr
            .contains("only root can start a service as another user"),
        "{output:?}"
    );
}

#[test]
fn a_users_box_root_works_too() {
    if !user_boxes() {
        return;
    }
    let builder = herd();
    let bin = builder.dir().join("tree/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::copy(crate::box_probe::probe(), bin.join("probe")).unwrap();
    let unit = "command = '/bin/probe report'\noneshot = true\nboxed = true\n\
                box_root = '@D@/tree'\nstdout = 'file:@D@/out'";
    let (_herd, output) = run(builder, unit);
    let report: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(
        report["root"],
        serde_json::json!(["bin", "dev", "proc", "tmp"])
    );
    assert_eq!(report["capabilities"]["bounding"], "0000000000000000");
}

#[test]
fn a_users_herd_of_its_own_stops_a_box_as_a_whole() {
    if !user_boxes() {
        return;
    }
    let herd = herd().unit("web", &default_box().service("hide")).start();
    herd.wait_log("web", "hidden");
    let pid = herd.main_pid("web");
    herd.ok(&["stop", "web"]);
    herd.wait_gone(pid);
    assert_eq!(
        crate::box_probe::children_named("probe", herd.pid()),
        Vec::<i32>::new()
    );
}
