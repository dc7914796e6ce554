//! What to do about a wall that this machine or this container does not let herd build: the second line under a
//! refusal, for who reads it at night.
//!
//! Which walls are concerned is asked of the compiler itself: with every one of them relaxed it says what it gave up.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use sandbox::capability::{CAP_NET_ADMIN, CAP_SETFCAP};
use sandbox::config::{Config, Wall};
use sandbox::host::UserNamespaces;
use sandbox::{CompileError, Host};

use crate::pid1::place::{Container, Place};

/// One line, or nothing where there is nothing to be done but to change the unit or the kernel.
pub(crate) fn advice(
    error: &CompileError,
    config: &Config,
    host: &Host,
    place: &Place,
) -> Option<String> {
    if !matches!(error, CompileError::Wall { .. }) {
        return None;
    }
    let container = match place {
        Place::Container(container) if has_options(container) => Some(container),
        Place::Container(_) | Place::Machine => None,
    };
    let Some(missing) = missing(config, host) else {
        let capabilities = capabilities(config, host);
        return container.and(capabilities).map(started_with);
    };
    let without = format!("best_effort = [{}] in [box] goes without", names(&missing));
    let options = container.and_then(|container| options(&missing, host, container));
    Some(match options {
        Some(options) => format!("{}; or {without}", started_with(options)),
        None => without,
    })
}

fn started_with(options: String) -> String {
    format!("start the container with {options}")
}

/// The walls that cannot be built and that the unit does not relax; `None` where that is not all that is amiss.
fn missing(config: &Config, host: &Host) -> Option<BTreeSet<Wall>> {
    let mut filters = sandbox::seccomp::Memory::default();
    let own = &config.walls.as_ref()?.best_effort;
    let mut lost_without = |relaxed: Vec<Wall>| {
        let mut config = config.clone();
        config.walls.as_mut()?.best_effort = relaxed;
        let plan = sandbox::compile_with(&config, host, &mut filters).ok()?;
        let lost = plan.warnings().iter().map(|lost| lost.wall);
        Some(lost.filter(|wall| !own.contains(wall)).collect())
    };
    let all = || Wall::NAMES.into_iter().map(|(_, wall)| wall);
    let mut missing: BTreeSet<Wall> = lost_without(all().collect())?;
    // Some are weaker here and told of, but refused for nobody.
    missing.retain(|wall| lost_without(all().filter(|other| other != wall).collect()).is_none());
    (!missing.is_empty()).then_some(missing)
}

/// As the unit writes them.
fn names(missing: &BTreeSet<Wall>) -> String {
    let is_all = missing.contains(&Wall::MountNamespace);
    let of_namespaces = |wall: &&Wall| is_all && Wall::OF_NAMESPACES.contains(wall);
    let others = missing.iter().filter(|wall| !of_namespaces(wall));
    let all = is_all.then_some("namespaces").into_iter();
    let names = all.chain(others.map(|wall| wall.name()));
    names
        .map(|name| format!("\"{name}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Options of engines are of use: theirs are docker's, whoever makes the container in the end.
fn has_options(container: &Container) -> bool {
    let manager = container.manager.as_deref();
    matches!(manager, None | Some("docker" | "podman" | "oci"))
}

/// What root needs for a box that nothing else helps.
fn capabilities(config: &Config, host: &Host) -> Option<String> {
    let network = &config.walls.as_ref()?.network;
    let is_network = network.as_private().is_some() && !host.has_capability(CAP_NET_ADMIN);
    let wanted = [
        (!host.is_root, "--cap-add SYS_ADMIN"),
        (is_network, "--cap-add NET_ADMIN"),
    ];
    let wanted = wanted.into_iter().filter(|(is_wanted, _)| *is_wanted);
    let wanted: Vec<&str> = wanted.map(|(_, option)| option).collect();
    (host.uid == 0 && !wanted.is_empty()).then(|| wanted.join(" "))
}

/// What engines withhold by default and give when they are asked.
fn options(missing: &BTreeSet<Wall>, host: &Host, container: &Container) -> Option<String> {
    let is_docker = container.manager.as_deref() == Some("docker");
    // Root's box takes another /proc for the sake of a user namespace only.
    let is_hidden = !(host.is_root && missing.contains(&Wall::MountNamespace));
    let hides = |wall: &Wall| matches!(wall, Wall::ProtectProc | Wall::PidNamespace);
    let filters = |wall: &Wall| matches!(wall, Wall::MountNamespace | Wall::UtsNamespace);
    let is_filtered = missing.iter().any(filters);
    let takes_file_capability = host.uid == 0 && !host.has_capability(CAP_SETFCAP);
    // No option of an engine changes it.
    let is_setting =
        matches!(&host.user_namespaces, UserNamespaces::Refused(who) if who.is_of_machine());
    let whole_proc = match is_docker {
        true => "--security-opt systempaths=unconfined",
        false => "--security-opt unmask=ALL",
    };
    let wanted = [
        (is_filtered && takes_file_capability, "--cap-add SETFCAP"),
        (is_filtered, "--security-opt seccomp=unconfined"),
        (
            is_hidden && host.no_new_proc.is_some() && missing.iter().any(hides),
            whole_proc,
        ),
    ];
    let wanted = wanted
        .into_iter()
        .filter(|(is_wanted, _)| *is_wanted && !is_setting);
    let wanted: Vec<&str> = wanted.map(|(_, option)| option).collect();
    // Root with it takes no user namespace, and meets nothing of this but docker's filter, which has no pivot_root(2)
    // for anybody.
    let alone = host.uid == 0 && !host.is_root && !is_docker;
    let alone = alone.then_some("--cap-add SYS_ADMIN");
    match (wanted.is_empty(), alone) {
        (false, Some(alone)) => Some(format!("{}, or with {alone}", wanted.join(" "))),
        (false, None) => Some(wanted.join(" ")),
        (true, Some(alone)) if is_filtered => Some(alone.to_owned()),
        (true, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pid1::place::Sign;
    use sandbox::config::Walls;
    use sandbox::host::Forbidder;

    fn docker() -> Place {
        Place::Container(Container {
            manager: Some("docker".into()),
            sign: Sign::Dockerenv,
        })
    }

    /// Root of a container, as engines start it by default.
    fn host() -> Host {
        let mut host = Host::of_launcher().unwrap();
        (host.uid, host.is_root) = (0, false);
        host.capabilities = 1 << CAP_SETFCAP;
        host
    }

    fn advised(host: &Host, place: &Place) -> Option<String> {
        let mut config = Config::bare("web", ["/bin/true"]);
        let walls = Walls {
            namespaces: sandbox::config::Namespaces {
                mount: true,
                pid: true,
                uts: true,
                ..Default::default()
            },
            ..Walls::bare()
        };
        config.walls = Some(walls);
        let error = sandbox::compile(&config, host).unwrap_err();
        advice(&error, &config, host, place)
    }

    #[test]
    fn a_filter_is_answered_with_the_options_that_take_it_away_or_the_keys_that_go_without() {
        let mut host = host();
        host.no_new_hostname = Some("somebody forbids it".into());
        assert_eq!(
            advised(&host, &docker()).unwrap(),
            "start the container with --security-opt seccomp=unconfined; or best_effort = \
             [\"uts_namespace\"] in [box] goes without"
        );
        assert_eq!(
            advised(&host, &Place::Machine).unwrap(),
            "best_effort = [\"uts_namespace\"] in [box] goes without"
        );
        host.no_new_proc = Some("something lies over it".into());
        host.uid = 1000;
        assert_eq!(
            advised(&host, &docker()).unwrap(),
            "start the container with --security-opt seccomp=unconfined --security-opt \
             systempaths=unconfined; or best_effort = [\"pid_namespace\", \"uts_namespace\"] in \
             [box] goes without"
        );
    }

    #[test]
    fn no_option_is_named_where_the_machine_itself_forbids_or_the_engine_has_none() {
        let mut host = host();
        host.uid = 1000;
        host.user_namespaces =
            UserNamespaces::Refused(Forbidder::Setting("user.max_user_namespaces=0".into()));
        let without = "best_effort = [\"namespaces\"] in [box] goes without";
        assert_eq!(advised(&host, &docker()).unwrap(), without);
        host.user_namespaces = UserNamespaces::Refused(Forbidder::System(libc::EPERM));
        let nspawn = Place::Container(Container {
            manager: Some("systemd-nspawn".into()),
            sign: Sign::Variable,
        });
        assert_eq!(advised(&host, &nspawn).unwrap(), without);
    }

    #[test]
    fn a_root_without_the_capability_for_its_own_map_is_told_so() {
        let mut host = host();
        host.capabilities = 0;
        host.user_namespaces = UserNamespaces::Refused(Forbidder::NoFileCapability);
        let told = advised(&host, &docker()).unwrap();
        assert!(
            told.starts_with("start the container with --cap-add SETFCAP --security-opt"),
            "{told}"
        );
    }
}
