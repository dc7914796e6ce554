use std::sync::Arc;
use std::time::Duration;

use units::unit::{Dependencies, Lifecycle, OnChange, Ready, Restart};
use units::{Unit, UnitName};

use super::stage::Stage;
use super::units_at_random::{command, name, plain, wanted_by};
use crate::supervisor::State;
use crate::supervisor::action::{Action, Answer, Role};
use crate::supervisor::event::{Event, ExitStatus, Input, Notice, Verb};
use crate::supervisor::state::{Failure, Rest};

fn unit(text: &str, ties: impl FnOnce(&mut Dependencies)) -> Unit {
    let mut unit = plain(text);
    ties(Arc::make_mut(&mut unit.dependencies));
    unit
}

fn with_lifecycle(mut unit: Unit, change: impl FnOnce(&mut Lifecycle)) -> Unit {
    change(Arc::make_mut(&mut unit.lifecycle));
    unit
}

fn one_shot_failure(text: &str) -> Unit {
    with_lifecycle(plain(text), |l| l.restart = Restart::No)
}

fn names(list: &[&str]) -> Vec<UnitName> {
    list.iter().map(|n| name(n)).collect()
}

fn needs(unit: &mut Dependencies, other: &str) {
    unit.requires = names(&[other]);
    unit.after = names(&[other]);
}

fn newer(mut unit: Unit) -> Unit {
    unit.source.digest += 1;
    unit
}

#[test]
fn a_dependant_of_a_service_that_recovers_is_started_again() {
    let db = one_shot_failure("db");
    let mut stage = Stage::with(&[
        db,
        unit("web", |t| needs(t, "db")),
        unit("watch", |t| {
            t.binds_to = names(&["db"]);
            t.after = names(&["db"]);
        }),
    ]);
    stage.crashes("db");
    assert_eq!(
        *stage.state("watch"),
        State::Inactive(Rest::Bound(name("db")))
    );
    assert!(
        stage.is_active("web"),
        "only a bound service goes down with it"
    );
    stage.command(Verb::Start, &["db"]);
    assert!(stage.is_active("watch"));
}

#[test]
fn a_service_does_not_start_without_what_it_requires_and_starts_when_that_comes() {
    let mut db = one_shot_failure("db");
    db.ready = Ready::Notify;
    let mut stage = Stage::with(&[db, unit("web", |t| needs(t, "db"))]);
    assert!(stage.state("db").is_starting());
    assert!(
        stage.state("web").is_at_rest(),
        "web waits for the word of db"
    );
    stage.crashes("db");
    assert_eq!(
        *stage.state("web"),
        State::Failed(Failure::Dependency(name("db")))
    );
    stage.command(Verb::Start, &["db"]);
    let id = stage.id("db");
    stage.tell(Event::Service {
        id,
        input: Input::Notified(Notice::Ready),
    });
    assert!(stage.is_active("web"));
}

#[test]
fn a_restart_takes_those_along_that_need_it_or_are_part_of_it() {
    let units = [
        plain("db"),
        unit("web", |t| needs(t, "db")),
        unit("part", |t| t.part_of = names(&["db"])),
        unit("fan", |t| t.wants = names(&["db"])),
    ];
    let mut stage = Stage::with(&units);
    let before = [
        stage.main("db"),
        stage.main("web"),
        stage.main("part"),
        stage.main("fan"),
    ];
    stage.command(Verb::Restart, &["db"]);
    assert_ne!(stage.main("db"), before[0]);
    assert_ne!(stage.main("web"), before[1]);
    assert_ne!(stage.main("part"), before[2]);
    assert_eq!(
        stage.main("fan"),
        before[3],
        "who only wanted it never stopped"
    );
}

#[test]
fn a_stop_goes_to_the_parts_and_dependants_and_leaves_who_only_wanted_it() {
    let units = [
        plain("db"),
        unit("web", |t| needs(t, "db")),
        unit("part", |t| t.part_of = names(&["db"])),
        unit("fan", |t| t.wants = names(&["db"])),
    ];
    let mut stage = Stage::with(&units);
    let ticket = stage.command(Verb::Stop, &["db"]);
    assert_eq!(stage.answer(ticket), Some(&Answer::Done));
    for gone in ["db", "web", "part"] {
        assert_eq!(*stage.state(gone), State::Inactive(Rest::Stopped), "{gone}");
    }
    assert!(stage.is_active("fan"));
}

#[test]
fn services_stop_in_reverse_order() {
    let mut stage = Stage::with(&[
        plain("a"),
        unit("b", |t| needs(t, "a")),
        unit("c", |t| needs(t, "b")),
    ]);
    stage.seen.clear();
    stage.tell(Event::Shutdown);
    let stopped: Vec<_> = stage
        .seen
        .iter()
        .filter_map(|action| match action {
            Action::Release { id, .. } => Some(*id),
            _ => None,
        })
        .collect();
    assert_eq!(stopped, [stage.id("c"), stage.id("b"), stage.id("a")]);
    assert_eq!(stage.world.exits, [0]);
}

#[test]
fn conflicting_services_push_each_other_out() {
    let mut stage = Stage::enabled(
        &[plain("a"), unit("b", |t| t.conflicts = names(&["a"]))],
        &["a"],
    );
    stage.command(Verb::Start, &["b"]);
    assert!(stage.is_active("b"));
    assert_eq!(
        *stage.state("a"),
        State::Inactive(Rest::Conflict(name("b")))
    );
    stage.command(Verb::Start, &["a"]);
    assert!(stage.is_active("a"));
    assert_eq!(
        *stage.state("b"),
        State::Inactive(Rest::Conflict(name("a")))
    );
}

#[test]
fn a_start_that_would_pull_up_both_sides_of_a_conflict_is_refused() {
    let both = unit("both", |t| t.wants = names(&["a", "b"]));
    let units = [plain("a"), unit("b", |t| t.conflicts = names(&["a"])), both];
    let mut stage = Stage::enabled(&units, &[]);
    let ticket = stage.command(Verb::Start, &["both"]);
    assert!(matches!(stage.answer(ticket), Some(Answer::Refused(_))));
    assert!(stage.state("both").is_at_rest());
}

#[test]
fn a_requisite_is_not_pulled_up_and_its_lack_fails_the_start() {
    let units = [
        plain("a"),
        unit("b", |t| {
            t.requisite = names(&["a"]);
            t.after = names(&["a"]);
        }),
    ];
    let mut stage = Stage::enabled(&units, &[]);
    stage.command(Verb::Start, &["b"]);
    assert_eq!(
        *stage.state("b"),
        State::Failed(Failure::Dependency(name("a")))
    );
    assert_eq!(*stage.state("a"), State::Inactive(Rest::NeverStarted));
}

#[test]
fn an_upheld_service_that_ends_is_started_again_but_not_at_once() {
    let mut stage = Stage::with(&[unit("up", |t| t.upholds = names(&["it"])), plain("it")]);
    stage.ends("it", ExitStatus::Code(0));
    assert!(matches!(stage.state("it"), State::Backoff { .. }));
    stage.pass(Duration::from_millis(100));
    assert!(stage.is_active("it"));
}

#[test]
fn a_unit_that_is_no_longer_needed_stops() {
    let tool = unit("tool", |t| t.stop_when_unneeded = true);
    let units = [tool, unit("user", |t| needs(t, "tool"))];
    let mut stage = Stage::enabled(&units, &["user"]);
    assert!(stage.is_active("tool"));
    stage.command(Verb::Stop, &["user"]);
    assert_eq!(*stage.state("tool"), State::Inactive(Rest::Unneeded));
}

#[test]
fn on_failure_and_on_success_start_what_they_name() {
    let mut job = one_shot_failure("job");
    Arc::make_mut(&mut job.dependencies).on_failure = names(&["alarm"]);
    Arc::make_mut(&mut job.dependencies).on_success = names(&["next"]);
    let units = [job, plain("alarm"), plain("next")];
    let mut stage = Stage::enabled(&units, &["job"]);
    stage.ends("job", ExitStatus::Code(0));
    assert!(stage.is_active("next") && stage.state("alarm").is_at_rest());
    stage.command(Verb::Start, &["job"]);
    stage.crashes("job");
    assert!(stage.is_active("alarm"));
}

#[test]
fn who_fails_again_in_the_same_way_starts_what_it_names_again() {
    let job = unit("job", |t| {
        t.requires = names(&["nowhere"]);
        t.on_failure = names(&["alarm"]);
    });
    let mut stage = Stage::enabled(&[job, plain("alarm")], &["job"]);
    for _ in 0..3 {
        assert!(matches!(stage.state("job"), State::Failed(_)));
        assert!(stage.is_active("alarm"));
        stage.command(Verb::Stop, &["alarm"]);
        assert!(!stage.is_active("alarm"));
        stage.command(Verb::Start, &["job"]);
    }
}

#[test]
fn units_that_start_each_other_on_failure_are_cut_off() {
    let circle = |a: &str, b: &str| {
        unit(a, |t| {
            t.on_failure = names(&[b]);
            t.requires = names(&["nowhere"]);
        })
    };
    let stage = Stage::with(&[circle("a", "b"), circle("b", "a")]);
    assert!(stage.state("a").is_at_rest() && stage.state("b").is_at_rest());
}

#[test]
fn an_enabled_unit_whose_file_vanished_stops_and_is_forgotten() {
    let mut stage = Stage::with(&[plain("a"), plain("b")]);
    stage.define(&[plain("b")], &["b"]);
    assert!(stage.herd.id(&name("a")).is_none());
    assert!(stage.is_active("b"));
}

#[test]
fn a_changed_unit_keeps_running_as_it_was_until_its_restart() {
    let mut stage = Stage::with(&[plain("a")]);
    let main = stage.main("a");
    stage.define(&[newer(plain("a"))], &["a"]);
    assert_eq!(stage.main("a"), main);
    assert!(stage.herd.service(stage.id("a")).unwrap().is_changed());
    stage.command(Verb::Restart, &["a"]);
    assert_ne!(stage.main("a"), main);
    assert!(!stage.herd.service(stage.id("a")).unwrap().is_changed());
}

#[test]
fn on_change_restart_takes_the_new_definition_at_once() {
    let mut stage = Stage::with(&[plain("a")]);
    let main = stage.main("a");
    let mut changed = newer(plain("a"));
    changed.on_change = OnChange::Restart;
    stage.define(&[changed], &["a"]);
    assert_ne!(stage.main("a"), main);
}

#[test]
fn a_start_while_stopping_starts_once_everything_has_ended() {
    let mut stage = Stage::with(&[plain("a")]);
    let main = stage.main("a");
    for verb in [Verb::Stop, Verb::Start] {
        stage.tell_only(Event::Command {
            ticket: crate::supervisor::Ticket(100 + verb as u64),
            verb,
            names: names(&["a"]),
        });
    }
    assert!(stage.state("a").is_stopping());
    stage.settle();
    assert!(stage.is_active("a"));
    assert_ne!(stage.main("a"), main);
}

#[test]
fn a_needed_service_in_backoff_holds_its_dependants_and_a_wanted_one_does_not() {
    let fan = unit("fan", |t| {
        t.wants = names(&["db"]);
        t.after = names(&["db"]);
    });
    let units = [plain("db"), unit("web", |t| needs(t, "db")), fan];
    let mut stage = Stage::enabled(&units, &["db"]);
    stage.crashes("db");
    stage.crashes("db");
    assert!(matches!(stage.state("db"), State::Backoff { .. }));
    let ticket = stage.command(Verb::Start, &["web", "fan"]);
    assert!(stage.state("web").is_at_rest());
    assert!(stage.is_active("fan"));
    let Some(Answer::Failed(why)) = stage.answer(ticket) else {
        panic!("the client is told at once, not when the crash loop ends");
    };
    assert!(
        why[0].1.contains("web waits for db, which is in backoff"),
        "{why:?}"
    );
    stage.pass(Duration::from_millis(100));
    assert!(stage.is_active("web"), "it comes with db");
}

#[test]
fn max_retries_is_exactly_so_many_restarts() {
    let unit = with_lifecycle(plain("a"), |l| l.max_retries = Some(3));
    let mut stage = Stage::with(&[unit]);
    for _ in 0..3 {
        stage.crashes("a");
        stage.pass(Duration::from_secs(1));
        assert!(stage.is_active("a"));
    }
    stage.crashes("a");
    assert_eq!(
        *stage.state("a"),
        State::Failed(Failure::Exit(ExitStatus::Code(1)))
    );
    let mains = stage.seen.iter().filter(|a| {
        matches!(
            a,
            Action::Spawn {
                role: Role::Main,
                ..
            }
        )
    });
    assert_eq!(mains.count(), 4);
}

#[test]
fn ten_seconds_up_make_the_next_restart_immediate_again() {
    let mut stage = Stage::with(&[plain("a")]);
    stage.crashes("a");
    stage.crashes("a");
    assert!(matches!(stage.state("a"), State::Backoff { .. }));
    stage.pass(Duration::from_secs(11));
    stage.crashes("a");
    assert!(stage.is_active("a"));
}

#[test]
fn a_stop_calls_off_a_backoff() {
    let mut stage = Stage::with(&[plain("a")]);
    stage.crashes("a");
    stage.crashes("a");
    let ticket = stage.command(Verb::Stop, &["a"]);
    assert_eq!(stage.answer(ticket), Some(&Answer::Done));
    stage.pass(Duration::from_secs(60));
    assert_eq!(*stage.state("a"), State::Inactive(Rest::Stopped));
}

#[test]
fn wanted_by_pulls_up_from_the_other_end() {
    let mut tool = plain("tool");
    wanted_by(&mut tool, "group");
    let stage = Stage::enabled(&[tool, plain("group")], &["group"]);
    assert!(stage.is_active("tool"));
}

#[test]
fn shutdown_now_runs_no_more_commands() {
    let mut unit = plain("a");
    unit.commands.stop = vec![command()];
    unit.commands.stop_post = vec![command()];
    let mut stage = Stage::with(&[unit]);
    stage.seen.clear();
    stage.tell(Event::ShutdownNow);
    assert!(
        !stage
            .seen
            .iter()
            .any(|action| matches!(action, Action::Spawn { .. }))
    );
    assert_eq!(stage.world.exits, [0]);
}
