//! What lies in swap, and whether memory has room for it: a swap that is let go needs a place for all of it.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::mount_table::{self, unescaped_path};

/// A line of `/proc/swaps`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Swap {
    pub(super) path: PathBuf,
    is_file: bool,
    /// KiB.
    used: u64,
}

/// Those in use, as the kernel lists them.
pub(super) fn in_use() -> Vec<Swap> {
    swaps(&mount_table::read(Path::new("/proc/swaps")))
}

impl Swap {
    /// A file system, a mapping, an array or a loop device cannot go while it is there.
    pub(super) fn pins(&self) -> bool {
        let name = self.path.strip_prefix("/dev").ok();
        let is_stacked = |name: &Path| {
            let name = name.to_string_lossy();
            ["dm-", "mapper/", "md", "loop"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        };
        self.is_file || name.is_some_and(is_stacked)
    }

    /// Why it has to stay in use: without room for it memory would run out.
    pub(super) fn obstacle(&self) -> Option<String> {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let used = self.used / 1024;
        let fits = self.fits(available(&memory));
        (!fits).then(|| format!("its {used} MiB do not fit into memory"))
    }

    /// Whether what lies in it has a place in so many KiB.
    fn fits(&self, available: Option<u64>) -> bool {
        self.used == 0 || available.is_some_and(|available| self.used < available)
    }
}

/// proc_meminfo(5): KiB that can be had without swapping.
fn available(text: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Where it lies, of all in a text like `/proc/swaps`.
pub(super) fn places(text: &str) -> Vec<PathBuf> {
    swaps(text).into_iter().map(|swap| swap.path).collect()
}

/// proc_swaps(5): a line of titles, then one each: path, kind, size, used, priority.
fn swaps(text: &str) -> Vec<Swap> {
    let swap = |line: &str| {
        let mut words = line.split_whitespace();
        let path = unescaped_path(words.next()?);
        let is_file = words.next()? == "file";
        let used = words.nth(1)?.parse().ok()?;
        Some(Swap {
            path,
            is_file,
            used,
        })
    };
    text.lines().skip(1).filter_map(swap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_swap_that_keeps_something_busy_and_fits_into_memory_is_let_go() {
        let text = "Filename\tType\tSize\tUsed\tPriority\n\
                    /dev/sda2                               partition\t8\t0\t-2\n\
                    /my\\040swap                              file\t800\t500\t-3\n\
                    /dev/dm-1                               partition\t8\t0\t-4\n";
        let swaps = swaps(text);
        let paths: Vec<_> = swaps.iter().map(|swap| swap.path.as_path()).collect();
        let names = ["/dev/sda2", "/my swap", "/dev/dm-1"].map(Path::new);
        assert_eq!(paths, names);
        let pins: Vec<_> = swaps.iter().map(Swap::pins).collect();
        assert_eq!(pins, [false, true, true]);
        let fits = |kib| swaps.iter().map(|swap| swap.fits(kib)).collect::<Vec<_>>();
        assert_eq!(fits(Some(500)), [true, false, true]);
        assert_eq!(fits(Some(501)), [true, true, true]);
        assert_eq!(fits(None), [true, false, true]);
        assert!(super::swaps("").is_empty());
    }

    #[test]
    fn memory_that_can_be_had_is_read_from_the_kernels_table() {
        let text = "MemTotal:  500 kB\nMemAvailable:   120 kB\n";
        assert_eq!(available(text), Some(120));
        assert_eq!(available("nonsense"), None);
    }
}
