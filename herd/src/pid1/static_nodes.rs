//! Nodes of devices whose module nobody has loaded yet: opening `/dev/fuse`, `/dev/net/tun` or
//! `/dev/loop-control` loads it. `depmod(8)` lists them; devtmpfs has only what is there already.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

/// Why a device's module is not loaded by whoever opens its node.
#[derive(Debug, thiserror::Error)]
pub(super) enum NodesError {
    #[error("{}: {source}", path.display())]
    List { path: PathBuf, source: io::Error },
    #[error("{}: {source}{}", path.display(), and_others(*others))]
    Node {
        path: PathBuf,
        source: io::Error,
        /// Further ones that could not be made either.
        others: usize,
    },
}

fn and_others(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!("; and {count} more"),
    }
}

/// Makes those that are not there, for root alone; udev's rules open them to others.
///
/// # Errors
/// Of the first that cannot be made, once all were tried, as `mkdir(2)` and `mknod(2)`; of the list, as `open(2)`.
/// A kernel without modules has no list, and that is none.
pub(super) fn make() -> Result<(), NodesError> {
    let kernel = rustix::system::uname();
    let release = kernel.release().to_string_lossy().into_owned();
    let path = Path::new("/lib/modules")
        .join(release)
        .join("modules.devname");
    match fs::read_to_string(&path) {
        Ok(text) => make_in(Path::new("/dev"), &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(NodesError::List { path, source }),
    }
}

/// All that the list names, below this directory.
fn make_in(directory: &Path, list: &str) -> Result<(), NodesError> {
    let nodes = list.lines().filter_map(parse);
    let mut failed = nodes.filter_map(|node| {
        let path = directory.join(&node.path);
        let source = node.make(&path).err()?;
        Some((path, source))
    });
    let Some((path, source)) = failed.next() else {
        return Ok(());
    };
    Err(NodesError::Node {
        path,
        source,
        others: failed.count(),
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Node {
    path: PathBuf,
    kind: SFlag,
    major: u64,
    minor: u64,
}

impl Node {
    fn make(&self, path: &Path) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        match mknod(path, self.kind, mode, makedev(self.major, self.minor)) {
            Err(nix::Error::EEXIST) => Ok(()),
            made => Ok(made?),
        }
    }
}

/// `fuse fuse c10:229`: module, path below `/dev`, kind and numbers. Comments and what is no such line are passed over.
fn parse(line: &str) -> Option<Node> {
    let mut words = line.split_whitespace();
    let module = words.next()?;
    let path = PathBuf::from(words.next()?);
    let numbers = words.next()?;
    let kind = match numbers.get(..1)? {
        "c" => SFlag::S_IFCHR,
        "b" => SFlag::S_IFBLK,
        _ => return None,
    };
    let (major, minor) = numbers.get(1..)?.split_once(':')?;
    let is_below = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    (!module.starts_with('#') && is_below).then_some(Node {
        path,
        kind,
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depmods_list_is_read_and_leads_nowhere_else() {
        let node = parse("tun net/tun c10:200").unwrap();
        assert_eq!(node.path, Path::new("net/tun"));
        assert_eq!(
            (node.kind, node.major, node.minor),
            (SFlag::S_IFCHR, 10, 200)
        );
        assert_eq!(parse("floppy fd0 b2:0").unwrap().kind, SFlag::S_IFBLK);
        for wrong in [
            "",
            "# Device nodes to trigger on-demand module loading.",
            "fuse fuse",
            "fuse fuse c10",
            "fuse ../etc c10:2",
            "fuse /etc/x c10:2",
            "fuse fuse p1:2",
            "fuse fuse c1:x",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_first_node_that_cannot_be_made_is_named_and_the_others_are_counted() {
        let place = tempfile::tempdir().unwrap();
        // A file where a directory should be.
        fs::write(place.path().join("net"), "").unwrap();
        fs::write(place.path().join("there"), "").unwrap();
        let said = |list: &str| make_in(place.path(), list).map_err(|error| error.to_string());
        assert_eq!(said("module there c1:3\n"), Ok(()));
        let node = place.path().join("net/tun");
        let why = format!("{}: File exists (os error 17)", node.display());
        assert_eq!(
            said("tun net/tun c10:200\nmodule there c1:3\n"),
            Err(why.clone())
        );
        assert_eq!(
            said("tun net/tun c10:200\ntap net/tap c10:201\nvhost net/vhost c10:202\n"),
            Err(format!("{why}; and 2 more"))
        );
    }
}
