//! A world that carries out the supervisor's actions: processes with habits, answers that come
//! when they come. It keeps the promises of `daemon/perform.rs` and no others:
//! * `Spawned` comes before the `Exited` of the same run;
//! * a launch under way counts as a process;
//! * `Emptied` is true when it is said, and comes after every `Exited`.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use units::Signal;

use super::random::Random;
use crate::supervisor::action::{Action, Answer, Purpose, Role, Whom};
use crate::supervisor::event::{CheckResult, Event, ExitStatus, Input, Notice, Pid};
use crate::supervisor::{RunId, ServiceId, Ticket, Time};

#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) id: ServiceId,
    /// `None`: a child that a service made by itself.
    pub(super) role: Option<Role>,
    pub(super) alive: bool,
    ignores_term: bool,
    /// In the kernel's hands: SIGKILL takes this long.
    stuck_for: Duration,
    dying: bool,
}

/// What will happen by itself.
#[derive(Debug, Clone)]
enum Coming {
    Tell(ServiceId, Input),
    /// A launch ends well or not.
    Born(RunId),
    Dies(RunId, ExitStatus),
    Emptied(ServiceId),
    ProbeAnswer(ServiceId, RunId, bool),
    FoundMain(ServiceId),
    Moves(RunId),
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) random: Random,
    pub(super) now: Time,
    coming: BTreeMap<(Time, u64), Coming>,
    order: u64,
    pub(super) processes: HashMap<RunId, Process>,
    /// Launches under way.
    pub(super) launching: HashMap<RunId, (ServiceId, Role)>,
    pub(super) checking: HashSet<ServiceId>,
    pub(super) finding: HashSet<ServiceId>,
    pub(super) probing: HashSet<RunId>,
    pub(super) awaiting: HashSet<ServiceId>,
    pub(super) answers: HashMap<Ticket, Vec<Answer>>,
    pub(super) exits: Vec<u8>,
    pub(super) ended: Vec<(ServiceId, RunId)>,
    next_child: u64,
    /// What has been decided for the next launches, for tests that leave nothing to chance.
    pub(super) calm: bool,
}

const FOREIGN: u64 = 1 << 40;

impl World {
    pub(super) fn new(random: Random) -> Self {
        Self {
            random,
            now: Time::from_micros(1_000_000),
            coming: BTreeMap::new(),
            order: 0,
            processes: HashMap::new(),
            launching: HashMap::new(),
            checking: HashSet::new(),
            finding: HashSet::new(),
            probing: HashSet::new(),
            awaiting: HashSet::new(),
            answers: HashMap::new(),
            exits: Vec::new(),
            ended: Vec::new(),
            next_child: FOREIGN,
            calm: false,
        }
    }

    fn later(&mut self, wait: Duration, what: Coming) {
        self.order += 1;
        self.coming.insert((self.now + wait, self.order), what);
    }

    fn soon(&mut self) -> Duration {
        if self.calm || self.random.percent(40) {
            Duration::ZERO
        } else if self.random.percent(90) {
            self.random.millis(0, 300)
        } else {
            self.random.millis(0, 8_000)
        }
    }

    pub(super) fn next_at(&self) -> Option<Time> {
        self.coming.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn main_of(&self, id: ServiceId) -> Vec<RunId> {
        let is_main = |role: Option<Role>| role == Some(Role::Main);
        let live = self.processes.iter().filter(|(_, p)| p.id == id && p.alive);
        let live = live.filter(|(_, p)| is_main(p.role)).map(|(run, _)| *run);
        let born = self.launching.iter().filter(|(_, (i, _))| *i == id);
        let born = born
            .filter(|(_, (_, r))| *r == Role::Main)
            .map(|(run, _)| *run);
        live.chain(born).collect()
    }

    pub(super) fn is_empty(&self, id: ServiceId) -> bool {
        !self.processes.values().any(|p| p.id == id && p.alive)
            && !self.launching.values().any(|(i, _)| *i == id)
    }

    /// Whether something of this service is still to be heard.
    pub(super) fn owes(&self, id: ServiceId) -> bool {
        let told = self.coming.values().any(|c| match c {
            Coming::Tell(i, _) | Coming::Emptied(i) | Coming::FoundMain(i) => *i == id,
            Coming::ProbeAnswer(i, _, _) => *i == id,
            Coming::Born(run) | Coming::Dies(run, _) | Coming::Moves(run) => {
                self.launching.get(run).is_some_and(|(i, _)| *i == id)
                    || self.processes.get(run).is_some_and(|p| p.id == id)
            }
        });
        told || self.checking.contains(&id) || self.finding.contains(&id)
    }

    /// Takes what comes next, and says what the supervisor hears of it.
    pub(super) fn step(&mut self) -> Option<Event> {
        let (_, what) = self.coming.pop_first()?;
        let (id, input) = match what {
            Coming::Tell(id, input) => {
                if matches!(input, Input::Checked(_)) {
                    self.checking.remove(&id);
                }
                (id, input)
            }
            Coming::Born(run) => self.born(run)?,
            Coming::Dies(run, status) => self.dies(run, status)?,
            Coming::Emptied(id) => {
                if !self.awaiting.contains(&id) || !self.is_empty(id) {
                    return None;
                }
                self.awaiting.remove(&id);
                (id, Input::Emptied)
            }
            Coming::ProbeAnswer(id, run, good) => {
                if !self.probing.remove(&run) {
                    return None;
                }
                let result = if good { Ok(()) } else { Err("no".into()) };
                (id, Input::Probed { run, result })
            }
            Coming::FoundMain(id) => {
                self.finding.remove(&id);
                let has_one = !self.main_of(id).is_empty();
                let child = self.processes.iter_mut().find(|(_, p)| {
                    !has_one && p.id == id && p.alive && p.role.is_none() && !p.dying
                });
                match child {
                    Some((run, process)) => {
                        process.role = Some(Role::Main);
                        (
                            id,
                            Input::MainMoved {
                                run: *run,
                                pid: pid(*run),
                            },
                        )
                    }
                    None => (
                        id,
                        Input::MainMissing {
                            why: "no process".into(),
                        },
                    ),
                }
            }
            Coming::Moves(run) => {
                let id = self.processes.get(&run).filter(|p| p.alive)?.id;
                let child = self
                    .processes
                    .iter_mut()
                    .find(|(_, p)| p.id == id && p.alive && p.role.is_none() && !p.dying);
                let (to, child) = child?;
                child.role = Some(Role::Main);
                let to = *to;
                self.processes.get_mut(&run)?.role = None;
                (
                    id,
                    Input::MainMoved {
                        run: to,
                        pid: pid(to),
                    },
                )
            }
        };
        Some(Event::Service { id, input })
    }

    fn born(&mut self, run: RunId) -> Option<(ServiceId, Input)> {
        let (id, role) = self.launching.remove(&run)?;
        if !self.calm && self.random.percent(6) {
            self.emptied(id);
            let why: Arc<str> = "execve: no such file".into();
            return Some((
                id,
                Input::SpawnFailed {
                    run,
                    why,
                    code: 127,
                },
            ));
        }
        self.live(id, run, Some(role));
        Some((id, Input::Spawned { run, pid: pid(run) }))
    }

    fn live(&mut self, id: ServiceId, run: RunId, role: Option<Role>) {
        let calm = self.calm;
        let random = &mut self.random;
        let process = Process {
            id,
            role,
            alive: true,
            ignores_term: !calm && random.percent(15),
            stuck_for: if !calm && random.percent(1) {
                random.millis(1_000, 30_000)
            } else {
                Duration::ZERO
            },
            dying: false,
        };
        self.processes.insert(run, process);
        if calm {
            if role != Some(Role::Main) {
                self.later(Duration::ZERO, Coming::Dies(run, ExitStatus::Code(0)));
            }
            return;
        }
        let status = self.some_status();
        match role {
            Some(Role::Main) => {
                let life = self.random.below(10);
                match life {
                    0 | 1 => {
                        let wait = self.random.millis(0, 300);
                        self.later(wait, Coming::Dies(run, status));
                    }
                    2..=4 => {
                        let wait = self.random.millis(300, 15_000);
                        self.later(wait, Coming::Dies(run, status));
                    }
                    _ => {}
                }
                self.chatter(id);
                self.stands_still(id);
                for _ in 0..self.random.below(6) / 3 {
                    self.fork(id);
                }
                if self.random.percent(8) {
                    let wait = self.random.millis(0, 4_000);
                    self.later(wait, Coming::Moves(run));
                }
            }
            Some(_) => {
                if !self.random.percent(8) {
                    let wait = self.soon();
                    let status = if self.random.percent(75) {
                        ExitStatus::Code(0)
                    } else {
                        status
                    };
                    self.later(wait, Coming::Dies(run, status));
                }
                if self.random.percent(10) {
                    self.fork(id);
                }
            }
            None => {
                if self.random.percent(60) {
                    let wait = self.random.millis(0, 6_000);
                    self.later(wait, Coming::Dies(run, status));
                }
            }
        }
    }

    fn some_status(&mut self) -> ExitStatus {
        self.random.pick(&[
            ExitStatus::Code(0),
            ExitStatus::Code(0),
            ExitStatus::Code(1),
            ExitStatus::Code(255),
            ExitStatus::Signal {
                signal: Signal::KILL,
                core: false,
            },
            ExitStatus::Signal {
                signal: Signal::ABRT,
                core: true,
            },
            ExitStatus::Unknown,
        ])
    }

    fn fork(&mut self, id: ServiceId) {
        self.next_child += 1;
        self.live(id, RunId(self.next_child), None);
    }

    /// What a service says of itself on its notify socket while it lives.
    fn chatter(&mut self, id: ServiceId) {
        if self.random.percent(80) {
            let wait = self.soon();
            self.later(wait, Coming::Tell(id, Input::Notified(Notice::Ready)));
        }
        for _ in 0..self.random.below(5) {
            let notice = match self.random.below(14) {
                0 => Notice::Reloading,
                1 => Notice::Stopping,
                2 => Notice::Status("busy".into()),
                3 => Notice::ExtendTimeout(self.random.millis(100, 3_000)),
                4 => Notice::WatchdogTrigger,
                5 => Notice::WatchdogInterval(self.random.millis(0, 3) * 1_000),
                6 => Notice::Ready,
                _ => Notice::WatchdogPing,
            };
            let wait = self.random.millis(0, 6_000);
            self.later(wait, Coming::Tell(id, Input::Notified(notice)));
        }
        if self.random.percent(3) {
            let wait = self.random.millis(0, 6_000);
            self.later(wait, Coming::Tell(id, Input::OutOfMemory));
        }
    }

    /// Somebody freezes the service, and thaws it again.
    fn stands_still(&mut self, id: ServiceId) {
        if self.random.percent(5) {
            let from = self.random.millis(0, 6_000);
            let until = from + self.random.millis(0, 6_000);
            self.later(from, Coming::Tell(id, Input::Frozen(true)));
            self.later(until, Coming::Tell(id, Input::Frozen(false)));
        }
    }

    fn dies(&mut self, run: RunId, status: ExitStatus) -> Option<(ServiceId, Input)> {
        let process = self.processes.get_mut(&run)?;
        if !process.alive {
            return None;
        }
        process.alive = false;
        let (id, role) = (process.id, process.role);
        self.processes.remove(&run);
        self.emptied(id);
        role?;
        self.ended.push((id, run));
        Some((id, Input::Exited { run, status }))
    }

    fn emptied(&mut self, id: ServiceId) {
        if self.awaiting.contains(&id) && self.is_empty(id) {
            let wait = self.soon();
            self.later(wait, Coming::Emptied(id));
        }
    }

    fn signal(&mut self, run: RunId, signal: Signal) {
        let Some(process) = self.processes.get_mut(&run) else {
            return;
        };
        if process.dying || !process.alive {
            return;
        }
        let kill = signal == Signal::KILL;
        let deadly = kill || signal != Signal::HUP && !process.ignores_term;
        if !deadly {
            return;
        }
        let stuck = process.stuck_for;
        process.dying = kill;
        let status = ExitStatus::Signal {
            signal,
            core: false,
        };
        let wait = if kill { stuck } else { self.soon() };
        self.later(wait, Coming::Dies(run, status));
    }

    /// Nobody wanted to know of this main process any more: it is a child like others.
    pub(super) fn moved(&mut self, id: ServiceId, to: RunId, main: Option<RunId>) {
        if main != Some(to)
            && let Some(process) = self.processes.get_mut(&to).filter(|p| p.id == id)
        {
            process.role = None;
        }
    }

    fn runs_of(&self, id: ServiceId) -> Vec<RunId> {
        let mut runs: Vec<RunId> = self
            .processes
            .iter()
            .filter(|(_, p)| p.id == id)
            .map(|(run, _)| *run)
            .collect();
        runs.sort_unstable();
        runs
    }

    pub(super) fn perform(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Check { id } => {
                    self.checking.insert(*id);
                    let result = match self.random.below(10) {
                        0 if !self.calm => CheckResult::Skip("a path is missing".into()),
                        1 if !self.calm => CheckResult::AssertFailed("no".into()),
                        _ => CheckResult::Met,
                    };
                    let wait = self.soon();
                    self.later(wait, Coming::Tell(*id, Input::Checked(result)));
                }
                Action::Spawn { id, run, role } => {
                    self.launching.insert(*run, (*id, *role));
                    let wait = self.soon();
                    self.later(wait, Coming::Born(*run));
                }
                Action::Signal { id, whom, signal } => {
                    let runs = match whom {
                        Whom::All => self.runs_of(*id),
                        Whom::Main => self
                            .runs_of(*id)
                            .into_iter()
                            .filter(|run| self.processes[run].role == Some(Role::Main))
                            .collect(),
                        Whom::Run(run) => vec![*run],
                    };
                    for run in runs {
                        self.signal(run, *signal);
                    }
                }
                Action::KillAll { id, signal } => {
                    for run in self.runs_of(*id) {
                        self.signal(run, *signal);
                    }
                }
                Action::AwaitEmpty { id } => {
                    self.awaiting.insert(*id);
                    if self.is_empty(*id) {
                        self.emptied(*id);
                    } else {
                        let wait = self.soon();
                        self.later(wait, Coming::Tell(*id, Input::Remaining));
                    }
                }
                Action::FindMain { id } => {
                    self.finding.insert(*id);
                    if self.random.percent(80) {
                        self.fork(*id);
                    }
                    let wait = self.soon();
                    self.later(wait, Coming::FoundMain(*id));
                }
                Action::Probe { id, run, purpose } => {
                    self.probing.insert(*run);
                    let good = match purpose {
                        Purpose::Readiness => self.random.percent(60),
                        Purpose::Health => self.random.percent(80),
                    };
                    if self.calm || !self.random.percent(15) {
                        let wait = self.soon();
                        let answer = Coming::ProbeAnswer(*id, *run, good || self.calm);
                        self.later(wait, answer);
                    }
                }
                Action::CancelProbe { run, .. } => {
                    assert!(
                        self.probing.remove(run),
                        "a probe that is not under way was cancelled: {run:?}"
                    );
                }
                Action::Release { id, .. } => {
                    self.awaiting.remove(id);
                }
                Action::Changed { .. } | Action::Forget { .. } => {}
                Action::Answer { ticket, answer } => {
                    self.answers
                        .entry(*ticket)
                        .or_default()
                        .push(answer.clone());
                }
                Action::Ending { .. } => {}
                Action::Power { .. } => {}
                Action::Exit { code } => self.exits.push(*code),
            }
        }
    }
}

fn pid(run: RunId) -> Pid {
    Pid(i32::try_from(run.0 % 1_000_000).unwrap())
}
