//! The tree of RFC 9162 §2.1: run proofs, inclusion paths, consistency proofs, and the frontier that a log grows on.
//!
//! A part of a tree is a range of leaves. The tree over `n` leaves splits at the largest power of two below `n`.

use crate::{Hash, empty_root, node_hash};

/// A range of leaves that is a node of the tree: `start` to `start + len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subtree {
    /// Index of the first leaf.
    pub start: u64,
    /// Number of leaves, at least one.
    pub len: u64,
}

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The run is empty, or does not lie within the size, or the sizes are in the wrong order.
    #[error("the range does not lie within the log")]
    Range,
    /// A hash that the proof needs is missing.
    #[error("the proof is too short")]
    TooShort,
    /// Hashes are left over.
    #[error("the proof is too long")]
    TooLong,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// The largest power of two below `len` (which is at least two).
const fn split(len: u64) -> u64 {
    1 << (63 - (len - 1).leading_zeros())
}

impl Subtree {
    /// The whole tree of a log.
    pub const fn whole(size: u64) -> Self {
        Self { start: 0, len: size }
    }

    /// Its two parts; nothing for a leaf.
    pub const fn parts(self) -> Option<(Self, Self)> {
        if self.len < 2 {
            return None;
        }
        let left = split(self.len);
        Some((
            Self {
                start: self.start,
                len: left,
            },
            Self {
                start: self.start + left,
                len: self.len - left,
            },
        ))
    }

    /// Level and index of a perfect subtree: 2^level leaves from index × 2^level on.
    pub const fn perfect(self) -> Option<(u8, u64)> {
        if self.len.is_power_of_two() && self.start.is_multiple_of(self.len) {
            Some((self.len.trailing_zeros() as u8, self.start / self.len))
        } else {
            None
        }
    }

    const fn end(self) -> u64 {
        self.start + self.len
    }

    /// Its hash, from the hashes of perfect subtrees: `node(level, index)`.
    pub fn hash<E>(self, node: &mut impl FnMut(u8, u64) -> Result<Hash, E>) -> Result<Hash, E> {
        match (self.perfect(), self.parts()) {
            (Some((level, index)), _) => node(level, index),
            (None, Some((left, right))) => Ok(node_hash(&left.hash(node)?, &right.hash(node)?)),
            // A subtree of one leaf is always perfect.
            (None, None) => node(0, self.start),
        }
    }
}

/// The subtrees whose hashes prove the run `first .. first + count` in a log of `size`: the maximal ones outside it, left to right.
pub fn run_proof_subtrees(first: u64, count: u64, size: u64) -> Result<Vec<Subtree>, ProofError> {
    let run = run_of(first, count, size)?;
    let mut subtrees = Vec::new();
    outside(Subtree::whole(size), run, &mut subtrees);
    Ok(subtrees)
}

fn run_of(first: u64, count: u64, size: u64) -> Result<Subtree, ProofError> {
    let end = first.checked_add(count).ok_or(ProofError::Range)?;
    if count == 0 || end > size {
        return Err(ProofError::Range);
    }
    Ok(Subtree {
        start: first,
        len: count,
    })
}

fn outside(part: Subtree, run: Subtree, into: &mut Vec<Subtree>) {
    if part.end() <= run.start || part.start >= run.end() {
        into.push(part);
    } else if let Some((left, right)) = part.parts()
        && (part.start < run.start || part.end() > run.end())
    {
        outside(left, run, into);
        outside(right, run, into);
    }
}

/// The proof of a run, from the hashes of perfect subtrees.
pub fn run_proof<E: From<ProofError>>(
    first: u64,
    count: u64,
    size: u64,
    mut node: impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    run_proof_subtrees(first, count, size)?
        .into_iter()
        .map(|subtree| subtree.hash(&mut node))
        .collect()
}

/// Recomputes the root from the leaf hashes of a run and its proof. Whether it is the right root is the caller's to compare.
pub fn root_of_run(leaves: &[Hash], first: u64, size: u64, proof: &[Hash]) -> Result<Hash, ProofError> {
    let mut subtrees = Vec::new();
    let root = rebuild(leaves, first, size, proof, &mut subtrees)?;
    Ok(root)
}

/// Walks the tree as the prover did. `seen` collects every subtree whose hash became known, so that a run may be cut anew.
fn rebuild(
    leaves: &[Hash],
    first: u64,
    size: u64,
    proof: &[Hash],
    seen: &mut Vec<(Subtree, Hash)>,
) -> Result<Hash, ProofError> {
    let run = run_of(first, leaves.len() as u64, size)?;
    let mut left_over = proof.iter();
    let root = walk(Subtree::whole(size), run, leaves, &mut left_over, seen)?;
    if left_over.next().is_some() {
        return Err(ProofError::TooLong);
    }
    Ok(root)
}

fn walk(
    part: Subtree,
    run: Subtree,
    leaves: &[Hash],
    proof: &mut std::slice::Iter<'_, Hash>,
    seen: &mut Vec<(Subtree, Hash)>,
) -> Result<Hash, ProofError> {
    let hash = if part.end() <= run.start || part.start >= run.end() {
        *proof.next().ok_or(ProofError::TooShort)?
    } else if let Some((left, right)) = part.parts() {
        let left = walk(left, run, leaves, proof, seen)?;
        node_hash(&left, &walk(right, run, leaves, proof, seen)?)
    } else {
        let place = usize::try_from(part.start - run.start).map_err(|_| ProofError::Range)?;
        *leaves.get(place).ok_or(ProofError::Range)?
    };
    seen.push((part, hash));
    Ok(hash)
}

/// Cuts a run anew: the proof of `count` entries from `offset` on within a run whose own proof is at hand.
pub fn cut_run(
    leaves: &[Hash],
    first: u64,
    size: u64,
    proof: &[Hash],
    offset: usize,
    count: usize,
) -> Result<Vec<Hash>, ProofError> {
    let mut cut = cut_runs(leaves, first, size, proof, &[(offset, count)])?;
    cut.pop().ok_or(ProofError::Range)
}

/// Cuts a run into many at once: the tree is walked once for all of them.
pub fn cut_runs(
    leaves: &[Hash],
    first: u64,
    size: u64,
    proof: &[Hash],
    cuts: &[(usize, usize)],
) -> Result<Vec<Vec<Hash>>, ProofError> {
    let mut seen = Vec::new();
    rebuild(leaves, first, size, proof, &mut seen)?;
    let known: std::collections::HashMap<Subtree, Hash> = seen.into_iter().collect();
    let cut = |(offset, count): &(usize, usize)| {
        if offset.checked_add(*count).ok_or(ProofError::Range)? > leaves.len() {
            return Err(ProofError::Range);
        }
        run_proof_subtrees(first + *offset as u64, *count as u64, size)?
            .into_iter()
            .map(|subtree| known.get(&subtree).copied().ok_or(ProofError::TooShort))
            .collect()
    };
    cuts.iter().map(cut).collect()
}

/// The subtrees of an RFC 9162 inclusion path, from the leaf's sibling up to the root's child.
pub fn inclusion_subtrees(index: u64, size: u64) -> Result<Vec<Subtree>, ProofError> {
    run_of(index, 1, size)?;
    let mut path = Vec::new();
    let mut part = Subtree::whole(size);
    while let Some((left, right)) = part.parts() {
        let (inside, sibling) = if index < right.start {
            (left, right)
        } else {
            (right, left)
        };
        path.push(sibling);
        part = inside;
    }
    path.reverse();
    Ok(path)
}

/// Recomputes the root from an RFC 9162 inclusion path.
pub fn root_of_inclusion(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Result<Hash, ProofError> {
    let subtrees = inclusion_subtrees(index, size)?;
    match path.len().cmp(&subtrees.len()) {
        std::cmp::Ordering::Less => Err(ProofError::TooShort),
        std::cmp::Ordering::Greater => Err(ProofError::TooLong),
        std::cmp::Ordering::Equal => Ok(subtrees.iter().zip(path).fold(leaf, |hash, (sibling, other)| {
            if sibling.start > index {
                node_hash(&hash, other)
            } else {
                node_hash(other, &hash)
            }
        })),
    }
}

/// The subtrees of an RFC 9162 §2.1.4 consistency proof from `old` to `new`; empty where both are equal.
///
/// # Errors
/// If `old` is nought (an empty log proves nothing) or larger than `new`.
pub fn consistency_subtrees(old: u64, new: u64) -> Result<Vec<Subtree>, ProofError> {
    if old == 0 || old > new {
        return Err(ProofError::Range);
    }
    let mut path = Vec::new();
    let mut part = Subtree::whole(new);
    while part.end() != old {
        let Some((left, right)) = part.parts() else {
            return Err(ProofError::Range);
        };
        if old <= left.end() {
            path.push(right);
            part = left;
        } else {
            path.push(left);
            part = right;
        }
    }
    // The old tree itself is known to the verifier if it is the whole left edge.
    if part.start != 0 {
        path.push(part);
    }
    path.reverse();
    Ok(path)
}

/// Checks that the log of `new` leaves begins with the log of `old` leaves.
pub fn verify_consistency(
    old: u64,
    old_root: Hash,
    new: u64,
    new_root: Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    let subtrees = consistency_subtrees(old, new)?;
    match proof.len().cmp(&subtrees.len()) {
        std::cmp::Ordering::Less => return Err(ProofError::TooShort),
        std::cmp::Ordering::Greater => return Err(ProofError::TooLong),
        std::cmp::Ordering::Equal => {}
    }
    let mut pairs = subtrees.into_iter().zip(proof.iter().copied()).peekable();
    // The seed is the largest subtree that ends where the old log ended.
    let seed = pairs
        .next_if(|(subtree, _)| subtree.end() == old)
        .map_or(old_root, |(_, hash)| hash);
    let (mut from_old, mut from_new) = (seed, seed);
    for (subtree, hash) in pairs {
        if subtree.start >= old {
            from_new = node_hash(&from_new, &hash);
        } else {
            from_old = node_hash(&hash, &from_old);
            from_new = node_hash(&hash, &from_new);
        }
    }
    if from_old == old_root && from_new == new_root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

/// The right edge of a log: what is needed to append and to say the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Hashes of the perfect subtrees that make up the log, largest first.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The frontier of a log of `size`, from the hashes of its perfect subtrees.
    pub fn load<E>(size: u64, node: &mut impl FnMut(u8, u64) -> Result<Hash, E>) -> Result<Self, E> {
        let mut peaks = Vec::new();
        let mut start = 0;
        for level in (0..64_u8).rev().filter(|level| size >> level & 1 == 1) {
            peaks.push(node(level, start >> level)?);
            start += 1 << level;
        }
        Ok(Self { size, peaks })
    }

    /// Number of leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Hashes of the perfect subtrees that make up the log, largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends a leaf. `made` hears of every perfect subtree that it completed: level, index, hash (the leaf itself too).
    pub fn push(&mut self, leaf: Hash, mut made: impl FnMut(u8, u64, Hash)) {
        made(0, self.size, leaf);
        let mut hash = leaf;
        let mut level = 0_u8;
        while self.size >> level & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            level += 1;
            made(level, self.size >> level, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root; for a log without entries that of nothing.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return empty_root() };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}
