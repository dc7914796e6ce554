//! Watchdog and health checks.

use crate::fixture::Herd;

#[test]
fn a_missed_watchdog_ends_the_service_with_its_signal() {
    let herd = Herd::with(&[(
        "web",
        "command = '@SERVICE@ ready notify:WATCHDOG=1 sleep'\nready = 'notify'\nwatchdog = '150ms'\nrestart = 'no'",
    )]);
    herd.wait_state("web", "failed");
    let status = herd.status("web");
    assert_eq!(status["failure"], "watchdog: no ping in time");
    assert_eq!(status["last_exit"]["signal"], 6);
}

#[test]
fn pings_keep_a_service_alive_and_the_interval_is_told_to_it() {
    let herd = Herd::builder()
        .unit(
            "web",
            "command = ['sh', '-c', 'echo usec $WATCHDOG_USEC; @SERVICE@ ready; for i in 1 2 3 4 5 6 7 8; do sleep 0.1; @SERVICE@ notify:WATCHDOG=1; done; echo survived; sleep infinity']\n\
             ready = 'notify'\nwatchdog = '600ms'\nrestart = 'no'",
        )
        .start();
    herd.wait_log("web", "survived");
    assert_eq!(herd.out("web")[0], "usec 600000");
    assert_eq!(herd.status("web")["watchdog"]["interval_usec"], 600_000);
}

#[test]
fn a_service_may_pull_its_watchdog_itself() {
    let herd = Herd::with(&[(
        "web",
        "command = '@SERVICE@ ready notify:WATCHDOG=trigger sleep'\nready = 'notify'\nwatchdog = '1h'\nrestart = 'on-watchdog'\nmax_retries = 1",
    )]);
    herd.wait_state("web", "failed");
    assert_eq!(herd.status("web")["restarts"], 1);
}

#[test]
fn an_unhealthy_service_is_restarted() {
    let herd = Herd::builder()
        .file("alive", "")
        .unit(
            "web",
            "command = ['sh', '-c', 'touch @D@/alive; echo up; sleep infinity']\n\
             [health]\npath = '@D@/alive'\ninterval = '20ms'\nretries = 2",
        )
        .start();
    herd.wait_state("web", "active");
    herd.wait_log("web", "up");
    let pid = herd.main_pid("web");
    let mark = herd.mark();
    std::fs::remove_file(herd.path("alive")).unwrap();
    herd.wait_change(mark, "web to be restarted", |change| {
        change.unit == "web" && change.main_pid.is_some_and(|new| new != i64::from(pid))
    });
    let line = herd.wait_log("web", "restarting it");
    assert!(line.contains("unhealthy"), "{line}");
}

#[test]
fn an_unhealthy_service_is_reported_alone_if_that_is_wanted() {
    let herd = Herd::builder()
        .unit(
            "web",
            "command = 'sleep infinity'\n[health]\ncommand = ['sh', '-c', 'echo looked >> @D@/looks; exit 4']\n\
             interval = '10ms'\nretries = 2\non_unhealthy = 'report'",
        )
        .start();
    herd.wait_state("web", "active");
    let pid = herd.main_pid("web");
    herd.wait_file("looks", "looked\nlooked\nlooked\nlooked\nlooked\nlooked\n");
    let health = herd.status("web")["health"].as_str().unwrap().to_owned();
    assert!(health.starts_with("failed its last"), "{health}");
    assert_eq!(herd.main_pid("web"), pid);
    assert_eq!(herd.state("web"), "active");
    // Once for the log, however many checks fail.
    let told = |unit: &str, words: &str| {
        let log = herd.log(unit);
        log.iter().filter(|line| line.contains(words)).count()
    };
    assert_eq!(
        told("web", "unhealthy: exit 4"),
        1,
        "{:#?}",
        herd.log("web")
    );
    assert_eq!(told("herd", "web: active"), 1, "{:#?}", herd.log("herd"));
}

#[test]
fn a_healthy_service_says_so() {
    let herd = Herd::with(&[(
        "web",
        "command = 'sleep infinity'\n[health]\ncommand = 'true'\ninterval = '5s'",
    )]);
    herd.wait_state("web", "active");
    let text = herd.ok(&["status", "web"]);
    assert!(text.contains("Health:"), "{text}");
}
