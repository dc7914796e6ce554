//! What is planned for a table of kernels.
#![forbid(unsafe_code)]

use super::plan::{Planned, plan};
use super::{Circumstances, LandlockError};
use crate::config::{Landlock, PathAccess, PathRule, PortAccess, PortRule, Ports, Scope, Scopes};

fn on(abi: u32) -> Circumstances {
    Circumstances {
        abi,
        shared_network: true,
        no_new_privileges: true,
    }
}

fn rules() -> Landlock {
    let path = |path: &str, access, optional| PathRule {
        path: path.into(),
        access,
        optional,
    };
    let port = |port, access| PortRule {
        ports: Ports::One(port),
        access,
    };
    Landlock {
        enabled: true,
        paths: vec![
            path("/usr", PathAccess::Execute, false),
            path("/srv", PathAccess::ReadWrite, true),
        ],
        ports: vec![port(443, PortAccess::Connect), port(80, PortAccess::Both)],
        scopes: Scopes::default(),
    }
}

fn words(planned: &Planned) -> Vec<String> {
    planned.steps.iter().map(ToString::to_string).collect()
}

#[test]
fn all_that_the_abi_has_is_denied_but_for_the_rules() {
    let planned = plan(&rules(), on(7)).unwrap();
    assert_eq!(planned.missing, None);
    assert_eq!(
        words(&planned),
        [
            "landlock: deny 16 rights to files, bind and connect tcp, but for the rules (ABI 7)",
            "landlock: allow to execute /usr",
            "landlock: allow to read and write /srv (unless it is missing)",
            "landlock: allow to connect tcp port 443",
            "landlock: allow to bind and connect tcp port 80",
            "landlock: enforce this from now on",
        ]
    );
    let newest = words(&plan(&rules(), on(9)).unwrap());
    assert!(newest[0].contains("deny 17 rights"), "{newest:?}");
}

#[test]
fn what_an_older_kernel_cannot_deny_is_named() {
    let missing = |abi| plan(&rules(), on(abi)).unwrap().missing;
    assert_eq!(missing(5), None);
    assert_eq!(
        missing(4).unwrap(),
        "this kernel's landlock is ABI 4, which cannot deny ioctls on devices (ABI 5)"
    );
    assert_eq!(
        missing(1).unwrap(),
        "this kernel's landlock is ABI 1, which cannot deny truncating files (ABI 3), TCP (ABI 4), \
         ioctls on devices (ABI 5)"
    );
    assert_eq!(
        missing(0).unwrap(),
        "this kernel has no landlock, or has it switched off"
    );
}

#[test]
fn what_is_left_of_the_wall_is_as_much_as_the_kernel_has() {
    let steps = |abi| words(&plan(&rules(), on(abi)).unwrap());
    assert_eq!(
        steps(3),
        [
            "landlock: deny 15 rights to files, but for the rules (ABI 3)",
            "landlock: allow to execute /usr",
            "landlock: allow to read and write /srv (unless it is missing)",
            "landlock: enforce this from now on",
        ]
    );
    assert_eq!(steps(0), Vec::<String>::new());
}

#[test]
fn tcp_that_is_open_needs_no_kernel() {
    let mut wanted = rules();
    wanted.ports = vec![PortRule {
        ports: Ports::Any,
        access: PortAccess::Both,
    }];
    let planned = plan(&wanted, on(5)).unwrap();
    assert_eq!(
        words(&planned)[0],
        "landlock: deny 16 rights to files, but for the rules (ABI 5)"
    );
    let missing = plan(&wanted, on(3)).unwrap().missing.unwrap();
    assert!(!missing.contains("TCP"), "{missing}");
}

#[test]
fn scopes_alone_deny_nothing_else() {
    let wanted = Landlock {
        scopes: Scopes {
            abstract_unix_sockets: Scope::Shut,
            signals: Scope::Shut,
        },
        ..Landlock::default()
    };
    let planned = plan(&wanted, on(6)).unwrap();
    assert_eq!(
        words(&planned),
        [
            "landlock: keep abstract unix sockets and signals inside (ABI 6)",
            "landlock: enforce this from now on",
        ]
    );
    assert_eq!(
        plan(&wanted, on(5)).unwrap().missing.unwrap(),
        "this kernel's landlock is ABI 5, which cannot deny abstract unix sockets (ABI 6), signals \
         (ABI 6)"
    );
}

#[test]
fn what_is_wanted_where_offered_is_told_where_it_is_not() {
    let wanted = Landlock {
        scopes: Scopes {
            abstract_unix_sockets: Scope::WhereOffered,
            ..Scopes::default()
        },
        ..Landlock::default()
    };
    let given = |around| plan(&wanted, around).unwrap();
    assert_eq!(given(on(6)).steps.len(), 2);
    let old = given(on(5));
    assert_eq!((old.steps.len(), old.missing), (0, None));
    assert_eq!(
        old.not_offered.unwrap(),
        "abstract unix sockets outside stay within reach: this kernel's landlock is ABI 5, scopes \
         came with ABI 6 (Linux 6.12)"
    );
    let own_network = Circumstances {
        shared_network: false,
        ..on(5)
    };
    assert_eq!(given(own_network), Planned::default());
    let new_privileges = Circumstances {
        no_new_privileges: false,
        ..on(7)
    };
    assert!(
        given(new_privileges)
            .not_offered
            .unwrap()
            .contains("no_new_privileges")
    );
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let mut wanted = rules();
    wanted.paths[0].path = "usr".into();
    assert_eq!(
        plan(&wanted, on(7)).unwrap_err().to_string(),
        "the landlock path usr is not absolute"
    );
    let mut wanted = rules();
    wanted.ports[0].ports = Ports::One(0);
    assert_eq!(plan(&wanted, on(7)), Err(LandlockError::PortZero));
}
