//! `herd run examples/quickstart`, the README's first command, with the example's files as they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::fixture::{Builder, Herd, Inside, run};
use crate::needs;

const PAGE: &str = "http://127.0.0.1:8080/";
/// `nobody`, who has no files and no groups.
const USER: u32 = 65534;

fn lacks_something() -> bool {
    !(needs::root()
        && needs::unshare(&["--mount", "--net"])
        && needs::program("ip")
        && needs::program("curl")
        && needs::program("perl"))
}

/// Everything a new user sees, until ctrl-c.
fn shows_what_it_promises(builder: Builder) -> (Herd, Inside) {
    let herd = builder.example("quickstart").foreground().start();
    let inside = herd.inside();
    herd.wait_state("web", "active");
    let page = inside.get(PAGE);
    for line in [
        "prepared on ",
        "host name:     web",
        "writing /usr:  Read-only file system",
        "home files:    0",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(page.contains(line), "no {line:?} in\n{page}");
    }
    // The worker's fifth job crashes it, and its state is kept over that.
    herd.wait_log("worker", "job 5: crashes");
    herd.wait_log("worker", "exit 1; starting again now");
    herd.wait_log("worker", "job 6: done");
    assert_eq!(herd.status("worker")["restarts"], 1);
    if herd.status("web")["restarts"] != 0 {
        herd.fail("web was started again, for no reason that is known");
    }
    let order = herd.all_changes();
    let first = |unit: &str, state: &str| {
        let found = order
            .iter()
            .position(|change| change.unit == unit && change.state == state);
        found.unwrap_or_else(|| herd.fail(&format!("{unit} was never {state}")))
    };
    assert!(first("prepare", "active") <= first("web", "active"));
    (herd, inside)
}

/// What ctrl-c does, and what is there then.
fn ends_with_nothing_left((mut herd, inside): (Herd, Inside), state: &str) {
    herd.signal(Signal::SIGINT);
    assert_eq!(herd.wait_end().code(), Some(0));
    let shown = herd.read("herd.out");
    for line in ["web: stopped", "worker: stopped", "prepare: stopped"] {
        assert!(shown.contains(line), "no {line:?} in\n{shown}");
    }
    assert!(
        shown.rfind("prepare: stopped") > shown.rfind("web: stopped"),
        "{shown}"
    );
    assert_ne!(
        inside.run(&["curl", "--silent", PAGE]).code,
        0,
        "somebody still listens"
    );
    let mounts = inside.ok(&["cat", "/proc/self/mountinfo"]);
    let own = herd.dir().to_str().unwrap();
    assert!(
        !mounts.contains(own) && !mounts.contains("quickstart"),
        "{mounts}"
    );
    // Its state is the service's own, and stays.
    assert!(
        inside
            .ok(&["cat", &format!("{state}/jobs")])
            .trim()
            .parse::<u32>()
            .unwrap()
            >= 6
    );
    // The fixture looks for groups, processes and sockets.
    drop(herd);
}

#[test]
fn runs_as_root() {
    if lacks_something() {
        return;
    }
    let running = shows_what_it_promises(Herd::builder().apart());
    ends_with_nothing_left(running, "/var/lib/herd-quickstart");
}

#[test]
fn runs_as_a_user() {
    if lacks_something() || !needs::program("setpriv") {
        return;
    }
    let builder = Herd::builder().apart();
    let home = builder.dir().display().to_string();
    let builder = builder
        .environment("HOME", &home)
        .environment("XDG_STATE_HOME", "")
        .owner(USER);
    let running = shows_what_it_promises(builder);
    ends_with_nothing_left(running, &format!("{home}/.local/state/herd-quickstart"));
}

#[test]
fn a_second_ctrl_c_kills() {
    let mut herd = Herd::builder()
        .unit(
            "stubborn",
            "command = ['sh', '-c', 'trap \"\" INT TERM; echo deaf; while :; do sleep 1000; done']",
        )
        .foreground()
        .start();
    herd.wait_log("stubborn", "deaf");
    herd.signal(Signal::SIGINT);
    herd.wait_substate("stubborn", "stopping");
    herd.signal(Signal::SIGINT);
    herd.wait_end();
    assert!(herd.read("herd.out").contains("killing everything"));
}

#[test]
fn every_unit_of_the_examples_and_of_debian_is_sound() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in [
        "examples/quickstart",
        "examples/stack",
        "tests/units/debian",
    ] {
        let folder = top.join(folder);
        let units = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let units = units.filter(|path| path.extension().is_some_and(|kind| kind == "toml"));
        let count = units.count();
        assert!(count > 0, "{}", folder.display());
        let told = run(Command::new(env!("CARGO_BIN_EXE_herd"))
            .arg("check")
            .arg(&folder));
        assert_eq!(told.code, 0, "{told:?}");
        // An instance that something names counts beside its template.
        let (sound, problems) = told.stdout.split_once(" units sound, ").unwrap();
        assert!(sound.parse::<usize>().unwrap() >= count, "{told:?}");
        assert_eq!(problems, "0 errors, 0 warnings\n");
    }
}
