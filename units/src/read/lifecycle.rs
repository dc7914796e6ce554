//! Readiness words, restarts, times and signals.
#![forbid(unsafe_code)]

use std::time::Duration;

use toml::de::DeValue;

use super::{Draft, probe};
use crate::power::{Haste, Power};
use crate::reader::{Item, Reader};
use crate::unit::{EmergencyAction, ExitSet, KillMode, Ready, Restart, StartLimit};

/// Words of systemd.unit(5), `FailureAction=`.
const ACTIONS: [(&str, EmergencyAction); 16] = [
    ("none", EmergencyAction::None),
    ("exit", EmergencyAction::Exit),
    ("exit-force", EmergencyAction::ExitForce),
    ("reboot", machine(Power::Reboot, Haste::InOrder)),
    ("reboot-force", machine(Power::Reboot, Haste::AtOnce)),
    ("reboot-immediate", machine(Power::Reboot, Haste::Immediate)),
    ("poweroff", machine(Power::PowerOff, Haste::InOrder)),
    ("poweroff-force", machine(Power::PowerOff, Haste::AtOnce)),
    (
        "poweroff-immediate",
        machine(Power::PowerOff, Haste::Immediate),
    ),
    ("halt", machine(Power::Halt, Haste::InOrder)),
    ("halt-force", machine(Power::Halt, Haste::AtOnce)),
    ("halt-immediate", machine(Power::Halt, Haste::Immediate)),
    ("kexec", machine(Power::Kexec, Haste::InOrder)),
    ("kexec-force", machine(Power::Kexec, Haste::AtOnce)),
    ("soft-reboot", machine(Power::SoftReboot, Haste::InOrder)),
    (
        "soft-reboot-force",
        machine(Power::SoftReboot, Haste::AtOnce),
    ),
];

const fn machine(power: Power, haste: Haste) -> EmergencyAction {
    EmergencyAction::Power(power, haste)
}

const RESTARTS: [(&str, Restart); 7] = [
    ("no", Restart::No),
    ("on-success", Restart::OnSuccess),
    ("on-failure", Restart::OnFailure),
    ("on-abnormal", Restart::OnAbnormal),
    ("on-watchdog", Restart::OnWatchdog),
    ("on-abort", Restart::OnAbort),
    ("always", Restart::Always),
];

const KILL_MODES: [(&str, KillMode); 4] = [
    ("control-group", KillMode::ControlGroup),
    ("mixed", KillMode::Mixed),
    ("process", KillMode::Process),
    ("none", KillMode::None),
];

pub(super) fn read(draft: &mut Draft, reader: &mut Reader<'_>, name: &str, item: Item<'_>) -> bool {
    match name {
        "ready" => draft.unit.ready = read_ready(reader, item).unwrap_or_default(),
        "pid_file" => draft.pid_file = reader.path(item),
        "start_limit_burst" => {
            draft.start_limit_burst = reader.number(item, 1..=i64::from(u32::MAX));
        }
        "start_limit_interval" => {
            set(&mut draft.start_limit_interval, reader.interval(item));
        }
        "start_limit_action" => {
            set(&mut draft.start_limit_action, reader.choice(item, &ACTIONS));
        }
        _ => return read_times(draft, reader, name, item) || read_ends(draft, reader, name, item),
    }
    true
}

fn read_times(draft: &mut Draft, reader: &mut Reader<'_>, name: &str, item: Item<'_>) -> bool {
    let lifecycle = draft.lifecycle();
    match name {
        "restart" => set(&mut lifecycle.restart, read_restart(reader, item)),
        "restart_delay" => {
            set(
                &mut lifecycle.restart_delay,
                reader.duration_or_milliseconds(item),
            );
        }
        "restart_delay_ms" => set(&mut lifecycle.restart_delay, reader.milliseconds(item)),
        "restart_delay_max" => set(
            &mut lifecycle.restart_delay_max,
            reader.finite_duration(item),
        ),
        "restart_steps" => lifecycle.restart_steps = reader.number(item, 1..=1_000),
        "max_retries" => {
            lifecycle.max_retries = reader
                .number(item, 0..=i64::from(u32::MAX))
                .filter(|retries| *retries != 0);
        }
        "start_delay" => {
            set(
                &mut lifecycle.start_delay,
                reader.duration_or_milliseconds(item),
            );
        }
        "start_delay_ms" => set(&mut lifecycle.start_delay, reader.milliseconds(item)),
        "timeout_start" => set(&mut lifecycle.timeout_start, limit(reader, item)),
        "timeout_stop" => set(&mut lifecycle.timeout_stop, limit(reader, item)),
        "timeout_abort" => set(&mut lifecycle.timeout_abort, limit(reader, item)),
        "runtime_max" => set(&mut lifecycle.runtime_max, limit(reader, item)),
        "watchdog" => set(&mut lifecycle.watchdog, limit(reader, item)),
        _ => return false,
    }
    true
}

fn read_ends(draft: &mut Draft, reader: &mut Reader<'_>, name: &str, item: Item<'_>) -> bool {
    let lifecycle = draft.lifecycle();
    match name {
        "kill_mode" => set(&mut lifecycle.kill_mode, reader.choice(item, &KILL_MODES)),
        "kill_signal" => set(&mut lifecycle.kill_signal, reader.signal(item)),
        "restart_kill_signal" => lifecycle.restart_kill_signal = reader.signal(item),
        "reload_signal" => lifecycle.reload_signal = reader.signal(item),
        "final_kill_signal" => set(&mut lifecycle.final_kill_signal, reader.signal(item)),
        "watchdog_signal" => set(&mut lifecycle.watchdog_signal, reader.signal(item)),
        "send_sighup" => set(&mut lifecycle.send_sighup, reader.boolean(item)),
        "send_sigkill" => set(&mut lifecycle.send_sigkill, reader.boolean(item)),
        "success_exit_status" => lifecycle.success_exit_status = exit_set(reader, item),
        "restart_prevent_exit_status" => {
            lifecycle.restart_prevent_exit_status = exit_set(reader, item);
        }
        "restart_force_exit_status" => {
            lifecycle.restart_force_exit_status = exit_set(reader, item);
        }
        "failure_action" => set(&mut lifecycle.failure_action, reader.choice(item, &ACTIONS)),
        "success_action" => set(&mut lifecycle.success_action, reader.choice(item, &ACTIONS)),
        "file_descriptor_store_max" => {
            set(
                &mut lifecycle.file_descriptor_store_max,
                reader.number(item, 0..=4_096),
            );
        }
        _ => return false,
    }
    true
}

/// Defaults that follow other keys.
pub(super) fn assemble(draft: &mut Draft, given: &impl Fn(&str) -> bool) {
    if let Some(burst) = draft.start_limit_burst {
        let limit = StartLimit {
            burst,
            interval: draft.start_limit_interval,
            action: draft.start_limit_action,
        };
        draft.lifecycle().start_limit = Some(limit);
    }
    if draft.unit.commands.oneshot {
        if !given("restart") {
            draft.lifecycle().restart = Restart::No;
        }
        if !given("timeout_start") {
            draft.lifecycle().timeout_start = None;
        }
    }
    if given("timeout_stop") && !given("timeout_abort") {
        let lifecycle = draft.lifecycle();
        lifecycle.timeout_abort = lifecycle.timeout_stop;
    }
    let delay = draft.unit.lifecycle.restart_delay;
    if delay > draft.unit.lifecycle.restart_delay_max && !given("restart_delay_max") {
        draft.lifecycle().restart_delay_max = delay;
    }
    if let (Ready::Forking { pid_file }, Some(path)) = (&mut draft.unit.ready, &draft.pid_file) {
        *pid_file = Some(path.clone());
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// A time after which something happens: `None` inside when never. Nothing at all is refused,
/// for systemd reads it as never and a reader as at once.
fn limit(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Option<Duration>> {
    let duration = reader.duration(item)?;
    if duration == Some(Duration::ZERO) {
        let hint = "for no limit write \"infinity\"";
        reader.error_with_hint(item, "this duration must be above 0", hint);
        return None;
    }
    Some(duration)
}

fn read_restart(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Restart> {
    match item.value() {
        DeValue::Boolean(true) => Some(Restart::OnFailure),
        DeValue::Boolean(false) => Some(Restart::No),
        _ => reader.choice(item, &RESTARTS),
    }
}

fn read_ready(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Ready> {
    let text = reader.raw_text(item)?;
    if let Some(number) = text.strip_prefix("fd:") {
        return match number.parse::<u32>() {
            Ok(fd) if (3..=1_023).contains(&fd) => Some(Ready::Fd(fd)),
            Ok(_) | Err(_) => {
                let hint = "0 to 2 are standard input, output and error";
                reader.error_with_hint(item, "the descriptor must be from 3 to 1023", hint);
                None
            }
        };
    }
    if text.starts_with("dbus:") {
        reader.error_with_hint(
            item,
            "readiness by D-Bus name is not supported yet",
            "it comes with D-Bus",
        );
        return None;
    }
    match text {
        "exec" => Some(Ready::Exec),
        "notify" => Some(Ready::Notify),
        "forking" => Some(Ready::Forking { pid_file: None }),
        "idle" => Some(Ready::Idle),
        other => {
            probe::explain_ready(reader, item, other);
            None
        }
    }
}

fn exit_set(reader: &mut Reader<'_>, item: Item<'_>) -> ExitSet {
    let mut set = ExitSet::default();
    for item in reader.list(item) {
        match item.value() {
            DeValue::Integer(_) => {
                if let Some(code) = reader.number(item, 0..=255) {
                    set.add_code(code);
                }
            }
            _ => {
                let Some(text) = reader.raw_text(item) else {
                    continue;
                };
                if !set.add(text) {
                    let message = format!("{text:?} is no exit code and no signal");
                    let hint = "write 0 to 255, a name like \"TEMPFAIL\", or a signal";
                    reader.error_with_hint(item, message, hint);
                }
            }
        }
    }
    set
}
