use std::time::Duration;

use units::Signal;
use units::unit::{EmergencyAction, ExitSet, Lifecycle, Restart, StartLimit};

use crate::supervisor::Time;
use crate::supervisor::event::ExitStatus;
use crate::supervisor::policy::{StartWindow, after_exit, after_failure, delay};
use crate::supervisor::state::{Failure, Rest, Then};

fn signal(signal: Signal) -> ExitStatus {
    ExitStatus::Signal {
        signal,
        core: false,
    }
}

fn lifecycle(restart: Restart) -> Lifecycle {
    Lifecycle {
        restart,
        ..Lifecycle::default()
    }
}

fn comes_back(then: &Then) -> bool {
    matches!(then, Then::Retry(_))
}

/// systemd.service(5), table "Exit causes and the effect of the Restart= settings".
#[test]
fn restart_follows_the_table_of_systemd_service_5() {
    use Restart::{Always, No, OnAbnormal, OnAbort, OnFailure, OnSuccess, OnWatchdog};
    let all = [
        No, Always, OnSuccess, OnFailure, OnAbnormal, OnAbort, OnWatchdog,
    ];
    let table = [
        (
            "clean exit",
            [false, true, true, false, false, false, false],
        ),
        (
            "unclean exit code",
            [false, true, false, true, false, false, false],
        ),
        (
            "unclean signal",
            [false, true, false, true, true, true, false],
        ),
        ("timeout", [false, true, false, true, true, false, false]),
        ("watchdog", [false, true, false, true, true, false, true]),
    ];
    for (cause, row) in table {
        for (restart, wanted) in all.into_iter().zip(row) {
            let lifecycle = lifecycle(restart);
            let then = match cause {
                "clean exit" => after_exit(&lifecycle, ExitStatus::Code(0), Rest::Exited),
                "unclean exit code" => after_exit(&lifecycle, ExitStatus::Code(1), Rest::Exited),
                "unclean signal" => after_exit(&lifecycle, signal(Signal::KILL), Rest::Exited),
                "timeout" => after_failure(&lifecycle, Failure::Timeout("start")),
                _ => after_failure(&lifecycle, Failure::Watchdog),
            };
            assert_eq!(comes_back(&then), wanted, "{cause} under {restart:?}");
        }
    }
}

#[test]
fn a_death_by_sigterm_is_a_failure() {
    let then = after_exit(&lifecycle(Restart::No), signal(Signal::TERM), Rest::Exited);
    assert_eq!(then, Then::Fail(Failure::Exit(signal(Signal::TERM))));
}

#[test]
fn a_listed_exit_status_is_a_success() {
    let mut lifecycle = lifecycle(Restart::OnFailure);
    lifecycle.success_exit_status = ExitSet {
        codes: vec![3],
        signals: vec![Signal::TERM],
    };
    for status in [ExitStatus::Code(3), signal(Signal::TERM)] {
        assert_eq!(
            after_exit(&lifecycle, status, Rest::Exited),
            Then::Rest(Rest::Exited)
        );
    }
}

#[test]
fn prevent_goes_before_force_and_both_before_restart() {
    let codes = |codes: &[u8]| ExitSet {
        codes: codes.to_vec(),
        signals: vec![],
    };
    let mut lifecycle = lifecycle(Restart::No);
    lifecycle.restart_force_exit_status = codes(&[4, 5]);
    lifecycle.restart_prevent_exit_status = codes(&[5]);
    assert!(comes_back(&after_exit(
        &lifecycle,
        ExitStatus::Code(4),
        Rest::Exited
    )));
    assert!(!comes_back(&after_exit(
        &lifecycle,
        ExitStatus::Code(5),
        Rest::Exited
    )));
    lifecycle.restart = Restart::Always;
    assert!(!comes_back(&after_exit(
        &lifecycle,
        ExitStatus::Code(5),
        Rest::Exited
    )));
}

#[test]
fn what_another_try_cannot_change_is_not_tried_again() {
    let lifecycle = lifecycle(Restart::Always);
    for failure in [
        Failure::StartLimit,
        Failure::Unkillable,
        Failure::Assert("x".into()),
    ] {
        assert_eq!(
            after_failure(&lifecycle, failure.clone()),
            Then::Fail(failure)
        );
    }
}

#[test]
fn the_first_restart_is_immediate_then_the_delay_doubles_to_its_limit() {
    let delays: Vec<u128> = (0..12)
        .map(|streak| delay(&Lifecycle::default(), streak).as_millis())
        .collect();
    assert_eq!(
        delays,
        [
            0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000
        ]
    );
    assert_eq!(
        delay(&Lifecycle::default(), u32::MAX),
        Duration::from_secs(30)
    );
}

#[test]
fn restart_steps_reach_the_longest_delay_in_so_many_steps() {
    let lifecycle = Lifecycle {
        restart_delay: Duration::from_secs(1),
        restart_delay_max: Duration::from_secs(16),
        restart_steps: Some(4),
        ..Lifecycle::default()
    };
    let delays: Vec<u64> = (1..8)
        .map(|streak| (delay(&lifecycle, streak) + Duration::from_millis(500)).as_secs())
        .collect();
    assert_eq!(delays, [1, 2, 4, 8, 16, 16, 16]);
}

#[test]
fn a_first_delay_over_the_longest_stays_as_it_is() {
    let lifecycle = Lifecycle {
        restart_delay: Duration::from_secs(60),
        ..Lifecycle::default()
    };
    assert_eq!(delay(&lifecycle, 1), Duration::from_secs(60));
    assert_eq!(delay(&lifecycle, 9), Duration::from_secs(60));
}

#[test]
fn the_start_limit_counts_within_its_window_only() {
    let limit = StartLimit {
        burst: 2,
        interval: Duration::from_secs(10),
        action: EmergencyAction::None,
    };
    let mut window = StartWindow::default();
    let at = |seconds: u64| Time::ZERO + Duration::from_secs(seconds);
    assert!(window.admit(limit, at(0)));
    assert!(window.admit(limit, at(9)));
    assert!(
        !window.admit(limit, at(9)),
        "two starts in ten seconds are the limit"
    );
    assert!(
        window.admit(limit, at(10)),
        "the first start has left the window"
    );
    assert!(!window.admit(limit, at(18)));
    window.clear();
    assert!(window.admit(limit, at(18)));
}
