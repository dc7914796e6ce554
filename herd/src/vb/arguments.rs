//! The command line of bubblewrap 0.11, and what `vb` has on top, as values.
//!
//! Pure: what an option reads at once (`--args`, `--add-seccomp-fd`) is asked of [`Surroundings`].
//! The operations on the file system stay in the order they were given; where bubblewrap lets
//! the last of several win, it says so, and so does this.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use sandbox::config::CAPABILITIES;

use super::environment::Environment;
use super::numbers;
use super::operation::{Access, Layers, Operation, Source};
use super::options::{Flag, Spelling, find};
use super::own::Own;

/// What parsing needs of the world.
pub trait Surroundings {
    /// Reads a descriptor to its end and closes it.
    ///
    /// # Errors
    /// The kernel's error number.
    fn read(&mut self, descriptor: i32) -> Result<Vec<u8>, i32>;
    /// Says something that does not stop the launch.
    fn warn(&mut self, text: &str, level_prefix: bool);
}

/// Everything the command line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    pub unshare: Unshare,
    pub operations: Vec<Operation>,
    pub environment: Environment,
    pub descriptors: Descriptors,
    pub lock_files: Vec<OsString>,
    pub argv0: Option<OsString>,
    pub chdir: Option<OsString>,
    pub hostname: Option<OsString>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub capabilities: Capabilities,
    pub disable_user_namespaces: bool,
    pub assert_user_namespaces_disabled: bool,
    pub new_session: bool,
    pub die_with_parent: bool,
    pub as_pid_1: bool,
    pub level_prefix: bool,
    /// Raw programs of `--add-seccomp-fd`, in order.
    pub filters: Vec<Vec<u8>>,
    pub own: Own,
    pub command: Vec<OsString>,
}

/// Which namespaces are made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Unshare {
    pub user: bool,
    pub user_try: bool,
    pub ipc: bool,
    pub pid: bool,
    pub net: bool,
    pub uts: bool,
    pub cgroup: bool,
    pub cgroup_try: bool,
}

/// Descriptors the caller has given us for a purpose.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    pub sync: Option<i32>,
    pub block: Option<i32>,
    pub user_namespace_block: Option<i32>,
    pub info: Option<i32>,
    pub json_status: Option<i32>,
    pub seccomp: Option<i32>,
    pub user_namespace: Option<i32>,
    pub user_namespace_2: Option<i32>,
    pub pid_namespace: Option<i32>,
}

/// The capabilities the command is to have, bit by number.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    pub wanted: u64,
    /// Whether an option has spoken; root without one keeps what it has.
    pub chosen: bool,
}

/// Why there is nothing to run.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    Help,
    Version,
    /// No command: the usage, as an error.
    Usage,
    Complaint(Complaint),
}

/// A sentence for the caller.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    pub text: OsString,
    pub level_prefix: bool,
}

/// Reads the command line (without the program's own name). `capabilities` are those that a
/// caller who is root has, and nothing for everybody else.
///
/// # Errors
/// [`Stop`]: something else than running a command is asked for, or bubblewrap would not run this.
pub fn parse(
    words: Vec<OsString>,
    environment: Environment,
    capabilities: u64,
    surroundings: &mut dyn Surroundings,
) -> Result<Arguments, Stop> {
    let mut parser = Parser {
        arguments: Arguments {
            environment,
            capabilities: Capabilities {
                wanted: capabilities,
                chosen: false,
            },
            ..Arguments::default()
        },
        parsed: words.len(),
        permissions: None,
        size: None,
        layers: Vec::new(),
        surroundings,
    };
    let rest = match parser.words(words, false) {
        Ok(rest) if parser.layers.is_empty() => rest,
        Ok(_) => return Err(parser.stop(LAYERS_ALONE.into())),
        Err(Refused::Stop(stop)) => return Err(stop),
        Err(Refused::Because(text)) => return Err(parser.stop(text)),
    };
    parser.arguments.command = rest;
    Ok(parser.arguments)
}

const MOST_ARGUMENTS: usize = 9000;
const MOST_TMPFS_BYTES: u64 = u64::MAX >> 1;
const LAYERS_ALONE: &str = "--overlay-src must be followed by another --overlay-src or one of \
                            --overlay, --tmp-overlay, or --ro-overlay";

struct Parser<'a> {
    arguments: Arguments,
    parsed: usize,
    /// Of `--perms`, for the option that follows.
    permissions: Option<u32>,
    /// Of `--size`, for the option that follows.
    size: Option<u64>,
    /// Of `--overlay-src`, from the bottom up.
    layers: Vec<OsString>,
    surroundings: &'a mut dyn Surroundings,
}

enum Refused {
    Stop(Stop),
    Because(OsString),
}

impl From<&str> for Refused {
    fn from(text: &str) -> Self {
        Self::Because(text.into())
    }
}

impl From<String> for Refused {
    fn from(text: String) -> Self {
        Self::Because(text.into())
    }
}

/// A sentence that ends in a word of the user's.
fn about(text: &str, word: &OsStr) -> Refused {
    let mut whole = OsString::from(text);
    whole.push(word);
    Refused::Because(whole)
}

impl Parser<'_> {
    fn stop(&self, text: OsString) -> Stop {
        Stop::Complaint(Complaint {
            text,
            level_prefix: self.arguments.level_prefix,
        })
    }

    /// Reads options; gives what stands behind them.
    fn words(&mut self, words: Vec<OsString>, in_file: bool) -> Result<Vec<OsString>, Refused> {
        if self.parsed > MOST_ARGUMENTS {
            return Err(too_many());
        }
        let mut words = words.into_iter();
        loop {
            let rest = words.as_slice();
            let Some(word) = rest.first() else {
                return Ok(Vec::new());
            };
            let Some(spelling) = find(word.as_bytes()) else {
                if word == "--" {
                    return Ok(rest[1..].to_vec());
                }
                if word.as_bytes().starts_with(b"-") {
                    return Err(about("Unknown option ", word));
                }
                return Ok(rest.to_vec());
            };
            words.next();
            self.option(spelling, &mut words, in_file)?;
            self.modifiers_are_used(spelling.flag)?;
        }
    }

    /// A modifier that the option after it does not take is a mistake.
    fn modifiers_are_used(&self, flag: Flag) -> Result<(), Refused> {
        let modifies = matches!(flag, Flag::Perms | Flag::Size);
        if !modifies && self.permissions.is_some() {
            return Err("--perms must be followed by an option that creates a file".into());
        }
        if !modifies && self.size.is_some() {
            return Err("--size must be followed by --tmpfs".into());
        }
        if flag != Flag::OverlaySrc && !self.layers.is_empty() {
            return Err(LAYERS_ALONE.into());
        }
        Ok(())
    }

    fn option(
        &mut self,
        spelling: &Spelling,
        words: &mut std::vec::IntoIter<OsString>,
        in_file: bool,
    ) -> Result<(), Refused> {
        if spelling.flag == Flag::Help {
            return Err(Refused::Stop(Stop::Help));
        }
        if spelling.flag == Flag::Version {
            return Err(Refused::Stop(Stop::Version));
        }
        if spelling.flag == Flag::Args && in_file {
            return Err("--args not supported in arguments file".into());
        }
        // Alone at the end it is complained about as a layer without an overlay.
        if spelling.flag == Flag::OverlaySrc {
            self.layers.push(words.next().unwrap_or_default());
            return Ok(());
        }
        if words.len() < spelling.operands.len() {
            return Err(spelling.complaint().into());
        }
        let mut operands = words.take(spelling.operands.len());
        match (operands.next(), operands.next(), operands.next()) {
            (None, _, _) => self.switch(spelling.flag),
            (Some(value), None, _) => self.single(spelling, value)?,
            (Some(first), Some(second), None) => self.double(spelling.flag, first, second)?,
            // --overlay is the only one of these.
            (Some(upper), Some(work), Some(target)) => {
                let lower = self.take_layers("--overlay", 1)?;
                let upper = Layers::Persistent { upper, work };
                self.operation(Operation::Overlay {
                    lower,
                    upper,
                    target,
                });
            }
        }
        Ok(())
    }

    fn operation(&mut self, operation: Operation) {
        self.arguments.operations.push(operation);
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other option has operands"
    )]
    fn switch(&mut self, flag: Flag) {
        let arguments = &mut self.arguments;
        let unshare = &mut arguments.unshare;
        match flag {
            Flag::LevelPrefix => arguments.level_prefix = true,
            Flag::UnshareAll => {
                *unshare = Unshare {
                    user_try: true,
                    ipc: true,
                    pid: true,
                    net: true,
                    uts: true,
                    cgroup_try: true,
                    ..*unshare
                }
            }
            Flag::ShareNet => unshare.net = false,
            Flag::UnshareUser => unshare.user = true,
            Flag::UnshareUserTry => unshare.user_try = true,
            Flag::UnshareIpc => unshare.ipc = true,
            Flag::UnsharePid => unshare.pid = true,
            Flag::UnshareNet => unshare.net = true,
            Flag::UnshareUts => unshare.uts = true,
            Flag::UnshareCgroup => unshare.cgroup = true,
            Flag::UnshareCgroupTry => unshare.cgroup_try = true,
            Flag::DisableUserns => arguments.disable_user_namespaces = true,
            Flag::AssertUsernsDisabled => arguments.assert_user_namespaces_disabled = true,
            Flag::Clearenv => arguments.environment.clear(),
            Flag::NewSession => arguments.new_session = true,
            Flag::DieWithParent => arguments.die_with_parent = true,
            Flag::AsPid1 => arguments.as_pid_1 = true,
            Flag::PivotRoot => arguments.own.chroot = false,
            Flag::Chroot => arguments.own.chroot = true,
            // Flag::UnshareMount: there always is one.
            _ => {}
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other option has none or several operands"
    )]
    fn single(&mut self, spelling: &Spelling, value: OsString) -> Result<(), Refused> {
        match spelling.flag {
            Flag::Args => self.words_of_descriptor(&value)?,
            Flag::Argv0 => {
                if self.arguments.argv0.replace(value).is_some() {
                    return Err("--argv0 used multiple times".into());
                }
            }
            Flag::Chdir => self.last_wins(spelling, |arguments| &mut arguments.chdir, value),
            Flag::Hostname => {
                self.operation(Operation::Hostname(value.clone()));
                self.last_wins(spelling, |arguments| &mut arguments.hostname, value);
            }
            // In this order: the warning comes before the complaint about the number.
            Flag::Uid => {
                if self.arguments.uid.is_some() {
                    self.warn_of_several(spelling);
                }
                self.arguments.uid = Some(id("Invalid uid: ", &value)?);
            }
            Flag::Gid => {
                if self.arguments.gid.is_some() {
                    self.warn_of_several(spelling);
                }
                self.arguments.gid = Some(id("Invalid gid: ", &value)?);
            }
            Flag::Unsetenv => {
                if !self.arguments.environment.unset(&value) {
                    return Err("unsetenv failed".into());
                }
            }
            Flag::LockFile => self.arguments.lock_files.push(value),
            Flag::SyncFd
            | Flag::BlockFd
            | Flag::UsernsBlockFd
            | Flag::InfoFd
            | Flag::JsonStatusFd
            | Flag::Seccomp
            | Flag::Userns
            | Flag::Userns2
            | Flag::Pidns => self.descriptor_option(spelling, &value)?,
            Flag::AddSeccompFd => self.filter(&value)?,
            Flag::RemountRo => self.operation(Operation::RemountReadOnly(value)),
            Flag::Proc => self.operation(Operation::Proc(value)),
            Flag::Dev => self.operation(Operation::Devices(value)),
            Flag::Mqueue => self.operation(Operation::MessageQueues(value)),
            Flag::Tmpfs => {
                let mode = self.permissions.take().unwrap_or(0o755);
                let size = self.size.take();
                self.operation(Operation::Tmpfs {
                    target: value,
                    mode,
                    size,
                });
            }
            Flag::Dir => {
                let mode = self.permissions.take().unwrap_or(0o755);
                self.operation(Operation::Directory { path: value, mode });
            }
            Flag::TmpOverlay => {
                let lower = self.take_layers("--tmp-overlay", 1)?;
                self.operation(Operation::Overlay {
                    lower,
                    upper: Layers::Temporary,
                    target: value,
                });
            }
            Flag::RoOverlay => {
                let lower = self.take_layers("--ro-overlay", 2)?;
                self.operation(Operation::Overlay {
                    lower,
                    upper: Layers::ReadOnly,
                    target: value,
                });
            }
            Flag::ExecLabel | Flag::FileLabel => {
                return Err("labeling not supported on this system".into());
            }
            Flag::CapAdd => {
                let set = capabilities(&value)?;
                self.arguments.capabilities.chosen = true;
                self.arguments.capabilities.wanted |= set;
            }
            Flag::CapDrop => {
                let set = capabilities(&value)?;
                self.arguments.capabilities.chosen = true;
                self.arguments.capabilities.wanted &= !set;
            }
            Flag::Perms => self.set_permissions(&value)?,
            Flag::Size => self.set_size(&value)?,
            flag => {
                let own = &mut self.arguments.own;
                own.option(flag, spelling.name, value)
                    .map_err(Refused::Because)?;
            }
        }
        Ok(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other option has other operands"
    )]
    fn double(&mut self, flag: Flag, first: OsString, second: OsString) -> Result<(), Refused> {
        let mut bind = |access, optional| {
            self.arguments.operations.push(Operation::Bind {
                source: Source::Path(first.clone()),
                target: second.clone(),
                access,
                optional,
            });
        };
        match flag {
            Flag::Bind => bind(Access::ReadWrite, false),
            Flag::BindTry => bind(Access::ReadWrite, true),
            Flag::RoBind => bind(Access::ReadOnly, false),
            Flag::RoBindTry => bind(Access::ReadOnly, true),
            Flag::DevBind => bind(Access::Devices, false),
            Flag::DevBindTry => bind(Access::Devices, true),
            Flag::BindFd | Flag::RoBindFd => {
                let source = Source::Descriptor(descriptor(&first)?);
                let access = match flag {
                    Flag::RoBindFd => Access::ReadOnly,
                    _ => Access::ReadWrite,
                };
                self.operation(Operation::Bind {
                    source,
                    target: second,
                    access,
                    optional: false,
                });
            }
            Flag::File => {
                let descriptor = descriptor(&first)?;
                let mode = self.permissions.take().unwrap_or(0o666);
                self.operation(Operation::File {
                    descriptor,
                    path: second,
                    mode,
                });
            }
            Flag::BindData | Flag::RoBindData => {
                let descriptor = descriptor(&first)?;
                let mode = self.permissions.take().unwrap_or(0o600);
                self.operation(Operation::BindData {
                    descriptor,
                    target: second,
                    mode,
                    read_only: flag == Flag::RoBindData,
                });
            }
            Flag::Symlink => self.operation(Operation::Symlink {
                target: first,
                path: second,
            }),
            Flag::Chmod => {
                let mode = numbers::permissions(first.as_bytes())
                    .ok_or("--chmod takes an octal argument <= 07777")?;
                self.operation(Operation::Chmod { path: second, mode });
            }
            Flag::Setenv if !self.arguments.environment.set(&first, &second) => {
                return Err("setenv failed".into());
            }
            // Flag::Setenv: done.
            _ => {}
        }
        Ok(())
    }

    fn set_permissions(&mut self, value: &OsStr) -> Result<(), Refused> {
        if self.permissions.is_some() {
            return Err("--perms given twice for the same action".into());
        }
        let mode = numbers::permissions(value.as_bytes())
            .ok_or("--perms takes an octal argument <= 07777")?;
        self.permissions = Some(mode);
        Ok(())
    }

    fn set_size(&mut self, value: &OsStr) -> Result<(), Refused> {
        if self.size.is_some() {
            return Err("--size given twice for the same action".into());
        }
        let bytes =
            numbers::bytes(value.as_bytes()).ok_or("--size takes a non-zero number of bytes")?;
        if bytes > MOST_TMPFS_BYTES {
            return Err(format!("--size (for tmpfs) is limited to {MOST_TMPFS_BYTES}").into());
        }
        self.size = Some(bytes);
        Ok(())
    }

    fn take_layers(&mut self, option: &str, least: usize) -> Result<Vec<OsString>, Refused> {
        if self.layers.len() < least {
            let least = if least == 1 { "one" } else { "two" };
            return Err(format!("{option} requires at least {least} --overlay-src").into());
        }
        Ok(std::mem::take(&mut self.layers))
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only options that name one descriptor come here"
    )]
    fn descriptor_option(&mut self, spelling: &Spelling, value: &OsStr) -> Result<(), Refused> {
        let flag = spelling.flag;
        if flag == Flag::Seccomp && !self.arguments.filters.is_empty() {
            return Err("--seccomp cannot be combined with --add-seccomp-fd".into());
        }
        fn place(descriptors: &mut Descriptors, flag: Flag) -> &mut Option<i32> {
            match flag {
                Flag::SyncFd => &mut descriptors.sync,
                Flag::BlockFd => &mut descriptors.block,
                Flag::UsernsBlockFd => &mut descriptors.user_namespace_block,
                Flag::InfoFd => &mut descriptors.info,
                Flag::JsonStatusFd => &mut descriptors.json_status,
                Flag::Userns => &mut descriptors.user_namespace,
                Flag::Userns2 => &mut descriptors.user_namespace_2,
                Flag::Pidns => &mut descriptors.pid_namespace,
                _ => &mut descriptors.seccomp,
            }
        }
        // In this order: the warning comes before the complaint about the number.
        if place(&mut self.arguments.descriptors, flag).is_some() {
            self.warn_of_several(spelling);
        }
        let number = descriptor(value)?;
        *place(&mut self.arguments.descriptors, flag) = Some(number);
        Ok(())
    }

    fn last_wins<T>(
        &mut self,
        spelling: &Spelling,
        place: impl FnOnce(&mut Arguments) -> &mut Option<T>,
        value: T,
    ) {
        if place(&mut self.arguments).replace(value).is_some() {
            self.warn_of_several(spelling);
        }
    }

    fn warn_of_several(&mut self, spelling: &Spelling) {
        let text = format!("Only the last {} option will take effect", spelling.name);
        self.surroundings.warn(&text, self.arguments.level_prefix);
    }

    fn filter(&mut self, value: &OsStr) -> Result<(), Refused> {
        if self.arguments.descriptors.seccomp.is_some() {
            return Err("--add-seccomp-fd cannot be combined with --seccomp".into());
        }
        let program = self
            .surroundings
            .read(descriptor(value)?)
            .map_err(|errno| errno_after("Can't read seccomp data", errno))?;
        check_filter(&program)?;
        self.arguments.filters.push(program);
        Ok(())
    }

    fn words_of_descriptor(&mut self, value: &OsStr) -> Result<(), Refused> {
        let data = self
            .surroundings
            .read(descriptor(value)?)
            .map_err(|errno| errno_after("Can't read --args data", errno))?;
        let mut words = Vec::new();
        // Nothing at all is no word; one NUL byte is an empty one.
        if !data.is_empty() {
            let data = data.strip_suffix(b"\0").unwrap_or(&data);
            for word in data.split(|byte| *byte == 0) {
                self.parsed += 1;
                if self.parsed > MOST_ARGUMENTS {
                    return Err(too_many());
                }
                words.push(OsString::from_vec(word.to_vec()));
            }
        }
        // What stands behind the options of a file is not part of the command.
        self.words(words, true).map(drop)
    }
}

/// The program has to be a row of instructions, 8 bytes each.
pub fn check_filter(program: &[u8]) -> Result<(), &'static str> {
    if program.len().is_multiple_of(8) {
        Ok(())
    } else {
        Err("Invalid seccomp data, must be multiple of 8")
    }
}

fn too_many() -> Refused {
    format!("Exceeded maximum number of arguments {MOST_ARGUMENTS}").into()
}

fn errno_after(text: &str, errno: i32) -> Refused {
    format!("{text}: {}", super::errno::text(errno)).into()
}

fn descriptor(value: &OsStr) -> Result<i32, Refused> {
    numbers::natural(value.as_bytes()).ok_or_else(|| about("Invalid fd: ", value))
}

fn id(complaint: &str, value: &OsStr) -> Result<u32, Refused> {
    numbers::natural(value.as_bytes())
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| about(complaint, value))
}

/// As libcap's `cap_from_name(3)` reads it: `cap_…` in any case, up to the first other character,
/// or a number below 64.
fn capabilities(value: &OsStr) -> Result<u64, Refused> {
    let bytes = value.as_bytes();
    if bytes.eq_ignore_ascii_case(b"all") {
        return Ok(u64::MAX);
    }
    let number = if bytes.first().is_some_and(u8::is_ascii_digit) {
        let end = bytes.iter().position(|byte| !byte.is_ascii_alphanumeric());
        capability_number(&bytes[..end.unwrap_or(bytes.len())])
    } else {
        let end = bytes
            .iter()
            .position(|byte| !(byte.is_ascii_alphabetic() || *byte == b'_'));
        let name = bytes[..end.unwrap_or(bytes.len())].to_ascii_lowercase();
        // The prefix may be missing: bubblewrap knows no such name.
        let name = name.strip_prefix(b"cap_").unwrap_or(&name);
        CAPABILITIES
            .iter()
            .position(|known| known.as_bytes() == name)
            .map(|number| number as u64)
    };
    match number {
        Some(number) if number < 64 => Ok(1 << number),
        _ => Err(about("unknown cap: ", value)),
    }
}

/// The number at the start: decimal, octal or hexadecimal.
fn capability_number(text: &[u8]) -> Option<u64> {
    let (base, digits) = match text {
        [b'0', b'x' | b'X', digits @ ..] => (16, digits),
        [b'0', digits @ ..] if !digits.is_empty() => (8, digits),
        digits => (10, digits),
    };
    Some(
        digits
            .iter()
            .map_while(|byte| char::from(*byte).to_digit(base))
            .fold(0u64, |sum, digit| {
                sum.saturating_mul(base.into()).saturating_add(digit.into())
            }),
    )
}
