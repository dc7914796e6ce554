//! What the machine was to come to, and what it has come to: `herd goal`, and `runlevel`.

use super::fixture::Disk;
use crate::needs;

#[test]
fn goals_are_told_of_with_their_runlevels() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().script(
        "look",
        "until runlevel -q; do sleep 0.1; done
         tell() { echo $1: $(herd goal | tail -n +2 | sed 's/ [0-9].*ago .* ago/ reached/') runlevel $(runlevel) who $(who -r | tr -s ' ' | cut -d ' ' -f 2,3,7).; }
         tell first
         herd goal graphical --no-wait; until runlevel | grep -q 5; do sleep 0.1; done; tell second
         herd goal multi-user --no-wait; tell third
         herd goal --json | tr -d ' \\n' | sed 's/:[0-9]*[0-9]/:N/g'; echo
         herd goal rescue --no-wait",
    );
    let mut machine = disk.boot();
    machine.wait("first: default reached runlevel N 3 who run-level 3.");
    machine.wait("second: graphical reached default reached runlevel 3 5 who run-level 5 last=3.");
    machine.wait("third: multi-user reached graphical reached default reached runlevel 3 5");
    machine.wait("[{\"name\":\"multi-user\",\"since\":N,\"reached\":N},{\"name\":\"graphical\",");
    machine.wait("Rescue: ");
    machine.shell();
    machine.enter("echo level=$(runlevel) goals=$(herd goal | awk 'NR == 2 { print $1 }')");
    machine.wait("level=5 1 goals=rescue");
    machine.enter("kill -PWR 1");
    machine.ended();
}

#[test]
fn a_goal_that_is_not_reached_says_so_and_has_no_runlevel() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().unit(
        "look",
        "command = ['/bin/sh', '-c', 'herd goal; runlevel; echo code: $$?.; kill -PWR 1']\n\
         oneshot = true\nstdout = 'file:/dev/console'",
    );
    let mut machine = disk.boot();
    let words = machine.wait("default  ");
    assert!(words.ends_with(" ago  no"), "{words}");
    machine.wait("unknown");
    machine.wait("code: 1.");
    machine.ended();
}
