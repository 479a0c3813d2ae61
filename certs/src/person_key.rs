//! A person's key (人员密钥): Ed25519, in a file under a passphrase of their own. Whoever has the file reads whose it is; nobody
//! signs with it without the passphrase. `FORMATS.md` fixes the bytes.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sanku_federation_protocol::names::Word;
use sanku_federation_protocol::people::person_name;
use sanku_tlog::{KeyType, SigningKey, VerifierKey};
use sanku_values::{DivisionCode, FederationName};

use crate::CertsError;
use crate::keys::{open, read_private, seal, write_new, write_whole};
use crate::passphrase::{Passphrase, Stretching};

const HEADER: &str = "sanku person key v1";

/// Makes a person's key and keeps it in a file, which must not exist.
///
/// # Errors
/// If there is a file already: no key is ever overwritten.
pub fn create(
    path: &Path,
    federation: &FederationName,
    (centre, id): (DivisionCode, &Word),
    passphrase: &Passphrase,
) -> Result<SigningKey, CertsError> {
    let key = SigningKey::generate(&person_name(federation, centre, id), KeyType::Ed25519)
        .map_err(|error| CertsError::Make(error.to_string()))?;
    write_new(path, text(&key, passphrase)?.as_bytes())?;
    Ok(key)
}

/// Whose key a file holds: the public key, which needs no passphrase.
pub fn owner(path: &Path) -> Result<VerifierKey, CertsError> {
    Ok(Sealed::read(path)?.key)
}

/// Opens a person's key.
///
/// # Errors
/// [`CertsError::Passphrase`] if the passphrase is not the one, or the file was changed.
pub fn open_with(path: &Path, passphrase: &Passphrase) -> Result<SigningKey, CertsError> {
    let sealed = Sealed::read(path)?;
    let wrong = || CertsError::Passphrase(path.to_owned());
    let stretched = sealed.stretching.stretch(passphrase)?;
    let seed = open(&stretched, sealed.head.as_bytes(), &sealed.bytes).ok_or_else(wrong)?;
    let seed = seed.as_slice().try_into().map_err(|_| wrong())?;
    let key = SigningKey::from_seed(sealed.key.name(), KeyType::Ed25519, seed).map_err(|_| wrong())?;
    if *key.verifier() == sealed.key {
        Ok(key)
    } else {
        Err(wrong())
    }
}

/// Puts a key under another passphrase; whatever interrupts it, the file opens with one of both.
pub fn change_passphrase(path: &Path, before: &Passphrase, after: &Passphrase) -> Result<(), CertsError> {
    let key = open_with(path, before)?;
    write_whole(path, text(&key, after)?.as_bytes(), 0o600)
}

/// A file's text: what it is, whose it is, how the passphrase is stretched, the sealed seed. The first three lines are
/// bound to the seal.
fn text(key: &SigningKey, passphrase: &Passphrase) -> Result<String, CertsError> {
    let stretching = Stretching::fresh()?;
    let head = format!("{HEADER}\n{}\n{stretching}\n", key.verifier());
    let sealed = seal(&*stretching.stretch(passphrase)?, head.as_bytes(), key.seed())?;
    Ok(format!("{head}{}\n", STANDARD.encode(sealed)))
}

/// A file, taken apart.
struct Sealed {
    key: VerifierKey,
    stretching: Stretching,
    head: String,
    bytes: Vec<u8>,
}

impl Sealed {
    fn read(path: &Path) -> Result<Self, CertsError> {
        let text = read_private(path)?;
        let read = || {
            let mut lines = text.split('\n');
            let (header, key, stretching) = (lines.next()?, lines.next()?, lines.next()?);
            let bytes = STANDARD.decode(lines.next()?).ok()?;
            let whole = header == HEADER && lines.next() == Some("") && lines.next().is_none();
            let key: VerifierKey = key.parse().ok()?;
            (whole && key.kind() == KeyType::Ed25519).then_some(Self {
                head: format!("{HEADER}\n{key}\n{stretching}\n"),
                key,
                stretching: stretching.parse().ok()?,
                bytes,
            })
        };
        read().ok_or_else(|| CertsError::NotAFile(path.to_owned(), "人员密钥 a person's key"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned()).unwrap()
    }

    fn made() -> (tempfile::TempDir, std::path::PathBuf, SigningKey) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a1.key");
        let federation = "hubei.example".parse().unwrap();
        let whose = ("420000".parse().unwrap(), &"a1".parse().unwrap());
        let key = create(&path, &federation, whose, &passphrase("十二个字的口令就够长的啦")).unwrap();
        (place, path, key)
    }

    #[test]
    fn a_persons_key_opens_with_their_passphrase_alone() {
        let (place, path, key) = made();
        let again = open_with(&path, &passphrase("十二个字的口令就够长的啦")).unwrap();
        assert_eq!(again.seed(), key.seed());
        assert_eq!(key.verifier().name(), "hubei.example/person/420000/a1");
        assert_eq!(
            owner(&path).unwrap(),
            *key.verifier(),
            "whose it is needs no passphrase"
        );
        let wrong = open_with(&path, &passphrase("十二个字的口令就够长的呀")).unwrap_err();
        assert!(matches!(wrong, CertsError::Passphrase(_)), "{wrong}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::read_dir(place.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&STANDARD.encode(key.seed())) && !text.contains(&hex::encode(key.seed())));
    }

    #[test]
    fn a_persons_key_is_never_overwritten_and_never_read_where_others_may_read_it() {
        let (_place, path, key) = made();
        let federation = "hubei.example".parse().unwrap();
        let whose = ("420000".parse().unwrap(), &"a1".parse().unwrap());
        let again = create(&path, &federation, whose, &passphrase("another passphrase"));
        assert!(matches!(again, Err(CertsError::Exists(_))));
        assert_eq!(owner(&path).unwrap(), *key.verifier());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(owner(&path), Err(CertsError::Permissions(_))));
    }

    #[test]
    fn another_passphrase_takes_the_place_of_the_first() {
        let (_place, path, key) = made();
        let (before, after) = (passphrase("十二个字的口令就够长的啦"), passphrase("another passphrase"));
        assert!(matches!(
            change_passphrase(&path, &after, &before),
            Err(CertsError::Passphrase(_))
        ));
        change_passphrase(&path, &before, &after).unwrap();
        assert!(matches!(open_with(&path, &before), Err(CertsError::Passphrase(_))));
        assert_eq!(open_with(&path, &after).unwrap().seed(), key.seed());
    }

    #[test]
    fn a_changed_file_opens_no_more() {
        let (_place, path, _) = made();
        let good = std::fs::read_to_string(&path).unwrap();
        let rejudge = |text: &str| {
            write_whole(&path, text.as_bytes(), 0o600).unwrap();
            open_with(&path, &passphrase("十二个字的口令就够长的啦")).map(drop)
        };
        assert!(rejudge(&good).is_ok());
        let lines: Vec<_> = good.lines().collect();
        // One octet of the sealed seed, its end, the salt, the key's name, the lines around it.
        let last = STANDARD.decode(lines[3]).unwrap();
        for at in [0, 12, last.len() - 1] {
            let mut changed = last.clone();
            changed[at] ^= 1;
            let text = format!(
                "{}\n{}\n{}\n{}\n",
                lines[0],
                lines[1],
                lines[2],
                STANDARD.encode(changed)
            );
            assert!(matches!(rejudge(&text), Err(CertsError::Passphrase(_))), "octet {at}");
        }
        let other = SigningKey::from_seed("hubei.example/person/420000/a2", KeyType::Ed25519, [7; 32]).unwrap();
        let renamed = good.replace(lines[1], &other.verifier().to_string());
        assert!(
            matches!(rejudge(&renamed), Err(CertsError::Passphrase(_))),
            "under another's name"
        );
        for text in [
            good.replace("v1", "v2"),
            good.replace("argon2id 65536", "argon2id 1024"),
            good.trim_end().to_owned(),
            format!("{good}\n"),
            format!("{good}more\n"),
            String::new(),
        ] {
            assert!(matches!(rejudge(&text), Err(CertsError::NotAFile(..))), "{text}");
        }
    }
}
