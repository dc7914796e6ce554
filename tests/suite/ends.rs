//! How a machine ends: herd as the first process of user-mode Linux (`tests/vm/run -1`), asked in every way there is.
//!
//! Each machine lives a second or two. A script runs in it once everything is up, and speaks on the console.

use std::fs;
use std::process::Command;

use crate::fixture::{HERD, Herd, Uml};
use crate::needs;

/// Without logins, and without udev: user-mode Linux 6.12 faults where a process is killed in the middle of a fork, and
/// udev's helpers still fork when a machine ends this soon.
fn machine() -> Uml {
    let machine = Uml::new().lay("export LC_ALL=C TERM=dumb");
    machine.word("herd.mask=getty").word("herd.mask=udev")
}

/// With a shell that hears no signal but SIGKILL.
fn stubborn(timeout: &str) -> Uml {
    machine().unit(
        "stubborn",
        &format!(
            "command = ['/bin/sh', '-c', 'trap \"\" TERM; while :; do sleep 1000; done']\n\
             timeout_stop = '{timeout}'"
        ),
    )
}

/// Claims that the lines are said, in this order.
fn assert_said(said: &[String], expected: &[&str]) {
    let mut rest = said.iter();
    for part in expected {
        assert!(
            rest.any(|line| line.contains(part)),
            "{part:?} is missing in\n{}",
            said.join("\n")
        );
    }
}

fn assert_silent(said: &[String], word: &str) {
    assert!(!said.iter().any(|line| line.contains(word)), "{said:#?}");
}

#[test]
fn each_signal_ends_a_machine_in_its_way() {
    let cases = [
        ("TERM", "herd: powering off"),
        ("PWR", "herd: powering off"),
        ("INT", "herd: rebooting"),
        ("37", "herd: halting"),
        ("38", "herd: powering off"),
        ("39", "herd: rebooting"),
    ];
    for (signal, end) in cases {
        let machine = machine().unit("sleeper", "command = 'sleep infinity'");
        let Some(said) = machine.speak(&format!("kill -{signal} 1")) else {
            return;
        };
        assert_said(&said, &[end]);
        // The units were stopped, and nobody else was there.
        assert_silent(&said, "what no unit knows");
    }
}

#[test]
fn signals_from_13_on_end_a_machine_without_stopping_units() {
    for (signal, end) in [(47, "halting"), (48, "powering off"), (49, "rebooting")] {
        let machine = machine().unit("sleeper", "command = 'sleep infinity'");
        let Some(said) = machine.speak(&format!("kill -{signal} 1")) else {
            return;
        };
        assert_said(
            &said,
            &["herd: ending what no unit knows: ", &format!("herd: {end}")],
        );
    }
}

#[test]
fn without_a_next_kernel_kexec_is_refused_and_its_signal_reboots() {
    let said = machine().speak("herd kexec; echo code $?; kill -40 1");
    let Some(said) = said else { return };
    assert_said(
        &said,
        &[
            "herd: no kernel is loaded that could follow this one; kexec(8) loads one",
            "code 1",
            "herd: rebooting into the next kernel",
            "herd: no next kernel begins: ",
        ],
    );
}

#[test]
fn harmless_signals_do_no_harm_and_goals_are_reached_by_signal() {
    let said = machine()
        .unit("sleeper", "command = 'sleep infinity'")
        .available(
            "rescue-shell",
            &format!(
                "command = ['/bin/sh', '-c', 'exec >/dev/console; echo rescue; {HERD} is-active sleeper; kill -38 1']\n\
                 oneshot = true"
            ),
        )
        .available("kbrequest", "command = ['/bin/sh', '-c', 'echo key >/dev/console']\noneshot = true")
        .speak(
            "herd start --no-wait kbrequest; kill -USR1 1; kill -QUIT 1; kill -PIPE 1; kill -USR2 1; kill -HUP 1; kill -WINCH 1
             herd status sleeper | grep -o 'active (running)'
             until herd logs herd | grep -o 'sleeper: active (running), process'; do :; done
             kill -35 1; sleep 100",
        );
    let Some(said) = said else { return };
    assert_said(
        &said,
        &["active (running)", "sleeper: active (running), process"],
    );
    assert_said(&said, &["key"]);
    assert_said(&said, &["rescue", "inactive", "herd: powering off"]);
}

#[test]
fn what_does_not_stop_is_shown_killed_at_its_deadline_and_holds_nothing_up() {
    let said = stubborn("7s").speak(
        "setsid sleep 1000 &
         trap '' TERM HUP
         herd poweroff --no-wait
         (sleep 1; herd status | head -2; herd reboot --when +1) &",
    );
    let Some(said) = said else { return };
    assert_said(
        &said,
        &[
            "powering off since ",
            "stubborn: stopping, ",
            "stubborn: stopping, ",
        ],
    );
    let line = said.iter().rfind(|line| line.contains("stubborn")).unwrap();
    assert!(line.contains(" s of 7 s; killed then"), "{line}");
    assert_said(
        &said,
        &[
            "herd: the machine is on its way to its end already",
            "herd: ending what no unit knows: sleep (",
            "herd: powering off",
        ],
    );
}

#[test]
fn ctrl_alt_del_seven_times_in_two_seconds_waits_for_no_unit() {
    let said = stubborn("infinity")
        .speak("trap '' TERM; for i in 1 2 3 4 5 6 7; do kill -INT 1; sleep 0.05; done");
    let Some(said) = said else { return };
    assert_said(
        &said,
        &["herd: ending what no unit knows: ", "herd: rebooting"],
    );
}

#[test]
fn force_shortens_an_end_that_has_begun() {
    let said = stubborn("infinity").speak(
        "trap '' TERM HUP
         herd poweroff --no-wait
         (until herd status | grep -o 'stubborn: stopping.*without a limit'; do :; done
          herd reboot --force --no-wait) &",
    );
    let Some(said) = said else { return };
    assert_said(&said, &["without a limit", "herd: rebooting"]);
}

#[test]
fn a_unit_for_the_moment_goes_before_what_would_be_done() {
    let unit = |word: &str| {
        format!("command = ['/bin/sh', '-c', 'echo {word} >/dev/console']\noneshot = true")
    };
    let said = machine()
        .available("ctrl-alt-del", &unit("pressed"))
        .available("sigpwr", &unit("failing"))
        .speak(
            "kill -INT 1; until herd logs herd | grep -q 'ctrl-alt-del: completed'; do :; done
             kill -PWR 1; until herd logs herd | grep -q 'sigpwr: completed'; do :; done
             echo still here; kill -38 1",
        );
    let Some(said) = said else { return };
    assert_said(
        &said,
        &["pressed", "failing", "still here", "herd: powering off"],
    );
}

#[test]
fn a_soft_reboot_begins_anew_on_the_same_kernel_with_the_same_mounts() {
    let said = machine()
        .unit("sleeper", "command = 'sleep infinity'")
        .speak(
            "cut -d' ' -f1 /proc/sys/kernel/random/boot_id; ulimit -n; herd status sleeper | grep -o 'active (running)'
             if [ ! -e /run/here ]; then
                 mkdir /run/here; mount -t tmpfs x /run/here; touch /run/here/kept
                 setsid sleep 1000 &
                 herd soft-reboot --no-wait
             elif [ ! -e /run/here/again ]; then
                 ls /run/here; touch /run/here/again; pgrep -c sleep; ls /run/nologin
                 kill -51 1; sleep 100
             else
                 echo third life; kill -38 1
             fi",
        );
    let Some(said) = said else { return };
    assert_said(
        &said,
        &[
            "active (running)",
            "herd: starting user space anew",
            "active (running)",
            "kept",
            "1",
            "cannot access '/run/nologin'",
            "herd: starting user space anew",
            "active (running)",
            "third life",
            "herd: powering off",
        ],
    );
    let ids: Vec<_> = said
        .iter()
        .filter(|line| line.matches('-').count() == 4)
        .collect();
    assert!(
        ids.len() == 3 && ids.windows(2).all(|two| two[0] == two[1]),
        "{said:#?}"
    );
    assert_eq!(said.iter().filter(|line| *line == "1024").count(), 3);
}

#[test]
fn a_scheduled_end_is_told_on_terminals_and_can_be_called_off() {
    let said = machine().speak(
        "script -qfc 'sleep 1000' /tmp/seen </dev/null >/dev/null & first=$!
         until [ -e /dev/pts/0 ]; do :; done
         # A terminal that nobody reads keeps nobody up.
         kill -STOP $first; timeout 1 yes >/dev/pts/0
         script -qfc 'sleep 1000' /tmp/told </dev/null >/dev/null &
         until [ -e /dev/pts/1 ]; do :; done
         herd poweroff --when +4 tea is ready
         cat /run/nologin
         until grep -q tea /tmp/told; do :; done; tr -d '\\r\\a' </tmp/told | grep -v '^$'
         herd status | head -2
         ln -s $(readlink -f /proc/1/exe) /tmp/shutdown
         /tmp/shutdown -r 23:59
         herd status | grep -o 'rebooting at .* 23:59:00'
         /tmp/shutdown -k +5 only words for now; /tmp/shutdown --no-wall -k +5
         /tmp/shutdown -c never mind; /tmp/shutdown -c
         until grep -q mind /tmp/told; do :; done; grep -A1 'after all' /tmp/told
         ls /run/nologin
         herd poweroff --when soon; /tmp/shutdown -x
         /tmp/shutdown -k +7 first words; /tmp/shutdown -k +8 second words; herd shutdown --cancel
         /tmp/shutdown -k now only words; ls /run/nologin
         until grep -q 'only words' /tmp/told; do :; done
         /tmp/shutdown -h now",
    );
    let Some(said) = said else { return };
    assert_said(
        &said,
        &[
            "powering off at ",
            "The machine is powering off in 4 minutes.",
            "tea is ready",
            "Broadcast message from ",
            "The machine is powering off in 4 minutes.",
            "tea is ready",
            "powering off at ",
            "tea is ready",
            "rebooting at ",
            "powering off in ",
            "rebooting at ",
            " was announced this once",
            " was scheduled before, and stays so",
            "nobody was told",
            " was scheduled before, and stays so",
            "herd: no end of the machine is scheduled",
            "The machine is not rebooting after all.",
            "never mind",
            "cannot access '/run/nologin'",
            "herd: \"soon\": takes now, +MINUTES or HH:MM",
            "herd: shutdown: \"-x\" is no option of it; herd(8) lists them",
            "powering off is announced for ",
            "powering off is announced for ",
            "powering off in ",
            "powering off is announced for ",
            "cannot access '/run/nologin'",
            "herd: powering off",
        ],
    );
}

#[test]
fn the_begin_and_the_end_stand_in_utmp_and_wtmp() {
    let said = machine().lay(": >/var/log/wtmp").speak(
        "who -b /run/utmp; stat -c 'utmp %a %G' /run/utmp
         stat -c 'wtmp %s' /var/log/wtmp
         herd poweroff --wtmp-only; utmpdump /var/log/wtmp 2>/dev/null | cut -c1-31
         kill -38 1",
    );
    let Some(said) = said else { return };
    assert_said(
        &said,
        &[
            "system boot",
            "utmp 664 utmp",
            "wtmp 384",
            "[2] [00000] [~~  ] [reboot  ]",
            "[1] [00000] [~~  ] [shutdown]",
        ],
    );
}

#[test]
fn a_soft_reboot_is_no_new_boot_and_takes_no_nologin_of_others_away() {
    let said = machine().lay("[ -e /run/mine ] || : >/var/log/wtmp").speak(
        "if [ ! -e /run/mine ]; then
             touch /run/mine; herd soft-reboot --no-wait
         elif [ ! -e /run/nologin ]; then
             printf 'backup runs\\nl\\344uft\\n' >/run/nologin; herd soft-reboot --no-wait
         else
             head -n 1 /run/nologin
             stat -c 'wtmp %s' /var/log/wtmp
             kill -38 1
         fi",
    );
    let Some(said) = said else { return };
    assert_said(
        &said,
        &[
            "herd: starting user space anew",
            "herd: starting user space anew",
            "backup runs",
            "wtmp 384",
        ],
    );
}

/// Without a fork, which user-mode Linux does not survive being killed in.
const LONG: &str = "exec sleep 100";

#[test]
fn a_unit_may_end_the_machine() {
    let cases = [
        ("reboot", &["herd: rebooting"][..]),
        ("poweroff-force", &["herd: powering off"]),
    ];
    for (action, expected) in cases {
        let unit = format!(
            "command = ['/bin/false']\nrestart = 'no'\nfailure_action = '{action}'\nafter = ['multi-user']"
        );
        let Some(said) = machine().unit("job", &unit).speak(LONG) else {
            return;
        };
        assert_said(&said, expected);
    }
    // Nothing is stopped, let go or said.
    let unit = "command = ['/bin/false']\nrestart = 'no'\nfailure_action = 'halt-immediate'\nafter = ['multi-user']";
    let Some(said) = machine().unit("job", unit).speak(LONG) else {
        return;
    };
    assert_silent(&said, "herd: halting");
}

#[test]
fn file_systems_on_loop_devices_and_swap_are_let_go_clean() {
    if !needs::program("debugfs") {
        return;
    }
    let disks = machine();
    let image = disks.path("image");
    let status = Command::new("sh")
        .arg("-c")
        .arg("truncate -s 8M \"$0\" && mkfs.ext4 -q \"$0\"")
        .arg(&image)
        .status();
    assert!(status.unwrap().success());
    let kept = disks.path("kept");
    fs::copy(&image, &kept).unwrap();
    let outside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let target = outside.path().join("image");
    fs::rename(&kept, &target).unwrap();
    let said = disks.speak(&format!(
        "mkdir /mnt/a; mount -o loop {} /mnt/a
         truncate -s 2M /mnt/a/inner; mkfs.ext4 -q /mnt/a/inner; mkdir /mnt/a/b; mount -o loop /mnt/a/inner /mnt/a/b
         dd if=/dev/zero of=/swap bs=1M count=8 status=none; chmod 600 /swap; mkswap -q /swap; swapon /swap
         echo written >/mnt/a/b/last; echo written >/mnt/a/last
         setsid sh -c 'exec <>/mnt/a/b/last; trap \"\" TERM HUP; sleep 1000 & wait' &
         kill -38 1; sleep 100",
        target.display()
    ));
    let Some(said) = said else { return };
    assert_said(
        &said,
        &["herd: killing what no unit knows: ", "herd: powering off"],
    );
    assert_silent(&said, "stays");
    assert_clean(&target);
}

#[test]
fn a_herd_that_did_not_boot_the_machine_does_not_end_it() {
    let herd = Herd::builder()
        .unit("web", "command = 'sleep infinity'")
        .start();
    for verb in ["poweroff", "reboot", "halt", "kexec", "soft-reboot"] {
        let output = herd.ctl(&[verb]);
        assert_eq!(
            output.stderr,
            "herd: herd did not boot this machine and does not end it; `herd shutdown` ends herd\n"
        );
        assert_eq!(output.code, 1);
    }
    let output = herd.ctl(&["shutdown", "--cancel"]);
    assert_eq!(output.stderr, "herd: no end of the machine is scheduled\n");
    herd.wait_state("web", "active");
    herd.shutdown();
}

#[test]
fn where_there_is_no_machine_to_end_a_units_action_ends_herd_with_its_code() {
    let mut herd = Herd::builder()
        .gate("gate")
        .unit(
            "job",
            "command = ['sh', '-c', 'read x < @D@/gate; exit 3']\nrestart = 'no'\nfailure_action = 'reboot'",
        )
        .unit("web", "command = 'sleep infinity'")
        .start();
    herd.wait_log("herd", "web: active");
    herd.open_gate("gate");
    herd.wait_log(
        "herd",
        "job: its end asks for reboot; herd did not boot this machine, and ends itself",
    );
    assert_eq!(herd.wait_end().code(), Some(3));
}

/// Its ext4 file system was let go, with all that was written.
fn assert_clean(image: &std::path::Path) {
    let show = |request: &str| {
        let output = Command::new("debugfs")
            .args(["-R", request])
            .arg(image)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(show("cat last"), "written\n");
    let state = show("show_super_stats -h");
    assert!(state.contains("Filesystem state:         clean"), "{state}");
    assert!(!state.contains("needs_recovery"), "{state}");
}
