//! Laws of trees and proofs, checked against a tree that is computed the slow way.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail loudly and say what it skipped"
)]

use proptest::prelude::*;
use sanku_tlog::{
    Frontier, Hash, ProofError, Subtree, consistency_subtrees, cut_run, empty_root, inclusion_subtrees, leaf_hash,
    node_hash, root_of_inclusion, root_of_run, run_proof_subtrees, verify_consistency,
};

/// RFC 9162 §2.1.1, word for word.
fn slow(leaves: &[Hash]) -> Hash {
    match leaves.len() {
        0 => empty_root(),
        1 => leaves[0],
        len => {
            let split = (0..)
                .map(|power| 1 << power)
                .take_while(|power| *power < len)
                .last()
                .unwrap();
            node_hash(&slow(&leaves[..split]), &slow(&leaves[split..]))
        }
    }
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

fn hashes(leaves: &[Hash], subtrees: Vec<Subtree>) -> Vec<Hash> {
    subtrees
        .into_iter()
        .map(|part| slow(&leaves[part.start as usize..(part.start + part.len) as usize]))
        .collect()
}

fn sorted(mut hashes: Vec<Hash>) -> Vec<Hash> {
    hashes.sort();
    hashes
}

prop_compose! {
    fn run()(size in 1_u64..300)(size in Just(size), first in 0..size, share in 0.0..1.0_f64) -> (u64, u64, u64) {
        (first, 1 + ((size - first - 1) as f64 * share) as u64, size)
    }
}

proptest! {
    #[test]
    fn a_run_proof_leads_to_the_root((first, count, size) in run()) {
        let leaves = leaves(size);
        let proof = hashes(&leaves, run_proof_subtrees(first, count, size).unwrap());
        let run = &leaves[first as usize..(first + count) as usize];
        prop_assert_eq!(root_of_run(run, first, size, &proof), Ok(slow(&leaves)));
    }

    #[test]
    fn a_run_of_one_has_the_hashes_of_its_inclusion_path((index, _, size) in run()) {
        let leaves = leaves(size);
        let path = hashes(&leaves, inclusion_subtrees(index, size).unwrap());
        prop_assert_eq!(sorted(path.clone()), sorted(hashes(&leaves, run_proof_subtrees(index, 1, size).unwrap())));
        prop_assert_eq!(root_of_inclusion(leaves[index as usize], index, size, &path), Ok(slow(&leaves)));
    }

    #[test]
    fn a_run_may_be_cut_anew((first, count, size) in run(), from in 0.0..1.0_f64, share in 0.0..1.0_f64) {
        let leaves = leaves(size);
        let proof = hashes(&leaves, run_proof_subtrees(first, count, size).unwrap());
        let run = &leaves[first as usize..(first + count) as usize];
        let offset = ((count - 1) as f64 * from) as usize;
        let part = 1 + ((count as usize - offset - 1) as f64 * share) as usize;
        let cut = cut_run(run, first, size, &proof, offset, part).unwrap();
        prop_assert_eq!(&cut, &hashes(&leaves, run_proof_subtrees(first + offset as u64, part as u64, size).unwrap()));
    }

    // A changed size may lead to the same root (a subtree's hash does not say how many leaves it has), which is why the
    // size comes from the signed checkpoint and nowhere else.
    #[test]
    fn no_changed_hash_entry_or_index_passes((first, count, size) in run(), pick in any::<prop::sample::Index>(), bit in 0_usize..256) {
        let leaves = leaves(size);
        let root = slow(&leaves);
        let proof = hashes(&leaves, run_proof_subtrees(first, count, size).unwrap());
        let run = leaves[first as usize..(first + count) as usize].to_vec();
        let flip = |hash: Hash| { let mut bytes = *hash.bytes(); bytes[bit / 8] ^= 1 << (bit % 8); Hash::new(bytes) };
        let mut all = [run.clone(), proof.clone()].concat();
        let place = pick.index(all.len());
        all[place] = flip(all[place]);
        prop_assert_ne!(root_of_run(&all[..run.len()], first, size, &all[run.len()..]), Ok(root));
        prop_assert_ne!(root_of_run(&run, first + 1, size, &proof), Ok(root));
        let longer = [proof.clone(), vec![root]].concat();
        prop_assert_eq!(root_of_run(&run, first, size, &longer), Err(ProofError::TooLong));
        if let Some((_, shorter)) = proof.split_last() {
            prop_assert_eq!(root_of_run(&run, first, size, shorter), Err(ProofError::TooShort));
        }
    }

    #[test]
    fn a_log_that_grew_is_consistent(old in 1_u64..200, more in 0_u64..200, bit in 0_usize..256, pick in any::<prop::sample::Index>()) {
        let leaves = leaves(old + more);
        let (old_root, new_root) = (slow(&leaves[..old as usize]), slow(&leaves));
        let proof = hashes(&leaves, consistency_subtrees(old, old + more).unwrap());
        prop_assert_eq!(verify_consistency(old, old_root, old + more, new_root, &proof), Ok(()));
        prop_assert!(more == 0 || verify_consistency(old, new_root, old + more, new_root, &proof).is_err());
        prop_assert_eq!(verify_consistency(old, old_root, old + more, new_root, &[proof.clone(), vec![old_root]].concat()), Err(ProofError::TooLong));
        if !proof.is_empty() {
            let mut changed = proof;
            let place = pick.index(changed.len());
            let mut bytes = *changed[place].bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            changed[place] = Hash::new(bytes);
            prop_assert!(verify_consistency(old, old_root, old + more, new_root, &changed).is_err());
        }
    }

    #[test]
    fn the_frontier_says_the_root(size in 0_u64..600) {
        let leaves = leaves(size);
        let mut frontier = Frontier::default();
        let mut nodes = std::collections::HashMap::new();
        for leaf in &leaves {
            frontier.push(*leaf, |level, index, hash| { nodes.insert((level, index), hash); });
        }
        prop_assert_eq!(frontier.root(), slow(&leaves));
        let loaded = Frontier::load(size, &mut |level, index| nodes.get(&(level, index)).copied().ok_or(())).unwrap();
        prop_assert_eq!(loaded, frontier);
    }
}

#[test]
fn corner_cases_are_refused() {
    assert_eq!(run_proof_subtrees(0, 0, 1), Err(ProofError::Range));
    assert_eq!(run_proof_subtrees(0, 1, 0), Err(ProofError::Range));
    assert_eq!(run_proof_subtrees(u64::MAX, 2, u64::MAX), Err(ProofError::Range));
    assert_eq!(root_of_run(&[], 0, 1, &[]), Err(ProofError::Range));
    assert_eq!(root_of_run(&leaves(2), 0, 1, &[]), Err(ProofError::Range));
    assert_eq!(root_of_inclusion(leaves(1)[0], 1, 1, &[]), Err(ProofError::Range));
    assert_eq!(root_of_inclusion(leaves(1)[0], 0, 0, &[]), Err(ProofError::Range));
    assert!(verify_consistency(0, empty_root(), 1, leaves(1)[0], &[]).is_err());
    assert!(verify_consistency(2, slow(&leaves(2)), 1, leaves(1)[0], &[]).is_err());
    assert!(root_of_run(&leaves(1), 0, u64::MAX, &[]).is_err());
}
