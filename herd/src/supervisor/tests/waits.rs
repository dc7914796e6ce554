//! What a boot waits for.
use std::sync::Arc;
use std::time::Duration;

use units::Unit;
use units::unit::{Kind, Lifecycle, Ready, Restart};

use super::stage::Stage;
use super::units_at_random::{name, plain};
use crate::supervisor::event::{Event, Input, Notice, Verb};

fn target(text: &str, needs: &[&str], comes_after: &[&str]) -> Unit {
    let mut unit = plain(text);
    unit.kind = Kind::Target;
    let ties = Arc::make_mut(&mut unit.dependencies);
    ties.requires = needs.iter().map(|other| name(other)).collect();
    ties.wants = comes_after.iter().map(|other| name(other)).collect();
    ties.after = needs
        .iter()
        .chain(comes_after)
        .map(|other| name(other))
        .collect();
    unit
}

/// Says that it is ready, or does not.
fn slow(text: &str, limit: Option<u64>) -> Unit {
    let mut unit = plain(text);
    unit.ready = Ready::Notify;
    unit.lifecycle = Arc::new(Lifecycle {
        timeout_start: limit.map(Duration::from_secs),
        restart: Restart::Always,
        restart_delay: Duration::from_secs(60),
        restart_delay_max: Duration::from_secs(60),
        ..Lifecycle::default()
    });
    unit
}

impl Stage {
    fn waits_for(&self, unit: &str) -> Option<String> {
        self.herd.waits_for(self.world.now, self.id(unit))
    }

    fn says(&mut self, unit: &str, notice: Notice) {
        let id = self.id(unit);
        let input = Input::Notified(notice);
        self.tell(Event::Service { id, input });
    }
}

#[test]
fn the_end_of_every_chain_is_named_and_what_is_there_is_not() {
    let mut stage = Stage::with(&[
        slow("disk", Some(90)),
        slow("web", None),
        plain("quick"),
        slow("apart", None),
        target("local-fs", &["disk"], &[]),
        target("default", &["local-fs"], &["web", "quick"]),
    ]);
    stage.pass(Duration::from_secs(12));
    assert_eq!(
        stage.waits_for("default").as_deref(),
        Some("disk (12 s of 1 min 30 s), web (12 s)")
    );
    stage.says(
        "disk",
        Notice::Status("device /dev/sdb1, 1min at most".into()),
    );
    assert_eq!(
        stage.waits_for("local-fs").as_deref(),
        Some("disk (12 s; device /dev/sdb1, 1min at most)")
    );
    stage.says("disk", Notice::Ready);
    assert_eq!(stage.waits_for("default").as_deref(), Some("web (12 s)"));
    stage.says("web", Notice::Ready);
    assert!(stage.is_active("default"));
    assert_eq!(stage.waits_for("default"), None);
}

#[test]
fn one_that_tries_again_holds_up_who_needs_it_and_no_other() {
    let mut stage = Stage::with(&[
        slow("needed", None),
        slow("wished", None),
        target("first", &["needed"], &["wished"]),
        target("second", &[], &["wished"]),
    ]);
    // The first try after a crash comes at once.
    for _ in 0..2 {
        stage.crashes("needed");
        stage.crashes("wished");
    }
    let waits = stage.waits_for("first").unwrap_or_default();
    assert!(waits.starts_with("needed (next try in "), "{waits}");
    assert!(!waits.contains("wished"), "{waits}");
    assert!(stage.is_active("second"));
    assert_eq!(stage.waits_for("second"), None);
}

#[test]
fn many_are_counted_and_a_stop_is_waited_for_too() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut units: Vec<Unit> = names.iter().map(|text| slow(text, None)).collect();
    units.push(target("default", &[], &names));
    let mut stage = Stage::with(&units);
    stage.pass(Duration::from_secs(7));
    assert_eq!(
        stage.waits_for("default").as_deref(),
        Some("a (7 s), b (7 s), c (7 s), d (7 s) and 2 more")
    );
    // Nobody brings it there any more.
    stage.command(Verb::Stop, &["default"]);
    assert_eq!(stage.waits_for("default"), None);
}
