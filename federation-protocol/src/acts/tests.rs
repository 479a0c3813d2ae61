//! Public parts: each reads back as itself, stands with its own action alone, and keeps its limits. `vectors/acts.json` holds
//! what another implementation must agree with.

use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use super::*;
use crate::entry::{Entry, Said};
use crate::fixture::{CITY, HERE, category, code, days, federation, key, minute, witness_key};
use crate::seal::SealingKey;

fn origin() -> Origin {
    Origin {
        federation: federation(),
        node: code(HERE),
        number: 1,
    }
}

/// A key of P-256, and that it is had.
fn tls() -> (Spki, Possession) {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let der = [&keys::P256[..26], pair.public_key().as_ref()].concat();
    let spki = Spki::from_der(&der).unwrap();
    let signature = pair.sign(&random, &spki.possession_message(&origin())).unwrap();
    (spki, Possession::new(signature.as_ref()).unwrap())
}

fn newcomer() -> Newcomer {
    Newcomer {
        name: "沙市区核对中心".to_owned(),
        endpoints: vec!["node.shashi.example:7443".to_owned(), "[2001:db8::1]:7443".to_owned()],
        categories: vec![category("employment"), category("real_estate")],
        formats: vec![1],
        log: key(&format!("node/{HERE}/1"), 50).verifier().clone(),
        witness: witness_key(&HERE.to_string(), 51).verifier().clone(),
        sealing: SealingKey::new([52; 32]).public().unwrap(),
    }
}

fn first() -> CertificateRequest {
    let (tls, possession) = tls();
    CertificateRequest {
        occasion: Occasion::First,
        tls,
        possession,
        node: Some(newcomer()),
    }
}

fn renewal() -> CertificateRequest {
    CertificateRequest {
        occasion: Occasion::Renewal,
        node: None,
        ..first()
    }
}

fn issue() -> CertificateIssue {
    CertificateIssue {
        code: code(HERE),
        key: Hash::of(b"a key"),
        serial: Serial::from_random([0xff; 16]),
        not_before: minute(0).minus(std::time::Duration::from_millis(
            minute(0).millis().unsigned_abs() % 1000,
        )),
        not_after: days(30),
        request: Hash::of(b"a request"),
        orders: vec![Hash::of(b"an order")],
    }
}

/// One of each.
fn every() -> Vec<Public> {
    vec![
        Public::Certificate(first()),
        Public::Authority(AuthorityRequest {
            authority: tls().0,
            possession: tls().1,
            notes: key(&format!("revoked/{HERE}"), 53).verifier().clone(),
        }),
        Public::Sealing(SealingRequest {
            sealing: SealingKey::new([54; 32]).public().unwrap(),
        }),
        Public::Witness(WitnessRequest {
            witness: witness_key(&HERE.to_string(), 55).verifier().clone(),
        }),
        Public::Endpoints(EndpointsRequest {
            endpoints: vec!["10.1.2.3:7443".to_owned()],
        }),
        Public::Categories(CategoriesRequest {
            categories: vec![category("employment")],
        }),
        Public::Issue(issue()),
        Public::Order(OrderExecuted {
            order: Hash::of(b"an order"),
            ordered: "node.suspend".parse().unwrap(),
        }),
    ]
}

fn entry(public: Public) -> Entry {
    let to = public.is_request().then(|| code(CITY));
    Entry {
        log: origin(),
        time: minute(0),
        id: "019a0000-0000-7000-8000-000000000001".parse().unwrap(),
        body: Hash::of(b"a body"),
        said: Said::Act(public.entry(code(HERE), to)),
    }
}

fn value(public: Public) -> Value {
    serde_json::from_slice(&entry(public).line()).unwrap()
}

fn reads(value: &Value) -> bool {
    Entry::parse(serde_json::to_string(value).unwrap().as_bytes()).is_ok()
}

#[test]
fn every_public_part_reads_back_as_itself() {
    assert_eq!(every().len(), Public::ACTIONS.len());
    for (public, action) in every().into_iter().zip(Public::ACTIONS) {
        assert_eq!(public.action(), *action);
        let said = entry(public.clone());
        let line = said.line();
        let read = Entry::parse(&line).unwrap();
        assert_eq!(read, said, "{action}");
        assert_eq!(read.line(), line, "{action}");
    }
}

#[test]
fn a_public_part_stands_with_its_own_action_alone() {
    for (here, public) in every().into_iter().enumerate() {
        let good = value(public.clone());
        for (there, action) in Public::ACTIONS.iter().chain(&["import"]).enumerate() {
            let mut changed = good.clone();
            changed["action"] = json!(action);
            assert_eq!(reads(&changed), here == there, "{} as {action}", public.action());
        }
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove("public");
        assert!(!reads(&without), "{} without", public.action());
        let mut null = good.clone();
        null["public"] = Value::Null;
        assert!(!reads(&null));
        let mut addressed = good.clone();
        if public.is_request() {
            addressed.as_object_mut().unwrap().remove("to");
        } else {
            addressed["to"] = json!("421000");
        }
        assert!(!reads(&addressed), "{}: to", public.action());
        for member in good["public"].as_object().unwrap().keys() {
            let mut lacking = good.clone();
            lacking["public"].as_object_mut().unwrap().remove(member);
            assert!(!reads(&lacking), "{} without {member}", public.action());
            let mut more = good.clone();
            more["public"]["more"] = json!(1);
            assert!(!reads(&more));
        }
    }
}

/// Entries that are none, each for one thing.
fn broken() -> Vec<(&'static str, Value)> {
    let first = value(Public::Certificate(first()));
    let changed = |pointer: &str, to: Value| {
        let mut changed = first.clone();
        *changed.pointer_mut(pointer).unwrap() = to;
        changed
    };
    let long = |length: usize| json!("县".repeat(length));
    let endpoints = |count: usize| json!((0..count).map(|at| format!("10.0.0.{at}:7443")).collect::<Vec<_>>());
    let other_name = |name: &str| json!(key(name, 60).verifier());
    let issued = value(Public::Issue(issue()));
    let issued_with = |member: &str, to: Value| {
        let mut changed = issued.clone();
        changed["public"][member] = to;
        changed
    };
    let mut many: Vec<_> = (0..17).map(|at: u8| Hash::of(&[at])).collect();
    many.sort();
    let mut renewal = value(Public::Certificate(renewal()));
    let renewal_with = {
        renewal["public"]["node"] = first["public"]["node"].clone();
        renewal
    };
    let spki = |change: fn(&mut Vec<u8>)| {
        use base64::Engine as _;
        let mut der = tls().0.der().to_vec();
        change(&mut der);
        json!(base64::engine::general_purpose::STANDARD.encode(der))
    };
    vec![
        ("a renewal that introduces the node", renewal_with),
        ("another occasion", changed("/public/occasion", json!("again"))),
        ("no name", changed("/public/node/name", json!(" "))),
        ("a name of two lines", changed("/public/node/name", json!("一\n二"))),
        ("a name too long", changed("/public/node/name", long(101))),
        ("no endpoint", changed("/public/node/endpoints", json!([]))),
        ("too many endpoints", changed("/public/node/endpoints", endpoints(9))),
        (
            "an endpoint twice",
            changed("/public/node/endpoints", json!(["a:1", "a:1"])),
        ),
        (
            "an endpoint without a port",
            changed("/public/node/endpoints", json!(["a"])),
        ),
        (
            "categories that do not rise",
            changed("/public/node/categories", json!(["b", "a"])),
        ),
        ("no format", changed("/public/node/formats", json!([]))),
        (
            "formats that do not rise",
            changed("/public/node/formats", json!([2, 1])),
        ),
        (
            "a log's key of another log",
            changed("/public/node/log", other_name(&format!("node/{HERE}/2"))),
        ),
        (
            "a log's key of another node",
            changed("/public/node/log", other_name(&format!("node/{CITY}/1"))),
        ),
        (
            "a witness key of another type",
            changed("/public/node/witness", other_name(&format!("witness/{HERE}"))),
        ),
        (
            "a witness key of another node",
            changed("/public/node/witness", json!(witness_key("421000", 61).verifier())),
        ),
        (
            "a key of another curve",
            changed("/public/tls", spki(|der| der[21] = 0x22)),
        ),
        ("a compressed point", changed("/public/tls", spki(|der| der[26] = 2))),
        ("a key cut short", changed("/public/tls", spki(|der| der.truncate(90)))),
        ("a key that goes on", changed("/public/tls", spki(|der| der.push(0)))),
        ("an empty signature", changed("/public/possession", json!(""))),
        (
            "a long signature",
            changed("/public/possession", json!("A".repeat(100))),
        ),
        ("a serial of noughts", issued_with("serial", json!("00".repeat(16)))),
        ("a negative serial", issued_with("serial", json!("80".repeat(16)))),
        ("a serial in capitals", issued_with("serial", json!("7F".repeat(16)))),
        ("a short serial", issued_with("serial", json!("7f".repeat(15)))),
        (
            "a part of a second",
            issued_with("not_after", json!("2027-01-01T00:00:00.001Z")),
        ),
        (
            "a life that ends before it begins",
            issued_with("not_after", json!("2020-01-01T00:00:00.000Z")),
        ),
        ("too many orders", issued_with("orders", json!(many))),
        (
            "orders that do not rise",
            issued_with("orders", json!([many[1], many[0]])),
        ),
    ]
}

#[test]
fn what_is_outside_its_limits_is_refused() {
    for (what, value) in broken() {
        assert!(!reads(&value), "{what}");
    }
    let mut most = issue();
    most.orders = (0..16).map(|at: u8| Hash::of(&[at])).collect();
    most.orders.sort();
    assert!(reads(&value(Public::Issue(most))));
    let request = |endpoints| value(Public::Endpoints(EndpointsRequest { endpoints }));
    assert!(reads(&request((0..8).map(|at| format!("10.0.0.{at}:7443")).collect())));
}

#[test]
fn possession_of_a_key_is_shown_for_one_log() {
    let request = first();
    assert!(request.possession.holds(&request.tls, &origin()));
    let other = Origin { number: 2, ..origin() };
    assert!(!request.possession.holds(&request.tls, &other), "another log");
    assert!(!request.possession.holds(&tls().0, &origin()), "another key");
    assert!(!tls().1.holds(&request.tls, &origin()), "another's signature");
}

#[test]
fn endpoints_are_hosts_with_a_port() {
    assert_eq!(split_endpoint("[::1]:7443"), Some(("::1", 7443)));
    assert_eq!(split_endpoint("a.example:1"), Some(("a.example", 1)));
    for bad in [
        "",
        "a",
        ":1",
        "a:0",
        "a:65536",
        "::1:1",
        "[::1:1",
        "a b:1",
        "http://a:1/",
        "a:1:2",
    ] {
        assert_eq!(split_endpoint(bad), None, "{bad}");
    }
}

/// Possession is signed with random bits: what is written already is kept while it holds.
#[test]
fn the_vectors_of_acts_hold() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/acts.json");
    let written: Value = std::fs::read(&path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    if std::env::var_os("SANKU_WRITE_VECTORS").is_some() {
        let good = every().into_iter().map(|public| json!({ "name": public.action(), "verdict": "valid", "entry": String::from_utf8(entry(public).line()).unwrap() }));
        let bad = broken()
            .into_iter()
            .map(|(name, value)| json!({ "name": name, "verdict": "invalid", "entry": value.to_string() }));
        let vectors: Vec<_> = good.chain(bad).collect();
        std::fs::write(
            &path,
            serde_json::to_string_pretty(&json!({ "vectors": vectors })).unwrap() + "\n",
        )
        .unwrap();
        return;
    }
    let vectors = written["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), every().len() + broken().len());
    for vector in vectors {
        let valid = Entry::parse(vector["entry"].as_str().unwrap().as_bytes()).is_ok();
        assert_eq!(valid, vector["verdict"] == "valid", "{}", vector["name"]);
    }
}

proptest! {
    #[test]
    fn a_changed_line_is_refused_or_reads_as_what_it_writes(which in 0_usize..8, at in 0_usize..2000, to: u8) {
        static LINES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
        let lines = LINES.get_or_init(|| every().into_iter().map(|public| entry(public).line()).collect());
        let mut line = lines[which].clone();
        let at = at % line.len();
        line[at] = to;
        if let Ok(read) = Entry::parse(&line) {
            prop_assert_eq!(Entry::parse(&read.line()).unwrap(), read);
        }
    }

    #[test]
    fn keys_and_serials_have_one_spelling(text in "[0-9a-zA-Z+/=]{0,140}", octets: [u8; 16]) {
        for written in [text.parse::<Spki>().map(|key| key.to_string()), text.parse::<Serial>().map(|serial| serial.to_string()), text.parse::<Possession>().map(|proof| proof.to_string())].into_iter().flatten() {
            prop_assert_eq!(&written, &text);
        }
        let serial = Serial::from_random(octets);
        prop_assert_eq!(serial.to_string().parse::<Serial>(), Ok(serial));
    }
}
