//! How a machine is brought to its end: who asks, what is told meanwhile, and what shortens it. What comes
//! after the last unit is `pid1/power.rs`.
//!
//! ```text
//! scheduled ──(words on terminals, /run/nologin)──▶ begun: units stop in order ──▶ loop ends
//!     └─ called off                                    └─ at once: the loop ends as it is
//! ```
#![forbid(unsafe_code)]

use std::fs;
use std::time::Duration;

use units::{Haste, Power, UnitName};

use super::units_at_hand::NotAtHand;
use super::{Daemon, clock};
use crate::control::protocol::{Ending as WireEnding, Refusal, Schedule, ShutdownReply, Way};
use crate::pid1::login_records::{self, run_level};
use crate::pid1::power::NO_LOGIN;
use crate::pid1::{guard, power, wall, warnings};
use crate::supervisor::explain::duration;
use crate::supervisor::state::Ending as Signalled;
use crate::supervisor::{Service, ServiceId, State, Time};

/// Of a stop that takes longer it is said what is waited for, this often.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Units have so long in all; then the machine ends as it is. systemd's `JobTimeoutSec=` of its shutdown.
const UNITS_LIMIT: Duration = Duration::from_secs(30 * 60);
/// If even that does not come.
const LIMIT: Duration = Duration::from_secs(45 * 60);
/// ctrl-alt-del so often in so long ends the machine at once, as systemd has it.
const BURST: usize = 7;
const BURST_IN: Duration = Duration::from_secs(2);
/// Services of which a line is printed each time.
const SHOWN: usize = 8;
/// A record in a file on a disk that may hang.
const RECORD_PATIENCE: Duration = Duration::from_secs(1);

/// What is known of the end of this machine.
#[derive(Debug, Default)]
pub(super) struct Ending {
    scheduled: Option<Scheduled>,
    begun: Option<Begun>,
    /// wtmp knows that the machine has begun.
    is_begin_recorded: bool,
    /// And that it is to end.
    is_end_recorded: bool,
    /// When ctrl-alt-del was last pressed.
    presses: Vec<Time>,
    /// What herd wrote into `/run/nologin`; anything else there is an administrator's own.
    forbade: Option<String>,
}

#[derive(Debug)]
struct Scheduled {
    power: Power,
    haste: Haste,
    at: Time,
    /// When the next word is due; `at` after the last.
    next: Time,
    plan: Schedule,
}

#[derive(Debug)]
struct Begun {
    power: Power,
    since: Time,
    next_word: Time,
    is_over_time: bool,
}

impl Ending {
    pub(super) fn power(&self) -> Power {
        self.begun
            .as_ref()
            .map(|begun| begun.power)
            .unwrap_or_default()
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let scheduled = self.scheduled.as_ref().map(|scheduled| scheduled.next);
        scheduled.or(self.begun.as_ref().map(|begun| begun.next_word))
    }

    /// More than words is scheduled.
    fn real_plan(&self) -> Option<&Scheduled> {
        let scheduled = self.scheduled.as_ref();
        scheduled.filter(|scheduled| !scheduled.plan.warn_only)
    }

    /// Whether wtmp is to be told of this end: the machine goes on after a soft reboot, and ends once only however
    /// often somebody has another wish.
    fn takes_record(&mut self, wish: Power) -> bool {
        wish != Power::SoftReboot && !std::mem::replace(&mut self.is_end_recorded, true)
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }
}

impl Daemon {
    /// Now. What was scheduled is forgotten; who asks again for something else gets that.
    pub(super) fn switch_off(&mut self, wish: Power, haste: Haste) {
        let now = clock::now();
        if haste == Haste::Immediate {
            self.note(&format!("{wish} immediately"));
            let Err(error) = power::tell_kernel(wish);
            return self.note(&format!("the kernel does not do it: {error}"));
        }
        let plan = self.ending.scheduled.take().map(|scheduled| scheduled.plan);
        match &mut self.ending.begun {
            Some(begun) => {
                begun.power = wish;
                guard::watch_over(wish, LIMIT);
                self.record_end(wish);
            }
            None => {
                self.ending.begun = Some(Begun {
                    power: wish,
                    since: now,
                    next_word: now + TELL_EVERY,
                    is_over_time: false,
                });
                self.prepare_end(wish, plan.as_ref());
            }
        }
        if haste == Haste::AtOnce {
            self.note(&format!("{wish} at once; units are not stopped"));
            self.exit = Some(0);
        } else {
            self.note(&format!("{wish}: stopping everything in order"));
            self.shutdown_event(false);
        }
    }

    fn prepare_end(&mut self, wish: Power, plan: Option<&Schedule>) {
        guard::watch_over(wish, LIMIT);
        if plan.is_none_or(|plan| plan.wall) {
            let message = plan.and_then(|plan| plan.message.as_deref());
            let words = warnings::text(wish, Duration::ZERO, message);
            self.forbid_logins(&words);
            wall::say_to_all(&words);
        }
        self.record_end(wish);
        if let Some(level) = run_level::of_end(wish) {
            self.record_run_level(level, clock::wall().0);
        }
    }

    fn record_end(&mut self, wish: Power) {
        if !self.ending.takes_record(wish) {
            return;
        }
        let at = clock::wall().0;
        let record = move || login_records::write_to_history(false, at);
        if let Some(Err(error)) = power::within(RECORD_PATIENCE, record) {
            self.note(&format!("cannot write the end to wtmp: {error}"));
        }
    }

    /// Who comes after us on the same kernel lets everybody in again, as far as it was us who did not.
    pub(super) fn leave_to_next(&mut self) {
        if self.ending.power() != Power::SoftReboot {
            return;
        }
        self.allow_logins();
        if self.ending.is_end_recorded
            && let Err(error) = login_records::await_another_begin()
        {
            self.note(&format!("the end in wtmp stays unanswered: {error}"));
        }
    }

    /// A unit's end is to be the machine's; the supervisor has told all others to stop.
    pub(super) fn power_action(&mut self, id: ServiceId, wish: Power, haste: Haste) {
        let name = self.name(id).unwrap_or_else(|| self.own_name.clone());
        if self.options.mode.is_machine() {
            self.note(&format!("{name}: its end is the machine's"));
            return self.switch_off(wish, haste);
        }
        let word = wish.as_str();
        self.note(&format!(
            "{name}: its end asks for {word}; herd did not boot this machine, and ends itself"
        ));
    }

    fn forbid_logins(&mut self, words: &str) {
        let there = fs::read(NO_LOGIN).ok();
        if there.is_some() && !is_ours(there.as_deref(), self.ending.forbade.as_deref()) {
            // Nobody gets in already, for a reason of an administrator's own.
            return;
        }
        let text = format!("{words}\n");
        match fs::write(NO_LOGIN, &text) {
            Ok(()) => self.ending.forbade = Some(text),
            Err(error) => self.note(&format!("cannot write {NO_LOGIN}: {error}")),
        }
    }

    fn allow_logins(&mut self) {
        let there = fs::read(NO_LOGIN).ok();
        if is_ours(there.as_deref(), self.ending.forbade.take().as_deref()) {
            fs::remove_file(NO_LOGIN).ok();
        }
    }

    /// The machine began, unless it goes on after a soft reboot.
    pub(super) fn record_begin(&mut self) {
        if std::mem::replace(&mut self.ending.is_begin_recorded, true) {
            return;
        }
        let at = self.started_at;
        let record = move || login_records::write_begin_to_history(at);
        if let Some(Err(error)) = power::within(RECORD_PATIENCE, record) {
            self.note(&format!("cannot write the begin to wtmp: {error}"));
        }
    }

    pub(super) fn press_ctrl_alt_del(&mut self) {
        let now = clock::now();
        let presses = &mut self.ending.presses;
        presses.retain(|at| now.since(*at) < BURST_IN);
        presses.push(now);
        if presses.len() >= BURST {
            self.note("ctrl-alt-del seven times in two seconds");
            return self.switch_off(Power::Reboot, Haste::AtOnce);
        }
        if !self.ending.has_begun() && !self.start_hook("ctrl-alt-del") {
            self.switch_off(Power::Reboot, Haste::InOrder);
        }
    }

    pub(super) fn lose_power(&mut self) {
        if !self.ending.has_begun() && !self.start_hook("sigpwr") {
            self.switch_off(Power::PowerOff, Haste::InOrder);
        }
    }

    /// Starts the unit that somebody has put there for such a moment; `false` when nobody has.
    pub(super) fn start_hook(&mut self, unit: &str) -> bool {
        let Ok(name) = UnitName::new(unit) else {
            return false;
        };
        if !self.supervisor.knows(&name)
            && let Err(problem) = self.bring_in(&name)
        {
            if problem != NotAtHand::Missing(name) {
                self.note(&problem.to_string());
            }
            return false;
        }
        self.note(&format!("starting {name}"));
        self.start_for_nobody(vec![name]);
        true
    }

    /// Brings the machine to a goal that a signal asked for.
    pub(super) fn go_to(&mut self, goal: &str) {
        let Ok(name) = UnitName::new(goal) else {
            return;
        };
        match self.aim(&name) {
            Ok(units) => self.start_for_nobody(units),
            Err(refusal) => self.note(&refusal.to_string()),
        }
    }

    /// Everything that is known of units, in the log.
    pub(super) fn dump_state(&mut self) {
        for entry in self.list(false, false) {
            let pid = entry.main_pid.map(|pid| format!(", process {pid}"));
            let text = format!(
                "{}: {} ({}){}",
                entry.name,
                entry.state.as_str(),
                entry.substate,
                pid.unwrap_or_default()
            );
            self.note(&text);
        }
    }

    /// What a client asks for; what it is to be told of an end that was scheduled before.
    ///
    /// # Errors
    /// What this herd does not do, in words.
    pub(super) fn shut_down_call(
        &mut self,
        way: Option<Way>,
        force: bool,
        plan: Schedule,
    ) -> Result<ShutdownReply, Refusal> {
        let refused = |reason: &str| {
            Err(Refusal::Refused {
                reason: reason.to_owned(),
            })
        };
        if !self.options.mode.is_machine() {
            return match way {
                Some(Way::Power(_)) => refused(
                    "herd did not boot this machine and does not end it; `herd shutdown` ends herd",
                ),
                None | Some(Way::Exit) if plan != Schedule::default() => {
                    refused("herd did not boot this machine; its own end is not scheduled")
                }
                None | Some(Way::Exit) => {
                    self.shutdown_event(force);
                    Ok(ShutdownReply::default())
                }
            };
        }
        let wish = match way {
            None => Power::PowerOff,
            Some(Way::Power(power)) => power,
            Some(Way::Exit) => {
                return refused(
                    "the first process of a machine cannot exit; ask for poweroff or reboot",
                );
            }
        };
        if wish == Power::Kexec && !power::has_next_kernel() {
            return refused("no kernel is loaded that could follow this one; kexec(8) loads one");
        }
        let haste = if force { Haste::AtOnce } else { Haste::InOrder };
        if plan.is_now() {
            let now = clock::now();
            if plan != Schedule::default() {
                // Its message is for those who hear of the end.
                self.ending.scheduled = Some(Scheduled {
                    power: wish,
                    haste,
                    at: now,
                    next: now,
                    plan,
                });
            }
            self.switch_off(wish, haste);
            return Ok(ShutdownReply::default());
        }
        if self.ending.has_begun() {
            return refused("the machine is on its way to its end already");
        }
        Ok(self.schedule(wish, haste, plan))
    }

    fn schedule(&mut self, wish: Power, haste: Haste, plan: Schedule) -> ShutdownReply {
        let now = clock::now();
        let when = duration(plan.delay);
        let before = |scheduled: &Scheduled, what: &str| {
            let left = duration(scheduled.at.since(now));
            format!(
                "{} in {left} was scheduled before, and {what}",
                scheduled.power
            )
        };
        if let Some(scheduled) = self.ending.real_plan().filter(|_| plan.warn_only) {
            let stays = before(scheduled, "stays so");
            self.note(&format!("{wish} in {when} (words only); {stays}"));
            if plan.wall {
                let words = warnings::text(wish, plan.delay, plan.message.as_deref());
                wall::say_to_all(&words);
            }
            return ShutdownReply {
                note: Some(stays),
                stays: true,
            };
        }
        let replaced = self.ending.scheduled.take();
        let forgotten = replaced.map(|scheduled| before(&scheduled, "is forgotten"));
        if let Some(forgotten) = &forgotten {
            self.note(forgotten);
        }
        let what = if plan.warn_only { " (words only)" } else { "" };
        self.note(&format!("{wish} in {when}{what}"));
        self.ending.scheduled = Some(Scheduled {
            power: wish,
            haste,
            at: now + plan.delay,
            next: now,
            plan,
        });
        self.allow_logins();
        self.warn_of_end();
        ShutdownReply {
            note: forgotten,
            stays: false,
        }
    }

    /// # Errors
    /// When nothing is scheduled.
    pub(super) fn call_off(&mut self, message: Option<&str>, wall: bool) -> Result<(), Refusal> {
        let Some(scheduled) = self.ending.scheduled.take() else {
            let reason = if self.ending.has_begun() {
                "the machine is on its way to its end; that cannot be called off any more"
            } else {
                "no end of the machine is scheduled"
            };
            return Err(Refusal::Refused {
                reason: reason.to_owned(),
            });
        };
        self.allow_logins();
        self.note(&format!("{}: called off", scheduled.power));
        if wall {
            wall::say_to_all(&warnings::called_off(scheduled.power, message));
        }
        Ok(())
    }

    /// A word is due, or the end.
    fn warn_of_end(&mut self) {
        let now = clock::now();
        let Some(scheduled) = &mut self.ending.scheduled else {
            return;
        };
        let left = scheduled.at.since(now);
        if left.is_zero() {
            let (wish, haste) = (scheduled.power, scheduled.haste);
            if scheduled.plan.warn_only {
                let plan = scheduled.plan.clone();
                self.ending.scheduled = None;
                self.allow_logins();
                if plan.wall && plan.delay.is_zero() {
                    wall::say_to_all(&warnings::text(wish, left, plan.message.as_deref()));
                }
                return self.note("the time that was announced has come; nothing is done");
            }
            return self.switch_off(wish, haste);
        }
        let mark = warnings::next(left);
        scheduled.next = match mark {
            Some(mark) => now + left.saturating_sub(mark),
            None => scheduled.at,
        };
        let words = warnings::text(scheduled.power, left, scheduled.plan.message.as_deref());
        let wall = scheduled.plan.wall;
        if left <= warnings::NO_LOGIN {
            self.forbid_logins(&words);
        }
        if wall {
            wall::say_to_all(&words);
        }
    }

    /// To be asked whenever something has happened.
    pub(super) fn go_on_ending(&mut self) {
        let now = clock::now();
        if self.ending.deadline().is_none_or(|at| at > now) {
            return;
        }
        if self.ending.scheduled.is_some() {
            return self.warn_of_end();
        }
        let waits_for = self.waits_for();
        let Some(begun) = &mut self.ending.begun else {
            return;
        };
        begun.next_word = now + TELL_EVERY;
        let (wish, taken) = (begun.power, now.since(begun.since));
        if taken >= UNITS_LIMIT && !begun.is_over_time {
            begun.is_over_time = true;
            let minutes = UNITS_LIMIT.as_secs() / 60;
            self.note(&format!("units have not stopped in {minutes} minutes"));
            return self.switch_off(wish, Haste::AtOnce);
        }
        let is_quiet = self.options.mode.is_quiet();
        for line in &waits_for {
            self.note(line);
            if is_quiet {
                self.tell_console(line);
            }
        }
    }

    /// One line for each of the first services that are still stopping.
    fn waits_for(&self) -> Vec<String> {
        let now = clock::now();
        let up = |service: &&Service| !service.state().is_at_rest();
        let (stopping, others): (Vec<_>, Vec<_>) = self
            .supervisor
            .services()
            .filter(up)
            .partition(|service| service.state().is_stopping());
        let shown = stopping.iter().take(SHOWN);
        let mut lines: Vec<String> = shown.map(|service| progress(service, now)).collect();
        let more = stopping.len().saturating_sub(SHOWN);
        if more > 0 {
            lines.push(format!("{more} more are stopping"));
        }
        if !others.is_empty() {
            lines.push(format!(
                "{} units wait for their turn to stop",
                others.len()
            ));
        }
        lines
    }

    /// For clients; `None` when no end is in sight.
    pub(super) fn ending_of_machine(&self) -> Option<WireEnding> {
        if let Some(scheduled) = &self.ending.scheduled {
            return Some(WireEnding {
                power: Way::Power(scheduled.power),
                at: clock::to_wall(scheduled.at),
                begun: false,
                warn_only: scheduled.plan.warn_only,
                message: scheduled.plan.message.clone(),
                waits_for: Vec::new(),
            });
        }
        let begun = self.ending.begun.as_ref()?;
        Some(WireEnding {
            power: Way::Power(begun.power),
            at: clock::to_wall(begun.since),
            begun: true,
            warn_only: false,
            message: None,
            waits_for: self.waits_for(),
        })
    }
}

/// Whether what lies there is what was written.
fn is_ours(there: Option<&[u8]>, wrote: Option<&str>) -> bool {
    there.is_some() && there == wrote.map(str::as_bytes)
}

/// `web: stopping, 23 s of 90 s; killed then`
fn progress(service: &Service, now: Time) -> String {
    let state = service.state();
    let (what, then) = match state {
        State::StopCommand { .. } => ("its stop command runs", "signalled then"),
        State::StopPost { .. } => ("its last command runs", "killed then"),
        State::Stopping {
            ending: Signalled::Killed,
            ..
        } => ("killed", "given up then"),
        State::Stopping { .. } if !service.unit().lifecycle.send_sigkill => {
            ("stopping", "given up then")
        }
        _ => ("stopping", "killed then"),
    };
    let name = &service.unit().name;
    let taken = now.since(service.since()).as_secs();
    match state.deadline() {
        Some(at) => {
            let most = at.since(service.since()).as_secs();
            format!("{name}: {what}, {taken} s of {most} s; {then}")
        }
        None => format!("{name}: {what}, {taken} s, without a limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_nologin_that_herd_wrote_is_taken_away() {
        assert!(is_ours(Some(b"rebooting\n"), Some("rebooting\n")));
        assert!(!is_ours(Some(b"backup l\xe4uft\n"), Some("rebooting\n")));
        assert!(!is_ours(Some(b"backup runs\n"), None));
        assert!(!is_ours(None, None));
    }

    #[test]
    fn an_end_is_recorded_once_however_often_somebody_has_another_wish() {
        let mut ending = Ending::default();
        assert!(!ending.takes_record(Power::SoftReboot));
        assert!(ending.takes_record(Power::PowerOff));
        for wish in [Power::Reboot, Power::SoftReboot, Power::PowerOff] {
            assert!(!ending.takes_record(wish), "{wish}");
        }
    }

    #[test]
    fn words_alone_do_not_take_the_place_of_a_real_end() {
        let at = clock::now();
        let of = |warn_only| Ending {
            scheduled: Some(Scheduled {
                power: Power::Reboot,
                haste: Haste::InOrder,
                at,
                next: at,
                plan: Schedule {
                    warn_only,
                    ..Schedule::default()
                },
            }),
            ..Ending::default()
        };
        assert!(of(false).real_plan().is_some());
        assert!(of(true).real_plan().is_none());
        assert!(Ending::default().real_plan().is_none());
    }
}
