fn main() {
    if std::env::args().next().as_deref() == Some("herd-exec") {
        sandbox::herd_exec_main();
    }
    let dir = std::env::args().nth(2).unwrap();
    let o = herd::daemon::Options {
        mode: herd::daemon::Mode::Foreground,
        runtime_dir: "/tmp/herd-try".into(),
        log_dir: "/tmp/herd-try/log".into(),
        search: units::load::SearchPath::directory(dir),
        echo: true,
    };
    match herd::daemon::run(o) {
        Ok(c) => std::process::exit(c.into()),
        Err(e) => eprintln!("herd: {e}"),
    }
}
