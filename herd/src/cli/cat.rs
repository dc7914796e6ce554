//! `herd cat` and `herd config`: the files of a unit, as the running herd has them or, where none
//! runs, as they lie in its directories.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use units::UnitName;

use super::failure::{Failure, NO_SUCH_UNIT, name};
use super::places::Places;
use super::screen::{Colour, Screen};
use crate::control::client::{ANSWER_TIMEOUT, ClientError};
use crate::control::protocol::{Call, CatReply, Refusal, UnitFile};

/// The unit's file and its drop-ins, each under its path.
pub(super) fn cat(places: &Places, screen: &mut Screen, unit: &str) -> Result<ExitCode, Failure> {
    let unit = name(unit)?;
    let files = match asked(places, &unit)? {
        Some(files) => files,
        None => read(places, &unit)?,
    };
    if screen.json {
        screen.document(&files)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (index, file) in files.iter().enumerate() {
        if index > 0 {
            screen.line("")?;
        }
        let head = screen.paint(Colour::Cyan, format_args!("# {}", file.path));
        screen.line(head)?;
        let content = screen.foreign_lines(&file.content);
        screen.line(content)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The seed's verb: where the file lies, enabled first, and what it says.
pub(super) fn config(
    places: &Places,
    screen: &mut Screen,
    unit: &str,
) -> Result<ExitCode, Failure> {
    cat(places, screen, unit)
}

/// What the running herd says; `None` when there is none, or none that would tell us.
fn asked(places: &Places, unit: &UnitName) -> Result<Option<Vec<UnitFile>>, Failure> {
    let Ok(mut client) = places.connect() else {
        return Ok(None);
    };
    let call = Call::Cat { unit: unit.clone() };
    match client.call::<CatReply>(&call, Some(ANSWER_TIMEOUT)) {
        Ok(reply) => Ok(Some(reply.files)),
        Err(ClientError::Refused(
            Refusal::PermissionDenied { .. } | Refusal::NoSuchUnit { .. },
        )) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read(places: &Places, unit: &UnitName) -> Result<Vec<UnitFile>, Failure> {
    let mut paths = vec![find(places, unit)?];
    paths.extend(drop_ins(places, unit)?);
    let mut files = Vec::new();
    for path in paths {
        let bytes = fs::read(&path).map_err(|error| Failure::file("read", &path, &error))?;
        files.push(UnitFile {
            path: path.display().to_string(),
            content: String::from_utf8_lossy(&bytes).into_owned(),
        });
    }
    Ok(files)
}

/// The file that defines the unit: the first found in the order of precedence; of an instance its
/// template's where it has none of its own.
fn find(places: &Places, unit: &UnitName) -> Result<PathBuf, Failure> {
    let directories = directories(places);
    for candidate in std::iter::once(unit.clone()).chain(unit.template()) {
        for directory in &directories {
            let path = directory.join(format!("{candidate}.toml"));
            match fs::metadata(&path) {
                Ok(_) => return Ok(path),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                Err(error) => return Err(Failure::file("read", &path, &error)),
            }
        }
    }
    Err(Failure::new(NO_SUCH_UNIT, format!("{unit}: no such unit"))
        .hint(format!("looked in {}", list(&directories))))
}

/// `NAME.toml.d/*.toml` of each directory, in the order of their file names; a stronger directory's
/// file takes the place of a weaker one's of the same name.
fn drop_ins(places: &Places, unit: &UnitName) -> Result<Vec<PathBuf>, Failure> {
    let mut found: Vec<PathBuf> = Vec::new();
    for directory in directories(places) {
        for candidate in unit.template().into_iter().chain([unit.clone()]) {
            let folder = directory.join(format!("{candidate}.toml.d"));
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Failure::file("read", &folder, &error)),
            };
            for entry in entries {
                let path = entry
                    .map_err(|error| Failure::file("read", &folder, &error))?
                    .path();
                let is_unit = path
                    .extension()
                    .is_some_and(|extension| extension == "toml");
                let is_known = found.iter().any(|one| one.file_name() == path.file_name());
                if is_unit && !is_known {
                    found.push(path);
                }
            }
        }
    }
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    Ok(found)
}

fn directories(places: &Places) -> Vec<PathBuf> {
    places.search.directories().map(Path::to_owned).collect()
}

fn list(directories: &[PathBuf]) -> String {
    let texts: Vec<_> = directories
        .iter()
        .map(|path: &PathBuf| Path::display(path).to_string())
        .collect();
    texts.join(", ")
}
