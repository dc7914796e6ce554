//! Acts. The one loop, the one thread that holds state: everything that happens becomes an
//! [`Event`], the supervisor says what to do, `perform.rs` does it.
//!
//! Nothing here waits: processes end by pidfd, output comes by pipe, launches of boxes report by
//! socket, and the log files are another thread's. When nothing happens, nothing wakes up.

mod arrivals;
mod boot;
mod breakdown;
mod calls;
mod checks;
mod clock;
mod elsewhere;
#[cfg(debug_assertions)]
mod fault;
mod firewall;
mod freeze;
mod goal;
mod group;
mod identity;
mod launches;
mod leases;
mod leftovers;
mod manager;
mod networks;
mod notices;
pub mod notify;
mod offline;
pub mod options;
mod own_kills;
mod paths;
mod perform;
mod power;
mod probes;
mod process_table;
mod reaper;
mod releaser;
mod report;
mod runtime;
mod signals;
mod sources;
mod spawn;
mod start;
mod terminal;
mod units_at_hand;
mod waits;
mod watch;

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token};
use sandbox::Host;
use units::UnitName;

pub(crate) use clock::now as moment;
pub use offline::{NoPlan, exposure, plan};
pub use options::{Ended, HandedOn, Machine, Mode, Options};
pub(crate) use report::LOGS_OF_THIS_BOOT;
pub use start::{StartError, run};

use crate::control::server::Server;
use crate::logs::{Console, Drained, Sink};
use crate::pid1::place::Place;
use crate::prepare::Surface;
use crate::supervisor::{Event, RunId, ServiceId, Supervisor, Time};
use crate::users::Users;
use notify::NotifySocket;
use runtime::{Processes, RunningProbe, Runtime, Runtimes};
use signals::{Signals, Word};
use sources::{Source, Sources};
use units_at_hand::UnitsAtHand;
use watch::Watch;

/// Events taken from the kernel at once. Between every few of them clients are served, so that a
/// storm of exits does not keep `herd status` waiting.
const BATCH: usize = 128;
const CLIENT_EVENTS: usize = 64;
const SERVE_CLIENTS_EVERY: usize = 8;
/// Changes of files come in bursts; they are read this long after the first.
const RESCAN_AFTER: Duration = Duration::from_millis(20);
/// With many children a sweep for orphans costs time in proportion; then it waits this long.
const SWEEP_AFTER: Duration = Duration::from_millis(50);
const MANY_CHILDREN: usize = 1000;
/// A log writer that stands still (a disk that hangs) holds services up for so long at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// What herd ends with when it is to be started again, as systemd-nspawn(1) has it.
const RESTART_CODE: u8 = 133;

pub(crate) struct Daemon {
    options: Options,
    surface: Surface,
    host: Host,
    place: Place,
    own_kills: own_kills::OwnKills,
    /// No process of herd's own is in the way of controllers.
    is_aside: bool,
    /// By which the next herd knows what we have left, where there are no groups.
    mark: Option<String>,
    launches: launches::Launches,
    /// Runs that wait for room there.
    postponed: VecDeque<RunId>,
    /// Notifications of processes that nothing is known of, or whose launch is not known to be over, while some are
    /// being started.
    unclaimed: Vec<(Option<(ServiceId, RunId)>, notify::Datagram)>,
    launches_told: bool,
    filters: sandbox::seccomp::Memory,
    sink: Sink,
    releaser: releaser::Releaser,
    /// What tells of changes of the firewall and of bridges, as long as a service has a network.
    watches: firewall::Watches,
    /// Chains of others that let no box through, as last told.
    refusals_told: Vec<String>,
    own_name: UnitName,
    poll: Poll,
    sources: Sources,
    supervisor: Supervisor,
    inbox: VecDeque<Event>,
    runtimes: Runtimes,
    processes: Processes,
    probes: HashMap<RunId, RunningProbe>,
    signals: Signals,
    notify: NotifySocket,
    manager: manager::Manager,
    watch: Watch,
    control: Server,
    /// The clients' own epoll, so that they can be asked for between other events.
    control_poll: Poll,
    control_events: Events,
    calls: calls::Waiting,
    units: UnitsAtHand,
    users: Users,
    users_stamp: Option<(i64, i64, u64)>,
    /// What herd itself was started with beyond 0 to 2, for `inherit_fds`.
    inherited: BTreeMap<u32, Arc<OwnedFd>>,
    null: Arc<OwnedFd>,
    buffer: Box<[u8]>,
    /// Outputs that had more than one reading holds.
    unfinished: Vec<(ServiceId, Token)>,
    /// Outputs left unread because the log writer is behind, and since when.
    paused: Vec<(ServiceId, Token)>,
    paused_since: Option<Time>,
    reads_anyway: bool,
    rescan_at: Option<Time>,
    elsewhere: elsewhere::Elsewhere,
    sweep_at: Option<Time>,
    /// A child that nobody knows was left to a launch that goes on.
    has_left_child: bool,
    /// When to look again for a kill that the kernel announced, and how often still.
    memory_again: Vec<(Time, ServiceId, u32)>,
    terminations: u32,
    adopted: u64,
    notify_unread: bool,
    /// Clients that spoke up were more than one asking tells of; the loop's poll says each thing
    /// once.
    clients_unheard: bool,
    exit: Option<u8>,
    /// The one who started herd is to start it again.
    wants_restart: bool,
    bugs: breakdown::Bugs,
    #[cfg(debug_assertions)]
    breaks: u32,
    ending: power::Ending,
    console: Option<Console>,
    goals: goal::Goals,
    words: waits::Words,
    started_at: i64,
    began: Time,
    /// The soft limit that herd itself was started with, for its services.
    open_files: (u64, u64),
}

impl Daemon {
    /// Runs until everything has stopped.
    ///
    /// # Errors
    /// When the kernel's event queue itself fails.
    fn run_loop(&mut self) -> io::Result<u8> {
        let mut events = Events::with_capacity(BATCH);
        let mut tokens = Vec::with_capacity(BATCH);
        loop {
            if let Some(code) = self.exit {
                return Ok(match code {
                    0 if self.wants_restart => RESTART_CODE,
                    code => code,
                });
            }
            #[cfg(debug_assertions)]
            self.break_if_told();
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            tokens.clear();
            tokens.extend(events.iter().map(mio::event::Event::token));
            // What a service said last comes before its end.
            tokens.sort_by_key(|token| match self.sources.get(*token) {
                Some(Source::Control) => 0,
                Some(Source::Launches) => 1,
                Some(Source::Notify | Source::ReadyFd(_)) => 2,
                Some(Source::Status(_)) => 3,
                Some(Source::Output(_)) => 4,
                _ => 5,
            });
            for (count, token) in tokens.iter().enumerate() {
                if count % SERVE_CLIENTS_EVERY == SERVE_CLIENTS_EVERY - 1 {
                    self.guarded(Self::serve_clients);
                }
                let token = *token;
                self.guarded(|daemon| daemon.handle(token));
            }
            self.guarded(Self::after_events);
            if self.bugs.end_turn() {
                return Err(io::Error::other("every turn of the loop has a bug"));
            }
        }
    }

    /// A mistake of ours in one event must not take the others down: it is recorded, and the loop
    /// goes on with what it has.
    fn guarded(&mut self, act: impl FnOnce(&mut Self)) {
        let result = catch_unwind(AssertUnwindSafe(|| act(self)));
        if let Err(cause) = result {
            let text = panic_words(&*cause);
            self.bugs.note();
            self.note(&format!("bug in herd: {text}; going on"));
        }
    }

    fn handle(&mut self, token: Token) {
        let Some(source) = self.sources.get(token) else {
            return;
        };
        match source {
            Source::Control => self.serve_clients(),
            Source::Signals => self.hear_signals(),
            Source::Launches => self.hear_launches(),
            Source::Room => self.read_paused(false),
            Source::Networks => self.hear_releases(),
            Source::Firewall => self.hear_firewall(),
            Source::Links => self.hear_links(),
            Source::Notify => self.hear_notifications(),
            Source::Watch => self.notice_files(),
            Source::Tables => self.hear_tables(),
            Source::Process(run) => self.reap(run),
            Source::Status(run) => self.hear_launch(run),
            Source::Output(id) => self.read_output(id, token),
            Source::ReadyFd(id) => self.read_ready_fd(id),
            Source::Group(id) => self.recheck_empty(id),
            Source::Memory(id) => self.check_memory(id),
            Source::Probe(run) => self.continue_probe(run),
        }
        self.turn();
    }

    /// Feeds the supervisor until it has nothing more to say.
    fn turn(&mut self) {
        while let Some(event) = self.inbox.pop_front() {
            let actions = self.supervisor.handle(clock::now(), event);
            for action in actions {
                self.perform(action);
            }
        }
    }

    fn after_events(&mut self) {
        let now = clock::now();
        for (id, token) in std::mem::take(&mut self.unfinished) {
            self.read_output(id, token);
        }
        self.hear_unclaimed();
        if std::mem::take(&mut self.notify_unread) {
            self.hear_notifications();
        }
        self.hear_the_rest();
        // Those beyond the last helping; their sockets will not speak again.
        if self.clients_unheard || self.control.has_calls() {
            self.serve_clients();
        }
        if self.supervisor.deadline().is_some_and(|at| at <= now) {
            self.inbox.push_back(Event::Tick);
        }
        self.launches.go_on(now);
        if self.paused_since.is_some_and(|at| at + PATIENCE <= now) {
            self.read_paused(true);
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep_at = None;
            self.sweep();
        }
        for (at, id, left) in std::mem::take(&mut self.memory_again) {
            if at <= now {
                self.look_at_memory(id, left);
            } else {
                self.memory_again.push((at, id, left));
            }
        }
        if self.rescan_at.is_some_and(|at| at <= now) {
            self.rescan_at = None;
            self.rescan();
        }
        self.read_tables_when_due();
        self.go_on_ending();
        self.say_what_is_waited_for();
        self.turn();
        self.tell_ready();
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.unfinished.is_empty()
            || self.notify_unread
            || self.watches.is_unheard()
            || self.clients_unheard
            || self.control.has_calls()
        {
            return Some(Duration::ZERO);
        }
        let memory = self.memory_again.iter().map(|(at, ..)| *at).min();
        let times = [
            self.supervisor.deadline(),
            self.rescan_at,
            self.sweep_at,
            self.paused_since.map(|at| at + PATIENCE),
            self.elsewhere.deadline(),
            self.words_due(),
            self.ending.deadline(),
            self.launches.deadline(),
            memory,
        ];
        let next = times.into_iter().flatten().min()?;
        // Rounded up by the poll; a deadline is never met too early.
        Some(next.since(clock::now()))
    }

    fn hear_signals(&mut self) {
        loop {
            match self.signals.next() {
                Ok(Some(Word::Child)) => {
                    let many = self.processes.len() > MANY_CHILDREN;
                    let wait = if many { SWEEP_AFTER } else { Duration::ZERO };
                    self.sweep_at.get_or_insert(clock::now() + wait);
                }
                Ok(Some(Word::Terminate)) => self.terminate(),
                Ok(Some(Word::Quit)) => self.inbox.push_back(Event::ShutdownNow),
                Ok(Some(Word::Power(power, haste))) => self.switch_off(power, haste),
                Ok(Some(Word::CtrlAltDel)) => self.press_ctrl_alt_del(),
                Ok(Some(Word::PowerFailure)) => self.lose_power(),
                Ok(Some(Word::KeyboardRequest)) => {
                    self.start_hook("kbrequest");
                }
                Ok(Some(Word::Goal(goal))) => self.go_to(goal),
                Ok(Some(Word::Dump)) => self.dump_state(),
                Ok(Some(Word::Reload)) => {
                    self.tell_reloading();
                    self.look_at_table();
                    self.rescan_at = Some(clock::now());
                    self.hear_tables();
                }
                Ok(Some(Word::End { at_once, again })) => self.end(at_once, again),
                #[cfg(debug_assertions)]
                Ok(Some(Word::Mistake(fault))) => self.make_mistake(fault),
                Ok(None) => return,
                Err(error) => return self.note(&format!("cannot read signals: {error}")),
            }
        }
    }

    fn terminate(&mut self) {
        self.terminations += 1;
        if self.terminations == 1 {
            self.note("stopping everything in order; once more to kill");
            self.shutdown_event(false);
        } else {
            self.note("killing everything");
            self.shutdown_event(true);
        }
    }

    fn end(&mut self, at_once: bool, again: bool) {
        self.wants_restart = again;
        let how = if at_once { "killing" } else { "stopping" };
        let order = if at_once { "" } else { " in order" };
        self.note(&format!("{how} everything{order}"));
        self.shutdown_event(at_once);
    }

    fn notice_files(&mut self) {
        match self.watch.changed() {
            Ok(true) => {
                self.rescan_at.get_or_insert(clock::now() + RESCAN_AFTER);
            }
            Ok(false) => {}
            Err(error) => self.note(&format!("cannot read inotify events: {error}")),
        }
    }

    /// A line in herd's own log, and on the console of a machine that is on its way up or down.
    fn note(&self, text: &str) {
        let is_on_its_way = !self.goals.have_arrived() || self.ending.has_begun();
        if is_on_its_way && !self.options.mode.is_quiet() {
            self.tell_console(text);
        }
        self.sink.say(&self.own_name, clock::wall(), text);
    }

    /// A line in herd's own log that the console of a machine hears of at any time, even with `quiet`.
    fn alarm(&self, text: &str) {
        self.tell_console(text);
        self.sink.say(&self.own_name, clock::wall(), text);
    }

    /// A line on the console of a machine alone, for what stands in a log already.
    fn tell_console(&self, text: &str) {
        if let Some(console) = &self.console {
            console.say(&self.own_name, text);
        }
    }

    /// A line in the log of a service.
    fn say(&self, name: &UnitName, text: &str) {
        self.sink.say(name, clock::wall(), text);
    }

    fn name(&self, id: ServiceId) -> Option<UnitName> {
        self.supervisor
            .service(id)
            .map(|service| service.unit().name.clone())
    }

    fn runtime(&mut self, id: ServiceId) -> Option<&mut Runtime> {
        if !self.runtimes.contains_key(&id) {
            let name = self.name(id)?;
            self.runtimes.insert(id, Runtime::new(name));
        }
        self.runtimes.get_mut(&id)
    }

    fn tell(&mut self, id: ServiceId, input: crate::supervisor::Input) {
        self.inbox.push_back(Event::Service { id, input });
    }

    /// Goes on with the outputs that were left unread: the writer has room, or has stood still for so
    /// long that lines are dropped (and counted) rather than services held.
    fn read_paused(&mut self, anyway: bool) {
        self.paused_since = None;
        self.reads_anyway = anyway;
        for (id, token) in std::mem::take(&mut self.paused) {
            self.read_output(id, token);
        }
        self.reads_anyway = false;
    }

    fn read_output(&mut self, id: ServiceId, token: Token) {
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return;
        };
        let Some(index) = runtime.outputs.iter().position(|(_, have)| *have == token) else {
            return;
        };
        let Some((capture, _)) = runtime.outputs.get_mut(index) else {
            return;
        };
        if !self.reads_anyway && !self.sink.has_room(capture.unit()) {
            // The service waits for the log, as it would for a file; herd does not.
            self.paused_since.get_or_insert(clock::now());
            if !self.paused.contains(&(id, token)) {
                self.paused.push((id, token));
            }
            return;
        }
        match capture.drain(&mut self.buffer, clock::wall(), &self.sink) {
            Drained::Empty => {}
            Drained::More => self.unfinished.push((id, token)),
            Drained::Closed => {
                let (capture, token) = runtime.outputs.swap_remove(index);
                self.sources.remove(self.poll.registry(), &capture, token);
            }
        }
    }
}

/// The reason of a failure, shared by the log and the supervisor.
fn reason(error: &(dyn std::error::Error + 'static)) -> Arc<str> {
    crate::prepare::chain(error)
}

/// What a panic says, in one line.
fn panic_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a word").replace('\n', " ")
}
