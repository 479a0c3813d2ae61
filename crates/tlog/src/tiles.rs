//! Reading a log as files (C2SP `tlog-tiles`): paths, tiles of 256 hashes, bundles of entries.

use crate::Hash;

/// Hashes in a full tile, entries in a full bundle.
pub const WIDTH: u64 = 256;

/// A tile's place: level, index within it, and how many hashes it holds in a log of some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// Level 0 holds leaf hashes; each hash of a level above is the root of a full tile below.
    pub level: u8,
    /// Index within the level.
    pub index: u64,
    /// Hashes in it, 1 to 256.
    pub width: u64,
}

impl Tile {
    /// The tile as it stands in a log of `size`; nothing if it is empty there.
    pub fn in_log(level: u8, index: u64, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(u32::from(level) * 8).unwrap_or(0);
        let width = hashes.saturating_sub(index.checked_mul(WIDTH)?).min(WIDTH);
        (width > 0).then_some(Self { level, index, width })
    }

    /// The tile and the place in it that hold the perfect subtree `node(level, index)`, if one hash says it;
    /// otherwise the range of hashes in one tile that it is made of.
    pub fn of_node(level: u8, index: u64) -> (u8, u64, std::ops::Range<usize>) {
        let (tile_level, within) = (level / 8, level % 8);
        let first = index << within;
        let place = usize::try_from(first % WIDTH).unwrap_or(0);
        (tile_level, first / WIDTH, place..place + (1 << within))
    }

    /// `tile/<L>/<N>[.p/<W>]`
    pub fn path(&self) -> String {
        format!("tile/{}/{}", self.level, numbered(self.index, self.width))
    }

    /// Reads a path of [`Tile::path`]; other spellings are refused.
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let (index, width) = number_of(rest)?;
        let tile = Self {
            level: level.parse().ok().filter(|level| *level < 64)?,
            index,
            width,
        };
        (tile.path() == path).then_some(tile)
    }
}

/// `tile/entries/<N>[.p/<W>]`
pub fn entries_path(index: u64, width: u64) -> String {
    format!("tile/entries/{}", numbered(index, width))
}

/// Reads a path of [`entries_path`]: index and width.
pub fn parse_entries_path(path: &str) -> Option<(u64, u64)> {
    let (index, width) = number_of(path.strip_prefix("tile/entries/")?)?;
    (entries_path(index, width) == path).then_some((index, width))
}

/// A bundle of entries: each with its length as two octets, big-endian, before it.
///
/// # Errors
/// Nothing if an entry is longer than 65,535 octets.
pub fn bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend(u16::try_from(entry.len()).ok()?.to_be_bytes());
        bytes.extend(entry);
    }
    Some(bytes)
}

/// The hash of a range of hashes of one tile whose length is a power of two.
pub fn hash_of(hashes: &[Hash]) -> Option<Hash> {
    match hashes {
        [] => None,
        [one] => Some(*one),
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            Some(crate::node_hash(&hash_of(left)?, &hash_of(right)?))
        }
    }
}

fn numbered(index: u64, width: u64) -> String {
    let mut groups = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    groups.reverse();
    let number = groups.join("/");
    if width == WIDTH {
        number
    } else {
        format!("{number}.p/{width}")
    }
}

fn number_of(text: &str) -> Option<(u64, u64)> {
    let (number, width) = match text.split_once(".p/") {
        Some((number, width)) => (number, width.parse().ok().filter(|width| (1..WIDTH).contains(width))?),
        None => (text, WIDTH),
    };
    let mut index = 0_u64;
    for group in number.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    Some((index, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(
            Tile {
                level: 0,
                index: 1_234_067,
                width: 256
            }
            .path(),
            "tile/0/x001/x234/067"
        );
        assert_eq!(Tile::in_log(0, 273, 70_000).unwrap().path(), "tile/0/273.p/112");
        assert_eq!(Tile::in_log(1, 1, 70_000).unwrap().width, 17);
        assert_eq!(Tile::in_log(2, 0, 70_000).unwrap().width, 1);
        assert_eq!(Tile::in_log(3, 0, 70_000), None);
        assert_eq!(Tile::in_log(0, 0, 256).unwrap().width, 256);
        for path in [
            "tile/0/1",
            "tile/0/001.p/256",
            "tile/0/001.p/0",
            "tile/64/001",
            "tile/00/001",
            "tile/0/x000/001",
            "tile/0/001/002",
        ] {
            assert_eq!(Tile::parse(path), None, "{path}");
        }
        assert_eq!(parse_entries_path("tile/entries/x001/002.p/7"), Some((1002, 7)));
    }

    proptest::proptest! {
        #[test]
        fn a_path_is_read_again(level in 0_u8..64, index in 0_u64..1 << 50, width in 1_u64..=256) {
            let tile = Tile { level, index, width };
            proptest::prop_assert_eq!(Tile::parse(&tile.path()), Some(tile));
        }
    }
}
