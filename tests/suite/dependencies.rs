//! Order and requirement: what starts when, and what becomes of those that need what failed.

use crate::fixture::Herd;

/// A service that notes its start and its stop in `@D@/order`.
fn noting(name: &str, more: &str) -> String {
    format!(
        "command = ['sh', '-c', 'trap \"echo -{name} >> @D@/order; exit\" TERM; \
         echo +{name} >> @D@/order; sleep infinity & echo >&3; while :; do wait; done']\n\
         ready = 'fd:3'\n{more}"
    )
}

#[test]
fn services_start_in_their_order_and_stop_in_its_reverse() {
    let herd = Herd::builder()
        .unit("c", &noting("c", "after = ['b']"))
        .unit("b", &noting("b", "after = ['a']"))
        .unit("a", &noting("a", ""))
        .unit("d", &noting("d", "before = ['a']"))
        .start();
    herd.wait_state("c", "active");
    assert_eq!(herd.read("order"), "+d\n+a\n+b\n+c\n");
    herd.write("order", "");
    let order = herd.path("order");
    let file = std::fs::File::open(&order).unwrap();
    herd.shutdown();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut { file }, &mut text).unwrap();
    assert_eq!(text, "-c\n-b\n-a\n-d\n");
}

#[test]
fn a_requirement_is_started_and_its_failure_fails_what_requires_it() {
    let herd = Herd::builder()
        .available("db", "command = 'false'\noneshot = true")
        .available(
            "web",
            "command = 'sleep infinity'\nrequires = ['db']\nafter = ['db']",
        )
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    assert_eq!(
        output.stderr,
        "herd: web: db, which it requires, is not active\nhint: `herd status web` shows more\n"
    );
    assert_eq!(herd.state("db"), "failed");
    assert_eq!(
        herd.history("web")
            .iter()
            .filter(|state| state.contains("running"))
            .count(),
        0
    );
}

#[test]
fn a_requirement_without_a_sound_file_is_told_apart_from_one_that_is_down() {
    let herd = Herd::builder()
        .unit("db", "comand = 'true'")
        .unit(
            "web",
            "command = 'sleep infinity'\nrequires = ['db']\nafter = ['db']",
        )
        .start();
    let why = "db, which it requires, is broken or does not exist";
    let status = herd.ctl(&["status", "web"]).stdout;
    assert!(status.contains(&format!("Failure: {why}\n")), "{status}");
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    assert_eq!(
        output.stderr,
        format!("herd: web: {why}\nhint: `herd status web` shows more\n")
    );
    herd.write_unit("db", "command = 'sleep infinity'");
    herd.wait_state("web", "active");
}

#[test]
fn what_is_only_wanted_may_fail() {
    let herd = Herd::builder()
        .available("cache", "command = 'false'\noneshot = true")
        .available(
            "web",
            "command = 'sleep infinity'\nwants = ['cache']\nafter = ['cache']",
        )
        .start();
    herd.ok(&["start", "web"]);
    assert_eq!(herd.state("cache"), "failed");
    assert_eq!(herd.state("web"), "active");
}

#[test]
fn a_requisite_has_to_be_active_already() {
    let herd = Herd::builder()
        .available("net", "command = 'sleep infinity'")
        .available(
            "web",
            "command = 'sleep infinity'\nrequisite = ['net']\nafter = ['net']",
        )
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("net"), "{output:?}");
    assert_eq!(herd.state("net"), "inactive");
    herd.ok(&["start", "net"]);
    herd.ok(&["start", "web"]);
    assert_eq!(herd.state("web"), "active");
}

#[test]
fn stopping_a_requirement_stops_what_requires_it_first() {
    let herd = Herd::builder()
        .unit("db", &noting("db", ""))
        .unit("web", &noting("web", "requires = ['db']\nafter = ['db']"))
        .start();
    herd.wait_state("web", "active");
    herd.ok(&["stop", "db"]);
    assert_eq!(herd.read("order"), "+db\n+web\n-web\n-db\n");
    assert_eq!(herd.state("web"), "inactive");
}

#[test]
fn a_bound_service_stops_when_the_other_ends_by_itself() {
    let herd = Herd::builder()
        .gate("gate")
        .unit(
            "vpn",
            "command = ['sh', '-c', 'read go < @D@/gate']\nrestart = 'no'",
        )
        .unit(
            "web",
            "command = 'sleep infinity'\nbinds_to = ['vpn']\nafter = ['vpn']",
        )
        .start();
    herd.wait_state("web", "active");
    herd.open_gate("gate");
    herd.wait_state("vpn", "inactive");
    herd.wait_substate("web", "bound");
}

#[test]
fn a_part_stops_and_restarts_with_the_whole() {
    let herd = Herd::builder()
        .unit("stack", "kind = 'target'\nwants = ['web']")
        .unit("web", "command = 'sleep infinity'\npart_of = ['stack']")
        .start();
    herd.wait_state("web", "active");
    herd.wait_state("stack", "active");
    let before = herd.main_pid("web");
    let mark = herd.mark();
    herd.ok(&["restart", "stack"]);
    herd.wait_change(mark, "web to run anew", |change| {
        change.unit == "web" && change.main_pid.is_some_and(|pid| pid != i64::from(before))
    });
    herd.wait_state("web", "active");
    herd.ok(&["stop", "stack"]);
    herd.wait_state("web", "inactive");
}

#[test]
fn starting_one_of_a_conflict_stops_the_other() {
    let herd = Herd::builder()
        .available("apache", "command = 'sleep infinity'")
        .available(
            "nginx",
            "command = 'sleep infinity'\nconflicts = ['apache']",
        )
        .start();
    herd.ok(&["start", "apache"]);
    herd.ok(&["start", "nginx"]);
    assert_eq!(
        (herd.state("apache"), herd.state("nginx")),
        ("inactive".into(), "active".into())
    );
    herd.ok(&["start", "apache"]);
    assert_eq!(
        (herd.state("apache"), herd.state("nginx")),
        ("active".into(), "inactive".into())
    );
}

#[test]
fn an_upheld_service_is_started_again() {
    let herd = Herd::builder()
        .available("worker", "command = 'sleep infinity'\nrestart = 'no'")
        .unit("boss", "command = 'sleep infinity'\nupholds = ['worker']")
        .start();
    herd.wait_state("worker", "active");
    let first = herd.main_pid("worker");
    let mark = herd.mark();
    herd.ok(&["kill", "worker", "-s", "KILL"]);
    herd.wait_change(mark, "worker to run again", |change| {
        change.unit == "worker" && change.main_pid.is_some_and(|pid| pid != i64::from(first))
    });
}

#[test]
fn on_failure_and_on_success_start_others() {
    let herd = Herd::builder()
        .available(
            "alarm",
            "command = ['sh', '-c', 'echo alarmed']\noneshot = true",
        )
        .available(
            "cheer",
            "command = ['sh', '-c', 'echo cheered']\noneshot = true",
        )
        .available(
            "bad",
            "command = 'false'\noneshot = true\non_failure = ['alarm']",
        )
        .available(
            "good",
            "command = 'true'\noneshot = true\non_success = ['cheer']",
        )
        .start();
    herd.ctl(&["start", "bad"]);
    herd.wait_log("alarm", "alarmed");
    assert!(herd.out("cheer").is_empty());
    herd.ok(&["start", "good"]);
    herd.wait_log("cheer", "cheered");
}

#[test]
fn a_cycle_is_told_as_the_path_walked_and_nothing_of_it_starts() {
    let herd = Herd::builder()
        .unit("a", "command = 'sleep infinity'\nafter = ['b']")
        .unit("b", "command = 'sleep infinity'\nafter = ['c']")
        .unit("c", "command = 'sleep infinity'\nafter = ['a']")
        .unit("d", "command = 'sleep infinity'")
        .start();
    herd.wait_state("d", "active");
    let output = herd.ctl(&["start", "a"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output
            .stderr
            .contains("ordering cycle: a after b after c after a"),
        "{output:?}"
    );
    for unit in ["a", "b", "c"] {
        assert_ne!(herd.state(unit), "active");
    }
}

#[test]
fn a_target_is_active_when_what_it_orders_itself_after_is() {
    let herd = Herd::builder()
        .gate("gate")
        .unit("web", "command = ['sh', '-c', 'read go < @D@/gate; echo >&3; sleep infinity']\nready = 'fd:3'")
        .unit("stack", "kind = 'target'\nwants = ['web']\nafter = ['web']")
        .start();
    herd.wait_substate("web", "starting");
    assert_eq!(
        herd.json(&["why", "stack"])["sentences"][0]
            .as_str()
            .unwrap()
            .split(';')
            .next()
            .unwrap(),
        "stack waits for web, which is starting and has not said that it is ready"
    );
    herd.open_gate("gate");
    herd.wait_state("stack", "active");
    assert_eq!(herd.state("web"), "active");
}

#[test]
fn services_without_order_start_side_by_side() {
    // Each waits for the other: one after the other they would never be ready.
    let waits = |own: &str, other: &str| {
        format!(
            "command = ['sh', '-c', 'echo > @D@/{own} & read x < @D@/{other}; echo >&3; \
             sleep infinity']\nready = 'fd:3'"
        )
    };
    let herd = Herd::builder()
        .gate("left")
        .gate("right")
        .unit("left", &waits("left", "right"))
        .unit("right", &waits("right", "left"))
        .start();
    herd.wait_state("left", "active");
    herd.wait_state("right", "active");
}
