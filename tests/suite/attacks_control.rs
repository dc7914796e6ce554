//! herd's own doors: its socket, its notifications, its unit files, its terminal (goals.md, items 24,
//! 38, 39 and "the control plane").

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use serde_json::{Value, json};

use crate::attacks::terminal;
use crate::box_probe::{Boxed, default_box, probe, run};
use crate::fixture::Herd;
use crate::needs;

/// A oneshot that sees herd's runtime directory at /mnt.
fn with_socket(case: &Boxed) -> Boxed {
    let keys = format!(
        "bind_read_only_paths = ['{}']\nbind_paths = ['@D@/run:/mnt']",
        probe().display()
    );
    case.clone().keys(&keys)
}

/// Calls of a client, each as a varlink message that needs no space.
fn calls() -> Vec<String> {
    ["Status", "List", "Shutdown", "Info"]
        .iter()
        .map(|method| {
            let message =
                json!({ "method": format!("org.herd.Manager.{method}"), "parameters": {} });
            format!(
                "varlink|/mnt/control.sock|{}",
                message.to_string().replace('"', "\\\\\\\"")
            )
        })
        .collect()
}

#[test]
fn a_box_that_finds_the_control_socket_is_told_nothing() {
    if !needs::root() {
        return;
    }
    let words = format!("tries {}", calls().join(" "));
    let cases = [
        default_box(),
        default_box().top("user = 'nobody'"),
        default_box().keys("namespaces = [\"mount\", \"ipc\"]"),
        default_box().keys("profile = 'minimal'"),
    ];
    for case in cases {
        let (herd, output) = run(Herd::builder(), &with_socket(&case).unit(&words));
        let answers: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(answers.as_object().unwrap().len(), 4);
        for (attack, answer) in answers.as_object().unwrap() {
            assert_eq!(answer, "EACCES", "{attack} in {case:?}");
        }
        assert_eq!(herd.ctl(&["status"]).code, 0, "herd is still there");
    }
}

#[test]
fn the_same_calls_are_answered_outside_a_box() {
    if !needs::root() {
        return;
    }
    // Else the test above would prove nothing.
    let message = "varlink|@D@/run/control.sock|{\\\\\\\"method\\\\\\\":\\\\\\\"org.herd.Manager.Info\\\\\\\"}";
    let unit = format!(
        "command = \"{} tries {message}\"\noneshot = true\nstdout = 'file:@D@/out'",
        probe().display()
    );
    let (_herd, output) = run(Herd::builder(), &unit);
    assert!(output.contains("\"ok\""), "{output}");
}

#[test]
fn a_notification_counts_for_its_own_service_alone() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    let victim = "command = 'sleep infinity'\nready = 'notify'\nrestart = 'no'\nboxed = true";
    let herd = Herd::builder().unit("victim", victim).start();
    herd.wait_substate("victim", "starting");
    let pid = herd.main_pid("victim");
    // The liar has the socket, and knows the other's process.
    let words = format!(
        "tries send|/mnt/notify|READY=1 send|/mnt/notify|MAINPID=1 send|/mnt/notify|MAINPID={pid}"
    );
    herd.write(
        "available/web.toml",
        &with_socket(&default_box()).unit(&words),
    );
    herd.ok(&["rescan"]);
    herd.ok(&["start", "web"]);
    let answers: Value = serde_json::from_str(&herd.read("out")).unwrap();
    assert!(
        answers
            .as_object()
            .unwrap()
            .values()
            .all(|answer| answer == "ok"),
        "{answers}"
    );
    assert_eq!(herd.state("victim"), "activating");
    assert_eq!(herd.main_pid("victim"), pid);
}

#[test]
fn a_service_cannot_make_another_process_its_main_one() {
    if !needs::root() {
        return;
    }
    let mut victim = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let text = format!("READY=1;MAINPID={}", victim.id()).replace(';', "\\n");
    let herd = Herd::builder()
        .unit(
            "web",
            &format!(
                "command = ['{}', 'send-and-stay', \"{text}\"]\nready = 'notify'\nrestart = 'no'",
                probe().display()
            ),
        )
        .start();
    herd.wait_state("web", "active");
    herd.wait_log("web", "is ignored");
    assert_ne!(herd.main_pid("web"), i32::try_from(victim.id()).unwrap());
    herd.ok(&["stop", "web"]);
    assert!(
        victim.try_wait().unwrap().is_none(),
        "the stop took the other process"
    );
    victim.kill().unwrap();
    victim.wait().unwrap();
}

#[test]
fn names_with_paths_in_them_are_refused() {
    let herd = Herd::with(&[]);
    fs::write(herd.path("evil.toml"), "command = '/bin/true'").unwrap();
    for name in [
        "../evil",
        "a/b",
        "/etc/passwd",
        "..",
        ".",
        "a\nb",
        "a\u{1b}[31mb",
        "",
        "-x",
        "a@b@c",
    ] {
        let output = herd.ctl(&["start", "--", name]);
        assert_ne!(output.code, 0, "{name:?}");
        assert!(!output.stderr.contains('\u{1b}'), "{:?}", output.stderr);
        let answer = herd.call("Start", &json!({ "units": [name] }));
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(
            error.ends_with("BadName") || error.ends_with("InvalidParameter"),
            "{name:?}: {answer}"
        );
        let answer = herd.call("Cat", &json!({ "unit": name }));
        assert!(answer["error"].is_string(), "{name:?}: {answer}");
    }
}

#[test]
fn unit_files_that_others_may_write_or_own_are_refused() {
    if !needs::root() {
        return;
    }
    let herd = Herd::with(&[]);
    let unit = "command = 'sleep infinity'";
    let refused = |name: &str, why: &str| {
        let output = herd.ctl(&["start", name]);
        assert_eq!(output.code, 1, "{name}: {output:?}");
        assert!(output.stderr.contains(why), "{name}: {}", output.stderr);
        assert_ne!(herd.state(name), "active");
    };
    herd.write("elsewhere/open.toml", unit);
    fs::set_permissions(
        herd.path("elsewhere/open.toml"),
        fs::Permissions::from_mode(0o666),
    )
    .unwrap();
    herd.write("elsewhere/theirs.toml", unit);
    chown(herd.path("elsewhere/theirs.toml"), Some(65534), Some(65534)).unwrap();
    for name in ["open", "theirs"] {
        let from = herd.path(&format!("elsewhere/{name}.toml"));
        fs::rename(&from, herd.path(&format!("available/{name}.toml"))).unwrap();
        let target = herd.path(&format!("available/{name}.toml"));
        symlink(&target, herd.path(&format!("enabled/link-{name}.toml"))).unwrap();
    }
    herd.ctl(&["rescan"]);
    refused("open", "writable by everybody");
    refused("theirs", "belongs to user 65534");
    refused("link-open", "writable by everybody");
    refused("link-theirs", "belongs to user 65534");
}

#[test]
fn what_is_no_file_in_the_directory_harms_nobody() {
    if !needs::root() {
        return;
    }
    let herd = Herd::with(&[("web", "command = 'sleep infinity'")]);
    herd.wait_state("web", "active");
    let enabled = herd.path("enabled");
    fs::create_dir(enabled.join("dir.toml")).unwrap();
    symlink("/dev/zero", enabled.join("zero.toml")).unwrap();
    symlink("/nowhere", enabled.join("nowhere.toml")).unwrap();
    symlink("loop.toml", enabled.join("loop.toml")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        enabled.join("fifo.toml"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    fs::write(enabled.join("a\u{1b}[31m\nb.toml"), "command = '/bin/true'").unwrap();
    let shown = on_a_terminal(&herd, &["rescan"]);
    assert!(shown.contains("a unit name cannot hold"), "{shown:?}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    assert_eq!(herd.state("web"), "active");
}

/// What a verb shows on a terminal without colours.
fn on_a_terminal(herd: &Herd, verb: &[&str]) -> String {
    let (master, slave) = terminal();
    let slave = fs::File::options()
        .read(true)
        .write(true)
        .open(slave)
        .unwrap();
    let mut child = herd
        .command(verb)
        .env("NO_COLOR", "1")
        .stdin(std::process::Stdio::null())
        .stdout(slave.try_clone().unwrap())
        .stderr(slave)
        .spawn()
        .unwrap();
    let mut shown = Vec::new();
    // EIO is how a terminal says that nobody is left at its other end.
    drop(fs::File::from(master).read_to_end(&mut shown));
    child.wait().unwrap();
    String::from_utf8_lossy(&shown).into_owned()
}

/// The unit's environment is the service's alone; what builds the box has none.
#[test]
fn an_environment_does_not_reach_what_builds_the_box() {
    if !needs::root() {
        return;
    }
    let case = default_box().top(
        "environment = { LD_PRELOAD = '/tmp/evil.so', LD_AUDIT = '/tmp/evil.so', GLIBC_TUNABLES = 'glibc.malloc.check=3', SECRET = 'of-the-service' }",
    );
    let herd = Herd::builder()
        .environment("SECRET_OF_HERD", "1")
        .unit("web", &case.service("stay"))
        .start();
    herd.wait_state("web", "active");
    let main = herd.main_pid("web");
    let environment = |pid: i32| fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    // The kernel closes what tells us of execve(2) before the new environment is in its place.
    let deadline = crate::fixture::Deadline::new();
    while environment(main).is_empty() && !deadline.left().is_zero() {
        std::thread::yield_now();
    }
    assert!(environment(main).contains("SECRET=of-the-service"));
    assert!(!environment(main).contains("SECRET_OF_HERD"));
    let reapers = crate::box_probe::children_named("herd-exec", herd.pid());
    assert_eq!(reapers.len(), 1);
    assert_eq!(environment(reapers[0]), "");
}

#[test]
fn lines_with_terminal_escapes_reach_no_terminal_as_they_are() {
    if !needs::root() || !needs::program("printf") {
        return;
    }
    let unit = "command = ['printf', 'a\\033]0;owned\\007b\\033[2Jc\\rd\\n']\noneshot = true";
    let herd = Herd::builder().available("web", unit).start();
    herd.ok(&["start", "web"]);
    herd.wait_log("web", "owned");
    for verb in [&["logs", "web"][..], &["status", "web"][..]] {
        let shown = on_a_terminal(&herd, verb);
        assert!(shown.contains("owned"), "{verb:?}: {shown:?}");
        for bad in ["\u{1b}", "\u{7}", "\rd"] {
            assert!(!shown.contains(bad), "{verb:?}: {shown:?}");
        }
    }
}

#[test]
fn garbage_on_the_socket_disturbs_nobody() {
    let herd = Herd::with(&[("web", "command = 'sleep infinity'")]);
    herd.wait_state("web", "active");
    for garbage in [
        &b"\0\0\0"[..],
        b"{}\0",
        b"[1,2]\0",
        b"{\"method\":7}\0",
        b"\xff\xfe\0",
        b"{\"method\":\"a.b.C\"}\0",
    ] {
        let mut stream = std::os::unix::net::UnixStream::connect(herd.socket()).unwrap();
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
    }
    assert_eq!(herd.state("web"), "active");
}
