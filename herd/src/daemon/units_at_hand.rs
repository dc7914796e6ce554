//! The unit files as they were last read, and what is wrong with them.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use units::diagnostic::{Diagnostic, render_all};
use units::graph::Graph;
use units::load::{self, Loaded, SearchPath};
use units::value::specifier::Facts;
use units::{Unit, UnitName};

use super::{Daemon, Mode, clock};
use crate::control::protocol::{Refusal, RescanReply};
use crate::supervisor::Event;
use crate::supervisor::event::Definitions;

#[derive(Debug)]
pub(super) struct UnitsAtHand {
    pub facts: Facts,
    pub broken: BTreeMap<UnitName, Vec<Diagnostic>>,
    /// Of the last reading, for the difference to the next.
    digests: BTreeMap<UnitName, u64>,
    /// The last complaint made, so that each is made once.
    complaints: String,
}

impl UnitsAtHand {
    pub(super) fn new(facts: Facts) -> Self {
        Self {
            facts,
            broken: BTreeMap::new(),
            digests: BTreeMap::new(),
            complaints: String::new(),
        }
    }

    /// The diagnostics of one unit as text.
    pub(super) fn broken_text(&self, name: &UnitName) -> Option<String> {
        self.broken
            .get(name)
            .map(|diagnostics| render_all(diagnostics, false))
    }
}

/// Why a unit that somebody names cannot be taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAtHand {
    #[error("{0}: no such unit")]
    Missing(UnitName),
    /// It or one that it needs is in error or not there.
    #[error("{unit} cannot be used:\n{problem}")]
    Unusable { unit: UnitName, problem: String },
}

impl From<NotAtHand> for Refusal {
    fn from(why: NotAtHand) -> Self {
        match why {
            NotAtHand::Missing(unit) => Self::NoSuchUnit {
                unit: unit.to_string(),
            },
            NotAtHand::Unusable { .. } => Self::Refused {
                reason: why.to_string(),
            },
        }
    }
}

/// What the supervisor needs to know of a reading.
pub(super) fn definitions(loaded: &Loaded) -> Definitions {
    let graph = Graph::build(loaded.units.values().map(Arc::as_ref));
    let mut cycles = Vec::new();
    for cycle in graph.cycles() {
        let path: Arc<str> = cycle.to_string().into();
        for member in &cycle.0 {
            cycles.push((member.clone(), Arc::clone(&path)));
        }
    }
    Definitions {
        units: loaded.units.values().cloned().collect(),
        enabled: loaded.enabled.clone(),
        broken: loaded.broken.keys().cloned().collect(),
        cycles,
    }
}

impl Daemon {
    /// Somebody asks for it.
    pub(super) fn look_again(&mut self) -> RescanReply {
        let notes = self.look_at_table();
        let mut reply = self.rescan();
        // A new line may be mounted already.
        self.hear_tables();
        reply.diagnostics.extend(notes);
        reply
    }

    /// On a machine, the units of fstab made anew. Nobody changes a boot by merely writing to that file.
    pub(super) fn look_at_table(&self) -> Vec<String> {
        let notes = match &self.options.mode {
            Mode::Machine(machine) => crate::pid1::look_at_fstab(&machine.fstab),
            Mode::Foreground | Mode::System | Mode::User => Vec::new(),
        };
        for note in &notes {
            self.note(note);
        }
        notes
    }

    /// Reads the unit directories again and hands the result to the supervisor.
    pub(super) fn rescan(&mut self) -> RescanReply {
        let mut loaded = load::load(&self.options.search, &self.units.facts);
        self.cover_directories();
        let mut reply = RescanReply::default();
        let diagnostics = all_diagnostics(&loaded);
        let text = render_all(&diagnostics, false);
        for line in &diagnostics {
            reply.diagnostics.push(line.render(false));
        }
        if !text.is_empty() && text != self.units.complaints {
            for diagnostic in &diagnostics {
                for line in diagnostic.render(false).lines() {
                    if diagnostic.is_error() {
                        self.alarm(line);
                    } else {
                        self.note(line);
                    }
                }
            }
        }
        self.units.complaints = text;
        let is_first = self.units.digests.is_empty() && self.options.search.boot.is_some();
        if is_first {
            loaded = self.towards_a_goal(loaded);
        }
        if is_first
            && !loaded
                .units
                .keys()
                .any(|name| name.as_str() == super::report::LOCAL_FS)
        {
            self.begin_logs(false);
        }
        // A machine boots without a unit of its own too: nothing runs yet that could be lost.
        if !loaded.complete && !is_first && self.supervisor.services().next().is_some() {
            // The directory itself is gone or cannot be read: what runs is left alone.
            self.note("the unit directory cannot be read; everything stays as it is");
            return reply;
        }
        let digests: BTreeMap<UnitName, u64> = loaded
            .units
            .iter()
            .map(|(name, unit)| (name.clone(), unit.source.digest))
            .collect();
        for (name, digest) in &digests {
            match self.units.digests.get(name) {
                None => reply.added.push(name.to_string()),
                Some(old) if old != digest => reply.changed.push(name.to_string()),
                Some(_) => {}
            }
        }
        let gone = self
            .units
            .digests
            .keys()
            .filter(|name| !digests.contains_key(*name));
        reply.removed = gone.map(ToString::to_string).collect();
        self.units.digests = digests;
        for unit in loaded.units.values() {
            if unit.log.is_some() {
                self.sink.set_policy(&unit.name, unit.log.as_deref());
            }
        }
        self.leave_terminal_to(loaded.units.values().map(Arc::as_ref));
        let definitions = definitions(&loaded);
        self.units.broken = loaded.broken;
        self.inbox.push_back(Event::Defined(definitions));
        self.turn();
        reply
    }

    pub(super) fn cover_directories(&mut self) {
        self.watch.cover(self.options.search.directories());
    }

    /// Makes sure that a unit named by a client is known, reading it and all it needs if it is not
    /// in the enabled set.
    ///
    /// # Errors
    /// What is wrong with it, or that there is none.
    pub(super) fn bring_in(&mut self, name: &UnitName) -> Result<(), NotAtHand> {
        let asked = name;
        let unusable = |problem| NotAtHand::Unusable {
            unit: asked.clone(),
            problem,
        };
        let mut todo = vec![(name.clone(), true)];
        // All are read before any is taken in, so that one which cannot be had changes nothing.
        let mut found: Vec<Arc<Unit>> = Vec::new();
        // What is only wished for may be missing or broken, with a word in the log.
        while let Some((name, needed)) = todo.pop() {
            if self.supervisor.knows(&name) || found.iter().any(|unit| unit.name == name) {
                continue;
            }
            if let Some(problem) = self.units.broken_text(&name)
                && needed
            {
                return Err(unusable(problem));
            }
            if name.is_template() {
                return Err(unusable(format!(
                    "{name} is a template; name an instance of it, as {name}one"
                )));
            }
            let parsed = load::load_one(&self.options.search, &name, &self.units.facts);
            let Some(unit) = parsed.unit else {
                if parsed.is_missing && name == *asked {
                    return Err(NotAtHand::Missing(name));
                }
                let problem = render_all(&parsed.diagnostics, false);
                if needed {
                    return Err(unusable(problem));
                }
                problem.lines().for_each(|line| self.note(line));
                continue;
            };
            let ties = &unit.dependencies;
            let needs = [
                &ties.requires,
                &ties.binds_to,
                &ties.requisite,
                &ties.upholds,
            ];
            let wishes = [&ties.wants, &ties.on_failure, &ties.on_success];
            let named = |lists: &[&Vec<UnitName>], needed: bool| -> Vec<(UnitName, bool)> {
                let names = lists.iter().flat_map(|list| list.iter());
                names.map(|name| (name.clone(), needed)).collect()
            };
            todo.extend(named(&wishes, false));
            todo.extend(named(&needs, needed));
            found.push(Arc::new(unit));
        }
        for unit in found {
            if unit.log.is_some() {
                self.sink.set_policy(&unit.name, unit.log.as_deref());
            }
            self.load_unit(unit);
        }
        Ok(())
    }

    fn load_unit(&mut self, unit: Arc<Unit>) {
        let actions = self.supervisor.handle(clock::now(), Event::Loaded(unit));
        for action in actions {
            self.perform(action);
        }
    }

    /// The files of a unit, its own first.
    pub(super) fn files_of(&self, name: &UnitName) -> Vec<std::path::PathBuf> {
        let service = self
            .supervisor
            .id(name)
            .and_then(|id| self.supervisor.service(id));
        service.map_or_else(Vec::new, |service| {
            let source = &service.unit().source;
            std::iter::once(source.path.clone())
                .chain(source.drop_ins.iter().cloned())
                .collect()
        })
    }
}

pub(super) fn all_diagnostics(loaded: &Loaded) -> Vec<Diagnostic> {
    loaded
        .broken
        .values()
        .flatten()
        .chain(&loaded.diagnostics)
        .cloned()
        .collect()
}

/// Directories of a search path, for `Info`.
pub(super) fn directories(search: &SearchPath) -> Vec<String> {
    let directories = search.directories();
    directories.map(|path| path.display().to_string()).collect()
}
