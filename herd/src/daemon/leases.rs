//! Networks of boxes: taken by launches, and given back by a thread of their own. A service whose last
//! process has ended is told to be empty once its network has been given back, so that its next run
//! finds its ports and addresses free.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use units::{Unit, UnitName};

use super::releaser::Done;
use super::runtime::{Runtime, Stage, Task};
use super::{Daemon, group, reason};
use crate::network::{Joined, NetworkOccasion};
use crate::supervisor::action::Role;
use crate::supervisor::{Input, RunId, ServiceId};

/// A network that a run has, or may have: a launch that failed can have left it.
#[derive(Debug)]
pub(super) struct Lease {
    pub id: String,
    pub run: RunId,
    /// The service's own, kept until the service has no process left.
    pub is_main: bool,
}

/// The network that the main process of a unit has.
#[derive(Debug)]
struct MainNetwork {
    namespace: OwnedFd,
    /// The user namespace that it belongs to, where that has to be joined first.
    user: Option<OwnedFd>,
    /// The lease whose names belong to it.
    names: Option<String>,
}

/// Of a launch in this network, with what is held for it.
fn joined(mut occasion: NetworkOccasion, main: MainNetwork) -> (NetworkOccasion, Vec<OwnedFd>) {
    occasion.joined = Some(Joined {
        names: main.names,
        with_user: main.user.is_some(),
    });
    let held = [Some(main.namespace), main.user];
    (occasion, held.into_iter().flatten().collect())
}

impl Daemon {
    /// Which network a launch has, and the descriptor that it joins.
    pub(super) fn network_occasion(
        &self,
        id: ServiceId,
        unit: &Unit,
        task: Task,
    ) -> Result<(NetworkOccasion, Vec<OwnedFd>), Arc<str>> {
        let mut occasion = NetworkOccasion::default();
        let command = match task {
            Task::Role(role) => crate::prepare::command_of(unit, role).ok(),
            Task::Probe(_) | Task::Adopted => None,
        };
        let is_unboxed = command.is_some_and(|command| command.unboxed);
        let Some(walls) = unit.walls.as_ref().filter(|_| !is_unboxed) else {
            return Ok((occasion, Vec::new()));
        };
        let entry = unit.entry.as_deref();
        if let Some(other) = entry.and_then(|entry| entry.network_of.as_ref()) {
            return Ok(joined(occasion, self.network_of(other)?));
        }
        if walls.network.as_private().is_none() {
            return Ok((occasion, Vec::new()));
        }
        if task != Task::Role(Role::Main) {
            // What runs beside the main process is where it is.
            if let Ok(own) = self.network_of(&unit.name) {
                return Ok(joined(occasion, own));
            }
            occasion.is_aside = true;
        }
        let search = &self.options.search;
        occasion.definitions = crate::network::definitions(unit, search, &self.units.facts)?;
        occasion.lease = match self.runtimes.get(&id) {
            Some(runtime) if !occasion.is_aside => short(&runtime.invocation),
            _ => short(&super::spawn::new_invocation(None)),
        };
        Ok((occasion, Vec::new()))
    }

    /// The id of the lease that a service's main process has, while it has one.
    pub(super) fn lease_of_main(&self, id: ServiceId) -> Option<String> {
        let mut leases = self.runtimes.get(&id)?.leases.iter();
        let main = leases.rfind(|lease| lease.is_main)?;
        Some(main.id.clone())
    }

    /// Where the connections of a unit's probes begin: in the network that its main process has, or has joined, where
    /// that is not herd's own.
    pub(super) fn probe_network(&self, unit: &Unit) -> Result<Option<OwnedFd>, Arc<str>> {
        if !unit.has_network_namespace() {
            return Ok(None);
        }
        let main = self.main_network(&unit.name)?;
        if is_own(&main.namespace) {
            return Ok(None);
        }
        match main.user {
            None => Ok(Some(main.namespace)),
            Some(_) => Err("a probe inside of a network that is not root's is a command".into()),
        }
    }

    /// As [`Self::main_network`], which is not to be herd's own.
    fn network_of(&self, name: &UnitName) -> Result<MainNetwork, Arc<str>> {
        let found = self.main_network(name)?;
        match is_own(&found.namespace) {
            true => Err(format!("{name} has no network of its own to join").into()),
            false => Ok(found),
        }
    }

    /// The network namespace of a unit's main process, and the lease whose names belong to it.
    fn main_network(&self, name: &UnitName) -> Result<MainNetwork, Arc<str>> {
        let none = || format!("{name} has no process whose network could be joined");
        let runtime = self
            .supervisor
            .id(name)
            .and_then(|id| self.runtimes.get(&id));
        let main = runtime.and_then(|runtime| self.processes.get(runtime.main?));
        let process = main
            .filter(|main| main.stage == Stage::Executed)
            .ok_or_else(none)?;
        // The box's first process is nobody's to look at but root's.
        let inner = process.inner.as_ref().filter(|_| !self.host.is_root);
        let inner = inner.and_then(|inner| Some((inner.pid, inner.pidfd.as_ref()?)));
        let (pid, pidfd) = match inner {
            Some((pid, pidfd)) if pid > 0 => (pid, pidfd),
            Some(_) | None => (process.pid, &process.pidfd),
        };
        let open = |kind: &str| {
            let path = format!("/proc/{pid}/ns/{kind}");
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::open(&path, flags, Mode::empty())
                .map_err(|error| format!("cannot open the network of {name}: {error}"))
        };
        let namespace = open("net")?;
        // Who is not root gets the right to a network where it belongs.
        let user = (!self.host.is_root).then(|| open("user")).transpose()?;
        // Its number could have become another's before it was opened, not after.
        let mut end = [PollFd::new(pidfd, PollFlags::IN)];
        let at_once = rustix::event::Timespec::default();
        if rustix::event::poll(&mut end, Some(&at_once)).map_err(|errno| reason(&errno))? > 0 {
            return Err(none().into());
        }
        Ok(MainNetwork {
            namespace,
            user,
            names: runtime.and_then(|runtime| runtime.names_of_network.clone()),
        })
    }

    /// A launch of this run is about to take a network, or to join one.
    pub(super) fn takes_network(
        &mut self,
        id: ServiceId,
        run: RunId,
        task: Task,
        config: &sandbox::Config,
    ) {
        let (Some(walls), Some(runtime)) = (&config.walls, self.runtimes.get_mut(&id)) else {
            return;
        };
        let is_main = task == Task::Role(Role::Main);
        let own = walls.network.as_private();
        // A user's box has no rules of ours, and a user may not listen.
        let watches = own.is_some() && self.host.is_root;
        if is_main {
            let id = own.map(|private| private.id.clone());
            runtime.names_of_network = id.or_else(|| walls.network_names.clone());
        }
        runtime.leases.extend(own.map(|private| Lease {
            id: private.id.clone(),
            run,
            is_main,
        }));
        if watches {
            self.watch_networks();
        }
        let ports = own.map_or(&[][..], |own| &own.ports).iter();
        let nowhere = ports.filter(|port| sandbox::network::is_nowhere(port));
        if let Some(name) = self.name(id) {
            for port in nowhere {
                self.say(
                    &name,
                    &format!("port {port}: the host has no such address, and nobody reaches the port before it does"),
                );
            }
        }
        let asks_host = own.is_some_and(|own| own.names && own.dns.is_none());
        if is_main
            && asks_host
            && sandbox::network::name_servers().is_empty()
            && let Some(name) = self.name(id)
        {
            self.say(
                &name,
                "no name server for the box: /etc/resolv.conf names none but on the host's loopback, which is not the box's; \
                 set `dns` in [network]",
            );
        }
    }

    /// A run has ended, or its launch has failed: what it had beside the service's own network goes.
    pub(super) fn network_of_run_ends(&mut self, id: ServiceId, run: RunId) {
        self.give_back(id, |lease| lease.run == run && !lease.is_main);
    }

    fn give_back(&mut self, id: ServiceId, is_over: impl Fn(&Lease) -> bool) {
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return;
        };
        let over = runtime.leases.extract_if(.., |lease| is_over(lease));
        let ids: Vec<String> = over.map(|lease| lease.id).collect();
        if !ids.is_empty() {
            runtime.releasing.extend(ids.iter().cloned());
            self.releaser.give_back(ids);
        }
    }

    /// The service has no process any more. Its networks go first, then the supervisor hears of it.
    pub(super) fn emptied(&mut self, id: ServiceId) {
        self.give_back(id, |_| true);
        match self.runtimes.get_mut(&id) {
            Some(runtime) if !runtime.releasing.is_empty() => runtime.awaits_release = true,
            _ => self.tell(id, Input::Emptied),
        }
    }

    pub(super) fn is_releasing(&self, id: ServiceId) -> bool {
        let runtime = self.runtimes.get(&id);
        runtime.is_some_and(Runtime::has_network)
    }

    /// A service at rest that nobody waited for. What is still ending, or what `kill_mode` left alive, keeps the
    /// network until the group is empty.
    pub(super) fn give_back_at_rest(&mut self, id: ServiceId) {
        let runtime = self.runtimes.get(&id);
        let has_any = runtime.is_some_and(|runtime| !runtime.leases.is_empty());
        if !has_any || self.processes.has_any(id) {
            return;
        }
        if self.has_strangers(id) {
            self.watch_group(id);
            // It may have emptied before the watch stood.
            if self.has_strangers(id) {
                return;
            }
        }
        if self
            .runtimes
            .get(&id)
            .is_some_and(|have| !have.awaits_empty)
        {
            self.forget_group_watch(id);
        }
        self.give_back(id, |_| true);
    }

    fn has_strangers(&self, id: ServiceId) -> bool {
        let runtime = self.runtimes.get(&id);
        runtime.is_some_and(|runtime| group::is_populated(id, runtime, &self.processes))
    }

    /// Networks were given back.
    pub(super) fn hear_releases(&mut self) {
        for mut done in self.releaser.take_done() {
            self.tell_trouble(&done);
            if let Some(refusals) = done.refusals.take() {
                self.tell_refusals(refusals);
            }
            let mut emptied = Vec::new();
            for (id, runtime) in self.runtimes.iter_mut() {
                if runtime.releasing.is_empty() {
                    continue;
                }
                runtime.releasing.retain(|lease| !done.ids.contains(lease));
                if runtime.releasing.is_empty() && std::mem::take(&mut runtime.awaits_release) {
                    emptied.push(*id);
                }
            }
            for id in emptied {
                self.tell(id, Input::Emptied);
            }
        }
        if !self.runtimes.values().any(Runtime::has_network) {
            self.leave_networks();
        }
    }

    fn tell_trouble(&self, done: &Done) {
        for line in &done.put_right {
            self.note(line);
        }
        for lost in &done.cut_off {
            // Those of other herds are told by them.
            if let Some(runtime) = self.runtime_of_living(&lost.id) {
                let network = &lost.network;
                self.say(
                    &runtime.name,
                    &format!(
                        "its interface on network {network} has been taken away: it reaches nobody there, nor is it reached, before \
                         it is started again"
                    ),
                );
            }
        }
        if let Some(trouble) = &done.trouble {
            self.note(&format!("a network is not given back: {trouble}"));
        }
    }

    /// Whose box has this lease, unless that is about to end: its interfaces go before its end is heard of.
    fn runtime_of_living(&self, lease_id: &str) -> Option<&Runtime> {
        self.runtimes.values().find(|have| {
            have.leases.iter().any(|lease| {
                let process = self.processes.get(lease.run);
                lease.id == lease_id && process.is_some_and(|process| !is_ending(process.pid))
            })
        })
    }

    /// Before herd ends.
    pub(super) fn give_back_all(&mut self) {
        let services: Vec<ServiceId> = self.runtimes.keys().copied().collect();
        for id in services {
            self.give_back_at_rest(id);
        }
        for done in self.releaser.close() {
            self.tell_trouble(&done);
        }
    }
}

/// Enough to tell every two runs apart, and short enough for the name of an interface.
fn short(invocation: &str) -> String {
    invocation.chars().take(8).collect()
}

/// Claims that a process is on its way out, or gone: `PF_EXITING` in the flags of `proc_pid_stat(5)`.
fn is_ending(pid: i32) -> bool {
    const EXITING: u32 = 4;
    let stat = super::process_table::stat(pid).unwrap_or_default();
    // State, four numbers, the terminal's group, flags.
    let flags = stat.split_ascii_whitespace().nth(6);
    flags.is_none_or(|flags| flags.parse().is_ok_and(|flags: u32| flags & EXITING != 0))
}

/// Claims that a namespace is herd's own.
fn is_own(namespace: &impl AsFd) -> bool {
    let own = rustix::fs::stat("/proc/self/ns/net");
    match (rustix::fs::fstat(namespace), own) {
        (Ok(one), Ok(own)) => (one.st_dev, one.st_ino) == (own.st_dev, own.st_ino),
        _ => false,
    }
}
