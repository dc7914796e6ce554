//! herd in the foreground, as process 1, as a user's own, and at rest.

use nix::sys::signal::Signal;

use crate::fixture::{Herd, gone};
use crate::needs;

#[test]
fn run_shows_what_services_write_and_ctrl_c_stops_all_in_order() {
    // The shell's child may be told before it is `sleep`, and then takes the signal for the shell's: mixed.
    let noting = |name: &str, more: &str| {
        format!(
            "command = ['sh', '-c', 'trap \"echo stopping {name}; exit\" TERM; echo up {name}; sleep infinity & echo >&3; \
             while :; do wait; done']\nready = 'fd:3'\nkill_mode = 'mixed'\n{more}"
        )
    };
    let mut herd = Herd::builder()
        .unit("db", &noting("db", ""))
        .unit("web", &noting("web", "after = ['db']"))
        .foreground()
        .start();
    herd.wait_state("web", "active");
    herd.signal(Signal::SIGINT);
    assert_eq!(herd.wait_end().code(), Some(0));
    let text = herd.read("herd.out");
    let words: Vec<&str> = ["up db", "up web", "stopping web", "stopping db"]
        .into_iter()
        .filter(|word| text.contains(word))
        .collect();
    assert_eq!(words.len(), 4, "{text}");
    let places: Vec<usize> = words.iter().map(|word| text.find(word).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn a_second_ctrl_c_kills() {
    let mut herd = Herd::builder()
        .unit(
            "web",
            "command = '@SERVICE@ hold ready sleep'\nready = 'notify'\ntimeout_stop = '1h'",
        )
        .foreground()
        .start();
    herd.wait_state("web", "active");
    let pid = herd.main_pid("web");
    herd.signal(Signal::SIGINT);
    herd.wait_state("web", "deactivating");
    herd.signal(Signal::SIGINT);
    herd.wait_end();
    assert!(gone(pid));
}

#[test]
fn failure_action_ends_herd_with_its_code() {
    let mut herd = Herd::builder()
        .unit(
            "job",
            "command = 'false'\nrestart = 'no'\nfailure_action = 'exit'\nafter = ['web']",
        )
        .unit("web", "command = 'sleep infinity'")
        .start();
    assert_eq!(herd.wait_end().code(), Some(1));
}

#[test]
fn success_action_ends_herd_well() {
    let mut herd = Herd::builder()
        .unit(
            "job",
            "command = 'true'\noneshot = true\nsuccess_action = 'exit'",
        )
        .unit("web", "command = 'sleep infinity'")
        .foreground()
        .start();
    assert_eq!(herd.wait_end().code(), Some(0));
}

#[test]
fn as_process_1_of_a_namespace_it_reaps_orphans_and_ends_in_order() {
    if !needs::root() || !needs::unshare(&["--pid", "--fork", "--mount-proc"]) {
        return;
    }
    let orphans = "for i in 1 2 3 4 5 6 7 8 9; do (sh -c : &) ; done; echo made; \
                   read x < @D@/gate; exec ps -A -o stat=,comm=";
    let mut herd = Herd::builder()
        .gate("gate")
        .unit("web", "command = 'sleep infinity'")
        .unit(
            "parent",
            &format!("command = ['sh', '-c', '{orphans}']\nrestart = 'no'"),
        )
        .pid_1()
        .start();
    herd.wait_log("herd", "web: active");
    herd.wait_log("parent", "made");
    assert!(herd.main_pid("web") > 1);
    herd.open_gate("gate");
    herd.wait_log("herd", "parent: exited");
    let states = herd.out("parent");
    assert!(
        states.iter().any(|state| state.ends_with("herd")),
        "{states:?}"
    );
    assert!(
        states.iter().all(|state| !state.starts_with('Z')),
        "{states:?}"
    );
    herd.ok(&["shutdown"]);
    assert_eq!(herd.wait_end().code(), Some(0));
}

#[test]
fn process_1_gives_on_the_exit_code_of_failure_action() {
    if !needs::root() || !needs::unshare(&["--pid", "--fork", "--mount-proc"]) {
        return;
    }
    let mut herd = Herd::builder()
        .gate("gate")
        .unit(
            "job",
            "command = ['sh', '-c', 'read x < @D@/gate; exit 7']\nrestart = 'no'\nfailure_action = 'exit'",
        )
        .pid_1()
        .start();
    herd.wait_log("herd", "job: active");
    herd.open_gate("gate");
    assert_eq!(herd.wait_end().code(), Some(7));
}

#[test]
fn process_1_stops_all_on_term() {
    if !needs::root() || !needs::unshare(&["--pid", "--fork", "--mount-proc"]) {
        return;
    }
    let mut herd = Herd::builder()
        .unit("web", "command = 'sleep infinity'")
        .pid_1()
        .start();
    herd.wait_log("herd", "web: active");
    // From inside it is nothing but a signal; from outside too, for herd has a use for it.
    let pid: i32 = herd.init_pid().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    assert_eq!(herd.wait_end().code(), Some(0));
    herd.wait_log("herd", "web: stopped");
}

/// herd of an ordinary user, who has no cgroups.
fn as_nobody(units: &[(&str, &str)]) -> Herd {
    let mut builder = Herd::builder();
    let bin = builder.dir().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_herd"), bin.join("herd")).unwrap();
    std::fs::copy(crate::fixture::program("service"), bin.join("service")).unwrap();
    for (name, text) in units {
        builder = builder.unit(name, text);
    }
    let dir = builder.dir().display().to_string();
    builder
        .program(&format!("{dir}/bin/herd"))
        .environment("XDG_RUNTIME_DIR", &dir)
        .environment("HOME", &dir)
        .owner(65534)
        .start()
}

#[test]
fn a_users_own_herd_lets_nothing_escape_without_cgroups() {
    if !needs::root() || !needs::program("setpriv") {
        return;
    }
    let herd = as_nobody(&[(
        "web",
        "command = ['sh', '-c', '@D@/bin/service orphan:@D@/one hold sleep; @D@/bin/service daemon:@D@/two hold sleep; id -u; exec @D@/bin/service ready sleep']\n\
         ready = 'notify'\ntimeout_stop = '200ms'",
    )]);
    herd.wait_state("web", "active");
    assert_eq!(herd.wait_out("web", 1), ["65534"]);
    let info = herd.call("Info", &serde_json::json!({}));
    assert_eq!(info["parameters"]["mode"], "user");
    let pids: Vec<i32> = ["one", "two"]
        .iter()
        .map(|name| herd.read(name).trim().parse().unwrap())
        .collect();
    herd.ok(&["stop", "web"]);
    for pid in pids {
        assert!(gone(pid));
    }
}

#[test]
fn what_a_users_killed_herd_left_is_ended_by_the_next() {
    if !needs::root() || !needs::program("setpriv") {
        return;
    }
    let mut herd = as_nobody(&[
        (
            "web",
            "command = ['sh', '-c', '@D@/bin/service daemon:@D@/one hold sleep; exec @D@/bin/service ready sleep']\n\
             ready = 'notify'\ntimeout_stop = '200ms'",
        ),
        ("box", "command = 'sleep 1000'\nboxed = true"),
    ]);
    herd.wait_state("web", "active");
    herd.wait_state("box", "active");
    let daemon: i32 = herd.read("one").trim().parse().unwrap();
    let left = [herd.main_pid("web"), daemon, herd.main_pid("box")];
    let stranger = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups", "sleep", "1000"])
        .env("INVOCATION_ID", "00112233445566778899aabbccddeeff")
        .spawn();
    let mut stranger = stranger.unwrap();
    herd.signal(Signal::SIGKILL);
    herd.wait_end();
    let lives = |pid: &i32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(left.iter().all(lives));
    let dir = herd.dir().to_owned();
    let mut again = std::process::Command::new("setpriv");
    again
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(dir.join("bin/herd"))
        .env("XDG_RUNTIME_DIR", &dir)
        .env("HOME", &dir);
    herd.start_again(again);
    assert!(left.iter().all(|pid| gone(*pid)));
    herd.wait_state("web", "active");
    herd.wait_log(
        "herd",
        &format!("process {daemon}: ending what an earlier herd left running"),
    );
    assert!(
        stranger.try_wait().unwrap().is_none(),
        "it has another's mark"
    );
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn limits_that_no_cgroup_can_hold_are_refused() {
    if !needs::root() || !needs::program("setpriv") {
        return;
    }
    let herd = as_nobody(&[("web", "command = 'sleep 50'\n[limits]\ntasks = 5")]);
    herd.wait_log("web", "need a cgroup, and none is ours to use here");
    assert_ne!(herd.state("web"), "active");
}

#[test]
fn a_stray_that_hid_from_its_service_ends_with_herd() {
    if !needs::root() || !needs::program("setpriv") {
        return;
    }
    let herd = as_nobody(&[(
        "web",
        r"command = ['sh', '-c', '''(env -i setsid sh -c 'echo $$$$ > @D@/stray; exec sleep 5552' &) ; sleep 1000''']",
    )]);
    let stray: i32 = herd.wait_file("stray", "\n").trim().parse().unwrap();
    herd.shutdown();
    assert!(gone(stray));
}

#[test]
fn an_idle_herd_never_wakes_up() {
    let herd = Herd::builder()
        .unit("web", "command = 'sleep infinity'")
        .unit("api", "command = '@SERVICE@ ready sleep'\nready = 'notify'")
        .start();
    herd.wait_state("web", "active");
    herd.wait_state("api", "active");
    // The event that bounds the time is the end of a process that herd knows nothing of.
    let settle = |seconds: &str| {
        assert!(
            std::process::Command::new("sleep")
                .arg(seconds)
                .status()
                .unwrap()
                .success()
        );
    };
    settle("0.3");
    let switches = |pid: i32| {
        let mut count = 0;
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let text = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            for line in text.lines().filter(|line| line.contains("ctxt_switches")) {
                count += line
                    .split_whitespace()
                    .nth(1)
                    .unwrap()
                    .parse::<u64>()
                    .unwrap();
            }
        }
        count
    };
    let before = switches(herd.pid());
    settle("1.5");
    assert_eq!(switches(herd.pid()) - before, 0);
}

#[test]
fn a_thousand_restarts_cost_no_descriptor() {
    let herd = Herd::with(&[(
        "web",
        "command = '@SERVICE@ say:run exit:1'\nrestart = 'always'\nrestart_delay = '1ms'\n\
         restart_delay_max = '1ms'\nmax_retries = 1000",
    )]);
    let fds = || {
        std::fs::read_dir(format!("/proc/{}/fd", herd.pid()))
            .unwrap()
            .count()
    };
    herd.wait_out("web", 10);
    let early = fds();
    herd.wait_state("web", "failed");
    assert_eq!(herd.wait_out("web", 1001).len(), 1001);
    assert_eq!(herd.status("web")["restarts"], 1000);
    // Two of them may be connections of this test.
    let late = fds();
    assert!(
        late <= early + 2,
        "{early} descriptors after ten restarts, {late} after a thousand"
    );
}
