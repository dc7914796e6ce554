//! Users and ranges that a service has while it runs, and what its user leaves behind.
#![forbid(unsafe_code)]

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use units::Unit;
use units::unit::PrivateUsers;

use super::runtime::{Runtime, Runtimes};
use super::{Daemon, reason};
use crate::allot;
use crate::prepare;
use crate::supervisor::ServiceId;

impl Daemon {
    /// Allots what the unit asks for and has not got yet. A restart keeps it.
    pub(super) fn allot(&mut self, id: ServiceId, unit: &Unit) -> Result<(), Arc<str>> {
        if !self.surface.is_root {
            // Refused by name when the command is prepared.
            return Ok(());
        }
        let name = unit.name.to_string();
        let runtime_dir = self.options.runtime_dir.clone();
        let has =
            |runtimes: &Runtimes, get: fn(&Runtime) -> bool| runtimes.get(&id).is_some_and(get);
        let dynamic = unit
            .surroundings
            .as_ref()
            .is_some_and(|around| around.dynamic_user);
        if dynamic && !has(&self.runtimes, |runtime| runtime.dynamic_user.is_some()) {
            let owned = self.lasting_directories(unit);
            let strangers = self.directories_of_others(id);
            let others = |uid: u32| {
                strangers
                    .iter()
                    .any(|path| std::fs::symlink_metadata(path).is_ok_and(|of| of.uid() == uid))
            };
            let allotted = allot::user(&runtime_dir, &name, &self.users, &owned, others)
                .map_err(|error| reason(&error))?;
            if let Some(runtime) = self.runtime(id) {
                runtime.dynamic_user = Some(allotted);
            }
        }
        let picks = unit.walls.is_some()
            && unit
                .entry
                .as_ref()
                .is_some_and(|entry| entry.private_users == PrivateUsers::Pick);
        if picks && !has(&self.runtimes, |runtime| runtime.range.is_some()) {
            let allotted = allot::range(&runtime_dir, &name).map_err(|error| reason(&error))?;
            if let Some(runtime) = self.runtime(id) {
                runtime.range = Some(allotted);
            }
        }
        Ok(())
    }

    fn lasting_directories(&self, unit: &Unit) -> Vec<PathBuf> {
        let directories = unit
            .surroundings
            .iter()
            .flat_map(|around| &around.directories);
        directories
            .map(|directory| prepare::directory_path(directory, &self.surface))
            .collect()
    }

    /// What a user made for another unit's run may have left its number on.
    fn directories_of_others(&self, id: ServiceId) -> Vec<PathBuf> {
        let own = self.unit_name(id);
        let units = self.supervisor.services().map(|service| service.unit());
        units
            .filter(|unit| Some(&unit.name) != own.as_ref())
            .filter(|unit| {
                unit.surroundings
                    .as_ref()
                    .is_some_and(|around| around.dynamic_user)
            })
            .flat_map(|unit| self.lasting_directories(unit))
            .collect()
    }

    fn unit_name(&self, id: ServiceId) -> Option<units::UnitName> {
        self.supervisor
            .service(id)
            .map(|service| service.unit().name.clone())
    }

    /// At rest: objects of its user go when nobody else runs as that one, and then its numbers.
    pub(super) fn release_identity(&mut self, id: ServiceId) {
        let wants_removal = self.supervisor.service(id).is_some_and(|service| {
            let entry = service.unit().entry.as_ref();
            entry.is_some_and(|entry| entry.remove_ipc)
        });
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return;
        };
        let uid = runtime.uid.take();
        let (name, allotted) = (runtime.name.clone(), runtime.dynamic_user.take());
        runtime.range = None;
        let shared = |uid| self.runtimes.values().any(|other| other.uid == Some(uid));
        // Root's belong to the machine.
        let leaver = uid.filter(|uid| wants_removal && *uid != 0 && !shared(*uid));
        if let Some(uid) = leaver
            && let Err(error) = sandbox::ipc::remove_of(uid)
        {
            self.note(&format!("{name}: {}", reason(&error)));
        }
        drop(allotted);
    }
}
