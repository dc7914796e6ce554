//! What goes into a container and what comes out: environment, lines, health, words to the manager.

use std::os::unix::net::UnixDatagram;

use crate::fixture::{Container, Image, SIGTERM};
use crate::needs;

fn ready() -> bool {
    needs::root() && needs::program("crun") && needs::program("busybox")
}

#[test]
fn the_containers_environment_reaches_every_service_but_words_about_herd_do_not() {
    if !ready() {
        return;
    }
    let image = Image::minimal()
        .unit("plain", "command = ['sh', '-c', 'env; echo over; sleep 1000']")
        .unit(
            "chosen",
            "command = ['sh', '-c', 'env; echo over; sleep 1000']\nunset_environment = ['DATABASE_URL']\nenvironment = { A = 'b' }",
        );
    let mut container = Container::of(image)
        .environment("DATABASE_URL", "postgres://db/orders")
        .environment("PATH", "/bin:/opt/bin")
        .environment("WATCHDOG_USEC", "1000000")
        .environment("LISTEN_FDS", "0")
        .start();
    for unit in ["plain", "chosen"] {
        container.wait_out(&format!("{unit:<8} | over"));
    }
    let plain = container.lines("plain").join("\n");
    assert!(
        plain.contains("| DATABASE_URL=postgres://db/orders"),
        "{plain}"
    );
    assert!(plain.contains("| PATH=/bin:/opt/bin"), "{plain}");
    assert!(!plain.contains("WATCHDOG_USEC"), "{plain}");
    assert!(!plain.contains("LISTEN_FDS"), "{plain}");
    let chosen = container.lines("chosen").join("\n");
    assert!(!chosen.contains("DATABASE_URL"), "{chosen}");
    assert!(chosen.contains("| A=b"), "{chosen}");
    container.stop();
}

#[test]
fn with_environment_none_a_unit_gets_what_it_asks_for() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit(
        "web",
        "command = ['sh', '-c', 'env; echo over; sleep 1000']\npass_environment = ['ONE']",
    );
    let mut container = Container::of(image)
        .environment("ONE", "1")
        .environment("TWO", "2")
        .arguments(&["--environment", "none"])
        .start();
    container.wait_out("| over");
    let out = container.out();
    assert!(out.contains("| ONE=1") && !out.contains("TWO"), "{out}");
    container.stop();
}

#[test]
fn lines_come_as_json_or_plain() {
    if !ready() {
        return;
    }
    let units = |image: Image| {
        image.unit(
            "web",
            "command = ['sh', '-c', 'echo say \"hello\"; sleep 1000']",
        )
    };
    let mut container = Container::of(units(Image::minimal()))
        .arguments(&["--log-format", "json"])
        .start();
    container.wait_out("hello");
    container.stop();
    let out = container.out();
    let objects: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let hello = objects
        .iter()
        .find(|object| object["unit"] == "web")
        .unwrap();
    assert_eq!(hello["text"], "say hello");
    assert_eq!(hello["kind"], "out");
    assert!(hello["at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(objects.last().unwrap()["text"], "web: stopped");

    let mut container = Container::of(units(Image::minimal()))
        .arguments(&["--log-format", "plain"])
        .start();
    container.wait_out("hello");
    container.stop();
    let out = container.out();
    assert!(out.lines().any(|line| line == "say hello"), "{out}");
    assert!(
        out.lines().any(|line| line == "herd: web: stopped"),
        "{out}"
    );
}

#[test]
fn no_line_is_lost_where_stdout_is_all_there_is() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit(
        "web",
        "command = ['sh', '-c', 'busybox seq 200000']\nrestart = 'no'",
    );
    let mut container = Container::of(image)
        .arguments(&["--log-format", "plain"])
        .start();
    assert_eq!(container.wait_end(), 0);
    let out = container.out();
    let numbers = out.lines().filter(|line| line.parse::<u32>().is_ok());
    assert_eq!(numbers.count(), 200_000);
}

#[test]
fn a_health_check_knows_who_is_not_up() {
    if !ready() {
        return;
    }
    let image = Image::minimal()
        .unit(
            "prepare",
            "command = ['sh', '-c', 'echo waits; read x < /gate']\noneshot = true",
        )
        .unit(
            "web",
            "command = 'sleep 1000'\nafter = ['prepare']\nrequires = ['prepare']",
        )
        .unit(
            "skipped",
            "command = 'sleep 1000'\n[condition]\npath_exists = '/nothing'",
        );
    let gate = image.root().join("gate");
    let everybody = nix::sys::stat::Mode::from_bits_truncate(0o666);
    nix::unistd::mkfifo(&gate, everybody).unwrap();
    let mut container = Container::of(image).start();
    container.wait_out("skipped: ");
    container.wait_out("waits");
    let asked = |words: &[&str], code: i32| {
        let mut all = vec!["/herd", "is-active", "--all"];
        all.extend(words);
        let output = container.exec(&all);
        assert_eq!(output.code, code, "{output:?}\n{}", container.out());
        output.stdout
    };
    assert_eq!(
        asked(&[], 1),
        "prepare: activating (running)\nweb: inactive (waiting)\n"
    );
    assert_eq!(asked(&["--quiet"], 1), "");
    let json: serde_json::Value = serde_json::from_str(&asked(&["--json"], 1)).unwrap();
    assert_eq!(json[1]["name"], "web");
    let mut opened = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&gate)
        .unwrap();
    std::io::Write::write_all(&mut opened, b"\n").unwrap();
    container.wait_out("web: active");
    assert_eq!(asked(&[], 0), "");
    container.stop();
}

#[test]
fn the_manager_hears_when_herd_is_ready_and_how_it_ended() {
    if !ready() {
        return;
    }
    let image = Image::minimal()
        .unit(
            "web",
            "command = ['sh', '-c', 'echo $${NOTIFY_SOCKET:-none}; exec sleep 1000']",
        )
        .unit("job", "command = 'false'\noneshot = true\nrestart = 'no'");
    let place = image.dir().join("manager");
    std::fs::create_dir(&place).unwrap();
    let socket = UnixDatagram::bind(place.join("notify")).unwrap();
    socket
        .set_read_timeout(Some(crate::fixture::DEADLINE))
        .unwrap();
    let hear = || {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let name = place.join("notify").display().to_string();
    let mut container = Container::of(image)
        .bind(&place)
        .environment("NOTIFY_SOCKET", &name)
        .start();
    assert_eq!(hear(), "READY=1\nSTATUS=1 units active, 1 failed");
    container.wait_out("| none");
    container.signal(1);
    assert!(hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(hear().starts_with("READY=1\n"));
    container.signal(SIGTERM);
    assert_eq!(hear(), "STOPPING=1\nSTATUS=stopping everything in order");
    assert_eq!(hear(), "EXIT_STATUS=0");
    assert_eq!(container.wait_end(), 0);
}
