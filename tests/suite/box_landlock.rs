//! `landlock` and `landlock_scope`, seen from inside.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use crate::box_probe::{Boxed, default_box, probe};
use crate::fixture::Herd;
use crate::needs;

/// Root, and a kernel with this ABI.
fn has_abi(least: u32) -> bool {
    let abi = sandbox::Host::detect().unwrap().landlock_abi;
    if abi < least {
        eprintln!("SKIPPED: needs landlock ABI {least}");
    }
    abi >= least && needs::root()
}

/// No other wall of files, and rules that let the probe run.
fn held(rules: &str) -> Boxed {
    let probe = probe();
    default_box().keys("profile = 'none'").keys(&format!(
        "landlock = [{{ path = '/usr', access = 'execute' }}, {{ path = '{}', access = 'execute' }}{rules}]",
        probe.display()
    ))
}

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(place.path().join("file"), "text").unwrap();
    fs::create_dir(place.path().join("sub")).unwrap();
    place
}

/// Each change to the place, and its answer.
fn changes(place: &Path, case: &Boxed) -> Vec<(&'static str, String)> {
    let at = |name: &str| place.join(name).display().to_string();
    [
        ("read", format!("read|{}", at("file"))),
        ("list", format!("list|{}", at(""))),
        ("write", format!("open-write|{}", at("file"))),
        ("truncate", format!("truncate|{}", at("file"))),
        ("create", format!("create|{}", at("new"))),
        ("make", format!("make-directory|{}", at("made"))),
        ("move", format!("rename|{}|{}", at("file"), at("sub/file"))),
        ("remove", format!("remove|{}", at("sub/file"))),
    ]
    .into_iter()
    .map(|(name, attack)| (name, case.answer(&attack)))
    .collect()
}

fn let_through(answers: &[(&'static str, String)]) -> Vec<&'static str> {
    answers
        .iter()
        .filter(|(_, answer)| answer == "ok")
        .map(|(name, _)| *name)
        .collect()
}

/// The seed's defect 9: it handled only the rights that its rules named.
#[test]
fn a_rule_to_read_alone_denies_every_change() {
    if !has_abi(5) {
        return;
    }
    let place = place();
    let path = place.path().display();
    let read = held(&format!(", {{ path = '{path}', access = 'read' }}"));
    assert_eq!(let_through(&changes(place.path(), &read)), ["read", "list"]);
    assert_eq!(fs::read(place.path().join("file")).unwrap(), b"text");
    let nothing = held("");
    assert_eq!(let_through(&changes(place.path(), &nothing)), [""; 0]);
    let both = held(&format!(", {{ path = '{path}', access = 'read_write' }}"));
    assert_eq!(let_through(&changes(place.path(), &both)).len(), 8);
}

#[test]
fn an_empty_list_denies_everything_the_program_too() {
    if !has_abi(5) {
        return;
    }
    let unit = default_box().keys("landlock = []").unit("report");
    let herd = Herd::builder().available("web", &unit).start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.contains("permission denied"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_missing_path_keeps_the_service_down_by_its_name_unless_it_is_optional() {
    if !has_abi(5) {
        return;
    }
    let rule = |optional: &str| {
        held(&format!(
            ", {{ path = '/nonexistent/x', access = 'read'{optional} }}"
        ))
    };
    let herd = Herd::builder()
        .available("web", &rule("").unit("report"))
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    assert!(
        output
            .stderr
            .contains("landlock: allow to read /nonexistent/x (step "),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("no such file"), "{}", output.stderr);
    drop(herd);
    assert_eq!(rule(", optional = true").answer("keyctl"), "ok");
}

#[test]
fn tcp_is_let_by_port() {
    if !has_abi(5) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("connect-tcp|{port}");
    let answers = |rules: &str| {
        let answers = held(rules).tries(&[&connect, "bind-tcp|0"]);
        (answers[&connect].clone(), answers["bind-tcp|0"].clone())
    };
    let both = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    assert_eq!(answers(""), both("EACCES", "EACCES"));
    let one = format!(", {{ tcp = {port}, access = 'connect' }}");
    assert_eq!(answers(&one), both("ok", "EACCES"));
    assert_eq!(
        answers(", { tcp = 'any', access = 'both' }"),
        both("ok", "ok")
    );
}

/// Goal 28, and the key that opens it again.
#[test]
fn scopes_are_named_or_opened() {
    if !has_abi(6) {
        return;
    }
    let name = format!("herd-scope-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let connect = format!("connect-unix|@{name}");
    let kill = format!("kill|{}", std::process::id());
    let bare = |keys: &str| {
        let case = default_box().keys("profile = 'none'").keys(keys);
        let answers = case.tries(&[&connect, &kill]);
        (answers[&connect].clone(), answers[&kill].clone())
    };
    let both = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    assert_eq!(bare(""), both("ok", "ok"));
    assert_eq!(
        bare("landlock_scope = ['abstract_unix_socket']"),
        both("EPERM", "ok")
    );
    assert_eq!(bare("landlock_scope = ['signal']"), both("ok", "EPERM"));
    assert_eq!(
        bare("landlock_scope = ['signal', 'abstract_unix_socket']"),
        both("EPERM", "EPERM")
    );
    // The default box has the first of them.
    assert_eq!(default_box().answer(&connect), "EPERM");
    let open = default_box().keys("landlock_scope = []");
    assert_eq!(open.answer(&connect), "ok");
}

#[test]
fn herd_stops_a_box_whose_signals_stay_inside() {
    if !has_abi(6) {
        return;
    }
    let unit = default_box()
        .keys("landlock_scope = ['signal', 'abstract_unix_socket']")
        .service("stay");
    let herd = Herd::builder().unit("web", &unit).start();
    herd.ok(&["stop", "web"]);
    assert_eq!(herd.status("web")["state"], "inactive");
}

#[test]
fn the_plan_names_each_rule() {
    if !has_abi(6) {
        return;
    }
    let unit = default_box()
        .keys(
            "landlock = [{ path = '/srv', access = 'read_write', optional = true }, { tcp = 443, \
             access = 'connect' }]\nlandlock_scope = ['signal']",
        )
        .unit("report");
    let herd = Herd::builder().available("web", &unit).start();
    let plan = herd.ok(&["plan", "web"]);
    for line in [
        "bind and connect tcp, but for the rules; keep signals inside (ABI ",
        "landlock: allow to read and write /srv (unless it is missing)",
        "landlock: allow to connect tcp port 443",
        "landlock: enforce this from now on",
    ] {
        assert!(plan.contains(line), "{line}: {plan}");
    }
}
