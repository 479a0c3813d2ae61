//! C-04, C-20: chains and lists that the `openssl` command made, judged under profile `path`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

use std::path::PathBuf;
use std::process::Command;

use sanku_certs::check::check;
use serde_json::{Value, json};

/// A place where openssl works, with a root, an authority and a leaf.
struct Place(tempfile::TempDir);

const ROOT: &str =
    "basicConstraints=critical,CA:true\nsubjectKeyIdentifier=hash\nkeyUsage=critical,keyCertSign,cRLSign\n";
const AUTHORITY: &str = "basicConstraints=critical,CA:true,pathlen:0\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nkeyUsage=critical,keyCertSign,cRLSign\n";
const LEAF: &str = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:node.example.com,IP:10.1.2.3\n";
const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
const P521: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
const ED25519: &[&str] = &["-algorithm", "ED25519"];
const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
const RSA_SHORT: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"];

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) {
        let ran = Command::new("openssl")
            .current_dir(self.0.path())
            .args(arguments)
            .output()
            .expect("the openssl command is needed: apt-get install openssl");
        assert!(
            ran.status.success(),
            "openssl {arguments:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// A certificate `name.pem` for a fresh key, signed by `issuer` or by itself.
    fn certificate(&self, name: &str, issuer: Option<&str>, key: &[&str], extensions: &str, days: &str) {
        self.openssl(&[&["genpkey", "-out", &format!("{name}.key")], key].concat());
        self.write(&format!("{name}.ext"), extensions);
        let subject = format!("/O=Other Product/CN={name}");
        self.openssl(&[
            "req",
            "-new",
            "-key",
            &format!("{name}.key"),
            "-subj",
            &subject,
            "-out",
            &format!("{name}.csr"),
        ]);
        let (csr, ext, out, own) = (
            format!("{name}.csr"),
            format!("{name}.ext"),
            format!("{name}.pem"),
            format!("{name}.key"),
        );
        let mut arguments = vec![
            "x509", "-req", "-in", &csr, "-extfile", &ext, "-out", &out, "-days", days,
        ];
        let (authority, authority_key);
        if let Some(issuer) = issuer {
            (authority, authority_key) = (format!("{issuer}.pem"), format!("{issuer}.key"));
            arguments.extend(["-CA", &authority, "-CAkey", &authority_key, "-CAcreateserial"]);
        } else {
            arguments.extend(["-signkey", &own]);
        }
        self.openssl(&arguments);
    }

    /// Root, authority and leaf with these keys and extensions.
    fn chain(keys: [&[&str]; 3], extensions: [&str; 3]) -> Self {
        let place = Self::new();
        place.certificate("root", None, keys[0], extensions[0], "30");
        place.certificate("authority", Some("root"), keys[1], extensions[1], "30");
        place.certificate("leaf", Some("authority"), keys[2], extensions[2], "30");
        place
    }

    /// A list of `authority`'s, by its own small database.
    fn list(&self, name: &str, revoked: bool, days: &str, extensions: &str) -> String {
        let folder = format!("{name}.db");
        std::fs::create_dir(self.path(&folder)).unwrap();
        self.write(&format!("{folder}/index.txt"), "");
        self.write(&format!("{folder}/crlnumber"), "0A\n");
        let config = format!("{folder}/config");
        self.write(
            &config,
            &format!(
                "[ca]\ndefault_ca=own\n[own]\ndatabase={folder}/index.txt\ncrlnumber={folder}/crlnumber\ncertificate=authority.pem\nprivate_key=authority.key\ndefault_md=sha256\ndefault_crl_days=30\ncrl_extensions=list\npolicy=any\n[any]\ncommonName=supplied\n[list]\nauthorityKeyIdentifier=keyid\n{extensions}"
            ),
        );
        if revoked {
            self.openssl(&["ca", "-config", &config, "-revoke", "leaf.pem"]);
        }
        let out = format!("{name}.crl");
        self.openssl(&["ca", "-config", &config, "-gencrl", "-crldays", days, "-out", &out]);
        self.read(&out)
    }

    fn document(&self, days_ahead: u64) -> Value {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs()
            + 2;
        json!({
            "roots": [self.read("root.pem")], "intermediates": [self.read("authority.pem")], "leaf": self.read("leaf.pem"),
            "time": rfc3339(now + days_ahead * 86_400), "role": "server", "expect": "node.example.com",
            "profile": "path",
        })
    }

    fn judged(&self) -> &'static str {
        reason(&self.document(0))
    }
}

fn rfc3339(seconds: u64) -> String {
    let ran = Command::new("date")
        .args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .unwrap();
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

fn reason(document: &Value) -> &'static str {
    check(document.to_string().as_bytes()).unwrap().reason
}

#[test]
fn c04_openssls_keys_are_judged_by_their_kind() {
    for (keys, expected) in [
        ([P384, P256, P256], "ok"),
        ([P256, P256, ED25519], "ok"),
        ([ED25519, P384, P384], "ok"),
        ([RSA, RSA, RSA], "ok"),
        ([P256, P256, P521], "key_type"),
        ([P256, P256, RSA_SHORT], "key_type"),
        ([RSA_SHORT, P256, P256], "bad_root"),
    ] {
        assert_eq!(
            Place::chain(keys, [ROOT, AUTHORITY, LEAF]).judged(),
            expected,
            "{keys:?}"
        );
    }
}

#[test]
fn c04_openssls_extensions_are_judged() {
    let judged = |extensions: [&str; 3]| Place::chain([P256, P256, P256], extensions).judged();
    let with = |base: &str, more: &str| format!("{base}{more}\n");
    let permitted = with(AUTHORITY, "nameConstraints=critical,permitted;DNS:example.com");
    assert_eq!(judged([ROOT, &permitted, LEAF]), "ok");
    let elsewhere = with(AUTHORITY, "nameConstraints=critical,permitted;DNS:example.org");
    assert_eq!(judged([ROOT, &elsewhere, LEAF]), "name_constraints");
    let excluded = with(AUTHORITY, "nameConstraints=critical,excluded;IP:10.0.0.0/255.0.0.0");
    assert_eq!(judged([ROOT, &excluded, LEAF]), "name_constraints");
    assert_eq!(
        judged([ROOT, AUTHORITY, &with(LEAF, "1.3.6.1.4.1.99999.1=critical,DER:0500")]),
        "critical_extension"
    );
    assert_eq!(
        judged([ROOT, AUTHORITY, &with(LEAF, "1.3.6.1.4.1.99999.1=DER:0500")]),
        "ok"
    );
    assert_eq!(
        judged([&ROOT.replace("CA:true", "CA:true,pathlen:0"), AUTHORITY, LEAF]),
        "path_length"
    );
    assert_eq!(
        judged([ROOT, &AUTHORITY.replace("CA:true,pathlen:0", "CA:false"), LEAF]),
        "basic_constraints"
    );
    assert_eq!(
        judged([ROOT, &AUTHORITY.replace("keyCertSign,", ""), LEAF]),
        "key_usage"
    );
    assert_eq!(
        judged([ROOT, AUTHORITY, &LEAF.replace("serverAuth", "clientAuth")]),
        "extended_key_usage"
    );
    assert_eq!(
        judged([ROOT, AUTHORITY, &LEAF.replace("node.example.com", "node.example.org")]),
        "wrong_name"
    );
    // What `openssl req -x509` writes without being asked: an authority key identifier, and no key usage.
    let plain =
        "basicConstraints=critical,CA:true\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always,issuer\n";
    assert_eq!(judged([plain, AUTHORITY, LEAF]), "ok");
}

#[test]
fn c04_openssls_roots_and_leaves_expire() {
    let place = Place::new();
    place.certificate("root", None, P256, ROOT, "10");
    place.certificate("authority", Some("root"), P256, AUTHORITY, "30");
    place.certificate("leaf", Some("authority"), P256, LEAF, "20");
    assert_eq!(reason(&place.document(9)), "ok");
    assert_eq!(reason(&place.document(11)), "root_expired");
    let place = Place::chain([P256, P256, P256], [ROOT, AUTHORITY, LEAF]);
    let other = Place::chain([P256, P256, P256], [ROOT, AUTHORITY, LEAF]);
    let mut document = place.document(0);
    document["roots"] = json!([other.read("root.pem")]);
    assert_ne!(reason(&document), "ok", "another root of the same name");
}

#[test]
fn c20_openssls_lists_are_honoured() {
    let place = Place::chain([P256, P256, P256], [ROOT, AUTHORITY, LEAF]);
    let with = |crls: &[&str], days: u64| {
        let mut document = place.document(days);
        document["crls"] = json!(crls);
        reason(&document)
    };
    let clean = place.list("clean", false, "5", "");
    assert_eq!(with(&[&clean], 0), "ok");
    assert_eq!(with(&[&clean], 6), "crl_expired");
    assert_eq!(with(&[&place.list("revoked", true, "5", "")], 0), "revoked");
    let other = Place::chain([P256, P256, P256], [ROOT, AUTHORITY, LEAF]);
    assert_eq!(
        with(&[&other.list("other", false, "5", "")], 0),
        "crl_signature",
        "another authority of the same name"
    );
    assert_eq!(with(&[&other.list("both", true, "5", ""), &clean], 0), "ok");
    let kinds = [
        ("delta", "2.5.29.27=critical,DER:020101\n", "crl_unsupported"),
        (
            "indirect",
            "issuingDistributionPoint=critical,@point\n[point]\nindirectCRL=TRUE\n",
            "crl_unsupported",
        ),
        (
            "reasons",
            "issuingDistributionPoint=critical,@point\n[point]\nonlysomereasons=keyCompromise\n",
            "crl_unsupported",
        ),
        (
            "attributes",
            "issuingDistributionPoint=critical,@point\n[point]\nonlyAA=TRUE\n",
            "crl_unsupported",
        ),
        (
            "users",
            "issuingDistributionPoint=critical,@point\n[point]\nfullname=URI:http://crl.example.com/1\nonlyuser=TRUE\n",
            "revoked",
        ),
        (
            "authorities",
            "issuingDistributionPoint=critical,@point\n[point]\nfullname=URI:http://crl.example.com/1\nonlyCA=TRUE\n",
            "ok",
        ),
    ];
    for (name, extensions, expected) in kinds {
        assert_eq!(with(&[&place.list(name, true, "5", extensions)], 0), expected, "{name}");
    }
}
