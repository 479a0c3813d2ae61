//! Orders: two persons or nothing, whatever anybody tries.

use proptest::prelude::*;
use sanku_tlog::KeyType;

use super::*;
use crate::fixture::{code, days, federation, minute};
use crate::notes::RevokedWhat;

const CITY: u32 = 421_000;

fn person_key(id: &str, seed: u8) -> SigningKey {
    let name = person_name(&federation(), code(CITY), &id.parse().unwrap());
    SigningKey::from_seed(&name, KeyType::Ed25519, [seed; 32]).unwrap()
}

fn person(id: &str, seed: u8, role: PersonRole) -> Person {
    Person {
        id: id.parse().unwrap(),
        role,
        key: person_key(id, seed).verifier().clone(),
        from: days(-10),
        until: days(300),
    }
}

fn people() -> People {
    People {
        people: vec![
            person("a1", 101, PersonRole::SecurityAdministrator),
            person("a2", 102, PersonRole::SecurityAdministrator),
            person("m1", 103, PersonRole::SystemAdministrator),
            person("m2", 104, PersonRole::SystemAdministrator),
            person("r1", 105, PersonRole::SecurityAuditor),
        ],
    }
}

fn order_of(act: Action) -> Order {
    Order {
        id: "019a0000-0000-7000-8000-000000000001".parse().unwrap(),
        act,
        reason: "服务器失窃".to_owned(),
        executor: code(CITY),
        not_after: days(1),
    }
}

fn suspend() -> Order {
    order_of(Action::Suspend { code: code(421_002) })
}

/// One order of every kind.
fn every_order() -> Vec<Order> {
    let (node, request) = (code(421_002), Hash::of(b"a request"));
    let acts = vec![
        Action::OpenPlaces {
            codes: vec![node, code(421_003)],
        },
        Action::ConfirmEnrolment { code: node, request },
        Action::AdmitPerson {
            person: person("n1", 106, PersonRole::SystemAdministrator),
        },
        Action::DismissPerson {
            id: "m2".parse().unwrap(),
        },
        Action::Suspend { code: node },
        Action::Resume { code: node },
        Action::Revoke {
            what: RevokedWhat::Node,
            code: node,
            object: None,
        },
        Action::Leave { code: node },
        Action::Return { code: node, request },
        Action::RotateAuthority {
            code: code(CITY),
            step: RotationStep::Prepare,
            request: Some(request),
        },
        Action::RenewLog {
            code: node,
            number: 2,
            request,
        },
        Action::BreakGlass {
            code: code(CITY),
            until: days(1),
        },
    ];
    acts.into_iter().map(order_of).collect()
}

fn signed_by(order: &Order, keys: &[&SigningKey]) -> Vec<u8> {
    let text = order.text(&federation()).unwrap();
    let note = SignedNote::new(&text, keys.iter().map(|key| key.sign(&text)).collect()).unwrap();
    note.to_string().into_bytes()
}

fn judge(bytes: &[u8]) -> Result<Approved, Refusal> {
    judge_order(bytes, (&federation(), code(CITY)), &people(), minute(0))
}

fn signers_of(kind: ActionKind) -> [SigningKey; 2] {
    if kind.roles().contains(&PersonRole::SecurityAdministrator) {
        [person_key("a1", 101), person_key("a2", 102)]
    } else {
        [person_key("m1", 103), person_key("m2", 104)]
    }
}

#[test]
fn c13_every_order_needs_two_persons_in_a_role_that_allows_it() {
    assert_eq!(every_order().len(), ActionKind::ALL.len());
    for order in every_order() {
        let kind = order.act.kind();
        let [one, two] = signers_of(kind);
        let approved = judge(&signed_by(&order, &[&one, &two])).unwrap();
        assert_eq!(approved.order(), &order, "{}", kind.word());
        assert_eq!(approved.signers().len(), 2);
        let alone = signed_by(&order, &[&one]);
        assert_eq!(judge(&alone), Err(Refusal::OnePerson), "{}: one signature", kind.word());
        let same = signed_by(&order, &[&one, &one]);
        assert_eq!(
            judge(&same),
            Err(Refusal::OnePerson),
            "{}: one person twice",
            kind.word()
        );
        let auditor = signed_by(&order, &[&one, &person_key("r1", 105)]);
        assert_eq!(judge(&auditor), Err(Refusal::Role), "{}: a wrong role", kind.word());
        let stranger = signed_by(&order, &[&person_key("x1", 120), &person_key("x2", 121)]);
        assert_eq!(
            judge(&stranger),
            Err(Refusal::NobodySigned),
            "{}: strangers",
            kind.word()
        );
        let other_key = signed_by(&order, &[&one, &person_key("a2", 77)]);
        assert_eq!(
            judge(&other_key),
            Err(Refusal::OnePerson),
            "{}: another key of that name",
            kind.word()
        );
    }
}

#[test]
fn c13_a_dismissed_person_signs_for_nobody() {
    let order = suspend();
    let bytes = signed_by(&order, &[&person_key("a1", 101), &person_key("a2", 102)]);
    let by = |people: &People| judge_order(&bytes, (&federation(), code(CITY)), people, minute(0));
    let mut left = people();
    left.people.remove(1);
    assert_eq!(by(&left), Err(Refusal::OnePerson));
    let mut ended = people();
    ended.people[1].until = minute(-1);
    assert_eq!(by(&ended), Err(Refusal::OnePerson));
    ended.people[0].from = minute(1);
    assert_eq!(by(&ended), Err(Refusal::NobodySigned));
}

#[test]
fn an_order_is_for_its_executor_and_its_time() {
    let bytes = signed_by(&suspend(), &[&person_key("a1", 101), &person_key("a2", 102)]);
    let at = |of: u32, now| judge_order(&bytes, (&federation(), code(of)), &people(), now).map(drop);
    assert_eq!(at(CITY, days(1)), Ok(()));
    assert_eq!(
        at(CITY, days(1).plus(std::time::Duration::from_millis(1))),
        Err(Refusal::Expired)
    );
    assert_eq!(at(420_000, minute(0)), Err(Refusal::Executor));
    let another = "other.example".parse().unwrap();
    assert_eq!(
        judge_order(&bytes, (&another, code(CITY)), &people(), minute(0)),
        Err(Refusal::Form)
    );
}

#[test]
fn an_orders_hash_is_the_same_whoever_signed_it_and_however_often() {
    let order = suspend();
    let one = judge(&signed_by(&order, &[&person_key("a1", 101), &person_key("a2", 102)])).unwrap();
    let two = judge(&signed_by(&order, &[&person_key("a2", 102), &person_key("a1", 101)])).unwrap();
    assert_eq!(one.hash(), two.hash());
    let mut again = order;
    again.id = "019a0000-0000-7000-8000-000000000002".parse().unwrap();
    let three = judge(&signed_by(&again, &[&person_key("a1", 101), &person_key("a2", 102)])).unwrap();
    assert_ne!(one.hash(), three.hash());
}

#[test]
fn an_order_that_says_nothing_or_too_much_is_refused() {
    let form = |order: &Order| judge(&signed_by(order, &[&person_key("a1", 101), &person_key("a2", 102)]));
    let mut silent = suspend();
    silent.reason = " ".to_owned();
    for bad in [
        silent,
        order_of(Action::OpenPlaces { codes: vec![] }),
        order_of(Action::OpenPlaces {
            codes: vec![code(421_003), code(421_002)],
        }),
        order_of(Action::Revoke {
            what: RevokedWhat::Key,
            code: code(421_002),
            object: None,
        }),
        order_of(Action::Revoke {
            what: RevokedWhat::Suspended,
            code: code(421_002),
            object: None,
        }),
        order_of(Action::BreakGlass {
            code: code(421_002),
            until: days(1),
        }),
    ] {
        assert_eq!(form(&bad), Err(Refusal::Form), "{bad:?}");
    }
}

#[test]
fn the_bytes_of_an_order_are_these() {
    // The vector of certs/FORMATS.md §2.
    let bytes = signed_by(&suspend(), &[&person_key("a1", 101), &person_key("a2", 102)]);
    let text = String::from_utf8(bytes).unwrap();
    insta::assert_snapshot!(text);
    let approved = judge(text.as_bytes()).unwrap();
    insta::assert_snapshot!(approved.hash().to_string());
}

proptest! {
    #[test]
    fn no_changed_byte_of_an_order_is_approved(at in 0_usize..1000, bit in 0_u8..8) {
        let mut bytes = signed_by(&suspend(), &[&person_key("a1", 101), &person_key("a2", 102)]);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        prop_assert!(judge(&bytes).is_err(), "octet {} bit {}", at, bit);
    }

    #[test]
    fn no_bytes_make_an_order_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(judge(&bytes).is_err());
    }
}
