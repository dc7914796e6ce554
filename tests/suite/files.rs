//! Files that come, change, break and go while herd runs; `add`, `enable`, `disable`, `config`.

use std::fs;

use crate::fixture::Herd;

#[test]
fn a_unit_that_is_dropped_in_starts_and_one_that_is_taken_away_stops() {
    let herd = Herd::with(&[]);
    herd.write_unit("web", "command = 'sleep infinity'");
    herd.wait_state("web", "active");
    let pid = herd.main_pid("web");
    herd.remove_unit("web");
    herd.wait_gone(pid);
    herd.wait_substate("web", "gone");
    // It is forgotten, and free for another.
    herd.write_unit("web", "command = 'sleep 1000'");
    herd.wait_state("web", "active");
}

#[test]
fn a_file_written_in_place_is_taken_up_when_it_is_whole() {
    let herd = Herd::with(&[]);
    let path = herd.path("enabled/web.toml");
    let mut file = fs::File::create(&path).unwrap();
    std::io::Write::write_all(&mut file, b"command = 'sleep").unwrap();
    herd.wait_log("herd", "web.toml:1:17");
    std::io::Write::write_all(&mut file, b" infinity'\n").unwrap();
    drop(file);
    herd.wait_state("web", "active");
}

#[test]
fn a_changed_file_is_reported_and_the_service_kept_until_its_restart() {
    let herd = Herd::with(&[("web", "command = 'sleep infinity'\ndescription = 'one'")]);
    herd.wait_state("web", "active");
    let pid = herd.main_pid("web");
    herd.write_unit("web", "command = 'sleep infinity'\ndescription = 'two'");
    let rescan = herd.json(&["rescan"]);
    assert_eq!(rescan["diagnostics"], serde_json::json!([]));
    assert_eq!(herd.status("web")["changed"], true);
    assert_eq!(herd.main_pid("web"), pid);
    assert!(herd.ok(&["status"]).contains("changed"));
    herd.ok(&["restart", "web"]);
    let status = herd.status("web");
    assert_eq!(
        (&status["changed"], &status["description"]),
        (&false.into(), &"two".into())
    );
    assert_ne!(herd.main_pid("web"), pid);
}

#[test]
fn on_change_restart_takes_the_new_file_at_once() {
    let herd = Herd::with(&[("web", "command = 'sleep infinity'\non_change = 'restart'")]);
    herd.wait_state("web", "active");
    let pid = herd.main_pid("web");
    herd.write_unit("web", "command = 'sleep 10000'\non_change = 'restart'");
    herd.wait_gone(pid);
    herd.wait_change(0, "web to be back", |change| {
        change.unit == "web" && change.main_pid.is_some_and(|new| new != i64::from(pid))
    });
    assert_eq!(herd.status("web")["changed"], false);
}

#[test]
fn a_drop_in_changes_its_unit() {
    let herd = Herd::with(&[("web", "command = 'sleep infinity'")]);
    herd.wait_state("web", "active");
    herd.write(
        "enabled/web.toml.d/50-words.toml",
        "description = 'dropped in'",
    );
    herd.ok(&["rescan"]);
    assert_eq!(herd.status("web")["changed"], true);
    herd.ok(&["restart", "web"]);
    assert_eq!(herd.status("web")["description"], "dropped in");
    let cat = herd.ok(&["cat", "web"]);
    assert_eq!(
        cat.replace(&herd.dir().display().to_string(), "$D"),
        "# $D/enabled/web.toml\ncommand = 'sleep infinity'\n\n\
         # $D/enabled/web.toml.d/50-words.toml\ndescription = 'dropped in'\n"
    );
}

#[test]
fn a_broken_file_keeps_the_last_good_definition() {
    let herd = Herd::with(&[
        ("web", "command = 'sleep infinity'"),
        ("other", "command = 'sleep infinity'"),
    ]);
    herd.wait_state("web", "active");
    herd.wait_state("other", "active");
    let (web, other) = (herd.main_pid("web"), herd.main_pid("other"));
    herd.write_unit("web", "comand = 'sleep infinity'");
    let output = herd.ctl(&["rescan"]);
    assert_eq!(output.code, 1);
    assert!(output.stdout.contains("did you mean"), "{output:?}");
    assert_eq!((herd.main_pid("web"), herd.main_pid("other")), (web, other));
    let status = herd.status("web");
    assert!(
        status["broken"].as_str().unwrap().contains("web.toml:1:1"),
        "{status}"
    );
    // It still can be restarted, from what is known to work.
    herd.ok(&["restart", "web"]);
    assert_ne!(herd.main_pid("web"), web);
    herd.write_unit("web", "command = 'sleep infinity'");
    herd.ok(&["rescan"]);
    assert_eq!(herd.status("web")["broken"], serde_json::Value::Null);
}

#[test]
fn a_directory_that_vanishes_disturbs_nothing_and_may_come_back() {
    let herd = Herd::with(&[("web", "command = 'sleep infinity'")]);
    herd.wait_state("web", "active");
    let pid = herd.main_pid("web");
    fs::rename(herd.path("enabled"), herd.path("away")).unwrap();
    herd.wait_log("herd", "everything stays as it is");
    assert_eq!(herd.main_pid("web"), pid);
    fs::rename(herd.path("away"), herd.path("enabled")).unwrap();
    herd.write_unit("late", "command = 'sleep infinity'");
    herd.wait_state("late", "active");
    assert_eq!(herd.main_pid("web"), pid);
}

#[test]
fn units_are_added_enabled_and_disabled() {
    let herd = Herd::with(&[]);
    let said = herd.ok(&["add", "--description", "Sleeps", "web", "sleep", "infinity"]);
    assert!(!said.is_empty());
    let output = herd.ctl(&["add", "web", "sleep", "1"]);
    assert_eq!(output.code, 1, "nothing is overwritten: {output:?}");
    assert_eq!(
        herd.ctl(&["check", herd.path("available/web.toml").to_str().unwrap()])
            .code,
        0
    );
    assert!(herd.ok(&["config", "web"]).contains("Sleeps"));
    herd.ok(&["enable", "web"]);
    herd.wait_state("web", "active");
    assert!(
        fs::symlink_metadata(herd.path("enabled/web.toml"))
            .unwrap()
            .is_symlink()
    );
    herd.ok(&["disable", "web"]);
    herd.wait_substate("web", "gone");
    assert!(herd.path("available/web.toml").exists());
    assert!(!herd.path("enabled/web.toml").exists());
    let output = herd.ctl(&["enable", "missing"]);
    assert_eq!(output.code, 3, "{output:?}");
}

#[test]
fn options_of_herd_are_not_swallowed_into_a_command() {
    let herd = Herd::with(&[]);
    let output = herd.ctl(&["add", "web", "/bin/true", "--boxed"]);
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (
            2,
            "herd: --boxed stands after the command, and would be a word of it\n\
             hint: put it before the unit's name; or write -- before the command, which then has \
             all that follows\n"
        )
    );
    assert!(!herd.path("available/web.toml").exists());
    herd.ok(&["add", "--boxed", "web", "/bin/true", "-x"]);
    assert!(herd.read("available/web.toml").contains("boxed = true"));
    herd.ok(&["add", "own", "--", "/bin/true", "--boxed"]);
    assert!(!herd.read("available/own.toml").contains("boxed = true"));
    assert!(herd.read("available/own.toml").contains("\"--boxed\""));
}

#[test]
fn enabling_a_broken_file_warns_and_links_it() {
    let herd = Herd::builder()
        .available("web", "command = 'sleep infinity'\nboxd = true")
        .start();
    let output = herd.ctl(&["enable", "web"]);
    assert_eq!(output.code, 0, "{output:?}");
    let said = "herd: web is enabled, but cannot run as it is:";
    assert!(output.stderr.starts_with(said), "{}", output.stderr);
    assert!(
        output.stderr.contains("did you mean `boxed`?"),
        "{}",
        output.stderr
    );
    herd.write("available/web.toml", "command = 'sleep infinity'");
    herd.wait_state("web", "active");
    // A sound one is enabled without a word more.
    assert_eq!(herd.ctl(&["enable", "web"]).stderr, "");
}

#[test]
fn disabling_a_file_of_the_enabled_directory_moves_it() {
    let herd = Herd::with(&[("web", "command = 'sleep infinity'")]);
    herd.wait_state("web", "active");
    herd.ok(&["disable", "web"]);
    herd.wait_substate("web", "gone");
    assert_eq!(
        herd.read("available/web.toml"),
        "command = 'sleep infinity'"
    );
}

#[test]
fn files_that_others_may_write_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let herd = Herd::with(&[]);
    herd.write("available/web.toml", "command = 'sleep infinity'");
    fs::set_permissions(
        herd.path("available/web.toml"),
        fs::Permissions::from_mode(0o666),
    )
    .unwrap();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("web"), "{output:?}");
    assert_ne!(herd.state("web"), "active");
}
