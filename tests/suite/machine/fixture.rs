//! A disk and the machines that boot from it, one after the other.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Of one thing that a machine is waited for; twenty times of what it takes on an idle processor.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where every instruction is emulated.
const EMULATED_PATIENCE: Duration = Duration::from_secs(180);
/// A machine ends by itself or is ended.
const LIFE: &str = "600";

/// A disk: Debian and herd below, what a test laid over it, and what its machines wrote.
pub(super) struct Disk {
    directory: tempfile::TempDir,
    forgotten: Vec<String>,
    arguments: Vec<String>,
    options: Vec<String>,
    /// A copy of the image that the machine writes to.
    own: Option<PathBuf>,
    disks: u32,
    packages: &'static [&'static str],
    is_laid: bool,
}

/// For disks between a file system and its disk, another kernel, and addresses.
const TOOLS: &[&str] = &["dhcpcd-base", "dmsetup", "kexec-tools", "mdadm", "udhcpc"];

/// The line of fstab that every disk has.
pub(super) const ROOT: &str = "LABEL=root / ext4 errors=remount-ro 0 1\n";
/// That of the second disk.
pub(super) const SECOND: &str = "/dev/ubdb /srv/data ext4 noatime 0 2\n";

/// A machine that runs, or ran.
pub(super) struct Machine {
    child: Child,
    console: Arc<(Mutex<Console>, Condvar)>,
    reader: Option<JoinHandle<()>>,
    read: usize,
    patience: Duration,
}

#[derive(Default)]
struct Console {
    lines: Vec<String>,
    /// A line without its end yet: a prompt.
    begun: String,
    is_over: bool,
}

impl Disk {
    /// The example's machine without its services, and a console that needs no login.
    pub(super) fn new() -> Self {
        let disk = Self {
            directory: tempfile::tempdir().unwrap(),
            forgotten: vec!["/etc/herd/enabled/web.toml".to_owned()],
            arguments: vec!["herd.mask=getty".to_owned()],
            options: Vec::new(),
            own: None,
            disks: 0,
            packages: &[],
            is_laid: false,
        };
        disk.fstab("")
    }

    /// Lines of fstab, behind that of the root.
    pub(super) fn fstab(self, lines: &str) -> Self {
        self.file("/etc/fstab", &format!("{ROOT}{lines}"))
    }

    /// With the logins of an ordinary machine.
    pub(super) fn with_login(mut self) -> Self {
        self.arguments.retain(|word| word != "herd.mask=getty");
        self
    }

    /// What programs of this machine need is in the environment of logins too that begin with an empty one.
    pub(super) fn with_environment(self) -> Self {
        let script = fs::read_to_string(vm("machine.sh")).unwrap();
        let line = script
            .lines()
            .find_map(|line| line.strip_prefix("no_avx="))
            .unwrap()
            .to_owned();
        // What login(1) reads.
        self.file("/etc/environment", &format!("{line}\n"))
    }

    /// A file of the image that is not there.
    pub(super) fn without(mut self, path: &str) -> Self {
        self.forgotten.push(path.to_owned());
        self
    }

    pub(super) fn file(self, path: &str, text: &str) -> Self {
        let target = self.directory.path().join(format!("lay/lay{path}"));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(&target, text).unwrap();
        self
    }

    /// An enabled unit.
    pub(super) fn unit(self, name: &str, text: &str) -> Self {
        self.file(&format!("/etc/herd/enabled/{name}.toml"), text)
    }

    pub(super) fn link(self, path: &str, to: &str) -> Self {
        let target = self.directory.path().join(format!("lay/lay{path}"));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(to, target).unwrap();
        self
    }

    /// A shell script in the place of a program.
    pub(super) fn program(self, path: &str, text: &str) -> Self {
        let disk = self
            .without(path)
            .file(path, &format!("#!/bin/sh\n{text}\n"));
        let target = disk.directory.path().join(format!("lay/lay{path}"));
        fs::set_permissions(target, fs::Permissions::from_mode(0o755)).unwrap();
        disk
    }

    /// An enabled unit that runs a shell script once everything is up, and speaks on the console. udev has
    /// done its work by then: user-mode Linux 6.12 faults where a process is killed in the middle of a fork.
    pub(super) fn script(self, name: &str, text: &str) -> Self {
        let path = format!("/usr/local/bin/{name}");
        let text = format!("udevadm settle -t 30\nexec >/dev/console 2>&1\n{text}");
        let disk = self.program(&path, &text);
        let unit = format!("command = \"{path}\"\noneshot = true\nafter = [\"multi-user\"]\n");
        disk.unit(name, &unit)
    }

    /// A word for the kernel's command line.
    pub(super) fn word(mut self, word: &str) -> Self {
        self.arguments.push(word.to_owned());
        self
    }

    /// An option of `tests/vm/boot`.
    pub(super) fn option(mut self, words: &[&str]) -> Self {
        self.options
            .extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Emulated, with Debian's own kernel.
    pub(super) fn qemu(self) -> Self {
        self.option(&["-e", "qemu"])
    }

    /// Debian's packages [`TOOLS`] are installed.
    pub(super) fn tools(mut self) -> Self {
        self.packages = TOOLS;
        self
    }

    /// A second disk, `/dev/ubdb`, with an empty ext4 file system.
    pub(super) fn second_disk(self) -> Self {
        let disk = self.empty_disk(16 << 20);
        let path = disk.directory.path().join("second");
        let made = Command::new("/sbin/mkfs.ext4")
            .arg("-q")
            .arg(&path)
            .status();
        assert!(made.unwrap().success(), "mkfs.ext4");
        disk
    }

    /// One more disk, of so many bytes: `/dev/ubdb` or `/dev/vdb`, then `c`, …
    pub(super) fn empty_disk(mut self, size: u64) -> Self {
        self.disks += 1;
        let name = match self.disks {
            1 => "second".to_owned(),
            more => format!("disk-{more}"),
        };
        let path = self.directory.path().join(name);
        fs::File::create(&path).unwrap().set_len(size).unwrap();
        let path = path.to_str().unwrap().to_owned();
        self.option(&["-d", &path])
    }

    /// Does harm to the second disk, in the words of debugfs(8), and has it look as after a crash.
    pub(super) fn harm_second(self, requests: &[&str]) -> Self {
        harm(&self.directory.path().join("second"), requests);
        self
    }

    /// Zeroes in the place of the second disk's superblock.
    pub(super) fn wipe_second(self) -> Self {
        let path = self.directory.path().join("second");
        let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all(&[0; 4096]).unwrap();
        self
    }

    /// Does harm to the root, which is a copy of the image from now on.
    pub(super) fn harm_root(self, requests: &[&str]) -> Self {
        let disk = self.own_copy();
        harm(disk.own.as_ref().unwrap(), requests);
        disk
    }

    /// From now on its machines write to a copy of the image, which can be looked at from here.
    pub(super) fn own_copy(mut self) -> Self {
        let path = self.directory.path().join("root");
        duplicate(&image(self.packages), &path);
        self.own = Some(path);
        self
    }

    /// What e2fsck(8) finds wrong with the own copy, as the last machine left it, once its journal has been gone
    /// through. `None` is nothing.
    pub(super) fn complaints(&self) -> Option<String> {
        let looked_at = self.directory.path().join("looked-at");
        duplicate(self.own.as_ref().unwrap(), &looked_at);
        let check = |options: &[&str]| {
            let mut command = Command::new("/sbin/e2fsck");
            command.args(options).arg(&looked_at).output().unwrap()
        };
        check(&["-y", "-E", "journal_only"]);
        let output = check(&["-f", "-n"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (!output.status.success()).then_some(text)
    }

    pub(super) fn boot(&mut self) -> Machine {
        let cow = self.directory.path().join("cow");
        let mut command = Command::new(vm("boot"));
        command.args(["-q", "-t", LIFE]);
        match self.own {
            Some(_) => command.arg("-w"),
            None => command.arg("-c").arg(&cow),
        };
        if !self.is_laid {
            command.arg("-I").arg(self.initramfs());
            self.is_laid = true;
        }
        command
            .args(&self.options)
            .arg(self.own.clone().unwrap_or_else(|| image(self.packages)))
            .args(&self.arguments);
        let is_emulated = self.options.iter().any(|word| word == "qemu");
        let patience = if is_emulated {
            EMULATED_PATIENCE
        } else {
            PATIENCE
        };
        Machine::start(&mut command, patience)
    }

    /// What was laid over it since the last boot counts at the next.
    pub(super) fn again(mut self) -> Self {
        self.is_laid = false;
        self
    }

    fn initramfs(&self) -> PathBuf {
        let top = self.directory.path().join("lay");
        for name in ["bin", "proc", "dev", "root"] {
            fs::create_dir_all(top.join(name)).unwrap();
        }
        fs::copy(vm("lay"), top.join("init")).unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"];
        let busybox = busybox
            .iter()
            .find(|path| Path::new(path).exists())
            .unwrap();
        fs::copy(busybox, top.join("bin/busybox")).unwrap();
        fs::write(top.join("forget"), self.forgotten.join("\n")).unwrap();
        let archive = self.directory.path().join("initramfs");
        let made = Command::new("sh")
            .args(["-c", "find . | cpio -o -H newc --quiet >../initramfs"])
            .current_dir(&top)
            .status();
        assert!(made.unwrap().success(), "cpio");
        archive
    }
}

impl Machine {
    fn start(command: &mut Command, patience: Duration) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let console: Arc<(Mutex<Console>, Condvar)> = Arc::default();
        let shared = Arc::clone(&console);
        let reader = std::thread::spawn(move || read(output, &shared));
        Self {
            child,
            console,
            reader: Some(reader),
            read: 0,
            patience,
        }
    }

    /// The next whole line that has this in it. Lines before it are passed over.
    pub(super) fn wait(&mut self, text: &str) -> String {
        self.wait_for(text, self.patience, false)
            .unwrap_or_else(|| self.in_vain(text))
    }

    /// As [`Self::wait`], of a line that may be without its end: what is typed comes behind it. It counts as read.
    pub(super) fn prompt(&mut self, text: &str) -> String {
        self.wait_for(text, self.patience, true)
            .unwrap_or_else(|| self.in_vain(text))
    }

    fn in_vain(&self, text: &str) -> ! {
        panic!("waited in vain for {text:?}:\n{}", self.said().join("\n"))
    }

    fn wait_for(&mut self, text: &str, patience: Duration, is_prompt: bool) -> Option<String> {
        let deadline = Instant::now() + patience;
        let (lock, more) = &*self.console;
        let mut console = lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            while let Some(line) = console.lines.get(self.read) {
                self.read += 1;
                if line.contains(text) {
                    return Some(line.clone());
                }
            }
            let is_new = self.read == console.lines.len();
            if is_prompt && is_new && console.begun.contains(text) {
                self.read += 1;
                return Some(console.begun.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if console.is_over || left.is_zero() {
                return None;
            }
            (console, _) = more
                .wait_timeout(console, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gets past sulogin(8), which throws away what was typed before it listens.
    pub(super) fn shell(&mut self) {
        self.prompt("Press Enter");
        for _ in 0..60 {
            self.enter("");
            if self.wait_for("#", Duration::from_secs(1), true).is_some() {
                return;
            }
        }
        panic!("no shell:\n{}", self.said().join("\n"));
    }

    /// Types a line.
    pub(super) fn enter(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Leaves it alone for so long, or until it ends.
    pub(super) fn live(&mut self, time: Duration) {
        self.wait_for("\0", time, false);
    }

    /// Presses its power button.
    pub(super) fn press_power_button(&self) {
        self.signal(nix::sys::signal::Signal::SIGUSR1);
    }

    /// What it has said so far.
    pub(super) fn said(&self) -> Vec<String> {
        let console = self.console.0.lock();
        let console = console.unwrap_or_else(PoisonError::into_inner);
        let begun = Some(console.begun.clone()).filter(|line| !line.is_empty());
        console.lines.iter().cloned().chain(begun).collect()
    }

    /// Waits until it has switched itself off; all that it said.
    pub(super) fn ended(mut self) -> Vec<String> {
        // A console whose input has ended says nothing more.
        let input = self.child.stdin.take();
        let status = self.child.wait().unwrap();
        drop(input);
        self.join();
        let said = self.said();
        assert!(status.success(), "{status}:\n{}", said.join("\n"));
        said
    }

    /// Takes its power away; all that it said before.
    pub(super) fn cut(mut self) -> Vec<String> {
        self.kill();
        self.said()
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        // Where it has ended already it is not reaped yet: the number is its own.
        nix::sys::signal::kill(pid, signal).ok();
    }

    fn kill(&mut self) {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.child.wait().unwrap();
        self.join();
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().ok();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.reader.is_some() {
            self.kill();
        }
    }
}

fn read(mut output: impl Read, shared: &(Mutex<Console>, Condvar)) {
    let (lock, more) = shared;
    let mut bytes = [0; 4096];
    let mut line = Vec::new();
    while let Ok(size @ 1..) = output.read(&mut bytes) {
        let mut console = lock.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in bytes.iter().take(size) {
            if *byte == b'\n' {
                console.lines.push(text_of(&line));
                line.clear();
            } else {
                line.push(*byte);
            }
        }
        console.begun = text_of(&line);
        more.notify_all();
    }
    lock.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
    more.notify_all();
}

fn text_of(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    // What a shell's line editor wrote over is not said any more.
    let text = text.trim_end();
    text.rsplit('\r').next().unwrap_or(text).to_owned()
}

fn harm(image: &Path, requests: &[&str]) {
    // The flag for which fsck looks closely: ext4's EXT4_ERROR_FS.
    for request in requests.iter().chain(&["set_super_value state 2"]) {
        let done = Command::new("/sbin/debugfs")
            .args(["-w", "-R", request])
            .arg(image)
            .output();
        let done = done.unwrap();
        assert!(done.status.success(), "{request}: {done:?}");
    }
}

fn vm(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/vm")
        .join(name)
}

/// Empty parts stay empty.
fn duplicate(file: &Path, copy: &Path) {
    let mut command = Command::new("cp");
    let made = command.arg("--sparse=always").args([file, copy]).status();
    assert!(made.unwrap().success(), "cp");
}

/// The disk that all begin with, made once for each build of herd and choice of packages.
fn image(packages: &[&str]) -> PathBuf {
    let herd = Path::new(env!("CARGO_BIN_EXE_herd"));
    let name = if packages.is_empty() {
        "machine"
    } else {
        "machine-tools"
    };
    let path = herd.with_file_name(format!("{name}.ext4"));
    let lock = fs::File::create(herd.with_file_name("machine.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let age = |path: &Path| {
        path.metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    if age(&path) < age(herd) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/machine/make-image");
        let mut command = Command::new(script);
        command.arg("-b").arg(herd).arg("-o").arg(&path);
        for package in packages {
            command.args(["-p", package]);
        }
        let made = command.output().unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    }
    path
}

/// How often what is tried at random moments is tried.
pub(super) fn rounds(short: usize) -> usize {
    let rounds = std::env::var("HERD_MACHINE_ROUNDS").ok();
    rounds.and_then(|text| text.parse().ok()).unwrap_or(short)
}
