//! What names among units come to once all are read: aliases, missing units, installation.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Loaded, Loader, masked};
use crate::diagnostic::{Diagnostic, Severity, SourceText};
use crate::document::Document;
use crate::name::UnitName;
use crate::unit::{Entry, Unit};

impl Loader<'_> {
    /// Dependencies on another name become dependencies on the unit itself.
    pub(super) fn resolve_aliases(&mut self) {
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

    /// A unit that needs one that does not exist is in error; a mere wish is a warning, but for one that is left out
    /// on purpose.
    pub(super) fn refuse_missing(&mut self) {
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
                    let is_masked = self.search.is_masked(missing);
                    if is_masked && severity == Severity::Warning {
                        continue;
                    }
                    let sources = self.sources.get(name).map_or(&[][..], Vec::as_slice);
                    let joins = |entry: &Entry| entry.network_of.as_ref() == Some(missing);
                    let key = match unit.entry.as_deref().is_some_and(joins) {
                        true if key == "binds_to" => "network.mode",
                        _ => key,
                    };
                    let mut report = place(sources, key, missing.as_str())
                        .unwrap_or_else(|| Diagnostic::of_file(&unit.source.path, ""));
                    report.severity = severity;
                    if is_masked {
                        report.message = masked(missing);
                    } else {
                        report.message = format!("there is no unit {missing}");
                        report.hint = self.meant(missing);
                    }
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
    pub(super) fn install(&mut self) {
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

    /// What is wanted beside the enabled units and would never start by itself.
    pub(super) fn want_also(&mut self) {
        let Loaded {
            units,
            enabled,
            aliases,
            ..
        } = &mut self.loaded;
        for name in &self.search.also {
            let name = aliases.get(name).unwrap_or(name);
            if !started(units, enabled).contains(name) {
                enabled.insert(name.clone());
            }
        }
    }
}

/// The enabled units and all that they start at some time, and what these start.
fn started<'a>(
    units: &'a BTreeMap<UnitName, Arc<Unit>>,
    enabled: &'a BTreeSet<UnitName>,
) -> BTreeSet<&'a UnitName> {
    let mut found = BTreeSet::new();
    let mut unseen: Vec<&UnitName> = enabled.iter().collect();
    while let Some(name) = unseen.pop() {
        if found.insert(name) {
            unseen.extend(units.get(name).into_iter().flat_map(|unit| starts(unit)));
        }
    }
    found
}

/// What the unit starts at some time.
fn starts(unit: &Unit) -> impl Iterator<Item = &UnitName> {
    let ties = &unit.dependencies;
    let lists = [
        &ties.requires,
        &ties.wants,
        &ties.binds_to,
        &ties.upholds,
        &ties.on_failure,
        &ties.on_success,
    ];
    lists.into_iter().flatten()
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

/// A diagnostic without words at the entry of `key` that reads `text`.
pub(super) fn place(sources: &[SourceText], key: &str, text: &str) -> Option<Diagnostic> {
    place_of(sources, key, |one| one == text)
}

/// As [`place`], of the first entry that is meant.
pub(super) fn place_of(
    sources: &[SourceText],
    key: &str,
    is_meant: impl Fn(&str) -> bool,
) -> Option<Diagnostic> {
    let document = Document::read(sources, &mut Vec::new());
    let entry = document.find(key)?;
    let items = entry.value.get_ref().as_array();
    let mut named = items
        .into_iter()
        .flatten()
        .filter(|item| item.get_ref().as_str().is_some_and(&is_meant));
    let span = named.next().map(toml::Spanned::span);
    Some(Diagnostic {
        severity: Severity::Error,
        source: sources[entry.file].clone(),
        span: Some(span.unwrap_or_else(|| entry.value.span())),
        message: String::new(),
        hint: None,
    })
}
