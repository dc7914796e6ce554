//! What `herd run` and `herd daemon` start the daemon with.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use units::load::SearchPath;

#[derive(Debug, Clone)]
pub struct Options {
    pub mode: Mode,
    /// Control socket, notify socket, lock.
    pub runtime_dir: PathBuf,
    pub log_dir: PathBuf,
    pub search: SearchPath,
    /// Show the services' lines on stdout (`herd run`).
    pub echo: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `herd run DIR`.
    Foreground,
    /// `herd daemon` as root.
    System,
    /// `herd daemon --user`.
    User,
}
