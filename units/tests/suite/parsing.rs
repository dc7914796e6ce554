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
    let root = sandbox::config::Root::Directory("/var/lib/box/containers/redis/upper".into());
    assert_eq!(unit.walls.unwrap().root, root);
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

#[test]
fn contradictions_are_refused() {
    for (text, message) in [
        (
            "oneshot = true\nrestart = \"always\"",
            "cannot be started again after success",
        ),
        (
            "oneshot = true\nready = \"forking\"",
            "ready when its command has ended",
        ),
        ("kind = \"target\"", "`command` means nothing"),
        ("box_root = \"/srv\"", "means nothing without a box"),
        ("mount = [\"proc\"]", "means nothing without a box"),
        ("[network]\nmode = \"none\"", "means nothing without a box"),
        ("cpu_scheduling_priority = 5", "real-time policies alone"),
        ("cpu_scheduling_policy = \"fifo\"", "needs a priority"),
        ("pid_file = \"/run/x\"", "without `ready = \"forking\"`"),
        (
            "restart_delay = 10\nrestart_delay_ms = 10",
            "are the same key",
        ),
        (
            "env = [\"A=1\"]\nenvironment = [\"B=1\"]",
            "are the same key",
        ),
        (
            "restart = \"no\"\nmax_retries = 3",
            "means nothing when `restart` is \"no\"",
        ),
        (
            "restart_delay = \"10s\"\nrestart_delay_max = \"1s\"",
            "is below",
        ),
        (
            "start_limit_interval = \"1s\"",
            "without `start_limit_burst`",
        ),
        ("after = [\"web\"]", "cannot name itself"),
        (
            "ready = { tcp = \"[::1]:80\", path = \"/x\" }",
            "more than one probe",
        ),
        ("[health]\ninterval = \"1s\"", "[health] probes nothing"),
        (
            "[limits]\nmemory = \"1M\"\nmemory_high = \"2M\"",
            "`memory_high` is above",
        ),
        (
            "[limits]\nopen_files = [\"infinity\", 5]",
            "soft limit is above",
        ),
        (
            "boxed = true\n[box]\nas_pid_1 = true\nnamespaces = [\"mount\"]",
            "needs a pid namespace",
        ),
        (
            "boxed = true\n[box]\nnamespaces = [\"pid\"]\nprivate_tmp = true",
            "mount namespace",
        ),
        (
            "boxed = true\n[network]\nmode = \"host\"\n[box]\nnamespaces = [\"net\"]",
            "contradict",
        ),
        (
            "boxed = true\n[box]\nambient_capabilities = [\"CAP_CHOWN\"]\ncapability_bounding_set = []",
            "not in the bounding set",
        ),
        (
            "boxed = true\n[limits]\ndelegate = true\n[box]\nnamespaces = [\"mount\"]",
            "needs a cgroup and a mount namespace",
        ),
        (
            "boxed = true\n[limits]\ndelegate = true\n[box]\nprotect_control_groups = true",
            "shuts the groups that `delegate` opens",
        ),
        (
            "boxed = true\n[limits]\ndevices = []\n[box]\ndevice_allow = []",
            "are the same key",
        ),
        ("tty = \"/dev/tty1\"", "no stream uses the terminal"),
        (
            "state_directory_mode = 0o700",
            "no state_directory to give a mode",
        ),
        (
            "command_reload = \"x\"\nreload_signal = \"HUP\"",
            "two ways to reload",
        ),
    ] {
        refused(&format!("command = \"x\"\n{text}"), message);
    }
    for path in [
        "open_files = 5",
        "freeze = true",
        "delegate = true",
        "devices = []",
    ] {
        let unit = format!("kind = \"target\"\n[limits]\nmemory = \"1G\"\n{path}");
        refused(&unit, "a target runs nothing");
    }
    refused("description = \"nothing\"", "a service needs a command");
    refused("", "a service needs a command");
}

#[test]
fn values_that_cannot_be_are_refused() {
    for (text, message) in [
        ("restart_delay_max = 5", "a duration needs a unit"),
        ("timeout_start = \"0s\"", "must be above 0"),
        ("working_directory = \"srv\"", "not an absolute path"),
        ("read_write = 1", "unknown key"),
        ("state_directory = \"../etc\"", "no name of a directory"),
        ("state_directory = \"/etc\"", "no name of a directory"),
        ("command_pre = [\"mkdir\", \"-p\"]", "cannot begin with '-'"),
        ("command_pre = \"./x\"", "relative path"),
        ("command_pre = { ignore_failure = true }", "runs nothing"),
        ("command_pre = { run = \"x\", sudo = true }", "no `sudo`"),
        ("environment_file = \"/etc/../x\"", "goes up"),
        ("description = \"%z\"", "unknown specifier"),
        ("description = \"a\\u0000b\"", "zero byte"),
        ("nice = 20", "from -20 to 19"),
        (
            "[limits]\nslice = \"a--b\"",
            "a part between dashes is empty",
        ),
        ("[limits]\nslice = \"a/b\"", "is no slice"),
        ("[limits]\ndevices = [\"/etc/passwd\"]", "is no device"),
        ("[limits]\ndevices = [\"/dev/null rx\"]", "is no access"),
        (
            "[limits]\ndelegate = []",
            "the list of controllers is empty",
        ),
        (
            "[limits]\ndelegate = [\"memroy\"]",
            "did you mean \"memory\"?",
        ),
        ("[limits]\nhuge_pages = { 3M = 1 }", "is no size of a page"),
        (
            "[limits]\nhuge_pages = { 2M = \"5%\" }",
            "no share of the machine",
        ),
        ("[limits]\nmemory_nodes = \"x\"", "is no list of nodes"),
        ("[limits]\nfreeze = \"yes\"", "write true"),
        (
            "boxed = true\n[box]\ndevice_policy = \"shut\"",
            "known are \"auto\", \"closed\", \"strict\"",
        ),
        ("ready = \"simple\"", "no kind of readiness"),
        ("[condition]\nmemory = \">= much\"", "no number"),
        ("[condition]\ncapability = \"CAP_FLY\"", "no capability"),
        ("[log]\ntarget = \"journal\"", "not supported yet"),
        ("[log]\nmax_size = 10", "at least 4096"),
        (
            "boxed = true\n[box]\nsystem_call_filter = [\"mmount\"]",
            "did you mean \"mount\"?",
        ),
        ("boxed = true\n[box]\nhostname = \"a b\"", "no host name"),
        (
            "boxed = true\n[network]\nmode = \"bridges\"",
            "did you mean \"bridge\"?",
        ),
        ("limits = 5", "`limits` is a table"),
        ("core = 1", "not supported"),
        ("stack = \"rump\"", "not supported"),
        ("dynamic_user = true", "a user for one run needs a box"),
        ("credentials = {}", "not supported yet"),
    ] {
        refused(&format!("command = \"x\"\n{text}"), message);
    }
}

#[test]
fn box_keys_change_the_default_box_by_name() {
    use sandbox::config::{Network, ProtectSystem, Refusal, Walls};
    let walls = |keys: &str| {
        let unit = unit(&format!("command = \"x\"\nboxed = true\n{keys}"));
        *unit.walls.unwrap()
    };
    let opened =
        walls("[box]\nprotect_system = \"full\"\nambient_capabilities = [\"CAP_NET_RAW\"]");
    assert_eq!(opened.protect_system, ProtectSystem::Full);
    assert!(!opened.read_only_root);
    assert_eq!(opened.capability_bounding_set, [13]);
    let alone = walls("[network]\nmode = \"loopback\"");
    assert_eq!(
        (alone.network, alone.namespaces.net),
        (Network::Loopback, true)
    );
    let filtered = walls("[box]\nsystem_call_filter = [\"~@mount\", \"~chroot:ENOSYS\"]");
    let filter = filtered.system_calls.filter.unwrap();
    // What the default box allows stays, and the two that are taken away follow.
    let default = Walls::default_box().system_calls.filter.unwrap();
    let (kept, added) = filter.entries.split_at(default.entries.len());
    assert!(filter.allow && kept == default.entries);
    assert_eq!(added.len(), 2);
    assert!(added.iter().all(|entry| entry.remove));
    assert_eq!(added[1].refusal, Some(Refusal::Errno(38)));
    let killed = walls("[box]\nsystem_call_filter = []\nsystem_call_error_number = \"kill\"");
    assert_eq!(killed.system_calls.filter, None);
    assert_eq!(killed.system_calls.refusal, Refusal::KillProcess);
    assert_eq!(walls("box.profile = \"none\""), Walls::bare());
    assert_eq!(walls("box.profile = \"strict\""), Walls::strict_box());
    let bound = walls("[box]\nbind_read_only_paths = [\"-/a:/b:norbind\", \"/c\"]");
    assert_eq!(bound.binds.len(), 2);
    assert!(bound.binds[0].optional && bound.binds[0].read_only && !bound.binds[0].recursive);
    let files = walls("box.temporary_file_system = \"/scratch:size=10M,mode=1777,ro\"");
    let made = &files.temporary_file_systems[0];
    assert_eq!(
        (made.mode, made.size, made.read_only),
        (0o1777, Some(10 << 20), true)
    );
}

#[test]
fn later_files_replace_keys_and_other_forms_of_them() {
    let name = UnitName::new("web").unwrap();
    let texts = [
        "command = \"x\"\nenvironment = { A = \"1\", B = \"1\" }\n[ready]\ntcp = \"[::1]:80\"",
        "ready = \"notify\"\nenvironment = { B = \"2\" }",
    ];
    let files = texts.map(|text| SourceText::new(format!("{}.toml", text.len()), text));
    let facts = Facts::of_the_system();
    let unit = parse_unit(&name, &files, &facts).unit.unwrap();
    assert_eq!(unit.ready, Ready::Notify);
    let expected = [("A", "1"), ("B", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(unit.surroundings.unwrap().environment, expected);
    let files: Vec<SourceText> = files.into_iter().rev().collect();
    let unit = parse_unit(&name, &files, &facts).unit.unwrap();
    assert!(matches!(unit.ready, Ready::Probe(_)));
}

#[test]
fn instances_of_a_template_know_their_name() {
    let parsed = parse_named("web@a-b", "command = \"w %i %I %p\"\nafter = [\"db@%i\"]");
    let unit = parsed.unit.unwrap();
    assert_eq!(unit.commands.main.unwrap().argv, ["w", "a-b", "a/b", "web"]);
    assert_eq!(unit.dependencies.after, [UnitName::new("db@a-b").unwrap()]);
}

/// A thousand units are kept at once: what most leave alone costs a pointer, defaults are shared.
#[test]
fn a_minimal_unit_is_small() {
    assert!(size_of::<Unit>() <= 512, "{}", size_of::<Unit>());
    let (a, b) = (unit("command = \"a\""), unit("command = \"b\""));
    assert!(std::sync::Arc::ptr_eq(&a.lifecycle, &b.lifecycle));
    assert!(std::sync::Arc::ptr_eq(&a.dependencies, &b.dependencies));
}

mod never_panics {
    use super::*;
    use proptest::prelude::*;
    use units::keys::KEYS;

    fn any_value() -> impl Strategy<Value = String> {
        let texts = prop_oneof![
            "[ -~]{0,12}",
            Just("~@mount".to_owned()),
            Just("-/a:b:c".to_owned()),
            Just("%".to_owned()),
            Just("1.5s".to_owned()),
        ];
        let leaf = prop_oneof![
            texts.prop_map(|text| format!("{text:?}").replace("\\'", "'")),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<bool>().prop_map(|truth| truth.to_string()),
            Just("1.5".to_owned()),
            Just("1979-05-27".to_owned()),
            Just("0o777".to_owned()),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3)
                    .prop_map(|values| format!("[{}]", values.join(", "))),
                inner.prop_map(|value| format!("{{ run = {value} }}")),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_the_text(text in "\\PC*") {
            for diagnostic in parse(&text).diagnostics {
                diagnostic.render(true);
            }
        }

        #[test]
        fn whatever_the_values(
            keys in prop::collection::vec((0..KEYS.len(), any_value()), 0..12),
        ) {
            let lines: Vec<String> = keys
                .iter()
                .map(|(key, value)| format!("{} = {value}", KEYS[*key].path))
                .collect();
            let parsed = parse(&lines.join("\n"));
            let errors = parsed.diagnostics.iter().any(units::Diagnostic::is_error);
            prop_assert_eq!(parsed.unit.is_none(), errors);
            for diagnostic in parsed.diagnostics {
                diagnostic.render(false);
            }
        }
    }
}
