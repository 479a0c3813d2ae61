//! Chains that must be refused, each for its reason, and those that must not.

use std::time::Duration;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber};
use sanku_federation_protocol::notes::{Authority, Delegation, name, sign};
use sanku_values::FederationName;

use super::*;
use crate::federation::notes_in;
use crate::keys::KeyStore;
use crate::profile::{self, Issued};
use crate::{Federation, NewNode};

const DAY: Duration = Duration::from_secs(24 * 3600);

struct World {
    place: tempfile::TempDir,
    federation: Federation,
    now: Time,
}

fn code(text: &str) -> DivisionCode {
    text.parse().unwrap()
}

fn node(text: &str) -> NewNode {
    NewNode {
        code: code(text),
        name: text.to_owned(),
        endpoints: vec!["127.0.0.1:7443".to_owned()],
        categories: Vec::new(),
    }
}

impl World {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let now = "2026-03-01T00:00:00.000Z".parse().unwrap();
        let name: FederationName = "sanku.test".parse().unwrap();
        let federation = Federation::init(place.path(), &name, node("420000"), now).unwrap();
        for code in ["421000", "421002", "420500"] {
            federation.add(node(code), now).unwrap();
        }
        Self { place, federation, now }
    }

    fn trust(&self) -> Trust {
        let notes = notes_in(&self.place.path().join("420000")).unwrap();
        let notes = notes.iter().map(Vec::as_slice);
        let (trust, refused) = Trust::from_notes(
            self.federation.name.clone(),
            self.federation.fingerprint,
            notes,
            self.now,
        );
        assert_eq!(refused, []);
        trust
    }

    fn chain_of(&self, leaf: &Issued) -> Vec<CertificateDer<'static>> {
        let authority = self.federation.authority().unwrap();
        vec![leaf.certificate.clone().into(), authority.certificate.into()]
    }

    fn good(&self) -> CertificateParams {
        profile::node_params(&self.federation.name, code("421002"), &[], (self.now, 30)).unwrap()
    }

    /// A leaf with another profile, judged.
    fn judged(&self, change: impl FnOnce(&mut CertificateParams)) -> Result<PeerIdentity, Refused> {
        let mut params = self.good();
        change(&mut params);
        let key = profile::node_key().unwrap();
        let leaf = profile::issue(&params, &key, &self.federation.authority().unwrap()).unwrap();
        verify_chain(&self.chain_of(&leaf), Role::Server, &self.trust(), self.now)
    }

    fn root(&self) -> Issued {
        let keys = crate::keys::KeyFiles::open(
            &self.place.path().join("authority/keys"),
            &self.place.path().join("authority/key-file"),
        );
        Issued {
            key: keys.unwrap().load("root").unwrap(),
            certificate: STANDARD.decode(&self.trust().root().unwrap().certificates[0]).unwrap(),
        }
    }

    /// Trust under a delegation that names these authorities beside the province's.
    fn trust_with(&self, authorities: &[(&str, &Issued)]) -> Trust {
        let mut trust = self.trust();
        let mut delegation: Delegation = trust.delegation().unwrap().clone();
        let key = delegation.authorities[0].key.clone();
        delegation
            .authorities
            .extend(authorities.iter().map(|(of, issued)| Authority {
                code: code(of),
                key: key.clone(),
                certificate: STANDARD.encode(&issued.certificate),
                from: self.now.minus(DAY),
                until: self.now.plus(DAY),
            }));
        let name = name::delegation(&self.federation.name);
        let root = self
            .federation
            .note_key("root-note", &name::root(&self.federation.name))
            .unwrap();
        let note = sign(&name, self.now.plus(Duration::from_millis(1)), &delegation, &root).unwrap();
        trust.accept(note.to_string().as_bytes(), self.now).unwrap();
        trust
    }

    fn leaf(&self, of: &str, issuer: &Issued) -> CertificateDer<'static> {
        let params = profile::node_params(&self.federation.name, code(of), &[], (self.now, 30)).unwrap();
        let key = profile::node_key().unwrap();
        profile::issue(&params, &key, issuer).unwrap().certificate.into()
    }
}

fn why(result: Result<PeerIdentity, Refused>) -> &'static str {
    result.unwrap_err().reason.code()
}

#[test]
fn a_node_certificate_by_the_profile_holds_for_thirty_days() {
    let world = World::new();
    let identity = world.judged(|_| {}).unwrap();
    assert_eq!(identity.code, code("421002"));
    assert_eq!(identity.serial.len(), 32);
    assert_eq!(identity.not_after, world.now.plus(DAY * 30));
    let key = profile::node_key().unwrap();
    let leaf = profile::issue(&world.good(), &key, &world.federation.authority().unwrap()).unwrap();
    let at = |time| verify_chain(&world.chain_of(&leaf), Role::Server, &world.trust(), time);
    assert!(at(world.now.plus(DAY * 29)).is_ok());
    // F11: a neighbour whose clock lags by as much as clocks may differ takes it from its first second.
    assert!(at(world.now.minus(Duration::from_secs(14 * 60))).is_ok());
    assert_eq!(why(at(world.now.plus(DAY * 31))), "expired");
    assert_eq!(why(at(world.now.minus(DAY))), "not_valid_yet");
    assert_eq!(why(at(world.now.plus(DAY * 3700))), "root_expired");
}

#[test]
fn a_leaf_outside_the_profile_is_refused() {
    let world = World::new();
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    type Change<'a> = Box<dyn FnOnce(&mut CertificateParams) + 'a>;
    let changes: Vec<(&str, Change<'_>)> = vec![
        ("no SAN", Box::new(|params| params.subject_alt_names.clear())),
        (
            "two URIs",
            Box::new(|params| params.subject_alt_names.push(uri("spiffe://sanku.test/node/421000"))),
        ),
        (
            "a mail SAN",
            Box::new(|params| {
                params
                    .subject_alt_names
                    .push(SanType::Rfc822Name("a@b.c".try_into().unwrap()))
            }),
        ),
        (
            "another federation",
            Box::new(|params| params.subject_alt_names = vec![uri("spiffe://other.test/node/421002")]),
        ),
        (
            "a name that goes on",
            Box::new(|params| params.subject_alt_names = vec![uri("spiffe://sanku.test/node/421002/x")]),
        ),
        (
            "no code",
            Box::new(|params| params.subject_alt_names = vec![uri("spiffe://sanku.test/node/421")]),
        ),
        (
            "client only",
            Box::new(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        ),
        (
            "code signing too",
            Box::new(|params| params.extended_key_usages.push(ExtendedKeyUsagePurpose::CodeSigning)),
        ),
        (
            "no extended key usage",
            Box::new(|params| params.extended_key_usages.clear()),
        ),
        ("no key usage", Box::new(|params| params.key_usages.clear())),
        (
            "signs certificates",
            Box::new(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        ),
        (
            "a short serial",
            Box::new(|params| params.serial_number = Some(SerialNumber::from_slice(&[7; 8]))),
        ),
        (
            "a long life",
            Box::new(|params| params.not_after += time::Duration::days(10)),
        ),
        (
            "no authority key identifier",
            Box::new(|params| params.use_authority_key_identifier_extension = false),
        ),
        (
            "no subject key identifier",
            Box::new(|params| params.is_ca = IsCa::NoCa),
        ),
        (
            "an authority",
            Box::new(|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0))),
        ),
    ];
    for (what, change) in changes {
        let refused = world.judged(change).expect_err(what);
        let expected = match what {
            "no authority key identifier" => Reason::KeyIdentifiers,
            "client only" => Reason::ExtendedKeyUsage,
            "signs certificates" => Reason::KeyUsage,
            "a long life" => Reason::Life,
            "an authority" => Reason::BasicConstraints,
            _ => Reason::Profile,
        };
        assert_eq!(refused.reason, expected, "{what}: {refused}");
    }
}

#[test]
fn a_critical_extension_that_nobody_knows_is_refused_and_another_is_not() {
    let world = World::new();
    let unknown = |critical| {
        let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(critical);
        extension
    };
    assert_eq!(
        why(world.judged(|params| params.custom_extensions.push(unknown(true)))),
        "critical_extension"
    );
    assert!(
        world
            .judged(|params| params.custom_extensions.push(unknown(false)))
            .is_ok()
    );
}

#[test]
fn an_authority_issues_nothing_outside_its_subtree() {
    // C-09
    let world = World::new();
    let (name, root) = (&world.federation.name, world.root());
    let jingzhou = profile::authority(name, code("421000"), &root, world.now).unwrap();
    let yichang = profile::authority(name, code("420500"), &root, world.now).unwrap();
    let trust = world.trust_with(&[("421000", &jingzhou), ("420500", &yichang)]);
    let der = |issued: &Issued| CertificateDer::from(issued.certificate.clone());
    let judge = |chain: &[CertificateDer<'_>]| verify_chain(chain, Role::Server, &trust, world.now);
    let own = world.leaf("421002", &jingzhou);
    let stolen = world.leaf("421002", &yichang);
    assert_eq!(judge(&[own.clone(), der(&jingzhou)]).unwrap().code, code("421002"));
    assert!(
        judge(&[world.leaf("421000", &jingzhou), der(&jingzhou)]).is_ok(),
        "its own node"
    );
    assert_eq!(why(judge(&[stolen.clone(), der(&yichang)])), "outside_subtree");
    // webpki finds a path in any order: the authority that is judged must be the one that issued.
    assert_eq!(
        why(judge(&[stolen.clone(), der(&jingzhou), der(&yichang)])),
        "not_linked"
    );
    assert_eq!(why(judge(&[stolen, der(&yichang), der(&jingzhou)])), "not_linked");
    assert_eq!(
        why(verify_chain(
            &[own, der(&jingzhou)],
            Role::Server,
            &world.trust(),
            world.now
        )),
        "not_delegated"
    );
}

#[test]
fn a_citys_authority_may_stand_below_the_provinces_and_no_deeper() {
    let world = World::new();
    let name = &world.federation.name;
    let province = world.federation.authority().unwrap();
    let city = profile::authority(name, code("421000"), &province, world.now).unwrap();
    let below = profile::authority(name, code("421002"), &city, world.now).unwrap();
    let trust = world.trust_with(&[("421000", &city), ("421002", &below)]);
    let der = |issued: &Issued| CertificateDer::from(issued.certificate.clone());
    let leaf = world.leaf("421002", &city);
    let judge = |chain: &[CertificateDer<'_>]| verify_chain(chain, Role::Server, &trust, world.now);
    assert!(judge(&[leaf.clone(), der(&city), der(&province)]).is_ok());
    assert!(judge(&[leaf, der(&city)]).is_err(), "a link is missing");
    let deep = [world.leaf("421002", &below), der(&below), der(&city), der(&province)];
    assert_eq!(why(judge(&deep)), "too_deep");
}

#[test]
fn another_federations_chain_is_refused() {
    let (world, other) = (World::new(), World::new());
    let leaf = other.leaf("421002", &other.federation.authority().unwrap());
    let chain = [leaf, other.federation.authority().unwrap().certificate.into()];
    assert!(verify_chain(&chain, Role::Server, &other.trust(), other.now).is_ok());
    assert_eq!(
        why(verify_chain(&chain, Role::Server, &world.trust(), world.now)),
        "bad_signature"
    );
    assert_eq!(
        why(verify_chain(&chain[..1], Role::Server, &other.trust(), other.now)),
        "unknown_issuer"
    );
    assert_eq!(
        why(verify_chain(&[], Role::Server, &world.trust(), world.now)),
        "no_certificate"
    );
    let nothing = Trust::new(world.federation.name.clone(), world.federation.fingerprint);
    assert_eq!(why(verify_chain(&chain, Role::Server, &nothing, world.now)), "no_notes");
}

#[test]
fn a_key_of_ed25519_is_allowed() {
    let world = World::new();
    let key = rcgen::KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_der();
    let leaf = profile::issue(&world.good(), &key, &world.federation.authority().unwrap()).unwrap();
    assert!(verify_chain(&world.chain_of(&leaf), Role::Server, &world.trust(), world.now).is_ok());
}

#[test]
fn garbage_and_changed_octets_are_refused() {
    let world = World::new();
    let leaf = world.leaf("421002", &world.federation.authority().unwrap());
    let authority: CertificateDer<'static> = world.federation.authority().unwrap().certificate.into();
    let trust = world.trust();
    for at in (0..leaf.len()).step_by(7) {
        let mut changed = leaf.to_vec();
        changed[at] ^= 1;
        assert!(
            verify_chain(&[changed.into(), authority.clone()], Role::Server, &trust, world.now).is_err(),
            "octet {at}"
        );
    }
    let mut longer = leaf.to_vec();
    longer.push(0);
    assert!(verify_chain(&[longer.into(), authority.clone()], Role::Server, &trust, world.now).is_err());
    assert!(verify_chain(&[vec![0; 40].into(), authority], Role::Server, &trust, world.now).is_err());
}

#[test]
fn notes_decide_at_once_whose_certificate_counts() {
    let world = World::new();
    let leaf = world.leaf("421002", &world.federation.authority().unwrap());
    let chain = [leaf, world.federation.authority().unwrap().certificate.into()];
    let judge = || verify_chain(&chain, Role::Server, &world.trust(), world.now);
    let identity = judge().unwrap();
    let (this, district, now) = (&world.federation, code("421002"), world.now);
    this.suspend(district, "a test", now).unwrap();
    assert_eq!(why(judge()), "suspended");
    assert_eq!(identity.judge(&world.trust(), now), Err(ProblemKind::Suspended));
    this.resume(district, now).unwrap();
    assert!(judge().is_ok());
    this.suspend(code("421000"), "a test", now).unwrap();
    assert_eq!(why(judge()), "suspended", "what stands above it is suspended");
    this.resume(code("421000"), now).unwrap();
    this.revoke_certificate(district, &identity.serial, "a test", now)
        .unwrap();
    assert_eq!(why(judge()), "revoked");
    assert!(world.judged(|_| {}).is_ok(), "another certificate of the node");
    this.revoke(district, "a test", now).unwrap();
    assert_eq!(why(world.judged(|_| {})), "revoked");
    assert_eq!(
        identity.judge(&world.trust(), now.plus(DAY * 31)),
        Err(ProblemKind::PeerCertExpired)
    );
}
