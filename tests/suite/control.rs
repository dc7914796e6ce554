//! The control socket: good clients, bad ones, and those who may only look.

use std::io::Write;

use serde_json::{Value, json};

use crate::fixture::{Connection, Herd, run};
use crate::needs;

/// A herd with one service, whose pid is returned.
fn one() -> (Herd, i32) {
    let herd = Herd::with(&[("web", "command = 'sleep infinity'")]);
    herd.wait_state("web", "active");
    let pid = herd.main_pid("web");
    (herd, pid)
}

/// The service still runs and herd still answers.
fn undisturbed(herd: &Herd, pid: i32) {
    assert_eq!(herd.main_pid("web"), pid);
    assert_eq!(herd.state("web"), "active");
}

#[test]
fn a_garbage_frame_closes_its_connection_and_disturbs_nobody() {
    let (herd, pid) = one();
    for garbage in [
        &b"garbage\0"[..],
        b"\0",
        b"{}\0",
        b"[]\0",
        b"{\"method\":7}\0",
        b"\xff\xfe\0",
        b"null\0",
        b"{\"method\":\"x\0",
    ] {
        let mut connection = Connection::open(&herd.socket());
        connection.stream().write_all(garbage).unwrap();
        // An answer that says so, or the end; never silence.
        if let Some(answer) = connection.next() {
            assert!(answer["error"].is_string(), "{answer}");
        }
    }
    undisturbed(&herd, pid);
}

#[test]
fn a_huge_frame_is_cut_off() {
    let (herd, pid) = one();
    let mut connection = Connection::open(&herd.socket());
    let megabyte = vec![b'x'; 1 << 20];
    let mut refused = false;
    for _ in 0..64 {
        if connection.stream().write_all(&megabyte).is_err() {
            refused = true;
            break;
        }
    }
    assert!(refused, "64 MiB were taken");
    undisturbed(&herd, pid);
}

#[test]
fn half_a_frame_and_a_client_that_does_not_read_block_nobody() {
    let (herd, pid) = one();
    let mut half = Connection::open(&herd.socket());
    half.stream()
        .write_all(b"{\"method\":\"org.herd.Man")
        .unwrap();
    let mut deaf = Connection::open(&herd.socket());
    deaf.stream().set_nonblocking(true).unwrap();
    let call = b"{\"method\":\"org.herd.Manager.Status\",\"parameters\":{}}\0";
    for _ in 0..10_000 {
        match deaf.stream().write(call) {
            Ok(count) if count == call.len() => {}
            _ => break,
        }
    }
    undisturbed(&herd, pid);
    half.stream()
        .write_all(b"ager.Info\",\"parameters\":{}}\0")
        .unwrap();
    let answer = half.next().unwrap();
    assert_eq!(answer["parameters"]["pid"], herd.pid());
}

#[test]
fn two_hundred_connections_are_too_many_but_harmless() {
    let (herd, pid) = one();
    let mut connections: Vec<Connection> =
        (0..200).map(|_| Connection::open(&herd.socket())).collect();
    let mut busy = 0;
    for connection in &mut connections {
        connection.send_or_not(&json!({ "method": "org.herd.Manager.Info", "parameters": {} }));
        match connection.next() {
            Some(answer) if answer["error"].is_string() => {
                assert_eq!(answer["error"], "org.herd.Manager.Busy");
                busy += 1;
            }
            Some(answer) => assert!(answer["parameters"]["pid"].is_i64(), "{answer}"),
            None => busy += 1,
        }
    }
    assert!((50..150).contains(&busy), "{busy} of 200 were turned away");
    drop(connections);
    undisturbed(&herd, pid);
}

#[test]
fn a_foreign_varlink_client_can_ask_what_there_is() {
    let (herd, _) = one();
    let mut connection = Connection::open(&herd.socket());
    let info = connection.call("org.varlink.service.GetInfo", &json!({}));
    assert_eq!(
        info["parameters"]["interfaces"],
        json!(["org.varlink.service", "org.herd.Manager"])
    );
    let description = connection.call(
        "org.varlink.service.GetInterfaceDescription",
        &json!({ "interface": "org.herd.Manager" }),
    );
    let text = description["parameters"]["description"].as_str().unwrap();
    assert!(text.contains("interface org.herd.Manager") && text.contains("method Status"));
    let unknown = connection.call("org.herd.Manager.Explode", &json!({}));
    assert_eq!(unknown["error"], "org.varlink.service.MethodNotFound");
    let unknown = connection.call("org.example.Thing", &json!({}));
    assert_eq!(unknown["error"], "org.varlink.service.InterfaceNotFound");
    let wrong = connection.call("org.herd.Manager.Start", &json!({ "units": "web" }));
    assert_eq!(wrong["error"], "org.varlink.service.InvalidParameter");
    let missing = connection.call("org.herd.Manager.Why", &json!({ "unit": "nothing" }));
    assert_eq!(missing["error"], "org.herd.Manager.NoSuchUnit");
    // A call that wants no answer gets none: the next answer is of the next call.
    connection.send(&json!({ "method": "org.herd.Manager.Stop", "parameters": { "units": ["web"] }, "oneway": true }));
    let status = connection.call("org.herd.Manager.Status", &json!({ "units": ["web"] }));
    assert_eq!(status["parameters"]["units"][0]["name"], "web");
    herd.wait_state("web", "inactive");
}

#[test]
fn names_that_cannot_be_one_are_refused_with_the_reason() {
    let (herd, pid) = one();
    let told: Vec<(i32, String)> = ["../x", "a/b", "", "a b", "x\ny", "nothing"]
        .iter()
        .map(|name| {
            let output = herd.ctl(&["start", name]);
            (output.code, output.stderr)
        })
        .collect();
    let rule = "letters, digits and _ - . : \\ @ are allowed";
    let expected = [
        (
            2,
            format!("herd: \"../x\" is no unit name: a unit name cannot hold '/'; {rule}\n"),
        ),
        (
            2,
            format!("herd: \"a/b\" is no unit name: a unit name cannot hold '/'; {rule}\n"),
        ),
        (
            2,
            "herd: \"\" is no unit name: a unit name cannot be empty\n".to_owned(),
        ),
        (
            2,
            format!("herd: \"a b\" is no unit name: a unit name cannot hold ' '; {rule}\n"),
        ),
        (
            2,
            format!("herd: \"x\\ny\" is no unit name: a unit name cannot hold '\\n'; {rule}\n"),
        ),
        (
            3,
            "herd: nothing: no such unit\nhint: `herd list --all` shows every unit\n".to_owned(),
        ),
    ];
    assert_eq!(told, expected);
    let mut connection = Connection::open(&herd.socket());
    let answer = connection.call(
        "org.herd.Manager.Start",
        &json!({ "units": ["../../etc/passwd"] }),
    );
    assert_eq!(answer["error"], "org.herd.Manager.BadName");
    undisturbed(&herd, pid);
}

#[test]
fn a_unit_is_not_missing_because_another_is_that_it_requires() {
    let herd = Herd::builder()
        .available("web", "command = 'sleep infinity'\nrequires = ['db']")
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output
            .stderr
            .starts_with("herd: web cannot be used:\nerror: there is no unit db\n"),
        "{output:?}"
    );
    assert_eq!(
        herd.ctl(&["start", "db"]).stderr.lines().next().unwrap(),
        "herd: db: no such unit"
    );
    assert_eq!(herd.ctl(&["plan", "db"]).code, 3);
}

#[test]
fn an_unknown_verb_and_no_herd_have_their_exit_codes() {
    let (herd, _) = one();
    let output = herd.ctl(&["statsu"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("status"), "{output:?}");
    let socket = herd.dir().join("nowhere");

    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_herd"));
    command.args(["status", "--runtime-dir"]).arg(&socket);
    let output = run(&mut command);
    assert_eq!(output.code, 4);
    assert_eq!(
        output.stderr.lines().next().unwrap(),
        format!(
            "herd: cannot reach herd at {}/control.sock: no such file or directory",
            socket.display()
        )
    );
}

#[test]
fn other_users_may_look_and_not_act() {
    if !needs::root() || !needs::program("setpriv") {
        return;
    }
    let (herd, pid) = one();
    let as_nobody = |arguments: &[&str]| {
        let herd_command = herd.command(arguments);
        let mut command = std::process::Command::new("setpriv");
        command.args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--",
        ]);
        // The binary may lie where nobody may enter.
        command.arg(herd.path("herd")).args(herd_command.get_args());
        run(&mut command)
    };
    std::fs::copy(env!("CARGO_BIN_EXE_herd"), herd.path("herd")).unwrap();
    let output = as_nobody(&["is-active", "web"]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "active\n"),
        "{output:?}"
    );
    assert_eq!(as_nobody(&["why", "web"]).code, 0);
    for act in [
        &["stop", "web"][..],
        &["restart", "web"],
        &["kill", "web"],
        &["shutdown"],
        &["rescan"],
        &["reset-failed"],
    ] {
        let output = as_nobody(act);
        assert_eq!(output.code, 1, "{act:?}: {output:?}");
        assert!(
            output.stderr.starts_with("herd: permission denied: "),
            "{act:?}: {output:?}"
        );
    }
    undisturbed(&herd, pid);
}

#[test]
fn two_herds_cannot_share_a_runtime_directory() {
    let (herd, pid) = one();
    let output = herd.ctl(&["daemon"]);
    assert_eq!(output.code, 1);
    assert_eq!(
        output.stderr,
        format!(
            "herd: another herd (process {}) runs with the runtime directory {}/run\n",
            herd.pid(),
            herd.dir().display()
        )
    );
    undisturbed(&herd, pid);
}

#[test]
fn herd_watch_shows_changes_until_herd_ends() {
    let herd = Herd::builder()
        .available("web", "command = 'sleep infinity'")
        .start();
    let mut watch = herd.command(&["watch", "--json"]);
    watch.stdout(std::process::Stdio::piped());
    let mut watch = watch.spawn().unwrap();
    let out = watch.stdout.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(out));
    // One client is served after the other: the watch that was opened first stands.
    herd.ok(&["start", "web"]);
    herd.ok(&["stop", "web"]);
    let mut states = Vec::new();
    herd.shutdown();
    while let Some(Ok(line)) = lines.next() {
        let change: Value = serde_json::from_str(&line).unwrap();
        states.push(change["state"].as_str().unwrap().to_owned());
    }
    assert!(watch.wait().unwrap().success());
    assert_eq!(
        states.last().map(String::as_str),
        Some("inactive"),
        "{states:?}"
    );
}

#[test]
fn asking_about_a_broken_unit_changes_nothing() {
    let herd = Herd::with(&[("miss", "command = 'sleep 50'\nrequires = ['gone']")]);
    let before = herd.ctl(&["list"]).stdout;
    assert!(before.contains("broken"), "{before}");
    for verb in ["why", "is-failed", "status", "start"] {
        herd.ctl(&[verb, "miss"]);
    }
    assert_eq!(herd.ctl(&["list"]).stdout, before);
    let refused = herd.ctl(&["start", "miss"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("miss.toml:2:"),
        "{}",
        refused.stderr
    );
}
