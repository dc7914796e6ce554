//! The ends of a machine: in order, again and again, and without warning.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

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

/// Of boot, writing and end, at moments that chance chose: the number that is said, as `HERD_MACHINE_SEED`, gives the
/// same ones again.
#[test]
fn a_power_cut_at_any_moment_is_followed_by_a_clean_boot() {
    if needs::machine() {
        power_cuts(Disk::new(), rounds(4));
    }
}

/// Seconds of a processor each, so there are few, and none in the short form.
#[test]
fn a_power_cut_of_an_emulated_machine_is_followed_by_a_clean_boot() {
    let rounds = rounds(0) / 10;
    if rounds > 0 && needs::emulated_machine() {
        power_cuts(Disk::new().qemu(), rounds);
    }
}

fn power_cuts(disk: Disk, rounds: usize) {
    let seed = seed();
    let check = format!(
        "command = ['/bin/sh', '-c', \"\"\"{COUNT}\"\"\"]\noneshot = true\nstdout = 'file:/dev/console'\nbefore = ['writer']\n"
    );
    let mut disk = disk
        .own_copy()
        .file("/var/records", "")
        .unit("check", &check)
        .unit("writer", WRITER)
        .script("look", "sleep 1; herd shutdown --no-wait");
    // One that nobody cuts says how long they live.
    let began = Instant::now();
    let mut told = acknowledged(&disk.boot().ended());
    let life = began.elapsed();
    let mut reached = BTreeMap::new();
    for round in 1..=rounds {
        let share = share(seed, round);
        let mut machine = disk.boot();
        machine.live(life.mul_f64(share));
        let said = machine.cut();
        let about =
            format!("HERD_MACHINE_SEED={seed}, round {round}, cut after {share:.3} of {life:.1?}");
        let stage = stage(&said);
        eprintln!("{about}: {stage}; {told} were told before");
        *reached.entry(stage).or_insert(0) += 1;
        let text = said.join("\n");
        assert!(!text.contains("EXT4-fs error"), "{about}:\n{text}");
        if let Some(line) = said.iter().find(|line| line.contains("found ")) {
            assert!(found(line) >= told, "{about}:\n{text}");
        }
        assert_eq!(disk.complaints(), None, "{about}");
        told = told.max(acknowledged(&said));
    }
    eprintln!("HERD_MACHINE_SEED={seed}: {rounds} cuts, {told} records told; {reached:?}");
    let mut machine = disk.boot();
    assert!(found(&machine.wait("found ")) >= told, "{seed}");
    machine.wait("default: active");
    machine.ended();
    assert_eq!(disk.complaints(), None, "{seed}");
    let is_here = Path::new("/var/records").exists();
    assert!(!is_here, "a process of a machine went on as one of ours");
}

/// How far a machine had come, by what it said last.
fn stage(said: &[String]) -> &'static str {
    let has = |text: &str| said.iter().any(|line| line.contains(text));
    match () {
        () if has("Power down") => "off already",
        () if has("herd: powering off") => "switching off",
        () if has("stopping everything") => "stopping",
        () if has("acknowledged") => "writing",
        () if has("sysinit: active") => "starting services",
        () if has("active") => "booting",
        () => "before the first unit",
    }
}

/// splitmix64, of which one step is enough: each round has its own number, whatever came of the others.
fn share(seed: u64, round: usize) -> f64 {
    let mut bits = seed.wrapping_add((round as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

fn seed() -> u64 {
    let told = std::env::var("HERD_MACHINE_SEED").ok();
    told.and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()))
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
