//! Sets of walls by name, and configs for callers who start from nothing.
#![forbid(unsafe_code)]

use std::ffi::OsString;

use crate::config::{Config, Identity, Lifecycle, Limits, Process, Walls};

/// How much of a box there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// [`Walls::bare`]: what is asked for one by one, and nothing else.
    None,
    /// [`Walls::minimal_box`]: namespaces, a `/tmp` of its own, no new privileges.
    Minimal,
    /// [`Walls::default_box`]: what `boxed = true` means in a unit.
    #[default]
    Default,
    /// [`Walls::strict_box`]: the default without network, writable code and privileged system calls.
    Strict,
}

impl Profile {
    /// The names as units and `vb` have them.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("default", Self::Default),
        ("strict", Self::Strict),
        ("minimal", Self::Minimal),
        ("none", Self::None),
    ];

    pub fn name(self) -> &'static str {
        let mut names = Self::NAMES.iter();
        names
            .find(|(_, profile)| *profile == self)
            .map_or("default", |(name, _)| name)
    }

    pub fn walls(self) -> Walls {
        match self {
            Self::None => Walls::bare(),
            Self::Minimal => Walls::minimal_box(),
            Self::Default => Walls::default_box(),
            Self::Strict => Walls::strict_box(),
        }
    }
}

/// Gives a config the walls of a profile. What says *where* stays as it is: the root, what is mounted
/// into it, namespaces to join, the hostname.
pub fn with_profile(config: &mut Config, profile: Profile) {
    let walls = profile.walls();
    config.walls = Some(match config.walls.take() {
        None => walls,
        Some(old) => Walls {
            join: old.join,
            user_namespace: old.user_namespace,
            root: old.root,
            root_overlay: old.root_overlay,
            enter_root: old.enter_root,
            hostname: old.hostname,
            read_only_paths: old.read_only_paths,
            read_write_paths: old.read_write_paths,
            inaccessible_paths: old.inaccessible_paths,
            temporary_file_systems: old.temporary_file_systems,
            binds: old.binds,
            mounts: old.mounts,
            best_effort: old.best_effort,
            ..walls
        },
    });
}

/// Where commands are looked for, as Debian's `login.defs(5)` has it for root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Config {
    /// A command behind no wall, in a session of its own, with `PATH` as its only variable.
    pub fn bare<I>(name: &str, argv: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        Self {
            name: name.to_owned(),
            process: Process {
                argv: argv.into_iter().map(Into::into).collect(),
                search_path: PATH.split(':').map(Into::into).collect(),
                environment: vec![("PATH".into(), PATH.into())],
                new_session: true,
                ..Process::default()
            },
            identity: Identity::default(),
            directories: Vec::new(),
            limits: Limits::default(),
            cgroup: None,
            walls: None,
            lifecycle: Lifecycle::default(),
        }
    }

    /// A command in the [default box](Walls::default_box).
    pub fn boxed<I>(name: &str, argv: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        Self {
            walls: Some(Walls::default_box()),
            ..Self::bare(name, argv)
        }
    }
}
