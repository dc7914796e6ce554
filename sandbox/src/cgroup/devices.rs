//! Which device nodes a group may open and make: a BPF program on v2, `devices.allow` on v1.
//!
//! The wall does not care where a node lies or who made it: it compares numbers. Names are looked up
//! when the group is made, as systemd does, so a device that gets another number later is shut.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::files::{CgroupError, read, write};
use crate::config::{DeviceMatch, DeviceNumber, DevicePolicy, DeviceRule, Devices};
use crate::sys::{Errno, bpf};

/// The rules of a group and who keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicePlan {
    pub keeper: DeviceKeeper,
    pub devices: Devices,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKeeper {
    /// `BPF_CGROUP_DEVICE` on the v2 leaf.
    Program,
    /// The v1 controller `devices`.
    V1,
}

/// What is open under [`DevicePolicy::Closed`], as in systemd: null, zero, full, random, urandom,
/// tty, ptmx (`Documentation/admin-guide/devices.txt`).
const PSEUDO: [(u32, u32); 7] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)];

/// Everything else is shut.
fn rules(devices: &Devices) -> Vec<DeviceRule> {
    let mut rules = devices.allow.clone();
    if devices.policy == DevicePolicy::Strict {
        return rules;
    }
    let open = |device, make| DeviceRule {
        device,
        read: true,
        write: true,
        make,
        optional: true,
    };
    rules.extend(PSEUDO.iter().map(|(major, minor)| {
        let number = DeviceNumber {
            block: false,
            major: Some(*major),
            minor: Some(*minor),
        };
        open(DeviceMatch::Number(number), true)
    }));
    let (block, driver) = (false, "pts".to_owned());
    rules.push(open(DeviceMatch::Class { block, driver }, false));
    rules
}

/// One rule with its number, the same in both hierarchies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) number: DeviceNumber,
    /// `BPF_DEVCG_ACC_*`: 1 make, 2 read, 4 write.
    pub(super) access: u8,
}

const MAKE: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;

/// Shuts all devices of the v2 group `leaf` but those of the rules. Programs of an earlier call go
/// once the new one stands, so that there is no moment without any.
pub(super) fn attach(plan: &DevicePlan, leaf: &Path) -> Result<(), CgroupError> {
    let fail = |action: &'static str| {
        move |errno: Errno| CgroupError::Devices {
            action,
            path: leaf.to_owned(),
            source: errno.into(),
        }
    };
    let code = program(&resolve(&rules(&plan.devices))?);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let group =
        rustix::fs::open(leaf, flags, Mode::empty()).map_err(|errno| fail("open")(errno.into()))?;
    let before = bpf::attached(group.as_fd()).map_err(fail("ask for the device programs of"))?;
    let program = bpf::load_device_program(&code).map_err(fail("load a device program for"))?;
    bpf::attach(group.as_fd(), program.as_fd()).map_err(fail("attach a device program to"))?;
    for id in before {
        let old = bpf::program_by_id(id).map_err(fail("find an older device program of"))?;
        bpf::detach(group.as_fd(), old.as_fd())
            .map_err(fail("detach an older device program from"))?;
    }
    Ok(())
}

/// The same for a group of the v1 controller.
pub(super) fn restrict(plan: &DevicePlan, leaf: &Path) -> Result<(), CgroupError> {
    let allowed = resolve(&rules(&plan.devices))?;
    write(&leaf.join("devices.deny"), "a")?;
    let file = leaf.join("devices.allow");
    allowed
        .iter()
        .try_for_each(|rule| write(&file, &rule.to_string()))
}

/// Claims that this kernel has device programs: asked of a v2 group, which is not changed.
pub(crate) fn has_programs(group: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(group, flags, Mode::empty())
        .is_ok_and(|group| bpf::attached(group.as_fd()).is_ok())
}

fn resolve(rules: &[DeviceRule]) -> Result<Vec<Allowed>, CgroupError> {
    let drivers = drivers(&read(Path::new("/proc/devices"))?);
    let mut allowed = Vec::new();
    for rule in rules {
        let access = [(rule.make, MAKE), (rule.read, READ), (rule.write, WRITE)]
            .iter()
            .filter(|(given, _)| *given)
            .fold(0, |access, (_, bit)| access | bit);
        let mut allow = |number| allowed.push(Allowed { number, access });
        match &rule.device {
            DeviceMatch::Number(number) => allow(*number),
            DeviceMatch::Path(path) => match number_of(path) {
                Ok(Some(number)) => allow(number),
                Ok(None) => return Err(CgroupError::NotADevice(path.clone())),
                Err(error) if rule.optional && error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(CgroupError::Device {
                        key: "devices".to_owned(),
                        path: path.clone(),
                        source,
                    });
                }
            },
            DeviceMatch::Class { block, driver } if driver == "*" => allow(DeviceNumber {
                block: *block,
                major: None,
                minor: None,
            }),
            DeviceMatch::Class { block, driver } => {
                let before = allowed.len();
                let found = drivers
                    .iter()
                    .filter(|known| known.block == *block && matches(driver, &known.name));
                allowed.extend(found.map(|known| Allowed {
                    number: DeviceNumber {
                        block: *block,
                        major: Some(known.major),
                        minor: None,
                    },
                    access,
                }));
                if allowed.len() == before && !rule.optional {
                    return Err(CgroupError::NoDriver {
                        kind: if *block { "block" } else { "char" },
                        driver: driver.clone(),
                    });
                }
            }
        }
    }
    Ok(allowed)
}

/// `None` for what is no device node.
fn number_of(path: &Path) -> io::Result<Option<DeviceNumber>> {
    let meta = fs::metadata(path)?;
    let kind = meta.file_type();
    Ok(
        (kind.is_block_device() || kind.is_char_device()).then(|| DeviceNumber {
            block: kind.is_block_device(),
            major: Some(rustix::fs::major(meta.rdev())),
            minor: Some(rustix::fs::minor(meta.rdev())),
        }),
    )
}

#[derive(Debug, PartialEq, Eq)]
struct Driver {
    block: bool,
    major: u32,
    name: String,
}

/// `/proc/devices` (`proc_devices(5)`); a line that makes no sense is skipped.
fn drivers(text: &str) -> Vec<Driver> {
    let mut block = false;
    let mut drivers = Vec::new();
    for line in text.lines() {
        match line.trim() {
            "Character devices:" => block = false,
            "Block devices:" => block = true,
            line => {
                if let Some((major, name)) = line.split_once(' ')
                    && let Ok(major) = major.parse()
                {
                    let name = name.trim().to_owned();
                    drivers.push(Driver { block, major, name });
                }
            }
        }
    }
    drivers
}

/// Whether a name is meant by a pattern in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match name.find(part).and_then(|at| name.get(at + part.len()..)) {
            Some(after) => name = after,
            None => return false,
        }
    }
    name.ends_with(last)
}

/// The rules as a program: 1 opens, 0 shuts (`struct bpf_cgroup_dev_ctx`: access and kind in one
/// word, then major and minor).
fn program(allowed: &[Allowed]) -> Vec<u64> {
    const CONTEXT: u8 = 1;
    const KIND: u8 = 2;
    const ACCESS: u8 = 3;
    const MAJOR: u8 = 4;
    const MINOR: u8 = 5;
    const SCRATCH: u8 = 6;
    const EVERY_ACCESS: u8 = MAKE | READ | WRITE;
    let mut code = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE, ACCESS, KIND, 0, 0),
        instruction(AND_NUMBER, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in allowed {
        // Each test but the last jumps over what is left of the rule: its tests, and two to answer.
        let mut tests: Vec<(u8, u32)> = vec![(KIND, if rule.number.block { 1 } else { 2 })];
        tests.extend(rule.number.major.map(|major| (MAJOR, major)));
        tests.extend(rule.number.minor.map(|minor| (MINOR, minor)));
        let masked = rule.access != EVERY_ACCESS;
        let mut left = tests.len() + if masked { 3 } else { 0 } + 2;
        for (register, value) in tests {
            left -= 1;
            code.push(instruction(
                JUMP_UNLESS_EQUAL,
                register,
                0,
                distance(left),
                value,
            ));
        }
        if masked {
            let others = u32::from(!rule.access & EVERY_ACCESS);
            code.push(instruction(MOVE, SCRATCH, ACCESS, 0, 0));
            code.push(instruction(AND_NUMBER, SCRATCH, 0, 0, others));
            code.push(instruction(JUMP_UNLESS_EQUAL, SCRATCH, 0, 2, 0));
        }
        code.push(instruction(MOVE_NUMBER, 0, 0, 0, 1));
        code.push(instruction(EXIT, 0, 0, 0, 0));
    }
    code.push(instruction(MOVE_NUMBER, 0, 0, 0, 0));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    code
}

// Opcodes of Documentation/bpf/standardization/instruction-set.rst; numbers compare in 32 bits,
// because majors and minors are unsigned and a 64-bit operand would be sign-extended.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const MOVE_NUMBER: u8 = 0xb7;
const AND_NUMBER: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_UNLESS_EQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

/// A rule is ten instructions at most.
fn distance(instructions: usize) -> i16 {
    i16::try_from(instructions).unwrap_or(i16::MAX)
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, number: u32) -> u64 {
    let [o0, o1] = offset.to_ne_bytes();
    let [n0, n1, n2, n3] = number.to_ne_bytes();
    let registers = if cfg!(target_endian = "little") {
        from << 4 | to
    } else {
        to << 4 | from
    };
    u64::from_ne_bytes([code, registers, o0, o1, n0, n1, n2, n3])
}

/// As `devices.allow` takes it: `c 1:3 rwm`.
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let kind = if self.number.block { 'b' } else { 'c' };
        let (major, minor) = (part(self.number.major), part(self.number.minor));
        write!(f, "{kind} {major}:{minor} ")?;
        for (bit, letter) in [(READ, "r"), (WRITE, "w"), (MAKE, "m")] {
            if self.access & bit != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for DevicePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keeper = match self.keeper {
            DeviceKeeper::Program => "v2",
            DeviceKeeper::V1 => "v1",
        };
        let policy = match self.devices.policy {
            DevicePolicy::Closed => "closed",
            DevicePolicy::Strict => "strict",
        };
        write!(f, "devices ({keeper}) {policy}")?;
        for rule in &self.devices.allow {
            f.write_str(", ")?;
            match &rule.device {
                DeviceMatch::Path(path) => write!(f, "{} ", path.display())?,
                DeviceMatch::Class { block, driver } => {
                    write!(f, "{}-{driver} ", if *block { "block" } else { "char" })?;
                }
                DeviceMatch::Number(number) => {
                    let number = Allowed {
                        number: *number,
                        access: 0,
                    };
                    write!(f, "{number}")?;
                }
            }
            for (given, letter) in [(rule.read, "r"), (rule.write, "w"), (rule.make, "m")] {
                if given {
                    f.write_str(letter)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the kernel does with the few instructions that we use.
    fn run(code: &[u64], kind: u16, access: u16, major: u32, minor: u32) -> u32 {
        let word = u32::from(access) << 16 | u32::from(kind);
        let mut registers = [0u32; 10];
        let mut at = 0usize;
        for _ in 0..100_000 {
            let [code, ab, o0, o1, n0, n1, n2, n3] = code[at].to_ne_bytes();
            let (to, from) = (usize::from(ab & 15), usize::from(ab >> 4));
            let offset = i16::from_ne_bytes([o0, o1]);
            let number = u32::from_ne_bytes([n0, n1, n2, n3]);
            at += 1;
            match code {
                LOAD_WORD => registers[to] = [word, major, minor][usize::from(o0) / 4],
                MOVE => registers[to] = registers[from],
                MOVE_NUMBER => registers[to] = number,
                AND_NUMBER => registers[to] &= number,
                SHIFT_RIGHT => registers[to] >>= number,
                JUMP_UNLESS_EQUAL if registers[to] != number => {
                    at += usize::try_from(offset).unwrap();
                }
                JUMP_UNLESS_EQUAL => {}
                EXIT => return registers[0],
                other => panic!("{other:#x}"),
            }
        }
        panic!("no end");
    }

    fn allowed(rule: &Allowed, block: bool, access: u8, major: u32, minor: u32) -> bool {
        rule.number.block == block
            && rule.access & access == access
            && rule.number.major.is_none_or(|own| own == major)
            && rule.number.minor.is_none_or(|own| own == minor)
    }

    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![0..4u32, Just(u32::MAX), any::<u32>()]
    }

    fn rule() -> impl Strategy<Value = Allowed> {
        let numbers = (
            any::<bool>(),
            prop::option::of(number()),
            prop::option::of(number()),
        );
        (numbers, 0..8u8).prop_map(|((block, major, minor), access)| Allowed {
            number: DeviceNumber {
                block,
                major,
                minor,
            },
            access,
        })
    }

    proptest! {
        #[test]
        fn the_program_says_what_the_rules_say(
            rules in prop::collection::vec(rule(), 0..20),
            block: bool, access in 1..8u8, major in number(), minor in number(),
        ) {
            let wanted = rules.iter().any(|rule| allowed(rule, block, access, major, minor));
            let kind = if block { 1 } else { 2 };
            let got = run(&program(&rules), kind, u16::from(access), major, minor);
            prop_assert_eq!(got, u32::from(wanted));
        }

        #[test]
        fn no_text_of_the_kernel_s_makes_the_parser_panic(text in ".*", pattern in ".*") {
            for driver in drivers(&text) {
                matches(&pattern, &driver.name);
            }
        }
    }

    #[test]
    fn drivers_are_found_by_name_and_pattern() {
        let text = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n259 blkext\n";
        let found = |block, pattern: &str| -> Vec<u32> {
            let all = drivers(text).into_iter();
            all.filter(|driver| driver.block == block && matches(pattern, &driver.name))
                .map(|driver| driver.major)
                .collect()
        };
        assert_eq!(found(false, "pts"), [136]);
        assert!(found(true, "pts").is_empty());
        assert_eq!(found(true, "b*t"), [259]);
        assert_eq!(found(true, "*"), [8, 259]);
        assert_eq!(found(false, "m*m"), [1]);
        assert!(found(false, "me*em").is_empty());
    }

    #[test]
    fn rules_are_written_as_the_v1_controller_reads_them() {
        let number = DeviceNumber {
            block: true,
            major: Some(8),
            minor: None,
        };
        let access = READ | MAKE;
        assert_eq!(Allowed { number, access }.to_string(), "b 8:* rm");
    }
}
