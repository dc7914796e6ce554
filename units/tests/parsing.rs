//! Units as people write them, and what becomes of them.
use std::time::Duration;

use units::unit::{Kind, Probe, Ready, Restart};
use units::{Facts, Parsed, SourceText, Unit, UnitName, parse_unit};

fn parse(text: &str) -> Parsed {
    parse_named("web", text)
}

fn parse_named(name: &str, text: &str) -> Parsed {
    let name = UnitName::new(name).unwrap();
    let files = [SourceText::new("/etc/herd/enabled/web.toml", text)];
    parse_unit(&name, &files, &Facts::of_the_system())
}

fn unit(text: &str) -> Unit {
    let parsed = parse(text);
    let shown = units::diagnostic::render_all(&parsed.diagnostics, false);
    parsed.unit.unwrap_or_else(|| panic!("{shown}"))
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let parsed = parse(text);
    let shown = units::diagnostic::render_all(&parsed.diagnostics, false);
    assert!(parsed.unit.is_none(), "accepted: {text}");
    assert!(shown.contains(message), "{message:?} not in\n{shown}");
}

#[test]
fn a_command_alone_is_a_unit() {
    let unit = unit("command = \"/bin/web --port 80 'a b'\"");
    assert_eq!(
        unit.commands.main.unwrap().argv,
        ["/bin/web", "--port", "80", "a b"]
    );
    assert_eq!(unit.kind, Kind::Service);
    assert_eq!(unit.lifecycle.restart, Restart::OnFailure);
    assert!(unit.walls.is_none());
}

#[test]
fn the_seeds_unit_runs_unchanged() {
    let unit = unit(
        r#"
command = "/usr/bin/redis-server"
args = "--port 6379 --save ''"
env = ["A=1", "B=two"]
restart = true
restart_delay = 2000
max_retries = 0
start_delay_ms = 500
boxed = true
box_root = "/var/lib/box/containers/redis/upper"
mount = ["proc", "tmpfs"]
"#,
    );
    assert_eq!(
        unit.commands.main.unwrap().argv,
        ["/usr/bin/redis-server", "--port", "6379", "--save", ""]
    );
    assert_eq!(unit.lifecycle.restart_delay, Duration::from_secs(2));
    assert_eq!(unit.lifecycle.max_retries, None);
    assert_eq!(unit.lifecycle.start_delay, Duration::from_millis(500));
    assert_eq!(unit.surroundings.unwrap().environment.len(), 2);
    let root = unit.walls.unwrap().root.unwrap();
    assert_eq!(root.to_str(), Some("/var/lib/box/containers/redis/upper"));
}

#[test]
fn boxed_alone_is_the_default_box() {
    let unit = unit("command = \"x\"\nboxed = true");
    assert_eq!(*unit.walls.unwrap(), sandbox::config::Walls::default_box());
}

#[test]
fn readiness_takes_words_descriptors_and_probes() {
    let ready = |value: &str| unit(&format!("command = \"x\"\nready = {value}")).ready;
    assert_eq!(ready("\"notify\""), Ready::Notify);
    assert_eq!(ready("\"fd:3\""), Ready::Fd(3));
    let Ready::Probe(probe) = ready("{ tcp = \"127.0.0.1:5432\", timeout = \"1s\" }") else {
        panic!("no probe");
    };
    assert_eq!(probe.probe, Probe::Tcp("127.0.0.1:5432".to_owned()));
    assert_eq!(probe.timeout, Duration::from_secs(1));
    refused("command = \"x\"\nready = \"fd:2\"", "from 3 to 1023");
    refused(
        "command = \"x\"\nready = \"dbus:org.x\"",
        "not supported yet",
    );
    refused(
        "command = \"x\"\nready = { tcp = \"example.org:80\" }",
        "never looked up",
    );
    refused(
        "command = \"x\"\nready = { timeout = \"1s\" }",
        "[ready] probes nothing",
    );
}
