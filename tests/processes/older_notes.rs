//! Notes that rest on older ones: a node that was away gets the newest of a centre's people, and fetches those before it.

use std::time::{Duration, Instant};

use sanku_certs::keys::{KeyFiles, KeyStore};
use sanku_federation_protocol::notes::{name, sign};
use sanku_federation_protocol::people::{People, Person, PersonRole, person_name};
use sanku_tlog::{KeyType, SigningKey};
use sanku_values::{Clock, DivisionCode, FederationName, SystemClock};

use crate::rig::{Rig, json_of};

const HERE: u32 = 421_002;

#[test]
fn a_node_that_was_away_fetches_the_older_notes_of_people_that_the_newest_rests_on() {
    let mut rig = Rig::start();
    rig.kill(HERE);
    let federation: FederationName = "hubei.example".parse().unwrap();
    let centre: DivisionCode = 421_000.try_into().unwrap();
    let folder = rig.place.path().join("f/authority");
    let keys = KeyFiles::open(&folder.join("keys"), &folder.join("key-file")).unwrap();
    let seed: [u8; 32] = keys.load("root-note").unwrap().as_slice().try_into().unwrap();
    let root = SigningKey::from_seed(&name::root(&federation), KeyType::Ed25519, seed).unwrap();
    let person = |id: &str| {
        let key = person_name(&federation, centre, &id.parse().unwrap());
        SigningKey::generate(&key, KeyType::Ed25519).unwrap()
    };
    let now = SystemClock.now();
    let row = |id: &str, key: &SigningKey| Person {
        id: id.parse().unwrap(),
        role: PersonRole::SecurityAdministrator,
        key: key.verifier().clone(),
        from: now.minus(Duration::from_secs(3600)),
        until: now.plus(Duration::from_secs(3600)),
    };
    let (a1, a2, a3) = (person("a1"), person("a2"), person("a3"));
    let mut people = People {
        people: vec![row("a1", &a1), row("a2", &a2)],
    };
    let of_people = name::people(&federation, centre);
    let first = sign(&of_people, now, &people, &root).unwrap();
    people.people.push(row("a3", &a3));
    let newest = now.plus(Duration::from_millis(5));
    let mut second = sign(&of_people, newest, &people, &a1).unwrap();
    let signature = a2.sign(second.text());
    second.add(signature);
    let notes = rig.folder(420_000).join("notes");
    for (file, note) in [("people-1.note", first), ("people-2.note", second)] {
        std::fs::write(notes.join(file), note.to_string()).unwrap();
    }
    let number = |rig: &Rig, code| {
        let status = json_of(&rig.node(code, &["status", "--json"]));
        let notes = status["notes"].as_array().unwrap().clone();
        let held = notes.iter().find(|note| note["name"] == of_people.as_str()).cloned();
        held.and_then(|note| note["number"].as_i64())
    };
    let arrives = |rig: &Rig, code| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while number(rig, code) != Some(newest.millis()) {
            assert!(Instant::now() < deadline, "{code}: {:?}", number(rig, code));
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    arrives(&rig, 421_000);
    rig.serve(HERE);
    arrives(&rig, HERE);
}
