//! How a container with herd as its first process ends: by signals, with a unit, when all is done, in time.

use std::time::{Duration, Instant};

use crate::fixture::{Container, Image};
use crate::needs;

/// As docker and podman count.
const SIGRTMIN: i32 = 34;

fn ready() -> bool {
    needs::root() && needs::program("crun") && needs::program("busybox")
}

/// A shell that says when it is asked to end, and ends, or does not.
fn asked(name: &str, ends: bool) -> String {
    let end = if ends { "; exit" } else { "" };
    // The child is told and ended by herd, whatever the shell does.
    format!(
        "command = ['sh', '-c', 'trap \"echo {name} is asked{end}\" TERM; echo {name} is up; \
         while :; do sleep 1000 & wait; done']\nkill_mode = 'mixed'\n"
    )
}

#[test]
fn sigterm_of_the_engine_stops_all_in_order() {
    if !ready() {
        return;
    }
    let image = Image::minimal()
        .unit("db", &asked("db", true))
        .unit("web", &format!("{}after = ['db']", asked("web", true)));
    let mut container = Container::of(image).start();
    // Both are started one after the other, and speak when they come to it.
    container.wait_out("db is up");
    container.wait_out("web is up");
    container.stop();
    let out = container.out();
    let places = ["web is asked", "db is asked"].map(|text| out.find(text));
    assert!(places.iter().all(Option::is_some), "{out}");
    assert!(places.is_sorted(), "{out}");
}

#[test]
fn deaf_services_are_killed_in_time_and_what_they_need_is_still_asked() {
    if !ready() {
        return;
    }
    let image = Image::minimal()
        .unit("db", &asked("db", true))
        .unit("web", &format!("{}after = ['db']", asked("web", false)));
    let mut container = Container::of(image)
        .arguments(&["--stop-timeout", "1s"])
        .start();
    container.wait_out("web is up");
    let began = Instant::now();
    container.stop();
    let took = began.elapsed();
    // Half a second is web's share; db has ended at once.
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let out = container.out();
    let places = ["web is asked", "db is asked"].map(|text| out.find(text));
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{out}"
    );
}

#[test]
fn without_a_word_the_stop_of_the_first_process_ends_before_dockers_patience() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit("web", &asked("web", false));
    let mut container = Container::of(image).start();
    container.wait_out("web is up");
    let began = Instant::now();
    container.stop();
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(8), "{took:?}");
    assert!(took < Duration::from_millis(9_800), "{took:?}");
}

#[test]
fn the_signals_that_end_a_machine_end_the_container() {
    if !ready() {
        return;
    }
    for (signal, code) in [
        (SIGRTMIN + 3, 0),
        (SIGRTMIN + 4, 0),
        (SIGRTMIN + 5, 133),
        (SIGRTMIN + 13, 0),
        (SIGRTMIN + 15, 133),
    ] {
        let ends = signal < SIGRTMIN + 13;
        let image = Image::minimal().unit("web", &asked("web", ends));
        let mut container = Container::of(image).start();
        container.wait_out("web is up");
        container.signal(signal);
        assert_eq!(container.wait_end(), code, "{signal}: {}", container.out());
        assert_eq!(container.out().contains("web is asked"), ends, "{signal}");
    }
}

#[test]
fn other_signals_do_no_harm_and_sighup_reads_the_units_again() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit("web", "command = 'sleep 1000'");
    let units = image.root().join("etc/herd/enabled");
    let mut container = Container::of(image).start();
    container.wait_out("web: active");
    for harmless in [10, 12, 13, 28, SIGRTMIN + 1, SIGRTMIN + 20, 14, 24] {
        container.signal(harmless);
    }
    std::fs::write(units.join("new.toml"), "command = 'sleep 1000'").unwrap();
    container.signal(1);
    container.wait_out("new: active");
    container.stop();
}

#[test]
fn the_container_ends_with_the_code_of_its_main_unit() {
    if !ready() {
        return;
    }
    for (command, code) in [
        ("sh -c 'exit 7'", 7),
        ("true", 0),
        ("sh -c 'kill -9 $$$$'", 137),
        ("/bin/nothing", 127),
        ("/etc/passwd", 126),
    ] {
        let image = Image::minimal()
            .unit("db", "command = 'sleep 1000'\nbefore = ['web']")
            .unit("web", &format!("command = \"{command}\"\nrestart = 'no'"));
        let mut container = Container::of(image)
            .arguments(&["--exit-with", "web"])
            .start();
        assert_eq!(container.wait_end(), code, "{command}: {}", container.out());
        container.wait_out("web has ended; stopping everything in order");
        container.wait_out("db: stopped");
    }
}

#[test]
fn a_start_that_fails_for_other_reasons_is_125_and_one_that_takes_too_long_124() {
    if !ready() {
        return;
    }
    let needs_db = "command = 'sleep 1000'\nrequires = ['db']\nafter = ['db']";
    let late = "command = 'sleep 1000'\nready = 'notify'\ntimeout_start = '50ms'\nrestart = 'no'";
    for (web, code) in [(needs_db, 125), (late, 124)] {
        let image = Image::minimal()
            .unit("db", "command = 'false'\noneshot = true\nrestart = 'no'")
            .unit("web", web);
        let mut container = Container::of(image)
            .arguments(&["--exit-with", "web"])
            .start();
        assert_eq!(container.wait_end(), code, "{}", container.out());
    }
}

#[test]
fn a_restart_comes_before_the_end_with_a_unit() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit(
        "web",
        "command = ['sh', '-c', 'echo try; exit 5']\nmax_retries = 1\nrestart_delay = '1ms'",
    );
    let mut container = Container::of(image)
        .arguments(&["--exit-with", "web"])
        .start();
    assert_eq!(container.wait_end(), 5);
    assert_eq!(
        container.out().matches("| try").count(),
        2,
        "{}",
        container.out()
    );
}

#[test]
fn a_main_unit_that_is_not_there_or_broken_is_told_before_anything_starts() {
    if !ready() {
        return;
    }
    let image = Image::minimal()
        .unit("db", "command = 'sleep 1000'")
        .unit("web", "comand = 'true'");
    let mut container = Container::of(image)
        .arguments(&["--exit-with", "api"])
        .start();
    assert_eq!(container.wait_end(), 3);
    assert!(
        container
            .out()
            .contains("herd: --exit-with api: error: there is no unit api"),
        "{}",
        container.out()
    );
    let image = Image::minimal().unit("web", "comand = 'true'");
    let mut container = Container::of(image)
        .arguments(&["--exit-with", "web"])
        .start();
    assert_eq!(container.wait_end(), 1);
    let out = container.out();
    assert!(out.contains("did you mean `command`?"), "{out}");
    assert!(!out.contains("active"), "{out}");
    // Sound by itself, and nothing that could ever run.
    let needs_it = "command = 'true'\nrequires = ['cache']\nafter = ['cache']";
    let image = Image::minimal()
        .unit("db", "command = 'sleep 1000'")
        .unit("web", needs_it);
    let mut container = Container::of(image)
        .arguments(&["--exit-with", "web"])
        .start();
    assert_eq!(container.wait_end(), 1);
    let out = container.out();
    assert!(
        out.starts_with("herd: --exit-with web: error: there is no unit cache\n"),
        "{out}"
    );
    assert!(!out.contains("active"), "{out}");
}

#[test]
fn a_main_unit_that_nothing_else_starts_is_started() {
    if !ready() {
        return;
    }
    let image = Image::minimal()
        .unit("db", "command = 'sleep 1000'\nbefore = ['web@blue']")
        .unit(
            "web@",
            "command = ['sh', '-c', 'echo %i; exit 9']\nrestart = 'no'",
        );
    let mut container = Container::of(image)
        .arguments(&["--exit-with", "web@blue"])
        .start();
    assert_eq!(container.wait_end(), 9, "{}", container.out());
    container.wait_out("web@blue | blue");
    let image = Image::minimal().unit("web@", "command = 'true'");
    let mut container = Container::of(image)
        .arguments(&["--exit-with", "web@"])
        .start();
    assert_eq!(container.wait_end(), 2);
    assert_eq!(
        container.out(),
        "herd: --exit-with web@: a template is nothing that runs\nhint: name one of it, as web@one\n"
    );
}

#[test]
fn a_main_unit_can_be_named_by_its_other_name() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit(
        "web",
        "command = ['sh', '-c', 'exit 9']\nrestart = 'no'\naliases = ['www']",
    );
    let mut container = Container::of(image)
        .arguments(&["--exit-with", "www"])
        .start();
    assert_eq!(container.wait_end(), 9, "{}", container.out());
}

#[test]
fn below_a_small_init_it_ends_as_the_first_process_would() {
    const TINI: &str = "/usr/bin/tini-static";
    if !ready() || !needs::path(TINI) {
        return;
    }
    let image = Image::minimal()
        .unit("prepare", "command = 'true'\noneshot = true")
        .unit(
            "job",
            "command = ['sh', '-c', 'echo $$COLOUR; exit 3']\nrestart = 'no'\nafter = ['prepare']",
        );
    let mut container = Container::of(image)
        .below(TINI, &["--"])
        .environment("COLOUR", "blue")
        .start();
    // With the code of the first failure, once nothing is left.
    assert_eq!(container.wait_end(), 3, "{}", container.out());
    container.wait_out("job      | blue");
    assert_eq!(
        container.lines("herd")[0],
        "* below process 1 of a container of oci, by the variable `container`"
    );

    let image = Image::minimal().unit("web", &asked("web", true));
    let mut container = Container::of(image).below(TINI, &["-g", "--"]).start();
    container.wait_out("web is up");
    // tini hands every signal on, systemd's too.
    container.signal(SIGRTMIN + 5);
    assert_eq!(container.wait_end(), 133, "{}", container.out());
    assert!(container.out().contains("web is asked"));
}

#[test]
fn one_whose_shell_has_exited_is_not_what_the_container_was_started_for() {
    const TINI: &str = "/usr/bin/tini-static";
    if !ready() || !needs::path(TINI) {
        return;
    }
    // In the background of a shell that is gone, it is a child of process 1 all the same.
    let orphan = "until grep -q '^PPid:.1$' /proc/$$/status; do :; done; exec \"$@\"";
    let script = format!(
        "(sh -c '{}' sh \"$@\" &); sleep 1000",
        orphan.replace('\'', "'\\''")
    );
    let image = Image::minimal().unit(
        "job",
        "command = ['sh', '-c', 'echo colour: $$COLOUR.']\nrestart = 'no'",
    );
    let container = Container::of(image)
        .below(TINI, &["--", "sh", "-c", &script, "sh"])
        .environment("COLOUR", "blue")
        .start();
    // What the container was given goes to no service, and it does not count as below process 1.
    container.wait_out("colour: .");
    assert!(
        !container.out().contains("below process 1"),
        "{}",
        container.out()
    );
}

/// A unit that names another and is started by nobody starts nothing.
#[test]
fn a_main_unit_that_only_its_own_followers_name_is_started() {
    if !ready() {
        return;
    }
    const END: &str = "command = ['sh', '-c', 'exit 9']\nrestart = 'no'\n";
    let sidecar = Image::minimal()
        .unit("main@", &format!("{END}wants = ['side@%i']"))
        .unit("side@", "command = 'sleep 1000'\nrequires = ['main@%i']");
    let handler = Image::minimal()
        .unit("main@", &format!("{END}on_success = ['after@%i']"))
        .unit(
            "after@",
            "command = 'true'\noneshot = true\nwants = ['main@%i']",
        );
    for image in [sidecar, handler] {
        let mut container = Container::of(image)
            .arguments(&["--exit-with", "main@x"])
            .start();
        assert_eq!(container.wait_end(), 9, "{}", container.out());
    }
}

#[test]
fn a_container_without_anything_left_to_run_ends() {
    if !ready() {
        return;
    }
    let image = Image::minimal()
        .unit(
            "prepare",
            "command = 'true'\noneshot = true\nremain_after_exit = true",
        )
        .unit(
            "job",
            "command = ['sh', '-c', 'exit 3']\nrestart = 'no'\nafter = ['prepare']",
        )
        .unit("all", "type = 'target'\nwants = ['job']");
    let mut container = Container::of(image).start();
    assert_eq!(container.wait_end(), 3);
    container.wait_out("nothing is left to run; stopping everything in order");
}

#[test]
fn a_container_without_anything_to_run_ends_and_says_why() {
    if !ready() {
        return;
    }
    let broken = "comand = 'true'";
    let nothing = "herd     * nothing is left to run; stopping everything in order";
    let none = "herd     * /etc/herd/enabled has no unit to run; stopping everything in order";
    for (image, word) in [
        (Image::minimal(), none),
        (Image::minimal().unit("web", broken), none),
        (Image::minimal().unit("all", "kind = 'target'"), nothing),
        // One that is in error is no success, whatever the others did.
        (
            Image::minimal()
                .unit("web", broken)
                .unit("job", "command = 'true'\noneshot = true"),
            nothing,
        ),
    ] {
        let mut container = Container::of(image).start();
        assert_eq!(container.wait_end(), 1, "{}", container.out());
        let out = container.out();
        assert!(out.contains(word), "no {word:?} in {out}");
    }
    // Units may come later.
    let image = Image::minimal();
    let mut container = Container::of(image)
        .arguments(&["--when-done", "stay"])
        .start();
    container.wait_out("process 1 of a container");
    container.stop();
}

#[test]
fn with_when_done_stay_it_waits_for_what_is_started_by_hand() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit("job", "command = 'true'\noneshot = true");
    let mut container = Container::of(image)
        .arguments(&["--when-done", "stay"])
        .start();
    container.wait_out("job: completed");
    assert_eq!(container.exec(&["/herd", "start", "job"]).code, 0);
    container.stop();
}

#[test]
fn orphans_of_services_are_reaped_at_once() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit(
        "storm",
        "command = ['sh', '-c', 'for i in $$(busybox seq 500); do (true &); done; echo made; sleep 1000']",
    );
    let mut container = Container::of(image).start();
    container.wait_out("made");
    // herd has heard of every end that came before this call's.
    assert_eq!(container.exec(&["/herd", "status"]).code, 0);
    let processes = container.exec(&["ps", "-o", "stat,comm"]);
    let zombies = processes
        .stdout
        .lines()
        .filter(|line| line.starts_with('Z'));
    assert_eq!(zombies.count(), 0, "{processes:?}");
    container.stop();
}
