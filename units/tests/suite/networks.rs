//! Files of networks, and units' drop-ins of `[network]`.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use units::load::{load_one, network_definition, network_names};
use units::network::{NetworkDefinition, parse_network};
use units::{Diagnostic, Facts, SearchPath, SourceText, UnitName};

fn parse(name: &str, text: &str) -> Result<NetworkDefinition, Vec<Diagnostic>> {
    let source = SourceText::new(format!("networks/{name}.toml"), text);
    parse_network(name, &source, &Facts::default())
}

/// Each problem as `LINE:COLUMN MESSAGE (HINT)`.
fn problems(name: &str, text: &str) -> Vec<String> {
    let all = parse(name, text).unwrap_err();
    all.iter().map(words).collect()
}

fn words(problem: &Diagnostic) -> String {
    let place = match problem.line_and_column() {
        Some((line, column)) => format!("{line}:{column} "),
        None => String::new(),
    };
    let hint = problem.hint.as_ref();
    let hint = hint.map_or_else(String::new, |hint| format!(" ({hint})"));
    format!("{place}{}{hint}", problem.message)
}

#[test]
fn every_key_of_a_network_is_read() {
    let text = "description = \"for 100% of us\"\nsubnet = \"10.20.0.0/24\"\n\
                subnet6 = \"fd00:1:2:3::/64\"\ninternal = true\nmtu = 9000\nipv6 = true\n";
    let read = parse("lan", text).unwrap();
    assert_eq!(read.description.as_deref(), Some("for 100% of us"));
    let network = read.network;
    assert_eq!(network.name, "lan");
    assert_eq!(network.subnet, Some("10.20.0.0/24".parse().unwrap()));
    assert_eq!(network.subnet6, Some("fd00:1:2:3::/64".parse().unwrap()));
    assert_eq!(
        (network.internal, network.ipv6, network.mtu),
        (true, true, Some(9000))
    );
    let bare = parse("lan", "").unwrap();
    assert_eq!(bare.network, sandbox::config::BridgeNetwork::new("lan"));
    assert!(!parse("lan", "ipv6 = false").unwrap().network.ipv6);
}

#[test]
fn every_wrong_value_of_a_network_is_told_at_its_place() {
    for (text, told) in [
        (
            "subnet = \"10.0.0.0\"",
            "1:10 \"10.0.0.0\" is no IPv4 subnet (write \"10.20.0.0/24\")",
        ),
        ("subnet = 10", "1:10 expected a text, found an integer"),
        (
            "subnet = \"fd00::/64\"",
            "1:10 \"fd00::/64\" is no IPv4 subnet (write \"10.20.0.0/24\")",
        ),
        (
            "subnet = \"10.0.0.0/30\"",
            "1:10 10.0.0.0/30: a network has a prefix of 8 to 29 bits (write \"10.20.0.0/24\")",
        ),
        (
            "subnet = \"10.0.0.0/7\"",
            "1:10 10.0.0.0/7: a network has a prefix of 8 to 29 bits (write \"10.20.0.0/24\")",
        ),
        (
            "subnet = \"10.0.0.1/8\"",
            "1:10 10.0.0.1/8 has bits behind its prefix: the subnet is 10.0.0.0/8 (write \"10.20.0.0/24\")",
        ),
        (
            "subnet = \"169.254.0.0/24\"",
            "1:10 169.254.0.0/24: addresses of this kind are no network's (write \"10.20.0.0/24\")",
        ),
        (
            "subnet = \"0.0.0.0/8\"",
            "1:10 0.0.0.0/8: addresses of this kind are no network's (write \"10.20.0.0/24\")",
        ),
        (
            "\nsubnet6 = \"10.0.0.0/8\"",
            "2:11 \"10.0.0.0/8\" is no IPv6 subnet (write \"fd00:1:2:3::/64\")",
        ),
        (
            "subnet6 = \"fd00::/120\"",
            "1:11 fd00::/120: a network has a prefix of 8 to 112 bits (write \"fd00:1:2:3::/64\")",
        ),
        (
            "subnet6 = \"fe80::/64\"",
            "1:11 fe80::/64: addresses of this kind are no network's (write \"fd00:1:2:3::/64\")",
        ),
        (
            "subnet6 = [\"fd00::/64\"]",
            "1:11 expected a text, found a list",
        ),
        (
            "ipv6 = \"no\"",
            "1:8 expected true or false, found a text (write false)",
        ),
        (
            "internal = 1",
            "1:12 expected true or false, found an integer",
        ),
        ("mtu = 576", "1:7 the number must be from 1280 to 65535"),
        ("mtu = \"1500\"", "1:7 expected an integer, found a text"),
        ("description = 1", "1:15 expected a text, found an integer"),
        (
            "Subnet = \"10.0.0.0/8\"",
            "1:1 unknown key `Subnet` (did you mean `subnet`?)",
        ),
        (
            "gateway = \"10.0.0.1\"",
            "1:1 unknown key `gateway` (a network has description, subnet, subnet6, ipv6, internal, mtu)",
        ),
        (
            "ipv6 = false\nsubnet6 = \"fd00::/64\"",
            "2:11 `subnet6` means nothing to a network without IPv6 (leave it out, or `ipv6 = false`)",
        ),
    ] {
        assert_eq!(problems("lan", text), [told], "{text}");
    }
}

#[test]
fn all_problems_of_a_network_are_told_at_once_and_broken_toml_too() {
    let told = problems("lan", "subnet = 1\nmtu = 1\nfoo = 2\n");
    assert_eq!(told.len(), 3, "{told:?}");
    let told = problems("lan", "subnet = \"10.0.0.0/8\nmtu = 1500\n");
    assert!(told[0].starts_with("1:"), "{told:?}");
    let told = problems("lan", "mtu = 1500\nmtu = 1500\n");
    assert!(
        told.iter().any(|one| one.contains("duplicate key")),
        "{told:?}"
    );
}

#[test]
fn a_name_that_no_network_has_is_told() {
    let told = "the name of a network is 1 to 32 letters, digits, - _ and ., and begins with one of the first two \
                (the file's name, without .toml, is the network's name)";
    for name in [
        "",
        "-lan",
        ".lan",
        "a b",
        "a/b",
        "l\u{e4}n",
        &"a".repeat(33),
    ] {
        assert_eq!(problems(name, ""), [told], "{name}");
    }
    parse(&"a".repeat(32), "").unwrap();
}

struct Tree(TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            let path = tree.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        tree
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        self.0.path().join(below)
    }

    fn search(&self) -> SearchPath {
        SearchPath {
            enabled: Some(self.path("enabled")),
            available: None,
            vendor: Some(self.path("vendor")),
            networks: Some(self.path("networks")),
            boot: None,
            also: std::collections::BTreeSet::new(),
            explicit: false,
        }
    }
}

fn facts() -> Facts {
    Facts::of_the_system()
}

#[test]
fn networks_with_a_file_are_listed_by_name_and_those_without_are_none() {
    let tree = Tree::new(&[
        ("networks/b.toml", "mtu = 1400"),
        ("networks/a.toml", ""),
        ("networks/README", "no network"),
    ]);
    let search = tree.search();
    assert_eq!(network_names(&search, &facts()).unwrap(), ["a", "b"]);
    let found = network_definition(&search, "b", &facts()).unwrap().unwrap();
    assert_eq!(found.network.mtu, Some(1400));
    assert_eq!(network_definition(&search, "c", &facts()), Ok(None));
    let none = Tree::new(&[]);
    assert_eq!(
        network_names(&none.search(), &facts()).unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn a_network_file_that_anybody_could_have_written_is_refused() {
    let tree = Tree::new(&[("networks/lan.toml", "")]);
    let path = tree.path("networks/lan.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let told = network_definition(&tree.search(), "lan", &facts()).unwrap_err();
    let told = units::diagnostic::render_all(&told, false);
    assert!(
        told.contains("error: the file is writable by everybody\n"),
        "{told}"
    );
    assert!(told.contains(path.to_str().unwrap()), "{told}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let told = network_definition(&tree.search(), "lan", &facts()).unwrap_err();
    assert_eq!(told.len(), 1, "{told:?}");
}

/// The ports of the unit `web`, or what is wrong with it.
fn ports(tree: &Tree) -> Result<Vec<String>, String> {
    let name = UnitName::new("web").unwrap();
    let parsed = load_one(&tree.search(), &name, &facts());
    let told = units::diagnostic::render_all(&parsed.diagnostics, false);
    let unit = parsed.unit.ok_or(told)?;
    let network = unit.walls.as_ref().unwrap().network.as_private();
    let ports = network.map_or(&[][..], |network| &network.ports);
    Ok(ports.iter().map(ToString::to_string).collect())
}

#[test]
fn a_drop_in_changes_the_network_of_its_unit_key_by_key() {
    let tree = Tree::new(&[
        (
            "vendor/web.toml",
            "command = \"w\"\nboxed = true\n[network]\nmode = \"bridge\"\nports = [\"8080:80\"]\n",
        ),
        ("enabled/web.toml.d/10-mtu.toml", "[network]\nmtu = 1400\n"),
    ]);
    assert_eq!(ports(&tree).unwrap(), ["8080:80/tcp"]);
    let more = tree.path("enabled/web.toml.d/20-ports.toml");
    fs::write(&more, "network.ports = [\"8081:80\", \"53/udp\"]\n").unwrap();
    let both = ports(&tree).unwrap();
    assert_eq!(both, ["8081:80/tcp", "53:53/udp"]);
    // What it says is checked with the rest, and told at its own place.
    fs::write(&more, "network.ports = [\"80\", \"80\"]\n").unwrap();
    let told = ports(&tree).unwrap_err();
    assert!(
        told.contains("80:80/tcp and 80:80/tcp are the same port of the host"),
        "{told}"
    );
    assert!(told.contains("web.toml.d/20-ports.toml:1:"), "{told}");
    fs::write(&more, "[network]\nmode = \"loopback\"\n").unwrap();
    let told = ports(&tree).unwrap_err();
    assert!(
        told.contains("`ports` means nothing to a box that nobody reaches"),
        "{told}"
    );
    assert!(told.contains("vendor/web.toml:5:"), "{told}");
    assert!(Path::new(&more).exists());
}
