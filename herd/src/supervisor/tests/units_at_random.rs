//! Random units: every kind, every policy, every tie; ordering only from a unit to an earlier one.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use units::unit::{
    Check, Command, Commands, Conditions, Dependencies, EmergencyAction, ExitSet, Health, Install,
    KillMode, Kind, Lifecycle, OnChange, OnUnhealthy, OomPolicy, Probe, ProbeLoop, Ready, Restart,
    Source, StartLimit, Test,
};
use units::{Signal, Unit, UnitName};

use super::random::Random;

pub(super) fn name(text: &str) -> UnitName {
    UnitName::new(text).unwrap()
}

pub(super) fn command() -> Command {
    Command {
        argv: vec!["/bin/x".into()],
        ignore_failure: false,
        unboxed: false,
    }
}

/// A service that runs one command and leaves everything else alone.
pub(super) fn plain(text: &str) -> Unit {
    Unit {
        name: name(text),
        kind: Kind::Service,
        description: None,
        commands: Commands {
            main: Some(command()),
            ..Commands::default()
        },
        dependencies: Dependencies::shared_default(),
        lifecycle: Lifecycle::shared_default(),
        ready: Ready::Exec,
        surroundings: None,
        walls: None,
        entry: None,
        limits: None,
        oom_policy: OomPolicy::default(),
        placement: None,
        health: None,
        log: None,
        condition: None,
        assert: None,
        install: None,
        on_change: OnChange::Keep,
        source: Source {
            path: PathBuf::from("/x"),
            drop_ins: Vec::new(),
            digest: 0,
        },
    }
}

pub(super) fn probe(interval: Duration, timeout: Duration) -> ProbeLoop {
    ProbeLoop {
        probe: Probe::Unix("/run/x".into()),
        interval,
        timeout,
    }
}

/// Unit number `index` of `count`; `patient` allows timeouts of `infinity`.
pub(super) fn unit(random: &mut Random, index: usize, count: usize, patient: bool) -> Arc<Unit> {
    let mut unit = plain(&format!("s{index}"));
    unit.source.digest = random.next();
    unit.dependencies = Arc::new(dependencies(random, index, count));
    if random.percent(10) {
        unit.kind = Kind::Target;
        unit.commands = Commands::default();
        return Arc::new(unit);
    }
    unit.commands = commands(random);
    unit.lifecycle = Arc::new(lifecycle(random, patient));
    unit.ready = ready(random, unit.commands.main.is_some());
    if unit.commands.oneshot {
        unit.ready = Ready::Exec;
    }
    unit.oom_policy = random.pick(&[OomPolicy::Continue, OomPolicy::Stop, OomPolicy::Kill]);
    if random.percent(20) {
        unit.health = Some(Box::new(Health {
            check: probe(random.millis(200, 3_000), random.millis(100, 2_000)),
            retries: small(random.below(4)),
            start_period: random.millis(0, 2_000),
            on_unhealthy: random.pick(&[
                OnUnhealthy::Restart,
                OnUnhealthy::Stop,
                OnUnhealthy::Report,
            ]),
        }));
    }
    if random.percent(20) {
        unit.condition = Some(Box::new(Conditions {
            checks: vec![Check {
                test: Test::PathExists("/x".into()),
                negated: false,
            }],
        }));
    }
    if random.percent(30) {
        unit.on_change = OnChange::Restart;
    }
    Arc::new(unit)
}

fn ready(random: &mut Random, has_main: bool) -> Ready {
    if !has_main {
        return Ready::Exec;
    }
    match random.below(10) {
        0..=3 => Ready::Exec,
        4 | 5 => Ready::Notify,
        6 => Ready::Fd(3),
        7 => Ready::Forking { pid_file: None },
        8 => Ready::Idle,
        _ => Ready::Probe(Box::new(probe(
            random.millis(50, 1_000),
            random.millis(100, 2_000),
        ))),
    }
}

fn commands(random: &mut Random) -> Commands {
    let mut some = |chance: usize| -> Vec<Command> {
        if !random.percent(chance) {
            return Vec::new();
        }
        (0..=random.below(2))
            .map(|_| Command {
                ignore_failure: random.percent(30),
                ..command()
            })
            .collect()
    };
    let (condition, pre, post) = (some(10), some(20), some(20));
    let (reload, stop, stop_post) = (some(20), some(20), some(20));
    let oneshot = random.percent(20);
    Commands {
        main: (!oneshot || random.percent(80)).then(command),
        condition,
        pre,
        post,
        reload,
        stop,
        stop_post,
        oneshot,
        remain_after_exit: random.percent(if oneshot { 50 } else { 10 }),
    }
}

fn lifecycle(random: &mut Random, patient: bool) -> Lifecycle {
    let mut limit = |infinite: usize| {
        (!patient || !random.percent(infinite)).then(|| random.millis(500, 5_000))
    };
    let (timeout_start, timeout_stop, timeout_abort) = (limit(30), limit(30), limit(30));
    Lifecycle {
        restart: random.pick(&[
            Restart::No,
            Restart::OnSuccess,
            Restart::OnFailure,
            Restart::OnFailure,
            Restart::OnAbnormal,
            Restart::OnWatchdog,
            Restart::OnAbort,
            Restart::Always,
            Restart::Always,
        ]),
        restart_delay: random.millis(100, 1_000),
        restart_delay_max: random.millis(1_000, 30_000),
        restart_steps: random.percent(30).then(|| 1 + small(random.below(5))),
        max_retries: random.percent(40).then(|| 1 + small(random.below(4))),
        start_limit: random.percent(20).then(|| StartLimit {
            burst: 1 + small(random.below(4)),
            interval: random.millis(1_000, 10_000),
            action: EmergencyAction::None,
        }),
        start_delay: if random.percent(15) {
            random.millis(100, 2_000)
        } else {
            Duration::ZERO
        },
        timeout_start,
        timeout_stop,
        timeout_abort,
        runtime_max: random.percent(10).then(|| random.millis(1_000, 20_000)),
        watchdog: random.percent(20).then(|| random.millis(500, 5_000)),
        kill_mode: random.pick(&[
            KillMode::ControlGroup,
            KillMode::ControlGroup,
            KillMode::ControlGroup,
            KillMode::Mixed,
            KillMode::Process,
            KillMode::None,
        ]),
        restart_kill_signal: random.percent(10).then_some(Signal::INT),
        reload_signal: random.percent(20).then_some(Signal::HUP),
        send_sighup: random.percent(10),
        send_sigkill: !random.percent(10),
        success_exit_status: ExitSet {
            codes: if random.percent(20) { vec![1] } else { vec![] },
            signals: vec![],
        },
        failure_action: if random.percent(1) {
            random.pick(&[EmergencyAction::Exit, EmergencyAction::ExitForce])
        } else {
            EmergencyAction::None
        },
        success_action: if random.percent(1) {
            EmergencyAction::Exit
        } else {
            EmergencyAction::None
        },
        ..Lifecycle::default()
    }
}

fn dependencies(random: &mut Random, index: usize, count: usize) -> Dependencies {
    let mut ties = Dependencies::default();
    for other in 0..count {
        if other == index || !random.percent(40) {
            continue;
        }
        let it = name(&format!("s{other}"));
        if other > index {
            // Ties that bring no order may go either way; order goes one way only.
            match random.below(8) {
                0 => ties.before.push(it),
                1 => ties.wants.push(it),
                2 => ties.conflicts.push(it),
                3 => ties.on_failure.push(it),
                4 => ties.on_success.push(it),
                _ => {}
            }
            continue;
        }
        if random.percent(70) {
            ties.after.push(it.clone());
        }
        match random.below(10) {
            0..=2 => ties.requires.push(it),
            3 => ties.binds_to.push(it),
            4 => ties.requisite.push(it),
            5 => ties.wants.push(it),
            6 => ties.part_of.push(it),
            7 => ties.upholds.push(it),
            _ => {}
        }
    }
    if random.percent(3) {
        ties.requires.push(name("nowhere"));
    }
    ties.stop_when_unneeded = random.percent(10);
    ties.refuse_manual_start = random.percent(3);
    ties.refuse_manual_stop = random.percent(3);
    ties
}

/// `[install] wanted_by` the first unit: the tie as seen from the other end.
pub(super) fn wanted_by(unit: &mut Unit, other: &str) {
    unit.install = Some(Box::new(Install {
        wanted_by: vec![name(other)],
        ..Install::default()
    }));
}

/// The numbers drawn here are all below ten.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap()
}
