//! Finding and reading unit files: the one place of the crate that does I/O.
//!
//! The units of the enabled directory are the roots. Every unit they name is looked for in
//! `enabled`, `available` and `vendor`, in this order, and so on from there. Drop-ins of all three
//! apply, by file name. A broken file is reported and hides no other.
#![forbid(unsafe_code)]

mod file;
mod host;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity, SourceText};
use crate::document::Document;
use crate::name::UnitName;
use crate::read::{Parsed, parse_unit};
use crate::unit::Unit;
use crate::value::specifier::Facts;

pub use file::FileError;
pub use host::host_facts;

use file::{Trust, list, read_source};

/// Where units are looked for; each directory may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchPath {
    /// Every unit here is wanted.
    pub enabled: Option<PathBuf>,
    pub available: Option<PathBuf>,
    pub vendor: Option<PathBuf>,
    /// The user named the directory on the command line: its owner's files are believed too.
    pub explicit: bool,
}

impl SearchPath {
    /// Of the herd that serves the machine.
    pub fn system() -> Self {
        Self {
            enabled: Some("/etc/herd/enabled".into()),
            available: Some("/etc/herd/available".into()),
            vendor: Some("/usr/lib/herd/units".into()),
            explicit: false,
        }
    }

    /// Of a user's own herd; `configuration` is `~/.config`.
    pub fn user(configuration: &Path) -> Self {
        Self {
            enabled: Some(configuration.join("herd/enabled")),
            available: Some(configuration.join("herd/available")),
            vendor: Some("/usr/lib/herd/user".into()),
            explicit: false,
        }
    }

    /// `herd run DIR`: every unit of the one directory is wanted.
    pub fn directory(directory: impl Into<PathBuf>) -> Self {
        Self {
            enabled: Some(directory.into()),
            explicit: true,
            ..Self::default()
        }
    }

    /// From the strongest to the weakest.
    fn directories(&self) -> impl DoubleEndedIterator<Item = &Path> {
        [&self.enabled, &self.available, &self.vendor]
            .into_iter()
            .filter_map(Option::as_deref)
    }

    /// As root only root's files and our own are believed; a user may believe whom they like.
    fn trust(&self, facts: &Facts) -> Trust {
        if facts.uid != "0" {
            return Trust { owners: None };
        }
        let owner = |directory: &PathBuf| std::fs::metadata(directory).ok().map(|m| m.uid());
        let named = self.enabled.as_ref().filter(|_| self.explicit);
        Trust {
            owners: Some([0, named.and_then(owner).unwrap_or(0)]),
        }
    }
}

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
    loader.install();
    loader.loaded
}

/// Loads one unit by name, without what it names. The diagnostics say so when there is none.
pub fn load_one(search: &SearchPath, name: &UnitName, facts: &Facts) -> Parsed {
    let mut loader = Loader::new(search, facts);
    if let Some(parsed) = loader.read(name) {
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
    let mut missing = Diagnostic::of_file(&path, format!("there is no unit {name}"));
    if let Some(near) = crate::keys::nearest(name.as_str(), known.iter().map(String::as_str)) {
        missing = missing.with_hint(format!("did you mean {near}?"));
    }
    Parsed {
        unit: None,
        diagnostics: vec![missing],
    }
}

struct Loader<'a> {
    search: &'a SearchPath,
    facts: &'a Facts,
    trust: Trust,
    seen: BTreeSet<UnitName>,
    /// The texts of the units, for reports that come after parsing.
    sources: HashMap<UnitName, Vec<SourceText>>,
    loaded: Loaded,
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
        }
    }

    /// The names in the enabled directory.
    fn roots(&mut self) -> Vec<UnitName> {
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
            });
        }
        let parsed = parse_unit(name, &files, self.facts);
        self.sources.insert(name.clone(), files);
        Some(parsed)
    }

    /// The unit's own file: `NAME.toml` of the strongest directory that has it, else its
    /// template's. A file that cannot be used leaves a problem and stands before weaker ones.
    fn find(&self, name: &UnitName, problems: &mut Vec<Diagnostic>) -> Option<Option<SourceText>> {
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
        let Some(unit) = parsed.unit else {
            self.loaded.broken.insert(name, parsed.diagnostics);
            return Vec::new();
        };
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
        let named = named.into_iter().flatten().cloned().collect();
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

    /// Dependencies on another name become dependencies on the unit itself.
    fn resolve_aliases(&mut self) {
        let Loaded { units, aliases, .. } = &mut self.loaded;
        aliases.retain(|alias, _| !units.contains_key(alias));
        if aliases.is_empty() {
            return;
        }
        for unit in units.values_mut() {
            let named = dependency_lists(unit)
                .into_iter()
                .flat_map(|(_, list)| list);
            if !named.into_iter().any(|name| aliases.contains_key(name)) {
                continue;
            }
            let dependencies = Arc::make_mut(&mut Arc::make_mut(unit).dependencies);
            for list in [
                &mut dependencies.requires,
                &mut dependencies.requisite,
                &mut dependencies.wants,
                &mut dependencies.binds_to,
                &mut dependencies.part_of,
                &mut dependencies.upholds,
                &mut dependencies.conflicts,
                &mut dependencies.before,
                &mut dependencies.after,
                &mut dependencies.on_failure,
                &mut dependencies.on_success,
            ] {
                for name in list {
                    if let Some(real) = aliases.get(name) {
                        *name = real.clone();
                    }
                }
            }
        }
    }

    /// A unit that needs one that does not exist is in error; a mere wish is a warning.
    fn refuse_missing(&mut self) {
        let Loaded { units, broken, .. } = &self.loaded;
        let mut reports: Vec<(UnitName, Diagnostic)> = Vec::new();
        for (name, unit) in units {
            for (key, list) in dependency_lists(unit) {
                let severity = match key {
                    "requires" | "requisite" | "binds_to" | "upholds" => Severity::Error,
                    "wants" | "on_failure" | "on_success" => Severity::Warning,
                    _ => continue,
                };
                for missing in list {
                    if units.contains_key(missing) || broken.contains_key(missing) {
                        continue;
                    }
                    let sources = self.sources.get(name).map_or(&[][..], Vec::as_slice);
                    let mut report = place(sources, key, missing.as_str())
                        .unwrap_or_else(|| Diagnostic::of_file(&unit.source.path, ""));
                    report.severity = severity;
                    report.message = format!("there is no unit {missing}");
                    report.hint = self.meant(missing);
                    reports.push((name.clone(), report));
                }
            }
        }
        for (name, report) in reports {
            if report.is_error() {
                self.loaded.units.remove(&name);
                self.loaded.broken.entry(name).or_default().push(report);
            } else {
                self.loaded.diagnostics.push(report);
            }
        }
    }

    fn meant(&self, missing: &UnitName) -> Option<String> {
        let text = missing.as_str();
        let known = || self.loaded.units.keys().map(UnitName::as_str);
        let bare = [".service", ".target", ".socket", ".timer"]
            .iter()
            .find_map(|suffix| text.strip_suffix(suffix));
        match bare {
            Some(bare) if known().any(|name| name == bare) => {
                Some(format!("units are named without a suffix: \"{bare}\""))
            }
            _ => crate::keys::nearest(text, known()).map(|near| format!("did you mean {near:?}?")),
        }
    }

    /// `wanted_by` and `required_by` of enabled units become dependencies of those they name.
    fn install(&mut self) {
        let Loaded { units, enabled, .. } = &self.loaded;
        let mut added: Vec<(UnitName, UnitName, bool)> = Vec::new();
        for name in enabled {
            if let Some(install) = units.get(name).and_then(|unit| unit.install.as_deref()) {
                let wanted = install.wanted_by.iter().map(|by| (by, false));
                let required = install.required_by.iter().map(|by| (by, true));
                for (by, strongly) in wanted.chain(required) {
                    let by = self.loaded.aliases.get(by).unwrap_or(by);
                    added.push((by.clone(), name.clone(), strongly));
                }
            }
        }
        for (by, name, strongly) in added {
            if let Some(unit) = self.loaded.units.get_mut(&by) {
                let dependencies = Arc::make_mut(&mut Arc::make_mut(unit).dependencies);
                let list = match strongly {
                    true => &mut dependencies.requires,
                    false => &mut dependencies.wants,
                };
                if !list.contains(&name) {
                    list.push(name);
                }
            }
        }
    }
}

/// All lists of names of a unit, with their keys.
fn dependency_lists(unit: &Unit) -> [(&'static str, &Vec<UnitName>); 11] {
    let d = &unit.dependencies;
    [
        ("requires", &d.requires),
        ("requisite", &d.requisite),
        ("wants", &d.wants),
        ("binds_to", &d.binds_to),
        ("part_of", &d.part_of),
        ("upholds", &d.upholds),
        ("conflicts", &d.conflicts),
        ("before", &d.before),
        ("after", &d.after),
        ("on_failure", &d.on_failure),
        ("on_success", &d.on_success),
    ]
}

fn report(path: &Path, error: &FileError) -> Diagnostic {
    let report = Diagnostic::of_file(path, error.to_string());
    match error.hint() {
        Some(hint) => report.with_hint(hint),
        None => report,
    }
}

/// A diagnostic without words at the entry of `key` that reads `text`.
fn place(sources: &[SourceText], key: &str, text: &str) -> Option<Diagnostic> {
    let document = Document::read(sources, &mut Vec::new());
    let entry = document.find(key)?;
    let span = match entry.value.get_ref() {
        toml::de::DeValue::Array(items) => items
            .iter()
            .find(|item| item.get_ref().as_str() == Some(text))
            .map(toml::Spanned::span),
        _ => None,
    };
    Some(Diagnostic {
        severity: Severity::Error,
        source: sources[entry.file].clone(),
        span: Some(span.unwrap_or_else(|| entry.value.span())),
        message: String::new(),
        hint: None,
    })
}
