//! What clients ask for, and their answers.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::time::Duration;

use units::UnitName;

use super::{CLIENT_EVENTS, Daemon, clock, reason, units_at_hand};
use crate::control::protocol::{
    Call, CatReply, Info, Job, JobFailure, ListReply, Mode as WireMode, PlanReply, Refusal, Reply,
    StateChange, StatusReply, UnitFile, Whom as WireWhom, WhyReply,
};
use crate::control::server::CallId;
use crate::network::{self, NetworkOccasion};
use crate::plain_file;
use crate::prepare::{self, Occasion};
use crate::supervisor::action::{Answer, Role, Whom};
use crate::supervisor::event::Verb;
use crate::supervisor::{Event, Ticket};

/// Calls that wait for something to happen.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    tickets: HashMap<Ticket, CallId>,
    last_ticket: u64,
    watchers: Vec<(CallId, Vec<UnitName>)>,
    shutdowns: Vec<CallId>,
}

/// Calls served before the rest of the loop has its turn again.
const AT_ONCE: usize = 32;

/// As `units` reads them.
const UNIT_LONGEST: u64 = 1 << 20;

impl Daemon {
    pub(super) fn serve_clients(&mut self) {
        let polled = self
            .control_poll
            .poll(&mut self.control_events, Some(Duration::ZERO));
        if let Err(error) = polled
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            return self.note(&format!("cannot wait for clients: {error}"));
        }
        self.clients_unheard = self.control_events.iter().count() >= CLIENT_EVENTS;
        let base = self.surface.cgroup_base.clone();
        let supervisor = &self.supervisor;
        let is_boxed = |path: &str| is_boxed(base.as_deref(), supervisor, path);
        for event in &self.control_events {
            self.control.handle(event, &is_boxed);
        }
        for _ in 0..AT_ONCE {
            let Some((id, call)) = self.control.next_call() else {
                break;
            };
            self.call(id, call);
            self.turn();
        }
        for note in self.control.take_notes() {
            self.note(&note);
        }
    }

    fn call(&mut self, id: CallId, call: Call) {
        let outcome = match call {
            Call::Start(job) => return self.job(id, Verb::Start, job),
            Call::Stop(job) => return self.job(id, Verb::Stop, job),
            Call::Restart(job) => return self.job(id, Verb::Restart, job),
            Call::Reload(job) => return self.job(id, Verb::Reload, job),
            Call::ResetFailed { units } => {
                let units = if units.is_empty() {
                    self.failed_units()
                } else {
                    units
                };
                return self.job(id, Verb::ResetFailed, Job { units, wait: true });
            }
            Call::Watch { units } => {
                self.calls.watchers.push((id, units));
                return;
            }
            Call::Shutdown {
                power,
                force,
                wait,
                schedule,
            } => {
                let is_now = schedule.is_now();
                match self.shut_down_call(power, force, schedule) {
                    Ok(_) if wait && is_now => {
                        self.calls.shutdowns.push(id);
                        return;
                    }
                    Ok(reply) => Ok(Reply::Shutdown(reply)),
                    Err(refusal) => Err(refusal),
                }
            }
            Call::CancelShutdown { message, wall } => self
                .call_off(message.as_deref(), wall)
                .map(|()| Reply::DONE),
            Call::Status { units, all } => self.status(&units, all),
            Call::List { all, usage } => Ok(Reply::List(ListReply {
                units: self.list(all, usage),
            })),
            Call::Kill { unit, signal, whom } => self.kill_call(&unit, signal, whom),
            Call::Freeze { units } => self.freeze_call(&units, true),
            Call::Thaw { units } => self.freeze_call(&units, false),
            Call::Why { unit } => self.why(&unit),
            Call::Plan { unit } => self.plan(&unit),
            Call::Cat { unit } => self.cat(&unit),
            Call::Rescan => Ok(Reply::Rescan(self.look_again())),
            Call::Goal { unit, wait } => match self.aim(&unit) {
                Ok(units) => return self.job(id, Verb::Start, Job { units, wait }),
                Err(refusal) => Err(refusal),
            },
            Call::Networks => self.networks(),
            Call::Boot => Ok(Reply::Boot(self.boot())),
            Call::Info => Ok(Reply::Info(self.info())),
        };
        self.control.reply(id, outcome);
    }

    /// From now on the machine is to come to that; says what has to be started for it.
    pub(super) fn aim(&mut self, goal: &UnitName) -> Result<Vec<UnitName>, Refusal> {
        let refused = |reason: String| Refusal::Refused { reason };
        let Some(boot) = &mut self.options.search.boot else {
            let reason = "herd did not boot this machine; start and stop units instead";
            return Err(refused(reason.to_owned()));
        };
        let before = boot.clone();
        boot.goal = goal.clone();
        boot.alone = crate::pid1::is_alone(goal.as_str());
        let alone = boot.alone;
        if let Err(problem) = self.bring_in(goal) {
            self.options.search.boot = Some(before);
            return Err(problem.into());
        }
        self.has_new_goal(goal);
        self.note(&format!("the goal is {goal} now"));
        // Who comes out of the emergency shell has mended it.
        self.look_again();
        let mut units = vec![goal.clone()];
        if !alone {
            units.extend(self.supervisor.enabled().filter(|name| name != goal));
        }
        Ok(units)
    }

    fn failed_units(&self) -> Vec<UnitName> {
        let failed = |s: &&crate::supervisor::Service| {
            matches!(s.state(), crate::supervisor::State::Failed(_))
        };
        self.supervisor
            .services()
            .filter(failed)
            .map(|s| s.unit().name.clone())
            .collect()
    }

    fn job(&mut self, id: CallId, verb: Verb, job: Job) {
        for name in &job.units {
            if !self.supervisor.knows(name)
                && let Err(why) = self.bring_in(name)
            {
                return self.control.reply(id, Err(why.into()));
            }
        }
        if self.calls.tickets.len() > MAX_TICKETS {
            let control = &self.control;
            let gone: Vec<Ticket> = self
                .calls
                .tickets
                .iter()
                .filter(|(_, call)| !control.is_open(**call))
                .map(|(ticket, _)| *ticket)
                .collect();
            for ticket in gone {
                self.calls.tickets.remove(&ticket);
                self.inbox.push_back(Event::TicketDropped(ticket));
            }
        }
        self.calls.last_ticket += 1;
        let ticket = Ticket(self.calls.last_ticket);
        self.calls.tickets.insert(ticket, id);
        self.inbox.push_back(Event::Command {
            ticket,
            verb,
            names: job.units,
        });
        self.turn();
        // A refusal has been answered by now; anything else is not waited for.
        if !job.wait && self.calls.tickets.remove(&ticket).is_some() {
            self.inbox.push_back(Event::TicketDropped(ticket));
            self.control.reply(id, Ok(Reply::DONE));
        }
    }

    /// Nobody waits for it; what comes of it is in the log.
    pub(super) fn start_for_nobody(&mut self, names: Vec<UnitName>) {
        self.calls.last_ticket += 1;
        let ticket = Ticket(self.calls.last_ticket);
        self.inbox.push_back(Event::Command {
            ticket,
            verb: Verb::Start,
            names,
        });
        self.inbox.push_back(Event::TicketDropped(ticket));
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        let Some(call) = self.calls.tickets.remove(&ticket) else {
            return;
        };
        let outcome = match answer {
            Answer::Done => Ok(Reply::DONE),
            Answer::Refused(why) => Err(Refusal::Refused {
                reason: why.to_string(),
            }),
            Answer::Failed(failures) => Err(Refusal::JobFailed {
                failures: failures
                    .into_iter()
                    .map(|(unit, why)| JobFailure {
                        unit: unit.to_string(),
                        reason: why.to_string(),
                    })
                    .collect(),
            }),
        };
        self.control.reply(call, outcome);
    }

    /// Answers those who wait for the end, before the end.
    pub(super) fn answer_shutdowns(&mut self) {
        for call in std::mem::take(&mut self.calls.shutdowns) {
            self.control.reply(call, Ok(Reply::DONE));
        }
    }

    /// Tells those who watch.
    pub(super) fn broadcast(&mut self, name: &UnitName, change: &StateChange) {
        let control = &mut self.control;
        self.calls.watchers.retain(|(call, units)| {
            if !units.is_empty() && !units.contains(name) {
                return control.is_open(*call);
            }
            control.continue_(*call, &Reply::Watch(change.clone()))
        });
    }

    pub(super) fn has_watchers(&self) -> bool {
        !self.calls.watchers.is_empty()
    }

    pub(super) fn known(
        &mut self,
        name: &UnitName,
    ) -> Result<crate::supervisor::ServiceId, Refusal> {
        if !self.supervisor.knows(name) {
            self.bring_in(name)?;
        }
        self.supervisor.id(name).ok_or_else(|| Refusal::NoSuchUnit {
            unit: name.to_string(),
        })
    }

    fn status(&mut self, names: &[UnitName], all: bool) -> Result<Reply, Refusal> {
        let mut ids = Vec::new();
        for name in names {
            match self.known(name) {
                Ok(id) => ids.push(id),
                // A unit that never was sound is shown with what is wrong with it.
                Err(refusal) => match self.broken_status(name) {
                    Some(_) => {}
                    None => return Err(refusal),
                },
            }
        }
        let mut units: Vec<_> = names
            .iter()
            .filter_map(|name| self.broken_status(name))
            .collect();
        if names.is_empty() {
            ids = self
                .supervisor
                .services()
                .map(crate::supervisor::Service::id)
                .collect();
            let broken: Vec<UnitName> = self.units.broken.keys().cloned().collect();
            units.extend(broken.iter().filter_map(|name| self.broken_status(name)));
        }
        if all && names.is_empty() {
            units.extend(self.at_rest_on_disk());
        }
        let boxes = self.boxes_on_networks(&ids);
        let statuses = ids.into_iter();
        units.extend(statuses.filter_map(|id| self.unit_status(id, &boxes)));
        units.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Reply::Status(StatusReply { units }))
    }

    fn kill_call(
        &mut self,
        name: &UnitName,
        signal: units::Signal,
        whom: WireWhom,
    ) -> Result<Reply, Refusal> {
        let id = self.known(name)?;
        let at_rest = self
            .supervisor
            .service(id)
            .is_none_or(|s| s.state().is_at_rest());
        if at_rest {
            return Err(Refusal::Refused {
                reason: format!("{name}: has no process to signal"),
            });
        }
        let whom = match whom {
            WireWhom::Main => Whom::Main,
            WireWhom::All => Whom::All,
        };
        if signal == units::Signal::KILL {
            // v1's freezer holds even the killed.
            self.wake(id);
        }
        self.signal(id, whom, signal);
        Ok(Reply::DONE)
    }

    fn why(&mut self, name: &UnitName) -> Result<Reply, Refusal> {
        let id = self.known(name)?;
        let sentence = self.supervisor.why(clock::now(), name);
        let state = self.wire_state(id);
        Ok(Reply::Why(WhyReply {
            unit: name.to_string(),
            state,
            sentences: sentence.into_iter().collect(),
        }))
    }

    fn plan(&mut self, name: &UnitName) -> Result<Reply, Refusal> {
        let id = self.known(name)?;
        let refused = |reason: String| Refusal::Refused {
            reason: format!("{name}: {reason}"),
        };
        let Some(service) = self.supervisor.service(id) else {
            return Err(Refusal::NoSuchUnit {
                unit: name.to_string(),
            });
        };
        let unit = std::sync::Arc::clone(service.unit());
        let occasion = Occasion {
            slices: self.slice_limits(&unit),
            network: NetworkOccasion {
                lease: self.lease_of_main(id).unwrap_or_default(),
                definitions: network::definitions(&unit, &self.options.search, &self.units.facts)
                    .map_err(refused)?,
                ..NetworkOccasion::default()
            },
            ..Occasion::default()
        };
        let prepared = prepare::prepare(&unit, Role::Main, &self.users, &self.surface, &occasion)
            .map_err(|error| refused(reason(&error).to_string()))?;
        let plan = sandbox::compile(&prepared.config, &self.host)
            .map_err(|error| refused(reason(&error).to_string()))?;
        Ok(Reply::Plan(PlanReply {
            plan: prepare::describe(&unit, &plan),
        }))
    }

    fn cat(&mut self, name: &UnitName) -> Result<Reply, Refusal> {
        self.known(name)?;
        let mut files = Vec::new();
        for path in self.files_of(name) {
            let content =
                plain_file::read_text(&path, UNIT_LONGEST).map_err(|error| Refusal::Refused {
                    reason: format!("{name}: cannot read {}: {error}", path.display()),
                })?;
            files.push(UnitFile {
                path: path.display().to_string(),
                content,
            });
        }
        Ok(Reply::Cat(CatReply { files }))
    }

    fn info(&self) -> Info {
        Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: i32::try_from(std::process::id()).unwrap_or(0),
            mode: match &self.options.mode {
                super::Mode::Foreground => WireMode::Foreground,
                super::Mode::System | super::Mode::Machine(_) => WireMode::System,
                super::Mode::User => WireMode::User,
            },
            runtime_dir: self.options.runtime_dir.display().to_string(),
            log_dir: match &self.options.log_dir {
                Some(path) => path.display().to_string(),
                None => String::new(),
            },
            unit_dirs: units_at_hand::directories(&self.options.search),
            started_at: self.started_at,
            uptime_usec: clock::wall().0 - self.started_at,
            ending: self.ending_of_machine(),
            goals: self.goals.told(self.goal_waits_for()),
            units: i64::try_from(self.supervisor.services().count()).unwrap_or(i64::MAX),
        }
    }
}

const MAX_TICKETS: usize = 256;

/// Whether a cgroup path is that of a boxed service of ours.
fn is_boxed(base: Option<&str>, supervisor: &crate::supervisor::Supervisor, path: &str) -> bool {
    let Some(base) = base else { return false };
    let marker = format!("/{base}/");
    let Some((_, below)) = path.split_once(&marker) else {
        return false;
    };
    let name = prepare::unit_of_group(below).and_then(|unit| UnitName::new(unit).ok());
    let service = name
        .and_then(|name| supervisor.id(&name))
        .and_then(|id| supervisor.service(id));
    service.is_some_and(|service| service.unit().walls.is_some())
}
