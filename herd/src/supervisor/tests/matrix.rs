//! Every state of one service against every input, as a table a reviewer can read cell by cell:
//! `tests/golden/transitions.txt`, written anew with `HERD_GOLDEN=write`.
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use units::unit::{KillMode, Lifecycle, Ready, Restart};
use units::{Signal, Unit};

use super::units_at_random::{command, plain, probe};
use crate::supervisor::action::{Action, Role, Whom};
use crate::supervisor::event::{CheckResult, ExitStatus, Input, Notice, Pid};
use crate::supervisor::service::Step;
use crate::supervisor::state::{
    Active, Ending, Failure, Main, ReloadStep, Rest, Stage, Then, Waiting, Watchdog,
};
use crate::supervisor::{RunId, Service, ServiceId, State, Time};

const NOW: Time = Time::ZERO;
const MAIN: RunId = RunId(1);
const COMMAND: RunId = RunId(2);
const STALE: RunId = RunId(3);

fn at(seconds: u64) -> Time {
    NOW + Duration::from_secs(seconds)
}

fn unit() -> Unit {
    let mut unit = plain("web");
    unit.commands.pre = vec![command()];
    unit.commands.stop = vec![command()];
    unit.commands.stop_post = vec![command()];
    unit.commands.reload = vec![command()];
    unit.lifecycle = Arc::new(Lifecycle {
        restart: Restart::OnFailure,
        reload_signal: Some(Signal::HUP),
        ..Lifecycle::default()
    });
    unit.ready = Ready::Probe(Box::new(probe(
        Duration::from_secs(1),
        Duration::from_secs(1),
    )));
    unit
}

fn states() -> Vec<(&'static str, State)> {
    let main = Some(Main {
        run: MAIN,
        pid: Pid(100),
    });
    let give_up_at = Some(at(90));
    let active = Active {
        main,
        since: NOW,
        watchdog: None,
        give_up_at: None,
        health: None,
        is_frozen: false,
    };
    let watched = Active {
        watchdog: Some(Watchdog {
            every: Duration::from_secs(5),
            due: at(5),
        }),
        ..active.clone()
    };
    let frozen = Active {
        is_frozen: true,
        ..watched.clone()
    };
    let exited = Active {
        main: None,
        ..active.clone()
    };
    let starting = |waiting| State::Starting {
        main,
        waiting,
        give_up_at,
    };
    let stopping = |main, launching, ending, then| State::Stopping {
        main,
        launching,
        ending,
        give_up_at,
        then,
    };
    let rest = || Then::Rest(Rest::Stopped);
    let retry = || Then::Retry(Failure::Exit(ExitStatus::Code(1)));
    vec![
        ("inactive", State::Inactive(Rest::NeverStarted)),
        ("delayed", State::Delayed { until: at(1) }),
        ("checking", State::Checking { give_up_at: at(30) }),
        (
            "preparing",
            State::Preparing {
                stage: Stage::Pre,
                index: 0,
                run: COMMAND,
                give_up_at,
            },
        ),
        (
            "condition",
            State::Preparing {
                stage: Stage::Condition,
                index: 0,
                run: COMMAND,
                give_up_at,
            },
        ),
        (
            "idling",
            State::Idling {
                until: at(5),
                give_up_at,
            },
        ),
        (
            "launching",
            State::Launching {
                run: MAIN,
                give_up_at,
                said_ready: false,
            },
        ),
        (
            "launching+ready",
            State::Launching {
                run: MAIN,
                give_up_at,
                said_ready: true,
            },
        ),
        ("starting+word", starting(Waiting::Word)),
        ("starting+end", starting(Waiting::End)),
        ("starting+fork", starting(Waiting::Fork)),
        (
            "starting+found",
            State::Starting {
                main: None,
                waiting: Waiting::MainFound,
                give_up_at,
            },
        ),
        ("starting+probe", starting(Waiting::ProbeAt(at(1)))),
        (
            "starting+probing",
            starting(Waiting::Probing {
                run: COMMAND,
                until: at(1),
            }),
        ),
        (
            "posting",
            State::Posting {
                index: 0,
                run: COMMAND,
                main,
                give_up_at,
            },
        ),
        ("active", State::Active(active.clone())),
        ("active+watchdog", State::Active(watched.clone())),
        ("active+frozen", State::Active(frozen)),
        ("active+exited", State::Active(exited)),
        (
            "reloading+cmd",
            State::Reloading {
                step: ReloadStep::Command {
                    index: 0,
                    run: COMMAND,
                },
                active: active.clone(),
                give_up_at,
            },
        ),
        (
            "reloading+word",
            State::Reloading {
                step: ReloadStep::Word,
                active,
                give_up_at,
            },
        ),
        (
            "stop command",
            State::StopCommand {
                index: 0,
                run: COMMAND,
                main,
                give_up_at,
                then: rest(),
            },
        ),
        (
            "stopping+looking",
            stopping(None, None, Ending::Looking, retry()),
        ),
        (
            "stopping+own",
            stopping(main, None, Ending::Own, Then::Rest(Rest::Exited)),
        ),
        (
            "stopping+asked",
            stopping(main, None, Ending::Asked, rest()),
        ),
        (
            "stopping+launch",
            stopping(None, Some(MAIN), Ending::Asked, rest()),
        ),
        (
            "stopping+aborted",
            stopping(main, None, Ending::Aborted, retry()),
        ),
        (
            "stopping+killed",
            stopping(main, None, Ending::Killed, rest()),
        ),
        (
            "stopping+again",
            stopping(main, None, Ending::Asked, retry()),
        ),
        (
            "stop post",
            State::StopPost {
                index: 0,
                run: COMMAND,
                give_up_at,
                then: rest(),
            },
        ),
        (
            "stop post+again",
            State::StopPost {
                index: 0,
                run: COMMAND,
                give_up_at,
                then: retry(),
            },
        ),
        (
            "backoff",
            State::Backoff {
                until: at(1),
                failure: Failure::Exit(ExitStatus::Code(1)),
            },
        ),
        ("failed", State::Failed(Failure::Exit(ExitStatus::Code(1)))),
    ]
}

fn inputs() -> Vec<(&'static str, Input, Time)> {
    let exit = |run, code| Input::Exited {
        run,
        status: ExitStatus::Code(code),
    };
    let why: Arc<str> = "why".into();
    let soon = at(0);
    let note = Input::Notified;
    let mut all = vec![
        ("start", Input::Start, soon),
        (
            "stop",
            Input::Stop {
                rest: Rest::Stopped,
            },
            soon,
        ),
        (
            "restart",
            Input::Stop {
                rest: Rest::Restarting,
            },
            soon,
        ),
        ("reload", Input::Reload, soon),
        ("idle", Input::Idle, soon),
        ("met", Input::Checked(CheckResult::Met), soon),
        (
            "skip",
            Input::Checked(CheckResult::Skip(Arc::clone(&why))),
            soon,
        ),
        (
            "assert",
            Input::Checked(CheckResult::AssertFailed(Arc::clone(&why))),
            soon,
        ),
    ];
    for (run, names) in [
        (
            MAIN,
            ["main born", "main unborn", "main exit0", "main exit1"],
        ),
        (
            COMMAND,
            ["cmd born", "cmd unborn", "cmd exit0", "cmd exit1"],
        ),
        (STALE, ["old born", "old unborn", "old exit0", "old exit1"]),
    ] {
        let why = Arc::clone(&why);
        all.push((names[0], Input::Spawned { run, pid: Pid(100) }, soon));
        all.push((
            names[1],
            Input::SpawnFailed {
                run,
                why,
                code: 125,
            },
            soon,
        ));
        all.push((names[2], exit(run, 0), soon));
        all.push((names[3], exit(run, 1), soon));
    }
    all.extend([
        (
            "moved",
            Input::MainMoved {
                run: RunId(4),
                pid: Pid(101),
            },
            soon,
        ),
        (
            "missing",
            Input::MainMissing {
                why: Arc::clone(&why),
            },
            soon,
        ),
        ("emptied", Input::Emptied, soon),
        ("remaining", Input::Remaining, soon),
        ("oom", Input::OutOfMemory, soon),
        ("freeze", Input::Frozen(true), at(2)),
        ("thaw", Input::Frozen(false), at(2)),
        ("READY", note(Notice::Ready), soon),
        ("RELOADING", note(Notice::Reloading), soon),
        ("STOPPING", note(Notice::Stopping), soon),
        ("STATUS", note(Notice::Status(Arc::clone(&why))), soon),
        (
            "EXTEND",
            note(Notice::ExtendTimeout(Duration::from_secs(200))),
            soon,
        ),
        ("WATCHDOG", note(Notice::WatchdogPing), at(2)),
        ("WD trigger", note(Notice::WatchdogTrigger), soon),
        (
            "WD interval",
            note(Notice::WatchdogInterval(Duration::from_secs(7))),
            soon,
        ),
        (
            "probe ok",
            Input::Probed {
                run: COMMAND,
                result: Ok(()),
            },
            soon,
        ),
        (
            "probe bad",
            Input::Probed {
                run: COMMAND,
                result: Err(Arc::clone(&why)),
            },
            soon,
        ),
        (
            "old probe",
            Input::Probed {
                run: STALE,
                result: Ok(()),
            },
            soon,
        ),
        ("tick early", Input::Tick, soon),
        ("tick late", Input::Tick, at(1_000)),
    ]);
    all
}

fn label(state: &State) -> String {
    let then = |then: &Then| match then {
        Then::Rest(rest) => format!("then {rest}"),
        Then::Retry(_) => "then again".into(),
        Then::Fail(_) => "then fail".into(),
    };
    match state {
        State::Inactive(rest) => format!("inactive ({rest})"),
        State::Delayed { .. } => "delayed".into(),
        State::Checking { .. } => "checking".into(),
        State::Preparing { stage, .. } => format!("preparing {stage:?}").to_lowercase(),
        State::Idling { .. } => "idling".into(),
        State::Launching {
            said_ready: false, ..
        } => "launching".into(),
        State::Launching {
            said_ready: true, ..
        } => "launching+ready".into(),
        State::Starting { waiting, .. } => {
            let text = format!("{waiting:?}");
            format!("starting {}", text.split([' ', '(']).next().unwrap()).to_lowercase()
        }
        State::Posting { .. } => "posting".into(),
        State::Active(_) => "active".into(),
        State::Reloading { step, .. } => {
            let text = format!("{step:?}");
            format!("reloading {}", text.split(' ').next().unwrap()).to_lowercase()
        }
        State::StopCommand { then: t, .. } => format!("stop command, {}", then(t)),
        State::Stopping {
            ending, then: t, ..
        } => {
            format!(
                "stopping {}, {}",
                format!("{ending:?}").to_lowercase(),
                then(t)
            )
        }
        State::StopPost { then: t, .. } => format!("stop post, {}", then(t)),
        State::Backoff { .. } => "backoff".into(),
        State::Failed(failure) => format!("failed ({failure})"),
    }
}

fn short(action: &Action) -> Option<String> {
    Some(match action {
        Action::Check { .. } => "check".into(),
        Action::Spawn { role, .. } => match role {
            Role::Condition(_) => "spawn condition".into(),
            Role::Pre(_) => "spawn pre".into(),
            Role::Main => "spawn main".into(),
            Role::Post(_) => "spawn post".into(),
            Role::Reload(_) => "spawn reload".into(),
            Role::Stop(_) => "spawn stop".into(),
            Role::StopPost(_) => "spawn stop_post".into(),
        },
        Action::Signal { whom, signal, .. } => match whom {
            Whom::Main => format!("{signal} main"),
            Whom::All => format!("{signal} all"),
            Whom::Run(run) => format!("{signal} run {}", run.0),
        },
        Action::KillAll { signal, .. } => format!("kill all {signal}"),
        Action::AwaitEmpty { .. } => "await empty".into(),
        Action::FindMain { .. } => "find main".into(),
        Action::Probe { .. } => "probe".into(),
        Action::CancelProbe { .. } => "cancel probe".into(),
        Action::Release { again, .. } => if *again {
            "release for again"
        } else {
            "release"
        }
        .into(),
        Action::Changed { .. } => return None,
        other => format!("{other:?}"),
    })
}

fn table(mode: KillMode) -> String {
    let mut text = String::new();
    for (row, state) in states() {
        writeln!(text, "{row}").unwrap();
        for (column, input, now) in inputs() {
            let mut unit = unit();
            Arc::make_mut(&mut unit.lifecycle).kill_mode = mode;
            let mut service = Service::new(ServiceId(0), Arc::new(unit), NOW);
            service.state = state.clone();
            let (mut actions, mut next_run) = (Vec::new(), 10);
            let mut step = Step {
                now,
                patience: None,
                actions: &mut actions,
                next_run: &mut next_run,
            };
            service.step(&mut step, input);
            let said: Vec<String> = actions.iter().filter_map(short).collect();
            let same = *service.state() == state;
            if same && said.is_empty() {
                continue;
            }
            let to = if same {
                "·".into()
            } else {
                label(service.state())
            };
            writeln!(text, "    {column:12} {to:44} {}", said.join(", ")).unwrap();
        }
    }
    text
}

#[test]
fn every_state_meets_every_input_as_the_table_says() {
    let mut text = String::from(
        "Every state of one service × every input → state, actions. An input that is not listed\n\
         changes nothing and asks for nothing. Written by HERD_GOLDEN=write (tests/dev golden).\n\
         The service has a probe, pre, reload, stop and stop_post commands, restart = on-failure.\n\n",
    );
    for (title, mode) in [
        ("kill_mode = control-group", KillMode::ControlGroup),
        ("kill_mode = mixed", KillMode::Mixed),
        ("kill_mode = process", KillMode::Process),
        ("kill_mode = none", KillMode::None),
    ] {
        writeln!(text, "== {title}\n\n{}", table(mode)).unwrap();
    }
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/golden/transitions.txt"
    );
    if std::env::var_os("HERD_GOLDEN").is_some_and(|how| how == "write") {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden")).unwrap();
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        golden == text,
        "the transitions differ from {path}; read the difference: tests/dev golden"
    );
}
