//! The root's keys (根密钥), offline: sealed once for each pair of three custodians (保管人), so that any two open them and
//! nobody alone does. `FORMATS.md` fixes the bytes.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sanku_federation_protocol::names::Word;
use sanku_federation_protocol::notes::name;
use sanku_tlog::{Hash, KeyType, SigningKey, VerifierKey};
use sanku_values::FederationName;
use zeroize::Zeroizing;

use crate::CertsError;
use crate::keys::{derive, open, read_private, seal, write_new, write_whole};
use crate::passphrase::{Passphrase, Stretching};

const HEADER: &str = "sanku root key v1";
/// Which custodians make a pair.
const PAIRS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];

/// A custodian: the name by which the file knows them, and their passphrase.
pub type Custodian<'a> = (&'a Word, &'a Passphrase);

/// The root's keys: for notes, as a witness of last resort, for certificates. `Debug` shows nothing secret.
pub struct RootKeys {
    /// Signs root notes, delegations and the first people notes.
    pub note: SigningKey,
    /// Cosigns where no majority can.
    pub witness: SigningKey,
    /// P-384, PKCS #8: signs authorities' certificates.
    pub certificates: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for RootKeys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "RootKeys({})", self.note.verifier().name())
    }
}

impl RootKeys {
    /// Fresh keys for a federation.
    pub fn generate(federation: &FederationName) -> Result<Self, CertsError> {
        let made = |error: String| CertsError::Make(error);
        let key = |name: &str, kind| SigningKey::generate(name, kind).map_err(|error| made(error.to_string()));
        let certificates = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384);
        Ok(Self {
            note: key(&name::root(federation), KeyType::Ed25519)?,
            witness: key(&witness_name(federation), KeyType::CosignatureV1)?,
            certificates: Zeroizing::new(certificates.map_err(|error| made(error.to_string()))?.serialize_der()),
        })
    }

    /// SHA-256 of the vkey text: what every node is told when it enrols.
    pub fn fingerprint(&self) -> Hash {
        Hash::of(self.note.verifier().to_string().as_bytes())
    }

    /// Seeds of 32 octets each, then PKCS #8.
    fn bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([self.note.seed(), self.witness.seed(), self.certificates.as_slice()].concat())
    }

    fn of(bytes: &[u8], key: &VerifierKey) -> Option<Self> {
        let (note, rest) = bytes.split_first_chunk::<32>()?;
        let (witness, certificates) = rest.split_first_chunk::<32>()?;
        let federation = key.name().strip_suffix("/root")?.parse().ok()?;
        let this = Self {
            note: SigningKey::from_seed(key.name(), KeyType::Ed25519, *note).ok()?,
            witness: SigningKey::from_seed(&witness_name(&federation), KeyType::CosignatureV1, *witness).ok()?,
            certificates: Zeroizing::new(certificates.to_vec()),
        };
        (this.note.verifier() == key).then_some(this)
    }
}

fn witness_name(federation: &FederationName) -> String {
    format!("{federation}/witness/root")
}

/// Keeps the root's keys in a file, which must not exist, under three custodians.
///
/// # Errors
/// If two custodians have one name or one passphrase, or there is a file already.
pub fn keep(path: &Path, keys: &RootKeys, custodians: [Custodian<'_>; 3]) -> Result<(), CertsError> {
    write_new(path, text(keys, custodians)?.as_bytes())
}

/// Opens the root's keys with two custodians' passphrases.
///
/// # Errors
/// [`CertsError::Passphrase`] if a passphrase is not the one or the file was changed; [`CertsError::Custodians`] if these are
/// not two of the file's custodians.
pub fn open_with(path: &Path, custodians: [Custodian<'_>; 2]) -> Result<RootKeys, CertsError> {
    let sealed = Sealed::read(path)?;
    let place = |custodian: Custodian<'_>| sealed.custodians.iter().position(|(id, _)| id == custodian.0);
    let [mut one, mut two] = custodians;
    let (Some(mut first), Some(mut second)) = (place(one), place(two)) else {
        return Err(CertsError::Custodians);
    };
    if first > second {
        (one, two, first, second) = (two, one, second, first);
    }
    let pair = PAIRS.iter().position(|pair| *pair == (first, second));
    let pair = pair.ok_or(CertsError::Custodians)?;
    let one = sealed.custodians[first].1.stretch(one.1)?;
    let two = sealed.custodians[second].1.stretch(two.1)?;
    let opened = open(
        &*pair_key(&one, &two, pair)?,
        sealed.head.as_bytes(),
        &sealed.pairs[pair],
    );
    opened
        .and_then(|bytes| RootKeys::of(&bytes, &sealed.key))
        .ok_or_else(|| CertsError::Passphrase(path.to_owned()))
}

/// The names of a file's custodians, and the root's public key: needs no passphrase.
pub fn held_by(path: &Path) -> Result<(VerifierKey, [Word; 3]), CertsError> {
    let sealed = Sealed::read(path)?;
    Ok((sealed.key, sealed.custodians.map(|(id, _)| id)))
}

/// Two custodians hand the root's keys to three, of whom some may be the same; whatever interrupts it, the file opens as
/// before or as after.
pub fn hand_over(path: &Path, from: [Custodian<'_>; 2], to: [Custodian<'_>; 3]) -> Result<(), CertsError> {
    let keys = open_with(path, from)?;
    write_whole(path, text(&keys, to)?.as_bytes(), 0o600)
}

/// The key of a pair: both stretched passphrases, in the file's order.
fn pair_key(one: &[u8; 32], two: &[u8; 32], pair: usize) -> Result<Zeroizing<[u8; 32]>, CertsError> {
    let both = Zeroizing::new([one.as_slice(), two].concat());
    derive(&both, &format!("sanku/v1/custodians/{pair}"))
}

/// A file's text: what it is, whose it is, the three custodians; then the keys, sealed for each pair and bound to all of that.
fn text(keys: &RootKeys, custodians: [Custodian<'_>; 3]) -> Result<String, CertsError> {
    for (one, two) in PAIRS {
        if custodians[one].0 == custodians[two].0 || custodians[one].1.is(custodians[two].1) {
            return Err(CertsError::Custodians);
        }
    }
    let mut head = format!("{HEADER}\n{}\n", keys.note.verifier());
    let mut stretched = Vec::new();
    for (id, passphrase) in custodians {
        let stretching = Stretching::fresh()?;
        stretched.push(stretching.stretch(passphrase)?);
        let _ = writeln!(head, "{id} {stretching}");
    }
    let mut text = head.clone();
    for (pair, (one, two)) in PAIRS.into_iter().enumerate() {
        let key = pair_key(&stretched[one], &stretched[two], pair)?;
        let sealed = seal(&key, head.as_bytes(), &keys.bytes())?;
        let _ = writeln!(text, "{}", STANDARD.encode(sealed));
    }
    Ok(text)
}

/// A file, taken apart.
struct Sealed {
    key: VerifierKey,
    custodians: [(Word, Stretching); 3],
    head: String,
    pairs: [Vec<u8>; 3],
}

impl Sealed {
    fn read(path: &Path) -> Result<Self, CertsError> {
        let text = read_private(path)?;
        let read = || {
            let lines: Vec<_> = text.strip_suffix('\n')?.split('\n').collect();
            let [HEADER, key, a, b, c, ab, ac, bc] = lines[..] else {
                return None;
            };
            let custodian = |line: &str| {
                let (id, stretching) = line.split_once(' ')?;
                Some((id.parse().ok()?, stretching.parse().ok()?))
            };
            let sealed = |line: &str| STANDARD.decode(line).ok();
            Some(Self {
                key: key.parse().ok()?,
                custodians: [custodian(a)?, custodian(b)?, custodian(c)?],
                head: lines[..5].iter().fold(String::new(), |head, line| head + line + "\n"),
                pairs: [sealed(ab)?, sealed(ac)?, sealed(bc)?],
            })
        };
        read().ok_or_else(|| CertsError::NotAFile(path.to_owned(), "根密钥 the root's key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned()).unwrap()
    }

    struct World {
        place: tempfile::TempDir,
        ids: [Word; 4],
        passphrases: [Passphrase; 4],
    }

    impl World {
        fn new() -> Self {
            Self {
                place: tempfile::tempdir().unwrap(),
                ids: ["chen", "li", "wang", "zhao"].map(|id| id.parse().unwrap()),
                passphrases: [
                    "passphrase of chen",
                    "passphrase of li",
                    "passphrase of wang",
                    "passphrase of zhao",
                ]
                .map(passphrase),
            }
        }

        fn path(&self) -> std::path::PathBuf {
            self.place.path().join("root.key")
        }

        fn custodian(&self, place: usize) -> Custodian<'_> {
            (&self.ids[place], &self.passphrases[place])
        }

        fn open(&self, one: usize, two: usize) -> Result<RootKeys, CertsError> {
            open_with(&self.path(), [self.custodian(one), self.custodian(two)])
        }

        fn keep(&self) -> RootKeys {
            let keys = RootKeys::generate(&"hubei.example".parse().unwrap()).unwrap();
            keep(&self.path(), &keys, [0, 1, 2].map(|place| self.custodian(place))).unwrap();
            keys
        }
    }

    #[test]
    fn any_two_of_three_custodians_open_the_root_and_nobody_alone() {
        let world = World::new();
        let keys = world.keep();
        for (one, two) in [(0, 1), (2, 0), (1, 2)] {
            let opened = world.open(one, two).unwrap();
            assert_eq!(opened.bytes(), keys.bytes());
            assert_eq!(opened.fingerprint(), keys.fingerprint());
        }
        assert!(
            matches!(world.open(0, 0), Err(CertsError::Custodians)),
            "one person twice"
        );
        assert!(matches!(world.open(0, 3), Err(CertsError::Custodians)), "a stranger");
        let borrowed = open_with(
            &world.path(),
            [world.custodian(0), (&world.ids[1], &world.passphrases[0])],
        );
        assert!(
            matches!(borrowed, Err(CertsError::Passphrase(_))),
            "one passphrase under two names"
        );
        let (key, ids) = held_by(&world.path()).unwrap();
        assert_eq!(key, *keys.note.verifier());
        assert_eq!(ids, [0, 1, 2].map(|place| world.ids[place].clone()));
        assert_eq!(format!("{keys:?}"), "RootKeys(hubei.example/root)");
        let text = std::fs::read_to_string(world.path()).unwrap();
        for secret in [keys.note.seed().as_slice(), keys.witness.seed(), &keys.certificates] {
            assert!(!text.contains(&STANDARD.encode(secret)));
        }
    }

    #[test]
    fn a_departed_custodian_opens_nothing_after_the_hand_over() {
        let world = World::new();
        let keys = world.keep();
        let to = [0, 1, 3].map(|place| world.custodian(place));
        assert!(hand_over(&world.path(), [world.custodian(0), world.custodian(3)], to).is_err());
        hand_over(&world.path(), [world.custodian(0), world.custodian(1)], to).unwrap();
        assert!(matches!(world.open(0, 2), Err(CertsError::Custodians)));
        assert_eq!(world.open(3, 1).unwrap().bytes(), keys.bytes());
    }

    #[test]
    fn custodians_are_three_people_with_three_passphrases() {
        let world = World::new();
        let keys = world.keep();
        let path = world.place.path().join("another.key");
        let [a, b, c] = [0, 1, 2].map(|place| world.custodian(place));
        assert!(matches!(keep(&path, &keys, [a, b, a]), Err(CertsError::Custodians)));
        assert!(matches!(
            keep(&path, &keys, [a, b, (c.0, a.1)]),
            Err(CertsError::Custodians)
        ));
        assert!(!path.exists());
        assert!(matches!(
            keep(&world.path(), &keys, [a, b, c]),
            Err(CertsError::Exists(_))
        ));
    }

    #[test]
    fn a_changed_file_of_the_root_opens_no_more() {
        let world = World::new();
        world.keep();
        let good = std::fs::read_to_string(world.path()).unwrap();
        let lines: Vec<_> = good.lines().collect();
        let rejudge = |text: &str| {
            write_whole(&world.path(), text.as_bytes(), 0o600).unwrap();
            world.open(0, 1).map(drop)
        };
        let mut sealed = STANDARD.decode(lines[5]).unwrap();
        sealed[40] ^= 1;
        let changed = good.replace(lines[5], &STANDARD.encode(sealed));
        assert!(matches!(rejudge(&changed), Err(CertsError::Passphrase(_))));
        // The third custodian's line is bound to the seal of the first two.
        let renamed = good.replace("wang argon2id", "zhang argon2id");
        assert!(matches!(rejudge(&renamed), Err(CertsError::Passphrase(_))));
        assert!(matches!(
            rejudge(&good.replace("argon2id 65536", "argon2id 1")),
            Err(CertsError::NotAFile(..))
        ));
        assert!(matches!(rejudge(&lines[..7].join("\n")), Err(CertsError::NotAFile(..))));
        assert!(rejudge(&good).is_ok());
    }
}
