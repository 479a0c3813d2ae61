//! A federation in a directory: founded, grown, kept.

use super::*;
use crate::NodeKeys;
use crate::renumber::{NextKeys, Request};
use crate::verify::{Role, verify_chain};
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::trust::Trust;

fn code(text: &str) -> DivisionCode {
    text.parse().unwrap()
}

fn name() -> FederationName {
    "hubei.sanku.test".parse().unwrap()
}

fn now() -> Time {
    "2026-03-01T00:00:00.000Z".parse().unwrap()
}

fn node(text: &str, endpoint: &str) -> NewNode {
    NewNode {
        code: code(text),
        name: "某中心".to_owned(),
        endpoints: vec![endpoint.to_owned()],
        categories: Vec::new(),
    }
}

fn founded() -> (tempfile::TempDir, Federation) {
    let place = tempfile::tempdir().unwrap();
    let this = Federation::init(place.path(), &name(), node("420000", "127.0.0.1:7443"), now()).unwrap();
    (place, this)
}

fn trust(place: &Path, of: &str, federation: &Federation) -> Trust {
    let notes = notes_in(&place.join(of)).unwrap();
    let notes = notes.iter().map(Vec::as_slice);
    let (trust, refused) = Trust::from_notes(name(), federation.fingerprint, notes, now());
    assert_eq!(refused, []);
    trust
}

/// Every file with its bytes.
fn files(place: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(place).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_node_loads_keys_that_the_registry_names_and_a_chain_that_holds() {
    let (place, this) = founded();
    for (code, port) in [("421000", 7444), ("421002", 7445), ("429004", 7446)] {
        this.add(node(code, &format!("127.0.0.1:{port}")), now()).unwrap();
    }
    for of in ["420000", "421000", "421002", "429004"] {
        let keys = NodeKeys::load(&place.path().join(of), &name(), code(of), 1).unwrap();
        let trust = trust(place.path(), of, &this);
        let row = trust.registry().unwrap().1.node(code(of)).unwrap().clone();
        assert_eq!(row.logs[0].key, *keys.log.verifier());
        assert_eq!(row.witness_keys[0].key, *keys.witness.verifier());
        assert_eq!(row.sealing_keys[0].key, keys.sealing.public().unwrap());
        assert_eq!(
            verify_chain(&keys.chain, Role::Server, &trust, now()).unwrap().code,
            code(of)
        );
        assert_eq!(
            trust.registry().unwrap().1.nodes.len(),
            4,
            "every node has the newest registry"
        );
        assert_eq!(format!("{keys:?}"), format!("NodeKeys(hubei.sanku.test/node/{of}/1)"));
    }
}

#[test]
fn founding_or_adding_again_changes_nothing_and_says_so() {
    let (place, this) = founded();
    this.add(node("421000", "127.0.0.1:7444"), now()).unwrap();
    let before = files(place.path());
    let again = Federation::init(place.path(), &name(), node("420000", "127.0.0.1:7443"), now());
    assert!(matches!(again, Err(CertsError::Exists(_))));
    let again = this.add(node("421000", "127.0.0.1:9"), now());
    assert!(matches!(again, Err(CertsError::AlreadyMember(known)) if known == code("421000")));
    assert!(files(place.path()) == before);
    std::fs::remove_file(place.path().join("421000/notes/registry.note")).unwrap();
    assert!(this.add(node("421000", "127.0.0.1:7444"), now()).is_err());
    assert!(
        files(place.path()) == before,
        "a note that did not arrive is handed out"
    );
}

#[test]
fn an_addition_that_was_interrupted_goes_on_with_the_same_keys() {
    let (place, this) = founded();
    let registry = std::fs::read(place.path().join("authority/notes/registry.note")).unwrap();
    this.add(node("421000", "127.0.0.1:7444"), now()).unwrap();
    let log = NodeKeys::load(&place.path().join("421000"), &name(), code("421000"), 1)
        .unwrap()
        .log;
    // As if it had stopped before the registry was published, and one key had not been made yet.
    std::fs::write(place.path().join("authority/notes/registry.note"), registry).unwrap();
    std::fs::remove_file(place.path().join("421000/keys/index.key")).unwrap();
    std::fs::remove_file(place.path().join("421000/certs/chain.pem")).unwrap();
    this.add(node("421000", "127.0.0.1:7444"), now()).unwrap();
    let keys = NodeKeys::load(&place.path().join("421000"), &name(), code("421000"), 1).unwrap();
    assert_eq!(keys.log.verifier(), log.verifier());
}

#[test]
fn what_cannot_be_added_is_refused_before_anything_is_made() {
    let (place, this) = founded();
    let before = files(place.path());
    let outside = this.add(node("430000", "127.0.0.1:1"), now());
    assert!(matches!(outside, Err(CertsError::OutsideProvince(_, province)) if province == code("420000")));
    for endpoint in [
        "",
        "127.0.0.1",
        ":7443",
        "a b:1",
        "host:0",
        "host:99999",
        "::1:7443",
        "[::1:7443",
        "http://a:1/",
    ] {
        let refused = this.add(node("421000", endpoint), now());
        assert!(matches!(refused, Err(CertsError::Endpoint(_))), "{endpoint}");
    }
    assert!(files(place.path()) == before);
    let empty = tempfile::tempdir().unwrap();
    let refused = Federation::init(empty.path(), &name(), node("421000", "127.0.0.1:1"), now());
    assert!(matches!(refused, Err(CertsError::Make(_))));
    assert!(matches!(
        Federation::open(empty.path()),
        Err(CertsError::NoFederation(_))
    ));
    assert_eq!(split_endpoint("[::1]:7443").unwrap(), ("::1", 7443));
}

#[test]
fn renewal_gives_a_new_key_and_whatever_stops_it_the_pair_fits() {
    let (place, this) = founded();
    let folder = place.path().join("420000");
    let load = || NodeKeys::load(&folder, &name(), code("420000"), 1);
    let old = load().unwrap();
    let (old_key, old_chain) = (
        std::fs::read(folder.join("keys/tls.key")).unwrap(),
        std::fs::read(folder.join("certs/chain.pem")).unwrap(),
    );
    this.renew(code("420000"), now()).unwrap();
    let new = load().unwrap();
    assert_ne!(old.chain[0], new.chain[0]);
    assert_ne!(old.tls.secret_der(), new.tls.secret_der());
    assert!(!folder.join("keys/tls-next.key").exists());
    assert!(verify_chain(&new.chain, Role::Client, &trust(place.path(), "420000", &this), now()).is_ok());
    // The old key under the new chain does not fit, and says so.
    std::fs::write(folder.join("keys/tls.key"), &old_key).unwrap();
    assert!(matches!(load(), Err(CertsError::Pair(_))));
    // Stopped before the chain was replaced: the old pair fits, and the next renewal goes on.
    std::fs::write(folder.join("certs/chain.pem"), &old_chain).unwrap();
    assert_eq!(load().unwrap().chain[0], old.chain[0]);
    let keys = KeyFiles::open(&folder.join("keys"), &folder.join("key-file")).unwrap();
    keys.replace("tls-next", new.tls.secret_der()).unwrap();
    assert_eq!(load().unwrap().chain[0], old.chain[0]);
    // Stopped after it: the new pair fits.
    this.keep_chain(
        &folder,
        &Issued {
            key: Zeroizing::new(Vec::new()),
            certificate: new.chain[0].to_vec(),
        },
    )
    .unwrap();
    assert_eq!(load().unwrap().tls.secret_der(), new.tls.secret_der());
    this.renew(code("420000"), now()).unwrap();
    assert!(load().is_ok());
    assert!(matches!(
        this.renew(code("421000"), now()),
        Err(CertsError::NotMember(_))
    ));
}

#[test]
fn fresh_notes_have_higher_numbers_also_when_the_clock_went_back() {
    let (place, this) = founded();
    let numbers = || {
        let trust = trust(place.path(), "420000", &this);
        trust
            .list()
            .map(|(name, held)| (name.to_owned(), held.reference.number))
            .collect::<Vec<_>>()
    };
    let before = numbers();
    this.reissue(now().minus(Duration::from_secs(60))).unwrap();
    let rose = numbers()
        .iter()
        .zip(&before)
        .filter(|(now, before)| now.1 > before.1)
        .count();
    assert_eq!(rose, 2, "registry and revocations");
}

#[test]
fn the_province_itself_is_suspended_and_resumed_by_its_root() {
    let (place, this) = founded();
    this.suspend(code("420000"), "a test", now()).unwrap();
    let judged = || trust(place.path(), "420000", &this).judge_member(code("420000"));
    assert_eq!(judged(), Err(ProblemKind::Suspended));
    this.resume(code("420000"), now()).unwrap();
    assert_eq!(judged(), Ok(()));
    assert!(matches!(
        this.suspend(code("421002"), "a test", now()),
        Err(CertsError::NotMember(_))
    ));
    assert!(this.revoke_certificate(code("420000"), "XY", "a test", now()).is_err());
}

#[test]
fn no_secret_lies_open_in_the_directory() {
    let (place, this) = founded();
    let folder = place.path().join("420000");
    let keys = NodeKeys::load(&folder, &name(), code("420000"), 1).unwrap();
    let publisher = this.keys.load("publisher").unwrap();
    let secrets: [&[u8]; 4] = [keys.log.seed(), &*keys.storage, keys.tls.secret_der(), &publisher];
    for (path, bytes) in files(place.path()) {
        for secret in secrets {
            let encoded = STANDARD.encode(secret);
            let open = bytes.windows(secret.len()).any(|window| window == secret)
                || String::from_utf8_lossy(&bytes).contains(&encoded);
            assert!(!open, "{}", path.display());
        }
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let secret = path.extension().is_some_and(|extension| extension == "key") || path.ends_with("key-file");
        assert_eq!(mode, if secret { 0o600 } else { 0o644 }, "{}", path.display());
    }
}

#[test]
fn two_commands_at_once_lose_neither_node() {
    let (place, _) = founded();
    let codes = ["421000", "420500", "429004", "420100"];
    std::thread::scope(|scope| {
        for code in codes {
            let place = place.path();
            scope.spawn(move || {
                let this = Federation::open(place).unwrap();
                this.add(node(code, "127.0.0.1:1"), now()).unwrap();
            });
        }
    });
    let this = Federation::open(place.path()).unwrap();
    assert_eq!(this.registry().unwrap().nodes.len(), 5);
    for of in codes {
        assert_eq!(trust(place.path(), of, &this).registry().unwrap().1.nodes.len(), 5);
    }
}

/// A node's request for its next log.
fn request(place: &Path, of: &str, planned: bool, seen: &[(u64, &str)], at: Time) -> (Vec<u8>, Hash) {
    let folder = place.join(of);
    let row = Federation::open(place)
        .unwrap()
        .registry()
        .unwrap()
        .node(code(of))
        .unwrap()
        .clone();
    let before = row.logs.last().unwrap().number;
    let keys = NodeKeys::load(&folder, &name(), code(of), before).unwrap();
    let next = NextKeys::make(&folder, &name(), code(of), before + 1).unwrap();
    let request = Request {
        code: code(of),
        planned,
        before,
        holds: 1,
        seen: seen
            .iter()
            .map(|(size, root)| checkpoint(&keys.log, *size, root))
            .collect(),
        number: before + 1,
        log: next.log.verifier().clone(),
        witness: next.witness.verifier().clone(),
    };
    let note = request.sign(&name(), &keys.log, &next.log, at).unwrap();
    (note.to_string().into_bytes(), Request::fingerprint(&note))
}

fn checkpoint(key: &SigningKey, size: u64, root: &str) -> String {
    let checkpoint = sanku_tlog::Checkpoint {
        origin: key.verifier().name().to_owned(),
        size,
        root: Hash::of(root.as_bytes()),
    };
    checkpoint.sign(key).unwrap().to_string()
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_node_gets_its_next_log_number_once_its_fingerprint_was_compared() {
    let (place, this) = founded();
    this.add(node("421000", "127.0.0.1:7444"), now()).unwrap();
    let (asked, fingerprint) = request(place.path(), "421000", false, &[(5, "5"), (7, "7")], now());
    let before = files(&place.path().join("authority"));
    let planned = this.renumber(&asked, None, &[], true, now()).unwrap();
    assert_eq!(
        (planned.number, planned.final_size, planned.fingerprint),
        (2, Some(7), Some(fingerprint))
    );
    for wrong in [None, Some(Hash::of(b"another"))] {
        let refused = this.renumber(&asked, wrong, &[], false, now()).unwrap_err();
        assert!(refused.to_string().contains(&fingerprint.to_string()), "{refused}");
    }
    assert!(files(&place.path().join("authority")) == before, "nothing was changed");

    let done = this.renumber(&asked, Some(fingerprint), &[], false, now()).unwrap();
    assert_eq!(done, planned);
    let trust = trust(place.path(), "420000", &this);
    let row = trust.registry().unwrap().1.node(code("421000")).unwrap().clone();
    let keys = NodeKeys::load(&place.path().join("421000"), &name(), code("421000"), 2).unwrap();
    assert_eq!(row.logs[1].key, *keys.log.verifier());
    assert_eq!(row.witness_keys[1].key, *keys.witness.verifier());
    assert_eq!((row.logs[0].final_size, row.logs[0].until), (Some(7), now()));
    assert_eq!((row.witness_keys[0].until, row.logs[1].final_size), (now(), None));
    // The old key is there, and signs no more than what it signed.
    assert_eq!(keys.earlier[0].verifier(), &row.logs[0].key);
    let again = this.renumber(&asked, Some(fingerprint), &[], false, now()).unwrap_err();
    assert!(again.to_string().contains("already"), "{again}");
}

#[test]
fn the_final_size_rises_within_a_day_and_then_stands() {
    let (place, this) = founded();
    this.add(node("421000", "127.0.0.1:7444"), now()).unwrap();
    let old = NodeKeys::load(&place.path().join("421000"), &name(), code("421000"), 1)
        .unwrap()
        .log;
    let (asked, fingerprint) = request(place.path(), "421000", false, &[], now());
    let nobody = this.renumber(&asked, Some(fingerprint), &[], false, now()).unwrap_err();
    assert!(nobody.to_string().contains("sanku log seen"), "{nobody}");
    let seen = |size: u64| vec![checkpoint(&old, size, &size.to_string())];
    this.renumber(&asked, Some(fingerprint), &seen(4), false, now())
        .unwrap();
    let later = now().plus(HOUR * 23);
    let close = |size, at| this.close_log(code("421000"), 1, &seen(size), false, at);
    assert!(close(4, later).is_err() && close(3, later).is_err(), "it only rises");
    assert_eq!(close(9, later).unwrap().final_size, Some(9));
    let late = close(12, now().plus(HOUR * 25)).unwrap_err();
    assert!(late.to_string().contains("24"), "{late}");
    assert!(
        this.close_log(code("421000"), 2, &seen(9), false, later).is_err(),
        "the newest stays open"
    );
    // Another key's word raises nothing.
    let stranger = SigningKey::generate(old.verifier().name(), KeyType::Ed25519).unwrap();
    let forged = [checkpoint(&stranger, 99, "99")];
    assert!(this.close_log(code("421000"), 1, &forged, false, later).is_err());
    let row = this.registry().unwrap().node(code("421000")).unwrap().clone();
    assert_eq!((row.logs[0].final_size, row.logs[0].until), (Some(9), now()));
}

#[test]
fn a_planned_rotation_closes_nothing_before_the_node_has_ended_its_log() {
    let (place, this) = founded();
    let (asked, fingerprint) = request(place.path(), "420000", true, &[], now());
    let done = this.renumber(&asked, Some(fingerprint), &[], false, now()).unwrap();
    assert_eq!((done.final_size, done.number), (None, 2));
    let row = |this: &Federation| this.registry().unwrap().node(code("420000")).unwrap().clone();
    assert_eq!(row(&this).logs[0].final_size, None);
    assert!(row(&this).witness_keys[0].until > now());
    // The province's own logs: its root signs that registry, too.
    let bytes = std::fs::read(place.path().join("authority/notes/registry.note")).unwrap();
    let root = this.root_key().unwrap();
    assert!(RawNote::parse(&bytes).unwrap().signed_by(root.verifier()).is_ok());
    let old = NodeKeys::load(&place.path().join("420000"), &name(), code("420000"), 1)
        .unwrap()
        .log;
    let end = [checkpoint(&old, 3, "3")];
    this.close_log(code("420000"), 1, &end, false, now().plus(HOUR))
        .unwrap();
    assert_eq!(
        (row(&this).logs[0].final_size, row(&this).logs[0].until),
        (Some(3), now().plus(HOUR))
    );
}

#[test]
fn a_request_that_was_changed_or_signed_by_others_or_is_old_is_refused() {
    let (place, this) = founded();
    this.add(node("421000", "127.0.0.1:7444"), now()).unwrap();
    let (asked, fingerprint) = request(place.path(), "421000", false, &[(5, "5")], now());
    let text = String::from_utf8(asked.clone()).unwrap();
    let last = text.trim_end().rfind('\n').unwrap();
    let changed = [
        text.replace("\"planned\":false", "\"planned\":true"),
        text.replace("\"number\":2", "\"number\":3"),
        text.replace("421000", "420000"),
        text[..=last].to_owned(),
    ];
    for bytes in changed {
        assert!(
            this.renumber(bytes.as_bytes(), Some(fingerprint), &[], true, now())
                .is_err(),
            "{bytes}"
        );
    }
    let week = now().plus(HOUR * 24 * 8);
    assert!(this.renumber(&asked, Some(fingerprint), &[], true, week).is_err());
    assert!(
        this.renumber(&asked, Some(fingerprint), &[], true, now().minus(HOUR))
            .is_err()
    );
    // Keys that an interrupted run made are used again, and none is ever replaced.
    let keys = files(&place.path().join("421000/keys"));
    let (again, _) = request(place.path(), "421000", false, &[(5, "5")], now());
    assert!(files(&place.path().join("421000/keys")) == keys);
    assert_eq!(again, asked);
}
