//! Transparency logs: RFC 9162 trees, run proofs, and the C2SP formats around them (signed notes, checkpoints,
//! cosignatures, proofs, tiles). Mathematics and formats; where a log is kept is `sanku-store`'s matter.

pub mod checkpoint;
mod fork;
mod hash;
pub mod note;
pub mod tiles;
mod tree;
mod witness;

pub use checkpoint::{Checkpoint, EntryProof};
pub use fork::ForkProof;
pub use hash::{Hash, NotAHash, empty_root, leaf_hash, node_hash};
pub use note::{KeyType, NoteError, NoteSignature, SignedNote, SigningKey, VerifierKey, signatures};
pub use tree::{
    Frontier, ProofError, Subtree, consistency_subtrees, cut_run, cut_runs, inclusion_subtrees, root_of_inclusion,
    root_of_run, run_proof, run_proof_subtrees, verify_consistency,
};
pub use witness::{AddCheckpoint, NotCosigned};
