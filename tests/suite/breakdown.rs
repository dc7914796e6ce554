//! Mistakes of herd itself, where it is not the first process of a machine (that is `machine/crash.rs`).

use crate::fixture::{Container, Herd, Image};
use crate::needs;

/// Of debug builds (`herd/src/daemon/fault.rs`).
const IN_AN_EVENT: i32 = 42;
const IN_THE_LOOP: i32 = 43;
const IN_THE_LOG_WRITER: i32 = 44;
const IN_THE_LOOP_TWICE: i32 = 53;

const DEAF: &str =
    "command = ['sh', '-c', 'trap \"\" TERM; echo up; while :; do sleep 1000; done']\n";

fn send(herd: &Herd, signal: i32) {
    // kill(1) knows numbers that nix has no name for.
    let status = std::process::Command::new("kill")
        .args([format!("-{signal}"), herd.pid().to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_mistake_in_an_event_is_recorded_and_gone_on_from() {
    let herd = Herd::with(&[("web", "command = 'sleep infinity'")]);
    herd.wait_state("web", "active");
    let pid = herd.main_pid("web");
    send(&herd, IN_AN_EVENT);
    herd.wait_log(
        "herd",
        "bug in herd: a mistake on purpose in an event; going on",
    );
    assert_eq!(herd.main_pid("web"), pid);
    herd.ok(&["restart", "web"]);
    assert!(herd.shutdown().success());
}

#[test]
fn a_mistake_in_the_log_writer_costs_what_was_being_written() {
    let herd = Herd::builder()
        .gate("gate")
        .unit(
            "web",
            "command = ['sh', '-c', 'read x < @D@/gate; echo later; sleep infinity']",
        )
        .start();
    herd.wait_state("web", "active");
    send(&herd, IN_THE_LOG_WRITER);
    herd.wait_file("herd.err", "a mistake on purpose in the log writer");
    herd.open_gate("gate");
    assert_eq!(herd.wait_out("web", 1), ["later"]);
    herd.ok(&["stop", "web"]);
    herd.wait_log("herd", " lost: a mistake in herd's log writer");
    assert!(herd.shutdown().success());
}

#[test]
fn a_loop_that_breaks_ends_everything_and_says_so() {
    let mut herd = Herd::with(&[("web", "command = 'sleep infinity'"), ("deaf", DEAF)]);
    herd.wait_state("web", "active");
    herd.wait_out("deaf", 1);
    let pids = [herd.main_pid("web"), herd.main_pid("deaf")];
    send(&herd, IN_THE_LOOP);
    assert_eq!(herd.wait_end().code(), Some(70));
    let expected = "herd: bug in herd: a mistake on purpose in the loop; killing everything";
    let said = herd.read("herd.err");
    assert!(said.lines().any(|line| line == expected), "{said}");
    let log = herd.log("herd");
    assert!(
        log.iter()
            .any(|line| expected.ends_with(line.trim_start_matches("herd "))),
        "{log:#?}"
    );
    pids.iter().for_each(|pid| herd.wait_gone(*pid));
    assert!(!herd.socket().exists());
}

#[test]
fn a_loop_that_breaks_again_leaves_nothing_behind_either() {
    let mut herd = Herd::with(&[("web", "command = 'sleep infinity'"), ("deaf", DEAF)]);
    herd.wait_state("web", "active");
    herd.wait_out("deaf", 1);
    let pids = [herd.main_pid("web"), herd.main_pid("deaf")];
    send(&herd, IN_THE_LOOP_TWICE);
    assert_eq!(herd.wait_end().code(), Some(70));
    let said = herd.read("herd.err");
    let expected = "herd: bug in herd: a mistake on purpose in the loop, once more; the kernel is to kill everything";
    assert!(said.lines().any(|line| line == expected), "{said}");
    pids.iter().for_each(|pid| herd.wait_gone(*pid));
    assert!(!herd.socket().exists());
}

#[test]
fn a_container_whose_first_process_breaks_ends_with_its_code() {
    if !needs::root() || !needs::program("crun") || !needs::program("busybox") {
        return;
    }
    let image = Image::minimal().unit(
        "web",
        "command = ['sh', '-c', 'echo web is up; sleep 1000']",
    );
    let mut container = Container::of(image).start();
    container.wait_out("web is up");
    container.signal(IN_THE_LOOP);
    assert_eq!(container.wait_end(), 70);
    let out = container.out();
    assert!(
        out.contains("bug in herd: a mistake on purpose in the loop; killing everything"),
        "{out}"
    );
}
