//! What the process takes of its machine: memory, open files, room for the database.

use std::path::{Path, PathBuf};

/// Resident memory in bytes.
pub(crate) fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Open files, and how many there may be.
pub(crate) fn files() -> Option<(u64, u64)> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    Some((open, line.split_whitespace().next()?.parse().ok()?))
}

/// Room on the file system of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Free for this user, in bytes.
    pub(crate) free: u64,
    /// All that this user could have, in bytes.
    pub(crate) size: u64,
}

impl Room {
    /// Used, in percent.
    pub(crate) fn used(self) -> u64 {
        (self.size - self.free.min(self.size)) * 100 / self.size.max(1)
    }
}

/// The directory that holds a database; nothing for one that lies behind a server.
pub(crate) fn directory_of(url: &str) -> Option<PathBuf> {
    let file = url.strip_prefix("sqlite:").filter(|file| !file.starts_with(':'))?;
    Some(Path::new(file).parent()?.to_owned())
}

/// The room where a database lies.
pub(crate) fn room(url: &str) -> Option<Room> {
    let stat = rustix::fs::statvfs(&directory_of(url)?).ok()?;
    let free = stat.f_bavail * stat.f_frsize;
    // What is reserved for root counts neither as free nor as used.
    let used = stat.f_blocks.saturating_sub(stat.f_bfree) * stat.f_frsize;
    Some(Room {
        free,
        size: used + free,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_memory_and_files_and_lies_somewhere() {
        assert!(memory().unwrap() > 1 << 20);
        let (open, most) = files().unwrap();
        assert!(open > 2 && most >= open);
        let place = tempfile::tempdir().unwrap();
        let room = room(&format!("sqlite:{}/node.db", place.path().display())).unwrap();
        assert!(room.size > 0 && room.used() <= 100);
        assert!(super::room("postgres://somewhere/else").is_none());
    }
}
