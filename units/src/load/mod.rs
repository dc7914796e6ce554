//! Finding and reading unit files: the one place of the crate that does I/O.
//!
//! The units of the enabled directory are the roots, and on a machine that boots its goal. Every unit
//! they name is looked for in `enabled`, `available`, `vendor` and `boot`, in this order, and so on
//! from there. Drop-ins of all apply, by file name. A broken file is reported and hides no other.
#![forbid(unsafe_code)]

mod claims;
mod file;
mod host;
mod networks;
mod obstacle;
mod order;
mod resolve;
mod search_path;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity, SourceText};
use crate::name::UnitName;
use crate::read::{Parsed, parse_unit};
use crate::unit::Unit;
use crate::value::specifier::Facts;

pub use file::FileError;
pub use host::host_facts;
pub use networks::{network_definition, network_names};
pub use obstacle::Obstacle;
pub use order::{mount_unit, path_of_unit, path_unit};
pub use search_path::{Boot, SearchPath};

use file::{Trust, list, read_source};

/// All that was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Loaded {
    /// Every sound unit, wanted or only named by others.
    pub units: BTreeMap<UnitName, Arc<Unit>>,
    /// The names in the enabled directory, broken ones too.
    pub enabled: BTreeSet<UnitName>,
    /// Names whose files are in error, with every problem of theirs.
    pub broken: BTreeMap<UnitName, Vec<Diagnostic>>,
    /// Other names of units.
    pub aliases: BTreeMap<UnitName, UnitName>,
    /// Warnings, and what belongs to no unit.
    pub diagnostics: Vec<Diagnostic>,
    /// The enabled directory could be read. When not, nothing that runs should be touched.
    pub complete: bool,
}

/// Loads the enabled units and all they name.
pub fn load(search: &SearchPath, facts: &Facts) -> Loaded {
    let mut loader = Loader::new(search, facts);
    let mut waiting = loader.roots();
    waiting.reverse();
    while let Some(name) = waiting.pop() {
        if !loader.seen.insert(name.clone()) {
            continue;
        }
        if let Some(parsed) = loader.read(&name) {
            let named = loader.take(name, parsed);
            waiting.extend(named.into_iter().rev());
        }
    }
    loader.resolve_aliases();
    loader.refuse_missing();
    loader.refuse_joins_of_the_host();
    loader.warn_of_claims();
    loader.install();
    loader.want_also();
    loader.order_boot();
    loader.loaded
}

/// Loads one unit by name, without what it names. The diagnostics say so when there is none, or none for this boot.
pub fn load_one(search: &SearchPath, name: &UnitName, facts: &Facts) -> Parsed {
    let mut loader = Loader::new(search, facts);
    if let Some(mut parsed) = loader.read(name) {
        if let Some(unit) = &mut parsed.unit {
            loader.tie(unit);
        }
        return parsed;
    }
    let known: Vec<String> = search
        .directories()
        .filter_map(|directory| list(directory, loader.trust).ok().flatten())
        .flatten()
        .map(|file| file.trim_end_matches(".toml").to_owned())
        .collect();
    let place = search.directories().next().unwrap_or(Path::new("."));
    let path = place.join(format!("{name}.toml"));
    if search.is_masked(name) {
        return Parsed {
            unit: None,
            diagnostics: vec![Diagnostic::of_file(&path, masked(name))],
            is_missing: false,
        };
    }
    let mut missing = Diagnostic::of_file(&path, format!("there is no unit {name}"));
    if let Some(near) = crate::keys::nearest(name.as_str(), known.iter().map(String::as_str)) {
        missing = missing.with_hint(format!("did you mean {near}?"));
    }
    Parsed {
        unit: None,
        diagnostics: vec![missing],
        is_missing: true,
    }
}

fn masked(name: &UnitName) -> String {
    format!("{name} is masked for this boot")
}

/// The names of the units in all directories, broken ones too, templates not.
pub fn names(search: &SearchPath, facts: &Facts) -> BTreeSet<UnitName> {
    let mut names = files(search, facts);
    names.retain(|name| !name.is_template());
    names
}

/// The names of the templates in all directories, broken ones too.
pub fn templates(search: &SearchPath, facts: &Facts) -> BTreeSet<UnitName> {
    let mut names = files(search, facts);
    names.retain(UnitName::is_template);
    names
}

fn files(search: &SearchPath, facts: &Facts) -> BTreeSet<UnitName> {
    let trust = search.trust(facts);
    let lists = search
        .directories()
        .filter_map(|directory| list(directory, trust).ok().flatten());
    lists
        .flatten()
        .filter_map(|file| UnitName::new(file.strip_suffix(".toml")?).ok())
        .collect()
}

struct Loader<'a> {
    search: &'a SearchPath,
    facts: &'a Facts,
    trust: Trust,
    seen: BTreeSet<UnitName>,
    /// The texts of the units, for reports that come after parsing.
    sources: HashMap<UnitName, Vec<SourceText>>,
    loaded: Loaded,
    /// Folders of names that a boot adds to units, which few have.
    ties: BTreeSet<String>,
}

impl<'a> Loader<'a> {
    fn new(search: &'a SearchPath, facts: &'a Facts) -> Self {
        Self {
            search,
            facts,
            trust: search.trust(facts),
            seen: BTreeSet::new(),
            sources: HashMap::new(),
            loaded: Loaded::default(),
            ties: search.boot.as_ref().map_or_else(BTreeSet::new, order::ties),
        }
    }

    /// The names in the enabled directory, a boot's goal, and what is wanted beside them.
    fn roots(&mut self) -> Vec<UnitName> {
        let boot = self.search.boot.as_ref();
        let goal = boot.map(|boot| boot.goal.clone());
        self.loaded.enabled.extend(goal.clone());
        let mut names: Vec<UnitName> = goal.into_iter().collect();
        if boot.is_some_and(|boot| boot.alone) {
            self.loaded.complete = true;
        } else {
            let enabled = self.enabled_units();
            // A machine without a single unit of its own still boots.
            self.loaded.complete |= boot.is_some();
            names.extend(enabled);
            names.extend(self.search.also.iter().cloned());
        }
        names
    }

    /// The names in the enabled directory.
    fn enabled_units(&mut self) -> Vec<UnitName> {
        let Some(directory) = self.search.enabled.as_deref() else {
            self.loaded.complete = true;
            return Vec::new();
        };
        let files = match list(directory, self.trust) {
            Ok(Some(files)) => files,
            Ok(None) => {
                let message = "there is no such directory";
                self.loaded
                    .diagnostics
                    .push(Diagnostic::of_file(directory, message));
                return Vec::new();
            }
            Err(error) => {
                let message = format!("cannot take units from the directory: {error}");
                self.loaded
                    .diagnostics
                    .push(Diagnostic::of_file(directory, message));
                return Vec::new();
            }
        };
        self.loaded.complete = true;
        let mut names = Vec::new();
        for file in files {
            match UnitName::new(file.strip_suffix(".toml").unwrap_or(&file)) {
                Ok(name) if name.is_template() => {}
                Ok(name) => {
                    self.loaded.enabled.insert(name.clone());
                    names.push(name);
                }
                Err(problem) => {
                    let report = Diagnostic::of_file(&directory.join(&file), problem.to_string())
                        .with_hint("the file's name, without .toml, is the unit's name");
                    self.loaded.diagnostics.push(report);
                }
            }
        }
        names
    }

    /// Reads and parses a unit; `None` when no directory has it.
    fn read(&mut self, name: &UnitName) -> Option<Parsed> {
        let mut problems = Vec::new();
        let main = self.find(name, &mut problems)?;
        let mut files: Vec<SourceText> = main.into_iter().collect();
        for path in self.drop_ins(name, &mut problems) {
            match read_source(&path, self.trust) {
                Ok(source) => files.push(source),
                Err(error) => problems.push(report(&path, &error)),
            }
        }
        if !problems.is_empty() {
            return Some(Parsed {
                unit: None,
                diagnostics: problems,
                is_missing: false,
            });
        }
        let parsed = parse_unit(name, &files, self.facts);
        self.sources.insert(name.clone(), files);
        Some(parsed)
    }

    /// The unit's own file: `NAME.toml` of the strongest directory that has it, else its
    /// template's. A file that cannot be used leaves a problem and stands before weaker ones.
    fn find(&self, name: &UnitName, problems: &mut Vec<Diagnostic>) -> Option<Option<SourceText>> {
        if self.search.is_masked(name) {
            return None;
        }
        for name in [Some(name.clone()), name.template()].into_iter().flatten() {
            for directory in self.search.directories() {
                let path = directory.join(format!("{name}.toml"));
                match read_source(&path, self.trust) {
                    Ok(source) => return Some(Some(source)),
                    Err(FileError::Missing) => {}
                    Err(error) => {
                        problems.push(report(&path, &error));
                        return Some(None);
                    }
                }
            }
        }
        None
    }

    /// Files of `NAME.toml.d` by name; the same name in a stronger directory replaces the weaker,
    /// and an instance's own replaces its template's.
    fn drop_ins(&self, name: &UnitName, problems: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
        let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
        for name in [name.template(), Some(name.clone())].into_iter().flatten() {
            for directory in self.search.directories().rev() {
                let directory = directory.join(format!("{name}.toml.d"));
                match list(&directory, self.trust) {
                    Ok(names) => files.extend(names.unwrap_or_default().into_iter().map(|file| {
                        let path = directory.join(&file);
                        (file, path)
                    })),
                    Err(error) => problems.push(report(&directory, &error)),
                }
            }
        }
        files.into_values().collect()
    }

    /// Puts a parsed unit where it belongs; returns the names it brings in.
    fn take(&mut self, name: UnitName, parsed: Parsed) -> Vec<UnitName> {
        let Some(mut unit) = parsed.unit else {
            self.loaded.broken.insert(name, parsed.diagnostics);
            return Vec::new();
        };
        self.tie(&mut unit);
        self.loaded.diagnostics.extend(parsed.diagnostics);
        let d = &unit.dependencies;
        let named = [
            &d.requires,
            &d.requisite,
            &d.wants,
            &d.binds_to,
            &d.upholds,
            &d.on_failure,
            &d.on_success,
        ];
        let named = named.into_iter().flatten().cloned();
        let set_up = self.set_up_for(&unit);
        let named = named.chain(set_up).collect();
        for alias in unit.install.iter().flat_map(|install| &install.aliases) {
            let previous = self.loaded.aliases.insert(alias.clone(), name.clone());
            if let Some(other) = previous {
                let message = format!("{other} and {name} are both called {alias}");
                let mut report = Diagnostic::of_file(&unit.source.path, message);
                report.severity = Severity::Warning;
                self.loaded.diagnostics.push(report);
            }
        }
        self.loaded.units.insert(name, Arc::new(unit));
        named
    }
}

fn report(path: &Path, error: &FileError) -> Diagnostic {
    let report = Diagnostic::of_file(path, error.to_string());
    match error.hint() {
        Some(hint) => report.with_hint(hint),
        None => report,
    }
}
