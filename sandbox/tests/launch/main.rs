//! Launches real processes. Its own harness: as `herd-exec` this binary is the executor, with
//! `try` it is the probe, and cases
//! run one after the other in one thread.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod attacks;
#[path = "../../../tests/probe/src/attempt.rs"]
#[allow(unsafe_code, reason = "the probe makes system calls by number")]
mod attempt;
mod bare;
mod boxed;
mod filters;
mod fixture;
mod groups;
mod identity;
mod in_child;
mod join;
mod landlock;
mod layers;
mod lifecycle;
mod mounts;
mod network;
mod network_frames;
mod network_leases;
mod network_walls;
mod session;
mod spare;
mod swaps;
mod terminal;
mod user;

use fixture::Case;

fn main() {
    if std::env::var_os("WITHOUT_EXECUTOR").is_none() {
        sandbox::executor_entry();
    }
    attacks::try_if_asked();
    let cases: Vec<Case> = [
        bare::CASES,
        boxed::CASES,
        layers::CASES,
        lifecycle::CASES,
        filters::CASES,
        session::CASES,
        terminal::CASES,
        in_child::CASES,
        landlock::CASES,
        mounts::CASES,
        network::CASES,
        network::CARRIED,
        network_leases::CASES,
        network_walls::CASES,
        network_frames::CASES,
        identity::CASES,
        join::CASES,
        attacks::CASES,
        swaps::CASES,
        user::CASES,
        spare::CASES,
        groups::CASES,
    ]
    .concat();
    let forked: Vec<Case> = [
        layers::CASES,
        bare::CASES,
        filters::CASES,
        landlock::CASES,
        boxed::CASES,
        mounts::CASES,
        network::CARRIED,
        network_walls::CASES,
        lifecycle::CASES,
        session::CASES,
        terminal::CASES,
        identity::CASES,
        join::CASES,
        attacks::CASES,
        groups::CASES,
    ]
    .concat();
    std::process::exit(fixture::run(
        &cases,
        &forked,
        &[
            user::INNER,
            identity::INNER,
            join::INNER,
            attacks::INNER,
            layers::INNER,
            groups::INNER,
            session::INNER,
            terminal::INNER,
            in_child::INNER,
        ]
        .concat(),
    ));
}
