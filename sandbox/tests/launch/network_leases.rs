//! Leases end with their boxes, whoever is in the way, and what cannot be made leaves nothing.
#![allow(
    clippy::disallowed_methods,
    reason = "the world around a box is made by foreign programs, and how long a release takes is seen by the clock"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use sandbox::config::UserNamespace;
use sandbox::network::{Harm, LinkWatch, Mending};
use sandbox::{Host, network};

use crate::fixture::{Case, outcome, outcome_of, plan, wait};
use crate::network::{
    Running, Served, World, asking, fine, here, ip, machine, on, on_default, private, registry,
    release, run, unique, with_ports,
};

/// Mounts of this case are nobody else's.
fn mounts_apart() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).unwrap();
}

/// What is below cannot be written any more.
fn read_only(path: &str) {
    let none: Option<&str> = None;
    mount(Some(path), path, none, MsFlags::MS_BIND, none).unwrap();
    let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, path, none, again, none).unwrap();
}

fn kill(boxed: &Running) {
    let kill = rustix::process::Signal::KILL;
    rustix::process::pidfd_send_signal(&boxed.pidfd, kill).unwrap();
    wait(&boxed.pidfd);
}

/// To whatever was asked.
fn answers(told: &str) -> bool {
    !told.is_empty() && !told.contains("nothing")
}

pub(crate) const CASES: &[Case] = &[
    (
        "a_box_that_could_rule_the_hosts_network_from_its_own_is_refused",
        || {
            let mut config = on_default("aa", "true");
            let walls = config.walls.as_mut().unwrap();
            walls.capability_bounding_set = vec![12];
            let host = Host::detect().unwrap();
            let error = sandbox::compile(&config, &host).unwrap_err().to_string();
            assert!(error.contains("CAP_NET_ADMIN reaches"), "{error}");
            assert!(
                error.ends_with("set `private_users = \"pick\"`, or leave the capability out"),
                "{error}"
            );
            let walls = config.walls.as_mut().unwrap();
            walls.user_namespace = Some(UserNamespace::default());
            sandbox::compile(&config, &host).unwrap();
        },
    ),
    (
        "somebody_left_in_a_dead_boxs_network_keeps_nothing_of_it",
        || {
            let _world = World::new();
            let server = Running::start(&with_ports("aa", &["8080:80"]));
            let mut enter = Command::new("nsenter");
            let target = server.pid.to_string();
            let inside = ["-t", &target, "-n", "sh", "-c", "echo; exec sleep 1000"];
            enter.args(inside).stdout(Stdio::piped());
            let mut left = Served::start(enter);
            assert_eq!(left.line(), "\n");
            kill(&server);
            // Nobody gives it back.
            let mut again = with_ports("bb", &["8080:80"]);
            private(&mut again).name = "box-aa".into();
            let again = Running::start(&again);
            assert!(here(&asking("127.0.0.1", 8080)).contains("TCP4 10."));
            assert_eq!(network::box_of(&unique("aa")).unwrap(), None);
            again.stop();
            drop(left);
        },
    ),
    (
        "a_name_that_a_stranger_has_taken_holds_no_release_up",
        || {
            let _world = World::new();
            let server = Running::start(&with_ports("aa", &[]));
            let name = format!("herd-network-{}", unique("aa"));
            let address = SocketAddr::from_abstract_name(name).unwrap();
            let _stranger = UnixListener::bind_addr(&address).unwrap();
            let begun = Instant::now();
            server.stop();
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(4), "{took:?}");
        },
    ),
    (
        "herds_that_write_down_elsewhere_do_not_take_each_others_walls",
        || {
            let _world = World::new();
            mounts_apart();
            let mut shy = with_ports("aa", &["8080:80"]);
            private(&mut shy).isolate = true;
            let first = Running::start(&shy);
            let rules = run("nft", &["list", "ruleset"]);
            let written = || {
                let all = fs::read_dir(registry()).unwrap();
                let names = all.map(|entry| entry.unwrap().file_name());
                let own = format!("/run/herd/network/box-{}", unique("aa"));
                (names.collect::<BTreeSet<_>>(), Path::new(&own).exists())
            };
            let before = written();
            let none: Option<&str> = None;
            mount(Some("none"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
            let failure = outcome(&on("bb", &["other"], "true")).failure.unwrap();
            let failure = failure.to_string();
            let device = format!("hv{}.0", unique("aa"));
            let told = format!(
                "interface {device} is of a box of another herd in this network namespace, whose /run is not ours: \
                 herds that share a network share /run/herd too"
            );
            assert!(failure.contains(&told), "{failure}");
            assert_eq!(run("nft", &["list", "ruleset"]), rules);
            release("bb");
            assert_eq!(run("nft", &["list", "ruleset"]), rules);
            nix::mount::umount("/run").unwrap();
            assert_eq!(written(), before);
            first.stop();
        },
    ),
    ("a_failure_behind_the_bridge_leaves_nothing", || {
        let _world = World::new();
        mounts_apart();
        let before = machine();
        // Duplicate addresses are looked for, or not, once the bridge is there.
        read_only("/proc/sys/net/ipv6/conf");
        fails_in_the_middle("cannot set /proc/sys/net/ipv6/conf/", &before);
    }),
    ("a_failure_behind_the_rules_leaves_nothing", || {
        let _world = World::new();
        mounts_apart();
        let before = machine();
        read_only("/proc/sys/net/ipv4/conf");
        fails_in_the_middle("cannot set /proc/sys/net/ipv4/conf/herd-default/", &before);
    }),
    ("a_failure_behind_the_settings_leaves_nothing", || {
        let _world = World::new();
        let before = machine();
        let place = format!("/run/herd/network/box-{}", unique("aa"));
        fs::create_dir_all("/run/herd/network").unwrap();
        fs::write(&place, "").unwrap();
        fails_in_the_middle("cannot use /run/herd/network/box-", &before);
        fs::remove_file(&place).ok();
    }),
    (
        "a_hundred_boxes_live_at_one_time_and_each_is_reached",
        || {
            let _world = World::new();
            let before = machine();
            let serve = "exec socat TCP4-LISTEN:80,fork,reuseaddr SYSTEM:'echo $HOSTNAME'";
            let boxes: Vec<Running> = (0..100)
                .map(|number| {
                    let script = serve.replace("$HOSTNAME", &format!("box{number}"));
                    Running::start(&on_default(&format!("b{number}"), &script))
                })
                .collect();
            let addresses: BTreeSet<_> = boxes.iter().map(|one| one.addresses().0).collect();
            let six: BTreeSet<_> = boxes.iter().map(|one| one.addresses().1).collect();
            assert_eq!((addresses.len(), six.len()), (100, 100));
            let names = (0..100).map(|number| format!("box-b{number}"));
            let script: String = names
                .map(|name| {
                    format!("socat -T5 - TCP4:{name}:80,retry=50,interval=0.1 </dev/null\n")
                })
                .collect();
            let told = fine(&on_default("asks", &script)).stdout;
            let wanted: String = (0..100).map(|number| format!("box{number}\n")).collect();
            assert_eq!(told, wanted);
            release("asks");
            for one in &boxes {
                kill(one);
            }
            let ids: Vec<String> = (0..100)
                .map(|number| unique(&format!("b{number}")))
                .collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            network::release(&ids).unwrap();
            assert_eq!(machine(), before);
        },
    ),
    (
        "a_network_leaves_alone_what_other_tables_lead_and_down_interfaces_have",
        || {
            let _world = World::new();
            let subnet = || {
                fine(&on_default("aa", "true"));
                let subnet = network::networks().unwrap()[0].subnet.to_string();
                release("aa");
                subnet
            };
            assert_eq!(subnet(), "10.216.248.0/22");
            ip("link add away type bridge");
            for (there, gone) in [
                (
                    "route add 10.216.249.0/24 via 192.0.2.2 table 100",
                    "route flush table 100",
                ),
                (
                    "address add 10.216.248.5/24 dev away",
                    "address flush dev away",
                ),
                (
                    "address add 10.216.250.5/32 dev lo",
                    "address del 10.216.250.5/32 dev lo",
                ),
                (
                    "route add blackhole 10.216.251.0/26",
                    "route del blackhole 10.216.251.0/26",
                ),
            ] {
                ip(there);
                assert_eq!(subnet(), "10.216.252.0/22", "{there}");
                ip(gone);
            }
            // What an administrator has closed is no reason to go elsewhere, nor to refuse who asks for it.
            ip("route add unreachable 10.0.0.0/8");
            assert_eq!(subnet(), "10.216.248.0/22");
        },
    ),
    (
        "the_next_box_brings_a_removed_bridge_back_and_all_who_were_on_it",
        || {
            let _world = World::new();
            let mut config = with_ports("aa", &["8080:80", "8080:80/udp"]);
            private(&mut config).isolate = true;
            let server = Running::start(&config);
            let (_, six) = server.addresses();
            let mut watch = LinkWatch::new().unwrap();
            ip("link delete herd-default");
            assert!(watch.hear().is_touched);
            assert!(!answers(&here(&asking("127.0.0.1", 8080))));
            let asks = asking("192.0.2.1", 8080);
            let outcome = fine(&on_default("bb", &asks));
            assert!(answers(&outcome.stdout), "{outcome:?}");
            assert!(answers(&here(&asking("127.0.0.1", 8080))));
            assert!(answers(&here(&asking(&format!("[{six}]"), 80))));
            release("bb");
            assert_eq!(network::mend(&BTreeSet::new()).unwrap(), Mending::default());
            server.stop();
        },
    ),
    ("what_was_done_to_a_bridge_is_found_and_mended_once", || {
        let _world = World::new();
        let server = Running::start(&with_ports("aa", &["8080:80", "8080:80/udp"]));
        let end = network::box_of(&unique("aa")).unwrap().unwrap().ends[0]
            .device
            .clone();
        let none = BTreeSet::new();
        let mut watch = LinkWatch::new().unwrap();
        let look = || here("ip -o addr show dev herd-default | awk '{print $3,$4}'");
        let own = look();
        for (change, harm) in [
            ("link delete herd-default", Harm::Missing),
            ("link set herd-default down", Harm::Changed),
            ("-4 addr flush dev herd-default", Harm::Changed),
            ("-6 addr flush dev herd-default", Harm::Changed),
            (&*format!("link set {end} nomaster"), Harm::Left(1)),
            (&format!("link set {end} down"), Harm::Left(1)),
        ] {
            ip(change);
            assert!(watch.hear().is_touched, "{change}");
            let Mending { mended, cut_off } = network::mend(&none).unwrap();
            assert_eq!((mended.len(), mended[0].harm), (1, harm), "{change}");
            assert_eq!(cut_off, []);
            assert_eq!(network::mend(&none).unwrap(), Mending::default());
            // The kernel gives a new one its link-local address when it says that somebody is there.
            while look() != own {}
            assert!(answers(&here(&asking("127.0.0.1", 8080))), "{change}");
        }
        while watch.hear().is_touched {}
        ip(&format!("link delete {end}"));
        let gone = watch.hear().gone;
        assert_eq!(gone.iter().collect::<Vec<_>>(), [&end]);
        let cut_off = network::mend(&gone).unwrap().cut_off;
        assert_eq!((cut_off.len(), &*cut_off[0].device), (1, &*end));
        kill(&server);
        let nobodys = network::mend(&gone).unwrap();
        assert_eq!(
            nobodys,
            Mending::default(),
            "a box that has ended misses nothing"
        );
        release("aa");
    }),
];

/// A box whose network cannot be made for this reason, and what then is there.
#[track_caller]
fn fails_in_the_middle(told: &str, before: &str) {
    let plan = plan(&with_ports("aa", &["127.0.0.1:8080:80"]));
    let failure = outcome_of(&plan, &[]).failure.unwrap().to_string();
    assert!(failure.contains(told), "{failure}");
    assert!(!ip("-o link").contains("herd-"), "{failure}");
    assert_eq!(machine(), before);
}
