//! Keys at rest: encrypted under 256 random bits in a key file, written so that a crash leaves the old one whole.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::CertsError;

const HEADER: &str = "sanku key v1";

/// The file system keeps keys; another device can take its place.
pub trait KeyStore {
    /// Reads a key's bytes.
    fn load(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, CertsError>;
    /// Keeps a key's bytes. A key that is there already is an error: no key is ever overwritten.
    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), CertsError>;
}

/// Keys as files of a directory, sealed under a key file.
pub struct KeyFiles {
    directory: PathBuf,
    secret: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for KeyFiles {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "KeyFiles({})", self.directory.display())
    }
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, CertsError> {
    let mut bytes = Zeroizing::new([0; N]);
    SystemRandom::new()
        .fill(bytes.as_mut_slice())
        .map_err(|_| CertsError::Random)?;
    Ok(bytes)
}

impl KeyFiles {
    /// Makes a directory with a fresh key file beside it.
    pub fn create(directory: &Path, key_file: &Path) -> Result<Self, CertsError> {
        std::fs::create_dir_all(directory).map_err(|error| CertsError::file(directory, &error))?;
        std::fs::set_permissions(directory, Permissions::from_mode(0o700))
            .map_err(|error| CertsError::file(directory, &error))?;
        if !key_file.exists() {
            let secret = random::<32>()?;
            write_new(key_file, STANDARD.encode(secret.as_slice()).as_bytes())?;
        }
        Self::open(directory, key_file)
    }

    /// Opens a directory with its key file.
    ///
    /// # Errors
    /// If the key file may be read by others, with the command that mends it.
    pub fn open(directory: &Path, key_file: &Path) -> Result<Self, CertsError> {
        let text = read_private(key_file)?;
        let secret = Zeroizing::new(
            STANDARD
                .decode(text.trim())
                .map_err(|_| CertsError::Key(key_file.to_owned()))?,
        );
        if secret.len() != 32 {
            return Err(CertsError::Key(key_file.to_owned()));
        }
        Ok(Self {
            directory: directory.to_owned(),
            secret,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.key"))
    }

    /// The key of this name, made and kept if there is none yet: what an interrupted command made is used again.
    pub(crate) fn load_or_make(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, CertsError>,
    ) -> Result<Zeroizing<Vec<u8>>, CertsError> {
        if !self.holds(name) {
            self.keep(name, &make()?)?;
        }
        self.load(name)
    }

    /// Whether there is a key of this name.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Puts a renewed key in the place of another: only for TLS keys, which nothing needs once their certificate is gone.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), CertsError> {
        write_whole(&self.path(name), self.sealed(name, bytes)?.as_bytes(), 0o600)
    }

    /// Removes a key that stands under another name too.
    pub(crate) fn remove(&self, name: &str) -> Result<(), CertsError> {
        let path = self.path(name);
        std::fs::remove_file(&path).map_err(|error| CertsError::file(&path, &error))?;
        sync_directory(&path)
    }

    /// A key file's text.
    fn sealed(&self, name: &str, bytes: &[u8]) -> Result<String, CertsError> {
        let sealed = seal(&*self.sealing_key(name)?, name.as_bytes(), bytes)?;
        Ok(format!("{HEADER}\n{}\n", STANDARD.encode(sealed)))
    }

    fn sealing_key(&self, name: &str) -> Result<Zeroizing<[u8; 32]>, CertsError> {
        derive(&self.secret, &format!("sanku/v1/key/{name}"))
    }
}

impl KeyStore for KeyFiles {
    fn load(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, CertsError> {
        let path = self.path(name);
        let text = read_private(&path)?;
        let bad = || CertsError::Key(path.clone());
        let sealed = text
            .strip_prefix(HEADER)
            .and_then(|rest| STANDARD.decode(rest.trim()).ok())
            .ok_or_else(bad)?;
        open(&*self.sealing_key(name)?, name.as_bytes(), &sealed).ok_or_else(bad)
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), CertsError> {
        write_new(&self.path(name), self.sealed(name, bytes)?.as_bytes())
    }
}

/// A key for one purpose out of other secret bits: HKDF-SHA256.
pub(crate) fn derive(secret: &[u8], purpose: &str) -> Result<Zeroizing<[u8; 32]>, CertsError> {
    let mut key = Zeroizing::new([0; 32]);
    let info = [purpose.as_bytes()];
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"sanku")
        .extract(secret)
        .expand(&info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .map_err(|_| CertsError::Random)?;
    Ok(key)
}

/// Seals bytes with AES-256-GCM, bound to what stands around them: nonce, ciphertext, tag.
pub(crate) fn seal(key: &[u8; 32], bound: &[u8], bytes: &[u8]) -> Result<Vec<u8>, CertsError> {
    let nonce = random::<NONCE_LEN>()?;
    // Encrypted where it lies: no open copy is left behind.
    let mut sealed = Zeroizing::new(bytes.to_vec());
    let tag = UnboundKey::new(&AES_256_GCM, key)
        .and_then(|key| {
            LessSafeKey::new(key).seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(bound),
                sealed.as_mut_slice(),
            )
        })
        .map_err(|_| CertsError::Random)?;
    Ok([nonce.as_slice(), &sealed, tag.as_ref()].concat())
}

/// Opens what [`seal`] made under this key, bound to the same bytes; nothing for anything else.
pub(crate) fn open(key: &[u8; 32], bound: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut bytes = Zeroizing::new(sealed.to_vec());
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let length = key
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(bound), &mut bytes)
        .ok()?
        .len();
    bytes.truncate(length);
    Some(bytes)
}

/// Reads a file that only its owner may read.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<String>, CertsError> {
    let file = std::fs::metadata(path).map_err(|error| CertsError::file(path, &error))?;
    if file.permissions().mode() & 0o077 != 0 {
        return Err(CertsError::Permissions(path.to_owned()));
    }
    std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| CertsError::file(path, &error))
}

/// Writes a private file that is not there yet. A link, unlike a rename, never takes another file's place.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CertsError> {
    let young = write_young(path, bytes, 0o600)?;
    let linked = std::fs::hard_link(&young, path);
    let _ = std::fs::remove_file(&young);
    match linked {
        Ok(()) => sync_directory(path),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(CertsError::Exists(path.to_owned())),
        Err(error) => Err(CertsError::file(path, &error)),
    }
}

/// Writes a file whole or not at all: temporary file, fsync, rename, fsync of the directory.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CertsError> {
    let young = write_young(path, bytes, mode)?;
    std::fs::rename(&young, path).map_err(|error| CertsError::file(path, &error))?;
    sync_directory(path)
}

/// A synced temporary file beside a path, of this process alone.
fn write_young(path: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf, CertsError> {
    let wrong = |error: std::io::Error| CertsError::file(path, &error);
    let directory = directory_of(path);
    std::fs::create_dir_all(directory).map_err(wrong)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let young = directory.join(format!(".{name}.{}.new", std::process::id()));
    // What an earlier process of the same number left behind may have other permissions.
    let _ = std::fs::remove_file(&young);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&young)
        .map_err(wrong)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(wrong)?;
    Ok(young)
}

fn sync_directory(path: &Path) -> Result<(), CertsError> {
    File::open(directory_of(path))
        .and_then(|directory| directory.sync_all())
        .map_err(|error| CertsError::file(path, &error))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sealed_private_and_never_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let keys = KeyFiles::create(&place.path().join("keys"), &place.path().join("key-file")).unwrap();
        keys.keep("log", b"a secret of the log").unwrap();
        assert_eq!(keys.load("log").unwrap().as_slice(), b"a secret of the log");
        assert!(matches!(keys.keep("log", b"another"), Err(CertsError::Exists(_))));
        let file = place.path().join("keys/log.key");
        assert!(!std::fs::read_to_string(&file).unwrap().contains("secret"));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::copy(&file, place.path().join("keys/other.key")).unwrap();
        assert!(keys.load("other").is_err(), "a key is bound to its name");
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let refused = keys.load("log").unwrap_err();
        assert!(
            refused.to_string().contains(&format!("chmod 600 {}", file.display())),
            "{refused}"
        );
    }

    #[test]
    fn keys_open_with_their_key_file_alone() {
        let place = tempfile::tempdir().unwrap();
        let keys = KeyFiles::create(&place.path().join("keys"), &place.path().join("key-file")).unwrap();
        keys.keep("log", b"a secret").unwrap();
        KeyFiles::create(&place.path().join("others"), &place.path().join("another-key-file")).unwrap();
        let wrong = KeyFiles::open(&place.path().join("keys"), &place.path().join("another-key-file")).unwrap();
        assert!(matches!(wrong.load("log"), Err(CertsError::Key(_))));
        std::fs::set_permissions(place.path().join("key-file"), Permissions::from_mode(0o644)).unwrap();
        let open = KeyFiles::open(&place.path().join("keys"), &place.path().join("key-file"));
        assert!(matches!(open, Err(CertsError::Permissions(_))));
    }

    #[test]
    fn a_file_is_written_with_its_mode_and_leaves_nothing_beside_it() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("secret");
        write_whole(&file, b"one", 0o600).unwrap();
        write_whole(&file, b"two", 0o600).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }

    proptest::proptest! {
        #[test]
        fn no_changed_octet_of_a_key_file_opens(at in 0_usize..60, bit in 0_u8..8) {
            let place = tempfile::tempdir().unwrap();
            let keys = KeyFiles::create(&place.path().join("keys"), &place.path().join("key-file")).unwrap();
            keys.keep("log", &[7; 32]).unwrap();
            let text = keys.sealed("log", &[7; 32]).unwrap();
            let encoded = text.strip_prefix(HEADER).unwrap().trim();
            let mut sealed = STANDARD.decode(encoded).unwrap();
            sealed[at] ^= 1 << bit;
            write_whole(&keys.path("log"), format!("{HEADER}\n{}\n", STANDARD.encode(&sealed)).as_bytes(), 0o600).unwrap();
            proptest::prop_assert!(keys.load("log").is_err());
        }
    }
}
