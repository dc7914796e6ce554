//! Directories of `*.conf` files, as systemd's tools have them: all by name, the same name in a stronger one instead of
//! the weaker's, a link to `/dev/null` instead of nothing.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// From the weakest to the strongest.
const PLACES: [&str; 5] = ["/lib", "/usr/lib", "/usr/local/lib", "/run", "/etc"];

/// The files of `NAME.d`, by name.
pub(super) fn files(name: &str) -> Vec<PathBuf> {
    files_in(PLACES.iter().map(|place| Path::new(place).join(name)))
}

fn files_in(directories: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut files = BTreeMap::new();
    for directory in directories {
        // One that is not there has no files.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "conf")
            {
                files.insert(entry.file_name(), path);
            }
        }
    }
    let is_mask = |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to == Path::new("/dev/null"));
    files.into_values().filter(|path| !is_mask(path)).collect()
}

/// The text of a file; what is no UTF-8 of it is of no use to the kernel either.
pub(super) fn text(path: &Path) -> io::Result<String> {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stronger_file_goes_before_a_weaker_of_its_name() {
        let place = tempfile::tempdir().unwrap();
        let [weak, strong] = ["usr", "etc"].map(|name| place.path().join(name));
        for directory in [&weak, &strong] {
            fs::create_dir(directory).unwrap();
        }
        for path in [
            "usr/10-a.conf",
            "usr/20-b.conf",
            "usr/30-c.conf",
            "etc/20-b.conf",
            "etc/README",
        ] {
            fs::write(place.path().join(path), "").unwrap();
        }
        std::os::unix::fs::symlink("/dev/null", strong.join("30-c.conf")).unwrap();
        let files = files_in([weak.clone(), strong.clone()].into_iter());
        assert_eq!(files, [weak.join("10-a.conf"), strong.join("20-b.conf")]);
    }
}
