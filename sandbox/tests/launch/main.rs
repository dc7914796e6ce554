//! Launches real processes. Its own harness: as `herd-exec` this binary is the executor, and cases
//! run one after the other in one thread.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    clippy::print_stdout,
    reason = "a test"
)]

mod bare;
mod boxed;
mod fixture;
mod user;

use fixture::Case;

fn main() {
    if std::env::args().next().as_deref() == Some("herd-exec") {
        sandbox::herd_exec_main();
    }
    let cases: Vec<Case> = [bare::CASES, boxed::CASES, user::CASES].concat();
    std::process::exit(fixture::run(&cases, user::INNER));
}
