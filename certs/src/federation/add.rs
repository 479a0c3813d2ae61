//! Adding a node: its keys, its certificate, its row in the registry.

use std::path::PathBuf;
use std::time::Duration;

use sanku_federation_protocol::names::Origin;
use sanku_federation_protocol::notes::{Delegate, LogRow, NodeRow, NodeState, SealingRow};
use sanku_federation_protocol::seal::{SealingKey, SealingPublicKey};
use sanku_tlog::{KeyType, SigningKey, VerifierKey};
use sanku_values::Time;
use zeroize::Zeroizing;

use super::{DAY, Federation, NewNode, hosts_of};
use crate::CertsError;
use crate::keys::{KeyFiles, random};
use crate::node_keys::TLS;
use crate::profile;

/// Life of log, witness and sealing keys.
pub(super) const KEY_LIFE_DAYS: u32 = 365;

/// What the registry says of a node's keys.
struct PublicKeys {
    log: VerifierKey,
    witness: VerifierKey,
    sealing: SealingPublicKey,
}

impl Federation {
    /// Adds a node: its keys and certificate, its row in the registry; every node's folder gets the new notes. Keys that an
    /// interrupted run left in the node's folder are used again, never replaced.
    ///
    /// # Errors
    /// If the code is a member already or lies outside the province, or the endpoint is no address.
    pub fn add(&self, new: NewNode, now: Time) -> Result<PathBuf, CertsError> {
        let _lock = self.lock()?;
        let mut registry = self.registry()?;
        let province = self.province()?;
        if registry.node(new.code).is_some() {
            // A run that was interrupted behind the registry may not have reached every folder.
            self.hand_out_all(&registry)?;
            return Err(CertsError::AlreadyMember(new.code));
        }
        if new.code != province && !new.code.is_below(province) {
            return Err(CertsError::OutsideProvince(new.code, province));
        }
        if new.code != province && registry.node(province).is_none() {
            return Err(CertsError::NotMember(province));
        }
        let hosts = hosts_of(&new.endpoints)?;
        let folder = self.directory.join(new.code.to_string());
        let keys = KeyFiles::create(&folder.join("keys"), &folder.join("key-file"))?;
        let public = self.make_keys(&keys, &new)?;
        let tls = keys.load_or_make(TLS, profile::node_key)?;
        let issued = profile::node(
            &self.name,
            new.code,
            &hosts,
            &tls,
            &self.authority()?,
            (now, super::LEAF_DAYS),
        )?;
        self.keep_chain(&folder, &issued)?;
        registry.nodes.push(row(new, public, now));
        self.publish_locked(registry, now)?;
        Ok(folder)
    }

    /// Keys that need no certificate.
    fn make_keys(&self, keys: &KeyFiles, new: &NewNode) -> Result<PublicKeys, CertsError> {
        let made = |error: String| CertsError::Make(error);
        let fresh = || Ok(Zeroizing::new(random::<32>()?.to_vec()));
        let seed = |name: &str| -> Result<Zeroizing<[u8; 32]>, CertsError> {
            let bytes = keys.load_or_make(name, fresh)?;
            let seed = bytes.as_slice().try_into();
            Ok(Zeroizing::new(seed.map_err(|_| CertsError::Key(name.into()))?))
        };
        let origin = Origin {
            federation: self.name.clone(),
            node: new.code,
            number: 1,
        };
        let log = SigningKey::from_seed(&origin.to_string(), KeyType::Ed25519, *seed("log")?)
            .map_err(|error| made(error.to_string()))?;
        let name = format!("{}/witness/{}", self.name, new.code);
        let witness = SigningKey::from_seed(&name, KeyType::CosignatureV1, *seed("witness")?)
            .map_err(|error| made(error.to_string()))?;
        let sealing = SealingKey::new(*seed("sealing")?)
            .public()
            .map_err(|error| made(error.to_string()))?;
        seed("storage")?;
        seed("index")?;
        Ok(PublicKeys {
            log: log.verifier().clone(),
            witness: witness.verifier().clone(),
            sealing,
        })
    }
}

fn row(new: NewNode, public: PublicKeys, now: Time) -> NodeRow {
    let until = now.plus(DAY * KEY_LIFE_DAYS);
    // Clocks that are a little behind must not refuse what was just made.
    let from = now.minus(Duration::from_secs(60));
    let mut categories = new.categories;
    if categories.is_empty() {
        categories = sanku_catalogue::Catalogue::current()
            .categories()
            .iter()
            .map(|category| category.id.clone())
            .collect();
    }
    categories.sort();
    categories.dedup();
    NodeRow {
        code: new.code,
        name: new.name,
        state: NodeState::Active,
        endpoints: new.endpoints,
        logs: vec![LogRow {
            number: 1,
            key: public.log,
            from,
            until,
            final_size: None,
        }],
        witness_keys: vec![Delegate {
            key: public.witness,
            from,
            until,
        }],
        sealing_keys: vec![SealingRow {
            key: public.sealing,
            from,
            until,
        }],
        categories,
        formats: sanku_federation_protocol::entry::FORMATS.to_vec(),
        order: None,
    }
}
