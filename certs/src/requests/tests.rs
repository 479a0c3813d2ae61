//! What is granted, and everything that is not.

use std::sync::Arc;

use sanku_federation_protocol::acts::{
    AuthorityRequest, CategoriesRequest, EndpointsRequest, SealingRequest, WitnessRequest,
};
use sanku_federation_protocol::notes::RevokedWhat;
use sanku_federation_protocol::people::RotationStep;
use sanku_federation_protocol::seal::SealingKey;
use sanku_tlog::{KeyType, SigningKey};

use super::*;
use crate::fixture::{
    CITY, DAY, HERE, Log, PROVINCE, THERE, Tls, World, again, approved, code, first, newcomer, now, origin, place,
    witness_key,
};

/// A newcomer's request that holds.
fn enrolling() -> (World, Received) {
    let (mut log, request) = newcomer(THERE, 1, &Tls::new());
    (World::new(), first(&mut log, request, now()))
}

fn confirm(of: &str, request: Hash) -> Action {
    Action::ConfirmEnrolment {
        code: code(of),
        request,
    }
}

fn granted(world: &World, received: &Received, order: &Approved) -> Result<Grant, RequestRefused> {
    let place = place(THERE);
    world
        .standing(Some(&place), &BTreeSet::new())
        .judge(received)?
        .granted(Some(order))
}

#[test]
fn a_newcomer_with_a_place_and_an_order_is_granted_what_it_asked_for() {
    let (world, received) = enrolling();
    let order = approved(CITY, &confirm(THERE, received.leaf));
    let grant = granted(&world, &received, &order).unwrap();
    assert_eq!((grant.code(), grant.request()), (code(THERE), received.leaf));
    assert_eq!(grant.hosts(), ["10.1.2.3", "2001:db8::1", "node.example"]);
    assert_eq!(*grant.orders(), BTreeSet::from([place(THERE).order, order.hash()]));
    let row = newcomer_row(&grant, None, now()).unwrap();
    assert_eq!(row.order, Some(order.hash()), "the row names the order behind it");
    let mut registry = world.registry();
    registry.nodes.push(row);
    let mut world = world;
    world.register(&registry);
    assert_eq!(world.trust.judge_member(code(THERE)), Ok(()));
    let log_key = world.trust.at(now()).log_key(&origin(THERE, 1));
    assert_eq!(log_key.unwrap(), *Log::new(THERE, 1).key.verifier());
}

#[test]
fn c13_no_enrolment_without_an_order_of_this_centres_people_about_this_request() {
    let (world, received) = enrolling();
    let place = place(THERE);
    let judged = world.standing(Some(&place), &BTreeSet::new()).judge(&received).unwrap();
    assert_eq!(judged.needs(), Some(ActionKind::ConfirmEnrolment));
    assert_eq!(judged.granted(None), Err(RequestRefused::Order));
    let leaf = received.leaf;
    for (what, order) in [
        ("another request", approved(CITY, &confirm(THERE, Hash::of(b"another")))),
        ("another node", approved(CITY, &confirm(HERE, leaf))),
        ("of another centre", approved(PROVINCE, &confirm(THERE, leaf))),
        (
            "another kind",
            approved(
                CITY,
                &Action::Return {
                    code: code(THERE),
                    request: leaf,
                },
            ),
        ),
        ("about people", approved(CITY, &Action::Suspend { code: code(THERE) })),
    ] {
        assert_eq!(granted(&world, &received, &order), Err(RequestRefused::Order), "{what}");
    }
}

#[test]
fn a_newcomer_is_refused_for_whatever_does_not_hold() {
    let (world, received) = enrolling();
    let (place, none) = (place(THERE), BTreeSet::new());
    let standing = || world.standing(Some(&place), &none);
    let judge = |standing: Standing<'_>| standing.judge(&received).map(drop);
    assert_eq!(judge(standing()), Ok(()));
    assert_eq!(
        judge(Standing {
            place: None,
            ..standing()
        }),
        Err(RequestRefused::NoPlace)
    );
    let others = crate::fixture::place("421087");
    let elsewhere = Standing {
        place: Some(&others),
        ..standing()
    };
    assert_eq!(judge(elsewhere), Err(RequestRefused::NoPlace));
    let over = Place {
        until: now().minus(DAY),
        ..place.clone()
    };
    assert_eq!(
        judge(Standing {
            place: Some(&over),
            ..standing()
        }),
        Err(RequestRefused::PlaceOver)
    );
    let province = Standing {
        authority: code(PROVINCE),
        ..standing()
    };
    assert_eq!(judge(province), Err(RequestRefused::Addressee));
    let old = Standing {
        now: now().plus(DAY * 8),
        ..standing()
    };
    assert_eq!(judge(old), Err(RequestRefused::Old));
    let ahead = Standing {
        now: now().minus(DAY),
        ..standing()
    };
    assert_eq!(judge(ahead), Err(RequestRefused::Clock));
    let Public::Certificate(request) = &received.asked else {
        panic!()
    };
    let used = BTreeSet::from([request.tls.hash()]);
    assert_eq!(
        judge(Standing {
            used: &used,
            ..standing()
        }),
        Err(RequestRefused::KeyUsed)
    );

    let changed = |change: &dyn Fn(&mut CertificateRequest)| {
        let mut changed = received.clone();
        let Public::Certificate(request) = &mut changed.asked else {
            panic!()
        };
        change(request);
        standing().judge(&changed).map(drop)
    };
    let other = Tls::new();
    assert_eq!(
        changed(&|request| request.tls = other.spki),
        Err(RequestRefused::Possession)
    );
    let sealing = world.registry().node(code(HERE)).unwrap().sealing_keys[0].key;
    let with_sealing = |request: &mut CertificateRequest| request.node.as_mut().unwrap().sealing = sealing;
    assert_eq!(
        changed(&with_sealing),
        Err(RequestRefused::KeyUsed),
        "a sealing key of another node"
    );
    let log = request.node.as_ref().unwrap().log.clone();
    let one_key = SigningKey::from_seed(
        witness_key(THERE).verifier().name(),
        KeyType::CosignatureV1,
        *Log::new(THERE, 1).key.seed(),
    );
    let witness = one_key.unwrap().verifier().clone();
    assert_eq!(witness.public(), log.public());
    let with_witness = |request: &mut CertificateRequest| request.node.as_mut().unwrap().witness = witness.clone();
    assert_eq!(
        changed(&with_witness),
        Err(RequestRefused::KeyUsed),
        "one key for two purposes"
    );
    let not_one = Received {
        asked: Public::Categories(CategoriesRequest { categories: Vec::new() }),
        ..received.clone()
    };
    assert_eq!(standing().judge(&not_one).map(drop), Err(RequestRefused::Form));
}

#[test]
fn a_member_does_not_enrol_again_and_one_that_left_comes_back_under_a_higher_log_number() {
    let mut world = World::new();
    let (mut log, request) = newcomer(HERE, 1, &Tls::new());
    let again = first(&mut log, request, now());
    let place = place(HERE);
    let none = BTreeSet::new();
    let judge = |world: &World, received: &Received| world.standing(Some(&place), &none).judge(received);
    assert_eq!(judge(&world, &again), Err(RequestRefused::Member));
    let mut registry = world.registry();
    registry.nodes[2].state = NodeState::Left;
    world.register(&registry);
    assert_eq!(judge(&world, &again), Err(RequestRefused::LogNumber));
    let (mut log, request) = newcomer(HERE, 2, &Tls::new());
    let back = first(&mut log, request, now());
    let order = approved(CITY, &confirm(HERE, back.leaf));
    let grant = judge(&world, &back).unwrap().granted(Some(&order)).unwrap();
    registry.nodes[2] = newcomer_row(&grant, registry.node(code(HERE)), now()).unwrap();
    world.register(&registry);
    let key = |number, at| world.trust.at(at).log_key(&origin(HERE, number));
    assert!(key(2, now()).is_ok());
    assert!(key(1, now()).is_err(), "the old machine's key says nothing new");
    assert!(key(1, now().minus(DAY)).is_ok(), "and what it said stays verifiable");
}

#[test]
fn a_member_renews_by_itself_and_returns_by_order_after_long() {
    let mut world = World::new();
    let tls = Tls::new();
    let renewal = world.ask(HERE, Public::Certificate(again(Occasion::Renewal, HERE, &tls)));
    let back = world.ask(HERE, Public::Certificate(again(Occasion::Return, HERE, &tls)));
    let none = BTreeSet::new();
    let judge = |received: &Received, expires: Option<Time>| {
        let standing = Standing {
            expires,
            ..world.standing(None, &none)
        };
        standing.judge(received)
    };
    let (ahead, behind, long_ago) = (now().plus(DAY), now().minus(DAY), now().minus(DAY * 91));
    let grant = judge(&renewal, Some(ahead)).unwrap().granted(None).unwrap();
    assert_eq!(
        grant.hosts(),
        [format!("node-{HERE}.example")],
        "the registry's addresses, whatever it wishes for"
    );
    assert_eq!(
        grant.orders().iter().copied().collect::<Vec<_>>(),
        [Hash::of(b"the order behind it")]
    );
    assert_eq!(judge(&renewal, Some(behind)), Err(RequestRefused::Expired));
    assert_eq!(judge(&back, Some(ahead)), Err(RequestRefused::NotExpired));
    assert_eq!(judge(&back, Some(behind)).unwrap().needs(), None);
    let judged = judge(&back, Some(long_ago)).unwrap();
    assert_eq!(judged.needs(), Some(ActionKind::Return));
    assert_eq!(judged.clone().granted(None), Err(RequestRefused::Order));
    let order = approved(
        CITY,
        &Action::Return {
            code: code(HERE),
            request: back.leaf,
        },
    );
    assert!(judged.granted(Some(&order)).unwrap().orders().contains(&order.hash()));
    let unneeded = judge(&renewal, Some(ahead)).unwrap().granted(Some(&order));
    assert_eq!(
        unneeded,
        Err(RequestRefused::Order),
        "an order about something else is never passed over"
    );
}

#[test]
fn who_is_suspended_revoked_or_gone_gets_nothing() {
    let mut world = World::new();
    let renewal = world.ask(HERE, Public::Certificate(again(Occasion::Renewal, HERE, &Tls::new())));
    let judge = |world: &World| world.standing(None, &BTreeSet::new()).judge(&renewal).map(drop);
    assert_eq!(judge(&world), Ok(()));
    world.revoke_one(RevokedWhat::Suspended, HERE, None);
    assert_eq!(judge(&world), Err(RequestRefused::Suspended));
    world.revoke_one(RevokedWhat::Suspended, CITY, None);
    assert_eq!(judge(&world), Err(RequestRefused::Suspended), "what stands above it");
    world.revoke_one(RevokedWhat::Node, HERE, None);
    assert_eq!(judge(&world), Err(RequestRefused::Revoked));
    world.revoke(Vec::new());
    let mut registry = world.registry();
    registry.nodes[2].state = NodeState::Left;
    world.register(&registry);
    assert_eq!(judge(&world), Err(RequestRefused::NotMember));
    registry.nodes.pop();
    world.register(&registry);
    assert_eq!(judge(&world), Err(RequestRefused::NotMember));
}

#[test]
fn a_newcomers_run_is_its_logs_first_entry_under_the_key_that_it_names() {
    let (mut log, request) = newcomer(THERE, 1, &Tls::new());
    let index = log.say(Public::Certificate(request.clone()), Some(CITY), now());
    let good = log.run(index, log.checkpoint(&[], now()));
    assert!(verify_first(good.clone()).is_ok());
    let (mut stranger, _) = newcomer(THERE, 1, &Tls::new());
    stranger.key = SigningKey::generate(stranger.key.verifier().name(), KeyType::Ed25519).unwrap();
    stranger.say(Public::Certificate(request.clone()), Some(CITY), now());
    assert!(
        verify_first(stranger.run(0, stranger.checkpoint(&[], now()))).is_err(),
        "another key signed"
    );
    let twice = UnverifiedRun {
        statements: [good.statements.clone(), good.statements.clone()].concat(),
        ..good.clone()
    };
    assert!(verify_first(twice).is_err());
    let second = log.say(Public::Certificate(request), Some(CITY), now());
    assert!(
        verify_first(log.run(second, log.checkpoint(&[], now()))).is_err(),
        "not the first entry"
    );
    let moved = UnverifiedRun {
        origin: origin(THERE, 2),
        ..good.clone()
    };
    assert!(verify_first(moved).is_err(), "another log");
    let mut member = Log::new(HERE, 1);
    member.say(
        Public::Certificate(again(Occasion::Renewal, HERE, &Tls::new())),
        Some(CITY),
        now(),
    );
    assert!(
        verify_first(member.run(0, member.checkpoint(&[], now()))).is_err(),
        "it introduces nobody"
    );
    let changed = UnverifiedRun {
        checkpoint: Arc::new(member.checkpoint(&[], now())),
        ..good
    };
    assert!(verify_first(changed).is_err());
}

#[test]
fn places_are_opened_below_the_centre_alone() {
    let open = |executor: &str, codes: &[&str]| {
        let codes = codes.iter().map(|of| code(of)).collect();
        Place::opened_by(&approved(executor, &Action::OpenPlaces { codes }), now())
    };
    assert_eq!(open(CITY, &[HERE, THERE]).unwrap().len(), 2);
    assert_eq!(open(PROVINCE, &[PROVINCE, CITY, HERE]).unwrap().len(), 3);
    assert_eq!(open(CITY, &["420500", HERE]), Err(RequestRefused::Addressee));
    assert_eq!(open(CITY, &[PROVINCE]), Err(RequestRefused::Addressee));
    let other = approved(CITY, &Action::Suspend { code: code(HERE) });
    assert_eq!(Place::opened_by(&other, now()), Err(RequestRefused::Order));
    assert_eq!(open(CITY, &[HERE]).unwrap()[0].until, now().plus(DAY * 30));
}

#[test]
fn other_requests_change_the_row_and_nothing_else() {
    let mut world = World::new();
    let before = world.registry();
    let row = before.node(code(HERE)).unwrap().clone();
    let mut revised = |public: Public| {
        let received = world.ask(HERE, public);
        revised_row(&before, &received, code(CITY), now())
    };
    let sealing = SealingKey::new([77; 32]).public().unwrap();
    let new = revised(Public::Sealing(SealingRequest { sealing })).unwrap();
    assert_eq!(new.sealing_keys.len(), 2);
    assert_eq!(
        NodeRow {
            sealing_keys: row.sealing_keys.clone(),
            ..new
        },
        row
    );
    let witness = SigningKey::generate(witness_key(HERE).verifier().name(), KeyType::CosignatureV1).unwrap();
    let witness = witness.verifier().clone();
    let new = revised(Public::Witness(WitnessRequest { witness })).unwrap();
    assert_eq!(
        NodeRow {
            witness_keys: row.witness_keys.clone(),
            ..new
        },
        row
    );
    let endpoints = vec!["10.9.9.9:7443".to_owned()];
    let new = revised(Public::Endpoints(EndpointsRequest {
        endpoints: endpoints.clone(),
    }))
    .unwrap();
    assert_eq!(new.endpoints, endpoints);
    let categories = vec!["employment".parse().unwrap()];
    let new = revised(Public::Categories(CategoriesRequest { categories })).unwrap();
    assert_eq!(
        NodeRow {
            categories: Vec::new(),
            ..new
        },
        row
    );
    let used = row.sealing_keys[0].key;
    assert_eq!(
        revised(Public::Sealing(SealingRequest { sealing: used })),
        Err(RequestRefused::KeyUsed)
    );
    let renewal = Public::Certificate(again(Occasion::Renewal, HERE, &Tls::new()));
    assert_eq!(revised(renewal), Err(RequestRefused::Form));
    let received = world.ask(HERE, Public::Sealing(SealingRequest { sealing }));
    let mut left = before.clone();
    left.nodes[2].state = NodeState::Left;
    assert_eq!(
        revised_row(&left, &received, code(CITY), now()),
        Err(RequestRefused::NotMember)
    );
    assert_eq!(
        revised_row(&before, &received, code(PROVINCE), now()),
        Err(RequestRefused::Addressee)
    );
    let mut many = before;
    many.nodes[2].sealing_keys = (0..32)
        .map(|at: u8| {
            let mut key = row.sealing_keys[0].clone();
            key.key = SealingKey::new([100 + at; 32]).public().unwrap();
            key
        })
        .collect();
    assert_eq!(
        revised_row(&many, &received, code(CITY), now()),
        Err(RequestRefused::TooManyKeys)
    );
}

/// A centre's request for an authority, to whom it is addressed.
pub(crate) fn authority_request(world: &mut World, of: &str, tls: &Tls) -> Received {
    let name = sanku_federation_protocol::notes::name::revoked(&crate::fixture::federation(), code(of));
    let notes = SigningKey::generate(&name, KeyType::Ed25519).unwrap();
    let mut received = world.ask(
        of,
        Public::Authority(AuthorityRequest {
            authority: tls.spki,
            possession: tls.possession(&origin(of, 1)),
            notes: notes.verifier().clone(),
        }),
    );
    received.to = code(PROVINCE);
    received
}

#[test]
fn a_citys_authority_is_prepared_by_order_of_its_province_with_these_very_keys() {
    let mut world = World::new();
    let tls = Tls::new();
    let received = authority_request(&mut world, CITY, &tls);
    let order = |step, request, executor: &str| {
        let code = code(CITY);
        approved(executor, &Action::RotateAuthority { code, step, request })
    };
    let good = order(RotationStep::Prepare, Some(received.leaf), PROVINCE);
    let judge = |received: &Received, order: &Approved| {
        AuthorityGrant::judge(received, order, (code(PROVINCE), &world.trust), now())
    };
    let grant = judge(&received, &good).unwrap();
    assert_eq!(
        (grant.code(), *grant.key(), grant.order()),
        (code(CITY), tls.spki, good.hash())
    );
    for bad in [
        order(RotationStep::Prepare, Some(Hash::of(b"another")), PROVINCE),
        order(RotationStep::Prepare, Some(received.leaf), CITY),
        order(RotationStep::Retire, None, PROVINCE),
        approved(PROVINCE, &Action::Suspend { code: code(CITY) }),
    ] {
        assert_eq!(judge(&received, &bad), Err(RequestRefused::Order));
    }
    let moved = Received {
        log: origin(HERE, 1),
        ..received.clone()
    };
    assert_eq!(
        judge(&moved, &good),
        Err(RequestRefused::Addressee),
        "a district has none"
    );
    let old = Received {
        time: now().minus(DAY * 8),
        ..received.clone()
    };
    assert_eq!(judge(&old, &good), Err(RequestRefused::Old));
    let mut unproven = received.clone();
    let Public::Authority(request) = &mut unproven.asked else {
        panic!()
    };
    request.authority = Tls::new().spki;
    assert_eq!(judge(&unproven, &good), Err(RequestRefused::Possession));
    let mut known = received;
    let Public::Authority(request) = &mut known.asked else {
        panic!()
    };
    request.notes = world.delegation().authorities[1].key.clone();
    assert_eq!(judge(&known, &good), Err(RequestRefused::KeyUsed));
}

#[test]
fn refusals_have_codes_of_their_own_and_are_documented() {
    let codes: BTreeSet<_> = RequestRefused::ALL.iter().map(|refused| refused.code()).collect();
    assert_eq!(codes.len(), RequestRefused::ALL.len());
    let document = include_str!("../../FORMATS.md");
    for refused in RequestRefused::ALL {
        let row = format!("| `{}` | {refused} |", refused.code());
        assert!(document.contains(&row), "{row}");
    }
}
