//! C-13: an order, and the note that follows from it, are two people's.

use std::time::Duration;

use sanku_federation_protocol::people::{Person, Refusal, judge_order, person_name};
use sanku_federation_protocol::trust::{Accepted, Trust};
use sanku_tlog::KeyType;

use super::*;
use crate::custodians::RootKeys;
use crate::fixture::{DAY, PROVINCE, code, federation, now};

fn key(id: &str) -> SigningKey {
    let name = person_name(&federation(), code(PROVINCE), &id.parse().unwrap());
    SigningKey::from_seed(&name, KeyType::Ed25519, *sanku_tlog::Hash::of(name.as_bytes()).bytes()).unwrap()
}

fn person(id: &str, role: PersonRole) -> Person {
    Person {
        id: id.parse().unwrap(),
        role,
        key: key(id).verifier().clone(),
        from: now().minus(DAY),
        until: now().plus(DAY * 365),
    }
}

fn order(act: Action) -> Order {
    Order {
        id: "019a0000-0000-7000-8000-000000000001".parse().unwrap(),
        act,
        reason: "a test".to_owned(),
        executor: code(PROVINCE),
        not_after: now().plus(DAY),
    }
}

fn admit(id: &str) -> Order {
    order(Action::AdmitPerson {
        person: person(id, PersonRole::SystemAdministrator),
    })
}

/// The centre's first note, and trust that holds it.
fn first() -> (Trust, Vec<u8>) {
    let root = RootKeys::generate(&federation()).unwrap();
    let content = notes_root(&root);
    let root_note = notes::sign(&name::root(&federation()), now().minus(DAY), &content, &root.note).unwrap();
    let people = People {
        people: vec![
            person("a1", PersonRole::SecurityAdministrator),
            person("a2", PersonRole::SecurityAdministrator),
            person("m1", PersonRole::SystemAdministrator),
        ],
    };
    let name = name::people(&federation(), code(PROVINCE));
    let note = notes::sign(&name, now().minus(DAY), &people, &root.note)
        .unwrap()
        .to_string();
    let mut trust = Trust::new(federation(), root.fingerprint());
    trust.accept(root_note.to_string().as_bytes(), now()).unwrap();
    trust.accept(note.as_bytes(), now()).unwrap();
    (trust, note.into_bytes())
}

fn notes_root(root: &RootKeys) -> notes::Root {
    notes::Root {
        key: root.note.verifier().clone(),
        certificates: Vec::new(),
        witness: root.witness.verifier().clone(),
    }
}

fn proposed(order: &Order, by: &str) -> Vec<u8> {
    order.propose(&federation(), &key(by)).unwrap().to_string().into_bytes()
}

#[test]
fn c13_one_person_proposes_and_another_approves() {
    let (trust, _) = first();
    let suspend = order(Action::Suspend { code: code("421002") });
    let one = proposed(&suspend, "a1");
    let judge = |bytes: &[u8]| {
        let here = (&federation(), code(PROVINCE));
        judge_order(bytes, here, trust.people(code(PROVINCE)).unwrap(), now()).map(|approved| approved.signers().len())
    };
    assert_eq!(judge(&one), Err(Refusal::OnePerson));
    assert_eq!(approve(&one, &key("a1")), Err(NotSigned::Twice));
    let (two, read) = approve(&one, &key("a2")).unwrap();
    assert_eq!(read, suspend);
    assert_eq!(judge(two.to_string().as_bytes()), Ok(2));
    let changed = String::from_utf8(one.clone()).unwrap().replace("421002", "42100");
    assert!(matches!(
        approve(changed.as_bytes(), &key("a2")),
        Err(NotSigned::Order(_))
    ));
    assert!(matches!(approve(b"", &key("a2")), Err(NotSigned::Order(_))));
    let server = SigningKey::generate("hubei.example/node/420000/1", KeyType::Ed25519).unwrap();
    assert!(
        matches!(approve(&one, &server), Err(NotSigned::Key(_))),
        "no server signs an order"
    );
}

#[test]
fn a_person_is_admitted_by_a_note_that_two_signed_and_dismissed_by_another() {
    let (mut trust, in_force) = first();
    let order = admit("m2");
    let one = propose_people(&in_force, &order, &key("a1"), now())
        .unwrap()
        .to_string();
    assert!(
        trust.accept(one.as_bytes(), now()).is_err(),
        "one signature makes no person"
    );
    assert_eq!(
        approve_people(&in_force, one.as_bytes(), &order, &key("a1")),
        Err(NotSigned::Twice)
    );
    let two = approve_people(&in_force, one.as_bytes(), &order, &key("a2"))
        .unwrap()
        .to_string();
    assert_eq!(trust.accept(two.as_bytes(), now()), Ok(Accepted::New));
    assert_eq!(trust.people(code(PROVINCE)).unwrap().people.len(), 4);
    let dismiss = Order {
        act: Action::DismissPerson {
            id: "m1".parse().unwrap(),
        },
        ..order
    };
    // Made within the same millisecond, or by a clock that went back: the number rises all the same.
    let earlier = now().minus(Duration::from_secs(60));
    let one = propose_people(two.as_bytes(), &dismiss, &key("a2"), earlier)
        .unwrap()
        .to_string();
    let three = approve_people(two.as_bytes(), one.as_bytes(), &dismiss, &key("a1"))
        .unwrap()
        .to_string();
    assert_eq!(trust.accept(three.as_bytes(), now()), Ok(Accepted::New));
    let ids: Vec<_> = trust
        .people(code(PROVINCE))
        .unwrap()
        .people
        .iter()
        .map(|person| person.id.to_string())
        .collect();
    assert_eq!(ids, ["a1", "a2", "m2"]);
}

#[test]
fn a_people_note_that_says_more_than_its_order_is_not_signed() {
    let (_, in_force) = first();
    let (order, other) = (admit("m2"), admit("m3"));
    let one = propose_people(&in_force, &other, &key("a1"), now())
        .unwrap()
        .to_string();
    assert_eq!(
        approve_people(&in_force, one.as_bytes(), &order, &key("a2")),
        Err(NotSigned::OtherNote)
    );
    let same = String::from_utf8(in_force.clone()).unwrap();
    assert_eq!(
        approve_people(&in_force, same.as_bytes(), &order, &key("a2")),
        Err(NotSigned::OtherNote)
    );
    let people: People = RawNote::parse(&in_force).unwrap().content().unwrap();
    let refused = |act: Action| matches!(people_after(&people, &act), Err(NotSigned::People(_)));
    assert!(refused(Action::AdmitPerson {
        person: person("m1", PersonRole::SystemAdministrator)
    }));
    assert!(refused(Action::DismissPerson {
        id: "nobody".parse().unwrap()
    }));
    assert!(
        refused(Action::DismissPerson {
            id: "a1".parse().unwrap()
        }),
        "two security administrators remain"
    );
    assert!(refused(Action::Suspend { code: code("421002") }));
    let elsewhere = name::people(&federation(), code("421000"));
    let note = notes::sign(&elsewhere, now(), &people, &key("a1")).unwrap().to_string();
    assert!(propose_people(note.as_bytes(), &order, &key("a1"), now()).is_err());
}
