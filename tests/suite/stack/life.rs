//! Start, stop, restart, reload, and the end.

use std::fs;

use super::{PAGE, SERVICES, Stack};
use crate::fixture::children;

#[test]
fn comes_up_in_order_and_goes_down_in_order() {
    let Some(stack) = Stack::start() else { return };
    assert_eq!(stack.visit(), "Hello, visitor 1.\n");
    assert_eq!(stack.visit(), "Welcome back, visitor 2.\n");
    assert_eq!(stack.redis(&["GET", "visits"]), "2");
    assert_eq!(
        stack.psql("SELECT text FROM greetings WHERE id = 1"),
        "Welcome back"
    );
    stack.assert_answers();

    let before = stack.herd.mark();
    let Stack { herd, inside } = stack;
    herd.ok(&["stop", "postgres-init", "redis"]);
    // The watch may hear of the last changes after the answer has come.
    for unit in ["postgres-init", "redis"] {
        herd.wait_state(unit, "inactive");
    }
    let changes = herd.all_changes();
    let place = |unit: &str, state: &str, from: usize| {
        let of_unit =
            |change: &&crate::fixture::Change| change.unit == unit && change.state == state;
        let found = changes
            .iter()
            .enumerate()
            .skip(from)
            .find(|(_, change)| of_unit(change));
        found.map_or_else(
            || herd.fail(&format!("{unit} was never {state}")),
            |(place, _)| place,
        )
    };
    let up = |unit| place(unit, "active", 0);
    let down = |unit| place(unit, "inactive", before);
    let path = ["postgres-init", "postgres", "migrate", "app", "nginx"];
    for pair in path.windows(2) {
        assert!(
            up(pair[0]) < up(pair[1]),
            "{pair:?} came up in the wrong order\n{changes:#?}"
        );
        assert!(
            down(pair[0]) > down(pair[1]),
            "{pair:?} went down in the wrong order\n{changes:#?}"
        );
    }
    assert!(up("redis") < up("app") && down("redis") > down("app"));
    for name in SERVICES {
        let log = herd.log(name);
        assert!(
            !log.iter().any(|line| line.contains("killing")),
            "{name} had to be killed: {log:?}"
        );
    }
    assert_eq!(herd.shutdown().code(), Some(0));

    let left = inside.ok(&["find", "/run", "-mindepth", "2"]);
    assert_eq!(left, "", "runtime directories and sockets");
    let mounts = inside.ok(&["cat", "/proc/self/mountinfo"]);
    assert!(!mounts.contains("herd-stack"), "{mounts}");
    assert_ne!(
        inside.run(&["curl", "--silent", PAGE]).code,
        0,
        "somebody still listens"
    );
}

#[test]
fn stops_and_starts_what_hangs_together() {
    let Some(stack) = Stack::start() else { return };
    let herd = &stack.herd;
    let redis = herd.main_pid("redis");
    herd.ok(&["stop", "postgres"]);
    for name in ["postgres", "migrate", "app", "nginx"] {
        assert_eq!(herd.state(name), "inactive", "{name}");
    }
    assert_eq!(
        herd.main_pid("redis"),
        redis,
        "what needs nothing of it goes on"
    );
    herd.ok(&["start", "nginx"]);
    stack.assert_answers();

    let [nginx, app, _, postgres] = stack.pids();
    herd.ok(&["restart", "nginx"]);
    assert_ne!(herd.main_pid("nginx"), nginx);
    assert_eq!(herd.main_pid("app"), app);
    herd.ok(&["restart", "redis"]);
    assert_ne!(herd.main_pid("redis"), redis);
    assert_eq!(herd.main_pid("postgres"), postgres);
    herd.ok(&["start", "nginx"]);
    stack.assert_answers();
}

#[test]
fn reloads_without_losing_a_process() {
    let Some(stack) = Stack::start() else { return };
    let herd = &stack.herd;
    let health = format!("{PAGE}health");
    assert_eq!(stack.inside.get(&health), "ok\n");
    let main = herd.main_pid("nginx");
    let workers = children(main);
    assert_eq!(workers.len(), 2);
    // In place: what is bound into the box is this very file.
    let conf = herd.path("enabled/nginx.conf");
    let text = fs::read_to_string(&conf)
        .unwrap()
        .replace("\"ok\\n\"", "\"reloaded\\n\"");
    fs::write(&conf, text).unwrap();
    herd.ok(&["reload", "nginx"]);
    for worker in workers {
        herd.wait_gone(worker);
    }
    assert_eq!(stack.inside.get(&health), "reloaded\n");
    assert_eq!(herd.main_pid("nginx"), main);
    stack.assert_answers();
}

#[test]
fn a_migration_may_run_again() {
    let Some(stack) = Stack::start() else { return };
    let herd = &stack.herd;
    stack.psql("DELETE FROM greetings WHERE id = 2");
    let mark = herd.mark();
    herd.ok(&["restart", "migrate"]);
    herd.wait_change(mark, "the migration", |change| {
        change.unit == "migrate" && change.state == "active"
    });
    assert_eq!(
        stack.psql("SELECT text FROM greetings ORDER BY id"),
        "Hello\nWelcome back\nYou again?"
    );
    // The cluster that is there is not made again.
    herd.ok(&["restart", "postgres-init"]);
    let why = herd.ok(&["why", "postgres-init"]);
    assert!(why.contains("PG_VERSION"), "{why}");
    herd.ok(&["start", "nginx"]);
    stack.assert_answers();
}
