//! `herd enable` and `herd disable`: links in `enabled/`, made and removed in one step.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use units::diagnostic::render_all;
use units::{UnitName, host_facts, load_one};

use super::add::make_directory;
use super::failure::{Failure, NO_SUCH_UNIT, names};
use super::places::Places;
use super::screen::Screen;

pub(super) fn enable(
    places: &Places,
    screen: &mut Screen,
    units: &[String],
) -> Result<ExitCode, Failure> {
    let directory = places.enabled()?;
    make_directory(directory)?;
    for unit in names(units)? {
        let target = target(places, &unit)?;
        let link = directory.join(format!("{unit}.toml"));
        let made = match symlink(&target, &link) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let there = fs::read_link(&link).ok();
                if there.is_some_and(|there| there != target) {
                    let message = format!("{} leads elsewhere", link.display());
                    return Err(
                        Failure::failed(message).hint(format!("`herd disable {unit}` removes it"))
                    );
                }
                false
            }
            Err(error) => return Err(Failure::file("link", &link, &error)),
        };
        let word = if made { "enabled" } else { "already enabled" };
        tell(screen, &unit, word, &link)?;
        warn_of_broken(places, &unit);
    }
    Ok(ExitCode::SUCCESS)
}

/// The link stands all the same: the unit runs once its file is mended.
fn warn_of_broken(places: &Places, unit: &UnitName) {
    let parsed = load_one(&places.search, unit, &host_facts());
    if parsed.unit.is_none() {
        let report = render_all(&parsed.diagnostics, false);
        let message = format!("{unit} is enabled, but cannot run as it is:\n{report}");
        Failure::new(0, message.trim_end()).report();
    }
}

pub(super) fn disable(
    places: &Places,
    screen: &mut Screen,
    units: &[String],
) -> Result<ExitCode, Failure> {
    let directory = places.enabled()?;
    for unit in names(units)? {
        let path = directory.join(format!("{unit}.toml"));
        let kind = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if target(places, &unit).is_err() {
                    return Err(no_such(places, &unit));
                }
                tell(screen, &unit, "already disabled", &path)?;
                continue;
            }
            Err(error) => return Err(Failure::file("read", &path, &error)),
        };
        if kind.is_symlink() {
            fs::remove_file(&path).map_err(|error| Failure::file("remove", &path, &error))?;
        } else {
            keep(places, &unit, &path)?;
        }
        tell(screen, &unit, "disabled", &path)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A file of its own in `enabled/` is moved to `available/`, unless that would replace another.
fn keep(places: &Places, unit: &UnitName, path: &Path) -> Result<(), Failure> {
    let directory = places.available()?;
    make_directory(directory)?;
    let kept = directory.join(format!("{unit}.toml"));
    fs::hard_link(path, &kept).map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            let message = format!(
                "{} is a file of its own, and {} exists already",
                path.display(),
                kept.display()
            );
            Failure::failed(message).hint("remove one of them")
        } else {
            Failure::file("move", path, &error)
        }
    })?;
    fs::remove_file(path).map_err(|error| Failure::file("remove", path, &error))
}

/// What the link is to lead to: the unit's file, or its template's.
fn target(places: &Places, unit: &UnitName) -> Result<PathBuf, Failure> {
    let boot = places.search.boot.as_ref().map(|boot| &boot.directory);
    let directories = [
        places.search.available.as_ref(),
        places.search.vendor.as_ref(),
        boot,
    ];
    for candidate in std::iter::once(unit.clone()).chain(unit.template()) {
        for directory in directories.into_iter().flatten() {
            let path = directory.join(format!("{candidate}.toml"));
            if path.is_file() {
                return Ok(path);
            }
        }
    }
    Err(no_such(places, unit))
}

fn no_such(places: &Places, unit: &UnitName) -> Failure {
    let failure = Failure::new(NO_SUCH_UNIT, format!("{unit}: no such unit"));
    match places.available() {
        Ok(directory) => failure.hint(format!(
            "there is no {unit}.toml in {}",
            directory.display()
        )),
        Err(_) => failure,
    }
}

fn tell(screen: &mut Screen, unit: &UnitName, word: &str, path: &Path) -> Result<(), Failure> {
    if screen.json {
        let path = path.to_string_lossy();
        screen.json_line(&json!({ "unit": unit.as_str(), "done": word, "path": path }))?;
    } else {
        screen.line(format!("{unit}: {word}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use units::SearchPath;

    fn places(root: &Path) -> Places {
        Places {
            is_usual: false,
            is_user: false,
            runtime_dir: root.join("run"),
            log_dir: root.join("log"),
            search: SearchPath {
                enabled: Some(root.join("enabled")),
                available: Some(root.join("available")),
                vendor: None,
                networks: None,
                boot: None,
                also: std::collections::BTreeSet::new(),
                explicit: true,
            },
        }
    }

    #[test]
    fn a_link_comes_and_goes_and_the_file_stays() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let file = root.path().join("available/web.toml");
        fs::create_dir(root.path().join("available")).unwrap();
        fs::write(&file, "command = \"x\"").unwrap();
        let mut screen = Screen::new(true);
        let web = ["web".to_owned()];
        for _ in 0..2 {
            enable(&places, &mut screen, &web).unwrap();
            let link = root.path().join("enabled/web.toml");
            assert_eq!(fs::read_link(link).unwrap(), file);
        }
        for _ in 0..2 {
            disable(&places, &mut screen, &web).unwrap();
            assert!(file.is_file());
            assert_eq!(
                fs::read_dir(root.path().join("enabled")).unwrap().count(),
                0
            );
        }
    }

    #[test]
    fn a_file_of_its_own_is_moved_and_never_replaces_another() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let own = root.path().join("enabled/web.toml");
        fs::create_dir(root.path().join("enabled")).unwrap();
        fs::write(&own, "one").unwrap();
        let mut screen = Screen::new(true);
        let web = ["web".to_owned()];
        disable(&places, &mut screen, &web).unwrap();
        assert_eq!(
            fs::read(root.path().join("available/web.toml")).unwrap(),
            b"one"
        );
        fs::write(&own, "two").unwrap();
        let refused = disable(&places, &mut screen, &web).unwrap_err();
        assert!(refused.message.contains("exists already"), "{refused:?}");
        assert_eq!(fs::read(&own).unwrap(), b"two");
    }

    #[test]
    fn an_unknown_unit_and_a_path_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let mut screen = Screen::new(true);
        let refused = enable(&places, &mut screen, &["web".to_owned()]).unwrap_err();
        assert_eq!(
            (refused.code, refused.message.as_str()),
            (3, "web: no such unit")
        );
        let refused = enable(&places, &mut screen, &["../x".to_owned()]).unwrap_err();
        assert_eq!(
            refused.message,
            "\"../x\" is no unit name: a unit name cannot hold '/'; letters, digits and _ - . : \\ @ are allowed"
        );
    }
}
