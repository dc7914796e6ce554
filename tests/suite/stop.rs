//! A stop ends everything that a service started, and nothing else.

use crate::fixture::{Herd, gone};
use crate::needs;

#[test]
fn a_service_that_ignores_term_is_killed_after_its_timeout() {
    let herd = Herd::with(&[(
        "web",
        "command = '@SERVICE@ hold ready sleep'\nready = 'notify'\ntimeout_stop = '200ms'",
    )]);
    herd.wait_state("web", "active");
    let pid = herd.main_pid("web");
    herd.ok(&["stop", "web"]);
    assert!(gone(pid));
    let status = herd.status("web");
    assert_eq!(status["state"], "inactive");
    assert_eq!(status["last_exit"]["signal"], 9);
    herd.wait_log("web", "killing what is left of it");
}

#[test]
fn an_orphan_in_a_session_of_its_own_does_not_escape() {
    let herd = Herd::with(&[(
        "web",
        "command = ['sh', '-c', '@SERVICE@ orphan:@D@/one hold sleep; @SERVICE@ daemon:@D@/two \
         hold sleep; @SERVICE@ ready sleep']\nready = 'notify'\ntimeout_stop = '200ms'",
    )]);
    herd.wait_state("web", "active");
    let pids: Vec<i32> = ["one", "two"]
        .iter()
        .map(|name| herd.read(name).trim().parse().unwrap())
        .collect();
    herd.ok(&["stop", "web"]);
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists() || gone(pid));
    }
}

#[test]
fn a_stopped_process_can_be_stopped() {
    let herd = Herd::with(&[("web", "command = 'sleep infinity'\ntimeout_stop = '200ms'")]);
    herd.wait_state("web", "active");
    let pid = herd.main_pid("web");
    herd.ok(&["kill", "-s", "STOP", "web"]);
    herd.ok(&["stop", "web"]);
    assert!(gone(pid));
}

#[test]
fn what_the_main_process_leaves_is_ended_too() {
    let herd = Herd::builder()
        .gate("gate")
        .unit(
            "web",
            "command = '@SERVICE@ orphan:@D@/pid sleep'\nrestart = 'no'",
        )
        .start();
    herd.wait_substate("web", "exited");
    let pid: i32 = herd.read("pid").trim().parse().unwrap();
    assert!(gone(pid));
}

#[test]
fn kill_mode_says_whom_a_stop_asks() {
    if !needs::cgroups() {
        return;
    }
    // Both processes note the signal; the child outlives the main process a moment.
    let unit = |mode: &str| {
        format!(
            "command = ['sh', '-c', 'sh -c \"trap \\\"echo child >> @D@/{mode}; exit\\\" TERM; sleep infinity & echo >&3; \
             while :; do wait; done\" & trap \"echo main >> @D@/{mode}; wait; exit\" TERM; wait; wait']\n\
             ready = 'fd:3'\nkill_mode = '{mode}'\ntimeout_stop = '1s'"
        )
    };
    let herd = Herd::builder()
        .unit("all", &unit("control-group"))
        .unit("kept", "command = ['sh', '-c', '@SERVICE@ orphan:@D@/kept sleep; exec sleep infinity']\nkill_mode = 'process'")
        .start();
    herd.wait_state("all", "active");
    herd.wait_file("kept", "\n");
    herd.wait_state("kept", "active");
    herd.ok(&["stop", "all"]);
    let mut lines: Vec<String> = herd
        .read("control-group")
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(lines, ["child", "main"]);
    let main = herd.main_pid("kept");
    let kept: i32 = herd.read("kept").trim().parse().unwrap();
    herd.ok(&["stop", "kept"]);
    assert!(gone(main));
    assert!(std::path::Path::new(&format!("/proc/{kept}")).exists());
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(kept),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    assert!(gone(kept));
}

#[test]
fn stop_commands_know_the_main_process_and_the_result() {
    let herd = Herd::builder()
        .unit(
            "web",
            "command = 'sleep infinity'\n\
             command_stop = [['sh', '-c', 'echo stop $MAINPID >> @D@/said; kill $MAINPID']]\n\
             command_stop_post = [['sh', '-c', 'echo post $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS >> @D@/said']]",
        )
        .unit(
            "bad",
            "command = '@SERVICE@ exit:7'\nrestart = 'no'\n\
             command_stop_post = [['sh', '-c', 'echo bad $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS >> @D@/bad-said']]",
        )
        .start();
    herd.wait_state("web", "active");
    herd.wait_state("bad", "failed");
    assert_eq!(herd.read("bad-said"), "bad exit-code exited 7\n");
    let pid = herd.main_pid("web");
    herd.ok(&["stop", "web"]);
    assert_eq!(
        herd.read("said"),
        format!("stop {pid}\npost success killed TERM\n")
    );
}

#[test]
fn the_signals_of_a_stop_can_be_chosen() {
    let trap = |name: &str| {
        format!(
            "command = ['sh', '-c', 'for s in INT HUP USR1 USR2 TERM; do trap \"echo $s >> @D@/{name}; \
             test $s = HUP || exit\" $s; done; sleep infinity & echo >&3; while :; do wait; done']\nready = 'fd:3'\n"
        )
    };
    let herd = Herd::builder()
        .unit(
            "int",
            &format!("{}kill_signal = 'INT'\nkill_mode = 'mixed'", trap("int")),
        )
        .unit(
            "usr",
            &format!(
                "{}restart_kill_signal = 'USR2'\nkill_mode = 'mixed'",
                trap("usr")
            ),
        )
        .start();
    herd.wait_state("int", "active");
    herd.wait_state("usr", "active");
    herd.ok(&["stop", "int"]);
    assert_eq!(herd.read("int"), "INT\n");
    herd.ok(&["restart", "usr"]);
    assert_eq!(herd.read("usr"), "USR2\n");
    herd.ok(&["stop", "usr"]);
    assert_eq!(herd.read("usr"), "USR2\nTERM\n");
}

#[test]
fn a_reload_runs_its_command_or_sends_its_signal() {
    let herd = Herd::builder()
        .unit(
            "web",
            "command = ['sh', '-c', 'trap \"echo hup\" HUP; sleep infinity & echo >&3; while :; do wait; done']\n\
             ready = 'fd:3'\nreload_signal = 'HUP'",
        )
        .unit(
            "api",
            "command = 'sleep infinity'\ncommand_reload = [['sh', '-c', 'echo reload $MAINPID']]",
        )
        .unit("none", "command = 'sleep infinity'")
        .start();
    for unit in ["web", "api", "none"] {
        herd.wait_state(unit, "active");
    }
    let pid = herd.main_pid("api");
    herd.ok(&["reload", "web", "api"]);
    herd.wait_log("web", "hup");
    herd.wait_log("api", &format!("reload {pid}"));
    let output = herd.ctl(&["reload", "none"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("none"), "{output:?}");
    assert_eq!(herd.main_pid("api"), pid);
}

#[test]
fn a_reload_that_fails_is_told_with_its_reason_and_no_check_after_it_is_taken_for_one() {
    let herd = Herd::builder()
        .unit(
            "web",
            "command = 'sleep infinity'\ncommand_reload = [['sh', '-c', 'test -e @D@/sound']]\n\
             [health]\ncommand = ['sh', '-c', 'test -e @D@/sound || exit 4; echo looked >> @D@/looks; exit 4']\n\
             interval = '10ms'\nretries = 1\non_unhealthy = 'report'",
        )
        .start();
    herd.wait_state("web", "active");
    let output = herd.ctl(&["reload", "web"]);
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.contains("command_reload: exit 1"),
        "{output:?}"
    );
    herd.wait_log("web", "not reloaded: command_reload: exit 1");
    std::fs::write(herd.path("sound"), "").unwrap();
    herd.ok(&["reload", "web"]);
    herd.wait_log("herd", "web: reloaded");
    herd.wait_file("looks", "looked\nlooked\nlooked\n");
    let log = herd.log("herd");
    let told = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    assert_eq!(
        (told("web: active"), told("web: reloaded")),
        (1, 1),
        "{log:#?}"
    );
}

#[test]
fn runtime_max_ends_a_service() {
    let herd = Herd::with(&[(
        "web",
        "command = 'sleep infinity'\nruntime_max = '100ms'\nrestart = 'no'",
    )]);
    herd.wait_state("web", "failed");
    let failure = herd.status("web")["failure"].as_str().unwrap().to_owned();
    assert!(failure.contains("runtime_max"), "{failure}");
}

#[test]
fn a_stop_command_that_fails_is_told() {
    let herd = Herd::with(&[(
        "web",
        "command = 'true'\noneshot = true\nremain_after_exit = true\n\
         command_stop = [{ run = '/nonexistent/bye' }, { run = 'false' }]",
    )]);
    herd.wait_state("web", "active");
    herd.ok(&["stop", "web"]);
    herd.wait_log(
        "web",
        "command_stop: command /nonexistent/bye: no such file or directory",
    );
    herd.wait_log("web", "command_stop: exit 1");
}
