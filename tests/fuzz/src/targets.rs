//! What is fed, from which inputs, and what must hold beside that nothing panics.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use herd::control::codec::{Decoder, parse_call};
use herd::daemon::notify;
use herd::pid1::fstab::{Machine, Made, read};
use herd::pid1::tasks::sysctl;
use herd::vb::arguments::{Stop, Surroundings, parse};
use herd::vb::environment::Environment;
use units::{Facts, SourceText, UnitName, parse_unit};

/// A reader of bytes.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Gives a number for the kind of its answer: inputs with new ones are worth changing further.
    pub(crate) feed: fn(&[u8]) -> u64,
    pub(crate) seeds: fn(&Path) -> Vec<Vec<u8>>,
}

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "unit_toml",
        feed: unit_toml,
        seeds: units_of_the_repository,
    },
    Target {
        name: "control_frame",
        feed: control_frame,
        seeds: |_| texts(CALLS),
    },
    Target {
        name: "mountinfo",
        feed: mountinfo,
        seeds: mounts_of_this_machine,
    },
    Target {
        name: "netlink",
        feed: sandbox::network::read_answers,
        seeds: answers_of_the_kernel,
    },
    Target {
        name: "environment_file",
        feed: environment_file,
        seeds: |_| texts(VARIABLES),
    },
    Target {
        name: "fstab",
        feed: fstab,
        seeds: |_| texts(TABLES),
    },
    Target {
        name: "sysctl",
        feed: sysctl,
        seeds: |_| texts(SETTINGS),
    },
    Target {
        name: "notification",
        feed: notification,
        seeds: |_| texts(NOTIFICATIONS),
    },
    Target {
        name: "vb_arguments",
        feed: vb_arguments,
        seeds: |_| texts(COMMAND_LINES),
    },
    Target {
        name: "seccomp_profile",
        feed: seccomp_profile,
        seeds: |_| texts(PROFILES),
    },
];

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Without the numbers and names in it: what kind of text it is.
fn kind_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for word in text.split_whitespace().take(6) {
        if word.bytes().all(|byte| byte.is_ascii_lowercase()) {
            word.hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn unit_toml(bytes: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return 0;
    };
    let Ok(name) = UnitName::new("web") else {
        return 1;
    };
    let source = SourceText::new("/etc/herd/web.toml", text);
    let parsed = parse_unit(&name, &[source], &Facts::default());
    let mut kinds = BTreeSet::new();
    for diagnostic in &parsed.diagnostics {
        if let Some(span) = &diagnostic.span {
            assert!(text.get(span.clone()).is_some(), "{span:?} of the text");
        }
        // As it is shown, with line and caret.
        assert!(!diagnostic.to_string().is_empty());
        kinds.insert(kind_of(&diagnostic.message));
    }
    let refused = parsed
        .diagnostics
        .iter()
        .any(|one| one.severity == units::Severity::Error);
    assert!(
        refused || parsed.unit.is_some(),
        "a unit, or an error that says why not"
    );
    if let Some(unit) = &parsed.unit
        && !refused
    {
        assert_eq!(unit.name, name);
    }
    let mut hasher = DefaultHasher::new();
    kinds.hash(&mut hasher);
    hasher.finish()
}

/// The same frames, however the bytes arrive.
fn control_frame(bytes: &[u8]) -> u64 {
    let whole = frames(bytes, bytes.len().max(1));
    assert_eq!(frames(bytes, 1), whole);
    assert_eq!(frames(bytes, 7), whole);
    let calls = whole.iter().map(|frame| match parse_call(frame) {
        Ok(call) => kind_of(&format!("{call:?}").to_lowercase()),
        Err(error) => kind_of(&error.to_string()),
    });
    calls.fold(0, |sum, kind| sum ^ kind)
}

fn frames(bytes: &[u8], at_once: usize) -> Vec<Vec<u8>> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for mut part in bytes.chunks(at_once) {
        while !part.is_empty() {
            let taken = decoder.feed(part);
            part = &part[taken..];
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(_) => return frames,
                }
            }
        }
    }
    frames
}

fn mountinfo(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let mounts = sandbox::host::parse_mountinfo(&text);
    let groups = sandbox::host::parse_cgroup(&text);
    (mounts.len() * 31 + groups.len()) as u64
}

fn environment_file(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let parsed = units::parse_environment_file(&text);
    for (name, _) in &parsed.assignments {
        assert!(!name.is_empty() && !name.contains(['=', '\0']), "{name:?}");
    }
    (parsed.assignments.len() * 31 + parsed.ignored_lines.len()) as u64
}

fn fstab(bytes: &[u8]) -> u64 {
    let table = read(bytes);
    let machine = Machine {
        herd: "/usr/bin/herd".to_owned(),
        ..Machine::default()
    };
    let made = Made::of(&table, &machine);
    for (name, text) in &made.units {
        let name = UnitName::new(name).expect("a name that no unit can have");
        let source = SourceText::new("/run/herd/boot/x.toml", text.as_str());
        let parsed = parse_unit(&name, &[source], &Facts::default());
        // A byte that no text of a unit can have is told as any broken unit is.
        let is_odd = |text: &str| text.contains("\\u00") || text.contains("\\\\");
        assert!(
            parsed.unit.is_some() || is_odd(text),
            "{text}\n{:?}",
            parsed.diagnostics
        );
    }
    (made.units.len() * 961 + made.notes.len() * 31 + made.ties.len()) as u64
}

fn sysctl(bytes: &[u8]) -> u64 {
    let (settings, problems) = sysctl::parse("x.conf", &String::from_utf8_lossy(bytes));
    for setting in &settings {
        let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
        assert!(setting.key.split('/').all(is_part), "{setting:?}");
    }
    (settings.len() * 31 + problems.len()) as u64
}

fn notification(bytes: &[u8]) -> u64 {
    let words = notify::parse(bytes);
    assert!(words.len() <= bytes.len());
    let kinds: BTreeSet<String> = words
        .iter()
        .map(|word| {
            format!("{word:?}")
                .split('(')
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    kind_of(
        &kinds
            .into_iter()
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase(),
    )
}

/// Descriptors hold the same bytes again: `--args` in `--args`.
struct Again<'a> {
    bytes: &'a [u8],
    reads: usize,
}

impl Surroundings for Again<'_> {
    fn read(&mut self, _descriptor: i32) -> Result<Vec<u8>, i32> {
        self.reads += 1;
        match self.reads {
            1..=3 => Ok(self.bytes.to_vec()),
            _ => Err(9),
        }
    }

    fn warn(&mut self, _text: &str, _level_prefix: bool) {}
}

fn vb_arguments(bytes: &[u8]) -> u64 {
    let words = bytes.split(|byte| *byte == 0 || *byte == b'\n');
    let words: Vec<OsString> = words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
    let environment = Environment::new(Vec::new());
    let mut again = Again { bytes, reads: 0 };
    match parse(words, environment, u64::MAX, &mut again) {
        Ok(arguments) => arguments.operations.len() as u64,
        Err(Stop::Complaint(complaint)) => kind_of(&complaint.text.to_string_lossy()),
        Err(Stop::Help | Stop::Version | Stop::Usage) => 1 << 40,
    }
}

fn seccomp_profile(bytes: &[u8]) -> u64 {
    match sandbox::seccomp::parse_profile("fuzz", bytes) {
        Ok(profile) => kind_of(&format!("{profile:?}").to_lowercase()),
        Err(error) => kind_of(&error.to_string()),
    }
}

/// Every unit of the tests, and one with each key.
fn units_of_the_repository(root: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut left = vec![root.join("tests/units"), root.join("examples")];
    while let Some(directory) = left.pop() {
        let Ok(entries) = std::fs::read_dir(directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|ending| ending == "toml") {
                found.extend(std::fs::read(path));
            }
        }
    }
    // The manual has an example of each key.
    let manual = std::fs::read_to_string(root.join("man/herd.unit.5")).unwrap_or_default();
    let examples = manual.split(".EX\n").skip(1);
    found.extend(
        examples
            .filter_map(|text| text.split(".EE").next())
            .map(|text| format!("command = 'true'\n{}", text.replace("\\e", "\\")).into_bytes()),
    );
    found.sort();
    found
}

fn mounts_of_this_machine(_root: &Path) -> Vec<Vec<u8>> {
    let mut seeds = texts(MOUNTS);
    seeds.extend(std::fs::read("/proc/self/mountinfo"));
    seeds.extend(std::fs::read("/proc/self/cgroup"));
    seeds
}

/// A link, a route of either family, an address, what the firewall refuses and takes, and the end of a dump.
fn answers_of_the_kernel(_root: &Path) -> Vec<Vec<u8>> {
    let attribute = |kind: u16, value: &[u8]| {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let message = |kind: u16, content: &[u8]| {
        let length = u32::try_from(content.len() + 16).unwrap_or(u32::MAX);
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        // Of several parts, and the first request's.
        bytes.extend(2u16.to_ne_bytes());
        bytes.extend(1u32.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(content);
        bytes
    };
    let inside = attribute(1, b"veth\0");
    let link = [
        &[0, 0, 1, 0, 3, 0, 0, 0][..],
        &[0; 8],
        &attribute(3, b"hv1.0\0"),
        &attribute(18 | 1 << 15, &inside),
    ];
    let route = |family: u8, length: u8, to: &[u8]| {
        let fixed = [family, length, 0, 0, 254, 2, 0, 1, 0, 0, 0, 0];
        [&fixed[..], &attribute(1, to), &attribute(4, &[3, 0, 0, 0])].concat()
    };
    let address = [
        &[2, 32, 128, 0, 3, 0, 0, 0][..],
        &attribute(1, &[10, 216, 249, 2]),
        &attribute(3, b"eth0\0"),
    ];
    let refused = [&(-17i32).to_ne_bytes()[..], &[0; 16]].concat();
    let taken = [&0i32.to_ne_bytes()[..], &[0; 16]].concat();
    let all = [
        message(16, &link.concat()),
        message(24, &route(2, 24, &[192, 0, 2, 0])),
        message(24, &route(10, 64, &[0xfd; 16])),
        message(20, &address.concat()),
        message(2, &refused),
        message(2, &taken),
        message(10 << 8 | 10, &[1, 0, 0, 0]),
        message(3, &[0; 4]),
    ];
    let whole = all.concat();
    all.into_iter().chain([whole]).collect()
}

const CALLS: &[&str] = &[
    "{\"method\":\"org.varlink.service.GetInfo\",\"parameters\":{}}\0",
    "{\"method\":\"io.herd.Start\",\"parameters\":{\"units\":[\"web\"],\"wait\":true},\"more\":true}\0{\"method\":\"x\",\"oneway\":true}\0",
    "{\"method\":\"io.herd.Status\",\"upgrade\":true,\"parameters\":null}\0\0",
];

const MOUNTS: &[&str] = &[
    "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n",
    "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n31 30 0:27 /a /sys/fs/cgroup/cpu rw shared:4 propagate_from:2 - cgroup cgroup rw,cpu,cpuacct\n",
    "12:cpu,cpuacct:/user.slice\n1:name=systemd:/x\n0::/init.scope\n",
];

const TABLES: &[&str] = &[
    "UUID=1-a / ext4 errors=remount-ro 0 1\n/dev/sda2 none swap sw,pri=5,discard=once 0 0\n",
    "# x\n/srv/my\\040data /a%n$X none bind,x-systemd.requires=b.service 0 0\n\\777 / /\n",
    "server:/x /mnt nfs _netdev,x-systemd.mount-timeout=5min,context=\"a,b\" 0 0 # c\n",
    "tmpfs /tmp tmpfs size=1m,noauto,x-systemd.wanted-by=multi-user.target\nproc /proc proc hidepid=2\n",
];

const SETTINGS: &[&str] = &[
    "# x\n; y\nkernel.sysrq = 0\n-net/ipv4/conf/eth0.1/forwarding=1\n",
    "net.ipv4.conf.*.rp_filter=2\n-net.ipv4.conf.lo.rp_filter\nbroken\n= 1\n..=2\n",
];

const VARIABLES: &[&str] = &[
    "A=1\nB=\"two \\\"words\\\" \\$x\"\n# comment\n; another\nC='it''s'\nD=a\\\nb\nexport E=1\n",
    "A=\"over\ntwo lines\"\n=x\nB\n1C=2\n\u{feff}F=3\r\n",
];

const NOTIFICATIONS: &[&str] = &[
    "READY=1\nSTATUS=all is well\nMAINPID=123\n",
    "WATCHDOG=trigger\nWATCHDOG_USEC=18446744073709551615\nEXTEND_TIMEOUT_USEC=5000000\n",
    "FDSTORE=1\nFDNAME=a:b\nFDSTOREREMOVE=1\nBARRIER=1\nRELOADING=1\nMONOTONIC_USEC=1\nSTOPPING=1\nERRNO=2\n",
];

const COMMAND_LINES: &[&str] = &[
    "--ro-bind\0/\0/\0--proc\0/proc\0--dev\0/dev\0--tmpfs\0/tmp\0--unshare-all\0--share-net\0--die-with-parent\0--\0true\0x",
    "--args\x003\0--uid\x001\0--gid\x002\0--hostname\0x\0--unshare-user\0--unshare-uts\0--cap-add\0CAP_CHOWN\0--cap-drop\0ALL\0true",
    "--perms\x000755\0--size\x001048576\0--tmpfs\0/x\0--overlay-src\0/a\0--overlay\0/u\0/w\0/m\0--tmp-overlay\0/t\0--ro-overlay\0/r\0--symlink\0a\0/b\0--chmod\x00700\0/x\0--file\x005\0/f\0--bind-data\x006\0/g\0true",
    "--setenv\0A\0b\0--unsetenv\0C\0--clearenv\0--chdir\0/\0--lock-file\0/l\0--sync-fd\x003\0--block-fd\x004\0--info-fd\x005\0--json-status-fd\x006\0--seccomp\x007\0--add-seccomp-fd\x008\0--argv0\0x\0--level-prefix\0true",
    "--memory\x0064M\0--swap\x000\0--cpu\x0050%\0--tasks\x005\0--profile\0strict\0--landlock-ro\0/usr\0--landlock-connect\x0080\0--rootfs\0/r\0--chroot\0true",
];

const PROFILES: &[&str] = &[
    r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]}],"syscalls":[{"names":["read","write"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}],"includes":{"caps":["CAP_SYS_ADMIN"],"minKernel":"4.8"},"excludes":{"arches":["s390"]}}]}"#,
    r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"],"architectures":["SCMP_ARCH_AARCH64"],"syscalls":[{"name":"mount","action":"SCMP_ACT_ERRNO","errno":"EXDEV"},{"names":["clone"],"action":"SCMP_ACT_KILL_PROCESS","args":[{"index":5,"value":18446744073709551615,"op":"SCMP_CMP_GE"}]}],"listenerPath":"/x"}"#,
];
