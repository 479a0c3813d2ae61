//! Proofs of issuance: what holds is accepted, and nobody makes a certificate in secret.

use proptest::prelude::*;
use sanku_federation_protocol::acts::Serial;
use sanku_federation_protocol::notes::RevokedWhat;
use sanku_federation_protocol::problem::ProblemKind;

use super::*;
use crate::fixture::{CITY, DAY, HERE, PROVINCE, Tls, World, code, federation, now, witness_key};
use crate::profile::{self, Issued};
use crate::verify::{PeerIdentity, Role, judge_chain};

struct Certified {
    world: World,
    leaf: Vec<u8>,
    issue: CertificateIssue,
    proof: IssuanceProof,
}

/// A member's certificate, issued as it should be.
fn certified() -> Certified {
    let mut world = World::new();
    let grant = world.renewal(HERE, &Tls::new());
    let issuer = world.issuer(CITY);
    let issue = issuer.plan(&grant, now(), DAY * 30).unwrap();
    let proof = world.proof(CITY, &issue, &[&witness_key(PROVINCE)]);
    let leaf = issuer.issue(&grant, &proof, &world.trust).unwrap();
    Certified {
        world,
        leaf,
        issue,
        proof,
    }
}

impl Certified {
    fn judge(&self, leaf: &[u8], demand: Demand) -> Result<PeerIdentity, Refused> {
        let chain = self.world.chain(leaf, CITY);
        judge_chain(&chain, Role::Server, demand, &self.world.trust, now())
    }

    /// The certificate of this issuance, made with the authority's key and whatever proof.
    fn made(&self, issue: &CertificateIssue, proof: Option<rcgen::CustomExtension>) -> Vec<u8> {
        let life = (issue.not_before, issue.not_after);
        let mut params = profile::leaf_params(&federation(), issue.code, &[], issue.serial, life).unwrap();
        params.custom_extensions.extend(proof);
        let city = &self.world.authorities[&code(CITY)];
        let city = Issued {
            key: city.key.clone(),
            certificate: city.certificate.clone(),
        };
        profile::issue(&params, &Tls::new().pkcs8, &city).unwrap().certificate
    }
}

fn why(result: Result<PeerIdentity, Refused>) -> &'static str {
    result.unwrap_err().reason.code()
}

#[test]
fn a_certificate_that_its_authority_announced_is_accepted() {
    let this = certified();
    for demand in [Demand::IfThere, Demand::Always] {
        let peer = this.judge(&this.leaf, demand).unwrap();
        assert_eq!((peer.code, peer.serial), (code(HERE), this.issue.serial.to_string()));
    }
    let judged = this.proof.judge(code(CITY), &this.world.trust).unwrap();
    assert_eq!((judged.issue, judged.witnessed), (this.issue.clone(), now()));
    let mut world = this.world;
    world.revoke_one(RevokedWhat::Certificate, HERE, Some(this.issue.serial.to_string()));
    let chain = world.chain(&this.leaf, CITY);
    let revoked = judge_chain(&chain, Role::Client, Demand::Always, &world.trust, now());
    assert_eq!(revoked.unwrap_err().problem(), ProblemKind::Revoked);
}

#[test]
fn a_certificate_made_in_secret_is_refused_once_proofs_are_demanded() {
    let this = certified();
    let secret = this.made(&this.issue, None);
    assert!(this.judge(&secret, Demand::IfThere).is_ok());
    assert_eq!(why(this.judge(&secret, Demand::Always)), "no_issuance_proof");
    // With the proof of another certificate: its key is another.
    let borrowed = this.made(&this.issue, Some(this.proof.extension()));
    assert_eq!(why(this.judge(&borrowed, Demand::IfThere)), "issuance_differs");
}

#[test]
fn a_proof_says_what_its_certificate_says_in_every_field() {
    let mut this = certified();
    let tls = Tls::new();
    let issue = CertificateIssue {
        key: tls.spki.hash(),
        ..this.issue.clone()
    };
    let second = std::time::Duration::from_secs(1);
    type Change = fn(&mut CertificateIssue);
    let changes: [(&str, Change); 5] = [
        ("nothing", |_| {}),
        ("code", |issue| issue.code = code(CITY)),
        ("serial", |issue| issue.serial = Serial::from_random([1; 16])),
        ("first second", |issue| {
            issue.not_before = issue.not_before.minus(std::time::Duration::from_secs(1))
        }),
        ("last second", |issue| {
            issue.not_after = issue.not_after.plus(std::time::Duration::from_secs(1))
        }),
    ];
    for (what, change) in changes {
        let mut said = issue.clone();
        change(&mut said);
        let proof = this.world.proof(CITY, &said, &[&witness_key(PROVINCE)]);
        let life = (issue.not_before, issue.not_after);
        let mut params = profile::leaf_params(&federation(), issue.code, &[], issue.serial, life).unwrap();
        params.custom_extensions.push(proof.extension());
        let leaf = profile::issue(&params, &tls.pkcs8, &this.world.authorities[&code(CITY)]).unwrap();
        let judged = this.judge(&leaf.certificate, Demand::Always);
        match what {
            "nothing" => assert!(judged.is_ok()),
            _ => {
                let refused = judged.unwrap_err();
                assert_eq!(refused.reason, Reason::IssuanceDiffers, "{what}");
                assert!(refused.detail.ends_with(what), "{refused}");
            }
        }
    }
    assert!(issue.not_before.plus(second) < issue.not_after);
}

#[test]
fn only_the_cosignature_that_counts_counts() {
    let mut this = certified();
    let own = witness_key(CITY);
    let below = witness_key(HERE);
    let nobody: [&[&sanku_tlog::SigningKey]; 3] = [&[], &[&own], &[&below, &own]];
    for cosigners in nobody {
        let proof = this.world.proof(CITY, &this.issue.clone(), cosigners);
        let refused = proof.judge(code(CITY), &this.world.trust).unwrap_err();
        assert_eq!(refused.reason, Reason::IssuanceProof, "{refused}");
    }
    let root = SigningKeyOf::root(&this.world);
    let proof = this.world.proof(CITY, &this.issue.clone(), &[&root]);
    assert!(
        proof.judge(code(CITY), &this.world.trust).is_err(),
        "the root cosigns for the province alone"
    );
}

struct SigningKeyOf;

impl SigningKeyOf {
    fn root(world: &World) -> sanku_tlog::SigningKey {
        let witness = &world.root.witness;
        let kind = sanku_tlog::KeyType::CosignatureV1;
        sanku_tlog::SigningKey::from_seed(witness.verifier().name(), kind, *witness.seed()).unwrap()
    }
}

#[test]
fn a_province_that_nobody_can_witness_yet_has_the_roots_cosignature() {
    let mut this = certified();
    let root = SigningKeyOf::root(&this.world);
    let issue = CertificateIssue {
        code: code(PROVINCE),
        ..this.issue.clone()
    };
    let by_root = this.world.proof(PROVINCE, &issue, &[&root]);
    assert!(by_root.judge(code(PROVINCE), &this.world.trust).is_ok());
    let by_city = this.world.proof(PROVINCE, &issue, &[&witness_key(CITY)]);
    assert!(
        by_city.judge(code(PROVINCE), &this.world.trust).is_ok(),
        "all its cities are more than half"
    );
    let by_itself = this.world.proof(PROVINCE, &issue, &[&witness_key(PROVINCE)]);
    assert!(by_itself.judge(code(PROVINCE), &this.world.trust).is_err());
}

#[test]
fn f16_a_proof_is_judged_by_the_authoritys_log_key_as_it_was_when_it_was_cosigned() {
    let mut this = certified();
    let key = this.world.logs[&code(CITY)].key.verifier().to_string();
    let mut registry = this.world.registry();
    registry.nodes[1].logs[0].until = now().minus(DAY);
    this.world.register(&registry);
    let refused = this.proof.judge(code(CITY), &this.world.trust).unwrap_err();
    assert!(refused.detail.contains("not_in_force"), "{refused}");
    registry.nodes[1].logs[0].until = now().plus(DAY);
    this.world.register(&registry);
    assert!(this.proof.judge(code(CITY), &this.world.trust).is_ok());
    this.world.revoke_one(RevokedWhat::Key, CITY, Some(key));
    assert!(
        this.proof.judge(code(CITY), &this.world.trust).is_err(),
        "revoked the day before"
    );
}

#[test]
fn another_logs_entry_proves_nothing() {
    let this = certified();
    let refused = this.proof.judge(code(PROVINCE), &this.world.trust).unwrap_err();
    assert!(refused.detail.contains("another log"), "{refused}");
    let other = World::new();
    assert!(
        this.proof.judge(code(CITY), &other.trust).is_ok(),
        "the fixture's logs have fixed keys"
    );
    let order = Public::Order(sanku_federation_protocol::acts::OrderExecuted {
        order: Hash::of(b"an order"),
        ordered: "revoke".parse().unwrap(),
    });
    let mut world = this.world;
    let log = world.logs.get_mut(&code(CITY)).unwrap();
    let index = log.say(order, None, now());
    let run = log.run(index, log.checkpoint(&[&witness_key(PROVINCE)], now()));
    let run = run.verify(&world.trust.at(now())).unwrap();
    let refused = IssuanceProof::of(&run, 0)
        .unwrap()
        .judge(code(CITY), &world.trust)
        .unwrap_err();
    assert!(refused.detail.contains("issues nothing"), "{refused}");
    assert_eq!(IssuanceProof::of(&run, 1), None);
}

#[test]
fn a_proof_has_one_spelling_and_no_changed_octet_holds() {
    let this = certified();
    let text = this.proof.text();
    assert_eq!(IssuanceProof::parse(&text).as_ref(), Some(&this.proof));
    for at in 0..text.len() {
        for bit in [1, 4] {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= bit;
            let Ok(changed) = String::from_utf8(changed) else {
                continue;
            };
            let holds =
                IssuanceProof::parse(&changed).is_some_and(|proof| proof.judge(code(CITY), &this.world.trust).is_ok());
            assert!(!holds, "octet {at}");
        }
    }
    for bad in [
        text.trim_end().to_owned(),
        format!("{text}\n"),
        format!("{text}P x\n"),
        String::new(),
    ] {
        assert_eq!(IssuanceProof::parse(&bad), None);
    }
}

#[test]
fn an_extension_that_is_critical_or_cannot_be_read_is_refused_where_none_is_demanded() {
    let this = certified();
    let mut critical = this.proof.extension();
    critical.set_criticality(true);
    let refused = this
        .judge(&this.made(&this.issue, Some(critical)), Demand::IfThere)
        .unwrap_err();
    // Whoever knows no such extension must refuse it, too.
    assert_eq!(refused.reason, Reason::CriticalExtension);
    let text = this.proof.text();
    let contents = [
        vec![0x0c, 0],
        vec![5, 0],
        text.clone().into_bytes(),
        [&[0x0c, 0x83, 0, 0, 1], text.as_bytes()].concat(),
        [&[0x0c, 0x84, 0xff, 0xff, 0xff, 0xff], text.as_bytes()].concat(),
    ];
    for content in contents {
        let extension = rcgen::CustomExtension::from_oid_content(EXTENSION, content);
        let refused = this.judge(&this.made(&this.issue, Some(extension)), Demand::IfThere);
        assert_eq!(why(refused), "issuance_proof");
    }
}

proptest! {
    #[test]
    fn lengths_are_written_as_der_says(length in 0_usize..1 << 20) {
        let octets = der_length(length);
        let read = match octets[0] {
            short @ 0..0x80 => usize::from(short),
            long => octets[1..].iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)) + usize::from(long - 0x80 != octets.len() as u8 - 1),
        };
        prop_assert_eq!(read, length);
        prop_assert!(octets.len() == 1 || length >= 0x80 && octets[1] != 0);
    }

    #[test]
    fn no_extension_makes_the_reader_stumble(text in "[CEP 0-9a-zA-Z+/=\n{}\":.]{0,400}", octets: Vec<u8>) {
        prop_assert_eq!(IssuanceProof::parse(&text), None);
        if let Some(text) = utf8_string(&octets) {
            prop_assert_eq!(IssuanceProof::parse(text), None);
        }
    }
}
