//! Neighbours that misbehave, held by their limits.

use super::Stack;
use crate::needs;

#[test]
fn an_oom_kill_stays_in_its_own_box() {
    if !needs::controller("memory") {
        return;
    }
    let Some(stack) = Stack::start() else { return };
    let herd = &stack.herd;
    let before = stack.pids();
    herd.write_unit(
        "hog",
        "command = ['perl', '-e', '$x = \"x\" x 300_000_000; sleep 1000']\n\
         restart = 'no'\nboxed = true\n[limits]\nmemory = '32M'\nswap = '0'\n",
    );
    herd.wait_state("hog", "failed");
    let reason = "out of memory: killed by the kernel";
    assert_eq!(herd.status("hog")["failure"], reason);
    let shown = herd.ok(&["status", "hog"]);
    assert!(shown.contains(reason), "{shown}");
    assert_eq!(stack.pids(), before);
    stack.assert_answers();
}

#[test]
fn a_fork_bomb_stays_in_its_own_box() {
    if !needs::controller("pids") {
        return;
    }
    let Some(stack) = Stack::start() else { return };
    let herd = &stack.herd;
    let before = stack.pids();
    // Each child forks on, until one cannot.
    let bomb =
        "while (1) { my $pid = fork; last unless defined $pid } print \"full\\n\"; sleep 1 while 1";
    herd.write_unit(
        "bomb",
        &format!(
            "command = ['perl', '-e', '$| = 1; {bomb}']\nrestart = 'no'\nboxed = true\n[limits]\ntasks = 20\n"
        ),
    );
    herd.wait_log("bomb", "full");
    let tasks = herd.status("bomb")["tasks"].as_i64().unwrap();
    assert!((2..=20).contains(&tasks), "{tasks} tasks");
    assert_eq!(stack.pids(), before);
    stack.assert_answers();
    herd.ok(&["stop", "bomb"]);
    // The fixture looks for processes left in its group.
    assert_eq!(herd.state("bomb"), "inactive");
    assert_eq!(stack.pids(), before);
}
