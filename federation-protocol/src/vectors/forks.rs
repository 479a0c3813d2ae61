//! Files about forks, with `F` lines: `vectors/forks.json`.

use sanku_tlog::{Checkpoint, ForkProof, Hash};
use serde_json::json;

use super::evidence::{Lines, now, revoked};
use super::keep;
use crate::fixture::*;
use crate::forks::{Forked, verify};
use crate::names::{Origin, Rule};
use crate::notes::{RevokedRow, RevokedWhat};
use crate::stream::{write_fork, write_note, write_run};

/// The proof that HERE's log says two things about its first `size` entries; `root` replaces what the larger log really has.
pub(super) fn fork_of(world: &World, size: u64, root: Option<Hash>) -> String {
    let told = Checkpoint {
        origin: origin().to_string(),
        size,
        root: Hash::of(b"told otherwise"),
    };
    let (larger, proof) = (world.checkpoint(HERE, 9), world.consistency(HERE, size, 9));
    let smaller = told.sign(&log_key(HERE)).unwrap();
    let kept = Checkpoint::parse(world.checkpoint(HERE, size).text()).unwrap().root;
    let root = root.unwrap_or(kept);
    write_fork(
        &origin(),
        &ForkProof {
            smaller,
            larger,
            root,
            proof,
        },
    )
}

fn origin() -> Origin {
    format!("hubei.example/node/{HERE}/1").parse().unwrap()
}

/// Files about forks, and what each proves.
fn fork_cases() -> Vec<(String, String, Hash)> {
    let (mut world, _) = World::whole_case();
    for minutes in 6..13 {
        world.refuse(HERE, minute(minutes), Rule::Relation);
    }
    let noted: String = notes().iter().map(|note| write_note(note)).collect();
    let with = |lines: &str| format!("{noted}{lines}");
    let good = fork_of(&world, 4, None);
    let words: Vec<_> = good.lines().collect();
    let same_size = fork_of(&world, 9, None);
    let grown = {
        let smaller = world.checkpoint(HERE, 4);
        let root = Checkpoint::parse(smaller.text()).unwrap().root;
        let (larger, proof) = (world.checkpoint(HERE, 9), world.consistency(HERE, 4, 9));
        write_fork(
            &origin(),
            &ForkProof {
                smaller,
                larger,
                root,
                proof,
            },
        )
    };
    let list = |reason: &str| {
        revoked(
            days(-6),
            RevokedRow {
                what: RevokedWhat::Suspended,
                code: code(THERE),
                object: None,
                since: days(-6),
                reason: reason.to_owned(),
            },
        )
    };
    let lists = write_note(&list("one")) + &write_note(&list("another"));
    let all = [
        ("a log, told otherwise at a smaller size", with(&good)),
        ("a log, told otherwise at the same size", with(&same_size)),
        ("a list of revocations, told otherwise", with(&lists)),
        ("a log that only grew", with(&grown)),
        (
            "another root than the larger log has",
            with(&fork_of(&world, 4, Some(Hash::of(b"x")))),
        ),
        ("another size in the F line", with(&good.replacen("/1 4 ", "/1 5 ", 1))),
        (
            "another log in the F line",
            with(&good.replacen(
                &format!("F {}", origin()),
                &format!("F hubei.example/node/{THERE}/1"),
                1,
            )),
        ),
        ("one checkpoint", with(&format!("{}\n{}\n", words[1], words[2]))),
        (
            "a checkpoint that the log did not sign",
            with(&good.replacen(
                words[0],
                &{
                    let write = write_run(&world.whole(THERE));
                    write.lines().next().unwrap().to_owned()
                },
                1,
            )),
        ),
        ("two forks in one file", with(&format!("{good}{same_size}"))),
        ("notes alone that agree", noted.clone()),
        (
            "the same list twice",
            with(&(write_note(&list("one")) + &write_note(&list("one")))),
        ),
        ("no notes", good.clone()),
        (
            "a run beside it",
            with(&format!("{}{good}", write_run(&world.whole(THERE)))),
        ),
        ("cut", with(&good).trim_end().to_owned()),
    ];
    let mut all: Vec<_> = all
        .into_iter()
        .map(|(name, file)| (name.to_owned(), file, fingerprint()))
        .collect();
    all.push((
        "another root's fingerprint".to_owned(),
        with(&good),
        Hash::of(b"strange"),
    ));
    all
}

#[test]
fn files_about_forks_are_what_the_code_says() {
    let mut all = Lines::default();
    let judged = fork_cases().into_iter().map(|(name, file, fingerprint)| {
        let forked = match verify(file.as_bytes(), fingerprint, now()) {
            Ok(Forked::Log(origin, ..)) => Some(origin.to_string()),
            Ok(Forked::Note(name, _)) => Some(name),
            Err(_) => None,
        };
        json!({ "name": name, "fingerprint": fingerprint, "forked": forked, "file": all.file(&file) })
    });
    let vectors: Vec<_> = judged.collect();
    let proven: Vec<_> = vectors
        .iter()
        .filter(|vector| !vector["forked"].is_null())
        .map(|vector| &vector["name"])
        .collect();
    assert_eq!(proven.len(), 3, "{proven:?}");
    keep(
        "forks.json",
        &json!({ "now": now().millis(), "lines": all.0, "vectors": vectors }),
    );
}
