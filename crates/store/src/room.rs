//! Room on the disk where a database lies, and when a disk that was full counts as full no more.

use std::path::{Path, PathBuf};

use crate::database::on;
use crate::{Store, StoreError};

/// What must be free before a disk that was full counts as good again: the largest run, and its place in the journal. Less
/// would let something small through and fail again at the next answer.
const RESERVE: u64 = 16 << 20;

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Free for this user, in bytes.
    pub free: u64,
    /// All that this user could have, in bytes.
    pub size: u64,
}

impl Room {
    fn of(directory: &Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(directory).ok()?;
        let free = stat.f_bavail * stat.f_frsize;
        // What is reserved for root counts neither as free nor as used.
        let used = stat.f_blocks.saturating_sub(stat.f_bfree) * stat.f_frsize;
        Some(Self {
            free,
            size: used + free,
        })
    }

    /// Used, in percent.
    pub const fn used(self) -> u64 {
        let size = if self.size == 0 { 1 } else { self.size };
        self.size.saturating_sub(self.free) * 100 / size
    }
}

/// The directory that holds a database; nothing for one that lies behind a server, or in memory.
pub(crate) fn directory_of(url: &str) -> Option<PathBuf> {
    let file = url.strip_prefix("sqlite:").filter(|file| !file.starts_with(':'))?;
    let directory = Path::new(file).parent()?;
    let here = directory.as_os_str().is_empty();
    Some(if here { Path::new(".") } else { directory }.to_owned())
}

impl Store {
    /// The room where the database lies; nothing for one that lies behind a server, or in memory.
    pub fn room(&self) -> Option<Room> {
        Room::of(self.database.directory()?)
    }

    /// Whether there is room to write what an answer writes. Looks only after a write that found the disk full.
    pub async fn has_room(&self) -> bool {
        if !self.database.is_full(false) {
            return true;
        }
        if self.room().is_some_and(|room| room.free < RESERVE) {
            return false;
        }
        let tried: Result<(), StoreError> = async {
            on!(&self.database, pool => sqlx::query(self.database.trial()).execute(pool).await.map(drop)?);
            Ok(())
        }
        .await;
        // What it failed of otherwise is said elsewhere.
        !self.database.is_full(!matches!(tried, Err(StoreError::Full)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_in_a_file_has_room_and_one_behind_a_server_has_its_own() {
        let place = tempfile::tempdir().unwrap();
        let directory = directory_of(&format!("sqlite:{}/node.db", place.path().display())).unwrap();
        let room = Room::of(&directory).unwrap();
        assert!(room.size > 0 && room.free <= room.size && room.used() <= 100);
        assert_eq!(directory_of("sqlite:node.db").as_deref(), Some(Path::new(".")));
        assert_eq!(directory_of("postgres://somewhere/else"), None);
        assert_eq!(directory_of("sqlite::memory:"), None);
        let of = |free| Room { free, size: 1000 }.used();
        assert_eq!([of(1000), of(101), of(100), of(0)], [0, 89, 90, 100]);
        assert_eq!(Room { free: 0, size: 0 }.used(), 0);
    }
}
