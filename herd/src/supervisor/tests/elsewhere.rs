//! File systems that are mounted and let go by others.
use std::sync::Arc;
use std::time::Duration;

use units::Unit;
use units::unit::Kind;

use super::stage::Stage;
use super::units_at_random::{command, name, plain};
use crate::supervisor::State;
use crate::supervisor::action::Action;
use crate::supervisor::event::{Event, ExitStatus, Verb};
use crate::supervisor::state::Rest;

fn mount(text: &str) -> Unit {
    let mut unit = plain(text);
    unit.commands.oneshot = true;
    unit.commands.remain_after_exit = true;
    unit.commands.stop = vec![command()];
    unit
}

fn with_mount(text: &str, kind: Kind) -> Unit {
    let mut unit = plain(text);
    unit.kind = kind;
    let ties = Arc::make_mut(&mut unit.dependencies);
    ties.requires = vec![name("mount-srv")];
    ties.after = vec![name("mount-srv")];
    unit
}

impl Stage {
    fn elsewhere(&mut self, unit: &str, is_done: bool) {
        let id = self.id(unit);
        self.tell(Event::Elsewhere { id, is_done });
    }

    /// How many processes were asked for, of which a mount's own are some.
    fn spawned(&self, unit: &str) -> usize {
        let of =
            |action: &&Action| matches!(action, Action::Spawn { id, .. } if *id == self.id(unit));
        self.seen.iter().filter(of).count()
    }
}

fn stage() -> Stage {
    let units = [
        mount("mount-srv"),
        with_mount("db", Kind::Service),
        with_mount("local-fs", Kind::Target),
    ];
    let mut stage = Stage::with(&units);
    stage.ends("mount-srv", ExitStatus::Code(0));
    stage.pass(Duration::from_secs(60));
    for unit in ["mount-srv", "db", "local-fs"] {
        assert!(stage.is_active(unit), "{unit}");
    }
    stage
}

#[test]
fn what_is_let_go_by_hand_rests_and_what_needs_it_stops_until_it_is_back() {
    let mut stage = stage();
    let before = stage.spawned("mount-srv");
    stage.elsewhere("mount-srv", false);
    stage.pass(Duration::from_secs(60));
    assert_eq!(*stage.state("mount-srv"), State::Inactive(Rest::Undone));
    for unit in ["db", "local-fs"] {
        let rest = Rest::Bound(name("mount-srv"));
        assert_eq!(*stage.state(unit), State::Inactive(rest), "{unit}");
    }
    stage.elsewhere("mount-srv", true);
    stage.pass(Duration::from_secs(60));
    for unit in ["mount-srv", "db", "local-fs"] {
        assert!(stage.is_active(unit), "{unit}");
    }
    // Neither its command nor that of its stop was run.
    assert_eq!(stage.spawned("mount-srv"), before);
}

#[test]
fn what_is_let_go_by_hand_can_be_started_again() {
    let mut stage = stage();
    let before = stage.spawned("mount-srv");
    stage.elsewhere("mount-srv", false);
    stage.command(Verb::Start, &["mount-srv"]);
    stage.ends("mount-srv", ExitStatus::Code(0));
    stage.pass(Duration::from_secs(60));
    assert!(stage.is_active("mount-srv") && stage.is_active("db"));
    assert_eq!(stage.spawned("mount-srv"), before + 1);
}

#[test]
fn what_was_stopped_with_it_by_herd_stays_down_when_it_is_mounted_by_hand() {
    let mut stage = stage();
    stage.command(Verb::Stop, &["mount-srv"]);
    stage.pass(Duration::from_secs(60));
    // What herd has done itself is no news.
    stage.elsewhere("mount-srv", false);
    assert_eq!(*stage.state("mount-srv"), State::Inactive(Rest::Stopped));
    stage.elsewhere("mount-srv", true);
    assert!(stage.is_active("mount-srv"));
    assert_eq!(*stage.state("db"), State::Inactive(Rest::Stopped));
}

#[test]
fn what_comes_back_before_its_last_process_has_gone_is_started() {
    let mut stage = stage();
    let id = stage.id("mount-srv");
    // The world says that nothing is left only when it is asked to go on.
    stage.tell_only(Event::Elsewhere { id, is_done: false });
    assert!(stage.state("mount-srv").is_stopping());
    stage.tell_only(Event::Elsewhere { id, is_done: true });
    stage.settle();
    stage.ends("mount-srv", ExitStatus::Code(0));
    stage.pass(Duration::from_secs(60));
    for unit in ["mount-srv", "db", "local-fs"] {
        assert!(stage.is_active(unit), "{unit}");
    }
}

#[test]
fn a_service_with_a_process_and_a_herd_that_ends_take_no_notice() {
    let mut stage = stage();
    for is_done in [false, true] {
        stage.elsewhere("db", is_done);
        stage.elsewhere("local-fs", is_done);
        assert!(stage.is_active("db") && stage.is_active("local-fs"));
    }
    stage.elsewhere("mount-srv", false);
    stage.tell_only(Event::Shutdown);
    stage.elsewhere("mount-srv", true);
    assert!(!stage.is_active("mount-srv"));
}
