//! Services of Debian as units: all of them load, and mean what their systemd units mean.
use std::path::Path;
use std::time::Duration;

use sandbox::config::Amount;
use units::unit::{KillMode, Ready, Restart, Test};
use units::{Facts, SearchPath, UnitName, load};

#[test]
fn units_of_debian_load_without_a_complaint() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/units/debian");
    let loaded = load(&SearchPath::directory(directory), &Facts::of_the_system());
    let broken: Vec<String> = loaded
        .broken
        .values()
        .map(|reports| units::diagnostic::render_all(reports, false))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);

    let unit = |name: &str| &loaded.units[&UnitName::new(name).unwrap()];
    let nginx = unit("nginx");
    assert_eq!(nginx.lifecycle.kill_mode, KillMode::Mixed);
    assert!(nginx.commands.stop[0].ignore_failure);
    assert!(
        matches!(&nginx.ready, Ready::Forking { pid_file: Some(file) } if file == Path::new("/run/nginx.pid"))
    );

    let redis = unit("redis@sessions");
    let argv = &redis.commands.main.as_ref().unwrap().argv;
    assert_eq!(argv[1], "/etc/redis/redis-sessions.conf");
    assert_eq!(redis.lifecycle.restart, Restart::Always);
    assert_eq!(redis.lifecycle.timeout_stop, None);
    let walls = redis.walls.as_ref().unwrap();
    assert_eq!(
        walls.read_write_paths[2].path,
        Path::new("/var/run/redis-sessions")
    );
    let filter = walls.system_calls.filter.as_ref().unwrap();
    let taken: Vec<&str> = filter
        .entries
        .iter()
        .filter(|entry| entry.remove)
        .map(|entry| entry.name.as_str())
        .collect();
    assert!(filter.allow);
    assert_eq!(taken, ["@privileged", "@resources"]);

    let chrony = unit("chrony").walls.as_ref().unwrap();
    assert!(
        !chrony.capability_bounding_set.contains(&21),
        "no CAP_SYS_ADMIN"
    );
    assert!(chrony.capability_bounding_set.contains(&25), "CAP_SYS_TIME");

    let postgres = unit("postgres");
    let limits = postgres.limits.as_ref().unwrap();
    assert_eq!(limits.cgroup.memory, Some(Amount::Exactly(512 << 20)));
    assert_eq!(limits.cgroup.cpu_percent, Some(150));
    let log = postgres.log.as_ref().unwrap();
    assert_eq!(log.rate_limit, Some((10_000, Duration::from_secs(30))));
    assert_eq!(log.max_age, Some(Duration::from_secs(7 * 86_400)));

    let oneshot = unit("unbound-resolvconf");
    assert_eq!(oneshot.lifecycle.restart, Restart::No);
    assert_eq!(oneshot.lifecycle.timeout_start, None);

    let ssh = unit("ssh");
    assert_eq!(ssh.lifecycle.restart_prevent_exit_status.codes, [255]);
    let check = &ssh.condition.as_ref().unwrap().checks[0];
    assert!(check.negated && matches!(check.test, Test::PathExists(_)));
    assert_eq!(unit("mosquitto").commands.pre.len(), 4);
}
