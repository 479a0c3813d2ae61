//! Readers written by others (C2SP `signed-note`, `tlog-checkpoint`, `tlog-tiles`) accept what we write.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use sanku_tlog::tiles::Tile;
use sanku_tlog::{
    Checkpoint, Frontier, Hash, KeyType, SigningKey, consistency_subtrees, inclusion_subtrees, leaf_hash,
};
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{check_record, check_tree};

const ORIGIN: &str = "hubei.example/node/421002/1";

fn foreign(hash: &Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(*hash.bytes())
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

/// The hash of a part of the tree, from its leaves.
fn of(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    leaves.iter().for_each(|leaf| frontier.push(*leaf, |_, _, _| {}));
    frontier.root()
}

fn hashes(leaves: &[Hash], subtrees: Vec<sanku_tlog::Subtree>) -> Vec<tlog_tiles::Hash> {
    let part =
        |start: u64, len: u64| of(&leaves[usize::try_from(start).unwrap()..usize::try_from(start + len).unwrap()]);
    subtrees
        .into_iter()
        .map(|subtree| foreign(&part(subtree.start, subtree.len)))
        .collect()
}

#[test]
fn another_reader_accepts_our_notes_and_checkpoints() {
    let key = SigningKey::from_seed(ORIGIN, KeyType::Ed25519, [9; 32]).unwrap();
    let leaves = leaves(70);
    let note = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: 70,
        root: of(&leaves),
    }
    .sign(&key)
    .unwrap();
    let theirs = Note::from_bytes(note.to_string().as_bytes()).unwrap();
    let verifier = StandardVerifier::new(&key.verifier().to_string()).unwrap();
    let (verified, unknown) = theirs.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!((verified.len(), unknown.len()), (1, 0));
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
    assert_eq!(
        (checkpoint.origin(), checkpoint.size(), checkpoint.hash()),
        (ORIGIN, 70, &foreign(&of(&leaves)))
    );
}

#[test]
fn another_reader_accepts_our_proofs() {
    for size in [1, 2, 7, 64, 100] {
        let leaves = leaves(size);
        let root = foreign(&of(&leaves));
        for index in 0..size {
            let proof = hashes(&leaves, inclusion_subtrees(index, size).unwrap());
            check_record(
                &proof,
                size,
                root,
                index,
                foreign(&leaves[usize::try_from(index).unwrap()]),
            )
            .unwrap();
        }
        for old in 1..=size {
            let proof = hashes(&leaves, consistency_subtrees(old, size).unwrap());
            let old_root = foreign(&of(&leaves[..usize::try_from(old).unwrap()]));
            check_tree(&proof, size, root, old, old_root).unwrap();
        }
    }
}

#[test]
fn another_reader_names_tiles_as_we_do() {
    for (level, index, size) in [(0, 0, 5), (0, 273, 70_000), (1, 1, 70_000), (0, 1_234_067, 400_000_000)] {
        let tile = Tile::in_log(level, index, size).unwrap();
        let theirs = tlog_tiles::Tile::new(8, level, index, u32::try_from(tile.width).unwrap(), false);
        // Theirs is the path of a log whose tiles' height stands in it.
        assert_eq!(theirs.path().replacen("tile/8/", "tile/", 1), tile.path());
    }
}
