//! The issuer makes what its grant and proof say and nothing else; C-18: whatever it makes follows RFC 5280.

use std::path::Path;
use std::process::Command;

use rustls::pki_types::CertificateRevocationListDer;
use sanku_federation_protocol::acts::Serial;
use sanku_federation_protocol::notes::{Revoked, RevokedRow, RevokedWhat};
use sanku_federation_protocol::people::{Action, RotationStep};
use sanku_values::FederationName;

use super::*;
use crate::fixture::{
    CITY, DAY, HERE, PROVINCE, THERE, Tls, World, approved, code, federation, first, newcomer, now, place, witness_key,
};
use crate::issuance::Demand;
use crate::profile::Issued;
use crate::requests::newcomer_row;
use crate::verify::lists::Lists;
use crate::verify::path::{self, Chain};
use crate::verify::{Role, judge_chain};

#[test]
fn a_newcomers_first_certificate_is_accepted_once_the_registry_names_it() {
    let mut world = World::new();
    let tls = Tls::new();
    let (mut log, request) = newcomer(THERE, 1, &tls);
    let received = first(&mut log, request, now());
    let order = approved(
        CITY,
        &Action::ConfirmEnrolment {
            code: code(THERE),
            request: received.leaf,
        },
    );
    let place = place(THERE);
    let judged = world
        .standing(Some(&place), &std::collections::BTreeSet::new())
        .judge(&received);
    let grant = judged.unwrap().granted(Some(&order)).unwrap();
    let issuer = world.issuer(CITY);
    let issue = issuer.plan(&grant, now(), DAY * 400).unwrap();
    assert_eq!(issue.not_after, now().plus(LONGEST_LIFE), "cut to the profile's life");
    let proof = world.proof(CITY, &issue, &[&witness_key(PROVINCE)]);
    let leaf = issuer.issue(&grant, &proof, &world.trust).unwrap();
    let judge = |world: &World| {
        let chain = world.chain(&leaf, CITY);
        judge_chain(&chain, Role::Server, Demand::Always, &world.trust, now())
    };
    assert_eq!(judge(&world).unwrap_err().reason.code(), "not_member");
    let mut registry = world.registry();
    registry.nodes.push(newcomer_row(&grant, None, now()).unwrap());
    world.register(&registry);
    assert_eq!(judge(&world).unwrap().code, code(THERE));
    let read = read_certificate(&leaf).unwrap();
    assert_eq!(read.public_key().raw, tls.spki.der());
    let names = read.subject_alternative_name().unwrap().unwrap().value;
    assert_eq!(names.general_names.len(), 4, "its code and its three hosts");
    // The same grant and proof make the same certificate: an interrupted issuance goes on from the log.
    let again = issuer.issue(&grant, &proof, &world.trust).unwrap();
    let (again, first) = (read_certificate(&again).unwrap(), read_certificate(&leaf).unwrap());
    assert_eq!(again.tbs_certificate.as_ref(), first.tbs_certificate.as_ref());
}

#[test]
fn nothing_is_issued_without_a_proof_about_this_very_grant() {
    let mut world = World::new();
    let (tls, other) = (Tls::new(), Tls::new());
    let (grant, others) = (world.renewal(HERE, &tls), world.renewal(HERE, &other));
    let issuer = world.issuer(CITY);
    let issue = issuer.plan(&grant, now(), DAY * 30).unwrap();
    let unwitnessed = world.proof(CITY, &issue, &[]);
    let refused = issuer.issue(&grant, &unwitnessed, &world.trust);
    assert!(matches!(refused, Err(NotIssued::Proof(_))));
    let good = world.proof(CITY, &issue, &[&witness_key(PROVINCE)]);
    assert!(issuer.issue(&grant, &good, &world.trust).is_ok());
    assert!(matches!(
        issuer.issue(&others, &good, &world.trust),
        Err(NotIssued::Differs("key"))
    ));
    type Change = fn(&mut CertificateIssue);
    let changes: [(&str, Change); 5] = [
        ("code", |issue| issue.code = code(CITY)),
        ("request", |issue| issue.request = Hash::of(b"another")),
        ("orders", |issue| issue.orders.clear()),
        ("life", |issue| issue.not_before = issue.not_before.minus(DAY * 3)),
        ("life", |issue| issue.not_after = now().plus(DAY * 700)),
    ];
    for (what, change) in changes {
        let mut changed = issue.clone();
        change(&mut changed);
        let proof = world.proof(CITY, &changed, &[&witness_key(PROVINCE)]);
        let refused = issuer.issue(&grant, &proof, &world.trust);
        assert!(
            matches!(refused, Err(NotIssued::Differs(found)) if found == what),
            "{what}: {refused:?}"
        );
    }
    let elsewhere = world.proof(PROVINCE, &issue, &[&witness_key(CITY)]);
    assert!(matches!(
        issuer.issue(&grant, &elsewhere, &world.trust),
        Err(NotIssued::Proof(_))
    ));
}

#[test]
fn c09_an_authority_issues_for_its_own_subtree_alone() {
    let mut world = World::new();
    let grant = world.renewal(HERE, &Tls::new());
    let mut yichang = world.delegation().authorities[1].clone();
    yichang.code = code("420500");
    let key = rcgen::KeyPair::try_from(world.authorities[&code(CITY)].key.as_slice()).unwrap();
    let issuer = Issuer::new(federation(), &yichang, key).unwrap();
    let refused = issuer.plan(&grant, now(), DAY);
    assert!(matches!(refused, Err(NotIssued::Outside(of, by)) if (of, by) == (code(HERE), code("420500"))));
    let proof = world.issuer(CITY).plan(&grant, now(), DAY).unwrap();
    let proof = world.proof(CITY, &proof, &[&witness_key(PROVINCE)]);
    assert!(matches!(
        issuer.issue(&grant, &proof, &world.trust),
        Err(NotIssued::Outside(..))
    ));
    assert_eq!(format!("{issuer:?}"), "Issuer(420500)");
}

#[test]
fn an_authoritys_key_and_certificate_belong_together() {
    let world = World::new();
    let row = &world.delegation().authorities[1];
    let stranger = rcgen::KeyPair::generate().unwrap();
    assert!(Issuer::new(federation(), row, stranger).is_err());
    let mut none = row.clone();
    none.certificate = "AAAA".to_owned();
    let key = rcgen::KeyPair::try_from(world.authorities[&code(CITY)].key.as_slice()).unwrap();
    assert!(Issuer::new(federation(), &none, key).is_err());
}

/// An authority for a city, granted by its province.
fn authority_grant(world: &mut World) -> AuthorityGrant {
    let received = crate::requests::tests::authority_request(world, CITY, &Tls::new());
    let act = Action::RotateAuthority {
        code: code(CITY),
        step: RotationStep::Prepare,
        request: Some(received.leaf),
    };
    AuthorityGrant::judge(
        &received,
        &approved(PROVINCE, &act),
        (code(PROVINCE), &world.trust),
        now(),
    )
    .unwrap()
}

#[test]
fn a_citys_authority_is_made_by_its_provinces_and_not_by_itself() {
    let mut world = World::new();
    let grant = authority_grant(&mut world);
    assert!(
        world.issuer(CITY).authority(&grant, now()).is_err(),
        "an authority makes none for itself"
    );
    let certificate = world.issuer(PROVINCE).authority(&grant, now()).unwrap();
    let read = read_certificate(&certificate).unwrap();
    assert_eq!(read.public_key().raw, grant.key().der());
    let constraints = read.basic_constraints().unwrap().unwrap().value;
    assert_eq!((constraints.ca, constraints.path_len_constraint), (true, Some(0)));
}

fn row(what: RevokedWhat, of: &str, object: Option<&str>, since: Time) -> RevokedRow {
    RevokedRow {
        what,
        code: code(of),
        object: object.map(str::to_owned),
        since,
        reason: "a test".to_owned(),
    }
}

/// Certificates that were issued, and a note about some of them.
fn revoked() -> (Vec<Listed>, Revoked) {
    let listed = |of: &str, octet: u8, days: u32| Listed {
        code: code(of),
        serial: Serial::from_random([octet; 16]),
        not_after: now().plus(DAY * days),
    };
    let mut issued = vec![
        listed(HERE, 1, 20),
        listed(HERE, 2, 10),
        listed(THERE, 3, 5),
        listed(CITY, 4, 5),
    ];
    issued.push(Listed {
        not_after: now().minus(DAY),
        ..listed(THERE, 5, 0)
    });
    let one = issued[0].serial.to_string();
    let unknown = Serial::from_random([9; 16]).to_string();
    let rows = vec![
        row(RevokedWhat::Suspended, HERE, None, now().minus(DAY * 2)),
        row(RevokedWhat::Certificate, HERE, Some(&one), now().minus(DAY)),
        row(RevokedWhat::Node, THERE, None, now().minus(DAY)),
        row(RevokedWhat::Certificate, HERE, Some(&unknown), now()),
        row(RevokedWhat::Key, HERE, Some("a key"), now()),
    ];
    let note = Revoked {
        next: now().plus(DAY),
        rows,
    };
    (issued, note)
}

#[test]
fn a_list_says_what_the_note_says() {
    use x509_parser::prelude::{CertificateRevocationList, FromDer};
    let world = World::new();
    let (issued, note) = revoked();
    let der = world.issuer(CITY).list(now(), &note, &issued).unwrap();
    let (rest, list) = CertificateRevocationList::from_der(&der).unwrap();
    assert!(rest.is_empty());
    let rows: Vec<_> = list
        .iter_revoked_certificates()
        .map(|row| {
            (
                row.raw_serial().to_vec(),
                row.reason_code().map(|(_, reason)| reason.0),
                row.revocation_date.timestamp(),
            )
        })
        .collect();
    let serial = |octet| Serial::from_random([octet; 16]).octets().to_vec();
    let days_ago = |days: u32| now().minus(DAY * days).millis() / 1000;
    assert_eq!(
        rows,
        [
            (serial(1), None, days_ago(1)),
            (serial(2), Some(6), days_ago(2)),
            (serial(3), None, days_ago(1)),
            (serial(9), None, days_ago(0)),
        ],
        "revoked outranks suspended; what expired, and keys, are not listed"
    );
    let number = list.crl_number().unwrap().to_string();
    assert_eq!(number, now().millis().to_string());
    let all = world.issuer(CITY).list(
        now(),
        &Revoked {
            next: now().plus(DAY),
            rows: vec![row(RevokedWhat::Node, CITY, None, now())],
        },
        &issued,
    );
    let all = all.unwrap();
    assert_eq!(
        CertificateRevocationList::from_der(&all)
            .unwrap()
            .1
            .iter_revoked_certificates()
            .count(),
        4,
        "what stands below it, too"
    );
}

/// Everything that is ever issued, as PEM files in a directory: `(file, issuer's file)`, and lists.
struct Corpus {
    certificates: Vec<(String, String)>,
    lists: Vec<(String, String)>,
}

fn corpus(place: &Path) -> Corpus {
    let mut made = Corpus {
        certificates: Vec::new(),
        lists: Vec::new(),
    };
    let write = |name: &str, label: &str, der: &[u8]| {
        std::fs::write(place.join(name), crate::federation::pem(label, der)).unwrap();
    };
    let mut certificate = |name: &str, issuer: &str, der: &[u8]| {
        write(name, "CERTIFICATE", der);
        made.certificates.push((name.to_owned(), issuer.to_owned()));
    };
    let mut world = World::new();
    certificate("root.pem", "root.pem", &world.root_certificate);
    let province = profile::Issued::copy(&world, PROVINCE);
    let city = profile::Issued::copy(&world, CITY);
    certificate("province.pem", "root.pem", &province.certificate);
    certificate("city.pem", "province.pem", &city.certificate);
    let next = authority_grant(&mut world);
    certificate(
        "next-city.pem",
        "province.pem",
        &world.issuer(PROVINCE).authority(&next, now()).unwrap(),
    );
    for at in 0..3 {
        let grant = world.renewal(HERE, &Tls::new());
        let issuer = world.issuer(CITY);
        let issue = issuer.plan(&grant, now(), DAY * 30).unwrap();
        let proof = world.proof(CITY, &issue, &[&witness_key(PROVINCE)]);
        let leaf = issuer.issue(&grant, &proof, &world.trust).unwrap();
        certificate(&format!("proven-{at}.pem"), "city.pem", &leaf);
    }
    // Names and addresses of every kind, and a federation whose name is as long as names may be.
    let long: FederationName = format!(
        "{}.{}.{}.{}",
        "a".repeat(63),
        "b".repeat(63),
        "c".repeat(63),
        "d".repeat(61)
    )
    .parse()
    .unwrap();
    let hosts: [&[&str]; 4] = [
        &[],
        &["node.example"],
        &["10.1.2.3", "2001:db8::1"],
        &["a-b.c-d.example", "x.example", "192.0.2.1"],
    ];
    for (at, hosts) in hosts.into_iter().enumerate() {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let leaf = profile::node(
            &federation(),
            code(HERE),
            &hosts,
            &profile::node_key().unwrap(),
            &city,
            (now(), 30),
        );
        certificate(&format!("leaf-{at}.pem"), "city.pem", &leaf.unwrap().certificate);
    }
    let root = profile::root(&long, now()).unwrap();
    certificate("long-root.pem", "long-root.pem", &root.certificate);
    let authority = profile::authority(&long, code(PROVINCE), &root, now()).unwrap();
    certificate("long-province.pem", "long-root.pem", &authority.certificate);
    let leaf = profile::node(
        &long,
        code(HERE),
        &["node.example".to_owned()],
        &profile::node_key().unwrap(),
        &authority,
        (now(), 30),
    );
    certificate("long-leaf.pem", "long-province.pem", &leaf.unwrap().certificate);

    let (issued, note) = revoked();
    let empty = Revoked {
        next: note.next,
        rows: Vec::new(),
    };
    for (name, note) in [("list.pem", &note), ("empty-list.pem", &empty)] {
        write(
            name,
            "X509 CRL",
            &world.issuer(CITY).list(now(), note, &issued).unwrap(),
        );
        made.lists.push((name.to_owned(), "city.pem".to_owned()));
    }
    made
}

impl Issued {
    fn copy(world: &World, of: &str) -> Self {
        let issued = &world.authorities[&code(of)];
        Self {
            key: issued.key.clone(),
            certificate: issued.certificate.clone(),
        }
    }
}

fn read(place: &Path, name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(place.join(name)).unwrap();
    STANDARD
        .decode(text.lines().filter(|line| !line.starts_with('-')).collect::<String>())
        .unwrap()
}

#[test]
fn c18_our_own_rules_of_rfc_5280_hold_for_everything_that_is_issued() {
    let place = tempfile::tempdir().unwrap();
    let corpus = corpus(place.path());
    let lists: Vec<_> = corpus
        .lists
        .iter()
        .map(|(name, _)| CertificateRevocationListDer::from(read(place.path(), name)))
        .collect();
    let lists = Lists::read(&lists).unwrap();
    for (name, _) in corpus
        .certificates
        .iter()
        .filter(|(name, _)| name.starts_with("leaf") || name.starts_with("proven") || *name == "long-leaf.pem")
    {
        let (root, between): (_, &[&str]) = if name == "long-leaf.pem" {
            ("long-root.pem", &["long-province.pem"])
        } else {
            ("root.pem", &["city.pem", "province.pem"])
        };
        let der = |name: &str| rustls::pki_types::CertificateDer::from(read(place.path(), name));
        let (leaf, roots) = (der(name), [der(root)]);
        let intermediates: Vec<_> = between.iter().map(|name| der(name)).collect();
        let chain = Chain {
            leaf: &leaf,
            intermediates: &intermediates,
            roots: &roots,
            lists: &lists,
            role: Role::Server,
            now: now(),
        };
        path::judge(&chain, |_| Ok(())).unwrap_or_else(|refused| panic!("{name}: {refused}"));
    }
    // RFC 5280, appendix A: ub-common-name and ub-organization-name are 64 characters.
    for (name, _) in &corpus.certificates {
        let der = read(place.path(), name);
        let read = read_certificate(&der).unwrap();
        for part in read.subject().iter_attributes().chain(read.issuer().iter_attributes()) {
            let text = part.as_str().unwrap();
            assert!((1..=64).contains(&text.chars().count()), "{name}: {text}");
        }
    }
}

fn ran(place: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).current_dir(place).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

#[test]
fn c18_openssl_finds_no_error_in_its_strict_mode() {
    let place = tempfile::tempdir().unwrap();
    let corpus = corpus(place.path());
    let at = (now().millis() / 1000).to_string();
    std::fs::write(
        place.path().join("between.pem"),
        ["city.pem", "province.pem"]
            .map(|name| std::fs::read_to_string(place.path().join(name)).unwrap())
            .concat(),
    )
    .unwrap();
    for (name, issuer) in &corpus.certificates {
        let (root, between) = if name.starts_with("long") {
            ("long-root.pem", "long-province.pem")
        } else {
            ("root.pem", "between.pem")
        };
        let mut arguments = vec![
            "verify",
            "-x509_strict",
            "-check_ss_sig",
            "-attime",
            &at,
            "-CAfile",
            root,
        ];
        if name != issuer {
            arguments.extend(["-untrusted", between]);
        }
        arguments.push(name);
        ran(place.path(), "openssl", &arguments);
    }
    for (name, issuer) in &corpus.lists {
        let said = ran(
            place.path(),
            "openssl",
            &["crl", "-in", name, "-CAfile", issuer, "-noout", "-text"],
        );
        assert!(
            said.contains("verify OK") && said.contains("X509v3 CRL Number"),
            "{said}"
        );
    }
}

/// What a linter finds of severity WARNING and above.
fn lint(place: &Path, program: &str, arguments: &[&str]) -> Vec<String> {
    let options = ["-s", "WARNING", "-f", "TEXT"];
    let arguments = [&["lint"], &options[..], arguments].concat();
    let output = Command::new(program).current_dir(place).args(&arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{program} {arguments:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    let found: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("    "))
        .map(|line| line.trim().to_owned())
        .collect();
    assert_eq!(
        output.status.success(),
        found.is_empty(),
        "{program} {arguments:?}: {said}"
    );
    // The linter knows a closed list of URIs' schemes, and `spiffe` (RFC 3986 allows any) is not among them.
    let known = |line: &String| {
        line.contains("pkix.invalid_uri_syntax") && line.ends_with("/node/421002\"") && line.contains("\"spiffe://")
    };
    found.into_iter().filter(|line| !known(line)).collect()
}

#[test]
fn c18_a_linter_finds_no_error() {
    if Command::new("lint_pkix_cert").arg("--help").output().is_err() {
        eprintln!("not linted: python3 -m pip install pkilint, and put its programs into PATH");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let corpus = corpus(place.path());
    let none: [String; 0] = [];
    for (name, issuer) in &corpus.certificates {
        assert_eq!(lint(place.path(), "lint_pkix_cert", &[name]), none, "{name}");
        // A root that signed itself needs no identifier of its authority (RFC 5280 §4.2.1.1).
        if name != issuer {
            let found = lint(place.path(), "lint_pkix_signer_signee_cert_chain", &[issuer, name]);
            assert_eq!(found, none, "{name} below {issuer}");
        }
    }
    for (name, _) in &corpus.lists {
        assert_eq!(
            lint(place.path(), "lint_crl", &["-t", "CRL", "-p", "PKIX", name]),
            none,
            "{name}"
        );
    }
    // That it looks: a name that is too long is found.
    let mut params = profile::node_params(&federation(), code(HERE), &[], (now(), 30)).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "a".repeat(65));
    let city = Issued::copy(&World::new(), CITY);
    let bad = profile::issue(&params, &profile::node_key().unwrap(), &city).unwrap();
    let text = crate::federation::pem("CERTIFICATE", &bad.certificate);
    std::fs::write(place.path().join("bad.pem"), text).unwrap();
    assert_ne!(lint(place.path(), "lint_pkix_cert", &["bad.pem"]), none);
}
