//! How herd ends: in how much time, with what, and with which code.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use units::unit::{Kind, Lifecycle, Restart};
use units::{Signal, Unit};

use super::stage::Stage;
use super::units_at_random::{command, name, plain};
use crate::supervisor::action::Action;
use crate::supervisor::event::{Event, ExitStatus, Input, Verb};
use crate::supervisor::state::{Failure, Rest};
use crate::supervisor::{EndPolicy, State, Supervisor};

const SECOND: Duration = Duration::from_secs(1);

fn with(mut unit: Unit, change: impl FnOnce(&mut Lifecycle)) -> Unit {
    change(Arc::make_mut(&mut unit.lifecycle));
    unit
}

/// It does not end when it is asked to: processes of the simulated world take no notice of SIGHUP.
fn deaf(text: &str, after: &[&str]) -> Unit {
    let mut unit = with(plain(text), |lifecycle| {
        lifecycle.kill_signal = Signal::HUP;
        lifecycle.timeout_stop = None;
    });
    Arc::make_mut(&mut unit.dependencies).after = after.iter().map(|other| name(other)).collect();
    unit
}

fn once(text: &str) -> Unit {
    with(plain(text), |lifecycle| lifecycle.restart = Restart::No)
}

fn oneshot(text: &str, remains: bool) -> Unit {
    let mut unit = once(text);
    unit.commands.oneshot = true;
    unit.commands.remain_after_exit = remains;
    unit
}

fn stage(policy: EndPolicy, units: &[Unit]) -> Stage {
    let names: Vec<String> = units.iter().map(|unit| unit.name.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stage = Stage::enabled(&[], &[]);
    stage.herd = Supervisor::ending(policy);
    stage.define(units, &names);
    stage
}

fn within(seconds: u64) -> EndPolicy {
    EndPolicy {
        stop_within: Some(Duration::from_secs(seconds)),
        ..EndPolicy::default()
    }
}

fn with_web() -> EndPolicy {
    EndPolicy {
        with: BTreeSet::from([name("web")]),
        ..EndPolicy::default()
    }
}

fn when_done() -> EndPolicy {
    EndPolicy {
        when_done: true,
        ..EndPolicy::default()
    }
}

/// When, in seconds since the start, a unit was asked to end and when it was killed.
fn asked_and_killed(stage: &mut Stage, seconds: u64, unit: &str) -> (Option<u64>, Option<u64>) {
    let id = stage.id(unit);
    let (mut asked, mut killed) = (None, None);
    for second in 0..=seconds {
        for action in &stage.seen {
            match action {
                Action::Signal { id: of, .. } if *of == id => _ = asked.get_or_insert(second),
                Action::KillAll { id: of, .. } if *of == id => _ = killed.get_or_insert(second),
                _ => {}
            }
        }
        stage.pass(SECOND);
    }
    (asked, killed)
}

#[test]
fn with_a_limit_each_is_asked_in_order_and_killed_when_its_share_is_over() {
    for (unit, asked, killed) in [("c", 0, 3), ("b", 3, 6), ("a", 6, 9)] {
        let units = [deaf("a", &[]), deaf("b", &["a"]), deaf("c", &["b"])];
        let mut stage = stage(within(9), &units);
        stage.seen.clear();
        stage.tell(Event::Shutdown);
        assert_eq!(
            asked_and_killed(&mut stage, 10, unit),
            (Some(asked), Some(killed)),
            "{unit}"
        );
        assert_eq!(stage.world.exits, [0]);
    }
}

#[test]
fn who_stops_quickly_leaves_its_time_to_the_others() {
    let mut quick = plain("b");
    Arc::make_mut(&mut quick.dependencies).after = vec![name("a")];
    let mut stage = stage(within(8), &[deaf("a", &[]), quick]);
    stage.seen.clear();
    stage.tell(Event::Shutdown);
    assert_eq!(asked_and_killed(&mut stage, 9, "a"), (Some(0), Some(8)));
}

#[test]
fn commands_of_the_stop_share_the_time_with_the_signal() {
    let mut unit = deaf("a", &[]);
    unit.commands.stop_post = vec![command()];
    let mut stage = stage(within(8), &[unit]);
    stage.seen.clear();
    stage.tell(Event::Shutdown);
    assert_eq!(asked_and_killed(&mut stage, 9, "a"), (Some(0), Some(4)));
}

#[test]
fn one_that_was_already_stopping_has_to_hurry() {
    let mut stage = stage(within(2), &[deaf("a", &[])]);
    stage.command(Verb::Stop, &["a"]);
    stage.pass(60 * SECOND);
    assert!(stage.state("a").is_stopping());
    stage.seen.clear();
    stage.tell(Event::Shutdown);
    assert_eq!(asked_and_killed(&mut stage, 3, "a"), (None, Some(2)));
    assert_eq!(stage.world.exits, [0]);
}

#[test]
fn the_end_of_the_main_unit_ends_all_in_order_with_its_code() {
    let mut db = plain("db");
    Arc::make_mut(&mut db.dependencies).before = vec![name("web")];
    let mut stage = stage(with_web(), &[once("web"), db]);
    stage.ends("web", ExitStatus::Code(7));
    assert_eq!(*stage.state("db"), State::Inactive(Rest::Stopped));
    assert_eq!(stage.world.exits, [7]);
}

#[test]
fn a_signal_is_128_and_its_number_and_a_launch_has_the_code_of_shells() {
    let mut killed = stage(with_web(), &[once("web")]);
    killed.ends(
        "web",
        ExitStatus::Signal {
            signal: Signal::ABRT,
            core: true,
        },
    );
    assert_eq!(killed.world.exits, [134]);
    let mut absent = stage(with_web(), &[]);
    absent.define(&[once("web")], &[]);
    // The launch is answered by hand.
    let actions = absent.herd.handle(
        absent.world.now,
        Event::Command {
            ticket: crate::supervisor::Ticket(1),
            verb: Verb::Start,
            names: vec![name("web")],
        },
    );
    let spawn = actions.iter().find_map(|action| match action {
        Action::Spawn { id, run, .. } => Some((*id, *run)),
        _ => None,
    });
    let (id, run) = spawn.unwrap();
    let why = "no such program".into();
    let code = 127;
    let input = Input::SpawnFailed { run, why, code };
    for input in [input, Input::Emptied] {
        absent.tell(Event::Service { id, input });
    }
    assert_eq!(absent.world.exits, [127]);
}

#[test]
fn a_restart_comes_before_the_end_and_a_stop_by_hand_is_none() {
    let web = with(plain("web"), |lifecycle| {
        lifecycle.restart = Restart::OnFailure;
        lifecycle.max_retries = Some(1);
    });
    let mut stage = stage(with_web(), &[web]);
    stage.command(Verb::Restart, &["web"]);
    stage.command(Verb::Stop, &["web"]);
    assert!(stage.world.exits.is_empty());
    stage.command(Verb::Start, &["web"]);
    stage.crashes("web");
    stage.pass(SECOND);
    assert!(stage.is_active("web"));
    stage.crashes("web");
    assert_eq!(stage.world.exits, [1]);
}

#[test]
fn a_requirement_that_failed_is_an_end_too() {
    let mut web = once("web");
    let ties = Arc::make_mut(&mut web.dependencies);
    ties.requires = vec![name("db")];
    ties.after = vec![name("db")];
    let mut stage = stage(with_web(), &[web, oneshot("db", false)]);
    stage.crashes("db");
    assert_eq!(
        *stage.state("web"),
        State::Failed(Failure::Dependency(name("db")))
    );
    assert_eq!(stage.world.exits, [125]);
}

#[test]
fn when_nothing_runs_any_more_herd_ends_with_the_code_of_the_first_failure() {
    let units = [
        once("web"),
        oneshot("prepare", true),
        oneshot("migrate", false),
        once("worker"),
    ];
    let mut stage = stage(when_done(), &units);
    stage.ends("prepare", ExitStatus::Code(0));
    stage.ends("migrate", ExitStatus::Code(0));
    stage.ends("worker", ExitStatus::Code(4));
    stage.pass(SECOND);
    assert!(stage.world.exits.is_empty());
    stage.ends("web", ExitStatus::Code(3));
    assert_eq!(stage.world.exits, [4]);
}

#[test]
fn when_all_has_gone_well_the_code_is_0() {
    let mut stage = stage(
        when_done(),
        &[oneshot("prepare", true), oneshot("job", false)],
    );
    stage.ends("job", ExitStatus::Code(0));
    assert!(stage.world.exits.is_empty());
    stage.ends("prepare", ExitStatus::Code(0));
    assert_eq!(stage.world.exits, [0]);
}

#[test]
fn herd_stays_for_what_was_stopped_by_hand() {
    let mut stage = stage(when_done(), &[once("web"), once("worker")]);
    stage.command(Verb::Stop, &["web"]);
    stage.crashes("worker");
    assert!(stage.world.exits.is_empty());
}

#[test]
fn where_there_is_nothing_to_run_herd_does_not_end_well() {
    let mut target = plain("all");
    target.kind = Kind::Target;
    for units in [&[][..], &[target]] {
        assert_eq!(stage(when_done(), units).world.exits, [1]);
        let stays = stage(EndPolicy::default(), units);
        assert!(stays.world.exits.is_empty());
    }
}
