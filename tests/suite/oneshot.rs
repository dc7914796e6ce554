//! Oneshots, pre and post commands, conditions and asserts.

use crate::fixture::Herd;

#[test]
fn a_oneshot_lets_others_go_on_when_it_has_ended_well() {
    let herd = Herd::builder()
        .gate("gate")
        .unit(
            "migrate",
            "command = ['sh', '-c', 'read go < @D@/gate; echo migrated']\noneshot = true",
        )
        .unit(
            "web",
            "command = 'sleep infinity'\nrequires = ['migrate']\nafter = ['migrate']",
        )
        .start();
    herd.wait_change(0, "migrate to run", |change| {
        change.unit == "migrate" && change.state == "activating"
    });
    assert_eq!(herd.status("web")["substate"], "waiting");
    herd.open_gate("gate");
    herd.wait_state("web", "active");
    assert_eq!(herd.out("migrate"), ["migrated"]);
    assert_eq!(herd.state("migrate"), "inactive");
    assert_eq!(herd.status("migrate")["substate"], "completed");
}

#[test]
fn a_oneshot_that_remains_stays_active() {
    let herd = Herd::with(&[(
        "setup",
        "command = 'true'\noneshot = true\nremain_after_exit = true",
    )]);
    herd.wait_state("setup", "active");
    assert_eq!(herd.status("setup")["main_pid"], serde_json::Value::Null);
    herd.ok(&["stop", "setup"]);
    assert_eq!(herd.state("setup"), "inactive");
}

#[test]
fn commands_run_in_their_order() {
    let note = |word: &str| format!("['sh', '-c', 'echo {word}']");
    let herd = Herd::with(&[(
        "web",
        &format!(
            "command = ['sh', '-c', 'echo main; exec sleep infinity']\n\
             command_condition = [{}]\ncommand_pre = [{}, {}]\ncommand_post = [{}]\n\
             command_stop_post = [{}]",
            note("condition"),
            note("pre1"),
            note("pre2"),
            note("post"),
            note("stop-post")
        ),
    )]);
    herd.wait_state("web", "active");
    herd.ok(&["stop", "web"]);
    herd.wait_log("web", "stop-post");
    let mut out = herd.out("web");
    // The main process and command_post run side by side.
    out[3..5].sort();
    assert_eq!(
        out,
        ["condition", "pre1", "pre2", "main", "post", "stop-post"]
    );
}

#[test]
fn a_pre_command_that_fails_fails_the_start_unless_it_may() {
    let herd = Herd::builder()
        .available(
            "bad",
            "command = 'sleep infinity'\ncommand_pre = ['false']\nrestart = 'no'",
        )
        .available(
            "good",
            "command = 'sleep infinity'\ncommand_pre = [{ run = 'false', ignore_failure = true }]",
        )
        .start();
    let output = herd.ctl(&["start", "bad"]);
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.starts_with("herd: bad: command_pre"),
        "{output:?}"
    );
    herd.ok(&["start", "good"]);
}

#[test]
fn a_condition_that_does_not_hold_skips_quietly_and_an_assert_fails() {
    let herd = Herd::builder()
        .unit("skipped", "command = 'sleep infinity'\n[condition]\npath_exists = '@D@/missing'")
        .unit("negated", "command = 'sleep infinity'\n[condition]\npath_exists = '!@D@/missing'")
        .unit("asserted", "command = 'sleep infinity'\n[assert]\npath_is_directory = '@D@/missing'")
        .unit("command", "command = 'sleep infinity'\ncommand_condition = 'false'")
        .unit("broken", "command = 'sleep infinity'\ncommand_condition = [['sh', '-c', 'exit 255']]\nrestart = 'no'")
        .unit("next", "command = 'sleep infinity'\nrequires = ['skipped']\nafter = ['skipped']")
        .start();
    herd.wait_substate("skipped", "skipped");
    herd.wait_substate("command", "skipped");
    herd.wait_state("negated", "active");
    herd.wait_state("asserted", "failed");
    herd.wait_state("broken", "failed");
    let dir = herd.dir().display().to_string();
    assert_eq!(
        herd.ok(&["why", "skipped"]).replace(&dir, "$D"),
        "skipped is inactive\n  skipped is inactive: skipped: path_exists = \"$D/missing\" does not hold\n"
    );
    assert_eq!(
        herd.status("asserted")["failure"]
            .as_str()
            .unwrap()
            .replace(&dir, "$D"),
        "assertion: path_is_directory = \"$D/missing\" does not hold"
    );
}

#[test]
fn many_kinds_of_conditions_are_looked_at() {
    let herd = Herd::builder()
        .file("full/file", "text")
        .file("empty-file", "")
        .unit(
            "yes",
            "command = 'sleep infinity'\n[condition]\npath_exists = ['@D@/full', '!@D@/missing']\n\
             path_is_directory = '@D@/full'\ndirectory_not_empty = '@D@/full'\n\
             file_not_empty = ['@D@/full/file', '!@D@/empty-file']\nfile_is_executable = '/bin/sh'\n\
             path_is_read_write = '@D@'\narchitecture = ['x86-64']\ncpus = '>= 1'\nmemory = '>= 1M'\n\
             environment = 'HERD_SUITE=1'",
        )
        .environment("HERD_SUITE", "1")
        .start();
    herd.wait_change(0, "an answer", |change| {
        change.unit == "yes"
            && ["active", "inactive"].contains(&&*change.state)
            && change.substate != "dead"
    });
    assert_eq!(herd.state("yes"), "active", "{}", herd.ok(&["why", "yes"]));
}
