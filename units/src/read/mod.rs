//! From the text of a unit's files to a [`Unit`]: every key read, every problem told.
#![forbid(unsafe_code)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a TOML value of any type but the expected ones is told as a wrong type"
)]

mod actions;
mod commands;
mod conditions;
mod dependencies;
mod entry;
mod identity;
mod landlock;
mod lifecycle;
mod limits;
mod log;
mod mounts;
mod network;
mod privileges;
mod probe;
mod surroundings;
mod system_calls;
mod walls;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use network::{Mode as NetworkMode, NetworkKeys};
use sandbox::config::{DevicePolicy, DeviceRule, IdMaps, IdRange, UserNamespace, Walls};

use crate::check::check;
use crate::diagnostic::{Diagnostic, SourceText};
use crate::document::Document;
use crate::keys::{Group, Key};
use crate::name::UnitName;
use crate::reader::{Item, Reader};
use crate::unit::{
    Commands, Dependencies, EmergencyAction, Entry, Kind, Lifecycle, OnChange, OnUnhealthy,
    OomPolicy, Probe, Ready, Source, Unit,
};
use crate::value::specifier::{Facts, Specifiers};

/// What became of a unit's files. `unit` is there when no diagnostic is an error.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    pub unit: Option<Unit>,
    pub diagnostics: Vec<Diagnostic>,
    /// No directory has such a unit. One that this boot leaves out (`herd.mask=`) is not missing.
    pub is_missing: bool,
}

/// Reads a unit: `files` is its own file and then its drop-ins, in the order they apply.
pub fn parse_unit(name: &UnitName, files: &[SourceText], facts: &Facts) -> Parsed {
    let path = files.first().map(|file| &*file.path);
    let path_text = path.map(|path| path.to_string_lossy());
    let mut reader = Reader {
        files,
        specifiers: Specifiers {
            name,
            file: path_text.as_deref().unwrap_or_default(),
            facts,
        },
        diagnostics: Vec::new(),
    };
    let document = Document::read(files, &mut reader.diagnostics);
    let mut draft = Draft::new(name.clone(), files);
    for entry in &document.entries {
        draft.read(&mut reader, entry.key(), Item::of(entry));
    }
    draft.assemble(&document);
    check(&draft, &document, &mut reader);
    let mut diagnostics = reader.diagnostics;
    diagnostics.sort_by_key(|d| {
        let file = files.iter().position(|file| *file == d.source);
        (file, d.span.as_ref().map_or(0, |span| span.start))
    });
    let unit = (!diagnostics.iter().any(Diagnostic::is_error)).then_some(draft.unit);
    Parsed {
        unit,
        diagnostics,
        is_missing: false,
    }
}

/// A unit in the making, with the values that only make sense together.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) unit: Unit,
    pub(crate) boxed: bool,
    pub(crate) args: Vec<String>,
    pub(crate) start_limit_burst: Option<u32>,
    pub(crate) start_limit_interval: Duration,
    pub(crate) start_limit_action: EmergencyAction,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) ready_probe: ProbeParts,
    pub(crate) health_probe: ProbeParts,
    pub(crate) health_retries: u32,
    pub(crate) health_start_period: Duration,
    pub(crate) on_unhealthy: OnUnhealthy,
    pub(crate) uid_map: Vec<IdRange>,
    pub(crate) gid_map: Vec<IdRange>,
    pub(crate) devices: DeviceKeys,
    pub(crate) network: NetworkKeys,
    /// Where box keys go; becomes the unit's own when it is boxed.
    pub(crate) walls: Option<Box<Walls>>,
}

/// `device_policy`, and the rules of `limits.devices` or `device_allow`.
#[derive(Debug, Default)]
pub(crate) struct DeviceKeys {
    /// `None` is `"auto"`: all devices, or with rules those of `Closed`.
    pub(crate) policy: Option<DevicePolicy>,
    pub(crate) allow: Option<Vec<DeviceRule>>,
}

/// The keys of `[ready]` or `[health]`.
#[derive(Debug, Default)]
pub(crate) struct ProbeParts {
    pub(crate) probes: Vec<Probe>,
    pub(crate) interval: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
}

impl Draft {
    fn new(name: UnitName, files: &[SourceText]) -> Self {
        let mut hasher = DefaultHasher::new();
        for file in files {
            file.text.hash(&mut hasher);
        }
        let mut paths = files.iter().map(|file| file.path.to_path_buf());
        let unit = Unit {
            name,
            kind: Kind::Service,
            description: None,
            commands: Commands::default(),
            dependencies: Dependencies::shared_default(),
            lifecycle: Lifecycle::shared_default(),
            ready: Ready::Exec,
            surroundings: None,
            walls: None,
            entry: None,
            limits: None,
            oom_policy: OomPolicy::default(),
            placement: None,
            health: None,
            log: None,
            condition: None,
            assert: None,
            install: None,
            on_change: OnChange::default(),
            source: Source {
                path: paths.next().unwrap_or_default(),
                drop_ins: paths.collect(),
                digest: hasher.finish(),
            },
        };
        Self {
            unit,
            boxed: false,
            args: Vec::new(),
            start_limit_burst: None,
            start_limit_interval: Duration::from_secs(10),
            start_limit_action: EmergencyAction::None,
            pid_file: None,
            ready_probe: ProbeParts::default(),
            health_probe: ProbeParts::default(),
            health_retries: 3,
            health_start_period: Duration::ZERO,
            on_unhealthy: OnUnhealthy::default(),
            uid_map: Vec::new(),
            gid_map: Vec::new(),
            devices: DeviceKeys::default(),
            network: NetworkKeys::default(),
            walls: None,
        }
    }

    /// Takes one key in. Says whether the key's group knows it, which a test claims of all keys.
    fn read(&mut self, reader: &mut Reader<'_>, key: &'static Key, item: Item<'_>) -> bool {
        let (path, name) = (key.path, key.name());
        match key.group {
            Group::Identity => dependencies::read_identity(self, reader, name, item),
            Group::Dependencies => dependencies::read(self, reader, name, item),
            Group::Commands => commands::read(self, reader, name, item),
            Group::Surroundings => surroundings::read(self, reader, name, item),
            Group::Directories => surroundings::read_directories(self, reader, name, item),
            Group::Scheduling => surroundings::read_scheduling(self, reader, name, item),
            Group::Conditions => conditions::read(self, reader, key.table(), name, item),
            Group::Lifecycle => lifecycle::read(self, reader, name, item),
            Group::Ready => probe::read_ready(self, reader, name, item),
            Group::Health => probe::read_health(self, reader, name, item),
            Group::Limits => limits::read(self, reader, name, item),
            Group::Log => log::read(self, reader, name, item),
            Group::Box => walls::read(self, reader, path, item),
            Group::Network => network::read(self, reader, name, item),
            Group::Triggers => false,
        }
    }

    /// Fills in the defaults that depend on other keys.
    fn assemble(&mut self, document: &Document<'_>) {
        let given = |path: &str| document.find(path).is_some();
        commands::assemble(self);
        lifecycle::assemble(self, &given);
        probe::assemble(self);
        if let Some(surroundings) = &mut self.unit.surroundings {
            surroundings::assemble(surroundings, given("stderr"));
        }
        limits::assemble(self);
        network::assemble(self);
        if let Some(walls) = &mut self.walls {
            walls::assemble(walls, &given);
            if !self.uid_map.is_empty() || !self.gid_map.is_empty() {
                let maps = IdMaps::Ranges {
                    uids: std::mem::take(&mut self.uid_map),
                    gids: std::mem::take(&mut self.gid_map),
                };
                walls.user_namespace = Some(UserNamespace {
                    maps,
                    ..UserNamespace::default()
                });
            }
        }
        if self.boxed {
            self.unit.walls = self.walls.take();
        }
    }

    pub(crate) fn lifecycle(&mut self) -> &mut Lifecycle {
        Arc::make_mut(&mut self.unit.lifecycle)
    }

    pub(crate) fn dependencies(&mut self) -> &mut Dependencies {
        Arc::make_mut(&mut self.unit.dependencies)
    }

    pub(crate) fn entry(&mut self) -> &mut Entry {
        self.unit.entry.get_or_insert_default()
    }

    /// The walls that box keys change: the default box until a profile says otherwise.
    pub(crate) fn walls(&mut self) -> &mut Walls {
        self.walls
            .get_or_insert_with(|| Box::new(Walls::default_box()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{KEYS, Status};

    /// A value of the wrong kind still has to reach the code that reads the key.
    #[test]
    fn every_supported_key_is_read_and_no_other() {
        let name = UnitName::new("web").unwrap();
        let facts = Facts::of_the_system();
        let files = [SourceText::new("web.toml", "")];
        let value = toml::Spanned::new(0..0, toml::de::DeValue::Boolean(true));
        for key in &KEYS {
            let mut reader = Reader {
                files: &files,
                specifiers: Specifiers {
                    name: &name,
                    file: "web.toml",
                    facts: &facts,
                },
                diagnostics: Vec::new(),
            };
            let mut draft = Draft::new(name.clone(), &files);
            let item = Item {
                file: 0,
                value: &value,
            };
            let supported = key.status == Status::Supported;
            assert_eq!(
                draft.read(&mut reader, key, item),
                supported,
                "{}",
                key.path
            );
        }
    }
}
