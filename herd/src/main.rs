//! The binary: a call into the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The executor of boxes is this binary under another name. It must stay single-threaded and
    // small, so it goes its own way before anything else happens.
    if herd::is_executor(std::env::args_os().take(2)) {
        sandbox::herd_exec_main();
    }
    herd::cli::main(std::env::args_os())
}
