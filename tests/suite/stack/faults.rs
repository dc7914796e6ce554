//! Kills, a broken unit, a full disk.

use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{SERVICES, Stack};
use crate::fixture::{Builder, Deadline, Herd, until_changed};

#[test]
fn survives_the_kill_of_each_main_process() {
    let Some(stack) = Stack::start() else { return };
    let herd = &stack.herd;
    stack.psql("INSERT INTO greetings VALUES (7, 'kept')");
    stack.redis(&["SET", "kept", "yes"]);
    for name in SERVICES {
        let old = herd.main_pid(name);
        let mark = herd.mark();
        kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
        herd.wait_change(mark, &format!("{name} to come back"), |change| {
            change.unit == name
                && change.state == "active"
                && change.main_pid.is_some_and(|pid| pid != i64::from(old))
        });
        let status = herd.ok(&["status", name]);
        assert!(status.contains("SIGKILL"), "{status}");
        // Who needs it is up too, or comes up.
        herd.ok(&["start", "nginx"]);
        assert!(stack.visit().contains(", visitor "));
    }
    assert_eq!(
        stack.psql("SELECT text FROM greetings WHERE id = 7"),
        "kept"
    );
    assert_eq!(stack.redis(&["GET", "kept"]), "yes");
}

#[test]
fn a_broken_unit_disturbs_nobody() {
    let Some(stack) = Stack::start() else { return };
    let herd = &stack.herd;
    let before = stack.pids();
    let sound = herd.read("enabled/redis.toml");
    herd.write_unit("extra", "command = 'sleep infinity'\nboxd = true\n");
    herd.write_unit("redis", &sound.replace("tasks = 16", "tasks = 'many'"));
    let rescan = herd.ctl(&["rescan"]);
    assert_eq!(rescan.code, 1);
    let told = format!("{}{}", rescan.stdout, rescan.stderr);
    for words in ["extra.toml:2:1", "boxd", "boxed", "redis.toml", "'many'"] {
        assert!(told.contains(words), "no {words:?} in\n{told}");
    }
    let table = herd.ok(&["status"]);
    let row = |name: &str| {
        table
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or("")
    };
    assert!(row("extra").contains("failed (broken)"), "{table}");
    assert!(row("redis").contains("active (running) broken"), "{table}");
    assert_eq!(stack.pids(), before);
    stack.assert_answers();

    let mark = herd.mark();
    herd.write_unit("redis", &sound);
    herd.write_unit("extra", "command = 'sleep infinity'\nboxed = true\n");
    herd.wait_change(mark, "the repaired unit", |change| {
        change.unit == "extra" && change.state == "active"
    });
    assert_eq!(herd.ctl(&["rescan"]).code, 0);
    assert_eq!(stack.pids(), before);
}

#[test]
fn a_full_disk_costs_log_lines_and_nothing_else() {
    let small = "mount -t tmpfs -o size=256k,mode=755 herd-test log";
    let Some(stack) = Stack::start_with(|builder: Builder| builder.apart_with(small)) else {
        return;
    };
    let herd = &stack.herd;
    let before = stack.pids();
    let log = herd.path("log").display().to_string();
    herd.write_unit(
        "chatty",
        "command = ['sh', '-c', 'seq -f \"line %%g of many, many more\" 20000; echo > @D@/said; exec sleep infinity']",
    );
    herd.wait_file("said", "\n");
    let df = stack.inside.ok(&["df", "--output=avail", &log]);
    assert_eq!(df.split_whitespace().last(), Some("0"), "the disk is full");
    stack.assert_answers();
    assert_eq!(stack.pids(), before);
    herd.ok(&["restart", "redis"]);
    herd.ok(&["start", "nginx"]);
    stack.assert_answers();
    let status = herd.status("chatty");
    assert!(status["log_lost"].as_i64().unwrap() > 0, "{status}");
    assert!(herd.ok(&["status", "chatty"]).contains("lines lost"));

    // Room again: the next lines are kept, and the gap is told.
    stack
        .inside
        .ok(&["truncate", "--size=0", &format!("{log}/chatty.log")]);
    herd.ok(&["restart", "redis"]);
    let seen = PathBuf::from(format!("/proc/{}/root{log}", herd.pid()));
    let redis_log = || std::fs::read_to_string(seen.join("redis.log")).unwrap_or_default();
    let is_told = || redis_log().contains("lost: no space left on device");
    if !until_changed(&seen, &Deadline::new(), is_told) {
        herd.fail(&format!(
            "nothing is told of the lost lines in\n{}",
            redis_log()
        ));
    }
    herd.ok(&["start", "nginx"]);
    stack.assert_answers();
}

#[test]
fn a_log_that_was_removed_is_made_anew() {
    let talker = "trap 'echo two' USR1; echo one; while :; do sleep 1000 & wait; done";
    let herd = Herd::with(&[("talker", &format!("command = ['sh', '-c', \"{talker}\"]"))]);
    herd.wait_log("talker", "one");
    std::fs::remove_file(herd.path("log/talker.log")).unwrap();
    herd.ok(&["kill", "-s", "USR1", "--whom", "main", "talker"]);
    herd.wait_log("talker", "two");
}
