//! Witnesses over real TLS: evidence comes to be witnessed by itself, readers that others wrote read our logs, forks are found.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use sanku_certs::NodeKeys;
use sanku_certs::federation::Federation;
use sanku_federation_protocol::notes::RawNote;
use sanku_tlog::{AddCheckpoint, Checkpoint, Hash, SignedNote};
use sanku_transport::PeerClients;
use sanku_values::{Clock, SystemClock};
use tlog_tiles::{HashReader, TileHashReader, TileReader};

use crate::byzantine::identity;
use crate::python;
use crate::rig::{Rig, json_of, outcome, run};

/// The root's fingerprint, as the nodes of a rig have it.
fn root_of(rig: &Rig) -> String {
    let text = std::fs::read_to_string(rig.folder(421_002).join("node.toml")).unwrap();
    let settings: HashMap<_, _> = text.lines().filter_map(|line| line.split_once(" = ")).collect();
    settings["root"].trim_matches('"').to_owned()
}

/// Exports the proof of a fork, which holds under the root's fingerprint alone; a second implementation judges the same.
fn prove_fork(rig: &Rig, code: u32, subject: &str, forked: &str) {
    let file = rig.place.path().join("fork").display().to_string();
    let exported = rig.node(code, &["log", "fork", "export", subject, "--out", &file]);
    assert!(
        exported.status.success(),
        "{}",
        String::from_utf8_lossy(&exported.stderr)
    );
    let root = root_of(rig);
    let judge = |root: &str| run(&["log", "fork", "verify", &file, "--root", root]).status.code();
    assert_eq!(judge(&root), Some(0));
    assert_eq!(judge(&"0".repeat(64)), Some(1));
    assert_eq!(python(&["fork", &file, &root])["forked"], forked);
}

#[test]
fn evidence_comes_to_be_witnessed_by_itself() {
    let rig = Rig::start();
    let (_, result) = rig.ask(&rig.case("case.json", |_| {}));
    assert!(!result["unwitnessed"].as_array().unwrap().is_empty());
    let id = result["query"].as_str().unwrap();
    let file = rig.place.path().join("evidence").display().to_string();
    let began = Instant::now();
    loop {
        let exported = rig.node(421_002, &["evidence", "export", id, "--out", &file]);
        assert!(
            exported.status.success(),
            "{}",
            String::from_utf8_lossy(&exported.stderr)
        );
        let verified = rig.node(421_002, &["evidence", "verify", &file, "--witnessed", "--json"]);
        let report = json_of(&verified);
        if report["ok"] == true {
            assert_eq!(verified.status.code(), Some(0));
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{report}");
        std::thread::sleep(Duration::from_millis(500));
    }
    println!("witnessed after {} ms", began.elapsed().as_millis());
    // A second implementation follows the same `K` lines to the same cosignatures.
    let proven = python(&["evidence", &file, &root_of(&rig)]);
    assert_eq!(proven["unwitnessed"], serde_json::json!([]), "{proven}");
    assert!(!proven["witnessed"].as_array().unwrap().is_empty());
}

/// Tiles of a log as a neighbour gives them over mutual TLS.
struct Tiles {
    clients: PeerClients,
    from: u32,
    log: &'static str,
    runtime: tokio::runtime::Runtime,
}

impl Tiles {
    fn get(&self, file: &str) -> Result<Vec<u8>, String> {
        self.runtime.block_on(async {
            let to = self.from.try_into().unwrap();
            let path = format!("/v1/logs/{}/{file}", self.log);
            let response = self.clients.send(to, http::Method::GET, &path, &[], Bytes::new()).await;
            let parts: Vec<_> = response.map_err(|error| error.to_string())?.body.collect().await;
            Ok(parts.into_iter().flat_map(|part| part.unwrap().to_vec()).collect())
        })
    }
}

impl TileReader for Tiles {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        // Theirs names the height too, as Go's module proxy does; the rest of the path is the same.
        let read = |tile: &tlog_tiles::Tile| self.get(&tile.path().replacen("tile/8/", "tile/", 1)).unwrap();
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

#[test]
fn a_foreign_reader_reads_a_log_beyond_a_neighbour_over_tls() {
    let rig = Rig::start();
    for round in 0..3 {
        rig.ask(&rig.case(&format!("{round}.json"), |_| {}));
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (material, trust) = identity(&rig, 421_002);
    let clients = runtime.block_on(async { PeerClients::new(material, Arc::clone(&trust), Arc::new(SystemClock)) });
    let tiles = Tiles {
        clients,
        from: 421_000,
        log: "421003/1",
        runtime,
    };
    let text = tiles.get("checkpoint").unwrap();
    let foreign = signed_note::Note::from_bytes(&text).unwrap();
    let origin = "hubei.example/node/421003/1".parse().unwrap();
    let key = trust.load().registered_log_key(&origin).unwrap().to_string();
    let verifier = signed_note::StandardVerifier::new(&key).unwrap();
    foreign
        .verify(&signed_note::VerifierList::new(vec![Box::new(verifier)]))
        .unwrap();
    let checkpoint = Checkpoint::parse(SignedNote::parse(&text).unwrap().text()).unwrap();
    let reader = TileHashReader::new(checkpoint.size, tlog_tiles::Hash(*checkpoint.root.bytes()), &tiles);
    for index in 0..checkpoint.size {
        reader.read_hashes(&[tlog_tiles::stored_hash_index(0, index)]).unwrap();
        tlog_tiles::prove_record(checkpoint.size, index, &reader).unwrap();
    }
    // Entries are for auditors: not here, but in the files that the node's own administrator writes.
    assert!(tiles.get("tile/entries/000.p/1").is_err());
    let dir = rig.place.path().join("log");
    let written = rig.node(421_003, &["log", "tiles", &dir.display().to_string()]);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    assert!(dir.join("checkpoint").exists() && dir.join("tile/entries").is_dir());
}

#[test]
fn f40_a_fork_is_found_kept_and_judged_offline() {
    let rig = Rig::start();
    rig.ask(&rig.case("case.json", |_| {}));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (material, _) = identity(&rig, 421_003);
    let keys = NodeKeys::load(
        &rig.folder(421_003),
        &"hubei.example".parse().unwrap(),
        421_003.try_into().unwrap(),
        1,
    );
    let keys = keys.unwrap();
    let origin = keys.origin.to_string();
    let found = runtime.block_on(async {
        let (_, trust) = identity(&rig, 421_003);
        let clients = PeerClients::new(material, trust, Arc::new(SystemClock));
        let city = 421_000.try_into().unwrap();
        let seen = format!("/v1/witness/{}/checkpoint", Hash::of(origin.as_bytes()));
        for _ in 0..60 {
            // What the city saw of the log, told otherwise: its size may have changed meanwhile.
            if let Ok(response) = clients.send(city, http::Method::GET, &seen, &[], Bytes::new()).await {
                let parts: Vec<_> = response.body.collect().await;
                let text: Vec<u8> = parts.into_iter().flat_map(|part| part.unwrap().to_vec()).collect();
                let known = Checkpoint::parse(SignedNote::parse(&text).unwrap().text()).unwrap();
                let other = Checkpoint {
                    root: Hash::of(b"other"),
                    ..known.clone()
                };
                let checkpoint = other.sign(&keys.log).unwrap();
                let request = AddCheckpoint {
                    old: known.size,
                    proof: Vec::new(),
                    checkpoint,
                };
                clients
                    .post_text(city, "/v1/witness/add-checkpoint", request.text())
                    .await
                    .unwrap();
                let forks = json_of(&rig.node(421_000, &["log", "forks", "--json"]));
                if forks["forks"].as_array().is_some_and(|forks| !forks.is_empty()) {
                    return Some(forks);
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        None
    });
    assert_eq!(found.unwrap()["forks"][0]["subject"], origin);
    prove_fork(&rig, 421_000, &origin, &origin);
    assert_eq!(
        json_of(&rig.node(421_000, &["status", "--json"]))["forks"][0]["subject"],
        origin
    );
}

#[test]
fn a_list_that_says_two_things_is_proven_and_both_are_obeyed_by_everybody_across_restarts() {
    let mut rig = Rig::start();
    let ask = |rig: &Rig, name: &str| outcome(&rig.ask(&rig.case(name, |_| {})).1, 421_003);
    assert_eq!(ask(&rig, "before.json"), "answered");
    // Two copies of one authority sign at the same moment: one that nothing is revoked, one that a district is suspended.
    let (one, other) = (rig.place.path().join("f"), rig.place.path().join("copy"));
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([&one, &other])
        .status()
        .unwrap();
    assert!(copied.success());
    let now = SystemClock.now();
    let twin = Federation::open(&other).unwrap();
    twin.suspend(421_003.try_into().unwrap(), "test", now).unwrap();
    Federation::open(&one).unwrap().revise_revoked(|_| {}, now).unwrap();
    let second = std::fs::read(other.join("authority/notes/revoked-420000.note")).unwrap();
    let name = "hubei.example/revoked/420000";
    let subject = format!("{name} {}", RawNote::parse(&second).unwrap().number);
    std::fs::write(rig.folder(421_000).join("notes/second.note"), second).unwrap();
    // One node reads it; all others hear of it from there.
    let alarmed = |rig: &Rig, code: u32| {
        let status = json_of(&rig.node(code, &["status", "--json"]));
        let forks = status["forks"].as_array().cloned().unwrap_or_default();
        forks.iter().any(|fork| fork["subject"] == subject.as_str())
    };
    let until = Instant::now() + Duration::from_secs(30);
    while ![420_000, 421_000, 421_002].iter().all(|code| alarmed(&rig, *code)) {
        assert!(Instant::now() < until, "not everybody heard of it");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(ask(&rig, "suspended.json"), "suspended");
    prove_fork(&rig, 421_002, &subject, name);
    // What is obeyed stands in the database, not in the process's memory.
    rig.kill(421_002);
    rig.serve(421_002);
    assert_eq!(ask(&rig, "restarted.json"), "suspended");
    assert!(alarmed(&rig, 421_002));
}
