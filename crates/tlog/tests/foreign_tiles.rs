//! Readers that others wrote read whole logs of ours: tiles by their paths, checked against the root; cosignatures; a log
//! of Sigsum's kept with our tree.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::HashMap;

use sanku_tlog::checkpoint::cosign;
use sanku_tlog::tiles::Tile;
use sanku_tlog::{Checkpoint, Frontier, Hash, KeyType, SigningKey, Subtree, inclusion_subtrees, leaf_hash};
use tlog_tiles::{HashReader as _, TileHashReader, TileReader};

const ORIGIN: &str = "hubei.example/node/420000/1";

fn log_key() -> SigningKey {
    SigningKey::from_seed(ORIGIN, KeyType::Ed25519, [1; 32]).unwrap()
}

fn witness_key() -> SigningKey {
    SigningKey::from_seed("hubei.example/witness/421000", KeyType::CosignatureV1, [2; 32]).unwrap()
}

/// A log of some entries with the hash of each perfect subtree.
struct Log {
    frontier: Frontier,
    nodes: HashMap<(u8, u64), Hash>,
}

impl Log {
    fn of(entries: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let (mut frontier, mut nodes) = (Frontier::default(), HashMap::new());
        for entry in entries {
            frontier.push(leaf_hash(&entry), |level, index, hash| {
                nodes.insert((level, index), hash);
            });
        }
        Self { frontier, nodes }
    }

    fn counting(size: u64) -> Self {
        Self::of((0..size).map(|index| index.to_be_bytes().to_vec()))
    }

    fn hashes(&self, subtrees: Vec<Subtree>) -> Vec<Hash> {
        let mut node = |level, index| self.nodes.get(&(level, index)).copied().ok_or(());
        subtrees.into_iter().map(|part| part.hash(&mut node).unwrap()).collect()
    }

    fn checkpoint(&self, origin: &str) -> Checkpoint {
        Checkpoint {
            origin: origin.to_owned(),
            size: self.frontier.size(),
            root: self.frontier.root(),
        }
    }
}

/// Gives a foreign reader our tiles by the paths that it asks for.
impl TileReader for Log {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |asked: &tlog_tiles::Tile| {
            // Theirs names the height too, as Go's module proxy does; the rest of the path is the same.
            let tile = Tile::parse(&asked.path().replacen("tile/8/", "tile/", 1)).unwrap();
            let first = tile.index * 256;
            let hash = |index| *self.nodes[&(tile.level * 8, index)].bytes();
            (first..first + tile.width).flat_map(hash).collect()
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

const fn theirs(hash: Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(*hash.bytes())
}

#[test]
fn signed_note_verifies_our_cosigned_checkpoint() {
    let mut note = Log::counting(5).checkpoint(ORIGIN).sign(&log_key()).unwrap();
    note.add(cosign(&note, &witness_key(), 1_790_000_000).unwrap());
    let foreign = signed_note::Note::from_bytes(note.to_string().as_bytes()).unwrap();
    let verifier = |key: &SigningKey| {
        signed_note::StandardVerifier::new(&key.verifier().to_string())
            .map(|verifier| signed_note::VerifierList::new(vec![Box::new(verifier)]))
    };
    let (verified, other) = foreign.verify(&verifier(&log_key()).unwrap()).unwrap();
    assert_eq!((verified.len(), other.len()), (1, 1));
    assert_eq!(verified[0].name(), ORIGIN);
    assert_eq!(foreign.to_bytes(), note.to_string().as_bytes());
    let stranger = SigningKey::from_seed(ORIGIN, KeyType::Ed25519, [9; 32]).unwrap();
    assert!(foreign.verify(&verifier(&stranger).unwrap()).is_err());
}

/// Sizes on both sides of a full tile, and of a full tile of tiles.
#[test]
fn tlog_tiles_reads_every_kind_of_tile_and_checks_it_against_the_root() {
    for size in [1, 2, 255, 256, 257, 1000, 65_536, 65_800] {
        let log = Log::counting(size);
        let reader = TileHashReader::new(size, theirs(log.frontier.root()), &log);
        for index in [0, size / 2, size - 1] {
            let leaf = reader.read_hashes(&[tlog_tiles::stored_hash_index(0, index)]).unwrap();
            assert_eq!(leaf[0].0, *leaf_hash(&index.to_be_bytes()).bytes(), "{index} of {size}");
            let path = tlog_tiles::prove_record(size, index, &reader).unwrap();
            let ours = log.hashes(inclusion_subtrees(index, size).unwrap());
            assert_eq!(path, ours.into_iter().map(theirs).collect::<Vec<_>>());
        }
    }
}

/// The size is a power of two because `tlog_tiles` 0.2 authenticates fewer tiles than it should where the right edge is ragged.
#[test]
fn tlog_tiles_refuses_a_tile_that_was_changed() {
    let mut log = Log::counting(512);
    let root = theirs(log.frontier.root());
    log.nodes.insert((0, 17), leaf_hash(b"another entry"));
    let reader = TileHashReader::new(512, root, &log);
    assert!(reader.read_hashes(&[tlog_tiles::stored_hash_index(0, 17)]).is_err());
}

/// A log of Sigsum's, kept with our tree, our checkpoint and our cosignature, is one that Sigsum's verifier accepts.
#[test]
fn sigsum_accepts_our_checkpoint_path_and_cosignature() {
    let raw = |key: &SigningKey, text: &str| {
        let line = key.sign(text).to_string();
        let bytes = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            line.rsplit(' ').next().unwrap(),
        );
        hex::encode(&bytes.unwrap()[4..])
    };
    let key_hash = |key: &SigningKey| Hash::of(key.verifier().public()).to_string();
    let seeded = |seed: u8| SigningKey::from_seed("submitter", KeyType::Ed25519, [seed; 32]).unwrap();
    let (log_key, submitter) = (seeded(1), seeded(3));
    let message = Hash::of(b"what is to be logged");
    let checksum = Hash::of(message.bytes());

    // What a leaf's signature is over has a byte that no note may hold, so it is made as Sigsum makes it.
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(submitter.seed()).unwrap();
    let leaf_signature = pair.sign(&[b"sigsum.org/v1/tree-leaf\0".as_slice(), checksum.bytes()].concat());
    let leaf = [
        checksum.bytes().as_slice(),
        leaf_signature.as_ref(),
        Hash::of(submitter.verifier().public()).bytes(),
    ]
    .concat();
    let log = Log::of((0..9_u8).map(|index| if index == 6 { leaf.clone() } else { vec![index] }));

    let checkpoint = log.checkpoint(&format!("sigsum.org/v1/tree/{}", key_hash(&log_key)));
    let note = checkpoint.sign(&log_key).unwrap();
    let cosignature = cosign(&note, &witness_key(), 1_790_000_000).unwrap().to_string();
    let cosignature = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        cosignature.rsplit(' ').next().unwrap(),
    )
    .unwrap();
    // Key id, eight octets of time, signature.
    let cosignature = hex::encode(&cosignature[12..]);
    let path = log.hashes(inclusion_subtrees(6, 9).unwrap());
    let path: String = path.iter().map(|hash| format!("node_hash={hash}\n")).collect();
    let file = |size: u64| {
        format!(
            "version=2\nlog={}\nleaf={} {}\n\nsize={size}\nroot_hash={}\nsignature={}\ncosignature={} 1790000000 {cosignature}\n\nleaf_index=6\n{path}",
            key_hash(&log_key),
            key_hash(&submitter),
            hex::encode(leaf_signature.as_ref()),
            checkpoint.root,
            raw(&log_key, &checkpoint.text()),
            key_hash(&witness_key()),
        )
    };
    let mut policy = sigsum::PolicyBuilder::new();
    let public = |key: &SigningKey| sigsum::PublicKey::from(*key.verifier().public());
    policy.add_log(public(&log_key), None).unwrap();
    policy
        .add_witness("witness".to_owned(), public(&witness_key()), None)
        .unwrap();
    policy.set_quorum("witness".to_owned()).unwrap();
    let policy = policy.build();
    let judge = |file: &str| {
        let signature = sigsum::SigsumSignature::from_ascii(file).unwrap();
        sigsum::verify(&(*message.bytes()).into(), &signature, &[public(&submitter)], &policy)
    };
    judge(&file(9)).unwrap();
    assert!(judge(&file(10)).is_err());
}
