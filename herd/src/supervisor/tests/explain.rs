use std::sync::Arc;
use std::time::Duration;

use units::unit::{Ready, Restart};

use super::stage::Stage;
use super::units_at_random::{name, plain};
use crate::supervisor::event::{ExitStatus, Verb};
use crate::supervisor::explain::duration;

#[test]
fn why_names_what_a_start_waits_for_and_the_next_try() {
    let mut web = plain("web");
    let ties = Arc::make_mut(&mut web.dependencies);
    ties.requires = vec![name("postgres")];
    ties.after = vec![name("postgres")];
    let mut stage = Stage::enabled(&[plain("postgres"), web], &["postgres"]);
    for _ in 0..6 {
        stage.crashes("postgres");
        let wait = stage
            .herd
            .deadline()
            .map_or(Duration::ZERO, |at| at.since(stage.world.now));
        stage.pass(wait);
    }
    stage.crashes("postgres");
    stage.command(Verb::Start, &["web"]);
    assert_eq!(
        stage.why("web"),
        "web waits for postgres, which is in backoff after exit 1; next try in 3 s"
    );
    assert_eq!(
        stage.why("postgres"),
        "postgres is in backoff after exit 1; next try in 3 s"
    );
}

#[test]
fn why_says_since_when_a_service_is_active() {
    let mut stage = Stage::with(&[plain("web")]);
    stage.pass(Duration::from_secs(125));
    let pid = stage
        .herd
        .service(stage.id("web"))
        .unwrap()
        .state()
        .main()
        .unwrap()
        .pid
        .0;
    assert_eq!(
        stage.why("web"),
        format!("web has been active for 2 min 5 s, as process {pid}")
    );
}

#[test]
fn why_says_what_a_starting_service_has_not_done() {
    let mut web = plain("web");
    web.ready = Ready::Notify;
    let stage = Stage::with(&[web]);
    assert_eq!(
        stage.why("web"),
        "web is starting and has not said that it is ready; herd gives up in 1 min 30 s"
    );
}

#[test]
fn why_says_how_a_service_failed() {
    let mut web = plain("web");
    Arc::make_mut(&mut web.lifecycle).restart = Restart::No;
    let mut stage = Stage::with(&[web]);
    stage.ends("web", ExitStatus::Code(7));
    stage.pass(Duration::from_secs(3));
    assert_eq!(stage.why("web"), "web failed 3 s ago: exit 7");
}

#[test]
fn why_tells_of_a_newer_definition() {
    let mut stage = Stage::with(&[plain("web")]);
    let mut newer = plain("web");
    newer.source.digest = 1;
    stage.define(&[newer], &["web"]);
    assert!(
        stage
            .why("web")
            .ends_with("an older definition than its file (herd restart takes the new)")
    );
}

#[test]
fn an_unknown_name_has_no_why() {
    let stage = Stage::with(&[]);
    assert_eq!(stage.herd.why(stage.world.now, &name("web")), None);
}

#[test]
fn durations_are_as_precise_as_a_person_needs() {
    for (millis, text) in [
        (120, "120 ms"),
        (3_999, "3 s"),
        (125_000, "2 min 5 s"),
        (3_660_000, "1 h 1 min"),
        (90_000_000, "1 d 1 h"),
    ] {
        assert_eq!(duration(Duration::from_millis(millis)), text);
    }
}
