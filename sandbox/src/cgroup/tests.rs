//! Plans on a table of hosts, and the walk down a v2 tree on a copy made of plain files.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::apply::{ancestors, enable_in};
use super::{CgroupError, CgroupPlan, OomGroup, PlanError, Value, plan, plan_in, prepare_root};
use crate::config::{
    Amount, CgroupLimits, CgroupName, Delegation, DeviceMatch, DevicePolicy, DeviceRule, Devices,
    HugePages,
};
use crate::host::{Architecture, Cgroups, Host, KernelVersion, V1, V2};

fn host(cgroups: Cgroups) -> Host {
    Host {
        kernel: KernelVersion::new(6, 1),
        memory_bytes: 1000 << 20,
        cpus: 4,
        threads_max: 20_000,
        landlock_abi: 0,
        cgroups,
        ..Host::of_tests(Architecture::X86_64)
    }
}

fn v2(controllers: &[&str]) -> V2 {
    V2 {
        mount: "/cg".into(),
        own: "/cg/me".into(),
        controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
        writable: true,
    }
}

fn pure_v2() -> Host {
    host(Cgroups {
        v2: Some(v2(&["cpuset", "cpu", "io", "memory", "pids"])),
        ..Cgroups::default()
    })
}

fn v1(controllers: &[(&str, &str)]) -> Cgroups {
    let group = |mount: &str| V1 {
        mount: mount.into(),
        own: Path::new(mount).join("me"),
        writable: true,
    };
    Cgroups {
        v2: None,
        v1: controllers
            .iter()
            .map(|(name, mount)| ((*name).to_owned(), group(mount)))
            .collect(),
        v1_swap: true,
        device_programs: false,
    }
}

fn hybrid() -> Host {
    let mut cgroups = v1(&[
        ("memory", "/cg/memory"),
        ("cpu", "/cg/cpu,cpuacct"),
        ("cpuacct", "/cg/cpu,cpuacct"),
        ("cpuset", "/cg/cpuset"),
        ("pids", "/cg/pids"),
        ("blkio", "/cg/blkio"),
        ("freezer", "/cg/freezer"),
    ]);
    cgroups.v2 = Some(v2(&[]));
    host(cgroups)
}

fn all_limits() -> CgroupLimits {
    CgroupLimits {
        memory: Some(Amount::Percent(50)),
        swap: Some(Amount::Exactly(1 << 20)),
        cpu_percent: Some(150),
        cpu_weight: Some(50),
        cpus: Some("0-1,3".to_owned()),
        tasks: Some(Amount::Percent(10)),
        io_weight: Some(1000),
        io_read: vec![("/srv".into(), 1000)],
        oom_group: true,
        ..CgroupLimits::default()
    }
}

fn name(text: &str) -> CgroupName {
    CgroupName(text.to_owned())
}

fn planned(limits: &CgroupLimits, host: &Host) -> CgroupPlan {
    plan(&name("herd/web"), limits, host).unwrap()
}

#[test]
fn devices_are_the_kernel_s_programs_or_the_v1_controller_s() {
    let limits = CgroupLimits {
        devices: Some(Devices {
            policy: DevicePolicy::Strict,
            allow: vec![DeviceRule {
                device: DeviceMatch::Path("/dev/fuse".into()),
                read: true,
                write: true,
                make: false,
                optional: false,
            }],
        }),
        ..CgroupLimits::default()
    };
    let refused = |host: &Host| plan(&name("web"), &limits, host).unwrap_err().to_string();
    let mut host = pure_v2();
    assert_eq!(
        refused(&host),
        "limits.devices: neither the cgroup v1 controller devices is here nor a kernel with device \
         programs on v2 (CONFIG_CGROUP_BPF)"
    );
    host.cgroups.device_programs = true;
    assert_eq!(
        planned(&limits, &host).to_string(),
        "cgroup herd/web: v2, devices (v2) strict, /dev/fuse rw"
    );
    host.is_root = false;
    assert_eq!(
        refused(&host),
        "limits.devices: only root may say which devices are open"
    );
    let old = self::host(v1(&[("devices", "/cg/devices")]));
    let plan = planned(&limits, &old);
    assert_eq!(
        plan.to_string(),
        "cgroup herd/web: v1 devices, devices (v1) strict, /dev/fuse rw"
    );
    assert!(plan.joins_in_child());
}

#[test]
fn huge_pages_are_limited_when_used_and_when_reserved() {
    let limits = CgroupLimits {
        huge_pages: [
            (2 << 20, Amount::Exactly(64 << 20)),
            (1 << 30, Amount::Infinity),
        ]
        .map(|(size, amount)| HugePages { size, amount })
        .to_vec(),
        ..CgroupLimits::default()
    };
    let mut host = pure_v2();
    let refused = plan(&name("web"), &limits, &host).unwrap_err().to_string();
    assert_eq!(
        refused,
        "limits.huge_pages needs the cgroup controller hugetlb: no mounted hierarchy offers it to us"
    );
    host.cgroups.v2 = Some(v2(&["hugetlb"]));
    assert_eq!(
        planned(&limits, &host).to_string(),
        "cgroup herd/web: v2 hugetlb.2MB.max=67108864 hugetlb.2MB.rsvd.max=67108864 \
         hugetlb.1GB.max=max hugetlb.1GB.rsvd.max=max"
    );
    assert_eq!(
        planned(&limits, &self::host(v1(&[("hugetlb", "/cg/hugetlb")]))).to_string(),
        "cgroup herd/web: v1 hugetlb hugetlb.2MB.limit_in_bytes=67108864 \
         hugetlb.2MB.rsvd.limit_in_bytes=67108864 hugetlb.1GB.limit_in_bytes=-1 \
         hugetlb.1GB.rsvd.limit_in_bytes=-1"
    );
}

#[test]
fn a_delegated_group_has_the_controllers_and_a_place_for_others_beside() {
    let mut limits = CgroupLimits {
        delegation: Some(Delegation {
            controllers: vec!["pids".to_owned()],
            beside: false,
        }),
        ..CgroupLimits::default()
    };
    let mut plan = planned(&limits, &pure_v2());
    plan.delegate_to(1000, 100);
    assert!(plan.is_delegated());
    assert_eq!(
        plan.to_string(),
        "cgroup herd/web: v2 delegated to user 1000"
    );
    let leaf = plan.v2.unwrap();
    assert_eq!(
        (&leaf.entry, &leaf.controllers),
        (&leaf.path, &vec!["pids".to_owned()])
    );
    limits.delegation.as_mut().unwrap().beside = true;
    let entry = planned(&limits, &pure_v2()).v2.unwrap().entry;
    assert_eq!(entry, Path::new("/cg/me/herd/web/.control"));
    limits.delegation.as_mut().unwrap().controllers = vec!["rdma".to_owned()];
    let refused = |host| {
        super::plan(&name("web"), &limits, &host)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(pure_v2()),
        "limits.delegate = \"rdma\": cgroup v2 does not offer this controller here"
    );
    assert_eq!(
        refused(host(v1(&[("pids", "/cg/pids")]))),
        "limits.delegate needs cgroup v2: a group of v1 that is given away is no limit any more"
    );
}

#[test]
fn a_slice_hands_on_what_the_base_hands_out() {
    let plan = plan(
        &name("herd/apps.slice/web"),
        &CgroupLimits::default(),
        &pure_v2(),
    )
    .unwrap();
    assert_eq!(
        plan.v2.unwrap().controllers,
        ["cpu", "cpuset", "io", "memory", "pids"]
    );
}

#[test]
fn limits_of_a_slice_count_what_is_in_it_on_v1_too() {
    let slices = [(
        name("herd/apps.slice"),
        CgroupLimits {
            memory: Some(Amount::Exactly(1 << 20)),
            ..CgroupLimits::default()
        },
    )];
    let limits = CgroupLimits {
        tasks: Some(Amount::Exactly(5)),
        ..CgroupLimits::default()
    };
    let web = name("herd/apps.slice/web");
    let plan = plan_in(&web, &limits, &slices, &hybrid()).unwrap();
    assert_eq!(
        plan.to_string(),
        "cgroup herd/apps.slice: v2, v1 memory memory.limit_in_bytes=1048576; \
         cgroup herd/apps.slice/web: v2, v1 memory, v1 pids pids.max=5"
    );
    let elsewhere = plan_in(&name("herd/web"), &limits, &slices, &hybrid());
    assert_eq!(
        elsewhere.unwrap_err().to_string(),
        "\"herd/apps.slice\" is no cgroup name: it is no slice above the group"
    );
}

#[test]
fn no_limit_needs_one_group_where_v2_is_mounted() {
    for host in [pure_v2(), hybrid()] {
        let plan = planned(&CgroupLimits::default(), &host);
        assert_eq!(plan.tracking_path(), Some(Path::new("/cg/me/herd/web")));
        assert!(plan.v1.is_empty());
        assert!(plan.v2.unwrap().controllers.is_empty());
    }
}

#[test]
fn every_limit_has_its_file_on_v2() {
    assert_eq!(
        planned(&all_limits(), &pure_v2()).to_string(),
        "cgroup herd/web: v2 memory.max=524288000 memory.swap.max=1048576 \
         cpu.max=150000 100000 cpu.weight=50 cpuset.cpus=0-1,3 pids.max=2000 \
         io.weight=1000 io.max=/srv rbps=1000 memory.oom.group=1"
    );
    let plan = planned(&all_limits(), &pure_v2());
    assert_eq!(plan.oom_group, OomGroup::Kernel);
    assert_eq!(
        plan.v2.unwrap().controllers,
        ["memory", "cpu", "cpuset", "pids", "io"]
    );
}

#[test]
fn every_limit_has_its_file_on_v1() {
    let plan = planned(&all_limits(), &hybrid());
    assert_eq!(
        plan.to_string(),
        "cgroup herd/web: v2, v1 blkio blkio.bfq.weight=181 \
         blkio.throttle.read_bps_device=/srv 1000, \
         v1 cpu+cpuacct cpu.cfs_period_us=100000 cpu.cfs_quota_us=150000 cpu.shares=512, \
         v1 cpuset cpuset.cpus=0-1,3, \
         v1 memory memory.limit_in_bytes=524288000 memory.memsw.limit_in_bytes=525336576, \
         v1 pids pids.max=2000, oom kills the group (by herd)"
    );
    assert_eq!(plan.oom_group, OomGroup::Herd);
    assert!(plan.v2.unwrap().controllers.is_empty());
}

#[test]
fn a_limit_that_nobody_holds_is_an_error_with_its_key() {
    let soft = CgroupLimits {
        memory_high: Some(Amount::Exactly(1)),
        ..CgroupLimits::default()
    };
    let unit = name("web");
    assert_eq!(
        plan(&unit, &soft, &hybrid()).unwrap_err().to_string(),
        "limits.memory_high needs cgroup v2: memory is a v1 controller here, which has only a hard limit"
    );
    let tasks = CgroupLimits {
        tasks: Some(Amount::Exactly(5)),
        ..CgroupLimits::default()
    };
    let error = |cgroups| plan(&unit, &tasks, &host(cgroups)).unwrap_err().to_string();
    assert_eq!(
        error(Cgroups::default()),
        "limits.tasks needs the cgroup controller pids: no cgroup hierarchy is mounted"
    );
    let mut cgroups = Cgroups {
        v2: Some(v2(&["memory"])),
        ..Cgroups::default()
    };
    assert_eq!(
        error(cgroups.clone()),
        "limits.tasks needs the cgroup controller pids: no mounted hierarchy offers it to us"
    );
    cgroups.v2 = Some(V2 {
        writable: false,
        ..v2(&["pids"])
    });
    assert_eq!(
        error(cgroups),
        "limits.tasks needs the cgroup controller pids: /cg/me is not writable for us"
    );
    let swap = CgroupLimits {
        swap: Some(Amount::Exactly(0)),
        ..CgroupLimits::default()
    };
    assert!(matches!(
        plan(&unit, &swap, &hybrid()),
        Err(PlanError::NeedsV2 { key: "swap", .. })
    ));
}

#[test]
fn values_out_of_range_are_refused() {
    for limits in [
        CgroupLimits {
            cpu_percent: Some(0),
            ..CgroupLimits::default()
        },
        CgroupLimits {
            cpu_weight: Some(0),
            ..CgroupLimits::default()
        },
        CgroupLimits {
            io_weight: Some(10_001),
            ..CgroupLimits::default()
        },
        CgroupLimits {
            memory: Some(Amount::Percent(101)),
            ..CgroupLimits::default()
        },
        CgroupLimits {
            io_write: vec![("/".into(), 0)],
            ..CgroupLimits::default()
        },
    ] {
        let error = plan(&name("web"), &limits, &pure_v2()).unwrap_err();
        assert!(matches!(error, PlanError::Value { .. }), "{error}");
    }
    for cpus in [
        "", "a", "1-", "-1", "3-1", "0,,1", "+1", "0 1", "0\n1", "99999999",
    ] {
        let limits = CgroupLimits {
            cpus: Some(cpus.to_owned()),
            ..CgroupLimits::default()
        };
        let error = plan(&name("web"), &limits, &pure_v2()).unwrap_err();
        assert!(
            matches!(error, PlanError::Value { key: "cpus", .. }),
            "{cpus:?}: {error}"
        );
    }
}

#[test]
fn infinity_is_written_in_each_version_s_word() {
    let limits = CgroupLimits {
        memory: Some(Amount::Infinity),
        tasks: Some(Amount::Infinity),
        ..CgroupLimits::default()
    };
    let text = |host: &Host| planned(&limits, host).to_string();
    assert_eq!(
        text(&pure_v2()),
        "cgroup herd/web: v2 memory.max=max pids.max=max"
    );
    assert_eq!(
        text(&hybrid()),
        "cgroup herd/web: v2, v1 memory memory.limit_in_bytes=-1, v1 pids pids.max=max"
    );
}

#[test]
fn a_machine_without_v2_tracks_in_a_freezer_and_one_without_cgroups_not_at_all() {
    let old = host(v1(&[
        ("freezer", "/cg/freezer"),
        ("name=systemd", "/cg/systemd"),
    ]));
    let plan = planned(&CgroupLimits::default(), &old);
    assert_eq!(
        plan.tracking_path(),
        Some(Path::new("/cg/freezer/me/herd/web"))
    );
    let none = planned(&CgroupLimits::default(), &host(Cgroups::default()));
    assert!(none.is_empty());
    assert!(matches!(super::pids(&none), Err(CgroupError::NoHierarchy)));
    super::create(&none).unwrap();
}

#[test]
fn a_name_with_a_path_in_it_is_refused() {
    for bad in [
        "",
        "/",
        "/web",
        "..",
        "a/../b",
        "a//b",
        "a/",
        ".",
        "a\nb",
        "cgroup.procs",
        "a/tasks",
        "herd-supervisor",
    ] {
        let error = plan(&name(bad), &CgroupLimits::default(), &pure_v2()).unwrap_err();
        assert!(matches!(error, PlanError::Name(..)), "{bad:?}");
    }
}

#[test]
fn the_walk_down_goes_from_our_own_group_to_the_leaf_s_parent() {
    let groups = ancestors(Path::new("/cg/me"), Path::new("/cg/me/herd/web"));
    assert_eq!(groups, [Path::new("/cg/me"), Path::new("/cg/me/herd")]);
}

/// Plain files take what a kernel would: enough to see who is moved and what is switched on where.
#[test]
fn herd_moves_itself_aside_before_it_hands_out_controllers() {
    let tree = tempfile::tempdir().unwrap();
    let own = tree.path();
    for group in ["", "herd-supervisor", "herd"] {
        fs::create_dir_all(own.join(group)).unwrap();
        fs::write(own.join(group).join("cgroup.subtree_control"), "").unwrap();
        fs::write(own.join(group).join("cgroup.procs"), "").unwrap();
    }
    fs::write(own.join("cgroup.events"), "populated 1\n").unwrap();
    let me = std::process::id().to_string();
    fs::write(own.join("cgroup.procs"), format!("1\n{me}\n")).unwrap();
    let mut host = pure_v2();
    host.cgroups.v2 = Some(V2 {
        own: own.to_owned(),
        ..v2(&["memory", "rdma"])
    });
    let prepared = prepare_root(&host, &name("herd")).unwrap();
    assert_eq!(prepared.moved, Some(own.join("herd-supervisor")));
    assert_eq!(prepared.enabled, ["memory"]);
    let read = |file: &str| fs::read_to_string(own.join(file)).unwrap();
    assert_eq!(read("herd-supervisor/cgroup.procs"), me);
    assert_eq!(read("cgroup.subtree_control"), "+memory");
    assert_eq!(read("herd/cgroup.subtree_control"), "+memory");
}

#[test]
fn a_controller_that_cannot_be_handed_down_says_where() {
    let tree = tempfile::tempdir().unwrap();
    let file = tree.path().join("cgroup.subtree_control");
    fs::write(&file, "cpu memory\n").unwrap();
    enable_in(tree.path(), &["memory".to_owned()]).unwrap();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "cpu memory\n",
        "nothing is missing"
    );
    fs::remove_file(&file).unwrap();
    let error = enable_in(tree.path(), &["memory".to_owned()]).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read {}", file.display()));
}

proptest! {
    #[test]
    fn a_leaf_is_always_below_our_own_group(text in "[a-z./]{0,12}") {
        if let Ok(plan) = plan(&name(&text), &CgroupLimits::default(), &pure_v2()) {
            let path = plan.v2.unwrap().path;
            prop_assert!(path.starts_with("/cg/me") && path != Path::new("/cg/me"));
            prop_assert!(!path.components().any(|part| part.as_os_str() == ".."));
        }
    }

    #[test]
    fn a_share_is_never_more_than_the_whole(percent in 0_u8..=100) {
        let limits = CgroupLimits {
            memory: Some(Amount::Percent(percent)),
            ..CgroupLimits::default()
        };
        let plan = planned(&limits, &pure_v2());
        let Value::Text(text) = &plan.v2.unwrap().settings[0].alternatives[0].1.clone() else {
            panic!("no text");
        };
        prop_assert!(text.parse::<u64>().unwrap() <= 1000 << 20);
    }
}
