//! Reading one file that may hold a unit, without trusting what it is.
#![forbid(unsafe_code)]

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::diagnostic::SourceText;

/// A unit is a page or two; whoever needs more has pointed a link at something else.
const LARGEST: u64 = 1 << 20;

/// `O_NONBLOCK` on x86-64, aarch64 and riscv64: opening a FIFO must not wait for a writer.
const O_NONBLOCK: i32 = 0o4000;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("there is no such file")]
    Missing,
    #[error("the link leads nowhere: there is no {0:?}")]
    Dangling(PathBuf),
    #[error("cannot read the file: {}", words(.0))]
    Read(#[from] io::Error),
    #[error("this is no regular file")]
    NotRegular,
    #[error("the file is larger than 1 MiB")]
    TooLarge,
    #[error("the file is writable by everybody")]
    WorldWritable,
    #[error("the file belongs to user {0}, whom herd does not take orders from")]
    Owner(u32),
    #[error("the file is not UTF-8 (byte {0})")]
    NotText(usize),
}

/// The kernel's words in lower case, without their number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    words.to_lowercase()
}

impl FileError {
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::WorldWritable => Some("chmod o-w"),
            Self::Owner(_) => Some("chown root"),
            Self::Dangling(_) => Some("remove the link, or bring the file back"),
            Self::Missing
            | Self::Read(_)
            | Self::NotRegular
            | Self::TooLarge
            | Self::NotText(_) => None,
        }
    }
}

/// Whose files are believed: anybody's when `None`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trust {
    pub(super) owners: Option<[u32; 2]>,
}

impl Trust {
    /// What is wrong with the owner and mode of an opened file or a directory.
    fn check(self, metadata: &std::fs::Metadata) -> Result<(), FileError> {
        if metadata.mode() & 0o002 != 0 {
            return Err(FileError::WorldWritable);
        }
        match self.owners {
            Some(owners) if !owners.contains(&metadata.uid()) => {
                Err(FileError::Owner(metadata.uid()))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn read_source(path: &Path, trust: Trust) -> Result<SourceText, FileError> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(match std::fs::read_link(path) {
                Ok(target) => FileError::Dangling(target),
                Err(_) => FileError::Missing,
            });
        }
        Err(error) => return Err(error.into()),
    };
    // The opened file is asked, not the path: a link cannot be switched in between.
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular);
    }
    trust.check(&metadata)?;
    if metadata.len() > LARGEST {
        return Err(FileError::TooLarge);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(FileError::TooLarge);
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| FileError::NotText(error.utf8_error().valid_up_to()))?;
    Ok(SourceText::new(path, text))
}

/// The names in a directory that may be units, sorted. A missing directory is empty.
pub(super) fn list(directory: &Path, trust: Trust) -> Result<Option<Vec<String>>, FileError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    trust.check(&std::fs::metadata(directory)?)?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".toml") && !name.starts_with('.') {
            names.push(name.into_owned());
        }
    }
    names.sort_unstable();
    Ok(Some(names))
}
