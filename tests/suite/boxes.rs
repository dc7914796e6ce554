//! `boxed = true`, as a root's herd makes it, seen from inside.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::box_probe::{Boxed, default_box, run};
use crate::fixture::Herd;
use crate::needs;

fn texts(value: &Value) -> Vec<String> {
    let values = value.as_array().cloned().unwrap_or_default();
    values
        .iter()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

/// Paths of mounts that may be written to.
fn writable_mounts(report: &Value) -> BTreeSet<String> {
    let mounts = report["mounts"].as_array().unwrap();
    let writable = mounts.iter().filter(|mount| {
        let options = mount["options"].as_str().unwrap();
        options.split(',').next() == Some("rw")
    });
    writable
        .map(|mount| mount["path"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_box_has_namespaces_of_its_own_and_the_hosts_network() {
    if !needs::root() {
        return;
    }
    let (herd, output) = run(Herd::builder(), &default_box().unit("report"));
    let report: Value = serde_json::from_str(&output).unwrap();
    let outside = |kind: &str| {
        let link = fs::read_link(format!("/proc/{}/ns/{kind}", herd.pid())).unwrap();
        link.display().to_string()
    };
    for kind in ["mnt", "pid", "ipc", "uts", "cgroup"] {
        assert_ne!(report["namespaces"][kind], outside(kind), "{kind}");
    }
    for kind in ["net", "user", "time"] {
        assert_eq!(report["namespaces"][kind], outside(kind), "{kind}");
    }
}

#[test]
fn a_box_can_write_to_what_is_its_own_alone() {
    if !needs::root() {
        return;
    }
    let name = format!("herd-test-{}", std::process::id());
    let case = default_box().top(&format!(
        "state_directory = '{name}'\nruntime_directory = '{name}'"
    ));
    let report = case.report();
    let expected = [
        "/dev/mqueue".to_owned(),
        "/dev/pts".to_owned(),
        "/dev/shm".to_owned(),
        "/proc".to_owned(),
        "/tmp".to_owned(),
        "/var/tmp".to_owned(),
        format!("/var/lib/{name}"),
        format!("/run/{name}"),
    ];
    let expected: BTreeSet<String> = expected.into_iter().collect();
    let found = writable_mounts(&report);
    fs::remove_dir(format!("/var/lib/{name}")).unwrap();
    assert_eq!(found, expected);
    assert_eq!(
        report["environment"]["STATE_DIRECTORY"],
        format!("/var/lib/{name}")
    );
    assert_eq!(
        report["environment"]["RUNTIME_DIRECTORY"],
        format!("/run/{name}")
    );
}

#[test]
fn a_box_has_no_privilege_and_cannot_get_any() {
    if !needs::root() {
        return;
    }
    let report = default_box().report();
    for set in [
        "inheritable",
        "permitted",
        "effective",
        "bounding",
        "ambient",
    ] {
        assert_eq!(report["capabilities"][set], "0000000000000000", "{set}");
    }
    assert_eq!(report["no_new_privs"], true);
    assert_eq!(report["seccomp"], "2");
    assert_eq!(report["signals"]["blocked"], "0000000000000000");
    // SIGPIPE alone, as systemd has it.
    assert_eq!(report["signals"]["ignored"], "0000000000001000");
}

#[test]
fn a_box_is_handed_three_descriptors_and_those_the_unit_names() {
    if !needs::root() {
        return;
    }
    let numbers = |case: Boxed| -> Vec<String> {
        case.report()["descriptors"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(numbers(default_box()), ["0", "1", "2"]);
    // A oneshot is ready when it ends, so a named descriptor is seen in a service.
    let herd = Herd::builder()
        .unit(
            "web",
            &default_box()
                .top("ready = 'fd:7'\ntimeout_start = '20s'")
                .service("report"),
        )
        .start();
    let line = herd.wait_log("web", "\"descriptors\"");
    let report: Value = serde_json::from_str(line.strip_prefix("out ").unwrap()).unwrap();
    let numbers: Vec<&String> = report["descriptors"].as_object().unwrap().keys().collect();
    assert_eq!(numbers, ["0", "1", "2", "7"]);
}

#[test]
fn a_box_is_told_its_own_environment_and_nothing_of_herds() {
    if !needs::root() {
        return;
    }
    let builder = Herd::builder()
        .environment("LD_PRELOAD", "/nowhere.so")
        .environment("LD_LIBRARY_PATH", "/nowhere")
        .environment("SECRET_OF_HERD", "1")
        .environment("HERD_LOG_DIR", "/nowhere")
        .environment("GIVEN", "on");
    let case = default_box()
        .top("environment = { COLOUR = 'red' }\npass_environment = ['GIVEN']\nuser = 'nobody'");
    let (_herd, output) = run(builder, &case.unit("report"));
    let report: Value = serde_json::from_str(&output).unwrap();
    let environment = report["environment"].as_object().unwrap();
    let names: Vec<&str> = environment.keys().map(String::as_str).collect();
    let expected = [
        "COLOUR",
        "GIVEN",
        "HOME",
        "INVOCATION_ID",
        "LOGNAME",
        "PATH",
        "SHELL",
        "USER",
    ];
    assert_eq!(names, expected);
    assert_eq!(environment["COLOUR"], "red");
    assert_eq!(environment["GIVEN"], "on");
    assert_eq!(environment["USER"], "nobody");
}

#[test]
fn a_box_sees_its_own_processes_alone() {
    if !needs::root() {
        return;
    }
    let report = default_box().report();
    assert_eq!(texts(&report["processes"]), ["1", "2"]);
    assert_eq!(report["pid"], 2);
    assert_eq!(report["ppid"], 1);
    assert_eq!(report["session"], 2, "a session of its own");
}

#[test]
fn a_box_has_the_hostname_of_its_unit_and_starts_at_the_root() {
    if !needs::root() {
        return;
    }
    let report = default_box().report();
    assert_eq!(report["hostname"], "web");
    assert_eq!(report["working_directory"], "/");
    assert_eq!(report["umask"], "0022");
    let report = default_box()
        .top("working_directory = '/usr'\numask = '0077'")
        .report();
    assert_eq!(report["working_directory"], "/usr");
    assert_eq!(report["umask"], "0077");
}

#[test]
fn a_box_has_few_devices() {
    if !needs::root() {
        return;
    }
    let report = default_box().report();
    let expected = [
        "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    ];
    let found = texts(&report["devices"]);
    let strange: Vec<&String> = found
        .iter()
        .filter(|name| !expected.contains(&name.as_str()))
        .collect();
    assert_eq!(strange, Vec::<&String>::new());
    for name in [
        "null", "zero", "full", "random", "urandom", "tty", "pts", "ptmx", "shm",
    ] {
        assert!(
            found.iter().any(|have| have == name),
            "{name} is missing in {found:?}"
        );
    }
}

#[test]
fn a_box_sees_neither_homes_nor_what_is_herds() {
    if !needs::root() {
        return;
    }
    let builder = Herd::builder();
    let runtime = builder.dir().join("run").display().to_string();
    let attacks = [
        "list|/home".to_owned(),
        "list|/root".to_owned(),
        "list|/run/user".to_owned(),
        "list|/run/herd".to_owned(),
        format!("list|{runtime}"),
        format!("read|{runtime}/lock"),
        format!("connect-unix|{runtime}/control.sock"),
    ];
    let (_herd, output) = run(
        builder,
        &default_box().unit(&format!("tries {}", attacks.join(" "))),
    );
    let answers: Value = serde_json::from_str(&output).unwrap();
    for (attack, answer) in answers.as_object().unwrap() {
        // The fixture lies in /tmp, which is another one inside.
        assert!(
            answer == "EACCES" || answer == "ENOENT",
            "{attack}: {answer}"
        );
    }
}

#[test]
fn a_box_hides_a_runtime_directory_that_is_not_below_tmp() {
    if !needs::root() {
        return;
    }
    let builder = Herd::builder();
    let runtime = builder.dir().join("run").display().to_string();
    // With the host's /tmp the runtime directory would be in sight.
    let case = default_box().keys("private_tmp = false");
    let words = format!("tries list|{runtime} connect-unix|{runtime}/control.sock");
    let (_herd, output) = run(builder, &case.unit(&words));
    let answers: Value = serde_json::from_str(&output).unwrap();
    for (attack, answer) in answers.as_object().unwrap() {
        assert!(
            answer == "EACCES" || answer == "ENOENT",
            "{attack}: {answer}"
        );
    }
}

#[test]
fn a_box_runs_as_its_user_with_these_groups() {
    if !needs::root() {
        return;
    }
    let report = default_box().top("user = 'nobody'").report();
    assert_eq!(
        report["uid"],
        serde_json::json!([65534, 65534, 65534, 65534])
    );
    assert_eq!(
        report["gid"],
        serde_json::json!([65534, 65534, 65534, 65534])
    );
    // None of herd's own, and nobody is in no further group.
    assert_eq!(report["groups"], serde_json::json!([]));
    let case =
        default_box().top("user = 'nobody'\ngroup = 'daemon'\nsupplementary_groups = ['adm']");
    let report = case.report();
    assert_eq!(report["gid"], serde_json::json!([1, 1, 1, 1]));
    let mut groups: Vec<i64> = report["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_i64().unwrap())
        .collect();
    groups.sort_unstable();
    // adm is 4 on Debian.
    assert!(groups.contains(&4) && !groups.contains(&0), "{groups:?}");
}

#[test]
fn a_box_has_the_limits_and_priorities_of_its_unit() {
    if !needs::root() {
        return;
    }
    let case = default_box().top("nice = 5\noom_score_adjust = 300\ncpu_affinity = [0]").tables(
        "[limits]\nopen_files = [100, 200]\ncore = 0\nstack = '2M'\nfile_size = '1M'\nprocesses = 50",
    );
    let report = case.report();
    let limits = &report["limits"];
    assert_eq!(limits["Max open files"], serde_json::json!(["100", "200"]));
    assert_eq!(limits["Max core file size"], serde_json::json!(["0", "0"]));
    assert_eq!(
        limits["Max stack size"],
        serde_json::json!(["2097152", "2097152"])
    );
    assert_eq!(
        limits["Max file size"],
        serde_json::json!(["1048576", "1048576"])
    );
    assert_eq!(limits["Max processes"], serde_json::json!(["50", "50"]));
    assert_eq!(report["nice"], 5);
    assert_eq!(report["oom_score_adj"], "300");
    assert_eq!(report["cpus"], "0");
}

#[test]
fn a_box_mounts_the_kernels_trees_inert() {
    if !needs::root() {
        return;
    }
    let report = default_box().report();
    let mounts = report["mounts"].as_array().unwrap();
    let mut seen = 0;
    for mount in mounts {
        let path = mount["path"].as_str().unwrap();
        let kernels = ["/sys", "/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs"];
        if kernels
            .iter()
            .any(|own| path == *own || path.starts_with(&format!("{own}/")))
        {
            let options: Vec<&str> = mount["options"].as_str().unwrap().split(',').collect();
            for option in ["ro", "nosuid", "nodev"] {
                assert!(options.contains(&option), "{path}: {options:?}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 4, "{mounts:#?}");
}

#[test]
fn a_box_shows_its_own_cgroup_as_the_root() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    let lines = texts(&default_box().report()["cgroup"]);
    let unified = lines.iter().find(|line| line.starts_with("0::")).unwrap();
    assert_eq!(unified, "0::/");
}

#[test]
fn unboxed_commands_of_a_boxed_unit_run_outside() {
    if !needs::root() {
        return;
    }
    let case = default_box().top(
        "command_pre = [{ run = 'readlink /proc/self/ns/mnt', unboxed = true }, 'readlink /proc/self/ns/mnt']",
    );
    let (herd, _) = run(
        Herd::builder(),
        &case.unit("report").replace("stdout = 'file:@D@/out'\n", ""),
    );
    let host = fs::read_link("/proc/self/ns/mnt")
        .unwrap()
        .display()
        .to_string();
    let lines = herd.out("web");
    let namespaces: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("mnt:"))
        .collect();
    assert_eq!(namespaces.len(), 2, "{lines:?}");
    assert_eq!(*namespaces[0], host);
    assert_ne!(*namespaces[1], host);
}
