//! `herd security`: how exposed a service is, wall by wall.

use serde_json::Value;

use crate::fixture::Herd;
use crate::needs;

/// The judgement of a unit with these lines.
fn judged(lines: &str) -> Value {
    let unit = format!("command = '/usr/bin/web'\n{lines}");
    let herd = Herd::builder().available("web", &unit).start();
    let found = herd.json(&["security", "web"])[0].clone();
    assert_eq!(found["unit"], "web");
    found
}

fn wall<'j>(judged: &'j Value, key: &str) -> &'j Value {
    let mut walls = judged["walls"].as_array().unwrap().iter();
    walls.find(|wall| wall["key"] == key).unwrap()
}

#[test]
fn profiles_are_judged_in_their_order() {
    if !needs::root() {
        return;
    }
    let score = |lines: &str| judged(lines)["score"].as_f64().unwrap();
    let limited = "user = 'nobody'\nboxed = true\n[limits]\nmemory = '64M'\ntasks = 10\n[box]\n";
    let order = [
        format!("{limited}profile = 'strict'"),
        "user = 'nobody'\nboxed = true\n[box]\nprofile = 'strict'".to_owned(),
        "user = 'nobody'\nboxed = true".to_owned(),
        "boxed = true".to_owned(),
        "boxed = true\n[box]\nprofile = 'minimal'".to_owned(),
        "boxed = true\n[box]\nprofile = 'none'".to_owned(),
        String::new(),
    ];
    let scores = order.each_ref().map(|lines| score(lines));
    assert!(scores.is_sorted(), "{scores:?}");
    assert!(scores[0] < 0.3 && scores[6] > 9.0, "{scores:?}");
    assert_eq!(judged("boxed = true")["word"], "safe");
    assert_eq!(judged("")["word"], "unsafe");
}

#[test]
fn each_wall_that_a_unit_leaves_out_is_open_and_counts() {
    if !needs::root() {
        return;
    }
    let whole = judged("boxed = true");
    for (lines, key, stance) in [
        ("protect_home = false", "protect_home", "open"),
        ("protect_home = 'read-only'", "protect_home", "relaxed"),
        ("protect_system = true", "protect_system", "relaxed"),
        ("private_tmp = false", "private_tmp", "open"),
        ("private_devices = false", "private_devices", "open"),
        (
            "restrict_namespaces = ['user']",
            "restrict_namespaces",
            "relaxed",
        ),
        ("system_call_filter = []", "system_call_filter", "open"),
        (
            "capability_bounding_set = ['CAP_NET_BIND_SERVICE']",
            "capability_bounding_set",
            "relaxed",
        ),
        ("keyring_mode = 'inherit'", "keyring_mode", "open"),
        ("new_session = false", "new_session", "open"),
        ("protect_clock = false", "protect_clock", "open"),
    ] {
        let found = judged(&format!("boxed = true\n[box]\n{lines}"));
        assert_eq!(wall(&found, key)["stance"], stance, "{lines}");
        let [more, less] = [&found, &whole].map(|one| one["score"].as_f64().unwrap());
        assert!(more >= less, "{lines}: {more} {less}");
        let open = |judged: &Value| wall(judged, key)["open"].as_u64().unwrap();
        assert!(open(&found) > open(&whole), "{lines}");
    }
    let admin = judged("boxed = true\n[box]\ncapability_bounding_set = ['CAP_SYS_ADMIN']");
    let detail = wall(&admin, "capability_bounding_set")["detail"].clone();
    assert_eq!(detail, "may have sys_admin: as good as root");
    let outside = judged("boxed = true\ncommand_pre = { run = 'true', unboxed = true }");
    assert_eq!(wall(&outside, "unboxed")["open"], 100);
}

#[test]
fn a_wall_that_this_machine_makes_a_unit_give_up_counts_as_open() {
    if !crate::box_probe::user_boxes() {
        return;
    }
    let unit = "command = '/usr/bin/web'\nboxed = true\n[box]\nbest_effort = ['namespaces']";
    let herd = Herd::builder().available("web", unit).start();
    let forbid = "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all \
                  --ambient-caps=-all -- \"$0\" \"$@\"";
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    command.args(["unshare", "--user", "--map-current-user", "--keep-caps"]);
    command.args(["sh", "-c", forbid, env!("CARGO_BIN_EXE_herd")]);
    for name in ["enabled", "available", "runtime"] {
        let below = if name == "runtime" { "run" } else { name };
        command.arg(format!("--{name}-dir={}", herd.path(below).display()));
    }
    let output = crate::fixture::run(command.args(["security", "web", "--json"]));
    let found: Value = serde_json::from_str(&output.stdout).unwrap();
    let pid = wall(&found[0], "pid_namespace");
    assert_eq!(
        (&pid["stance"], &pid["open"]),
        (&"given_up".into(), &100.into())
    );
    assert_eq!(
        pid["detail"],
        "it takes a user namespace, which user.max_user_namespaces=0 forbids"
    );
    assert_eq!(wall(&found[0], "system_call_filter")["stance"], "stands");
}

#[test]
fn all_units_are_listed_the_most_exposed_first() {
    if !needs::root() {
        return;
    }
    let herd = Herd::builder()
        .available("bare", "command = '/usr/bin/web'")
        .available(
            "tight",
            "command = '/usr/bin/web'\nuser = 'nobody'\nboxed = true",
        )
        .available("broken", "comand = 'x'")
        .available("goal", "kind = 'target'")
        .start();
    let text = herd.ok(&["security"]);
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names, ["NAME", "broken", "bare", "tight"], "{text}");
    let text = herd.ok(&["security", "tight"]);
    assert!(
        text.lines().last().unwrap().starts_with("tight: 1."),
        "{text}"
    );
    assert!(text.contains("system_call_filter"), "{text}");
    assert_eq!(herd.ctl(&["security", "missing"]).code, 3);
    let refused = herd.ctl(&["security", "goal"]);
    assert_eq!(refused.stderr, "herd: goal: a target runs nothing\n");
}

#[test]
fn a_plan_says_which_profile_it_came_from_and_what_changed_it() {
    if !needs::root() {
        return;
    }
    let first = |lines: &str| {
        let unit = format!("command = '/bin/true'\n{lines}");
        let herd = Herd::builder().available("web", &unit).start();
        let plan = herd.ok(&["plan", "web"]);
        plan.lines().next().unwrap().to_owned()
    };
    assert_eq!(first("boxed = true"), "profile default, unchanged");
    assert_eq!(
        first("boxed = true\n[box]\nprofile = 'strict'\nprivate_tmp = false\nhostname = 'x'"),
        "profile strict, changed by hostname, private_tmp"
    );
    assert!(!first("").starts_with("profile"));
}

#[test]
fn a_service_that_may_mount_is_told_which_walls_are_none_to_it() {
    if !needs::root() || !needs::unshare(&["--user"]) {
        return;
    }
    let admin =
        "capability_bounding_set = ['CAP_SYS_ADMIN']\nambient_capabilities = ['CAP_SYS_ADMIN']";
    let open = "system_call_filter = []\nrestrict_namespaces = false";
    for users in ["", "private_users = 'pick'"] {
        let judge = |lines: &str| judged(&format!("boxed = true\n[box]\n{users}\n{lines}"));
        let found = judge(&format!("{admin}\n{open}"));
        for key in ["protect_system", "protect_home", "protect_kernel_tunables"] {
            assert_eq!(wall(&found, key)["stance"], "given_up", "{users} {key}");
        }
        let detail = wall(&found, "protect_system")["detail"].as_str().unwrap();
        assert!(detail.contains("CAP_SYS_ADMIN"), "{detail}");
        // The filter of the default box lets nobody mount, and nobody can without the capability.
        for held in [admin, open] {
            assert_eq!(
                wall(&judge(held), "protect_system")["stance"],
                "stands",
                "{users}"
            );
        }
    }
}
