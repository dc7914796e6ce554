//! `herd check`: every problem of unit files, without a running herd.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use units::{
    Diagnostic, Facts, Graph, Loaded, SearchPath, UnitName, host_facts, load, load_one, templates,
};

use super::Global;
use super::failure::{Failure, name};
use super::places::{Places, absolute};
use super::screen::{Colour, Screen};

pub(super) fn check(
    global: &Global,
    screen: &mut Screen,
    paths: &[PathBuf],
) -> Result<ExitCode, Failure> {
    let facts = host_facts();
    let mut found = Found::default();
    if paths.is_empty() {
        let places = Places::find(global)?;
        found.take(places.enabled()?, load(&places.search, &facts));
        found.take_templates(&places.search, &facts);
    }
    for path in paths {
        let path = absolute(path)?;
        if path.is_dir() {
            let search = SearchPath::directory(&path);
            found.take(&path, load(&search, &facts));
            found.take_templates(&search, &facts);
        } else {
            let unit = unit_of_file(&path)?;
            let directory = path.parent().unwrap_or(Path::new("/"));
            found.take_one(&SearchPath::directory(directory), &unit, &facts);
        }
    }
    found.print(screen)
}

/// Reads as a name and as a number, whichever the template makes of its instances.
const AN_INSTANCE: &str = "1";

#[derive(Default)]
struct Found {
    units: usize,
    diagnostics: Vec<Diagnostic>,
}

impl Found {
    fn take(&mut self, directory: &Path, loaded: Loaded) {
        self.units += loaded.units.len();
        let graph = Graph::build(loaded.units.values().map(|unit| &**unit));
        for cycle in graph.cycles() {
            let message = format!("these units wait for one another: {cycle}");
            let place = cycle
                .0
                .first()
                .and_then(|name| loaded.units.get(name))
                .map_or(directory, |unit| &unit.source.path);
            self.diagnostics.push(Diagnostic::of_file(place, message));
        }
        self.diagnostics
            .extend(loaded.broken.into_values().flatten());
        self.diagnostics.extend(loaded.diagnostics);
        if !loaded.complete {
            let message = "the directory cannot be read";
            self.diagnostics
                .push(Diagnostic::of_file(directory, message));
        }
    }

    /// A template says whether it is sound by an instance of it.
    fn take_templates(&mut self, search: &SearchPath, facts: &Facts) {
        for template in templates(search, facts) {
            self.take_one(search, &template, facts);
        }
    }

    fn take_one(&mut self, search: &SearchPath, unit: &UnitName, facts: &Facts) {
        let instance = unit.with_instance(AN_INSTANCE);
        let parsed = load_one(search, instance.as_ref().unwrap_or(unit), facts);
        self.units += usize::from(parsed.unit.is_some());
        self.diagnostics.extend(parsed.diagnostics);
    }

    fn print(&self, screen: &mut Screen) -> Result<ExitCode, Failure> {
        let errors = self.diagnostics.iter().filter(|one| one.is_error()).count();
        if screen.json {
            let list: Vec<_> = self
                .diagnostics
                .iter()
                .map(|diagnostic| {
                    let plain = diagnostic.to_plain();
                    json!({
                        "severity": plain.severity,
                        "file": plain.file,
                        "line": plain.line,
                        "column": plain.column,
                        "message": plain.message,
                        "hint": plain.hint,
                    })
                })
                .collect();
            screen.document(&list)?;
        } else {
            for diagnostic in &self.diagnostics {
                let report = diagnostic.render(screen.has_colour());
                screen.line(report.trim_end())?;
                screen.line("")?;
            }
            let warnings = self.diagnostics.len() - errors;
            let colour = match (errors, warnings) {
                (0, 0) => Colour::Green,
                (0, _) => Colour::Yellow,
                _ => Colour::Red,
            };
            let summary = format!(
                "{} sound, {}, {}",
                count(self.units, "unit"),
                count(errors, "error"),
                count(warnings, "warning")
            );
            let summary = screen.paint(colour, summary);
            screen.line(summary)?;
        }
        Ok(if errors == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn unit_of_file(path: &Path) -> Result<UnitName, Failure> {
    let file = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if !file.ends_with(".toml") {
        let message = format!("{}: a unit file ends in .toml", path.display());
        return Err(Failure::failed(message));
    }
    name(file)
}
