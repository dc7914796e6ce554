//! Landlock, tried from inside.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use sandbox::config::{
    Landlock, Network, PathAccess, PathRule, PortAccess, PortRule, Ports, Scope, Scopes, Walls,
};
use sandbox::{Config, Host};

use crate::attacks::probe;
use crate::boxed::boxed;
use crate::fixture::{Case, config, outcome, outcome_of, plan, shell};

fn abi() -> u32 {
    Host::detect().unwrap().landlock_abi
}

fn rule(path: impl AsRef<Path>, access: PathAccess) -> PathRule {
    PathRule {
        path: path.as_ref().to_owned(),
        access,
        optional: false,
    }
}

/// No wall but landlock, with what every program needs.
fn held(rules: Vec<PathRule>, ports: Vec<PortRule>) -> Config {
    let own = std::env::current_exe().unwrap();
    let mut paths: Vec<PathRule> = ["/usr", "/etc/ld.so.cache"]
        .iter()
        .map(|path| rule(path, PathAccess::Execute))
        .collect();
    paths.push(rule(own, PathAccess::Execute));
    paths.extend(rules);
    let mut config = config(&["true"]);
    config.walls = Some(Walls {
        landlock: Landlock {
            enabled: true,
            paths,
            ports,
            scopes: Scopes::default(),
        },
        ..Walls::bare()
    });
    config
}

/// A directory with a file, another directory, and a file in that.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(place.path().join("file"), "text").unwrap();
    fs::create_dir(place.path().join("sub")).unwrap();
    fs::write(place.path().join("sub/file"), "text").unwrap();
    place
}

/// Everything that can be done to `place()`, with what the answers are.
fn all_of(place: &Path, base: Config) -> Vec<(String, String)> {
    let at = |name: &str| place.join(name).display().to_string();
    let (file, sub) = (at("file"), at("sub/file"));
    let attacks = [
        format!("read,{file}"),
        format!("list,{}", at("sub")),
        format!("open-write,{file}"),
        format!("truncate,{file}"),
        format!("create,{}", at("new")),
        format!("make-directory,{}", at("new-directory")),
        format!("rename,{file},{}", at("sub/moved")),
        format!("remove,{sub}"),
    ];
    let attacks: Vec<&str> = attacks.iter().map(String::as_str).collect();
    probe(base, &attacks)
        .into_iter()
        .map(|(attack, answer)| {
            let name = attack.split(',').next().unwrap().to_owned();
            (name, answer)
        })
        .collect()
}

fn answers(all: &[(String, String)]) -> Vec<&str> {
    all.iter().map(|(_, answer)| answer.as_str()).collect()
}

const READ_ONLY: [&str; 8] = [
    "ok", "ok", "EACCES", "EACCES", "EACCES", "EACCES", "EACCES", "EACCES",
];

pub(crate) const CASES: &[Case] = &[
    // Defect 9 of the seed: only the rights that rules named were handled.
    ("a_rule_to_read_alone_denies_writes_and_deletes", || {
        let place = place();
        let rules = vec![rule(place.path(), PathAccess::Read)];
        let all = all_of(place.path(), held(rules, vec![]));
        assert_eq!(answers(&all), READ_ONLY);
        assert_eq!(fs::read(place.path().join("file")).unwrap(), b"text");
        assert!(!place.path().join("new-directory").exists());
    }),
    ("what_no_rule_names_is_out_of_reach", || {
        let place = place();
        let all = all_of(place.path(), held(vec![], vec![]));
        assert_eq!(answers(&all), ["EACCES"; 8]);
    }),
    ("a_rule_to_write_alone_does_not_let_read", || {
        let place = place();
        let rules = vec![rule(place.path(), PathAccess::Write)];
        let all = all_of(place.path(), held(rules, vec![]));
        let mut expected = ["ok"; 8];
        expected[..2].copy_from_slice(&["EACCES"; 2]);
        assert_eq!(answers(&all), expected);
    }),
    ("a_rule_to_read_and_write_lets_both", || {
        let place = place();
        let rules = vec![rule(place.path(), PathAccess::ReadWrite)];
        let all = all_of(place.path(), held(rules, vec![]));
        assert_eq!(answers(&all), ["ok"; 8]);
    }),
    ("programs_run_only_where_a_rule_lets_them", || {
        let place = place();
        let copy = place.path().join("true");
        fs::copy("/usr/bin/true", &copy).unwrap();
        let run = |access| {
            let base = held(vec![rule(place.path(), access)], vec![]);
            probe(base, &[&format!("run,{}", copy.display())])[0]
                .1
                .clone()
        };
        assert_eq!(run(PathAccess::ReadWrite), "EACCES");
        assert_eq!(run(PathAccess::Execute), "ok");
    }),
    ("a_file_can_be_named_as_a_directory_can", || {
        let place = place();
        let rules = vec![rule(place.path().join("sub/file"), PathAccess::ReadWrite)];
        let at = |name: &str| place.path().join(name).display().to_string();
        let attacks = [
            format!("write,{},new", at("sub/file")),
            format!("read,{}", at("file")),
            format!("remove,{}", at("sub/file")),
        ];
        let attacks: Vec<&str> = attacks.iter().map(String::as_str).collect();
        let all = probe(held(rules, vec![]), &attacks);
        assert_eq!(answers(&all), ["ok", "EACCES", "EACCES"]);
    }),
    ("a_missing_path_fails_by_name_unless_it_is_optional", || {
        let mut missing = rule("/var/tmp/herd-is-not-there", PathAccess::Read);
        let failure = outcome(&held(vec![missing.clone()], vec![]))
            .failure
            .unwrap();
        assert_eq!(
            failure.sentence,
            "landlock: allow to read /var/tmp/herd-is-not-there"
        );
        assert_eq!(failure.errno, libc::ENOENT);
        missing.optional = true;
        let outcome = outcome(&held(vec![missing], vec![]));
        assert_eq!(outcome.failure, None);
        assert_eq!(outcome.status.unwrap().code(), Some(0));
    }),
    ("without_any_rule_not_even_the_program_runs", || {
        let mut config = shell("echo alive");
        config.walls = Some(Walls {
            landlock: Landlock {
                enabled: true,
                ..Landlock::default()
            },
            ..Walls::bare()
        });
        let failure = outcome(&config).failure.unwrap();
        assert_eq!(failure.sentence, "command /bin/sh: permission denied");
        assert!(failure.is_command);
    }),
    ("paths_are_those_of_the_box", || {
        // The box's /tmp is its own, and the rule is for that one.
        let mut config = boxed("echo text > /tmp/x && cat /tmp/x; ls /var/tmp");
        let walls = config.walls.as_mut().unwrap();
        walls.private_tmp = true;
        walls.landlock.paths = vec![
            rule("/usr", PathAccess::Execute),
            rule("/tmp", PathAccess::ReadWrite),
        ];
        let outcome = outcome(&config);
        assert_eq!(outcome.failure, None);
        assert_eq!(outcome.stdout, "text\n");
        assert!(
            outcome.stderr.contains("Permission denied"),
            "{}",
            outcome.stderr
        );
    }),
    ("tcp_is_let_by_port_and_kind", || {
        if abi() < 4 {
            return eprintln!("SKIPPED: needs landlock ABI 4");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().port();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let shut = other.local_addr().unwrap().port();
        let port = |ports, access| PortRule { ports, access };
        let (open, shut) = (
            (format!("connect-tcp,{open}"), open),
            format!("connect-tcp,{shut}"),
        );
        let attacks = [open.0.as_str(), &shut, "bind-tcp,0"];
        let one = port(Ports::One(open.1), PortAccess::Connect);
        let all = probe(held(vec![], vec![one]), &attacks);
        assert_eq!(answers(&all), ["ok", "EACCES", "EACCES"]);
        let any = port(Ports::Any, PortAccess::Connect);
        let all = probe(held(vec![], vec![any]), &attacks);
        assert_eq!(answers(&all), ["ok", "ok", "EACCES"]);
        let both = port(Ports::Any, PortAccess::Both);
        let all = probe(held(vec![], vec![both]), &attacks);
        assert_eq!(answers(&all), ["ok"; 3]);
    }),
    ("an_abstract_socket_of_the_host_is_out_of_reach", || {
        if abi() < 6 {
            return eprintln!("SKIPPED: needs landlock ABI 6");
        }
        let name = format!("herd-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let _listener = UnixListener::bind_addr(&address).unwrap();
        let attack = format!("connect-unix,@{name}");
        let answer = |change: fn(&mut Walls)| {
            let mut base = boxed("");
            change(base.walls.as_mut().unwrap());
            probe(base, &[&attack])[0].1.clone()
        };
        // In the network that is shared by default.
        assert_eq!(answer(|_| {}), "EPERM");
        assert_eq!(
            answer(|walls| walls.landlock.scopes.abstract_unix_sockets = Scope::Open),
            "ok"
        );
        assert_eq!(
            answer(|walls| walls.network = Network::None),
            "ECONNREFUSED"
        );
    }),
    ("sockets_of_the_box_s_own_are_within_reach", || {
        let mut config = boxed(
            "exec 2>&1; perl -MSocket -e 'socket(A, AF_UNIX, SOCK_STREAM, 0); bind(A, \
             pack_sockaddr_un(\"\\0inside\")) or die; listen(A, 1); socket(B, AF_UNIX, SOCK_STREAM, \
             0); connect(B, pack_sockaddr_un(\"\\0inside\")) or die $!; print \"connected\"'",
        );
        config
            .walls
            .as_mut()
            .unwrap()
            .landlock
            .scopes
            .abstract_unix_sockets = Scope::Shut;
        assert_eq!(outcome(&config).stdout, "connected");
    }),
    ("a_signal_does_not_leave_its_scope", || {
        if abi() < 6 {
            return eprintln!("SKIPPED: needs landlock ABI 6");
        }
        let own = format!("kill,{}", std::process::id());
        let mut base = held(vec![], vec![]);
        assert_eq!(probe(base.clone(), &[&own])[0].1, "ok");
        base.walls.as_mut().unwrap().landlock.scopes.signals = Scope::Shut;
        assert_eq!(probe(base, &[&own])[0].1, "EPERM");
    }),
    (
        "no_step_of_landlock_that_fails_lets_the_program_run",
        || {
            let port = PortRule {
                ports: Ports::One(80),
                access: PortAccess::Bind,
            };
            let config = held(vec![rule("/var/tmp", PathAccess::Read)], vec![port]);
            let whole = plan(&config);
            let text = whole.to_string();
            let steps: Vec<usize> = text
                .lines()
                .enumerate()
                .filter(|(_, line)| line.contains("landlock: "))
                .map(|(index, _)| index + 1)
                .collect();
            assert!(steps.len() >= 7, "{text}");
            for step in steps {
                let outcome = outcome_of(&whole.clone().fail_at(step), &[]);
                let failure = outcome.failure.unwrap();
                assert_eq!((failure.step, outcome.stdout.as_str()), (step, ""));
            }
        },
    ),
];
