//! The keys of `[box]` about how the command enters its box, and what in the environment, the
//! session and the descriptors it finds there.

use std::fs;

use serde_json::{Value, json};

use crate::box_probe::{children_named, default_box, machine, run};
use crate::fixture::{Builder, Herd};
use crate::needs;

#[test]
fn argv0_is_what_the_program_sees_as_its_name() {
    if !needs::root() {
        return;
    }
    let report = default_box().keys("argv0 = '-web of %n'").report();
    assert_eq!(report["arguments"], json!(["-web of web", "report"]));
    let report = default_box().report();
    let own = crate::box_probe::probe().display().to_string();
    assert_eq!(report["arguments"], json!([own, "report"]));
}

#[test]
fn a_clear_environment_has_what_the_unit_names_and_nothing_else() {
    if !needs::root() || !machine().is_empty() {
        return;
    }
    let case = default_box()
        .top("user = 'nobody'\nstate_directory = 'web'\npass_environment = ['GIVEN']")
        .top("environment = { OWN = 'own', GIVEN = 'overruled' }")
        .top("environment_file = '@D@/variables'")
        .keys("clear_environment = true");
    let builder = || {
        Herd::builder()
            .environment("GIVEN", "given")
            .environment("OTHER", "other")
            .file("variables", "FROM_FILE=file\n")
    };
    let seen = |case: &crate::box_probe::Boxed| {
        let (herd, output) = run(builder(), &case.unit("report"));
        drop(herd);
        let report: Value = serde_json::from_str(&output).unwrap();
        report["environment"].clone()
    };
    let expected = json!({ "OWN": "own", "GIVEN": "overruled", "FROM_FILE": "file" });
    assert_eq!(seen(&case), expected);
    // A protocol that the unit asked for still has its word.
    let with_watchdog = case.top("watchdog = '1min'");
    let mut names: Vec<String> = seen(&with_watchdog)
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    names.sort();
    let all = [
        "FROM_FILE",
        "GIVEN",
        "NOTIFY_SOCKET",
        "OWN",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    ];
    assert_eq!(names, all);
    fs::remove_dir_all("/var/lib/web").ok();
}

#[test]
fn a_service_stays_in_herds_session_only_when_told() {
    if !needs::root() {
        return;
    }
    assert_eq!(default_box().report()["session"], 2);
    // A session from outside the pid namespace has the number 0 inside.
    let shared = default_box().keys("new_session = false");
    assert_eq!(shared.report()["session"], 0);
    for attack in ["tiocsti", "tiocsti-high", "tioclinux"] {
        assert_eq!(shared.answer(attack), "EPERM", "{attack}");
    }
    // It is ended as a whole all the same.
    let herd = Herd::builder().unit("web", &shared.service("hide")).start();
    herd.wait_log("web", "hidden");
    herd.ok(&["stop", "web"]);
    assert_eq!(children_named("probe", herd.pid()), Vec::<i32>::new());
}

#[test]
fn a_service_dies_with_herd_when_told() {
    if !needs::root() {
        return;
    }
    let case = default_box().keys("die_with_parent = true");
    assert_eq!(case.report()["parent_death_signal"], "SIGKILL");
    assert_eq!(default_box().report()["parent_death_signal"], Value::Null);
    for keys in ["", "as_pid_1 = true"] {
        let unit = case.clone().keys(keys).service("stay");
        let mut herd = Herd::builder().unit("web", &unit).start();
        herd.wait_state("web", "active");
        let pid = herd.main_pid("web");
        let base = crate::box_ends::herd_group(&herd);
        herd.signal(nix::sys::signal::Signal::SIGKILL);
        herd.wait_end();
        assert!(crate::fixture::gone(pid), "{keys}");
        // What a herd that was killed leaves is for the next one to clear.
        for socket in ["run/control.sock", "run/notify"] {
            fs::remove_file(herd.path(socket)).unwrap();
        }
        crate::box_ends::remove(&base);
    }
}

/// A herd that was itself started with descriptors 5 and 9, and the probe's report under it.
fn given(builder: Builder) -> Builder {
    let path = builder.dir().join("given").display().to_string();
    builder.file("given", "for the service").wrap(&[
        "bash",
        "-c",
        &format!("exec 5<{path} 9<{path}; exec \"$0\" \"$@\""),
    ])
}

#[test]
fn descriptors_of_herds_own_start_reach_the_service_that_names_them() {
    if !needs::root() || !needs::program("bash") {
        return;
    }
    let descriptors = |keys: &str| {
        let builder = given(Herd::builder());
        let directory = builder.dir().display().to_string();
        let (herd, output) = run(builder, &default_box().keys(keys).unit("report"));
        drop(herd);
        let report: Value = serde_json::from_str(&output.replace(&directory, "@D@")).unwrap();
        report["descriptors"].clone()
    };
    let named = descriptors("inherit_fds = [9]");
    assert_eq!(named["9"], "@D@/given");
    assert_eq!(named.as_object().unwrap().len(), 4, "{named}");
    // None is handed on by itself.
    assert_eq!(descriptors("").as_object().unwrap().len(), 3);
}

#[test]
fn a_descriptor_that_herd_does_not_have_keeps_the_service_from_starting() {
    if !needs::root() || !needs::program("bash") {
        return;
    }
    let unit = default_box().keys("inherit_fds = [5, 7]").service("stay");
    let herd = given(Herd::builder()).available("web", &unit).start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    let said = "herd was not started with a descriptor 7";
    assert!(output.stderr.contains(said), "{}", output.stderr);
}
