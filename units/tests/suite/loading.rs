//! Directories of units on disk: precedence, drop-ins, templates, and files that cannot be trusted.
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;
use units::load::{Boot, Loaded};
use units::{Facts, SearchPath, UnitName, diff, load, load_one};

struct Tree {
    root: TempDir,
    search: SearchPath,
}

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["enabled", "available", "vendor"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        let search = SearchPath {
            enabled: Some(root.path().join("enabled")),
            available: Some(root.path().join("available")),
            vendor: Some(root.path().join("vendor")),
            networks: Some(root.path().join("networks")),
            boot: None,
            also: std::collections::BTreeSet::new(),
            explicit: false,
        };
        let tree = Self { root, search };
        for (path, text) in files {
            tree.write(path, text);
        }
        tree
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn load(&self) -> Loaded {
        load(&self.search, &Facts::of_the_system())
    }
}

fn name(text: &str) -> UnitName {
    UnitName::new(text).unwrap()
}

fn description<'l>(loaded: &'l Loaded, unit: &str) -> &'l str {
    let unit = &loaded.units[&name(unit)];
    unit.description.as_deref().unwrap_or_default()
}

fn problems(loaded: &Loaded, unit: &str) -> String {
    let reports = &loaded.broken[&name(unit)];
    units::diagnostic::render_all(reports, false)
}

#[test]
fn what_is_wanted_beside_the_enabled_units_starts_unless_one_of_them_starts_it() {
    let mut tree = Tree::new(&[
        (
            "enabled/web.toml",
            "command = \"w\"\nafter = [\"main\"]\non_failure = [\"rescuer\"]",
        ),
        (
            "available/main.toml",
            "command = \"m\"\nrequires = [\"db\"]",
        ),
        ("available/db.toml", "command = \"d\""),
        ("available/rescuer.toml", "command = \"r\""),
        ("available/job@.toml", "command = \"j\""),
    ]);
    tree.search.also = ["main", "rescuer", "job@a"].map(name).into();
    let loaded = tree.load();
    let enabled: Vec<&str> = loaded.enabled.iter().map(UnitName::as_str).collect();
    assert_eq!(enabled, ["job@a", "main", "web"]);
    assert!(loaded.broken.is_empty() && loaded.diagnostics.is_empty());
}

#[test]
fn enabled_units_bring_in_what_they_name() {
    let tree = Tree::new(&[
        (
            "enabled/web.toml",
            "command = \"w\"\nrequires = [\"db\"]\nafter = [\"ghost\"]",
        ),
        ("available/db.toml", "command = \"d\"\nwants = [\"disk\"]"),
        ("vendor/disk.toml", "command = \"k\""),
        ("vendor/unused.toml", "command = \"u\""),
    ]);
    let loaded = tree.load();
    let names: Vec<&str> = loaded.units.keys().map(UnitName::as_str).collect();
    assert_eq!(names, ["db", "disk", "web"]);
    assert_eq!(loaded.enabled.len(), 1);
    assert!(loaded.complete && loaded.diagnostics.is_empty());
}

#[test]
fn the_stronger_directory_wins() {
    let tree = Tree::new(&[
        (
            "enabled/web.toml",
            "command = \"w\"\nwants = [\"a\"]\ndescription = \"enabled\"",
        ),
        (
            "available/web.toml",
            "command = \"w\"\ndescription = \"available\"",
        ),
        (
            "available/a.toml",
            "command = \"w\"\ndescription = \"available\"",
        ),
        ("vendor/a.toml", "command = \"w\"\ndescription = \"vendor\""),
    ]);
    let loaded = tree.load();
    assert_eq!(description(&loaded, "web"), "enabled");
    assert_eq!(description(&loaded, "a"), "available");
}

#[test]
fn drop_ins_of_all_directories_apply_in_name_order() {
    let tree = Tree::new(&[
        (
            "enabled/web.toml",
            "command = \"w\"\nnice = 1\n[limits]\nmemory = \"1M\"\ntasks = 5",
        ),
        (
            "vendor/web.toml.d/10.toml",
            "nice = 2\ndescription = \"ten\"",
        ),
        (
            "enabled/web.toml.d/20.toml",
            "nice = 3\n[limits]\nmemory = \"2M\"",
        ),
        ("vendor/web.toml.d/30.toml", "umask = 0o77"),
        ("available/web.toml.d/30.toml", "umask = 0o27"),
        ("enabled/web.toml.d/ignored.txt", "nonsense"),
    ]);
    let loaded = tree.load();
    let unit = &loaded.units[&name("web")];
    let around = unit.surroundings.as_ref().unwrap();
    assert_eq!(around.scheduling.nice, Some(3));
    assert_eq!(around.umask, Some(0o27));
    assert_eq!(unit.description.as_deref(), Some("ten"));
    let limits = &unit.limits.as_ref().unwrap().cgroup;
    assert_eq!(
        limits.memory,
        Some(sandbox::config::Amount::Exactly(2 << 20))
    );
    assert_eq!(limits.tasks, Some(sandbox::config::Amount::Exactly(5)));
    assert_eq!(unit.source.drop_ins.len(), 3);
}

#[test]
fn a_problem_in_a_drop_in_points_at_the_drop_in() {
    let tree = Tree::new(&[
        ("enabled/web.toml", "command = \"w\""),
        ("enabled/web.toml.d/a.toml", "\nnise = 3"),
    ]);
    let shown = problems(&tree.load(), "web");
    assert!(shown.contains("web.toml.d/a.toml:2:1"), "{shown}");
    assert!(shown.contains("did you mean `nice`?"), "{shown}");
}

#[test]
fn instances_come_from_templates() {
    let tree = Tree::new(&[
        (
            "enabled/all.toml",
            "kind = \"target\"\nwants = [\"web@a\", \"web@b\"]",
        ),
        (
            "available/web@.toml",
            "command = \"w %i\"\nenvironment = { ME = \"%n\" }",
        ),
        ("available/web@.toml.d/x.toml", "nice = 1"),
        ("available/web@b.toml.d/x.toml", "nice = 2"),
        ("enabled/web@.toml", "command = \"w --from-enabled %i\""),
    ]);
    let loaded = tree.load();
    let a = &loaded.units[&name("web@a")];
    let b = &loaded.units[&name("web@b")];
    assert_eq!(
        a.commands.main.as_ref().unwrap().argv,
        ["w", "--from-enabled", "a"]
    );
    let nice = |unit: &units::Unit| unit.surroundings.as_ref().unwrap().scheduling.nice;
    assert_eq!((nice(a), nice(b)), (Some(1), Some(2)));
    assert!(!loaded.enabled.contains(&name("web@")));
}

#[test]
fn a_broken_file_hides_no_other() {
    let tree = Tree::new(&[
        ("enabled/bad.toml", "command = "),
        ("enabled/good.toml", "command = \"g\"\nrequires = [\"bad\"]"),
        ("enabled/-x.toml", "command = \"g\""),
        ("enabled/.hidden.toml", "nonsense"),
        ("enabled/README", "nonsense"),
    ]);
    let loaded = tree.load();
    assert!(loaded.units.contains_key(&name("good")));
    assert!(loaded.broken.contains_key(&name("bad")));
    assert!(loaded.enabled.contains(&name("bad")));
    assert_eq!(loaded.diagnostics.len(), 1, "{:?}", loaded.diagnostics);
    assert!(loaded.diagnostics[0].message.contains("cannot begin"));
}

#[test]
fn files_that_anybody_could_have_written_are_refused() {
    let tree = Tree::new(&[("enabled/web.toml", "command = \"w\"")]);
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    set(&tree.path("enabled/web.toml"), 0o666).unwrap();
    let shown = problems(&tree.load(), "web");
    assert!(shown.contains("writable by everybody"), "{shown}");
    set(&tree.path("enabled/web.toml"), 0o644).unwrap();
    set(&tree.path("enabled"), 0o777).unwrap();
    let loaded = tree.load();
    assert!(loaded.units.is_empty() && !loaded.complete);
}

#[test]
fn what_is_no_plain_file_is_refused_at_once() {
    let tree = Tree::new(&[]);
    symlink("/nowhere/at/all.toml", tree.path("enabled/gone.toml")).unwrap();
    symlink("/dev/zero", tree.path("enabled/endless.toml")).unwrap();
    fs::create_dir(tree.path("enabled/dir.toml")).unwrap();
    symlink("loop.toml", tree.path("enabled/loop.toml")).unwrap();
    tree.write("enabled/large.toml", &"#".repeat((1 << 20) + 1));
    fs::write(tree.path("enabled/latin.toml"), b"command = \"\xff\"").unwrap();
    make_fifo(&tree.path("enabled/fifo.toml"));
    let loaded = tree.load();
    assert!(loaded.units.is_empty());
    for (unit, message) in [
        (
            "gone",
            "the link leads nowhere: there is no \"/nowhere/at/all.toml\"",
        ),
        ("endless", "no regular file"),
        ("dir", "no regular file"),
        ("loop", "cannot read the file"),
        ("large", "larger than 1 MiB"),
        ("latin", "not UTF-8 (byte 11)"),
        ("fifo", "no regular file"),
    ] {
        let shown = problems(&loaded, unit);
        assert!(shown.contains(message), "{unit}: {shown}");
    }
}

/// The standard library makes no FIFOs; coreutils does.
fn make_fifo(path: &Path) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the test's own setup, not herd's"
    )]
    let status = std::process::Command::new("mkfifo").arg(path).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_link_out_of_the_directory_is_followed() {
    let tree = Tree::new(&[("available/web.toml", "command = \"w\"")]);
    symlink("../available/web.toml", tree.path("enabled/web.toml")).unwrap();
    assert!(tree.load().units.contains_key(&name("web")));
}

#[test]
fn a_requirement_that_does_not_exist_is_told_at_its_place() {
    let tree = Tree::new(&[
        ("enabled/postgres.toml", "command = \"p\""),
        (
            "enabled/web.toml",
            "command = \"w\"\nrequires = [\"postgres\", \"postgre\"]",
        ),
        (
            "enabled/api.toml",
            "command = \"w\"\nrequires = [\"postgres.service\"]",
        ),
        (
            "enabled/soft.toml",
            "command = \"w\"\nwants = [\"ghost\"]\nafter = [\"spirit\"]",
        ),
    ]);
    let loaded = tree.load();
    let shown = problems(&loaded, "web");
    assert!(shown.contains("there is no unit postgre"), "{shown}");
    assert!(shown.contains("web.toml:2:25"), "{shown}");
    assert!(shown.contains("did you mean \"postgres\"?"), "{shown}");
    let shown = problems(&loaded, "api");
    assert!(shown.contains("without a suffix: \"postgres\""), "{shown}");
    assert!(loaded.units.contains_key(&name("soft")));
    assert_eq!(loaded.diagnostics.len(), 1);
    assert!(!loaded.diagnostics[0].is_error());
}

#[test]
fn aliases_and_installation_become_dependencies() {
    let tree = Tree::new(&[
        (
            "enabled/postgres.toml",
            "command = \"p\"\naliases = [\"db\"]\nwanted_by = [\"all\"]",
        ),
        (
            "enabled/web.toml",
            "command = \"w\"\nrequires = [\"db\"]\nrequired_by = [\"all\"]",
        ),
        ("enabled/all.toml", "kind = \"target\""),
    ]);
    let loaded = tree.load();
    assert!(loaded.broken.is_empty());
    assert_eq!(loaded.aliases[&name("db")], name("postgres"));
    assert_eq!(
        loaded.units[&name("web")].dependencies.requires,
        [name("postgres")]
    );
    let all = &loaded.units[&name("all")].dependencies;
    assert_eq!(all.wants, [name("postgres")]);
    assert_eq!(all.requires, [name("web")]);
}

#[test]
fn a_vanished_directory_is_told_and_told_apart_from_an_empty_one() {
    let tree = Tree::new(&[]);
    assert!(tree.load().complete);
    fs::remove_dir(tree.path("enabled")).unwrap();
    let loaded = tree.load();
    assert!(!loaded.complete);
    assert_eq!(loaded.diagnostics.len(), 1);
}

#[test]
fn one_unit_is_found_by_name() {
    let tree = Tree::new(&[("available/postgres.toml", "command = \"p\"")]);
    let facts = Facts::of_the_system();
    assert!(
        load_one(&tree.search, &name("postgres"), &facts)
            .unit
            .is_some()
    );
    let missing = load_one(&tree.search, &name("postgers"), &facts);
    assert_eq!(missing.unit, None);
    assert_eq!(
        missing.diagnostics[0].hint.as_deref(),
        Some("did you mean postgres?")
    );
}

#[test]
fn a_changed_set_is_told_as_added_removed_and_changed() {
    let tree = Tree::new(&[
        ("enabled/a.toml", "command = \"a\""),
        ("enabled/b.toml", "command = \"b\""),
        ("enabled/c.toml", "command = \"c\""),
    ]);
    let before = tree.load().units;
    assert!(diff(&before, &before).is_empty());
    fs::remove_file(tree.path("enabled/a.toml")).unwrap();
    tree.write("enabled/b.toml", "command = \"b\"\nnice = 5\nboxed = true");
    tree.write("enabled/c.toml", "# only a comment\ncommand = \"c\"");
    tree.write("enabled/d.toml", "command = \"d\"");
    let found = diff(&before, &tree.load().units);
    assert_eq!(found.added, [name("d")]);
    assert_eq!(found.removed, [name("a")]);
    assert_eq!(found.changed.len(), 1);
    assert_eq!(found.changed[0].name, name("b"));
    assert_eq!(found.changed[0].parts, ["surroundings", "box"]);
}

/// A machine that boots, with the units of the boot in `boot`.
fn machine(files: &[(&str, &str)]) -> Loaded {
    machine_without(&[], files).load()
}

/// With units that the boot leaves out.
fn machine_without(masked: &[&str], files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new(files);
    tree.search.boot = Some(Boot {
        directory: tree.path("boot"),
        goal: name("default"),
        alone: false,
        masked: masked.iter().map(|masked| name(masked)).collect(),
    });
    tree
}

const MOUNT: &str = "oneshot = true\ncommand = 'true'";
const GOAL: (&str, &str) = ("boot/default.toml", "kind = 'target'");

#[test]
fn a_unit_that_is_left_out_is_missed_by_those_that_require_it_only() {
    let tree = machine_without(
        &["getty", "db"],
        &[
            ("boot/default.toml", "kind = 'target'\nwants = ['getty']"),
            ("boot/getty.toml", "kind = 'target'"),
            ("available/db.toml", "command = 'x'"),
            ("enabled/web.toml", "command = 'x'\nrequires = ['db']"),
        ],
    );
    let loaded = tree.load();
    assert_eq!(loaded.diagnostics, []);
    assert!(!loaded.units.contains_key(&name("getty")));
    let shown = problems(&loaded, "web");
    assert!(shown.contains("db is masked for this boot"), "{shown}");
    let facts = units::host_facts();
    let parsed = load_one(&tree.search, &name("getty"), &facts);
    assert!(parsed.unit.is_none() && !parsed.is_missing);
    let message = &parsed.diagnostics[0].message;
    assert_eq!(message, "getty is masked for this boot");
    assert!(load_one(&tree.search, &name("gettty"), &facts).is_missing);
}

#[test]
fn a_unit_that_needs_a_path_requires_and_follows_the_mounts_above_it() {
    let loaded = machine(&[
        GOAL,
        ("boot/mount-srv.toml", MOUNT),
        ("boot/mount-srv-my\\x20data.toml", MOUNT),
        ("boot/mount-var.toml", MOUNT),
        (
            "enabled/web.toml",
            "command = 'x'\nrequires_mounts_for = ['/srv/my data/deep']",
        ),
    ]);
    let web = &loaded.units[&name("web")].dependencies;
    let mounts = [name("mount-srv"), name("mount-srv-my\\x20data")];
    assert_eq!(web.requires, mounts);
    assert_eq!(web.after, mounts);
    assert!(loaded.units.contains_key(&mounts[1]));
    assert!(!loaded.units.contains_key(&name("mount-var")));
}

#[test]
fn what_a_boot_adds_to_a_unit_takes_none_of_its_own_names_away() {
    let loaded = machine(&[
        ("boot/default.toml", "kind = 'target'\nwants = ['one']"),
        ("boot/default.wants/two", ""),
        ("boot/default.requires/three", ""),
        ("boot/one.toml", MOUNT),
        ("boot/two.toml", MOUNT),
        ("boot/three.toml", MOUNT),
        ("available/default.toml.d/10-own.toml", "wants = ['four']"),
        ("available/four.toml", MOUNT),
    ]);
    let goal = &loaded.units[&name("default")].dependencies;
    assert_eq!(goal.wants, [name("four"), name("two")]);
    assert_eq!(goal.requires, [name("three")]);
    assert!(!loaded.units.contains_key(&name("one")));
}
