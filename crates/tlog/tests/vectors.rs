//! The vectors of transparency-dev: 0 disagreements. They are not shipped here; `SANKU_MERKLE_VECTORS` names the
//! `testdata` folder of a checkout of transparency-dev/merkle. The reference tree below is checked always.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail loudly and say what it skipped"
)]

use std::path::{Path, PathBuf};

use sanku_tlog::{Frontier, Hash, leaf_hash, root_of_inclusion, verify_consistency};
use serde_json::Value;

fn vectors() -> Option<PathBuf> {
    let place = std::env::var_os("SANKU_MERKLE_VECTORS").map(PathBuf::from);
    if place.is_none() {
        println!("skipped: set SANKU_MERKLE_VECTORS to the testdata folder of transparency-dev/merkle");
    }
    place
}

/// The eight leaves and nine roots that implementations of RFC 6962 have been checked against since the first one.
#[test]
fn a01_the_reference_tree_has_its_known_roots() {
    let leaves = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::default();
    assert_eq!(frontier.root().to_string(), roots[0]);
    for (leaf, root) in leaves.iter().zip(&roots[1..]) {
        frontier.push(leaf_hash(&hex::decode(leaf).unwrap()), |_, _, _| {});
        assert_eq!(frontier.root().to_string(), *root);
    }
}

fn each(place: &Path, judge: &mut impl FnMut(&Path, &Value)) {
    for entry in std::fs::read_dir(place).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each(&path, judge);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            judge(&path, &serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap());
        }
    }
}

/// A hash; the vectors also write texts that stand for some hash or other.
fn hash(value: &Value) -> Option<Hash> {
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, value.as_str()?).ok()?;
    if bytes.is_empty() {
        return None;
    }
    Some(bytes.as_slice().try_into().map_or_else(|_| Hash::of(&bytes), Hash::new))
}

/// Hashes of a proof; nothing if one of them is no hash.
fn proof(value: &Value) -> Option<Vec<Hash>> {
    value
        .as_array()
        .map_or(Some(Vec::new()), |items| items.iter().map(hash).collect())
}

#[test]
fn a01_inclusion_vectors_agree() {
    let Some(place) = vectors() else { return };
    let mut count = 0;
    each(&place.join("inclusion"), &mut |path, vector| {
        count += 1;
        let holds = || {
            let root = root_of_inclusion(
                hash(&vector["leafHash"])?,
                vector["leafIdx"].as_u64()?,
                vector["treeSize"].as_u64()?,
                &proof(&vector["proof"])?,
            )
            .ok()?;
            Some(root == hash(&vector["root"])?)
        };
        assert_eq!(
            holds() != Some(true),
            vector["wantErr"].as_bool().unwrap(),
            "{}",
            path.display()
        );
    });
    assert!(count > 80, "only {count} vectors");
}

#[test]
fn a01_consistency_vectors_agree() {
    let Some(place) = vectors() else { return };
    let mut count = 0;
    each(&place.join("consistency"), &mut |path, vector| {
        count += 1;
        let holds = || {
            let (old, new) = (vector["size1"].as_u64()?, vector["size2"].as_u64()?);
            verify_consistency(
                old,
                hash(&vector["root1"])?,
                new,
                hash(&vector["root2"])?,
                &proof(&vector["proof"])?,
            )
            .ok()
        };
        assert_eq!(
            holds().is_none(),
            vector["wantErr"].as_bool().unwrap(),
            "{}",
            path.display()
        );
    });
    assert!(count > 80, "only {count} vectors");
}
