use super::*;
use crate::fixture::*;
use crate::notes::{Delegate, RevokedRow};

fn revoked(what: RevokedWhat, of: u32, object: Option<String>) -> RevokedRow {
    RevokedRow {
        what,
        code: code(of),
        object,
        since: minute(0),
        reason: "lost".to_owned(),
    }
}

fn list(authority: u32, number: Time, rows: Vec<RevokedRow>, key: &sanku_tlog::SigningKey) -> Vec<u8> {
    signed(
        &name::revoked(&federation(), code(authority)),
        number,
        &Revoked { next: days(1), rows },
        key,
    )
}

fn origin(of: u32) -> Origin {
    Origin {
        federation: federation(),
        node: code(of),
        number: 1,
    }
}

#[test]
fn notes_are_accepted_in_any_order_and_only_once() {
    let mut shuffled = notes();
    shuffled.reverse();
    let mut trust = trust_of(&shuffled);
    assert_eq!(trust.digest(), trust_of(&notes()).digest());
    assert_eq!(trust.accept(&notes()[2], minute(0)), Ok(Accepted::Known));
    assert_eq!(trust.list().count(), 4);
}

#[test]
fn a_root_of_another_fingerprint_is_refused() {
    let mut trust = Trust::new(federation(), Hash::of(b"another"));
    assert_eq!(trust.accept(&notes()[0], minute(0)), Err(NoteRefused::Signer));
    assert_eq!(trust.accept(&notes()[1], minute(0)), Err(NoteRefused::Missing("root")));
}

#[test]
fn each_note_needs_its_own_signer() {
    let federation = federation();
    let mut trust = trust_of(&notes());
    let registry_name = name::registry(&federation);
    for wrong in [root_key(), authority_key(PROVINCE), key("publisher", 9)] {
        let forged = signed(&registry_name, days(-1), &registry(), &wrong);
        assert_eq!(trust.accept(&forged, minute(0)), Err(NoteRefused::Signer));
    }
    let forged = signed(
        &name::delegation(&federation),
        days(-1),
        &delegation(),
        &publisher_key(),
    );
    assert_eq!(trust.accept(&forged, minute(0)), Err(NoteRefused::Signer));
    let late = signed(&registry_name, days(101), &registry(), &publisher_key());
    assert_eq!(trust.accept(&late, days(101)), Err(NoteRefused::Signer));
}

#[test]
fn a_number_more_than_fifteen_minutes_ahead_is_refused() {
    let mut trust = trust_of(&notes());
    let ahead = |minutes| {
        signed(
            &name::registry(&federation()),
            minute(minutes),
            &registry(),
            &publisher_key(),
        )
    };
    assert_eq!(trust.accept(&ahead(16), minute(0)), Err(NoteRefused::Future));
    assert_eq!(trust.accept(&ahead(15), minute(0)), Ok(Accepted::New));
}

#[test]
fn an_older_registry_is_archived_and_never_in_force() {
    let mut trust = trust_of(&notes());
    let (newest, _, _) = trust.registry().unwrap();
    let old = Registry {
        not_after: days(-7),
        ..registry()
    };
    let old = signed(&name::registry(&federation()), days(-20), &old, &publisher_key());
    let reference = RawNote::parse(&old).unwrap().reference();
    let before = trust.digest();
    assert_eq!(trust.accept(&old, minute(0)), Ok(Accepted::Archived));
    assert_eq!(trust.registry().unwrap().0, newest);
    assert_eq!(trust.registry_by(reference).unwrap().0.not_after, days(-7));
    assert_eq!(trust.replaced_at(reference), Some(days(-8)));
    assert_eq!(trust.digest(), before);
}

#[test]
fn two_texts_of_one_number_are_a_fork_and_both_lists_are_obeyed() {
    let mut trust = trust_of(&notes());
    let first = list(
        PROVINCE,
        days(-1),
        vec![revoked(RevokedWhat::Suspended, HERE, None)],
        &authority_key(PROVINCE),
    );
    let second = list(
        PROVINCE,
        days(-1),
        vec![revoked(RevokedWhat::Node, THERE, None)],
        &authority_key(PROVINCE),
    );
    assert_eq!(trust.accept(&first, minute(0)), Ok(Accepted::New));
    let digest = trust.digest();
    assert_eq!(trust.accept(&second, minute(0)), Err(NoteRefused::Fork));
    assert_eq!(trust.accept(&second, minute(0)), Err(NoteRefused::Fork));
    assert_eq!((trust.forks().len(), trust.digest()), (1, digest));
    assert_eq!(trust.judge_member(code(HERE)), Err(ProblemKind::Suspended));
    assert_eq!(trust.judge_member(code(THERE)), Err(ProblemKind::Revoked));
    let healed = list(PROVINCE, minute(0), Vec::new(), &authority_key(PROVINCE));
    assert_eq!(trust.accept(&healed, minute(0)), Ok(Accepted::New));
    assert_eq!(trust.judge_member(code(THERE)), Ok(()));
}

#[test]
fn a_list_acts_only_below_its_signer() {
    let mut trust = trust_of(&notes());
    let suspend = |authority, of, key: &sanku_tlog::SigningKey| {
        list(
            authority,
            days(-1),
            vec![revoked(RevokedWhat::Suspended, of, None)],
            key,
        )
    };
    for (authority, of, signer) in [
        (CITY, CITY, authority_key(CITY)),
        (CITY, PROVINCE, authority_key(CITY)),
        (CITY, 429_004, authority_key(PROVINCE)),
        (PROVINCE, PROVINCE, authority_key(PROVINCE)),
        (PROVINCE, HERE, authority_key(CITY)),
    ] {
        assert_eq!(
            trust.accept(&suspend(authority, of, &signer), minute(0)),
            Err(NoteRefused::Signer),
            "{authority} {of}"
        );
    }
    assert_eq!(
        trust.accept(&suspend(CITY, CITY, &authority_key(PROVINCE)), minute(0)),
        Ok(Accepted::New)
    );
    assert_eq!(
        trust.accept(&suspend(PROVINCE, PROVINCE, &root_key()), minute(0)),
        Ok(Accepted::New)
    );
    assert_eq!(trust.judge_member(code(PROVINCE)), Err(ProblemKind::Suspended));
}

#[test]
fn an_authority_above_adds_and_redates_but_never_removes() {
    let mut trust = trust_of(&notes());
    let suspended = vec![revoked(RevokedWhat::Suspended, HERE, None)];
    trust
        .accept(
            &list(CITY, days(-3), suspended.clone(), &authority_key(CITY)),
            minute(0),
        )
        .unwrap();
    let emptied = |key| list(CITY, days(-2), Vec::new(), key);
    assert!(trust.accept(&emptied(&authority_key(PROVINCE)), minute(0)) != Ok(Accepted::New));
    assert_eq!(trust.judge_member(code(HERE)), Err(ProblemKind::Suspended));
    let mut redated = suspended;
    redated[0].since = days(-1);
    redated.push(revoked(RevokedWhat::Suspended, THERE, None));
    assert_eq!(
        trust.accept(&list(CITY, days(-1), redated, &authority_key(PROVINCE)), minute(0)),
        Ok(Accepted::New)
    );
    let removed = list(CITY, minute(0), Vec::new(), &authority_key(CITY));
    assert_eq!(trust.accept(&removed, minute(0)), Ok(Accepted::New));
    assert_eq!(trust.judge_member(code(HERE)), Ok(()));
}

#[test]
fn what_lies_below_a_suspended_node_is_suspended_with_it() {
    let mut trust = trust_of(&notes());
    let suspended = list(
        PROVINCE,
        days(-1),
        vec![revoked(RevokedWhat::Suspended, CITY, None)],
        &authority_key(PROVINCE),
    );
    trust.accept(&suspended, minute(0)).unwrap();
    assert_eq!(trust.judge_member(code(HERE)), Err(ProblemKind::Suspended));
    assert_eq!(trust.judge_member(code(PROVINCE)), Ok(()));
    assert_eq!(trust.judge_member(code(429_004)), Err(ProblemKind::NotMember));
    assert_eq!(
        trust.suspended(&EVERYBODY.map(code).into()),
        [CITY, HERE, THERE].map(code).into()
    );
}

#[test]
fn a_log_key_counts_in_its_window_until_it_is_revoked() {
    let mut trust = trust_of(&notes());
    let expected = log_key(THERE).verifier().clone();
    assert_eq!(trust.log_key(&origin(THERE)), Ok(expected.clone()));
    assert_eq!(trust.at(minute(0)).log_key(&origin(THERE)), Ok(expected.clone()));
    assert_eq!(
        trust.at(days(101)).log_key(&origin(THERE)),
        Err(RunError::NotTrusted("not_in_force"))
    );
    let other = Origin {
        number: 2,
        ..origin(THERE)
    };
    assert_eq!(
        trust.at(minute(0)).log_key(&other),
        Err(RunError::NotTrusted("unknown_log"))
    );
    let row = revoked(RevokedWhat::Key, THERE, Some(expected.to_string()));
    trust
        .accept(
            &list(PROVINCE, days(-1), vec![row], &authority_key(PROVINCE)),
            minute(0),
        )
        .unwrap();
    assert_eq!(
        trust.at(minute(0)).log_key(&origin(THERE)),
        Err(RunError::NotTrusted("revoked"))
    );
    assert_eq!(
        trust.at(minute(0)).log_key(&origin(HERE)),
        Ok(log_key(HERE).verifier().clone())
    );
}

#[test]
fn a_node_that_left_is_trusted_only_for_what_it_said_before() {
    let mut trust = trust_of(&notes());
    let mut left = registry();
    left.nodes[3].state = NodeState::Left;
    trust
        .accept(
            &signed(&name::registry(&federation()), minute(10), &left, &publisher_key()),
            minute(10),
        )
        .unwrap();
    assert_eq!(trust.judge_member(code(THERE)), Err(ProblemKind::NotMember));
    assert!(trust.at(minute(9)).log_key(&origin(THERE)).is_ok());
    assert_eq!(
        trust.at(minute(10)).log_key(&origin(THERE)),
        Err(RunError::NotTrusted("left"))
    );
    assert_eq!(trust.log_key(&origin(THERE)), Err(RunError::NotTrusted("left")));
}

#[test]
fn a_new_delegation_has_everything_judged_again_and_keeps_the_archive() {
    let mut trust = trust_of(&notes());
    let (old, _, _) = trust.registry().unwrap();
    let renewed = key("publisher", 7);
    let publisher = Delegate {
        key: renewed.verifier().clone(),
        from: days(-2),
        until: days(100),
    };
    let next = Delegation {
        publisher,
        ..delegation()
    };
    trust
        .accept(
            &signed(&name::delegation(&federation()), days(-2), &next, &root_key()),
            minute(0),
        )
        .unwrap();
    assert!(trust.registry().is_none());
    assert!(trust.registry_by(old).is_some());
    let registry = signed(&name::registry(&federation()), days(-1), &registry(), &renewed);
    assert_eq!(trust.accept(&registry, minute(0)), Ok(Accepted::New));
    assert_eq!(trust.replaced_at(old), Some(days(-1)));
}

#[test]
fn a_new_root_is_signed_by_the_old_one_and_the_old_chain_stays() {
    let mut trust = trust_of(&notes());
    let renewed = key("root", 6);
    let next = Root {
        key: renewed.verifier().clone(),
        ..root()
    };
    let root_name = name::root(&federation());
    let alone = signed(&root_name, days(-1), &next, &renewed);
    assert_eq!(trust.accept(&alone, minute(0)), Err(NoteRefused::Signer));
    let mut both = crate::notes::sign(&root_name, days(-1), &next, &renewed).unwrap();
    let by_old = root_key().sign(both.text());
    both.add(by_old);
    assert_eq!(trust.accept(both.to_string().as_bytes(), minute(0)), Ok(Accepted::New));
    // Nothing that only the old root stood for is in force; what was valid then can still be judged.
    assert!(trust.delegation().is_none());
    let again = signed(&name::delegation(&federation()), minute(0), &delegation(), &renewed);
    assert_eq!(trust.accept(&again, minute(0)), Ok(Accepted::New));
    assert!(trust.registry().is_some());
    let mut all: Vec<_> = trust.all().map(|(_, held)| held.bytes.as_bytes().to_vec()).collect();
    all.reverse();
    assert_eq!(trust_of(&all).digest(), trust.digest());
}

#[test]
fn a_registry_with_a_raw_key_twice_or_two_tops_is_no_registry() {
    let mut trust = trust_of(&notes());
    let mut twice = registry();
    twice.nodes[1].sealing_keys = twice.nodes[0].sealing_keys.clone();
    let mut tops = registry();
    tops.nodes[0].state = NodeState::Left;
    tops.nodes[1].state = NodeState::Left;
    for bad in [twice, tops] {
        let note = signed(&name::registry(&federation()), minute(0), &bad, &publisher_key());
        assert!(matches!(trust.accept(&note, minute(0)), Err(NoteRefused::Form(_))));
    }
}

mod people {
    use sanku_tlog::{KeyType, SigningKey};

    use super::*;
    use crate::people::{People, Person, PersonRole, person_name};

    const CITY: u32 = 421_000;

    fn person_key(id: &str, seed: u8) -> SigningKey {
        let name = person_name(&federation(), code(CITY), &id.parse().unwrap());
        SigningKey::from_seed(&name, KeyType::Ed25519, [seed; 32]).unwrap()
    }

    fn people(ids: &[(&str, u8, PersonRole)]) -> People {
        let person = |(id, seed, role): &(&str, u8, PersonRole)| Person {
            id: id.parse().unwrap(),
            role: *role,
            key: person_key(id, *seed).verifier().clone(),
            from: days(-10),
            until: days(300),
        };
        People {
            people: ids.iter().map(person).collect(),
        }
    }

    fn note(number: Time, people: &People, keys: &[&SigningKey]) -> Vec<u8> {
        let name = name::people(&federation(), code(CITY));
        let mut note = crate::notes::sign(&name, number, people, keys[0]).unwrap();
        for key in &keys[1..] {
            let line = key.sign(note.text());
            note.add(line);
        }
        note.to_string().into_bytes()
    }

    const FIRST: &[(&str, u8, PersonRole)] = &[
        ("a1", 101, PersonRole::SecurityAdministrator),
        ("a2", 102, PersonRole::SecurityAdministrator),
        ("m1", 103, PersonRole::SystemAdministrator),
    ];

    #[test]
    fn people_come_first_from_the_root_and_then_from_two_of_themselves() {
        let mut trust = trust_of(&notes());
        let (a1, a2, m1) = (person_key("a1", 101), person_key("a2", 102), person_key("m1", 103));
        let first = people(FIRST);
        for server in [publisher_key(), authority_key(PROVINCE), log_key(CITY)] {
            let forged = note(minute(-9), &first, &[&server]);
            assert_eq!(trust.accept(&forged, minute(0)), Err(NoteRefused::Signer));
        }
        let themselves = note(minute(-9), &first, &[&a1, &a2]);
        assert_eq!(trust.accept(&themselves, minute(0)), Err(NoteRefused::Signer));
        let good = note(minute(-9), &first, &[&root_key()]);
        assert_eq!(trust.accept(&good, minute(0)), Ok(Accepted::New));
        assert_eq!(trust.people(code(CITY)), Some(&first));
        let fewer = people(&FIRST[..2]);
        let root = root_key();
        for wrong in [&[&a1][..], &[&a1, &m1], &[&m1], &[&root], &[&a1, &a1]] {
            let refused = trust.accept(&note(minute(-8), &fewer, wrong), minute(0));
            assert_eq!(refused, Err(NoteRefused::Signer));
        }
        let second = note(minute(-8), &fewer, &[&a1, &a2]);
        assert_eq!(trust.accept(&second, minute(0)), Ok(Accepted::New));
        assert_eq!(trust.people(code(CITY)), Some(&fewer));
        assert!(
            trust
                .note(
                    &name::people(&federation(), code(CITY)),
                    Some(minute(-9).millis().unsigned_abs())
                )
                .is_some()
        );
        let mut shuffled = notes();
        shuffled.splice(0..0, [second.clone(), good]);
        assert_eq!(trust_of(&shuffled).people(code(CITY)), Some(&fewer), "in any order");
        let (without, refused) = Trust::from_notes(
            federation(),
            fingerprint(),
            notes().iter().chain([&second]).map(Vec::as_slice),
            minute(0),
        );
        assert_eq!((without.people(code(CITY)), refused), (None, vec![NoteRefused::Signer]));
        let fork = note(minute(-8), &first, &[&a1, &a2]);
        assert_eq!(trust.accept(&fork, minute(0)), Err(NoteRefused::Fork));
        assert_eq!((trust.people(code(CITY)), trust.forks().len()), (Some(&fewer), 1));
    }

    #[test]
    fn a_people_note_of_no_form_is_refused() {
        let bad = |change: fn(&mut People)| {
            let mut people = people(FIRST);
            change(&mut people);
            trust_of(&notes()).accept(&note(minute(-9), &people, &[&root_key()]), minute(0))
        };
        assert_eq!(bad(|_| {}), Ok(Accepted::New));
        for change in [
            (|people| people.people.swap(0, 1)) as fn(&mut People),
            |people| people.people[0].key = person_key("a2", 9).verifier().clone(),
            |people| {
                let twice = SigningKey::from_seed(people.people[0].key.name(), KeyType::Ed25519, [102; 32]).unwrap();
                people.people[0].key = twice.verifier().clone();
            },
        ] {
            assert!(matches!(bad(change), Err(NoteRefused::Form(_))));
        }
    }
}

#[test]
fn a_closed_log_counts_up_to_its_final_size_for_ever_and_an_open_one_within_its_window() {
    let (world, _) = World::whole_case();
    let with = |final_size: Option<u64>| {
        let mut next = registry();
        let row = next.nodes.iter_mut().find(|row| row.code == code(THERE)).unwrap();
        row.logs[0].final_size = final_size;
        row.logs[0].until = days(1);
        let note = signed(&name::registry(&federation()), days(2), &next, &publisher_key());
        trust_of(&[notes(), vec![note]].concat())
    };
    let closed = Err(RunError::NotTrusted("closed"));
    let judged = |trust: &Trust, count, at| {
        let now = world.unverified(THERE, 0, count).verify(trust).map(drop);
        let then = world.unverified(THERE, 0, count).verify(&trust.at(at)).map(drop);
        (now, then)
    };
    let two = with(Some(2));
    assert_eq!(judged(&two, 2, days(3000)), (Ok(()), Ok(())));
    assert_eq!(judged(&two, 3, days(0)), (closed.clone(), closed.clone()));
    let witnessed = |at| world.unverified(THERE, 0, 3).verify(&two.when_witnessed(at)).map(drop);
    assert_eq!((witnessed(days(1)), witnessed(days(2))), (Ok(()), closed));
    let open = with(None);
    assert_eq!(
        judged(&open, 3, days(2)),
        (Ok(()), Err(RunError::NotTrusted("not_in_force")))
    );
    // Whose key was stolen is believed no more, wherever the log ended.
    let mut robbed = two.clone();
    robbed.distrust(Origin {
        federation: federation(),
        node: code(THERE),
        number: 1,
    });
    assert_eq!(judged(&robbed, 2, days(0)).0, Err(RunError::NotTrusted("forked")));
}
