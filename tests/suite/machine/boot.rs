//! From the kernel to all services.

use super::fixture::Disk;
use crate::needs;

#[test]
fn a_machine_boots_to_its_services_in_order_and_switches_off() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .unit(
            "first",
            "command = 'echo first is up'\noneshot = true\nstdout = 'file:/dev/console'",
        )
        .unit(
            "second",
            "command = 'echo second is up'\noneshot = true\nafter = ['first']\nstdout = 'file:/dev/console'",
        )
        .script(
            "look",
            "echo states: $(herd is-active multi-user sysinit local-fs)
             echo cgroups: $(cat /sys/fs/cgroup/cgroup.subtree_control)
             echo name: $(hostname), id: $(wc -c </etc/machine-id)
             echo mounts: $(awk '{ print $2 }' /proc/mounts | sort | tr '\\n' ' ')
             herd blame | head -1
             herd shutdown --no-wait",
        );
    let mut machine = disk.boot();
    machine.wait("first is up");
    machine.wait("second is up");
    assert_eq!(machine.wait("states: "), "states: active active active");
    let cgroups = machine.wait("cgroups: ");
    for controller in ["cpu", "io", "memory", "pids"] {
        let mut words = cgroups.split(' ');
        assert!(words.any(|word| word == controller), "{cgroups}");
    }
    assert_eq!(machine.wait("name: "), "name: machine, id: 33");
    let mounts = machine.wait("mounts: ");
    for place in [
        "/proc",
        "/sys",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/run",
        "/sys/fs/cgroup",
    ] {
        let words: Vec<&str> = mounts.split(' ').collect();
        assert!(words.contains(&place), "{place}: {mounts}");
    }
    assert!(machine.wait(" units in ").contains(" of kernel"));
    machine.wait("herd: powering off");
    let said = machine.ended();
    assert!(
        // A kernel that has no switch stands still; Debian's user-mode-linux 6.1 is one.
        said.iter()
            .any(|line| line.contains("Power down") || line.contains("System halted")),
        "{said:#?}"
    );
    // udev gives its status after it is ready, which is no news of its state.
    let times = said.iter().filter(|line| line.contains("udev: active"));
    assert_eq!(times.count(), 1, "{said:#?}");
}

#[test]
fn a_broken_unit_and_a_missing_program_stop_no_boot() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .unit("broken", "comand = 'sleep infinity'")
        .unit("missing", "command = '/usr/bin/nowhere'\nrestart = 'no'")
        .script(
            "look",
            "echo goal: $(herd is-active multi-user), missing: $(herd is-active missing)
             echo why: $(herd why missing)
             echo check: $(herd check /etc/herd/enabled/broken.toml 2>&1)
             herd shutdown --no-wait",
        );
    let mut machine = disk.boot();
    assert_eq!(machine.wait("goal: "), "goal: active, missing: failed");
    assert!(machine.wait("why: ").contains("/usr/bin/nowhere"));
    assert!(machine.wait("check: ").contains("comand"));
    machine.ended();
}

#[test]
fn the_command_line_names_another_goal() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .unit("web", "command = 'sleep infinity'\nstdout = 'null'")
        .file(
            "/etc/herd/available/little.toml",
            "kind = 'target'\nwants = ['look']\n",
        )
        .file(
            "/etc/herd/available/look.toml",
            "command = ['sh', '-c', 'echo goal: $(herd is-active multi-user), web: $(herd is-active web); herd shutdown --no-wait']\n\
             oneshot = true\nafter = ['web']\nstdout = 'file:/dev/console'\n",
        )
        .word("herd.unit=little");
    let mut machine = disk.boot();
    assert_eq!(machine.wait("goal: "), "goal: inactive, web: active");
    machine.ended();
}

#[test]
fn a_word_that_nobody_knows_is_passed_over() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .script(
            "look",
            "echo goal: $(herd is-active multi-user), words: $(tr '\\0' ' ' </proc/1/cmdline)\nherd shutdown --no-wait",
        )
        .word("init=/usr/bin/herd")
        .word("rhgb");
    // An initramfs starts the machine's init by words of its own.
    let mut machine = disk.boot();
    machine.wait("goal: active, words: /sbin/init");
    machine.ended();
    let mut machine = disk.boot();
    assert_eq!(
        machine.wait("goal: "),
        "goal: active, words: /usr/bin/herd rhgb"
    );
    machine.ended();
}

#[test]
fn a_goal_that_cannot_be_had_leads_to_emergency_with_a_word() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().word("quiet").word("herd.unit=nowhere");
    let mut machine = disk.boot();
    machine.wait(
        "the goal nowhere cannot be had: there is no unit nowhere; going to emergency instead",
    );
    machine.wait("Emergency: ");
    machine.shell();
    machine.enter("kill -PWR 1");
    machine.ended();
}

#[test]
fn a_broken_goal_leads_to_emergency_with_its_error() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .unit("default", "kind = 'target'\nrequire = ['multi-user']")
        .word("quiet");
    let mut machine = disk.boot();
    machine.wait("require");
    machine.wait(
        "the goal default cannot be had: the unit default is in error; going to emergency instead",
    );
    machine.wait("Emergency: ");
    machine.shell();
    machine.enter("kill -PWR 1");
    machine.ended();
}

#[test]
fn rescue_gives_a_shell_with_file_systems_and_no_service() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .unit("web", "command = 'sleep infinity'")
        .word("rescue");
    let mut machine = disk.boot();
    machine.wait("Rescue: ");
    machine.shell();
    machine.enter("echo one=$(herd is-active local-fs) two=$(herd is-active web)");
    machine.wait("one=active two=inactive");
    machine.enter("kill -PWR 1");
    machine.ended();
}

#[test]
fn emergency_gives_a_shell_and_nothing_else() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().word("emergency");
    let mut machine = disk.boot();
    machine.wait("Emergency: ");
    machine.shell();
    machine.enter("echo one=$(herd is-active local-fs)");
    machine.wait("one=inactive");
    machine.enter("kill -PWR 1");
    machine.ended();
}

#[test]
fn a_unit_that_is_masked_is_not_missed() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().script(
        "look",
        "echo goal: $(herd is-active multi-user); herd start getty 2>&1 | sed 's/^/start: /'; kill -PWR 1",
    );
    let mut machine = disk.boot();
    machine.wait("goal: active");
    assert!(machine.wait("start: ").contains("getty cannot be used:"));
    machine.wait("start: error: getty is masked for this boot");
    let said = machine.ended();
    let before = said.iter().take_while(|line| !line.contains("goal: "));
    assert!(
        !before.into_iter().any(|line| line.contains("getty")),
        "{said:#?}"
    );
}

#[test]
fn an_id_made_while_the_root_was_read_only_is_that_of_the_next_boot_too() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .word("ro")
        .unit(
            "early",
            "command = ['/bin/sh', '-c', 'cat /etc/machine-id >/run/early; grep -c \" / .* ro,\" /proc/mounts >>/run/early']\n\
             oneshot = true\ndefault_dependencies = false\nbefore = ['remount-root']",
        )
        .unit(
            "first",
            "command = 'true'\noneshot = true\nremain_after_exit = true\ncondition.first_boot = true",
        )
        .unit(
            "later",
            "command = 'true'\noneshot = true\nremain_after_exit = true\ncondition.first_boot = false",
        )
        .script(
            "look",
            "echo known as $(cat /etc/machine-id) early: $(cat /run/early), first: $(herd is-active first later machine-id), bound: $(grep -c machine-id /proc/mounts), left: $(ls /run | grep -c machine-id).
             kill -PWR 1",
        );
    let mut boot = || {
        let mut machine = disk.boot();
        let line = machine.wait("known as ");
        machine.ended();
        let (_, rest) = line.split_once("known as ").unwrap();
        let (id, state) = rest.split_once(' ').unwrap();
        assert_eq!(id.len(), 32, "{line}");
        (id.to_owned(), state.to_owned())
    };
    let (id, state) = boot();
    // What the first programs saw is what was kept.
    assert_eq!(
        state,
        format!("early: {id} 1, first: active inactive active, bound: 0, left: 0.")
    );
    let (again, state) = boot();
    assert_eq!(again, id);
    assert_eq!(
        state,
        format!("early: {id} 1, first: inactive active inactive, bound: 0, left: 0.")
    );
}

#[test]
fn an_empty_id_is_filled_and_makes_no_first_boot() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .file("/etc/machine-id", "")
        .unit(
            "first",
            "command = 'true'\noneshot = true\nremain_after_exit = true\ncondition.first_boot = true",
        )
        .script(
            "look",
            "echo first: $(herd is-active first), id: $(wc -c </etc/machine-id).; kill -PWR 1",
        );
    let mut machine = disk.boot();
    machine.wait("first: inactive, id: 33.");
    machine.ended();
}

/// Pairs of what holds on this machine and what does not.
const CONDITIONS: [(&str, &str); 16] = [
    ("path_exists = '/etc/fstab'", "path_exists = '!/etc/fstab'"),
    (
        "path_is_directory = '/etc'",
        "path_is_directory = '/etc/fstab'",
    ),
    (
        "directory_not_empty = '/etc'",
        "directory_not_empty = '/srv/empty'",
    ),
    ("file_not_empty = '/etc/fstab'", "file_not_empty = '/etc'"),
    (
        "file_is_executable = '/bin/sh'",
        "file_is_executable = '/etc/fstab'",
    ),
    (
        "path_is_read_write = '/var'",
        "path_is_read_write = '/sealed'",
    ),
    ("user = 'root'", "user = 'daemon'"),
    ("group = 'root'", "group = 'daemon'"),
    ("virtualization = 'vm'", "virtualization = 'no'"),
    ("virtualization = 'uml'", "virtualization = 'container'"),
    (
        "kernel_command_line = 'root=/dev/ubda'",
        "kernel_command_line = 'root=/dev/sda'",
    ),
    (
        "capability = 'CAP_SYS_BOOT'",
        "capability = '!CAP_SYS_BOOT'",
    ),
    ("architecture = 'native'", "architecture = 's390x'"),
    ("environment = 'TOWN=Ghent'", "environment = 'TOWN=Bruges'"),
    ("memory = '>= 64M'", "memory = '>= 64G'"),
    ("cpus = '= 1'", "cpus = '> 1'"),
];

#[test]
fn conditions_ask_the_machine_itself() {
    if !needs::machine() {
        return;
    }
    // As in an image that was made of a container's; it is none for that.
    let mut disk = Disk::new()
        .file("/.dockerenv", "")
        .file("/sealed", "")
        .word("herd.setenv=TOWN=Ghent");
    for (number, (yes, no)) in CONDITIONS.iter().enumerate() {
        let unit = |condition: &str| {
            format!(
                "command = 'true'\noneshot = true\nremain_after_exit = true\nafter = ['seal']\n[condition]\n{condition}\n"
            )
        };
        disk = disk
            .unit(&format!("holds-{number}"), &unit(yes))
            .unit(&format!("fails-{number}"), &unit(no));
    }
    let last = CONDITIONS.len() - 1;
    let mut disk = disk
        .unit(
            "seal",
            "command = 'mount -o bind,ro /sealed /sealed'\ncommand_pre = 'mkdir -p /srv/empty'\n\
             oneshot = true\nremain_after_exit = true",
        )
        .script(
            "look",
            &format!(
                "for number in $(seq 0 {last}); do echo pair $number: $(herd is-active holds-$number fails-$number); done; \
                 kill -PWR 1"
            ),
        );
    let mut machine = disk.boot();
    for (number, pair) in CONDITIONS.iter().enumerate() {
        let line = machine.wait("pair ");
        assert_eq!(line, format!("pair {number}: active inactive"), "{pair:?}");
    }
    machine.ended();
}

#[test]
fn who_leaves_the_emergency_shell_of_a_goal_still_broken_gets_another_and_boots_once_it_is_mended()
{
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .unit("default", "kind = 'target'\nrequire = ['multi-user']")
        .script(
            "look",
            "echo the goal is $(herd is-active multi-user).; kill -PWR 1",
        )
        .word("quiet");
    let mut machine = disk.boot();
    machine.wait("Emergency: ");
    for _ in 0..2 {
        machine.shell();
        machine.enter("exit");
        machine.wait("herd: ");
        machine.wait("require = ");
        machine.wait("Emergency: ");
    }
    machine.shell();
    machine.enter("echo state is $(herd is-active emergency).");
    machine.wait("state is active.");
    machine.enter("mount -o remount,rw /; rm /etc/herd/enabled/default.toml; exit");
    machine.wait("the goal is active.");
    machine.ended();
}

#[test]
fn who_leaves_the_emergency_shell_without_the_disk_that_has_to_be_there_gets_another() {
    if !needs::machine() {
        return;
    }
    let mut disk =
        Disk::new().fstab("/dev/nowhere /srv/nowhere ext4 x-systemd.device-timeout=1s 0 2\n");
    let mut machine = disk.boot();
    machine.shell();
    machine.enter("exit");
    machine.wait("Emergency: ");
    machine.shell();
    machine.enter("echo state is $(herd is-active emergency).");
    machine.wait("state is active.");
    machine.enter("kill -PWR 1");
    machine.ended();
}
