//! The JSON of a profile.
#![forbid(unsafe_code)]

use serde::Deserialize;

use crate::config::{
    Abi, ArgumentCondition, CAPABILITIES, Circumstances, Comparison, ProfileAction,
    ProfileArchitectures, ProfileRule, SeccompProfile,
};
use crate::host::KernelVersion;

/// A profile that cannot be held, or makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("no seccomp profile")]
    Json(#[from] serde_json::Error),
    #[error("{0} is not supported: nobody would listen")]
    Listener(&'static str),
    #[error("{what} {word:?} is none that seccomp profiles have")]
    Word { what: &'static str, word: String },
    #[error("{first} and {second} say the same thing twice")]
    Both {
        first: &'static str,
        second: &'static str,
    },
    #[error("rule {0} of syscalls names no call")]
    NoName(usize),
    #[error("{action} takes no errno")]
    NoErrno { action: String },
    #[error("errno {errno} is above {most}")]
    Errno { errno: u32, most: u16 },
    #[error("an argument's index is 0 to 5, not {0}")]
    Index(u32),
    #[error("{0:?} is no kernel version")]
    Kernel(String),
    #[error("{0:?} is no errno")]
    ErrnoName(String),
}

/// Reads `linux.seccomp` of the OCI runtime specification, or a profile of Docker's or Podman's. `name`
/// is how plans call it. Fields that herd does not know are refused: they might restrict something.
///
/// # Errors
/// [`ProfileError`]; `SCMP_ACT_NOTIFY` and `listenerPath` are refused, nobody would listen.
pub fn parse(name: &str, json: &[u8]) -> Result<SeccompProfile, ProfileError> {
    let file: File = serde_json::from_slice(json)?;
    if file.listener_path.is_some_and(|path| !path.is_empty()) {
        return Err(ProfileError::Listener("listenerPath"));
    }
    if file.listener_metadata.is_some_and(|text| !text.is_empty()) {
        return Err(ProfileError::Listener("listenerMetadata"));
    }
    let default_errno = errno(file.default_errno_ret, file.default_errno.as_deref())?;
    let architectures = match (file.architectures, file.arch_map) {
        (Some(listed), Some(map)) if !listed.is_empty() && !map.is_empty() => {
            return Err(ProfileError::Both {
                first: "architectures",
                second: "archMap",
            });
        }
        (_, Some(map)) if !map.is_empty() => {
            ProfileArchitectures::Companions(map.iter().filter_map(companions).collect())
        }
        (listed, _) => ProfileArchitectures::Listed(abis(&listed.unwrap_or_default())?),
    };
    let mut flags = 0;
    for word in file.flags.unwrap_or_default() {
        flags |= flag(&word)?;
    }
    let rules = file.syscalls.unwrap_or_default().into_iter().enumerate();
    Ok(SeccompProfile {
        name: name.to_owned(),
        default_action: action(&file.default_action, default_errno)?,
        architectures,
        rules: rules
            .map(|(index, rule)| rule.read(index))
            .collect::<Result<_, _>>()?,
        flags,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    default_action: String,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchMap>>,
    syscalls: Option<Vec<Rule>>,
    flags: Option<Vec<String>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    errno: Option<String>,
    args: Option<Vec<Argument>>,
    includes: Option<Selector>,
    excludes: Option<Selector>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selector {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

impl Rule {
    fn read(self, index: usize) -> Result<ProfileRule, ProfileError> {
        let names = match (self.name, self.names) {
            (Some(name), Some(names)) if !name.is_empty() && !names.is_empty() => {
                return Err(ProfileError::Both {
                    first: "name",
                    second: "names",
                });
            }
            (Some(name), _) if !name.is_empty() => vec![name],
            (_, names) => names.unwrap_or_default(),
        };
        if names.is_empty() {
            return Err(ProfileError::NoName(index));
        }
        let conditions = self.args.unwrap_or_default();
        Ok(ProfileRule {
            names,
            action: action(&self.action, errno(self.errno_ret, self.errno.as_deref())?)?,
            conditions: conditions
                .iter()
                .map(Argument::read)
                .collect::<Result<_, _>>()?,
            includes: self.includes.unwrap_or_default().read()?,
            excludes: self.excludes.unwrap_or_default().read()?,
        })
    }
}

impl Argument {
    fn read(&self) -> Result<ArgumentCondition, ProfileError> {
        let index = u8::try_from(self.index).ok().filter(|index| *index < 6);
        let comparison = match self.op.as_str() {
            "SCMP_CMP_NE" => Comparison::NotEqual(self.value),
            "SCMP_CMP_LT" => Comparison::Less(self.value),
            "SCMP_CMP_LE" => Comparison::LessOrEqual(self.value),
            "SCMP_CMP_EQ" => Comparison::Equal(self.value),
            "SCMP_CMP_GE" => Comparison::GreaterOrEqual(self.value),
            "SCMP_CMP_GT" => Comparison::Greater(self.value),
            "SCMP_CMP_MASKED_EQ" => Comparison::MaskedEqual {
                mask: self.value,
                value: self.value_two,
            },
            _ => return Err(unknown("operator", &self.op)),
        };
        Ok(ArgumentCondition {
            index: index.ok_or(ProfileError::Index(self.index))?,
            comparison,
        })
    }
}

impl Selector {
    fn read(self) -> Result<Circumstances, ProfileError> {
        let arches = self.arches.unwrap_or_default();
        let minimum_kernel = self.min_kernel.filter(|text| !text.is_empty());
        Ok(Circumstances {
            capabilities: self
                .caps
                .unwrap_or_default()
                .iter()
                .map(|name| capability(name))
                .collect::<Result<_, _>>()?,
            names_architectures: !arches.is_empty(),
            architectures: arches.iter().filter_map(|name| go_name(name)).collect(),
            minimum_kernel: minimum_kernel.map(kernel).transpose()?,
        })
    }
}

fn unknown(what: &'static str, word: &str) -> ProfileError {
    ProfileError::Word {
        what,
        word: word.to_owned(),
    }
}

const ERRNO_MOST: u16 = 4095;
const EPERM: u16 = 1;

fn action(word: &str, number: Option<u32>) -> Result<ProfileAction, ProfileError> {
    let below = |most: u16| match number {
        None => Ok(EPERM),
        Some(errno) => u16::try_from(errno)
            .ok()
            .filter(|errno| *errno <= most)
            .ok_or(ProfileError::Errno { errno, most }),
    };
    let plain = match word {
        "SCMP_ACT_ERRNO" => return below(ERRNO_MOST).map(ProfileAction::Errno),
        "SCMP_ACT_TRACE" => return below(u16::MAX).map(ProfileAction::Trace),
        "SCMP_ACT_KILL_PROCESS" => ProfileAction::KillProcess,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => ProfileAction::KillThread,
        "SCMP_ACT_TRAP" => ProfileAction::Trap,
        "SCMP_ACT_LOG" => ProfileAction::Log,
        "SCMP_ACT_ALLOW" => ProfileAction::Allow,
        "SCMP_ACT_NOTIFY" => return Err(ProfileError::Listener("SCMP_ACT_NOTIFY")),
        _ => return Err(unknown("action", word)),
    };
    match number {
        // Docker writes the default's even where the default is to allow.
        None | Some(0) => Ok(plain),
        Some(_) => Err(ProfileError::NoErrno {
            action: word.to_owned(),
        }),
    }
}

/// Podman writes names, and means them where there are both.
fn errno(number: Option<u32>, name: Option<&str>) -> Result<Option<u32>, ProfileError> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(number);
    };
    let known = (1..=133).find(|number| {
        let errno = nix::errno::Errno::from_raw(*number);
        format!("{errno:?}") == name
    });
    known
        .and_then(|number| u32::try_from(number).ok())
        .map(Some)
        .ok_or_else(|| ProfileError::ErrnoName(name.to_owned()))
}

fn abis(words: &[String]) -> Result<Vec<Abi>, ProfileError> {
    let each = words.iter().map(|word| scmp_name(word));
    Ok(each
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect())
}

fn companions(map: &ArchMap) -> Option<(Abi, Vec<Abi>)> {
    let native = scmp_name(&map.architecture).ok().flatten()?;
    let others = map.sub_architectures.as_deref().unwrap_or_default();
    let others = others
        .iter()
        .filter_map(|word| scmp_name(word).ok().flatten());
    Some((native, others.collect()))
}

/// `Ok(None)` for an architecture that herd does not run on.
fn scmp_name(word: &str) -> Result<Option<Abi>, ProfileError> {
    let elsewhere = [
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PPC",
        "PPC64",
        "PPC64LE",
        "S390",
        "S390X",
        "PARISC",
        "PARISC64",
        "LOONGARCH64",
        "M68K",
        "SH",
        "SHEB",
    ];
    match word.strip_prefix("SCMP_ARCH_") {
        Some("X86_64") => Ok(Some(Abi::X86_64)),
        Some("X86") => Ok(Some(Abi::X86)),
        Some("X32") => Ok(Some(Abi::X32)),
        Some("AARCH64") => Ok(Some(Abi::Aarch64)),
        Some("ARM") => Ok(Some(Abi::Arm)),
        Some("RISCV64") => Ok(Some(Abi::Riscv64)),
        // The native one is there in any case.
        Some("NATIVE") => Ok(None),
        Some(name) if elsewhere.contains(&name) => Ok(None),
        Some(_) | None => Err(unknown("architecture", word)),
    }
}

/// As Go calls architectures, which is how Docker does.
fn go_name(word: &str) -> Option<Abi> {
    match word {
        "amd64" => Some(Abi::X86_64),
        "x86" | "386" => Some(Abi::X86),
        "x32" => Some(Abi::X32),
        "arm64" => Some(Abi::Aarch64),
        "arm" => Some(Abi::Arm),
        "riscv64" => Some(Abi::Riscv64),
        _ => None,
    }
}

fn capability(name: &str) -> Result<u8, ProfileError> {
    let known = name.strip_prefix("CAP_").and_then(|short| {
        CAPABILITIES
            .iter()
            .position(|known| known.eq_ignore_ascii_case(short))
    });
    known
        .and_then(|number| u8::try_from(number).ok())
        .ok_or_else(|| unknown("capability", name))
}

fn kernel(text: String) -> Result<KernelVersion, ProfileError> {
    let parts = text
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    match parts {
        Some((major, minor)) => Ok(KernelVersion::new(major, minor)),
        None => Err(ProfileError::Kernel(text)),
    }
}

/// `SECCOMP_FILTER_FLAG_*` of `seccomp(2)`.
fn flag(word: &str) -> Result<u32, ProfileError> {
    match word {
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(1),
        "SECCOMP_FILTER_FLAG_LOG" => Ok(2),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(4),
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => Err(ProfileError::Listener(
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        )),
        _ => Err(unknown("flag", word)),
    }
}
