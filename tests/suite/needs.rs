//! What a test needs of the machine. A test that cannot run says so and names what is missing.

use std::path::Path;

/// `true` when the facility is there; else the skip is told, in words that `tests/dev` counts.
#[must_use]
fn has(facility: bool, name: &str) -> bool {
    if !facility {
        eprintln!("SKIPPED: needs {name}");
    }
    facility
}

#[must_use]
pub(crate) fn root() -> bool {
    has(rustix::process::geteuid().is_root(), "root")
}

/// A program of the machine, looked for where a shell would.
#[must_use]
pub(crate) fn program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    has(
        std::env::split_paths(&path).any(|dir| dir.join(name).is_file()),
        name,
    )
}

/// A group of its own for each service, in which nothing gets lost.
#[must_use]
pub(crate) fn cgroups() -> bool {
    let host = sandbox::Host::detect().unwrap();
    has(
        host.cgroups.v2.as_ref().is_some_and(|v2| v2.writable),
        "a writable cgroup2 hierarchy",
    )
}

/// A machine can be made and booted here: `tests/setup machine` installs what that takes. Not from inside of one.
#[must_use]
pub(crate) fn machine() -> bool {
    let inside = std::env::var_os("HERD_VM").is_some();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vm/run");
    has(!inside, "a machine that is not itself one of the tests'")
        && program("mmdebstrap")
        && program("busybox")
        && has(
            std::process::Command::new(tests)
                .arg("true")
                .output()
                .is_ok_and(|output| output.status.success()),
            "user-mode Linux that runs on this processor",
        )
}

/// As [`machine`], with a kernel whose machines keep the IPv4 default routes that clients and ifupdown set.
#[must_use]
pub(crate) fn routed_machine() -> bool {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vm/run");
    let kernel = || {
        std::process::Command::new(tests)
            .args(["uname", "-r"])
            .output()
    };
    machine()
        && has(
            !kernel().is_ok_and(|output| output.stdout.starts_with(b"6.1.")),
            "a newer user-mode Linux than Debian's 6.1, where such a route does not show (tests/vm/build-kernel)",
        )
}

/// A machine can be emulated here, with Debian's own kernel: `tests/setup qemu` installs what that takes.
#[must_use]
pub(crate) fn emulated_machine() -> bool {
    let inside = std::env::var_os("HERD_VM").is_some();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(std::path::PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let kernel = cache
        .or(home)
        .is_some_and(|cache| cache.join("herd/linux-cloud").exists());
    has(!inside, "a machine that is not itself one of the tests'")
        && program("mmdebstrap")
        && program("busybox")
        && program("qemu-system-x86_64")
        && has(kernel, "Debian's kernel, which tests/setup qemu fetches")
}

/// A controller that herd may use, of v1 or v2.
#[must_use]
pub(crate) fn controller(name: &str) -> bool {
    let host = sandbox::Host::detect().unwrap();
    let v1 = host.cgroups.v1.get(name).is_some_and(|v1| v1.writable);
    let v2 = host
        .cgroups
        .v2
        .as_ref()
        .is_some_and(|v2| v2.writable && v2.controllers.iter().any(|have| have == name));
    has(v1 || v2, &format!("the cgroup controller {name}"))
}

/// `unshare(1)` may make namespaces of this kind (`--mount`, `--pid`, …).
#[must_use]
pub(crate) fn unshare(kinds: &[&str]) -> bool {
    let made = std::process::Command::new("unshare")
        .args(kinds)
        .arg("true")
        .output();
    has(
        made.is_ok_and(|output| output.status.success()),
        &format!("unshare {}", kinds.join(" ")),
    )
}

#[must_use]
pub(crate) fn path(path: &str) -> bool {
    has(Path::new(path).exists(), path)
}
