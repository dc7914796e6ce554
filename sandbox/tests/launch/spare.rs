//! Executors kept ready, and those who die before their time.

use std::os::fd::AsFd;

use rustix::process::{Pid, Signal, WaitOptions, kill_process};
use sandbox::status::Message;
use sandbox::{Launched, Launcher};

use crate::boxed::boxed;
use crate::fixture::{Case, files_of, next, plan, wait};

fn warm() -> Launcher {
    let launcher = Launcher::new().unwrap().keep_spares(1);
    launcher.warm_up().unwrap();
    launcher
}

fn launch(launcher: &Launcher) -> Launched {
    let null = std::fs::File::open("/dev/null").unwrap();
    let files = files_of(null.as_fd());
    launcher.launch(&plan(&boxed("exit 7")), files).unwrap()
}

/// Gives whether the launched process was the box's first one from the beginning.
fn ends_well(launched: Launched) -> bool {
    let status = launched.status.unwrap();
    let (mut stands, mut pidfd) = (true, launched.pidfd);
    let code = loop {
        match next(&status) {
            Message::Main { .. } | Message::Executed | Message::Stopped(_) => {}
            Message::Moved { pidfd: init, .. } => {
                wait(&std::mem::replace(&mut pidfd, init));
                stands = false;
            }
            Message::Exited(how) => break how.code(),
            other @ (Message::Failed(_)
            | Message::AtGate { .. }
            | Message::Executing
            | Message::Closed) => {
                panic!("{other:?}")
            }
        }
    };
    assert_eq!(code, Some(7));
    assert_eq!(wait(&pidfd).code(), Some(7));
    stands
}

/// The children of this process, whatever they are.
fn children() -> Vec<Pid> {
    let path = format!("/proc/self/task/{}/children", std::process::id());
    let text = std::fs::read_to_string(path).unwrap();
    text.split_whitespace()
        .map(|word| Pid::from_raw(word.parse().unwrap()).unwrap())
        .collect()
}

fn no_child_is_left() {
    let left = rustix::process::wait(WaitOptions::NOHANG);
    assert_eq!(left.err(), Some(rustix::io::Errno::CHILD));
}

pub(crate) const CASES: &[Case] = &[
    ("a_spare_becomes_the_first_process_of_a_box", || {
        let launcher = warm();
        let spares = children();
        assert_eq!(spares.len(), 2, "the zygote and its copy");
        let launched = launch(&launcher);
        assert!(
            spares
                .iter()
                .any(|spare| spare.as_raw_pid() == launched.pid)
        );
        assert!(ends_well(launched));
    }),
    ("the_next_launch_has_a_spare_again", || {
        let launcher = warm();
        for _ in 0..3 {
            assert!(ends_well(launch(&launcher)));
            launcher.warm_up().unwrap();
        }
    }),
    ("spares_are_asked_for_by_the_first_box", || {
        let launcher = Launcher::new().unwrap().keep_spares(2);
        assert_eq!(children(), []);
        assert!(!ends_well(launch(&launcher)));
        launcher.warm_up().unwrap();
        assert!(ends_well(launch(&launcher)));
    }),
    ("a_spare_that_was_killed_is_not_missed", || {
        let launcher = warm();
        let spare = *children().last().unwrap();
        kill_process(spare, Signal::KILL).unwrap();
        // Dead, and not reaped: nothing is lost but the time to start an executor.
        rustix::process::waitid(
            rustix::process::WaitId::Pid(spare),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
        )
        .unwrap();
        assert!(!ends_well(launch(&launcher)));
        launcher.warm_up().unwrap();
        assert!(ends_well(launch(&launcher)));
        drop(launcher);
        no_child_is_left();
    }),
    ("a_zygote_that_was_killed_is_replaced", || {
        let launcher = warm();
        let zygote = children()[0];
        kill_process(zygote, Signal::KILL).unwrap();
        for _ in 0..3 {
            ends_well(launch(&launcher));
        }
        launcher.warm_up().unwrap();
        assert!(!children().contains(&zygote));
        assert!(ends_well(launch(&launcher)));
        drop(launcher);
        no_child_is_left();
    }),
    ("a_spare_waits_in_what_the_last_boxes_had_in_common", || {
        let with_network = || {
            let mut config = boxed("exit 7");
            config.walls.as_mut().unwrap().namespaces.net = true;
            plan(&config)
        };
        let network_of = |pid: Option<Pid>| {
            let pid = pid.map_or("self".to_owned(), |pid| pid.as_raw_pid().to_string());
            std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap()
        };
        let null = std::fs::File::open("/dev/null").unwrap();
        let launch_with_network = |launcher: &Launcher| {
            let launched = launcher.launch(&with_network(), files_of(null.as_fd()));
            ends_well(launched.unwrap())
        };
        let launcher = Launcher::new().unwrap().keep_spares(1);
        assert!(!launch_with_network(&launcher));
        launcher.warm_up().unwrap();
        let spare = *children().last().unwrap();
        assert_ne!(network_of(Some(spare)), network_of(None));
        assert!(launch_with_network(&launcher));
        launcher.warm_up().unwrap();
        // That one has more than this box is to have; the next spare is for both.
        assert!(!ends_well(launch(&launcher)));
        launcher.warm_up().unwrap();
        let spare = *children().last().unwrap();
        assert_eq!(network_of(Some(spare)), network_of(None));
        assert!(ends_well(launch(&launcher)));
        launcher.warm_up().unwrap();
        assert!(launch_with_network(&launcher));
        drop(launcher);
        no_child_is_left();
    }),
    ("spares_end_with_their_launcher", || {
        let launcher = Launcher::new().unwrap().keep_spares(3);
        launcher.warm_up().unwrap();
        drop(launcher);
        no_child_is_left();
    }),
    ("a_spare_holds_nothing_of_its_caller", || {
        let _ours = std::fs::File::open("/etc/passwd").unwrap();
        let launcher = warm();
        let spare = *children().last().unwrap();
        let directory = format!("/proc/{}/fd", spare.as_raw_pid());
        let open: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap())
            .collect();
        let is_socket = |path: &std::path::PathBuf| path.to_str().unwrap().starts_with("socket:");
        assert!(open.iter().all(is_socket), "{open:?}");
        drop(launcher);
    }),
];
