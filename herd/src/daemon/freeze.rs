//! Services that stand still: `herd freeze` and `herd thaw`, `limits.freeze`, and what wakes one.
#![forbid(unsafe_code)]

use std::sync::Arc;

use sandbox::cgroup::{self, Standstill};
use units::UnitName;

use super::{Daemon, group, reason};
use crate::control::protocol::{Refusal, Reply};
use crate::supervisor::{Input, ServiceId};

impl Daemon {
    pub(super) fn freeze_call(
        &mut self,
        names: &[UnitName],
        freeze: bool,
    ) -> Result<Reply, Refusal> {
        let mut ids = Vec::new();
        for name in names {
            let id = self.known(name)?;
            let service = self.supervisor.service(id);
            if freeze && !service.is_some_and(|service| service.state().is_active()) {
                return Err(Refusal::Refused {
                    reason: format!("{name} is not active, so there is nothing to freeze"),
                });
            }
            ids.push((name, id));
        }
        for (name, id) in ids {
            let done = if freeze {
                self.freeze(id)
            } else {
                self.thaw(id)
            };
            done.map_err(|why| Refusal::Refused {
                reason: format!("{name}: {why}"),
            })?;
        }
        Ok(Reply::DONE)
    }

    /// Stops every process of the service where it is.
    pub(super) fn freeze(&mut self, id: ServiceId) -> Result<(), Arc<str>> {
        let runtime = self.runtime(id).ok_or("the unit is gone")?;
        let plan = group::tracked(runtime).ok_or(NO_GROUP)?;
        cgroup::freeze(plan).map_err(|error| reason(&error))?;
        if !std::mem::replace(&mut runtime.is_frozen, true) {
            let note = format!("{}: frozen", runtime.name);
            self.note(&note);
        }
        self.tell(id, Input::Frozen(true));
        Ok(())
    }

    /// Lets a frozen service go on; nothing for one that is not frozen.
    pub(super) fn thaw(&mut self, id: ServiceId) -> Result<(), Arc<str>> {
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return Ok(());
        };
        if let Some(plan) = group::tracked(runtime) {
            cgroup::thaw(plan).map_err(|error| reason(&error))?;
        }
        if std::mem::take(&mut runtime.is_frozen) {
            let note = format!("{}: thawed", runtime.name);
            self.note(&note);
            self.tell(id, Input::Frozen(false));
        }
        Ok(())
    }

    /// What herd itself asks of a frozen service wakes it: nobody in it would hear.
    pub(super) fn wake(&mut self, id: ServiceId) {
        let is_frozen = |runtime: &super::runtime::Runtime| runtime.is_frozen;
        if self.runtimes.get(&id).is_some_and(is_frozen)
            && let Err(why) = self.thaw(id)
            && let Some(name) = self.name(id)
        {
            self.note(&format!("{name}: {why}"));
        }
    }

    /// A process that is born into a frozen group stands still before it is one, and herd would wait
    /// for it. What herd froze it thaws; a group that somebody else froze is left to them.
    pub(super) fn wake_for_launch(&mut self, id: ServiceId) -> Result<(), Arc<str>> {
        self.wake(id);
        let Some(plan) = self.runtimes.get(&id).and_then(group::tracked) else {
            return Ok(());
        };
        match cgroup::standstill(plan).map_err(|error| reason(&error))? {
            Standstill::None => Ok(()),
            Standstill::Begun | Standstill::Complete => {
                Err("its cgroup is frozen, and not by herd: nothing can be started in it".into())
            }
        }
    }

    /// For status: asked of the kernel where herd did freeze.
    pub(super) fn standstill(&self, id: ServiceId) -> Standstill {
        let runtime = self.runtimes.get(&id).filter(|runtime| runtime.is_frozen);
        let plan = runtime.and_then(group::tracked);
        plan.and_then(|plan| cgroup::standstill(plan).ok())
            .unwrap_or(Standstill::None)
    }
}

pub(super) const NO_GROUP: &str = "only a cgroup can be frozen, and none is ours to use here";
