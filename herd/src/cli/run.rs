//! `herd run` and `herd daemon`: becoming the service manager.

use std::path::Path;
use std::process::ExitCode;

use units::SearchPath;

use super::Global;
use super::failure::Failure;
use super::places::{Places, absolute};
use crate::daemon::{self, Mode, Options};

pub(super) fn run(global: &Global, directory: Option<&Path>) -> Result<ExitCode, Failure> {
    let places = Places::to_start(global)?;
    let search = match directory {
        Some(directory) => {
            let directory = absolute(directory)?;
            let metadata = std::fs::metadata(&directory)
                .map_err(|error| Failure::file("read", &directory, &error))?;
            if !metadata.is_dir() {
                let message = format!("{} is no directory", directory.display());
                return Err(Failure::failed(message).hint("herd run takes a directory of units"));
            }
            SearchPath::directory(directory)
        }
        None => places.search.clone(),
    };
    become_manager(Options {
        mode: Mode::Foreground,
        runtime_dir: places.runtime_dir,
        log_dir: places.log_dir,
        search,
        echo: true,
    })
}

pub(super) fn daemon(global: &Global) -> Result<ExitCode, Failure> {
    let places = Places::to_start(global)?;
    let mode = if places.is_user {
        Mode::User
    } else {
        Mode::System
    };
    become_manager(Options {
        mode,
        runtime_dir: places.runtime_dir,
        log_dir: places.log_dir,
        search: places.search,
        echo: false,
    })
}

fn become_manager(options: Options) -> Result<ExitCode, Failure> {
    match daemon::run(options) {
        Ok(ended) => Ok(ExitCode::from(ended.code)),
        Err(error) => Err(Failure::failed(crate::prepare::chain(&error).to_string())),
    }
}
