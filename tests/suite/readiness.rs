//! When a service counts as ready, and who may say so.

use std::os::unix::net::UnixDatagram;

use crate::fixture::Herd;

/// A second unit that starts once the first is ready.
const AFTER: &str = "command = 'sleep infinity'\nafter = ['web']\nrequires = ['web']";

/// `web` passes a gate, says what makes it ready and goes on; `next` must not run before.
fn is_ready_only_after_the_gate(ready: &str, word: &str) {
    let herd = Herd::builder()
        .gate("gate")
        .unit(
            "web",
            &format!("command = '@SERVICE@ say:up gate:@D@/gate {word} sleep'\nready = {ready}"),
        )
        .unit("next", AFTER)
        .start();
    herd.wait_log("web", "up");
    assert_eq!(herd.state("web"), "activating");
    assert_eq!(herd.status("next")["substate"], "waiting");
    herd.open_gate("gate");
    herd.wait_state("next", "active");
    assert_eq!(herd.state("web"), "active");
    assert_eq!(
        herd.history("next")
            .iter()
            .filter(|word| *word == "active/running")
            .count(),
        1
    );
}

#[test]
fn notify_waits_for_the_word() {
    is_ready_only_after_the_gate("'notify'", "notify:READY=1");
}

#[test]
fn notify_understands_the_sd_notify_library() {
    is_ready_only_after_the_gate("'notify'", "ready");
}

#[test]
fn a_descriptor_waits_for_its_newline() {
    is_ready_only_after_the_gate("'fd:5'", "fd:5");
}

#[test]
fn a_unix_probe_waits_for_the_socket() {
    is_ready_only_after_the_gate("{ unix = '@D@/sock', interval = '10ms' }", "unix:@D@/sock");
}

#[test]
fn a_path_probe_waits_for_the_path() {
    is_ready_only_after_the_gate("{ path = '@D@/sock', interval = '10ms' }", "unix:@D@/sock");
}

#[test]
fn a_command_probe_waits_for_its_success() {
    is_ready_only_after_the_gate(
        "{ command = 'test -e @D@/sock', interval = '10ms' }",
        "unix:@D@/sock",
    );
}

/// A port that was free a moment ago.
fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn a_tcp_probe_waits_for_the_port() {
    let port = port();
    is_ready_only_after_the_gate(
        &format!("{{ tcp = '127.0.0.1:{port}', interval = '10ms' }}"),
        &format!("tcp:{port}"),
    );
}

#[test]
fn an_http_probe_waits_for_a_good_answer() {
    let port = port();
    is_ready_only_after_the_gate(
        &format!("{{ http = 'http://127.0.0.1:{port}/health', interval = '10ms' }}"),
        &format!("http:{port}:204"),
    );
}

#[test]
fn an_http_error_is_no_readiness() {
    let port = port();
    let herd = Herd::builder()
        .available(
            "web",
            &format!(
                "command = '@SERVICE@ http:{port}:500 sleep'\nrestart = 'no'\n\
                 ready = {{ http = 'http://127.0.0.1:{port}/', interval = '10ms' }}\n\
                 timeout_start = '500ms'"
            ),
        )
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.starts_with("herd: web: timeout: not ready"),
        "{output:?}"
    );
    assert_eq!(herd.state("web"), "failed");
}

#[test]
fn forking_waits_for_the_daemon_and_follows_its_pid_file() {
    let herd = Herd::builder()
        .gate("gate")
        .unit(
            "web",
            "command = '@SERVICE@ gate:@D@/gate daemon:@D@/pid sleep'\nready = 'forking'\n\
             pid_file = '@D@/pid'\nrestart = 'no'",
        )
        .unit("next", AFTER)
        .start();
    herd.wait_substate("web", "starting");
    herd.open_gate("gate");
    herd.wait_state("next", "active");
    let pid: i32 = herd.read("pid").trim().parse().unwrap();
    assert_eq!(herd.main_pid("web"), pid);
    let mark = herd.mark();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let (_, change) = herd.wait_change(mark, "the daemon's end", |change| {
        change.unit == "web" && change.state == "failed"
    });
    assert_eq!(change.failure.as_deref(), Some("killed by SIGKILL"));
}

#[test]
fn a_pid_file_that_names_a_stranger_is_not_believed() {
    let herd = Herd::builder()
        .file("pid", "1\n")
        .available(
            "web",
            "command = 'true'\nready = 'forking'\npid_file = '@D@/pid'\nrestart = 'no'\n\
             timeout_start = '300ms'",
        )
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert_eq!(herd.state("web"), "failed");
}

/// It is the service that chooses what it puts there, and nobody writes into it.
#[test]
fn a_pid_file_that_is_a_fifo_holds_nobody_up() {
    let herd = Herd::builder()
        .available(
            "web",
            "command = \"sh -c 'mkfifo @D@/pid'\"\nready = 'forking'\npid_file = '@D@/pid'\n\
             restart = 'no'\ntimeout_start = '300ms'",
        )
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert_eq!(herd.state("web"), "failed");
    let reason = herd.status("web")["failure"].to_string();
    assert!(reason.contains("not a regular file"), "{reason}");
}

#[test]
fn a_start_that_takes_too_long_fails_and_ends_everything() {
    let herd = Herd::builder()
        .available(
            "web",
            "command = '@SERVICE@ say:up sleep'\nready = 'notify'\nrestart = 'no'\ntimeout_start = '200ms'",
        )
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    assert_eq!(
        output.stderr,
        "herd: web: timeout: not ready\nhint: `herd status web` shows more\n"
    );
    assert_eq!(herd.status("web")["tasks"].as_i64().unwrap_or(0), 0);
}

#[test]
fn a_service_may_ask_for_more_time() {
    let herd = Herd::builder()
        .gate("gate")
        .available(
            "web",
            "command = '@SERVICE@ notify:EXTEND_TIMEOUT_USEC=60000000 gate:@D@/gate ready sleep'\n\
             ready = 'notify'\nrestart = 'no'\ntimeout_start = '400ms'",
        )
        .available("clock", "command = 'sleep 0.6'\noneshot = true")
        .start();
    herd.ok(&["start", "web", "--no-wait"]);
    // Longer than the timeout of the other.
    herd.ok(&["start", "clock"]);
    assert_eq!(herd.state("web"), "activating");
    herd.open_gate("gate");
    herd.wait_state("web", "active");
}

#[test]
fn what_ends_before_it_is_ready_has_failed() {
    let herd = Herd::builder()
        .available("web", "command = 'true'\nready = 'notify'\nrestart = 'no'")
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    assert_eq!(
        output.stderr,
        "herd: web: exit 0 before it was ready\nhint: `herd status web` shows more\n"
    );
}

#[test]
fn a_stranger_cannot_speak_for_a_service() {
    let herd = Herd::builder()
        .gate("gate")
        .unit("web", "command = '@SERVICE@ say:up gate:@D@/gate ready sleep'\nready = 'notify'")
        .unit("liar", "command = ['sh', '-c', '''exec env NOTIFY_SOCKET=@D@/run/notify @SERVICE@ \"notify:READY=1;STATUS=lie\" say:lied sleep''']")
        .start();
    herd.wait_log("web", "up");
    herd.wait_log("liar", "lied");
    let socket = UnixDatagram::unbound().unwrap();
    for text in [
        "READY=1",
        "READY=1\nMAINPID=1",
        "WATCHDOG=trigger",
        "STOPPING=1",
        "\u{0}",
        "=",
    ] {
        socket
            .send_to(text.as_bytes(), herd.path("run/notify"))
            .unwrap();
    }
    // The socket is read in order: once the word below was heard, so were those above.
    assert_eq!(herd.state("web"), "activating");
    herd.open_gate("gate");
    herd.wait_state("web", "active");
    assert_eq!(herd.status("web")["status_text"], serde_json::Value::Null);
    assert_eq!(
        herd.history("web")
            .iter()
            .filter(|word| *word == "active/running")
            .count(),
        1
    );
}

#[test]
fn status_reloading_and_stopping_are_shown() {
    let herd = Herd::builder()
        .gate("gate")
        .gate("gate2")
        .unit(
            "web",
            "command = '@SERVICE@ ready notify:STATUS=serving say:told gate:@D@/gate \
             notify:RELOADING=1 gate:@D@/gate2 ready notify:STATUS=again say:again gate:@D@/gate \
             notify:STOPPING=1 gate:@D@/gate2'\nready = 'notify'\nrestart = 'no'",
        )
        .start();
    herd.wait_log("web", "told");
    assert_eq!(herd.status("web")["status_text"], "serving");
    herd.open_gate("gate");
    herd.wait_state("web", "reloading");
    herd.open_gate("gate2");
    herd.wait_log("web", "again");
    herd.wait_state("web", "active");
    herd.open_gate("gate");
    herd.wait_state("web", "deactivating");
    herd.open_gate("gate2");
    herd.wait_state("web", "inactive");
    // A status is no change of state, and who comes back from reloading did not start.
    let log = herd.ok(&["logs", "herd"]);
    let told = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!(
        (told("web: active"), told("web: reloaded")),
        (1, 1),
        "{log}"
    );
}

#[test]
fn the_main_process_moves_only_to_one_of_the_service() {
    let herd = Herd::builder()
        .gate("gate")
        .unit(
            "web",
            "command = ['sh', '-c', 'sleep infinity & echo child $!; @SERVICE@ ready \
             notify:MAINPID=1 say:told gate:@D@/gate; @SERVICE@ \
             notify:MAINPID=$! say:moved; wait']\nready = 'notify'",
        )
        .unit("other", "command = 'sleep infinity'")
        .start();
    herd.wait_log("web", "told");
    herd.wait_state("web", "active");
    let first = herd.main_pid("web");
    let line = herd.wait_log("web", "child ");
    let child: i32 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert_ne!(first, child);
    herd.open_gate("gate");
    herd.wait_log("web", "moved");
    // Output is read after notifications: the line above tells that the word was heard.
    assert_eq!(herd.main_pid("web"), child);
}

#[test]
fn stored_descriptors_come_back_after_a_restart() {
    let herd = Herd::builder()
        .unit(
            "web",
            "command = '@SERVICE@ fds store:first store:second ready sleep'\nready = 'notify'\n\
             file_descriptor_store_max = 2",
        )
        .start();
    herd.wait_state("web", "active");
    herd.ok(&["restart", "web"]);
    herd.wait_log("web", "fds 2 first:second");
}
