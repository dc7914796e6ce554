//! Nodes of devices whose module nobody has loaded yet: opening `/dev/fuse`, `/dev/net/tun` or
//! `/dev/loop-control` loads it. `depmod(8)` lists them; devtmpfs has only what is there already.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

/// Makes those that are not there, for root alone; udev's rules open them to others.
///
/// # Errors
/// As `open(2)`, `mkdir(2)` and `mknod(2)`; a kernel without modules has no list, and that is none.
pub(super) fn make() -> io::Result<()> {
    let kernel = rustix::system::uname();
    let release = kernel.release().to_string_lossy().into_owned();
    let list = Path::new("/lib/modules")
        .join(release)
        .join("modules.devname");
    let text = match fs::read_to_string(list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    let mut outcome = Ok(());
    for node in text.lines().filter_map(parse) {
        if let Err(error) = node.make() {
            outcome = Err(error);
        }
    }
    outcome
}

#[derive(Debug, PartialEq, Eq)]
struct Node {
    path: PathBuf,
    kind: SFlag,
    major: u64,
    minor: u64,
}

impl Node {
    fn make(&self) -> io::Result<()> {
        let path = Path::new("/dev").join(&self.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        match mknod(&path, self.kind, mode, makedev(self.major, self.minor)) {
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
}
