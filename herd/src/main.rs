//! The binary: a call into the library.

use std::process::ExitCode;

// Somebody waits for a launcher, and for an executor: they begin before anything of ours or of Rust's.
sandbox::before_main!(herd::begin_at_once);

fn main() -> ExitCode {
    // With the rights of a file's owner instead of the caller's, every option would be a way up.
    if herd::runs_as_its_files_owner() {
        return ExitCode::from(herd::cli::refuse_setuid());
    }
    let words: Vec<_> = std::env::args_os().collect();
    if herd::pid1::is_called(&words) {
        return herd::pid1::main(&words);
    }
    match herd::cli::init_tools::in_words_of_herd(&words) {
        Some(Ok(words)) => return herd::cli::main(words),
        Some(Err(complaint)) => return ExitCode::from(herd::cli::refuse_usage(&complaint)),
        None => {}
    }
    match herd::vb::as_doctor(&words) {
        Some(words) => herd::cli::main(words),
        None => herd::pid1::outlive(herd::cli::main(words)),
    }
}
