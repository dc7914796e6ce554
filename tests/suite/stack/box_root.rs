//! The seed's own unit, as it wrote it but for TOML's quotes: redis in a root file system of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lacks_something;
use crate::fixture::Herd;

const UNIT: &str = r#"
command = "/usr/bin/redis-server"
args = "--port 6379 --save ''"
env = ["PATH=/usr/local/bin:/usr/bin", "HOME=/", "TERM=xterm", "REDIS_VERSION=7"]
restart = true
restart_delay_ms = 2000
start_delay_ms = 10
max_retries = 0
boxed = true
box_root = "@D@/containers/redis/upper"
mount = "proc"
"#;

#[test]
fn the_seeds_redis_runs_in_its_box_root() {
    if lacks_something() {
        return;
    }
    let builder = Herd::builder().apart();
    let root = builder.dir().join("containers/redis/upper");
    let program = fs::canonicalize("/usr/bin/redis-server").unwrap();
    install(&program, "/usr/bin/redis-server", &root);
    fs::create_dir_all(root.join("proc")).unwrap();
    fs::write(root.join("mine"), "of this box\n").unwrap();
    let herd = builder.unit("redis", UNIT).start();
    herd.wait_log("redis", "Ready to accept connections");
    let inside = herd.inside();
    let redis = |words: &[&str]| inside.ok(&[&["redis-cli"], words].concat());
    assert_eq!(redis(&["PING"]), "PONG\n");
    assert_eq!(redis(&["SET", "seed", "akuma"]), "OK\n");
    assert_eq!(redis(&["GET", "seed"]), "akuma\n");

    // Its / is the directory, with what every box has beside it.
    let pid = herd.main_pid("redis");
    let names = fs::read_dir(format!("/proc/{pid}/root")).unwrap();
    let names: BTreeSet<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names.contains("mine") && names.contains("proc"),
        "{names:?}"
    );
    assert!(
        !names.contains("home") && !names.contains("root"),
        "{names:?}"
    );

    // The first restart is at once, the second as long after as the seed says.
    let first = kill_and_wait(&herd);
    let second = kill_and_wait(&herd);
    assert!(first != pid && second != first);
    herd.wait_log("redis", "starting again in 2 s");
    assert_eq!(herd.status("redis")["restarts"], 2);
}

/// The pid of the redis that comes after.
fn kill_and_wait(herd: &Herd) -> i32 {
    let pid = herd.main_pid("redis");
    let mark = herd.mark();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    herd.wait_change(mark, "redis to come back", |change| {
        change.state == "active" && change.main_pid.is_some_and(|new| new != i64::from(pid))
    });
    herd.main_pid("redis")
}

/// Copies a program to a path below `root`, and the libraries it is linked to.
fn install(program: &Path, to: &str, root: &Path) {
    let copy = |from: &Path, to: &str| {
        let target = root.join(to.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from, target).unwrap();
    };
    copy(program, to);
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for path in listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        copy(Path::new(path), path);
    }
}
