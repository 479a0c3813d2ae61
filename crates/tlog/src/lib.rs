//! RFC 9162 trees, run proofs, C2SP signed notes, checkpoints, cosignatures, proofs and tiles. Mathematics and formats, no storage.
