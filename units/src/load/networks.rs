//! Files of networks: one each, `NAME.toml` in the directory of networks; and joins of those that have none.
#![forbid(unsafe_code)]

use std::path::Path;

use super::Loader;
use super::file::{FileError, list, read_source};
use super::resolve::place;
use super::search_path::SearchPath;
use crate::diagnostic::Diagnostic;
use crate::network::{NetworkDefinition, parse_network};
use crate::value::specifier::Facts;

/// The definition of the network of this name; `None` when it has no file, and everything is chosen.
///
/// # Errors
/// What is wrong with the file.
pub fn network_definition(
    search: &SearchPath,
    name: &str,
    facts: &Facts,
) -> Result<Option<NetworkDefinition>, Vec<Diagnostic>> {
    let Some(directory) = &search.networks else {
        return Ok(None);
    };
    let path = directory.join(format!("{name}.toml"));
    match read_source(&path, search.trust(facts)) {
        Ok(source) => parse_network(name, &source, facts).map(Some),
        Err(FileError::Missing) => Ok(None),
        Err(error) => Err(vec![report(&path, &error)]),
    }
}

/// The names of all networks that have a file, in order, and what is wrong with the directory.
///
/// # Errors
/// When the directory is there and cannot be used.
pub fn network_names(search: &SearchPath, facts: &Facts) -> Result<Vec<String>, Diagnostic> {
    let Some(directory) = &search.networks else {
        return Ok(Vec::new());
    };
    let files = list(directory, search.trust(facts)).map_err(|error| report(directory, &error))?;
    let names = files.unwrap_or_default().into_iter();
    Ok(names
        .filter_map(|file| Some(file.strip_suffix(".toml")?.to_owned()))
        .collect())
}

fn report(path: &Path, error: &FileError) -> Diagnostic {
    let report = Diagnostic::of_file(path, error.to_string());
    match error.hint() {
        Some(hint) => report.with_hint(hint),
        None => report,
    }
}

impl Loader<'_> {
    /// Units that join the network of one that has none of its own are in error.
    pub(super) fn refuse_joins_of_the_host(&mut self) {
        let units = &self.loaded.units;
        let mut reports = Vec::new();
        for (name, unit) in units {
            let Some(joined) = unit.entry.as_ref().and_then(|e| e.network_of.as_ref()) else {
                continue;
            };
            let Some(other) = units
                .get(joined)
                .filter(|other| !other.has_network_namespace())
            else {
                continue;
            };
            let sources = self.sources.get(name).map_or(&[][..], Vec::as_slice);
            let mut report = place(sources, "network.mode", "")
                .unwrap_or_else(|| Diagnostic::of_file(&unit.source.path, ""));
            report.message = format!("{} has no network of its own to join", other.name);
            let hint = format!("give {} `boxed = true` and a [network] mode", other.name);
            report.hint = Some(hint);
            reports.push((name.clone(), report));
        }
        for (name, report) in reports {
            self.loaded.units.remove(&name);
            self.loaded.broken.entry(name).or_default().push(report);
        }
    }
}
