//! A federation by hand, for tests: a province with its authority, a city with its own, two districts, each with a log and
//! witnesses; people who sign orders.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::CertificateDer;
use sanku_federation_protocol::acts::{CertificateRequest, Newcomer, Occasion, Possession, Public, Spki};
use sanku_federation_protocol::body::{ActBody, Body, Salt};
use sanku_federation_protocol::entry::{Draft, Said};
use sanku_federation_protocol::names::{Origin, StatementId};
use sanku_federation_protocol::notes::{
    Authority, Delegate, Delegation, LogRow, NodeRow, NodeState, Registry, Revoked, RevokedRow, RevokedWhat, Root,
    SealingRow, name, sign,
};
use sanku_federation_protocol::people::{
    Action, Approved, Order, People, Person, PersonRole, judge_order, person_name,
};
use sanku_federation_protocol::seal::SealingKey;
use sanku_federation_protocol::statement::{BodyPart, Statement, UnverifiedRun};
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::checkpoint::cosign;
use sanku_tlog::{Checkpoint, Hash, KeyType, SignedNote, SigningKey, leaf_hash, node_hash, run_proof};
use sanku_values::{DivisionCode, FederationName, Time};
use zeroize::Zeroizing;

use crate::custodians::RootKeys;
use crate::issuance::IssuanceProof;
use crate::issuer::Issuer;
use crate::profile::{self, Issued};
use crate::requests::{Grant, Place, Received, Standing, verify_first};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const PROVINCE: &str = "420000";
pub(crate) const CITY: &str = "421000";
pub(crate) const HERE: &str = "421002";
/// Not enrolled yet.
pub(crate) const THERE: &str = "421003";

pub(crate) fn code(text: &str) -> DivisionCode {
    text.parse().unwrap()
}

pub(crate) fn now() -> Time {
    "2026-03-01T00:00:00.000Z".parse().unwrap()
}

pub(crate) fn federation() -> FederationName {
    "hubei.example".parse().unwrap()
}

fn seeded(name: &str, kind: KeyType) -> SigningKey {
    SigningKey::from_seed(name, kind, *Hash::of(name.as_bytes()).bytes()).unwrap()
}

pub(crate) fn witness_key(of: &str) -> SigningKey {
    seeded(&format!("{}/witness/{of}", federation()), KeyType::CosignatureV1)
}

pub(crate) fn origin(of: &str, number: u32) -> Origin {
    Origin {
        federation: federation(),
        node: code(of),
        number,
    }
}

/// A key of P-256 for TLS.
pub(crate) struct Tls {
    pub(crate) pkcs8: Zeroizing<Vec<u8>>,
    pub(crate) spki: Spki,
    pair: EcdsaKeyPair,
}

impl Tls {
    pub(crate) fn new() -> Self {
        let pkcs8 = profile::node_key().unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &SystemRandom::new()).unwrap();
        let key = rcgen::KeyPair::try_from(pkcs8.as_slice()).unwrap();
        let spki = Spki::from_der(&rcgen::PublicKeyData::subject_public_key_info(&key)).unwrap();
        assert!(spki.der().ends_with(pair.public_key().as_ref()));
        Self { pkcs8, spki, pair }
    }

    pub(crate) fn possession(&self, log: &Origin) -> Possession {
        let signature = self
            .pair
            .sign(&SystemRandom::new(), &self.spki.possession_message(log))
            .unwrap();
        Possession::new(signature.as_ref()).unwrap()
    }
}

/// A node's log, in memory.
pub(crate) struct Log {
    pub(crate) origin: Origin,
    pub(crate) key: SigningKey,
    lines: Vec<(Vec<u8>, Arc<[u8]>)>,
}

fn tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&tree_hash(left), &tree_hash(right))
        }
    }
}

impl Log {
    pub(crate) fn new(of: &str, number: u32) -> Self {
        let origin = origin(of, number);
        Self {
            key: seeded(&origin.to_string(), KeyType::Ed25519),
            origin,
            lines: Vec::new(),
        }
    }

    pub(crate) fn say(&mut self, public: Public, to: Option<&str>, at: Time) -> u64 {
        let body = ActBody {
            salt: Salt::of([7; 16]),
            who: "a1 a2".to_owned(),
            what: "an act".to_owned(),
            purpose: None,
            digest: None,
            about: None,
        };
        let body = body.line().unwrap();
        let draft = Draft {
            id: StatementId::generate(at),
            said: Said::Act(public.entry(self.origin.node, to.map(code))),
            body: Arc::clone(&body),
        };
        self.lines.push((draft.entry(&self.origin, at).0, body));
        self.lines.len() as u64 - 1
    }

    /// The checkpoint over everything, cosigned by these at this time.
    pub(crate) fn checkpoint(&self, cosigners: &[&SigningKey], at: Time) -> SignedNote {
        let leaves: Vec<_> = self.lines.iter().map(|(line, _)| leaf_hash(line)).collect();
        let checkpoint = Checkpoint {
            origin: self.origin.to_string(),
            size: leaves.len() as u64,
            root: tree_hash(&leaves),
        };
        let mut note = checkpoint.sign(&self.key).unwrap();
        for key in cosigners {
            let line = cosign(&note, key, at.millis().unsigned_abs() / 1000).unwrap();
            note.add(line);
        }
        note
    }

    /// One entry as a run.
    pub(crate) fn run(&self, index: u64, checkpoint: SignedNote) -> UnverifiedRun {
        let leaves: Vec<_> = self.lines.iter().map(|(line, _)| leaf_hash(line)).collect();
        let node = |level: u8, index: u64| {
            let (from, to) = ((index << level) as usize, ((index + 1) << level) as usize);
            Ok::<_, sanku_tlog::ProofError>(tree_hash(&leaves[from..to]))
        };
        let (line, body) = &self.lines[index as usize];
        UnverifiedRun {
            checkpoint: Arc::new(checkpoint),
            origin: self.origin.clone(),
            first: index,
            proof: run_proof(index, 1, leaves.len() as u64, node).unwrap(),
            statements: vec![Statement::parse(line, BodyPart::Open(Arc::clone(body))).unwrap()],
        }
    }
}

/// The federation.
pub(crate) struct World {
    pub(crate) root: RootKeys,
    pub(crate) root_certificate: Vec<u8>,
    /// Keys and certificates of authorities.
    pub(crate) authorities: BTreeMap<DivisionCode, Issued>,
    pub(crate) trust: Trust,
    pub(crate) logs: BTreeMap<DivisionCode, Log>,
    number: Time,
}

impl World {
    pub(crate) fn new() -> Self {
        let root = RootKeys::generate(&federation()).unwrap();
        let root_certificate = profile::root_over(&federation(), &root.certificates, now().minus(DAY)).unwrap();
        let by_root = Issued {
            key: root.certificates.clone(),
            certificate: root_certificate.clone(),
        };
        let province = profile::authority(&federation(), code(PROVINCE), &by_root, now().minus(DAY)).unwrap();
        let city = profile::authority(&federation(), code(CITY), &province, now().minus(DAY)).unwrap();
        let trust = Trust::new(federation(), root.fingerprint());
        let mut this = Self {
            root,
            root_certificate,
            authorities: BTreeMap::from([(code(PROVINCE), province), (code(CITY), city)]),
            trust,
            logs: [PROVINCE, CITY, HERE].map(|of| (code(of), Log::new(of, 1))).into(),
            number: now().minus(DAY),
        };
        let content = Root {
            key: this.root.note.verifier().clone(),
            certificates: vec![STANDARD.encode(&this.root_certificate)],
            witness: this.root.witness.verifier().clone(),
        };
        let key = this.root_note_key();
        this.publish(&name::root(&federation()), &content, &key);
        let delegation = this.delegation();
        this.delegate(&delegation);
        let registry = Registry {
            nodes: [PROVINCE, CITY, HERE].map(|of| this.row(of)).into(),
            not_after: now().plus(DAY * 60),
            grace_until: now().plus(DAY * 90),
        };
        this.register(&registry);
        this.revoke(Vec::new());
        this
    }

    fn publish<T: serde::Serialize>(&mut self, name: &str, content: &T, key: &SigningKey) {
        self.number = self.number.plus(Duration::from_millis(1));
        let note = sign(name, self.number, content, key).unwrap();
        self.trust.accept(note.to_string().as_bytes(), now()).unwrap();
    }

    fn root_note_key(&self) -> SigningKey {
        SigningKey::from_seed(
            self.root.note.verifier().name(),
            KeyType::Ed25519,
            *self.root.note.seed(),
        )
        .unwrap()
    }

    pub(crate) fn delegation(&self) -> Delegation {
        let (from, until) = (now().minus(DAY * 2), now().plus(DAY * 300));
        let authorities = self.authorities.iter().map(|(of, issued)| Authority {
            code: *of,
            key: seeded(&name::revoked(&federation(), *of), KeyType::Ed25519)
                .verifier()
                .clone(),
            certificate: STANDARD.encode(&issued.certificate),
            from,
            until,
        });
        Delegation {
            publisher: Delegate {
                key: seeded(&name::registry(&federation()), KeyType::Ed25519)
                    .verifier()
                    .clone(),
                from,
                until,
            },
            authorities: authorities.collect(),
        }
    }

    pub(crate) fn delegate(&mut self, delegation: &Delegation) {
        let key = self.root_note_key();
        self.publish(&name::delegation(&federation()), delegation, &key);
    }

    fn row(&self, of: &str) -> NodeRow {
        let (from, until) = (now().minus(DAY * 2), now().plus(DAY * 300));
        NodeRow {
            code: code(of),
            name: of.to_owned(),
            state: NodeState::Active,
            endpoints: vec![format!("node-{of}.example:7443")],
            logs: vec![LogRow {
                number: 1,
                key: self.logs[&code(of)].key.verifier().clone(),
                from,
                until,
                final_size: None,
            }],
            witness_keys: vec![Delegate {
                key: witness_key(of).verifier().clone(),
                from,
                until,
            }],
            sealing_keys: vec![SealingRow {
                key: SealingKey::new(*Hash::of(of.as_bytes()).bytes()).public().unwrap(),
                from,
                until,
            }],
            categories: Vec::new(),
            formats: vec![1],
            order: Some(Hash::of(b"the order behind it")),
        }
    }

    pub(crate) fn registry(&self) -> Registry {
        self.trust.registry().unwrap().1.as_ref().clone()
    }

    pub(crate) fn register(&mut self, registry: &Registry) {
        let publisher = seeded(&name::registry(&federation()), KeyType::Ed25519);
        self.publish(&name::registry(&federation()), registry, &publisher);
    }

    /// The province's list of revocations.
    pub(crate) fn revoke(&mut self, rows: Vec<RevokedRow>) {
        let name = name::revoked(&federation(), code(PROVINCE));
        let list = Revoked {
            next: now().plus(DAY),
            rows,
        };
        let key = seeded(&name, KeyType::Ed25519);
        self.publish(&name, &list, &key);
    }

    pub(crate) fn revoke_one(&mut self, what: RevokedWhat, of: &str, object: Option<String>) {
        self.revoke(vec![RevokedRow {
            what,
            code: code(of),
            object,
            since: now().minus(DAY),
            reason: "a test".to_owned(),
        }]);
    }

    pub(crate) fn issuer(&self, of: &str) -> Issuer<rcgen::KeyPair> {
        let delegation = self.delegation();
        let row = delegation.authorities.iter().find(|row| row.code == code(of)).unwrap();
        let key = rcgen::KeyPair::try_from(self.authorities[&code(of)].key.as_slice()).unwrap();
        Issuer::new(federation(), row, key).unwrap()
    }

    /// A leaf's chain below an authority.
    pub(crate) fn chain(&self, leaf: &[u8], of: &str) -> Vec<CertificateDer<'static>> {
        let mut chain = vec![CertificateDer::from(leaf.to_vec())];
        chain.push(self.authorities[&code(of)].certificate.clone().into());
        if of == CITY {
            chain.push(self.authorities[&code(PROVINCE)].certificate.clone().into());
        }
        chain
    }

    /// The proof that an authority said it would issue, cosigned by these.
    pub(crate) fn proof(
        &mut self,
        of: &str,
        issue: &sanku_federation_protocol::acts::CertificateIssue,
        cosigners: &[&SigningKey],
    ) -> IssuanceProof {
        let log = self.logs.get_mut(&code(of)).unwrap();
        let index = log.say(Public::Issue(issue.clone()), None, now());
        let run = log.run(index, log.checkpoint(cosigners, now()));
        IssuanceProof::of(&run.verify(&self.trust.at(now())).unwrap(), 0).unwrap()
    }

    pub(crate) fn standing<'a>(&'a self, place: Option<&'a Place>, used: &'a BTreeSet<Hash>) -> Standing<'a> {
        Standing {
            trust: &self.trust,
            authority: code(CITY),
            now: now(),
            place,
            expires: Some(now().plus(DAY)),
            used,
            away: DAY * 90,
        }
    }

    /// A member asks its authority.
    pub(crate) fn ask(&mut self, of: &str, public: Public) -> Received {
        let log = self.logs.get_mut(&code(of)).unwrap();
        let index = log.say(public, Some(CITY), now());
        let run = log.run(index, log.checkpoint(&[], now()));
        Received::of(&run.verify(&self.trust.at(now())).unwrap().statements[0]).unwrap()
    }

    /// A grant of a renewal for a member.
    pub(crate) fn renewal(&mut self, of: &str, tls: &Tls) -> Grant {
        let received = self.ask(of, Public::Certificate(again(Occasion::Renewal, of, tls)));
        self.standing(None, &BTreeSet::new())
            .judge(&received)
            .unwrap()
            .granted(None)
            .unwrap()
    }
}

/// A request of a member.
pub(crate) fn again(occasion: Occasion, of: &str, tls: &Tls) -> CertificateRequest {
    CertificateRequest {
        occasion,
        tls: tls.spki,
        possession: tls.possession(&origin(of, 1)),
        node: None,
    }
}

/// A newcomer's log, and its first request.
pub(crate) fn newcomer(of: &str, number: u32, tls: &Tls) -> (Log, CertificateRequest) {
    let log = Log::new(of, number);
    let seed = *Hash::of(format!("{of}/{number} as a witness").as_bytes()).bytes();
    let witness = SigningKey::from_seed(witness_key(of).verifier().name(), KeyType::CosignatureV1, seed).unwrap();
    let request = CertificateRequest {
        occasion: Occasion::First,
        tls: tls.spki,
        possession: tls.possession(&log.origin),
        node: Some(Newcomer {
            name: "荆州区核对中心".to_owned(),
            endpoints: vec![
                "10.1.2.3:7443".to_owned(),
                "[2001:db8::1]:7443".to_owned(),
                "node.example:7443".to_owned(),
            ],
            categories: vec!["employment".parse().unwrap()],
            formats: vec![1],
            log: log.key.verifier().clone(),
            witness: witness.verifier().clone(),
            sealing: SealingKey::new(*Hash::of(format!("{of}/{number}").as_bytes()).bytes())
                .public()
                .unwrap(),
        }),
    };
    (log, request)
}

/// A newcomer's request as its authority receives it.
pub(crate) fn first(log: &mut Log, request: CertificateRequest, at: Time) -> Received {
    let index = log.say(Public::Certificate(request), Some(CITY), at);
    let run = log.run(index, log.checkpoint(&[], at));
    Received::of(&verify_first(run).unwrap().statements[0]).unwrap()
}

/// A place that is open for a code.
pub(crate) fn place(of: &str) -> Place {
    let order = approved(CITY, &Action::OpenPlaces { codes: vec![code(of)] });
    Place::opened_by(&order, now()).unwrap().remove(0)
}

/// An order of two people of a centre.
pub(crate) fn approved(executor: &str, act: &Action) -> Approved {
    let person = |id: &str, role| {
        let key = seeded(
            &person_name(&federation(), code(executor), &id.parse().unwrap()),
            KeyType::Ed25519,
        );
        let person = Person {
            id: id.parse().unwrap(),
            role,
            key: key.verifier().clone(),
            from: now().minus(DAY),
            until: now().plus(DAY),
        };
        (person, key)
    };
    let everybody = [
        person("a1", PersonRole::SecurityAdministrator),
        person("a2", PersonRole::SecurityAdministrator),
        person("m1", PersonRole::SystemAdministrator),
        person("m2", PersonRole::SystemAdministrator),
    ];
    let may = |(person, _): &&(Person, SigningKey)| person.role == act.kind().roles()[0];
    let order = Order {
        id: "019a0000-0000-7000-8000-000000000001".parse().unwrap(),
        act: act.clone(),
        reason: "a test".to_owned(),
        executor: code(executor),
        not_after: now().plus(DAY),
    };
    let text = order.text(&federation()).unwrap();
    let lines = everybody.iter().filter(may).map(|(_, key)| key.sign(&text)).collect();
    let note = SignedNote::new(&text, lines).unwrap().to_string();
    let people = People {
        people: everybody.iter().map(|(person, _)| person.clone()).collect(),
    };
    judge_order(note.as_bytes(), (&federation(), code(executor)), &people, now()).unwrap()
}
