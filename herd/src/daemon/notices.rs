//! What services say over the notify socket, handed to the one service that the sender belongs to.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::notify::{Datagram, Word};
use super::runtime::StoredFd;
use super::{Daemon, group};
use crate::supervisor::event::Notice;
use crate::supervisor::{Input, RunId, ServiceId, State};

/// Datagrams handled in one go, so that a chatterer cannot hold the loop.
const AT_ONCE: usize = 256;

impl Daemon {
    pub(super) fn hear_notifications(&mut self) {
        // Said before what is there now.
        self.hear_unclaimed();
        for _ in 0..AT_ONCE {
            match self.notify.receive() {
                Ok(Some(datagram)) => self.hear(datagram),
                Ok(None) => return,
                Err(error) => return self.note(&format!("cannot read notifications: {error}")),
            }
        }
        // The socket is edge-triggered: what is left has to be come back for.
        self.notify_unread = true;
    }

    fn hear(&mut self, datagram: Datagram) {
        match self.sender(datagram.pid) {
            Some(id) => self.hear_service(id, datagram),
            None => self.hear_stranger(datagram),
        }
    }

    fn hear_service(&mut self, id: ServiceId, datagram: Datagram) {
        self.turn();
        // Who speaks runs, whether its launch has told of that or not; what it says is about what follows on it.
        if let Some(run) = self.launching(id)
            && self.unclaimed.len() < AT_ONCE
        {
            return self.unclaimed.push((Some((id, run)), datagram));
        }
        let Datagram { words, fds, .. } = datagram;
        let speaks_notify = self.speaks_notify(id);
        let mut fds = Some(fds);
        for word in words {
            // What herd itself runs for a boot says what it waits for, and no more.
            let is_status = matches!(word, Word::Notice(Notice::Status(_)));
            let is_heard = speaks_notify || is_status && self.is_brought_along(id);
            if !is_heard {
                continue;
            }
            match word {
                Word::Notice(notice) => {
                    if notice == Notice::WatchdogPing
                        && let Some(runtime) = self.runtimes.get_mut(&id)
                    {
                        runtime.last_ping = Some(super::clock::wall().0);
                    }
                    self.tell(id, Input::Notified(notice));
                }
                Word::MainPid(pid) => {
                    if let Err(why) = self.adopt(id, pid)
                        && let Some(name) = self.name(id)
                    {
                        self.say(&name, &format!("MAINPID={pid} is ignored: {why}"));
                    }
                }
                Word::FdStore { name } => {
                    let name = name.unwrap_or_else(|| "stored".to_owned());
                    self.store(id, &name, fds.take().unwrap_or_default());
                }
                Word::FdStoreRemove { name } => {
                    if let Some(runtime) = self.runtimes.get_mut(&id) {
                        runtime.stored.retain(|stored| stored.name != name);
                    }
                }
                // The descriptor is closed with the datagram, after all that was said before.
                Word::Barrier | Word::Informal | Word::Unknown(_) => {}
            }
        }
        self.turn();
    }

    /// A process of which nothing is known: one that is being started may speak before we are told of it.
    fn hear_stranger(&mut self, datagram: Datagram) {
        if self.processes.any_is_expected() && self.unclaimed.len() < AT_ONCE {
            return self.unclaimed.push((None, datagram));
        }
        let pid = datagram.pid;
        self.note(&format!(
            "a notification of process {pid}, of no service of ours, is ignored"
        ));
    }

    /// The run of which the supervisor waits to hear that it runs.
    fn launching(&self, id: ServiceId) -> Option<RunId> {
        match self.supervisor.service(id)?.state() {
            State::Launching { run, .. } => Some(*run),
            _ => None,
        }
    }

    /// Once launches have told something: what was said by nobody, or too early, may have been said by their processes.
    pub(super) fn hear_unclaimed(&mut self) {
        if !std::mem::take(&mut self.launches_told) {
            return;
        }
        self.turn();
        for (of, datagram) in std::mem::take(&mut self.unclaimed) {
            match of {
                None => self.hear(datagram),
                Some((id, run)) if self.launching(id).is_none_or(|now| now == run) => {
                    self.hear_service(id, datagram);
                }
                // That run is over, and the next one has not spoken.
                Some(_) => {}
            }
        }
    }

    fn store(&mut self, id: ServiceId, name: &str, fds: Vec<OwnedFd>) {
        let most = self.supervisor.service(id).map_or(0, |service| {
            usize::from(service.unit().lifecycle.file_descriptor_store_max)
        });
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return;
        };
        let mut refused = 0;
        for fd in fds {
            if runtime.stored.len() < most {
                runtime.stored.push(StoredFd {
                    name: name.to_owned(),
                    fd: Arc::new(fd),
                });
            } else {
                refused += 1;
            }
        }
        if refused > 0 {
            let unit = runtime.name.clone();
            let text = format!(
                "{refused} descriptors named {name} are not kept: \
                 file_descriptor_store_max = {most} is reached"
            );
            self.say(&unit, &text);
        }
    }

    /// The service that a process belongs to.
    fn sender(&self, pid: i32) -> Option<ServiceId> {
        if let Some(run) = self.processes.run_of(pid) {
            return self.processes.get(run).map(|process| process.service);
        }
        if let Some((id, _)) = self.runtimes.iter().find(|(id, _)| {
            self.processes
                .of_service(**id)
                .any(|(_, p)| p.main_pid() == pid)
        }) {
            return Some(*id);
        }
        // Below a group that was delegated to it a service names groups as it likes.
        let cgroups = std::fs::read(format!("/proc/{pid}/cgroup")).ok()?;
        let cgroups = String::from_utf8_lossy(&cgroups);
        let base = self.surface.cgroup_base.as_deref();
        if let Some(base) = base {
            let marker = format!("/{base}/");
            let unit = cgroups.lines().find_map(|line| {
                let (_, below) = line.split_once(&marker)?;
                crate::prepare::unit_of_group(below)
            });
            if let Some(unit) = unit.and_then(|unit| units::UnitName::new(unit).ok()) {
                return self.supervisor.id(&unit);
            }
        }
        let without = self
            .runtimes
            .iter()
            .filter(|(_, r)| group::tracked(r).is_none());
        let mut found = without
            .filter(|(id, runtime)| group::members(**id, runtime, &self.processes).contains(&pid));
        found.next().map(|(id, _)| *id)
    }
}
