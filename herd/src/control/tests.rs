//! The server on a real socket, driven by a loop as the daemon's; the interface description
//! against the types.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mio::{Events, Poll, Token};
use serde_json::{Value, json};
use units::UnitName;

use super::call::METHODS;
use super::client::{Client, ClientError};
use super::protocol::*;
use super::server::{CallId, DESCRIPTION, MAX_CONNECTIONS, Server, listen};

const FIRST: usize = 7;
const SOON: Option<Duration> = Some(Duration::from_secs(20));

struct Daemon {
    poll: Poll,
    events: Events,
    server: Server,
    _directory: tempfile::TempDir,
    socket: std::path::PathBuf,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let poll = Poll::new().unwrap();
        let listener = listen(&socket).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let server = Server::new(listener, poll.registry(), FIRST, uid).unwrap();
        Self {
            poll,
            events: Events::with_capacity(64),
            server,
            _directory: directory,
            socket,
        }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(SOON).unwrap();
        stream
    }

    /// One turn of the loop, which must have something to do.
    fn turn(&mut self) {
        self.poll.poll(&mut self.events, SOON).unwrap();
        assert!(!self.events.is_empty(), "nothing happened");
        for event in &self.events {
            assert!(self.server.owns(event.token()));
            self.server.handle(event, &|_| false);
        }
    }

    /// Turns while there is anything to do; what a client did on its side is known at once.
    fn settle(&mut self) {
        loop {
            let at_once = Some(Duration::ZERO);
            self.poll.poll(&mut self.events, at_once).unwrap();
            if self.events.is_empty() {
                return;
            }
            for event in &self.events {
                self.server.handle(event, &|_| false);
            }
        }
    }

    fn call(&mut self) -> (CallId, Call) {
        loop {
            if let Some(found) = self.server.next_call() {
                return found;
            }
            self.turn();
        }
    }

    /// Turns until the client's side has a whole frame, or its end (`None`).
    fn serve(&mut self, client: &mut UnixStream) -> Option<Value> {
        client.set_nonblocking(true).unwrap();
        let mut frame = Vec::new();
        let mut byte = [0];
        let mut idle = 0;
        loop {
            match client.read(&mut byte) {
                Ok(0) => return None,
                Ok(_) if byte == [0] => return Some(serde_json::from_slice(&frame).unwrap()),
                Ok(_) => {
                    frame.push(byte[0]);
                    idle = 0;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    assert_eq!(self.server.next_call(), None);
                    self.settle();
                    idle += 1;
                    assert!(idle < 3, "the server does not answer");
                }
                Err(_) => return None,
            }
        }
    }
}

fn send(client: &mut UnixStream, value: &Value) {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(0);
    client.write_all(&bytes).unwrap();
}

fn frame(client: &mut UnixStream) -> Value {
    client.set_nonblocking(false).unwrap();
    let mut bytes = Vec::new();
    let mut byte = [0];
    loop {
        client.read_exact(&mut byte).unwrap();
        if byte == [0] {
            return serde_json::from_slice(&bytes).unwrap();
        }
        bytes.push(byte[0]);
    }
}

fn name(text: &str) -> UnitName {
    UnitName::new(text).unwrap()
}

#[test]
fn a_late_answer_reaches_its_client_and_the_next_call_waits_for_it() {
    let mut daemon = Daemon::start();
    let mut client = daemon.connect();
    send(
        &mut client,
        &json!({"method": "org.herd.Manager.Stop", "parameters": {"units": ["web"]}}),
    );
    send(&mut client, &json!({"method": "org.herd.Manager.Info"}));
    let (first, call) = daemon.call();
    let job = Job {
        units: vec![name("web")],
        wait: true,
    };
    assert_eq!(call, Call::Stop(job));
    assert_eq!(daemon.server.next_call(), None);

    // Another client is served meanwhile.
    let mut other = daemon.connect();
    send(
        &mut other,
        &json!({"method": "org.herd.Manager.Why", "parameters": {"unit": "db"}}),
    );
    let (second, call) = daemon.call();
    assert_eq!(call, Call::Why { unit: name("db") });
    daemon
        .server
        .reply(second, Err(Refusal::NoSuchUnit { unit: "db".into() }));
    assert_eq!(
        frame(&mut other),
        json!({"error": "org.herd.Manager.NoSuchUnit", "parameters": {"unit": "db"}})
    );

    daemon.server.reply(first, Ok(Reply::DONE));
    assert_eq!(frame(&mut client), json!({"parameters": {}}));
    let (third, call) = daemon.call();
    assert_eq!(call, Call::Info);
    assert!(!daemon.server.is_open(first) && daemon.server.is_open(third));
    // A second answer to an answered call is nothing.
    daemon.server.reply(first, Ok(Reply::DONE));
    daemon.server.reply(third, Ok(Reply::Info(Info::default())));
    assert_eq!(frame(&mut client)["parameters"]["pid"], 0);
}

#[test]
fn introspection_and_bad_calls_are_answered_by_the_server_itself() {
    let mut daemon = Daemon::start();
    let mut client = daemon.connect();
    send(
        &mut client,
        &json!({"method": "org.varlink.service.GetInfo"}),
    );
    let info = daemon.serve(&mut client).unwrap();
    assert_eq!(
        info["parameters"]["interfaces"],
        json!(["org.varlink.service", "org.herd.Manager"])
    );
    send(
        &mut client,
        &json!({"method": "org.varlink.service.GetInterfaceDescription",
                "parameters": {"interface": "org.herd.Manager"}}),
    );
    let description = daemon.serve(&mut client).unwrap();
    assert_eq!(description["parameters"]["description"], DESCRIPTION);
    let cases = [
        (
            json!({"method": "org.herd.Manager.Fly"}),
            "org.varlink.service.MethodNotFound",
        ),
        (
            json!({"method": "org.example.Fly"}),
            "org.varlink.service.InterfaceNotFound",
        ),
        (
            json!({"method": "Fly"}),
            "org.varlink.service.InterfaceNotFound",
        ),
        (
            json!({"method": "org.herd.Manager.Start"}),
            "org.varlink.service.InvalidParameter",
        ),
        (
            json!({"method": "org.herd.Manager.Info", "parameters": {"x": 1}}),
            "org.varlink.service.InvalidParameter",
        ),
        (
            json!({"method": "org.herd.Manager.Watch"}),
            "org.varlink.service.InvalidParameter",
        ),
        (
            json!({"method": "org.herd.Manager.Why", "parameters": {"unit": "../etc"}}),
            "org.herd.Manager.BadName",
        ),
    ];
    for (call, error) in cases {
        send(&mut client, &call);
        assert_eq!(daemon.serve(&mut client).unwrap()["error"], error, "{call}");
    }
}

#[test]
fn garbage_and_endless_calls_are_told_so_and_dropped() {
    for garbage in [b"GET / HTTP/1.1\r\n\r\n\0".to_vec(), vec![b'{'; 70_000]] {
        let mut daemon = Daemon::start();
        let mut client = daemon.connect();
        client.write_all(&garbage).unwrap();
        let answer = daemon.serve(&mut client).unwrap();
        assert_eq!(answer["error"], "org.varlink.service.InvalidParameter");
        assert_eq!(daemon.serve(&mut client), None);
        let notes = daemon.server.take_notes();
        assert_eq!(notes.len(), 1, "{notes:?}");
    }
}

#[test]
fn a_client_that_closed_its_writing_side_still_gets_its_answer() {
    let mut daemon = Daemon::start();
    let mut client = daemon.connect();
    send(&mut client, &json!({"method": "org.herd.Manager.Info"}));
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let (id, _) = daemon.call();
    daemon.server.reply(id, Ok(Reply::DONE));
    assert_eq!(frame(&mut client), json!({"parameters": {}}));
    assert_eq!(daemon.serve(&mut client), None);
}

#[test]
fn a_watcher_that_does_not_read_is_dropped_and_blocks_nobody() {
    let mut daemon = Daemon::start();
    let mut client = daemon.connect();
    send(
        &mut client,
        &json!({"method": "org.herd.Manager.Watch", "more": true}),
    );
    let (id, _) = daemon.call();
    let change = Reply::Watch(StateChange {
        failure: Some("x".repeat(1000)),
        ..StateChange::default()
    });
    let mut sent = 0;
    while daemon.server.continue_(id, &change) {
        sent += 1;
        assert!(sent < 10_000, "nothing bounds what is queued");
    }
    assert!(sent > 1000);
    assert!(!daemon.server.is_open(id));
    assert!(daemon.server.take_notes()[0].contains("does not read its answers"));
}

#[test]
fn a_watcher_that_left_is_noticed() {
    let mut daemon = Daemon::start();
    let mut client = daemon.connect();
    send(
        &mut client,
        &json!({"method": "org.herd.Manager.Watch", "more": true}),
    );
    let (id, _) = daemon.call();
    assert!(
        daemon
            .server
            .continue_(id, &Reply::Watch(StateChange::default()))
    );
    assert_eq!(frame(&mut client)["continues"], true);
    drop(client);
    while daemon.server.is_open(id) {
        daemon.turn();
        assert_eq!(daemon.server.next_call(), None);
    }
}

#[test]
fn the_connection_above_the_limit_is_told_that_herd_is_busy() {
    let mut daemon = Daemon::start();
    let mut clients: Vec<_> = (0..MAX_CONNECTIONS).map(|_| daemon.connect()).collect();
    daemon.settle();
    let mut late = daemon.connect();
    daemon.settle();
    assert_eq!(frame(&mut late)["error"], "org.herd.Manager.Busy");
    // One that goes makes room.
    clients.pop();
    daemon.settle();
    assert_eq!(daemon.server.next_call(), None);
    let mut again = daemon.connect();
    send(&mut again, &json!({"method": "org.herd.Manager.Info"}));
    assert_eq!(daemon.call().1, Call::Info);
}

#[test]
fn a_process_of_a_box_may_not_even_look() {
    let mut daemon = Daemon::start();
    let mut client = daemon.connect();
    daemon.poll.poll(&mut daemon.events, SOON).unwrap();
    for event in &daemon.events {
        daemon.server.handle(event, &|_| true);
    }
    send(&mut client, &json!({"method": "org.herd.Manager.Info"}));
    let answer = daemon.serve(&mut client).unwrap();
    assert_eq!(answer["error"], "org.herd.Manager.PermissionDenied");
}

#[test]
fn the_socket_of_a_living_herd_is_not_taken_and_that_of_a_dead_one_is() {
    let daemon = Daemon::start();
    assert_eq!(
        listen(&daemon.socket).unwrap_err().kind(),
        std::io::ErrorKind::AddrInUse
    );
    let Daemon {
        server,
        socket,
        _directory,
        ..
    } = daemon;
    drop(server);
    listen(&socket).unwrap();
}

#[test]
fn the_client_reads_answers_refusals_and_ends() {
    let mut daemon = Daemon::start();
    let socket = daemon.socket.clone();
    let client = std::thread::spawn(move || {
        let mut client = Client::connect(&socket).unwrap();
        let unit = name("web");
        let big: StatusReply = client
            .call(
                &Call::Status {
                    units: vec![],
                    all: true,
                },
                SOON,
            )
            .unwrap();
        let refused = client
            .call::<WhyReply>(&Call::Why { unit }, SOON)
            .unwrap_err();
        let closed = client.call::<Info>(&Call::Info, SOON).unwrap_err();
        (big, refused, closed)
    });
    let units: Vec<UnitStatus> = (0..3000)
        .map(|number| UnitStatus {
            name: format!("u{number}"),
            source: "/etc/herd/enabled/a-name-that-takes-some-room.toml".repeat(5),
            ..UnitStatus::default()
        })
        .collect();
    let (id, _) = daemon.call();
    let reply = StatusReply { units };
    daemon.server.reply(id, Ok(Reply::Status(reply.clone())));
    let (id, _) = daemon.call();
    daemon
        .server
        .reply(id, Err(Refusal::NoSuchUnit { unit: "web".into() }));
    daemon.call();
    drop(daemon);
    let (big, refused, closed) = client.join().unwrap();
    assert_eq!(big, reply);
    assert_eq!(refused.to_string(), "web: no such unit");
    assert!(matches!(closed, ClientError::Closed), "{closed:?}");
    let nobody = Client::connect(std::path::Path::new("/nonexistent/control.sock")).unwrap_err();
    assert_eq!(
        nobody.to_string(),
        "cannot reach herd at /nonexistent/control.sock"
    );
}

#[test]
fn tokens_outside_the_range_are_not_the_servers() {
    let daemon = Daemon::start();
    assert!(daemon.server.owns(Token(FIRST + MAX_CONNECTIONS)));
    assert!(!daemon.server.owns(Token(FIRST + MAX_CONNECTIONS + 1)));
    assert!(!daemon.server.owns(Token(FIRST - 1)));
}

// ---- the description ----

type Description = BTreeMap<(String, String), BTreeMap<String, String>>;

/// `(keyword, name) → field → type`; of a method the parameters, and its result as `reply`.
#[expect(clippy::string_slice, reason = "cut at brackets that were just found")]
fn description() -> Description {
    let text: String = DESCRIPTION
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect::<Vec<_>>()
        .join(" ");
    let mut found = Description::new();
    let mut rest = text.as_str();
    while let Some(open) = rest.find('(') {
        let head: Vec<&str> = rest[..open].split_whitespace().collect();
        let close = open + rest[open..].find(')').unwrap();
        let body = &rest[open + 1..close];
        let key = match head.as_slice() {
            [.., keyword @ ("type" | "method" | "error"), name] => {
                ((*keyword).to_owned(), (*name).to_owned())
            }
            ["->"] => ("reply".to_owned(), last_method(rest, &text)),
            other => panic!("cannot read {other:?}"),
        };
        let fields = body
            .split(',')
            .map(str::trim)
            .filter(|field| !field.is_empty())
            .map(|field| {
                let (name, kind) = field.split_once(':').unwrap_or((field, ""));
                (name.trim().to_owned(), kind.trim().to_owned())
            })
            .collect();
        assert!(found.insert(key, fields).is_none());
        rest = &rest[close + 1..];
    }
    found
}

/// The method whose result begins where `rest` does.
#[expect(clippy::string_slice, reason = "`rest` is an end of `text`")]
fn last_method(rest: &str, text: &str) -> String {
    let before = &text[..text.len() - rest.len()];
    let name = before.rsplit("method ").next().unwrap();
    name.split('(').next().unwrap().to_owned()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// `full` has every field, `bare` only those that are always there.
fn compare(fields: &BTreeMap<String, String>, full: &Value, bare: &Value) {
    let all: BTreeSet<String> = fields.keys().cloned().collect();
    let always: BTreeSet<String> = fields
        .iter()
        .filter(|(_, kind)| !kind.starts_with('?'))
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(keys(full), all);
    assert_eq!(keys(bare), always);
    for (name, kind) in fields {
        let value = &full[name];
        let fits = match kind.trim_start_matches('?') {
            "string" => value.is_string(),
            "int" => value.is_i64(),
            "float" => value.is_f64(),
            "bool" => value.is_boolean(),
            array if array.starts_with("[]") => value.is_array(),
            "State" | "UnitKind" | "Mode" | "Power" => value.is_string(),
            _ => value.is_object(),
        };
        assert!(fits, "{name}: {kind} is {value}");
    }
}

fn json_of(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

#[test]
fn the_description_lists_the_methods_and_errors_there_are() {
    let description = description();
    let named = |keyword: &str| -> BTreeSet<String> {
        let of_kind = description.keys().filter(|(word, _)| word == keyword);
        of_kind.map(|(_, name)| name.clone()).collect()
    };
    let methods: BTreeSet<String> = METHODS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(named("method"), methods);
    assert_eq!(named("reply"), methods);
    let text = String::new;
    let refusals = [
        Refusal::NoSuchUnit { unit: text() },
        Refusal::BadName {
            name: text(),
            reason: text(),
        },
        Refusal::JobFailed { failures: vec![] },
        Refusal::Refused { reason: text() },
        Refusal::PermissionDenied { reason: text() },
        Refusal::Busy { reason: text() },
    ];
    let mut known = BTreeSet::new();
    for refusal in refusals {
        let value = json_of(refusal);
        let error = value["error"].as_str().unwrap();
        let name = error.strip_prefix("org.herd.Manager.").unwrap().to_owned();
        let fields = &description[&("error".to_owned(), name.clone())];
        compare(fields, &value["parameters"], &value["parameters"]);
        known.insert(name);
    }
    assert_eq!(named("error"), known);
}

#[test]
fn the_description_lists_the_parameters_of_each_method() {
    let units = || vec![name("web")];
    let unit = || name("web");
    let job = || Job {
        units: units(),
        wait: true,
    };
    let calls = [
        Call::Status {
            units: units(),
            all: true,
        },
        Call::List {
            all: true,
            usage: true,
        },
        Call::Start(job()),
        Call::Stop(job()),
        Call::Restart(job()),
        Call::Reload(job()),
        Call::Kill {
            unit: unit(),
            signal: units::Signal::TERM,
            whom: Whom::Main,
        },
        Call::Freeze { units: units() },
        Call::Thaw { units: units() },
        Call::ResetFailed { units: units() },
        Call::Why { unit: unit() },
        Call::Plan { unit: unit() },
        Call::Cat { unit: unit() },
        Call::Rescan,
        Call::Goal {
            unit: unit(),
            wait: true,
        },
        Call::Shutdown {
            power: Some(Way::Exit),
            force: true,
            wait: true,
            schedule: Schedule {
                delay: Duration::from_secs(60),
                message: Some("why".to_owned()),
                ..Schedule::default()
            },
        },
        Call::CancelShutdown {
            message: Some("why".to_owned()),
            wall: true,
        },
        Call::Watch { units: units() },
        Call::Networks,
        Call::Boot,
        Call::Info,
    ];
    let description = description();
    assert_eq!(calls.len(), METHODS.len());
    for call in calls {
        let fields = &description[&("method".to_owned(), call.method().to_owned())];
        let sent = call.to_json();
        let names: BTreeSet<String> = fields.keys().cloned().collect();
        assert_eq!(keys(&sent["parameters"]), names, "{}", call.method());
        // What is said to be optional may be left out, and nothing else.
        for (name, kind) in fields {
            let mut without = sent.clone();
            without["parameters"].as_object_mut().unwrap().remove(name);
            let envelope: super::call::Envelope = serde_json::from_value(without).unwrap();
            assert_eq!(
                envelope.into_request().is_ok(),
                kind.starts_with('?'),
                "{} without {name}",
                call.method()
            );
        }
    }
}

#[test]
fn the_description_lists_the_fields_of_each_type() {
    let text = || Some(String::new());
    let exit = LastExit {
        code: Some(1),
        signal: Some(9),
        ..LastExit::default()
    };
    let watchdog = Watchdog {
        last_ping: Some(1),
        ..Watchdog::default()
    };
    let pressure = Pressure {
        cpu: Some(Stalls::default()),
        memory: Some(Stalls::default()),
        io: Some(Stalls::default()),
    };
    let status = UnitStatus {
        description: text(),
        main_pid: Some(1),
        last_exit: Some(exit.clone()),
        status_text: text(),
        memory: Some(1),
        memory_peak: Some(1),
        cpu_usec: Some(1),
        tasks: Some(1),
        swap: Some(1),
        io_read: Some(1),
        io_written: Some(1),
        oom_kills: Some(1),
        pressure: Some(Pressure::default()),
        broken: text(),
        next_try: Some(1),
        failure: text(),
        because_of: text(),
        watchdog: Some(watchdog.clone()),
        health: text(),
        ..UnitStatus::default()
    };
    let entry = ListEntry {
        main_pid: Some(1),
        memory: Some(1),
        cpu_usec: Some(1),
        next_try: Some(1),
        description: text(),
        ..ListEntry::default()
    };
    let address = NetworkAddress {
        address6: text(),
        ..NetworkAddress::default()
    };
    let on_network = NetworkBox {
        address6: text(),
        ..NetworkBox::default()
    };
    let network = Network {
        description: text(),
        subnet6: text(),
        gateway6: text(),
        ..Network::default()
    };
    let change = StateChange {
        main_pid: Some(1),
        failure: text(),
        ..StateChange::default()
    };
    let bare_ending = Ending {
        power: Way::Exit,
        at: 1,
        begun: false,
        warn_only: false,
        message: None,
        waits_for: Vec::new(),
    };
    let ending = Ending {
        message: text(),
        ..bare_ending.clone()
    };
    let info = Info {
        ending: Some(ending.clone()),
        ..Info::default()
    };
    let goal = Goal {
        reached: Some(1),
        waits_for: text(),
        ..Goal::default()
    };
    let description = description();
    let cases = [
        (
            "type",
            "UnitStatus",
            json_of(status),
            json_of(UnitStatus::default()),
        ),
        (
            "type",
            "ListEntry",
            json_of(entry),
            json_of(ListEntry::default()),
        ),
        (
            "type",
            "LastExit",
            json_of(exit),
            json_of(LastExit::default()),
        ),
        (
            "type",
            "Watchdog",
            json_of(watchdog),
            json_of(Watchdog::default()),
        ),
        (
            "type",
            "Pressure",
            json_of(pressure),
            json_of(Pressure::default()),
        ),
        (
            "type",
            "Stalls",
            json_of(Stalls::default()),
            json_of(Stalls::default()),
        ),
        (
            "type",
            "NetworkAddress",
            json_of(address),
            json_of(NetworkAddress::default()),
        ),
        (
            "type",
            "NetworkBox",
            json_of(on_network),
            json_of(NetworkBox::default()),
        ),
        (
            "type",
            "Network",
            json_of(network),
            json_of(Network::default()),
        ),
        (
            "type",
            "WallGivenUp",
            json_of(WallGivenUp::default()),
            json_of(WallGivenUp::default()),
        ),
        (
            "type",
            "UnitFile",
            json_of(UnitFile::default()),
            json_of(UnitFile::default()),
        ),
        (
            "type",
            "JobFailure",
            json_of(JobFailure::default()),
            json_of(JobFailure::default()),
        ),
        (
            "reply",
            "Status",
            json_of(StatusReply::default()),
            json_of(StatusReply::default()),
        ),
        (
            "reply",
            "List",
            json_of(ListReply::default()),
            json_of(ListReply::default()),
        ),
        (
            "reply",
            "Why",
            json_of(WhyReply::default()),
            json_of(WhyReply::default()),
        ),
        (
            "reply",
            "Plan",
            json_of(PlanReply::default()),
            json_of(PlanReply::default()),
        ),
        (
            "reply",
            "Cat",
            json_of(CatReply::default()),
            json_of(CatReply::default()),
        ),
        (
            "reply",
            "Rescan",
            json_of(RescanReply::default()),
            json_of(RescanReply::default()),
        ),
        (
            "reply",
            "Networks",
            json_of(NetworksReply::default()),
            json_of(NetworksReply::default()),
        ),
        (
            "type",
            "BootUnit",
            json_of(BootUnit {
                took_usec: Some(1),
                ..BootUnit::default()
            }),
            json_of(BootUnit::default()),
        ),
        (
            "reply",
            "Boot",
            json_of(BootReply {
                kernel_usec: Some(1),
                finished_usec: Some(1),
                ..BootReply::default()
            }),
            json_of(BootReply::default()),
        ),
        (
            "reply",
            "Watch",
            json_of(change),
            json_of(StateChange::default()),
        ),
        ("reply", "Info", json_of(info), json_of(Info::default())),
        ("type", "Ending", json_of(ending), json_of(bare_ending)),
        ("type", "Goal", json_of(goal), json_of(Goal::default())),
        ("reply", "Start", json_of(Empty {}), json_of(Empty {})),
        (
            "reply",
            "Shutdown",
            json_of(ShutdownReply {
                note: Some(String::new()),
                stays: true,
            }),
            json_of(ShutdownReply::default()),
        ),
    ];
    for (keyword, name, full, bare) in cases {
        compare(
            &description[&(keyword.to_owned(), name.to_owned())],
            &full,
            &bare,
        );
    }
    let words = |name: &str| -> BTreeSet<String> {
        let fields = &description[&("type".to_owned(), name.to_owned())];
        fields.keys().cloned().collect()
    };
    let states = [
        State::Inactive,
        State::Activating,
        State::Active,
        State::Reloading,
        State::Deactivating,
        State::Failed,
    ];
    let written = states.map(|state| json_of(state).as_str().unwrap().to_owned());
    assert_eq!(words("State"), BTreeSet::from(written.clone()));
    assert_eq!(written, states.map(|state| state.as_str().to_owned()));
}
