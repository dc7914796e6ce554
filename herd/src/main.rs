//! The binary: a call into the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // With the rights of a file's owner instead of the caller's, every option would be a way up.
    if herd::runs_as_its_files_owner() {
        return ExitCode::from(herd::cli::refuse_setuid());
    }
    // The executor of boxes is this binary under another name. It must stay single-threaded and
    // small, so it goes its own way before anything else happens.
    if herd::is_executor(std::env::args_os().take(2)) {
        sandbox::herd_exec_main();
    }
    // Somebody waits for the launcher: no option of herd's is looked at first.
    let words: Vec<_> = std::env::args_os().collect();
    if herd::vb::is_called(&words) {
        if let Some(words) = herd::vb::as_doctor(&words) {
            return herd::cli::main(words);
        }
        return ExitCode::from(u8::try_from(herd::vb::main(words)).unwrap_or(u8::MAX));
    }
    herd::cli::main(words)
}
