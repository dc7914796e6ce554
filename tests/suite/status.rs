//! `herd status`, `list`, `is-active`, `is-failed`, `why`, `plan`, `doctor`, `completions`.

use crate::fixture::Herd;

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
