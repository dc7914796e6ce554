//! The kernel's randomness from one boot to the next (random(4)).
//!
//! What is loaded is mixed in and not counted as entropy: a seed may have been copied with the image it lies in, and two
//! machines that believe the same one would make the same keys (systemd-random-seed(8) says so, too). It is replaced
//! before it is used, so that none is used twice even if the machine dies.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use clap::ValueEnum;

use super::{TaskError, tell};

const DIRECTORY: &str = "/var/lib/herd";
const NAME: &str = "random-seed";
/// systemd's: twice the pool of any kernel.
const SIZE: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    Load,
    Save,
}

pub(super) fn run(what: What) -> Result<(), TaskError> {
    let directory = Path::new(DIRECTORY);
    let path = directory.join(NAME);
    let failed = |what| {
        let path = path.clone();
        move |source| TaskError::File { what, path, source }
    };
    let old = match (what, fs::read(&path)) {
        (What::Save, _) => Vec::new(),
        (What::Load, Ok(seed)) => seed,
        (What::Load, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            tell("there is no seed of a boot before");
            Vec::new()
        }
        (What::Load, Err(error)) => return Err(failed("read")(error)),
    };
    if !old.is_empty() {
        let mut pool = OpenOptions::new()
            .write(true)
            .open("/dev/urandom")
            .map_err(failed("load"))?;
        pool.write_all(&old).map_err(failed("load"))?;
    }
    replace(directory, &old).map_err(failed("save"))
}

/// Writes a new seed, of the old one's randomness and the kernel's: at an early boot the latter may be little.
fn replace(directory: &Path, old: &[u8]) -> io::Result<()> {
    let mut seed = vec![0_u8; SIZE];
    // Does not wait for a pool that is not ready yet; the old seed has been mixed in.
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    for (new, old) in seed.iter_mut().zip(old) {
        *new ^= old;
    }
    fs::create_dir_all(directory)?;
    let temporary = directory.join(format!(".{NAME}"));
    // One that a boot before has left is not ours to follow or to keep the mode of.
    if let Err(error) = fs::remove_file(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&seed)?;
    file.sync_all()?;
    fs::rename(&temporary, directory.join(NAME))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_seed_is_roots_alone_and_another_each_time() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("herd");
        replace(&directory, &[]).unwrap();
        let path = directory.join(NAME);
        let first = fs::read(&path).unwrap();
        assert_eq!(first.len(), SIZE);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        replace(&directory, &first).unwrap();
        assert_ne!(fs::read(&path).unwrap(), first);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }
}
