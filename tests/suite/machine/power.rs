//! The ends of a machine: in order, again and again, and without warning.

use super::fixture::{Disk, rounds};
use crate::needs;

/// Records are written and synced, and only then told on the console.
const WRITER: &str = "command = ['/bin/sh', '-c', 'i=$(wc -l </var/records 2>/dev/null || echo 0); \
    while :; do i=$((i + 1)); echo record $i >>/var/records; sync /var/records; echo acknowledged $i; done']\n\
    stdout = 'file:/dev/console'\n";

/// The number of the last record that was told.
fn acknowledged(said: &[String]) -> usize {
    let numbers = said.iter().filter_map(|line| {
        let (_, number) = line.split_once("acknowledged ")?;
        let digits = number.trim_end_matches(|c: char| !c.is_ascii_digit());
        digits.parse::<usize>().ok()
    });
    numbers.max().unwrap_or(0)
}

/// How many records the next boot finds, each once and whole.
const COUNT: &str = "awk '$1 != \"record\" || $2 != NR { bad = 1 } END { print \"found \" NR (bad ? \" broken\" : \"\") }' \
    /var/records";

fn found(line: &str) -> usize {
    let number = line.rsplit(' ').next().unwrap();
    number.parse().unwrap_or_else(|_| panic!("{line}"))
}

#[test]
fn a_shutdown_loses_no_write_that_was_acknowledged() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().unit("writer", WRITER).script(
        "end",
        "until grep -qx 'record 50' /var/records 2>/dev/null; do sleep 0.1; done; herd shutdown --no-wait",
    );
    let said = disk.boot().ended();
    let told = acknowledged(&said);
    assert!(told >= 40, "{said:#?}");
    let mut disk = disk
        .file("/usr/local/bin/end", &format!("#!/bin/sh\nexec >/dev/console\n{COUNT}\necho recoveries: $(dmesg | grep -c 'recovery complete').\nherd shutdown --no-wait\n"))
        .unit("writer", "command = '/bin/true'\noneshot = true")
        .again();
    let mut machine = disk.boot();
    let there = found(&machine.wait("found "));
    assert!(there >= told, "{there} of {told}");
    // The file system was let go: there was nothing to recover.
    machine.wait("recoveries: 0.");
    machine.ended();
}

#[test]
fn a_machine_comes_back_from_twenty_reboots_in_a_row() {
    if !needs::machine() {
        return;
    }
    // Its helpers still fork when they are ended, and a fork that fails late brings this kernel down (tests/vm/README.md).
    let disk = Disk::new().option(&["-r"]).word("herd.mask=udev");
    let mut disk = disk.script(
        "again",
        "echo x >>/var/boots; n=$(wc -l </var/boots); echo boot $n $(herd is-active multi-user)
         if [ $n -lt 20 ]; then kill -INT 1; else kill -PWR 1; fi",
    );
    let said = disk.boot().ended();
    for boot in 1..=20 {
        let expected = format!("boot {boot} active");
        let times = said.iter().filter(|line| line.ends_with(&expected)).count();
        assert_eq!(times, 1, "{expected}:\n{}", said.join("\n"));
    }
}

#[test]
fn a_power_cut_at_any_moment_is_followed_by_a_clean_boot() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().unit("writer", WRITER).script("look", COUNT);
    let mut told = 0;
    for round in 1..=rounds(3) {
        let mut machine = disk.boot();
        let there = found(&machine.wait("found "));
        assert!(there >= told, "round {round}: {there} of {told}");
        // The moments differ from run to run: how much the machine manages until then is chance.
        let next = there + round * 7 % 40;
        machine.wait(&format!("acknowledged {next}"));
        told = acknowledged(&machine.cut());
    }
    let mut disk = disk
        .script(
            "look",
            &format!("{COUNT}; echo goal: $(herd is-active multi-user); kill -PWR 1"),
        )
        .again();
    let mut machine = disk.boot();
    assert!(found(&machine.wait("found ")) >= told);
    machine.wait("goal: active");
    machine.ended();
}

#[test]
fn a_power_cut_in_the_middle_of_a_boot_or_a_shutdown_does_no_harm() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().script("look", "echo all is up; kill -PWR 1");
    for moment in [
        "sysinit: active",
        "default: active",
        "stopping everything",
        "powering off",
    ] {
        let mut machine = disk.boot();
        machine.wait(moment);
        machine.cut();
    }
    let mut machine = disk.boot();
    machine.wait("all is up");
    machine.ended();
}

#[test]
fn services_are_stopped_in_the_reverse_order() {
    if !needs::machine() {
        return;
    }
    let service = |name: &str, after: &str| {
        format!(
            "command = ['/bin/sh', '-c', 'trap \"echo {name} ends; exit 0\" TERM; while :; do sleep 1 & wait; done']\n\
             stdout = 'file:/dev/console'\n{after}"
        )
    };
    let mut disk = Disk::new()
        .unit("database", &service("database", ""))
        .unit(
            "web",
            &service("web", "after = ['database']\nrequires = ['database']\n"),
        )
        .script("end", "kill -PWR 1");
    let mut machine = disk.boot();
    machine.wait("web ends");
    machine.wait("database ends");
    machine.wait("powering off");
    machine.ended();
}

#[test]
fn ctrl_alt_del_reboots_and_a_failing_power_supply_switches_off() {
    if !needs::machine() {
        return;
    }
    for (signal, end) in [("INT", "herd: rebooting"), ("PWR", "herd: powering off")] {
        let mut disk = Disk::new().script("end", &format!("kill -{signal} 1"));
        let mut machine = disk.boot();
        machine.wait(end);
        machine.ended();
    }
}
