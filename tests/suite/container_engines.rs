//! herd below podman, systemd-nspawn and plain unshare(1), and in a Debian made by debootstrap. Engines keep what is
//! theirs in a directory of the test, and their processes in a PID namespace that ends with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::{Container, Deadline, Image, Output, gone, run, until_changed};
use crate::needs;

/// podman with everything of its own.
struct Podman {
    directory: tempfile::TempDir,
    holder: Child,
}

impl Podman {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("herd-").tempdir().unwrap();
        // Old crun refuses a machine with both kinds of cgroups.
        let script = format!(
            "umount -R /sys/fs/cgroup/unified 2>/dev/null; \
             for place in /run /dev/shm /var/lib; do mount -t tmpfs herd-test $place || exit; done; \
             touch {}/holds && exec sleep infinity",
            directory.path().display()
        );
        let holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--pid", "--fork"])
            .args(["--mount-proc", "--kill-child=KILL", "sh", "-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let holds = directory.path().join("holds");
        assert!(until_changed(directory.path(), &Deadline::new(), || holds.exists()));
        Self { directory, holder }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    fn run(&self, words: &[&str]) -> Output {
        let children = format!("/proc/{0}/task/{0}/children", self.holder.id());
        let inside = fs::read_to_string(children).unwrap();
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                inside.trim(),
                "--mount",
                "--pid",
                "--",
                "podman",
            ])
            .args([
                "--cgroup-manager=cgroupfs",
                "--events-backend=none",
                "--storage-driver=vfs",
            ])
            .args(["--log-level=fatal"]);
        for (option, below) in [("root", "root"), ("runroot", "run"), ("tmpdir", "tmp")] {
            command.arg(format!("--{option}={}", self.path(below).display()));
        }
        run(command.args(words).env("TMPDIR", self.directory.path()))
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.code, 0, "{words:?}: {output:?}");
        output.stdout.trim().to_owned()
    }

    /// `podman run --detach`, with the limits that this engine must be told where there are few.
    #[track_caller]
    fn start(&self, name: &str, words: &[&str]) {
        let mut all = vec![
            "run",
            "--detach",
            "--name",
            name,
            "--network=none",
            "--cgroups=disabled",
        ];
        all.extend([
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=1024:1024",
            "--health-interval=disable",
        ]);
        all.extend(words);
        self.ok(&all);
    }

    /// Waits until the container is healthy: asked again whenever herd has said something new.
    #[track_caller]
    fn healthy(&self, name: &str) {
        let deadline = Deadline::new();
        while self.run(&["healthcheck", "run", name]).code != 0 {
            assert!(!deadline.left().is_zero(), "{}", self.logs(name));
        }
    }

    fn logs(&self, name: &str) -> String {
        let output = self.run(&["logs", name]);
        output.stdout + &output.stderr
    }

    fn exit_code(&self, name: &str) -> String {
        self.ok(&["inspect", name, "--format", "{{.State.ExitCode}}"])
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

/// The example's directory with a herd in it, and an image of busybox to build on.
fn build_the_example(podman: &Podman) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/container");
    let context = podman.path("context");
    let copied = run(Command::new("cp").arg("-r").args([&example, &context]));
    assert_eq!(copied.code, 0, "{copied:?}");
    fs::copy(env!("CARGO_BIN_EXE_herd"), context.join("herd")).unwrap();
    let base = Image::minimal();
    let archive = podman.path("base.tar");
    let packed = run(Command::new("tar")
        .arg("-C")
        .arg(base.root())
        .arg("-cf")
        .arg(&archive)
        .args(["bin", "dev", "proc", "run", "sys", "tmp", "var"]));
    assert_eq!(packed.code, 0, "{packed:?}");
    podman.ok(&[
        "import",
        "--quiet",
        archive.to_str().unwrap(),
        "localhost/base",
    ]);
    podman.ok(&[
        "build",
        "--quiet",
        "--isolation=chroot",
        "--layers=false",
        "--format=docker",
        "--build-arg=BASE=localhost/base",
        "--tag=greeting",
        context.to_str().unwrap(),
    ]);
}

#[test]
fn the_example_is_built_and_run_by_podman_and_does_what_its_readme_says() {
    if !(needs::root() && needs::program("podman") && needs::program("busybox")) {
        return;
    }
    let podman = Podman::new();
    build_the_example(&podman);
    podman.start("greeting", &["--env=GREETING=hello, container", "greeting"]);
    podman.healthy("greeting");
    let page = [
        "exec",
        "greeting",
        "wget",
        "-q",
        "-O",
        "-",
        "http://127.0.0.1:8080/",
    ];
    assert_eq!(podman.ok(&page), "hello, container");
    let logs = podman.logs("greeting");
    assert!(
        logs.starts_with("herd     * process 1 of a container of podman, by "),
        "{logs}"
    );
    // Stopped on purpose, it is not missed.
    podman.ok(&["exec", "greeting", "herd", "stop", "web"]);
    assert_eq!(podman.run(&["healthcheck", "run", "greeting"]).code, 0);
    podman.ok(&["exec", "greeting", "herd", "start", "reader"]);
    podman.healthy("greeting");
    // The web server dies: the container ends with 128 + 9.
    podman.ok(&["exec", "greeting", "herd", "kill", "--signal=KILL", "web"]);
    assert_eq!(podman.ok(&["wait", "greeting"]), "137");
    let logs = podman.logs("greeting");
    assert!(
        logs.contains("web has ended; stopping everything in order"),
        "{logs}"
    );

    // A user without a name, a root that cannot be written; stopped by the engine.
    podman.start(
        "poor",
        &[
            "--user=4711",
            "--read-only",
            "--read-only-tmpfs=false",
            "--tmpfs=/tmp",
            "greeting",
        ],
    );
    podman.healthy("poor");
    let began = Instant::now();
    podman.ok(&["stop", "poor"]);
    assert!(began.elapsed() < Duration::from_secs(8));
    assert_eq!(podman.exit_code("poor"), "0");
    let logs = podman.logs("poor");
    assert!(
        logs.contains("the runtime directory is /tmp/herd-4711: "),
        "{logs}"
    );
    assert!(logs.contains("web: stopped"), "{logs}");
}

#[test]
fn below_podman_a_box_stands_and_the_stopsignal_of_systemd_images_stops_in_order() {
    if !(needs::root() && needs::program("podman") && needs::program("busybox")) {
        return;
    }
    let podman = Podman::new();
    let image = Image::minimal()
        .unit("boxed", "command = 'sleep 1000'\nboxed = true")
        .unit("web", "command = 'sleep 1000'");
    let herd = format!("--volume={}:/herd:ro", env!("CARGO_BIN_EXE_herd"));
    let root = image.root();
    let root = root.to_str().unwrap();
    let words = [
        "--stop-signal=SIGRTMIN+3",
        "--security-opt=unmask=ALL",
        "--security-opt=seccomp=unconfined",
        &herd,
        "--rootfs",
        root,
        "/herd",
    ];
    // Without a word herd runs what is enabled.
    podman.start("web", &words);
    let deadline = Deadline::new();
    while podman
        .run(&["exec", "web", "/herd", "is-active", "--all"])
        .code
        != 0
    {
        assert!(!deadline.left().is_zero(), "{}", podman.logs("web"));
    }
    podman.ok(&["stop", "web"]);
    assert_eq!(podman.exit_code("web"), "0");
    let logs = podman.logs("web");
    for end in ["boxed: stopped", "web: stopped"] {
        assert!(logs.contains(end), "{logs}");
    }
}

#[test]
fn a_box_that_podmans_own_filter_forbids_is_refused_by_name_with_the_way_out() {
    let programs = ["podman", "busybox", "catatonit"];
    if !(needs::root() && programs.into_iter().all(needs::program)) {
        return;
    }
    let podman = Podman::new();
    let boxed = "command = 'sleep 1000'\nboxed = true\nrestart = 'no'\n";
    let weak = |walls: &str| format!("{boxed}[box]\nbest_effort = [{walls}]");
    let image = Image::minimal()
        .unit("boxed", boxed)
        .unit(
            "weak",
            &weak("'protect_proc', 'pid_namespace', 'uts_namespace'"),
        )
        .unit("weaker", &weak("'namespaces'"));
    let herd = format!("--volume={}:/herd:ro", env!("CARGO_BIN_EXE_herd"));
    let root = image.root();
    let root = root.to_str().unwrap();
    let words = [&herd, "--rootfs", root, "/herd", "run", "/etc/herd/enabled"];
    for (name, option, wall, missing, advised) in [
        (
            "usual",
            "--init",
            "protect_proc: no other /proc can be mounted: a mount on /proc/",
            r#"["pid_namespace", "uts_namespace", "protect_proc"]"#,
            "--security-opt seccomp=unconfined --security-opt unmask=ALL",
        ),
        (
            "whole",
            "--security-opt=unmask=ALL",
            "uts_namespace: no host name can be set in one: the system call filter around us \
             (operation not permitted) forbids it",
            r#"["uts_namespace"]"#,
            "--security-opt seccomp=unconfined",
        ),
    ] {
        let mut all = vec![option];
        all.extend(words);
        podman.start(name, &all);
        let up = [
            "exec",
            name,
            "/herd",
            "is-active",
            "--quiet",
            "weak",
            "weaker",
        ];
        let over = ["exec", name, "/herd", "is-failed", "--quiet", "boxed"];
        let deadline = Deadline::new();
        while podman.run(&up).code != 0 || podman.run(&over).code != 0 {
            assert!(!deadline.left().is_zero(), "{}", podman.logs(name));
        }
        podman.ok(&["stop", name]);
        let logs = podman.logs(name);
        for line in [
            format!("boxed    * failed: {wall}"),
            format!(
                "boxed    * hint: start the container with {advised}, or with --cap-add SYS_ADMIN; \
                 or best_effort = {missing} in [box] goes without\n"
            ),
            "weaker   * goes without uts_namespace: ".to_owned(),
            "herd     * weak: stopped".to_owned(),
            "herd     * weaker: stopped".to_owned(),
        ] {
            assert!(logs.contains(&line), "no {line:?} in {logs}");
        }
        let begins = format!(
            "herd     * {} process 1 of a container of podman",
            if option == "--init" { "below" } else { "" }
        );
        assert!(logs.starts_with(&begins.replace("*  ", "* ")), "{logs}");
        // Those that herd keeps ready for boxes are no strays.
        assert!(!logs.contains("a stray"), "{logs}");
    }
}

#[test]
fn the_terminal_of_podman_is_the_services_that_reads_from_one() {
    if !(needs::root() && needs::program("podman") && needs::program("busybox")) {
        return;
    }
    let podman = Podman::new();
    // Who opens it by this name has it as its own.
    let shell = "command = ['sh', '-c', 'echo mine >/dev/tty; exec sleep 1000']\nstdin = 'tty'\n";
    let image = Image::minimal().unit("shell", &format!("{shell}restart = 'no'"));
    let herd = format!("--volume={}:/herd:ro", env!("CARGO_BIN_EXE_herd"));
    let root = image.root();
    let rest = [&herd, "--rootfs", root.to_str().unwrap(), "/herd", "run"];
    podman.start("talks", &[&["--tty"], &rest[..]].concat());
    let deadline = Deadline::new();
    while !podman.logs("talks").contains("mine") {
        assert!(!deadline.left().is_zero(), "{}", podman.logs("talks"));
    }
    podman.ok(&["stop", "talks"]);
    assert_eq!(podman.exit_code("talks"), "0");
    let logs = podman.logs("talks");
    assert!(
        logs.contains("the terminal is left to shell: ctrl-c is its own there"),
        "{logs}"
    );
    assert!(logs.contains("shell: stopped"), "{logs}");
}

/// A place for the groups of containers, below the root of each hierarchy.
struct Groups(String);

impl Groups {
    fn new() -> Self {
        Self(format!("herd-test-{}", std::process::id()))
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let all = Path::new("/sys/fs/cgroup");
        let below = fs::read_dir(all).into_iter().flatten().flatten();
        let hierarchies = below.map(|entry| entry.path());
        for hierarchy in hierarchies.chain([all.to_owned()]) {
            let group = hierarchy.join(&self.0);
            drop(fs::remove_dir(group.join("conmon")));
            drop(fs::remove_dir(group));
        }
    }
}

#[test]
fn a_service_that_eats_the_containers_memory_is_told_of_by_that_reason() {
    if !(needs::root() && needs::program("podman") && needs::controller("memory")) {
        return;
    }
    let groups = Groups::new();
    let podman = Podman::new();
    let image = Image::minimal()
        .unit("hog", "command = 'busybox tail /dev/zero'\nrestart = 'no'")
        .unit("web", "command = 'sleep 1000'");
    let herd = format!("--volume={}:/herd:ro", env!("CARGO_BIN_EXE_herd"));
    let root = image.root();
    podman.start(
        "small",
        &[
            "--cgroups=enabled",
            &format!("--cgroup-parent=/{}", groups.0),
            "--memory=64m",
            &herd,
            "--rootfs",
            root.to_str().unwrap(),
            "/herd",
            "run",
            "/etc/herd/enabled",
            "--exit-with=hog",
        ],
    );
    assert_eq!(podman.ok(&["wait", "small"]), "137");
    let logs = podman.logs("small");
    for line in [
        "hog      * perhaps out of memory: the kernel killed a process at the container's limit\n",
        "hog      * failed: killed by SIGKILL\n",
        "herd     * web: stopped\n",
    ] {
        assert!(logs.contains(line), "no {line:?} in {logs}");
    }
    podman.ok(&["rm", "small"]);
}

#[test]
fn systemd_nspawn_starts_it_and_stops_it_in_order() {
    if !(needs::root() && needs::program("systemd-nspawn") && needs::program("busybox")) {
        return;
    }
    let image = Image::minimal()
        .file("usr/lib/os-release", "ID=test\n")
        .unit("web", "command = ['sh', '-c', 'echo up; sleep 1000']");
    let io = image.dir().join("io");
    fs::create_dir(&io).unwrap();
    let out = io.join("out");
    let mut child = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "systemd-nspawn",
            "--quiet",
        ])
        .args([
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--console=pipe",
        ])
        .args(["--kill-signal=SIGRTMIN+3", "--machine"])
        .arg(image.dir().file_name().unwrap())
        .arg(format!("--bind-ro={}:/herd", env!("CARGO_BIN_EXE_herd")))
        .arg("-D")
        .arg(image.root())
        .args(["/herd", "run", "/etc/herd/enabled"])
        .stdin(Stdio::null())
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(io.join("err")).unwrap())
        .spawn()
        .unwrap();
    let text = || fs::read_to_string(&out).unwrap_or_default();
    let came_up = until_changed(&io, &Deadline::new(), || text().contains("| up"));
    let pid = i32::try_from(child.id()).unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    let ended = gone(pid);
    if !ended {
        drop(child.kill());
    }
    let status = child.wait().unwrap();
    let text = text();
    assert!(
        came_up && ended,
        "{text}{}",
        fs::read_to_string(io.join("err")).unwrap()
    );
    assert!(
        text.starts_with(
            "herd     * process 1 of a container of systemd-nspawn, by the variable `container`\n"
        ),
        "{text}"
    );
    assert!(text.contains("web: stopped"), "{text}");
    assert_eq!(status.code(), Some(0), "{text}");
}

#[test]
fn below_unshare_it_needs_a_proc_of_its_own_and_says_so() {
    if !(needs::root() && needs::unshare(&["--pid", "--fork"])) {
        return;
    }
    let place = tempfile::Builder::new().prefix("herd-").tempdir().unwrap();
    let units = place.path().join("enabled");
    fs::create_dir(&units).unwrap();
    fs::write(
        units.join("job.toml"),
        "command = 'echo done'\noneshot = true",
    )
    .unwrap();
    let herd = |options: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .args(["--pid", "--fork", "--kill-child=KILL"])
            .args(options)
            .arg(env!("CARGO_BIN_EXE_herd"))
            .arg("--runtime-dir")
            .arg(place.path().join("run"))
            .arg("--log-dir")
            .arg(place.path().join("log"))
            .arg("run")
            .arg(&units);
        run(&mut command)
    };
    let without = herd(&[]);
    assert_eq!(without.code, 1, "{without:?}");
    assert_eq!(
        without.stderr,
        "herd: /proc shows another PID namespace than herd's own: mount one there (unshare --mount-proc)\n"
    );
    let none = herd(&[
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs herd-test /proc && exec \"$@\"",
        "sh",
    ]);
    assert_eq!(
        (none.code, none.stderr.as_str()),
        (
            1,
            "herd: there is no /proc to look at processes in: mount one there (mount -t proc proc /proc)\n"
        )
    );
    let with = herd(&["--mount-proc"]);
    assert_eq!(with.code, 0, "{with:?}");
    assert!(
        with.stdout
            .starts_with("herd     * process 1 of a container"),
        "{with:?}"
    );
    assert!(with.stdout.contains("job      | done"), "{with:?}");
}

#[test]
fn a_debian_with_every_right_runs_boxes_in_the_container() {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let debian = cache.unwrap_or_else(home).join("herd/debian-minbase");
    if !(needs::root() && needs::program("crun") && needs::path(debian.to_str().unwrap())) {
        return;
    }
    let image = Image::above(&debian).example("quickstart");
    let mut container = Container::of(image)
        .with_every_capability()
        .without_masks()
        .environment("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .tmpfs("/run", &["mode=755"])
        .tmpfs("/var/lib", &["mode=755"])
        .tmpfs("/tmp", &["mode=1777"])
        .start();
    container.wait_out("herd     * web: active");
    let get = "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    let page = container.exec(&["bash", "-c", get]);
    for line in [
        "prepared on ",
        "writing /usr:  Read-only file system",
        "CapEff:\t0000000000000000",
    ] {
        assert!(page.stdout.contains(line), "no {line:?} in {page:?}");
    }
    assert_eq!(container.exec(&["/herd", "is-active", "--all"]).code, 0);
    container.stop();
}
