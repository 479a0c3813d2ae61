//! C-04: a generated corpus under profile `path`. Every broken chain is refused for its reason, every good one accepted.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CidrSubnet, CustomExtension,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, RevocationReason,
    RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::check::check;

const NOW: i64 = 1_772_323_200; // 2026-03-01
const DAY: Duration = Duration::days(1);

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW).unwrap()
}

/// A chain of root, authority and leaf whose parts can be changed before they are signed.
pub(super) struct Parts {
    root: CertificateParams,
    authority: CertificateParams,
    leaf: CertificateParams,
    keys: [&'static SignatureAlgorithm; 3],
}

pub(super) struct Made {
    pub(super) root: String,
    pub(super) authority: String,
    pub(super) leaf: String,
    authority_issuer: Issuer<'static, KeyPair>,
    root_issuer: Issuer<'static, KeyPair>,
}

fn named(name: &str, serial: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = now() - DAY;
    params.not_after = now() + DAY;
    params.serial_number = Some(SerialNumber::from_slice(&[serial; 16]));
    params.use_authority_key_identifier_extension = true;
    params
}

pub(super) fn good() -> Parts {
    let authority = |name, serial, length| {
        let mut params = named(name, serial);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    };
    let mut leaf = named("leaf", 3);
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    leaf.subject_alt_names = vec![
        SanType::DnsName("node.example.com".try_into().unwrap()),
        SanType::IpAddress("10.1.2.3".parse().unwrap()),
    ];
    Parts {
        root: authority("root", 1, 1),
        authority: authority("authority", 2, 0),
        leaf,
        keys: [
            &PKCS_ECDSA_P384_SHA384,
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P256_SHA256,
        ],
    }
}

impl Parts {
    pub(super) fn made(self) -> Made {
        let keys = self.keys.map(|kind| KeyPair::generate_for(kind).unwrap());
        let [root_key, authority_key, leaf_key] = keys;
        let root = self.root.self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(self.root, root_key);
        let authority = self.authority.signed_by(&authority_key, &root_issuer).unwrap();
        let authority_issuer = Issuer::new(self.authority, authority_key);
        let leaf = self.leaf.signed_by(&leaf_key, &authority_issuer).unwrap();
        Made {
            root: root.pem(),
            authority: authority.pem(),
            leaf: leaf.pem(),
            authority_issuer,
            root_issuer,
        }
    }
}

impl Made {
    pub(super) fn document(&self) -> Value {
        json!({
            "roots": [self.root], "intermediates": [self.authority], "leaf": self.leaf, "time": "2026-03-01T00:00:00Z",
            "role": "server", "expect": "node.example.com", "profile": "path",
        })
    }

    fn list(&self, change: impl FnOnce(&mut CertificateRevocationListParams)) -> String {
        let mut params = CertificateRevocationListParams {
            this_update: now() - DAY,
            next_update: now() + DAY,
            crl_number: SerialNumber::from_slice(&[7]),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from_slice(&[9; 16]),
                revocation_time: now() - DAY,
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        change(&mut params);
        params.signed_by(&self.authority_issuer).unwrap().pem().unwrap()
    }
}

pub(super) fn reason(document: &Value) -> &'static str {
    let verdict = check(document.to_string().as_bytes()).unwrap();
    assert_eq!(verdict.accepted, verdict.reason == "ok");
    verdict.reason
}

fn judged(change: impl FnOnce(&mut Parts)) -> &'static str {
    let mut parts = good();
    change(&mut parts);
    reason(&parts.made().document())
}

fn extension(oid: &[u64], critical: bool, der: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, der.to_vec());
    extension.set_criticality(critical);
    extension
}

fn names(permitted: &[&str], excluded: &[&str]) -> Option<NameConstraints> {
    let subtrees = |names: &[&str]| {
        names
            .iter()
            .map(|name| GeneralSubtree::DnsName((*name).to_owned()))
            .collect()
    };
    Some(NameConstraints {
        permitted_subtrees: subtrees(permitted),
        excluded_subtrees: subtrees(excluded),
    })
}

#[test]
fn c04_chains_that_hold_are_accepted() {
    type Change = fn(&mut Parts);
    let changes: &[(&str, Change)] = &[
        ("as it is", |_| {}),
        ("a key of Ed25519", |parts| parts.keys[2] = &PKCS_ED25519),
        ("authorities of P-384 and Ed25519", |parts| {
            parts.keys = [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519]
        }),
        ("no path length", |parts| {
            parts.root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parts.authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }),
        ("an issuer without key usage", |parts| {
            parts.authority.key_usages.clear()
        }),
        ("a leaf without key usage", |parts| parts.leaf.key_usages.clear()),
        ("a leaf without extended key usage", |parts| {
            parts.leaf.extended_key_usages.clear()
        }),
        ("a leaf without basic constraints or subject key identifier", |parts| {
            parts.leaf.is_ca = IsCa::NoCa
        }),
        ("the server's usage alone", |parts| {
            parts.leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
        }),
        ("a life of fifty years", |parts| {
            parts.leaf.not_after = now() + DAY * 18_000
        }),
        ("a short serial", |parts| {
            parts.leaf.serial_number = Some(SerialNumber::from_slice(&[1]))
        }),
        ("a name with a star", |parts| {
            parts.leaf.subject_alt_names = vec![SanType::DnsName("*.example.com".try_into().unwrap())];
        }),
        ("no subject", |parts| {
            parts.leaf.distinguished_name = DistinguishedName::new();
        }),
        ("permitted names", |parts| {
            parts.authority.name_constraints = names(&["example.com"], &["other.example.com"])
        }),
        ("permitted addresses", |parts| {
            parts.authority.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([10, 0, 0, 0], 8))],
                excluded_subtrees: vec![],
            });
        }),
        ("an unknown extension", |parts| {
            parts
                .leaf
                .custom_extensions
                .push(extension(&[1, 3, 6, 1, 4, 1, 99999, 1], false, &[5, 0]));
        }),
        ("it begins now", |parts| parts.leaf.not_before = now()),
        ("it ends now", |parts| parts.leaf.not_after = now()),
    ];
    for (what, change) in changes {
        assert_eq!(judged(change), "ok", "{what}");
    }
}

#[test]
fn c04_each_field_of_a_leaf_broken_in_turn_is_refused() {
    type Change = fn(&mut Parts);
    let changes: &[(&str, &str, Change)] = &[
        ("expired", "expired", |parts| {
            parts.leaf.not_after = now() - Duration::seconds(1)
        }),
        ("not yet", "not_valid_yet", |parts| {
            parts.leaf.not_before = now() + Duration::seconds(1)
        }),
        ("ends before it begins", "validity", |parts| {
            parts.leaf.not_after = parts.leaf.not_before - DAY
        }),
        ("a serial of nought", "serial", |parts| {
            parts.leaf.serial_number = Some(SerialNumber::from_slice(&[0]))
        }),
        ("a serial of 21 octets", "serial", |parts| {
            parts.leaf.serial_number = Some(SerialNumber::from_slice(&[1; 21]))
        }),
        ("an authority", "basic_constraints", |parts| {
            parts.leaf.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))
        }),
        ("signs certificates", "key_usage", |parts| {
            parts.leaf.key_usages.push(KeyUsagePurpose::KeyCertSign)
        }),
        ("does not sign handshakes", "key_usage", |parts| {
            parts.leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement]
        }),
        ("the other usage", "extended_key_usage", |parts| {
            parts.leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }),
        ("any usage", "extended_key_usage", |parts| {
            parts.leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]
        }),
        ("no authority key identifier", "key_identifiers", |parts| {
            parts.leaf.use_authority_key_identifier_extension = false;
        }),
        ("another name", "wrong_name", |parts| {
            parts.leaf.subject_alt_names = vec![SanType::DnsName("other.example.com".try_into().unwrap())];
        }),
        ("no SAN", "wrong_name", |parts| parts.leaf.subject_alt_names.clear()),
        ("a name that is none", "names", |parts| {
            parts
                .leaf
                .subject_alt_names
                .push(SanType::DnsName("a_b.example.com".try_into().unwrap()));
        }),
        ("a star for a country", "names", |parts| {
            parts
                .leaf
                .subject_alt_names
                .push(SanType::DnsName("*.com".try_into().unwrap()));
        }),
        ("a relative URI", "names", |parts| {
            parts
                .leaf
                .subject_alt_names
                .push(SanType::URI("/node".try_into().unwrap()))
        }),
        ("an unknown critical extension", "critical_extension", |parts| {
            parts
                .leaf
                .custom_extensions
                .push(extension(&[1, 3, 6, 1, 4, 1, 99999, 1], true, &[5, 0]));
        }),
        ("an extension twice", "extension", |parts| {
            let one = || extension(&[1, 3, 6, 1, 4, 1, 99999, 1], false, &[5, 0]);
            parts.leaf.custom_extensions.extend([one(), one()]);
        }),
        ("key usage that cannot be read", "extension", |parts| {
            parts.leaf.key_usages.clear();
            parts
                .leaf
                .custom_extensions
                .push(extension(&[2, 5, 29, 15], true, &[5, 0]));
        }),
        ("critical access to information", "extension", |parts| {
            let der = [
                0x30, 0x18, 0x30, 0x16, 6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 0x86, 10, b'h', b't', b't', b'p', b':',
                b'/', b'/', b'a', b'.', b'b',
            ];
            parts
                .leaf
                .custom_extensions
                .push(extension(&[1, 3, 6, 1, 5, 5, 7, 1, 1], true, &der));
        }),
        ("name constraints", "name_constraints", |parts| {
            let der = [0x30, 7, 0xa0, 5, 0x30, 3, 0x82, 1, b'a'];
            parts
                .leaf
                .custom_extensions
                .push(extension(&[2, 5, 29, 30], true, &der));
        }),
    ];
    for (what, expected, change) in changes {
        assert_eq!(judged(change), *expected, "{what}");
    }
}

#[test]
fn c04_each_field_of_an_authority_or_root_broken_in_turn_is_refused() {
    type Change = fn(&mut Parts);
    let changes: &[(&str, &str, Change)] = &[
        ("an expired authority", "expired", |parts| {
            parts.authority.not_after = now() - Duration::seconds(1)
        }),
        ("an authority to come", "not_valid_yet", |parts| {
            parts.authority.not_before = now() + Duration::seconds(1)
        }),
        ("an expired root", "root_expired", |parts| {
            parts.root.not_after = now() - Duration::seconds(1)
        }),
        ("a root to come", "not_valid_yet", |parts| {
            parts.root.not_before = now() + Duration::seconds(1)
        }),
        ("no authority", "basic_constraints", |parts| {
            parts.authority.is_ca = IsCa::ExplicitNoCa
        }),
        ("no basic constraints", "basic_constraints", |parts| {
            parts.authority.is_ca = IsCa::NoCa
        }),
        ("a root that is none", "bad_root", |parts| {
            parts.root.is_ca = IsCa::ExplicitNoCa
        }),
        ("a root that may not sign", "bad_root", |parts| {
            parts.root.key_usages = vec![KeyUsagePurpose::CrlSign]
        }),
        ("an authority that may not sign", "key_usage", |parts| {
            parts.authority.key_usages = vec![KeyUsagePurpose::CrlSign]
        }),
        ("a root with nobody below", "path_length", |parts| {
            parts.root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))
        }),
        (
            "an authority without authority key identifier",
            "key_identifiers",
            |parts| {
                parts.authority.use_authority_key_identifier_extension = false;
            },
        ),
        ("an authority for another use", "extended_key_usage", |parts| {
            parts.authority.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }),
        ("an unknown critical extension", "critical_extension", |parts| {
            parts
                .authority
                .custom_extensions
                .push(extension(&[1, 3, 6, 1, 4, 1, 99999, 1], true, &[5, 0]));
        }),
        ("a root with one", "bad_root", |parts| {
            parts
                .root
                .custom_extensions
                .push(extension(&[1, 3, 6, 1, 4, 1, 99999, 1], true, &[5, 0]));
        }),
        ("a serial of 21 octets", "serial", |parts| {
            parts.authority.serial_number = Some(SerialNumber::from_slice(&[1; 21]));
        }),
        ("an authority without a name", "names", |parts| {
            parts.authority.distinguished_name = DistinguishedName::new()
        }),
        ("names outside", "name_constraints", |parts| {
            parts.authority.name_constraints = names(&["other.com"], &[])
        }),
        ("excluded names", "name_constraints", |parts| {
            parts.authority.name_constraints = names(&[], &["example.com"])
        }),
        ("a root's constraint", "name_constraints", |parts| {
            parts.root.name_constraints = names(&["other.com"], &[])
        }),
        ("addresses outside", "name_constraints", |parts| {
            parts.authority.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix(
                    [192, 168, 0, 0],
                    16,
                ))],
                excluded_subtrees: vec![],
            });
        }),
        ("a constraint that is no name", "name_constraints", |parts| {
            parts.authority.name_constraints = names(&["*.example.com"], &[]);
        }),
        ("policy constraints that are not critical", "extension", |parts| {
            parts
                .authority
                .custom_extensions
                .push(extension(&[2, 5, 29, 36], false, &[0x30, 3, 0x80, 1, 0]));
        }),
    ];
    for (what, expected, change) in changes {
        assert_eq!(judged(change), *expected, "{what}");
    }
}

#[test]
fn c04_what_was_not_signed_by_a_root_is_refused() {
    let (one, other) = (good().made(), good().made());
    let with = |key: &str, value: Value| {
        let mut document = one.document();
        document[key] = value;
        reason(&document)
    };
    assert_eq!(with("roots", json!([other.root])), "bad_signature");
    assert_eq!(with("intermediates", json!([])), "unknown_issuer");
    assert_eq!(with("intermediates", json!([other.authority])), "bad_signature");
    assert_eq!(
        with("intermediates", json!([other.authority, one.authority, one.root])),
        "ok"
    );
    assert_eq!(with("roots", json!([other.root, one.root])), "ok");
    assert_eq!(with("leaf", json!(one.root)), "basic_constraints");
    assert_eq!(with("role", json!("client")), "ok");
    assert_eq!(with("expect", json!("10.1.2.3")), "ok");
    assert_eq!(with("expect", json!("10.1.2.4")), "wrong_name");
    assert_eq!(with("expect", Value::Null), "ok");
    assert_eq!(with("time", json!("2026-03-01T23:59:59.999Z")), "ok");
    assert_eq!(with("time", json!("2026-03-02T08:00:00.999+08:00")), "ok");
    assert_eq!(with("time", json!("2026-03-02T00:00:01Z")), "root_expired");
}

#[test]
fn c04_a_list_is_enforced_for_every_authority_that_it_covers() {
    let (one, other) = (good().made(), good().made());
    let with = |crls: &[String]| {
        let mut document = one.document();
        document["crls"] = json!(crls);
        reason(&document)
    };
    let revoke = |serial: u8| {
        move |list: &mut CertificateRevocationListParams| {
            list.revoked_certs[0].serial_number = SerialNumber::from_slice(&[serial; 16]);
        }
    };
    let clean = one.list(|_| {});
    assert_eq!(with(&[]), "ok");
    assert_eq!(
        with(std::slice::from_ref(&clean)),
        "ok",
        "the root's list is not demanded"
    );
    assert_eq!(with(&[one.list(revoke(3))]), "revoked");
    assert_eq!(
        with(&[one.list(|list| list.next_update = now() - Duration::seconds(1))]),
        "crl_expired"
    );
    assert_eq!(
        with(&[one.list(|list| list.this_update = now() + Duration::seconds(1))]),
        "crl_not_valid_yet"
    );
    assert_eq!(
        with(&[other.list(|_| {})]),
        "crl_signature",
        "an authority of the same name"
    );
    assert_eq!(
        with(&[other.list(revoke(3)), clean.clone()]),
        "ok",
        "it speaks of another authority's certificates"
    );
    let number = |number: u8| {
        move |list: &mut CertificateRevocationListParams| {
            list.crl_number = SerialNumber::from_slice(&[number]);
            list.next_update = now() - Duration::seconds(1);
        }
    };
    assert_eq!(
        with(&[one.list(number(6)), clean.clone()]),
        "ok",
        "a newer list has taken its place"
    );
    assert_eq!(with(&[one.list(number(8)), clean.clone()]), "crl_expired");
    // The root's list covers the authority.
    let from_root = |serial: u8| {
        let params = CertificateRevocationListParams {
            this_update: now() - DAY,
            next_update: now() + DAY,
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from_slice(&[serial; 16]),
                revocation_time: now() - DAY,
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&one.root_issuer).unwrap().pem().unwrap()
    };
    assert_eq!(with(&[from_root(2), clean.clone()]), "revoked");
    assert_eq!(with(&[from_root(3), clean]), "ok", "the same serial, issued by another");
    let changed = one.list(|_| {}).replacen("\nM", "\nA", 1);
    assert_eq!(with(&[changed]), "crl_malformed");
}
