//! Personal data at rest: sealed under keys of their own, each wrapped by the storage key, found through a blind index.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use sanku_values::IdentityNumber;
use zeroize::Zeroizing;

use crate::StoreError;

/// The two secrets a node's database is useless without. `Debug` shows nothing.
#[derive(Clone)]
pub struct StorageKeys {
    storage: Zeroizing<[u8; 32]>,
    index: Zeroizing<[u8; 32]>,
}

impl StorageKeys {
    /// From the node's keys: one wraps data keys, one makes the blind index.
    pub fn new(storage: [u8; 32], index: [u8; 32]) -> Self {
        Self {
            storage: Zeroizing::new(storage),
            index: Zeroizing::new(index),
        }
    }

    /// The blind index of an identity number: HMAC-SHA-256 of the normalised number.
    pub(crate) fn blind(&self, number: &IdentityNumber) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.index.as_slice());
        hmac::sign(&key, number.as_str().as_bytes()).as_ref().to_vec()
    }

    /// A keyed pseudonym of a text (a case number, a file's name) for entries.
    pub fn pseudonym(&self, purpose: &str, text: &str) -> sanku_tlog::Hash {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.index.as_slice());
        let tag = hmac::sign(&key, format!("pseudonym\n{purpose}\n{text}").as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        sanku_tlog::Hash::new(bytes)
    }

    /// A fresh data key and its wrapped form, bound to its name.
    pub(crate) fn fresh(&self, name: &str) -> Result<(DataKey, Vec<u8>), StoreError> {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(bytes.as_mut_slice())
            .map_err(|_| StoreError::Keys("no random bits"))?;
        let wrapped = DataKey::new(&self.storage)?.seal(name.as_bytes(), bytes.as_slice())?;
        Ok((DataKey::new(&bytes)?, wrapped))
    }

    /// A data key from its wrapped form.
    pub(crate) fn unwrap(&self, name: &str, wrapped: &[u8]) -> Result<DataKey, StoreError> {
        let bytes = Zeroizing::new(DataKey::new(&self.storage)?.open(name.as_bytes(), wrapped)?);
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(
            bytes
                .as_slice()
                .try_into()
                .map_err(|_| StoreError::Corrupt("a data key"))?,
        );
        DataKey::new(&bytes)
    }
}

impl std::fmt::Debug for StorageKeys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("StorageKeys(…)")
    }
}

/// A key that seals rows: AES-256-GCM, a random nonce in front.
#[derive(Clone)]
pub(crate) struct DataKey(std::sync::Arc<LessSafeKey>);

impl DataKey {
    fn new(bytes: &[u8; 32]) -> Result<Self, StoreError> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| StoreError::Keys("not a key"))?;
        Ok(Self(std::sync::Arc::new(LessSafeKey::new(key))))
    }

    /// Seals bytes, bound to where they stand.
    pub(crate) fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| StoreError::Keys("no random bits"))?;
        let mut sealed = plain.to_vec();
        let done = self
            .0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed);
        done.map_err(|_| StoreError::Keys("sealing failed"))?;
        Ok([&nonce, sealed.as_slice()].concat())
    }

    /// Opens bytes that stand where they were sealed to stand.
    pub(crate) fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(StoreError::Corrupt("a sealed row"))?;
        let mut plain = sealed.to_vec();
        let length = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut plain)
            .map_err(|_| StoreError::Corrupt("a sealed row"))?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_row_opens_in_its_place_alone() {
        let keys = StorageKeys::new([1; 32], [2; 32]);
        let (key, wrapped) = keys.fresh("import 1").unwrap();
        let sealed = key.seal(b"records 1 1", b"secret").unwrap();
        assert_eq!(
            keys.unwrap("import 1", &wrapped)
                .unwrap()
                .open(b"records 1 1", &sealed)
                .unwrap(),
            b"secret"
        );
        assert!(key.open(b"records 1 2", &sealed).is_err());
        assert!(keys.unwrap("import 2", &wrapped).is_err());
        assert!(StorageKeys::new([3; 32], [2; 32]).unwrap("import 1", &wrapped).is_err());
    }
}
