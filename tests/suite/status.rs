//! `herd status`, `list`, `is-active`, `is-failed`, `why`, `plan`, `doctor`, `completions`.

use std::process::Command;

use crate::fixture::{HERD, Herd, run};

/// One service of each kind of fate.
fn some() -> Herd {
    let herd = Herd::builder()
        .unit(
            "web",
            "command = ['sh', '-c', 'echo hello; exec sleep infinity']\ndescription = 'Web'",
        )
        .unit(
            "bad",
            "command = '@SERVICE@ say:oops exit:3'\nrestart = 'no'",
        )
        .available("idle", "command = 'sleep infinity'")
        .start();
    herd.wait_state("web", "active");
    herd.wait_state("bad", "failed");
    herd.wait_log("web", "hello");
    herd.wait_log("bad", "failed");
    herd
}

#[test]
fn is_active_and_is_failed_answer_scripts() {
    let herd = some();
    let answer = |arguments: &[&str]| {
        let output = herd.ctl(arguments);
        (output.code, output.stdout)
    };
    assert_eq!(answer(&["is-active", "web"]), (0, "active\n".into()));
    assert_eq!(answer(&["is-active", "bad"]), (1, "failed\n".into()));
    assert_eq!(
        answer(&["is-active", "bad", "web"]),
        (0, "failed\nactive\n".into())
    );
    assert_eq!(answer(&["is-active", "nothing"]), (3, "unknown\n".into()));
    assert_eq!(answer(&["is-active", "-q", "web"]), (0, String::new()));
    assert_eq!(answer(&["is-failed", "bad"]), (0, "failed\n".into()));
    assert_eq!(answer(&["is-failed", "web"]), (1, "active\n".into()));
    assert_eq!(
        herd.json(&["is-active", "web"]),
        serde_json::json!(["active"])
    );
}

#[test]
fn status_of_a_unit_tells_all_that_is_known() {
    let herd = some();
    let pid = herd.main_pid("web");
    let text = herd.ok(&["status", "web"]);
    assert!(text.starts_with("● web - Web\n"), "{text}");
    for part in [
        format!(
            "Loaded: {}/enabled/web.toml (enabled)",
            herd.dir().display()
        ),
        "Active: active (running) since ".to_owned(),
        format!("Main PID: {pid}"),
        "hello".to_owned(),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    let text = herd.ok(&["status", "bad"]);
    for part in ["× bad", "Failure: exit 3", "Last exit: exit 3, ", "oops"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(herd.ctl(&["status", "nothing"]).code, 3);
    assert!(!text.contains('\x1b'), "colour without a terminal");
}

#[test]
fn the_table_and_the_list_show_each_unit() {
    let herd = some();
    let text = herd.ok(&["status"]);
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().take(3).collect())
        .collect();
    assert_eq!(lines[0][..2], ["NAME", "STATE"]);
    assert_eq!(lines[1][..2], ["bad", "failed"]);
    assert_eq!(lines[2], ["web", "active", "(running)"]);
    assert_eq!(lines.len(), 3);
    let list = herd.ok(&["list"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    let json = herd.json(&["list"]);
    assert_eq!(json[1]["name"], "web");
    assert_eq!(json[1]["state"], "active");
}

#[test]
fn all_shows_units_that_are_not_enabled_too() {
    let herd = some();
    let list = herd.ok(&["list", "--all"]);
    assert!(list.contains("idle"), "{list}");
    let table = herd.ok(&["status", "--all"]);
    assert!(table.contains("idle"), "{table}");
}

#[test]
fn json_of_a_unit_has_times_memory_and_the_last_end() {
    let herd = some();
    let status = &herd.json(&["status", "web"])[0];
    assert!(status["since"].as_i64().unwrap() > 1_700_000_000_000_000);
    assert!(status["memory"].as_i64().unwrap() > 0);
    assert!(status["tasks"].as_i64().unwrap() == 1);
    let bad = &herd.json(&["status", "bad"])[0];
    assert_eq!(bad["last_exit"]["code"], 3);
    assert_eq!(bad["failure"], "exit 3");
}

#[test]
fn plan_prints_the_steps_of_a_unit() {
    let herd = some();
    let plan = herd.ok(&["plan", "web"]);
    assert!(
        plan.contains("execute") || plan.contains("sleep") || plan.contains("/bin/sh"),
        "{plan}"
    );
    assert!(plan.lines().count() > 3, "{plan}");
}

#[test]
fn doctor_and_completions_need_no_herd() {
    let herd = some();
    assert!(herd.ok(&["doctor"]).contains("cgroup"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(herd.ok(&["completions", shell]).contains("herd"));
    }
}

#[test]
fn a_list_can_be_of_some_states_only() {
    let herd = some();
    let names = |arguments: &[&str]| -> Vec<String> {
        let entries = herd.json(arguments);
        let entries = entries.as_array().unwrap().iter();
        entries
            .map(|entry| entry["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&["list", "--failed"]), ["bad"]);
    assert_eq!(names(&["list", "--state", "active"]), ["web"]);
    assert_eq!(names(&["list", "--state=failed,active"]), ["bad", "web"]);
    assert_eq!(names(&["list", "--failed", "--state", "inactive"]), ["bad"]);
    let all = names(&["list", "--all", "--state", "inactive"]);
    assert!(all.contains(&"idle".to_owned()) && !all.contains(&"web".to_owned()));
    let text = herd.ok(&["list", "--failed"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("NAME") && lines[1].starts_with("bad "));
    assert_eq!(lines.len(), 2, "{text}");
    herd.ok(&["reset-failed"]);
    assert_eq!(herd.ok(&["list", "--failed"]).lines().count(), 1);
}

#[test]
fn a_state_that_is_none_is_a_usage_error_that_lists_all_of_them() {
    let herd = some();
    let output = herd.ctl(&["list", "--state", "running"]);
    assert_eq!(output.code, 2);
    let first: Vec<&str> = output.stderr.lines().take(2).collect();
    assert_eq!(
        first,
        [
            "error: invalid value 'running' for '--state <STATE>'",
            "  [possible values: inactive, activating, active, reloading, deactivating, failed]",
        ]
    );
    for shell in ["bash", "zsh", "fish"] {
        let script = herd.ok(&["completions", shell]);
        assert!(script.contains("deactivating"), "{shell}");
    }
}

/// What a container's HEALTHCHECK asks for.
#[test]
fn what_was_stopped_by_hand_is_not_missed_and_what_failed_is() {
    let herd = Herd::builder()
        .unit("db", "command = 'sleep infinity'")
        .unit("web", "command = 'sleep infinity'\nrequires = ['db']\nafter = ['db']")
        .unit("bad", "command = '@SERVICE@ exit:3'\nrestart = 'no'")
        .unit(
            "slow",
            "command = ['sh', '-c', 'trap \"read x <@D@/gate; exit\" TERM; echo up; while :; do read x <@D@/never; done']\n\
             timeout_stop = '60s'",
        )
        .unit("loop", "command = '@SERVICE@ exit:4'\nrestart_delay = '1h'")
        .start();
    let missing = || {
        let output = herd.ctl(&["is-active", "--all"]);
        assert_eq!(
            output.code,
            i32::from(!output.stdout.is_empty()),
            "{output:?}"
        );
        output.stdout
    };
    for gate in ["gate", "never"] {
        nix::unistd::mkfifo(&herd.path(gate), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    herd.wait_log("slow", "up");
    herd.wait_state("web", "active");
    herd.wait_state("bad", "failed");
    herd.wait_substate("loop", "backoff");
    assert_eq!(
        missing(),
        "bad: failed (failed)\nloop: activating (backoff)\n"
    );
    // Its failure is known and forgotten.
    herd.ok(&["reset-failed", "bad"]);
    herd.ok(&["stop", "loop"]);
    assert_eq!(missing(), "");
    // With what needs it.
    herd.ok(&["stop", "db"]);
    assert_eq!(herd.state("web"), "inactive");
    assert_eq!(missing(), "");
    herd.ok(&["stop", "--no-wait", "slow"]);
    herd.wait_state("slow", "deactivating");
    assert_eq!(missing(), "");
    // It is to come back: that is no stop.
    herd.ok(&["restart", "--no-wait", "slow"]);
    assert_eq!(missing(), "slow: deactivating (stopping)\n");
    herd.open_gate("gate");
    herd.wait_state("slow", "active");
    herd.ok(&["start", "web"]);
    assert_eq!(missing(), "");
    // A service that is killed from outside was not stopped.
    let pid = herd.main_pid("db");
    herd.write_unit("db", "command = 'sleep infinity'\nrestart = 'no'");
    herd.ok(&["rescan"]);
    herd.ok(&["restart", "db"]);
    assert_ne!(herd.main_pid("db"), pid);
    herd.ok(&["kill", "--signal", "KILL", "db"]);
    herd.wait_state("db", "failed");
    assert!(missing().starts_with("db: failed (failed)\n"));
    herd.open_gate("gate");
}

#[test]
fn a_herd_that_booted_no_machine_has_no_goal() {
    let herd = some();
    let refused = |arguments: &[&str]| {
        let output = herd.ctl(arguments);
        (output.code, output.stderr)
    };
    assert_eq!(
        refused(&["goal"]),
        (
            1,
            "herd: herd did not boot this machine, which has no goal of its own\n\
             hint: `herd list` shows what runs\n"
                .to_owned()
        )
    );
    assert_eq!(refused(&["goal", "--no-wait"]).0, 2);
    assert_eq!(
        refused(&["goal", "web"]),
        (
            1,
            "herd: herd did not boot this machine; start and stop units instead\n".to_owned()
        )
    );
}

#[test]
fn runlevel_reads_the_utmp_that_it_is_given() {
    let place = tempfile::tempdir().unwrap();
    let runlevel = place.path().join("runlevel");
    std::os::unix::fs::symlink(HERD, &runlevel).unwrap();
    let utmp = place.path().join("utmp");
    let ask = |arguments: &[&std::ffi::OsStr]| {
        let output = run(Command::new(&runlevel).args(arguments));
        (output.code, output.stdout, output.stderr)
    };
    let said = |code, out: &str| (code, out.to_owned(), String::new());
    assert_eq!(ask(&[utmp.as_os_str()]), said(1, "unknown\n"));
    // ut_type RUN_LVL, and both levels in ut_pid.
    let size = if cfg!(target_arch = "aarch64") {
        400
    } else {
        384
    };
    let mut record = vec![0_u8; size];
    record[0] = 1;
    record[4..6].copy_from_slice(b"52");
    std::fs::write(&utmp, &record).unwrap();
    assert_eq!(ask(&[utmp.as_os_str()]), said(0, "2 5\n"));
    assert_eq!(ask(&["-q".as_ref(), utmp.as_os_str()]), said(0, ""));
    record[5] = 0;
    std::fs::write(&utmp, &record).unwrap();
    assert_eq!(ask(&[utmp.as_os_str()]), said(0, "N 5\n"));
    // A fifo is waited for by nobody.
    let fifo = place.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(ask(&[fifo.as_os_str()]), said(1, "unknown\n"));
    assert_eq!(
        ask(&["-v".as_ref()]),
        (
            2,
            String::new(),
            "herd: runlevel: \"-v\" is no option of it; herd(8) lists them\n".to_owned()
        )
    );
}
