//! Each key of `[box]`, by what it changes for the process inside.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::box_probe::{Boxed, NOBODY, default_box, is_refused, run, user_boxes};
use crate::fixture::Herd;
use crate::needs;

/// The answer to an attack in the default box, and with these lines of `[box]`.
fn both(attack: &str, keys: &str) -> (String, String) {
    (
        default_box().answer(attack),
        default_box().keys(keys).answer(attack),
    )
}

/// A `[box]` with data of the fixture below `/tmp`, which is the host's.
fn on_the_hosts_tmp(keys: &str) -> Boxed {
    default_box().keys("private_tmp = false").keys(keys)
}

fn tries(case: &Boxed, attacks: &str) -> Value {
    let builder = Herd::builder()
        .file("data/a", "content")
        .file("other/b", "content");
    let directory = builder.dir().display().to_string();
    let words = format!("tries {}", attacks.replace("@D@", &directory));
    let (_herd, output) = run(builder, &case.unit(&words));
    let answers: Value = serde_json::from_str(&output.replace(&directory, "@D@")).unwrap();
    answers
}

#[test]
fn profile_strict_takes_more_and_minimal_and_none_less() {
    if !needs::root() {
        return;
    }
    let attacks = [
        "socket|2",
        "write-execute",
        "create|/etc/x",
        "keyctl",
        "read|/proc/meminfo",
    ];
    let answers = |profile: &str| -> Vec<String> {
        let case = default_box().keys(&format!("profile = '{profile}'"));
        let mut found = case.tries(&attacks);
        attacks
            .iter()
            .map(|attack| found.remove(*attack).unwrap())
            .collect()
    };
    assert_eq!(answers("default"), ["ok", "ok", "EROFS", "EPERM", "ok"]);
    assert_eq!(
        answers("strict"),
        ["EAFNOSUPPORT", "EPERM", "EROFS", "EPERM", "ENOENT"]
    );
    assert_eq!(answers("minimal"), ["ok", "ok", "ok", "ok", "ok"]);
    assert_eq!(answers("none"), ["ok", "ok", "ok", "ok", "ok"]);
    let report = default_box().keys("profile = 'minimal'").report();
    assert_eq!(
        (&report["no_new_privs"], &report["pid"]),
        (&json!(true), &json!(2))
    );
    let report = default_box().keys("profile = 'none'").report();
    assert_eq!(report["no_new_privs"], false);
    assert_eq!(
        report["namespaces"]["pid"],
        json!(fs::read_link("/proc/self/ns/pid").unwrap())
    );
    let report = default_box().keys("profile = 'strict'").report();
    assert_ne!(
        report["namespaces"]["net"],
        json!(fs::read_link("/proc/self/ns/net").unwrap())
    );
}

#[test]
fn namespaces_are_exactly_those_of_the_list() {
    if !needs::root() {
        return;
    }
    let report = default_box()
        .keys("namespaces = [\"mount\", \"uts\"]")
        .report();
    let is_new = |kind: &str| {
        report["namespaces"][kind] != json!(fs::read_link(format!("/proc/self/ns/{kind}")).unwrap())
    };
    assert!(is_new("mnt") && is_new("uts"));
    assert!(!is_new("pid") && !is_new("ipc") && !is_new("cgroup") && !is_new("net"));
}

#[test]
fn restrict_namespaces_can_allow_some() {
    if !needs::root() {
        return;
    }
    let keys = "capability_bounding_set = ['CAP_SYS_ADMIN']\nsystem_call_filter = ['@system-service', '@mount', 'unshare', 'setns']";
    let some = default_box()
        .keys(keys)
        .keys("restrict_namespaces = ['uts']");
    assert_eq!(
        (some.answer("unshare|uts"), some.answer("unshare|ipc")),
        ("ok".into(), "EPERM".into())
    );
    let none = default_box().keys(keys).keys("restrict_namespaces = false");
    assert_eq!(
        (none.answer("unshare|uts"), none.answer("unshare|ipc")),
        ("ok".into(), "ok".into())
    );
    let all = default_box().keys(keys);
    assert_eq!(all.answer("unshare|uts"), "EPERM");
}

#[test]
fn read_only_root_and_protect_system_decide_what_of_the_tree_is_writable() {
    if !needs::root() {
        return;
    }
    let attacks = [
        "create|/usr/herd-x",
        "create|/etc/herd-x",
        "create|/var/herd-x",
    ];
    for (keys, expected) in [
        ("protect_system = 'strict'", ["EROFS", "EROFS", "EROFS"]),
        ("protect_system = 'full'", ["EROFS", "EROFS", "ok"]),
        ("protect_system = true", ["EROFS", "ok", "ok"]),
        ("protect_system = false", ["ok", "ok", "ok"]),
        ("read_only_root = true", ["EROFS", "EROFS", "EROFS"]),
        ("read_only_root = false", ["EROFS", "EROFS", "ok"]),
    ] {
        let answers = default_box().keys(keys).tries(&attacks);
        let found = attacks.map(|attack| answers[attack].as_str());
        assert_eq!(found, expected, "{keys}");
    }
}

#[test]
fn protect_home_hides_empties_or_only_protects() {
    if !needs::root() {
        return;
    }
    let place = tempfile::tempdir_in("/root").unwrap();
    let path = place.path().display();
    let attacks = [
        format!("list|{path}"),
        format!("create|{path}/x"),
        "list|/root".to_owned(),
    ];
    for (value, expected) in [
        ("true", ["EACCES", "EACCES", "EACCES"]),
        ("'tmpfs'", ["ENOENT", "ENOENT", "ok"]),
        ("'read-only'", ["ok", "EROFS", "ok"]),
    ] {
        let case = default_box().keys(&format!("protect_home = {value}"));
        let answers = case.tries(&attacks.each_ref().map(String::as_str));
        let found = attacks.each_ref().map(|attack| answers[attack].as_str());
        // Where the probe itself lies below the home, the way to it stays open.
        let is_here = crate::box_probe::probe().starts_with("/root");
        assert!(found == expected || is_here, "{value}: {found:?}");
    }
    let case = default_box().keys("protect_home = false\nprotect_system = false");
    assert_eq!(case.answer(&attacks[1]), "ok");
}

#[test]
fn private_tmp_is_another_tmp() {
    if !needs::root() {
        return;
    }
    let answers = tries(&default_box(), "list|@D@ create|/tmp/x create|/var/tmp/x");
    assert_eq!(
        answers,
        json!({ "list|@D@": "ENOENT", "create|/tmp/x": "ok", "create|/var/tmp/x": "ok" })
    );
    let answers = tries(&on_the_hosts_tmp(""), "list|@D@ create|@D@/x");
    assert_eq!(
        answers,
        json!({ "list|@D@": "ok", "create|@D@/x": "EROFS" })
    );
}

#[test]
fn private_devices_hides_the_hosts() {
    if !needs::root() || !needs::path("/dev/kmsg") {
        return;
    }
    let (without, with) = both("open-write|/dev/kmsg", "private_devices = false");
    assert_eq!((without.as_str(), with.as_str()), ("ENOENT", "EACCES"));
    let keys = "private_devices = false\nprotect_kernel_logs = false";
    let open = default_box().keys(keys).answer("open-write|/dev/kmsg");
    assert_ne!(open, "EACCES", "protect_kernel_logs = false");
    assert_ne!(open, "ENOENT");
}

#[test]
fn protect_proc_hides_the_processes_of_others() {
    if !needs::root() {
        return;
    }
    let case = |value: &str| {
        default_box()
            .top("user = 'nobody'")
            .keys("namespaces = [\"mount\", \"ipc\", \"uts\", \"cgroup\"]")
            .keys(&format!("protect_proc = '{value}'"))
            .report()
    };
    let sees_first = |report: &Value| {
        report["processes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|pid| pid == "1")
    };
    assert!(!sees_first(&case("invisible")));
    assert!(!sees_first(&case("ptraceable")));
    assert!(sees_first(&case("noaccess")));
    assert!(sees_first(&case("default")));
    let readable = |value: &str| {
        default_box()
            .top("user = 'nobody'")
            .keys("namespaces = [\"mount\", \"ipc\", \"uts\", \"cgroup\"]")
            .keys(&format!("protect_proc = '{value}'"))
            .answer("read|/proc/1/status")
    };
    assert_eq!(readable("default"), "ok");
    assert_eq!(readable("noaccess"), "EPERM");
}

#[test]
fn proc_subset_leaves_processes_alone() {
    if !needs::root() {
        return;
    }
    let (all, pid) = both("read|/proc/meminfo", "proc_subset = 'pid'");
    assert_eq!((all.as_str(), pid.as_str()), ("ok", "ENOENT"));
}

#[test]
fn read_write_paths_are_writable_and_the_rest_is_not() {
    if !needs::root() {
        return;
    }
    let case = on_the_hosts_tmp("read_write_paths = ['@D@/data', '-/nowhere']");
    let answers = tries(&case, "create|@D@/data/x create|@D@/other/x");
    assert_eq!(
        answers,
        json!({ "create|@D@/data/x": "ok", "create|@D@/other/x": "EROFS" })
    );
}

#[test]
fn read_only_paths_are_read_only_in_a_writable_tree() {
    if !needs::root() {
        return;
    }
    let case =
        on_the_hosts_tmp("protect_system = false\nread_only_paths = ['@D@/data', '-/nowhere']");
    let answers = tries(
        &case,
        "read|@D@/data/a create|@D@/data/x create|@D@/other/x",
    );
    let expected = json!({ "read|@D@/data/a": "ok", "create|@D@/data/x": "EROFS", "create|@D@/other/x": "ok" });
    assert_eq!(answers, expected);
}

#[test]
fn inaccessible_paths_are_shut_files_and_directories() {
    if !needs::root() {
        return;
    }
    let case = on_the_hosts_tmp("inaccessible_paths = ['@D@/data', '@D@/other/b', '-/nowhere']");
    let answers = tries(
        &case,
        "list|@D@/data read|@D@/data/a read|@D@/other/b list|@D@/other",
    );
    let expected = json!({
        "list|@D@/data": "EACCES", "read|@D@/data/a": "EACCES", "read|@D@/other/b": "EACCES",
        "list|@D@/other": "ok",
    });
    assert_eq!(answers, expected);
}

#[test]
fn a_path_that_is_missing_and_not_optional_stops_the_start() {
    if !needs::root() {
        return;
    }
    for key in [
        "read_only_paths",
        "read_write_paths",
        "inaccessible_paths",
        "bind_paths",
    ] {
        let unit = default_box()
            .keys(&format!("{key} = ['/nowhere']"))
            .unit("report");
        let herd = Herd::builder().available("web", &unit).start();
        let output = herd.ctl(&["start", "web"]);
        assert_eq!(output.code, 1, "{key}");
        assert!(
            output.stderr.contains("/nowhere"),
            "{key}: {}",
            output.stderr
        );
        assert!(
            output.stderr.contains("no such file or directory"),
            "{key}: {}",
            output.stderr
        );
    }
}

#[test]
fn temporary_file_systems_have_their_mode_size_and_flags() {
    if !needs::root() {
        return;
    }
    let case = default_box().keys("temporary_file_system = ['/mnt:size=64K,mode=0700', '/srv:ro']");
    let answers = tries(&case, "create|/mnt/x create|/srv/x list|/srv");
    assert_eq!(
        answers,
        json!({ "create|/mnt/x": "ok", "create|/srv/x": "EROFS", "list|/srv": "ok" })
    );
    let output = run_output(&case, "write-file /mnt/big 1");
    assert!(output.contains("No space left"), "{output}");
}

/// The output of a command that may fail.
fn run_output(case: &Boxed, words: &str) -> String {
    let herd = Herd::builder().available("web", &case.unit(words)).start();
    herd.ctl(&["start", "web"]);
    herd.read("out")
}

#[test]
fn binds_show_a_path_elsewhere_writable_or_not() {
    if !needs::root() {
        return;
    }
    let case = default_box().keys("bind_paths = ['@D@/data:/mnt', '-/nowhere']");
    let answers = tries(&case, "read|/mnt/a create|/mnt/x list|@D@");
    assert_eq!(
        answers,
        json!({ "read|/mnt/a": "ok", "create|/mnt/x": "ok", "list|@D@": "ENOENT" })
    );
    let probe = crate::box_probe::probe().display().to_string();
    let keys = format!("bind_read_only_paths = ['{probe}', '@D@/data:/mnt:norbind']");
    let answers = tries(&default_box().keys(&keys), "read|/mnt/a create|/mnt/x");
    assert_eq!(
        answers,
        json!({ "read|/mnt/a": "ok", "create|/mnt/x": "EROFS" })
    );
}

#[test]
fn no_new_privileges_stops_a_setuid_program() {
    if !needs::root() {
        return;
    }
    for (profile, nnp, euid) in [
        ("none", false, 0),
        ("none", true, NOBODY),
        ("default", true, NOBODY),
    ] {
        let builder = Herd::builder();
        let program = builder.dir().join("data/suid");
        fs::create_dir(builder.dir().join("data")).unwrap();
        fs::copy(crate::box_probe::probe(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
        let path = program.display().to_string();
        let mut case = default_box()
            .top("user = 'nobody'")
            .keys(&format!("profile = '{profile}'"));
        case = match profile {
            "none" => case.keys(&format!("no_new_privileges = {nnp}")),
            _ => case.keys("private_tmp = false"),
        };
        let (_herd, output) = run(builder, &case.unit(&format!("run {path} report")));
        let report: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(
            report["uid"],
            json!([NOBODY, euid, euid, euid]),
            "{profile} {nnp}"
        );
    }
}

#[test]
fn capabilities_are_bounded_and_given() {
    if !needs::root() {
        return;
    }
    let net_bind = "0000000000000400";
    let kept = default_box()
        .keys("capability_bounding_set = ['CAP_NET_BIND_SERVICE']")
        .report();
    let sets = &kept["capabilities"];
    assert_eq!(
        (&sets["bounding"], &sets["effective"]),
        (&json!(net_bind), &json!(net_bind))
    );
    let case = default_box().top("user = 'nobody'");
    let given = case
        .clone()
        .keys("ambient_capabilities = ['CAP_NET_BIND_SERVICE']")
        .report();
    for set in [
        "permitted",
        "effective",
        "bounding",
        "ambient",
        "inheritable",
    ] {
        assert_eq!(given["capabilities"][set], net_bind, "{set}");
    }
    let bounded = case
        .keys("capability_bounding_set = ['CAP_NET_BIND_SERVICE']")
        .report();
    assert_eq!(bounded["capabilities"]["effective"], "0000000000000000");
    let all_but = default_box()
        .keys("capability_bounding_set = ['~CAP_SYS_ADMIN']")
        .report();
    let bounding = all_but["capabilities"]["bounding"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        u64::from_str_radix(&bounding, 16).unwrap() >> 21 & 1,
        0,
        "{bounding}"
    );
}

#[test]
fn each_wall_of_system_calls_falls_by_its_own_key() {
    if !needs::root() {
        return;
    }
    for (attack, keys, without) in [
        ("personality", "lock_personality = false", "ok"),
        (
            "chmod-suid|/tmp/none",
            "restrict_suid_sgid = false",
            "ENOENT",
        ),
        (
            "keyctl",
            "system_call_filter = ['@system-service', '@keyring']",
            "ok",
        ),
        ("keyctl", "system_call_error_number = 'EACCES'", "EACCES"),
        ("keyctl", "system_call_error_number = 125", "ECANCELED"),
        ("keyctl", "system_call_filter = []", "ok"),
    ] {
        let (default, relaxed) = both(attack, keys);
        assert!(is_refused(&default), "{attack}: {default}");
        assert_eq!(relaxed, without, "{attack} with {keys}");
    }
}

/// Numbers of i386: getpid, mount, umount2, socketcall (socket), mmap.
#[test]
fn the_gate_of_i386_is_shut_and_behind_it_the_same_holds() {
    if !needs::root() {
        return;
    }
    let shut = default_box().answer("int80");
    assert!(is_refused(&shut), "{shut}");
    if default_box().keys("profile = 'minimal'").answer("int80") != "ok" {
        return eprintln!("SKIPPED: needs a kernel with the gate of i386");
    }
    for architectures in ["[]", "['native', 'x86']"] {
        let case = default_box().keys(&format!(
            "system_call_architectures = {architectures}\nrestrict_address_families = ['AF_UNIX']\n\
             memory_deny_write_execute = true"
        ));
        let answers = case.tries(&[
            "int80",
            "int80|21",
            "int80|52",
            "int80|102|1",
            "int80|102|3",
            "int80|90",
            "mount",
            "x32",
        ]);
        let said = |attack: &str| answers[attack].as_str();
        assert_eq!(said("int80"), "ok", "{architectures}");
        // Refused by the list, by the wall of address families behind socketcall, by W^X.
        assert_eq!((said("int80|21"), said("int80|52")), ("EPERM", "EPERM"));
        assert_eq!(
            (said("int80|102|1"), said("int80|90")),
            ("ENOSYS", "ENOSYS")
        );
        assert_eq!(said("int80|102|3"), "EFAULT", "connect itself is allowed");
        assert_eq!((said("mount"), said("x32")), ("EPERM", "ENOSYS"));
    }
    assert!(is_refused(
        &default_box()
            .keys("system_call_architectures = ['arm']")
            .answer("int80")
    ));
}

#[test]
fn further_walls_rise_by_their_own_key() {
    if !needs::root() {
        return;
    }
    for (attack, keys, with) in [
        ("write-execute", "memory_deny_write_execute = true", "EPERM"),
        (
            "socket|2",
            "restrict_address_families = ['AF_UNIX']",
            "EAFNOSUPPORT",
        ),
        (
            "socket|2",
            "restrict_address_families = ['~AF_INET']",
            "EAFNOSUPPORT",
        ),
        (
            "socket|1",
            "restrict_address_families = 'none'",
            "EAFNOSUPPORT",
        ),
        ("socket|2", "system_call_filter = ['~@network-io']", "EPERM"),
        (
            "socket|2",
            "system_call_filter = ['~socket:ENOLINK']",
            "ENOLINK",
        ),
    ] {
        let (default, raised) = both(attack, keys);
        assert_eq!(default, "ok", "{attack}");
        assert_eq!(raised, with, "{attack} with {keys}");
    }
    let unix = default_box().keys("restrict_address_families = ['AF_UNIX']");
    assert_eq!(unix.answer("socket|1"), "ok");
}

#[test]
fn restrict_realtime_is_what_refuses_a_fifo() {
    if !needs::root() {
        return;
    }
    let keys = "capability_bounding_set = ['CAP_SYS_NICE']";
    let shut = default_box().keys(keys).answer("sched-fifo");
    let open = default_box()
        .keys(keys)
        .keys("restrict_realtime = false")
        .answer("sched-fifo");
    assert_eq!((shut.as_str(), open.as_str()), ("EPERM", "ok"));
}

#[test]
fn a_refused_call_can_be_the_end() {
    if !needs::root() {
        return;
    }
    let unit = default_box()
        .keys("system_call_error_number = 'kill'")
        .unit("try keyctl");
    let herd = Herd::builder().available("web", &unit).start();
    assert_eq!(herd.ctl(&["start", "web"]).code, 1);
    let reason = herd.status("web")["last_exit"]["reason"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(reason.contains("SIGSYS"), "{reason}");
}

#[test]
fn kernel_walls_fall_by_their_keys() {
    if !needs::root() {
        return;
    }
    let (shut, open) = both(
        "open-write|/proc/sys/kernel/core_pattern",
        "protect_kernel_tunables = false",
    );
    assert_eq!((shut.as_str(), open.as_str()), ("EROFS", "ok"));
    let admin =
        "capability_bounding_set = ['CAP_SYS_ADMIN', 'CAP_SYS_TIME']\nsystem_call_filter = []";
    let with = |attack: &str, keys: &str| default_box().keys(admin).keys(keys).answer(attack);
    assert_eq!(with("sethostname", ""), "EPERM");
    assert_eq!(with("sethostname", "protect_hostname = false"), "ok");
    assert_eq!(with("settime", ""), "EPERM");
    assert_eq!(with("settime", "protect_clock = false"), "EFAULT");
    assert_eq!(with("init-module", ""), "EPERM");
    assert_eq!(with("syslog", ""), "EPERM");
}

#[test]
fn protect_control_groups_is_what_shuts_the_groups() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    let host = sandbox::Host::detect().unwrap();
    let v2 = host.cgroups.v2.unwrap();
    let attack = format!("open-write|{}/cgroup.procs", v2.mount.display());
    let keys = "protect_kernel_tunables = false";
    assert_eq!(default_box().keys(keys).answer(&attack), "EROFS");
    let open = default_box()
        .keys(keys)
        .keys("protect_control_groups = false")
        .answer(&attack);
    assert_eq!(open, "ok");
}

#[test]
fn protect_kernel_modules_hides_their_files() {
    if !needs::root() {
        return;
    }
    let plan = |keys: &str| {
        let herd = Herd::builder()
            .available("web", &default_box().keys(keys).unit("report"))
            .start();
        herd.ok(&["plan", "web"])
    };
    assert!(plan("").contains("hide /usr/lib/modules"));
    assert!(!plan("protect_kernel_modules = false").contains("/usr/lib/modules"));
    if fs::exists("/usr/lib/modules").unwrap() {
        let (shut, open) = both("list|/usr/lib/modules", "protect_kernel_modules = false");
        assert_eq!((shut.as_str(), open.as_str()), ("EACCES", "ok"));
    }
}

#[test]
fn keyring_mode_decides_whose_session_keyring_it_is() {
    if !needs::root() {
        return;
    }
    let keyring = |mode: &str| {
        let keys = format!(
            "keyring_mode = '{mode}'\nsystem_call_filter = ['@system-service', '@keyring']\nprotect_kernel_tunables = false"
        );
        let report = default_box().keys(&keys).report();
        let lines = report["keys"].as_array().unwrap().clone();
        lines
            .iter()
            .filter(|line| line.as_str().unwrap().contains("_ses"))
            .count()
    };
    assert!(keyring("private") >= 1);
    let herd = Herd::builder()
        .available(
            "web",
            &default_box()
                .keys("keyring_mode = 'inherit'")
                .unit("report"),
        )
        .start();
    assert!(!herd.ok(&["plan", "web"]).contains("session keyring"));
}

#[test]
fn hostname_and_process_1_are_as_the_unit_says() {
    if !needs::root() {
        return;
    }
    let report = default_box()
        .keys("hostname = 'db-1'\nas_pid_1 = true")
        .report();
    assert_eq!(
        (&report["hostname"], &report["pid"]),
        (&json!("db-1"), &json!(1))
    );
    assert_eq!(report["processes"], json!(["1"]));
}

#[test]
fn network_none_and_loopback() {
    if !needs::root() {
        return;
    }
    let report = |mode: &str| {
        default_box()
            .tables(&format!("[network]\nmode = '{mode}'"))
            .report()
    };
    let outside = json!(fs::read_link("/proc/self/ns/net").unwrap());
    for mode in ["none", "loopback"] {
        let report = report(mode);
        assert_ne!(report["namespaces"]["net"], outside);
        assert_eq!(report["interfaces"], json!(["lo"]), "{mode}");
    }
    assert_eq!(report("host")["namespaces"]["net"], outside);
    let listen = |mode: &str| {
        let unit = default_box()
            .tables(&format!("[network]\nmode = '{mode}'"))
            .service("listen 0");
        let herd = Herd::builder().unit("web", &unit).start();
        herd.wait_log("web", "listening ");
    };
    listen("loopback");
    listen("none");
}

#[test]
fn a_wall_given_up_is_in_the_status() {
    if !user_boxes() {
        return;
    }
    let wrap = |builder: crate::fixture::Builder| {
        builder.owner(NOBODY).wrap(&[
            "unshare",
            "--user",
            "--map-current-user",
            "--keep-caps",
            "sh",
            "-c",
            "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all -- \"$0\" \"$@\"",
        ])
    };
    let herd = wrap(Herd::builder())
        .available("web", &default_box().service("stay"))
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output.stderr.contains("user namespace"),
        "{}",
        output.stderr
    );
    drop(herd);
    let unit = default_box()
        .keys("best_effort = ['namespaces']")
        .service("stay");
    // Where the probe lies below a home, its bind says what stands.
    let herd = wrap(Herd::builder()).available("web", &unit).start();
    herd.ok(&["start", "web"]);
    let status = herd.status("web");
    let given_up: Vec<&str> = status["walls_given_up"]
        .as_array()
        .unwrap()
        .iter()
        .map(|wall| wall["wall"].as_str().unwrap())
        .collect();
    let mount =
        "mount_namespace: it takes a user namespace, which user.max_user_namespaces=0 forbids";
    for wall in [
        "mount_namespace",
        "read_only_root",
        "private_tmp",
        "protect_home",
        "pid_namespace",
        "paths",
    ] {
        assert!(given_up.contains(&wall), "{wall}: {status}");
    }
    assert!(!given_up.contains(&"system_calls"), "{status}");
    let shown = herd.ok(&["status", "web"]);
    assert!(shown.contains(mount), "{shown}");
    // Each is an event of the service's, too.
    let logged = herd.log("web");
    assert!(
        logged.contains(&format!("herd goes without {mount}")),
        "{logged:?}"
    );
    assert_eq!(
        logged
            .iter()
            .filter(|line| line.contains("goes without"))
            .count(),
        given_up.len()
    );
    let status = fs::read_to_string(format!("/proc/{}/status", herd.main_pid("web"))).unwrap();
    assert!(
        status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"),
        "{status}"
    );
}

/// An unprivileged container: its runtime has hidden parts of `/proc`, so no other can be mounted.
#[test]
fn a_users_box_where_proc_is_covered_names_what_it_cannot_have() {
    if !user_boxes() {
        return;
    }
    let start = |unit: &str| {
        Herd::builder()
            .wrap(&[
                "unshare",
                "--mount",
                "sh",
                "-c",
                "mount --bind /dev/null /proc/version && exec \"$0\" \"$@\"",
            ])
            .owner(NOBODY)
            .available("web", unit)
            .start()
    };
    let herd = start(&default_box().service("stay"));
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1, "{output:?}");
    let why = "no other /proc can be mounted: a mount on /proc/version hides a part of this one";
    assert!(output.stderr.contains(why), "{}", output.stderr);
    drop(herd);
    let keys = "best_effort = ['protect_proc', 'pid_namespace']";
    let herd = start(&default_box().keys(keys).service("stay"));
    herd.ok(&["start", "web"]);
    let given_up = herd.status("web")["walls_given_up"].clone();
    assert_eq!(
        given_up,
        json!([
            { "wall": "protect_proc", "reason": why },
            { "wall": "pid_namespace", "reason": why },
        ])
    );
}
