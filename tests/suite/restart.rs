//! Restart policies: after which ends, how soon, how often.

use crate::fixture::Herd;

/// A oneshot-like service that counts its starts in the log and ends as told.
fn ending(end: &str, more: &str) -> String {
    format!("command = '@SERVICE@ say:run {end}'\n{more}")
}

/// Which of the ends lead to a restart under a policy.
fn restarted(policy: &str) -> Vec<&'static str> {
    let ends = ["exit:0", "exit:1", "die:SIGTERM", "die:SIGKILL"];
    let mut builder = Herd::builder();
    for (index, end) in ends.iter().enumerate() {
        let more = format!("restart = '{policy}'\nmax_retries = 1\nrestart_delay = '1ms'");
        builder = builder.unit(&format!("end{index}"), &ending(end, &more));
    }
    let herd = builder.start();
    let mut found = Vec::new();
    for (index, end) in ends.iter().enumerate() {
        let name = format!("end{index}");
        herd.wait_change(0, "the last end", |change| {
            change.unit == name && (change.state == "failed" || change.substate == "exited")
        });
        if herd.status(&name)["restarts"].as_i64().unwrap() > 0 {
            found.push(*end);
        }
    }
    found
}

#[test]
fn no_never_restarts() {
    assert_eq!(restarted("no"), [""; 0]);
}

#[test]
fn on_failure_restarts_after_codes_and_signals() {
    assert_eq!(
        restarted("on-failure"),
        ["exit:1", "die:SIGTERM", "die:SIGKILL"]
    );
}

#[test]
fn on_abnormal_restarts_after_signals_alone() {
    assert_eq!(restarted("on-abnormal"), ["die:SIGTERM", "die:SIGKILL"]);
}

#[test]
fn on_success_restarts_after_good_ends() {
    assert_eq!(restarted("on-success"), ["exit:0"]);
}

#[test]
fn always_restarts_after_every_end() {
    assert_eq!(
        restarted("always"),
        ["exit:0", "exit:1", "die:SIGTERM", "die:SIGKILL"]
    );
}

#[test]
fn max_retries_is_exact() {
    let herd = Herd::with(&[(
        "web",
        &ending(
            "exit:3",
            "restart = 'always'\nmax_retries = 3\nrestart_delay = '1ms'",
        ),
    )]);
    herd.wait_state("web", "failed");
    assert_eq!(herd.wait_out("web", 4), ["run"; 4]);
    let status = herd.status("web");
    assert_eq!(status["restarts"], 3);
    assert_eq!(status["last_exit"]["code"], 3);
    assert_eq!(status["last_exit"]["reason"], "exit 3");
}

#[test]
fn the_first_restart_is_immediate_and_the_next_waits_double() {
    let herd = Herd::with(&[(
        "web",
        &ending(
            "exit:1",
            "restart = 'always'\nmax_retries = 5\nrestart_delay = '20ms'\nrestart_delay_max = '80ms'",
        ),
    )]);
    herd.wait_state("web", "failed");
    let waits: Vec<String> = herd
        .log("web")
        .into_iter()
        .filter_map(|line| {
            line.split_once("starting again ")
                .map(|(_, when)| when.to_owned())
        })
        .collect();
    assert_eq!(
        waits,
        ["now", "in 20 ms", "in 40 ms", "in 80 ms", "in 80 ms"]
    );
}

#[test]
fn the_start_limit_ends_a_loop_and_may_end_herd() {
    let mut herd = Herd::builder()
        .unit(
            "web",
            &ending(
                "exit:1",
                "restart = 'always'\nrestart_delay = '1ms'\nstart_limit_burst = 3\n\
                 start_limit_interval = '1min'\nstart_limit_action = 'exit'",
            ),
        )
        .start();
    let status = herd.wait_end();
    assert_eq!(herd.wait_out("web", 3), ["run"; 3]);
    assert_eq!(status.code(), Some(1));
}

#[test]
fn listed_ends_count_as_listed() {
    let herd = Herd::builder()
        .unit("success", &ending("exit:75", "success_exit_status = [75]"))
        .unit("signal", &ending("die:SIGUSR1", "success_exit_status = ['SIGUSR1']"))
        .unit("prevented", &ending("exit:78", "restart = 'always'\nrestart_prevent_exit_status = ['CONFIG']"))
        .unit(
            "forced",
            &ending("exit:0", "restart = 'on-failure'\nrestart_force_exit_status = [0]\nmax_retries = 2\nrestart_delay = '1ms'"),
        )
        .start();
    herd.wait_state("success", "inactive");
    herd.wait_state("signal", "inactive");
    herd.wait_state("prevented", "failed");
    herd.wait_out("forced", 3);
    assert_eq!(herd.wait_out("prevented", 1), ["run"]);
    assert_eq!(herd.wait_out("forced", 3), ["run"; 3]);
    assert_eq!(herd.wait_out("success", 1), ["run"]);
}

#[test]
fn a_killed_service_comes_back_and_says_why_it_went() {
    let herd = Herd::with(&[("web", "command = 'sleep infinity'")]);
    herd.wait_state("web", "active");
    let pid = herd.main_pid("web");
    let mark = herd.mark();
    herd.ok(&["kill", "--signal", "KILL", "web"]);
    herd.wait_change(mark, "web to be back", |change| {
        change.unit == "web" && change.main_pid.is_some_and(|new| new != i64::from(pid))
    });
    let status = herd.status("web");
    assert_eq!(status["restarts"], 1);
    assert_eq!(status["last_exit"]["reason"], "killed by SIGKILL");
    assert_eq!(status["last_exit"]["signal"], 9);
    herd.wait_log("web", "starting again now");
    assert_eq!(
        herd.log("web"),
        [
            format!("herd process {pid} ended: killed by SIGKILL"),
            "herd killed by SIGKILL; starting again now".to_owned(),
        ]
    );
}

#[test]
fn why_speaks_of_the_backoff_and_reset_failed_forgets() {
    let herd = Herd::with(&[(
        "web",
        &ending(
            "exit:1",
            "restart = 'always'\nrestart_delay = '1h'\nrestart_delay_max = '1h'",
        ),
    )]);
    herd.wait_log("web", "starting again in");
    herd.wait_substate("web", "backoff");
    let why = herd.ok(&["why", "web"]);
    assert!(
        why.starts_with("web is activating\n  web is in backoff after exit 1; next try in "),
        "{why}"
    );
    assert!(herd.status("web")["next_try"].as_i64().is_some());
    // Who waits for it says so.
    herd.write_unit(
        "next",
        "command = 'sleep infinity'\nrequires = ['web']\nafter = ['web']",
    );
    herd.ok(&["rescan"]);
    assert_eq!(herd.status("next")["substate"], "waiting");
    let why = herd.ok(&["why", "next"]);
    assert!(
        why.contains("\n  next waits for web, which is in backoff after exit 1; next try in "),
        "{why}"
    );
    herd.ok(&["stop", "web"]);
    assert_eq!(herd.state("web"), "inactive");
}

#[test]
fn a_command_that_cannot_be_run_is_told_with_its_reason() {
    let herd = Herd::builder()
        .available("missing", "command = '/no/such/program'\nrestart = 'no'")
        .available(
            "user",
            "command = 'true'\nuser = 'nobodyatall'\nrestart = 'no'",
        )
        .available(
            "dir",
            "command = 'true'\nworking_directory = '/no/such'\nrestart = 'no'",
        )
        .available(
            "noexec",
            "command = '@D@/available/noexec.toml'\nrestart = 'no'",
        )
        .available(
            "bare",
            "command = 'no-such-program-anywhere'\nrestart = 'no'",
        )
        .start();
    let told: Vec<String> = ["missing", "user", "dir", "noexec", "bare"]
        .iter()
        .map(|unit| {
            herd.ctl(&["start", unit])
                .stderr
                .lines()
                .next()
                .unwrap()
                .replace(&herd.dir().display().to_string(), "$D")
        })
        .collect();
    assert_eq!(
        told,
        [
            "herd: missing: command /no/such/program: no such file or directory",
            "herd: user: user nobodyatall does not exist",
            "herd: dir: change directory to /no/such (step 8 of 9): no such file or directory",
            "herd: noexec: command $D/available/noexec.toml: permission denied",
            "herd: bare: no-such-program-anywhere: not found in PATH \
             (/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)",
        ]
    );
    herd.ok(&["reset-failed"]);
    assert_eq!(herd.state("missing"), "inactive");
}
