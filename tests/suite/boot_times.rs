//! `herd blame` and `herd plot`: how the units first came up.

use crate::fixture::Herd;

/// `web` waits for `db`, which waits for a gate; `hopeless` never comes up.
fn three() -> Herd {
    let herd = Herd::builder()
        .unit(
            "db",
            "command = 'sleep infinity'\ncommand_pre = [['sh', '-c', 'read x <@D@/gate']]",
        )
        .unit(
            "web",
            "command = 'sleep infinity'\nrequires = ['db']\nafter = ['db']",
        )
        .unit(
            "hopeless",
            "command = '/bin/false'\nready = 'notify'\nrestart_delay = '1h'",
        )
        .available("later", "command = 'sleep infinity'")
        .gate("gate")
        .start();
    herd.wait_state("db", "activating");
    herd.open_gate("gate");
    herd.wait_state("web", "active");
    herd.wait_substate("hopeless", "backoff");
    herd
}

#[test]
fn blame_tells_how_long_each_unit_took_the_slowest_first() {
    let herd = three();
    let boot = herd.json(&["blame"]);
    let unit = |name: &str| {
        let units = boot["units"].as_array().unwrap();
        let found = units.iter().find(|unit| unit["name"] == name);
        found.unwrap_or_else(|| panic!("{name} in {boot}")).clone()
    };
    let number = |unit: &serde_json::Value, field: &str| unit[field].as_i64().unwrap();
    let (db, web) = (unit("db"), unit("web"));
    let db_over = number(&db, "begun_usec") + number(&db, "took_usec");
    assert_eq!(number(&web, "begun_usec"), db_over, "{boot}");
    assert_eq!(web["after"], serde_json::json!(["db"]));
    assert!(unit("hopeless")["took_usec"].is_null(), "{boot}");
    let finished = number(&boot, "finished_usec");
    assert!(finished >= db_over + number(&web, "took_usec"), "{boot}");
    assert!(boot["kernel_usec"].is_null(), "{boot}");

    let text = herd.ok(&["blame"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("2 units in "), "{text}");
    assert!(lines[0].ends_with("; still on the way: hopeless"), "{text}");
    let names: Vec<&str> = lines[1..]
        .iter()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names[..2], ["NAME", "hopeless"], "{text}");
    assert_eq!(names.len(), 4, "{text}");
}

#[test]
fn a_unit_that_is_started_later_is_no_part_of_the_boot() {
    let herd = three();
    let finished = herd.json(&["blame"])["finished_usec"].clone();
    herd.ok(&["start", "later"]);
    assert_eq!(herd.json(&["blame"])["finished_usec"], finished);
    let text = herd.ok(&["blame"]);
    assert!(text.contains("; 1 came later; "), "{text}");
    let picture = herd.ok(&["plot"]);
    assert!(!picture.contains("later ("), "{picture}");
}

#[test]
fn a_restart_does_not_change_how_a_unit_first_came_up() {
    let herd = three();
    let before = herd.json(&["blame"]);
    herd.ok(&["restart", "web"]);
    let after = herd.json(&["blame"]);
    assert_eq!(before["units"], after["units"]);
}

#[test]
fn plot_draws_a_row_for_each_unit() {
    let herd = three();
    let picture = herd.ok(&["plot"]);
    assert!(picture.starts_with("<svg "), "{picture}");
    assert!(picture.trim_end().ends_with("</svg>"), "{picture}");
    for part in ["herd (", "db (", "web (", "hopeless (still on the way)"] {
        assert!(picture.contains(part), "{part}: {picture}");
    }
    assert_eq!(herd.json(&["plot"])["units"][0]["name"], "db");
}
