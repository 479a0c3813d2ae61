//! The notes of a simulated federation, and whoever signs them. Keys follow from names, so that a failing test replays.

use sanku_federation_protocol::notes::{
    Authority, Delegate, Delegation, LogRow, NodeRow, NodeState, Registry, Revoked, RevokedRow, RevokedWhat, Root,
    SealingRow, name, sign,
};
use sanku_federation_protocol::seal::SealingKey;
use sanku_tlog::{Hash, KeyType, SigningKey};
use sanku_values::{DivisionCode, FederationName, Time};

use crate::morning;

const DAY: i64 = 24 * 3600 * 1000;

/// The federation's name.
pub fn federation() -> FederationName {
    "hubei.example".parse().unwrap()
}

fn days(days: i64) -> Time {
    Time::from_millis(morning().millis() + days * DAY)
}

/// A seed for a purpose and a node.
pub(crate) fn seed(purpose: &str, of: DivisionCode) -> Box<[u8; 32]> {
    Box::new(*Hash::of(format!("{purpose} {of}").as_bytes()).bytes())
}

fn key(name: &str, kind: KeyType) -> SigningKey {
    let seed = *Hash::of(name.as_bytes()).bytes();
    SigningKey::from_seed(&format!("{}/{name}", federation()), kind, seed).unwrap()
}

/// The key of a node's first log.
pub fn log_key(of: DivisionCode) -> SigningKey {
    log_key_of(of, 1)
}

/// The key of a node's log.
pub fn log_key_of(of: DivisionCode, number: u32) -> SigningKey {
    key(&format!("node/{of}/{number}"), KeyType::Ed25519)
}

/// A node's first witness key.
pub fn witness_key(of: DivisionCode) -> SigningKey {
    witness_key_of(of, 1)
}

/// The witness key that goes with a node's log number.
pub fn witness_key_of(of: DivisionCode, number: u32) -> SigningKey {
    let name = format!("witness/{of}");
    let seed = if number == 1 {
        name.clone()
    } else {
        format!("{name}/{number}")
    };
    SigningKey::from_seed(
        &format!("{}/{name}", federation()),
        KeyType::CosignatureV1,
        *Hash::of(seed.as_bytes()).bytes(),
    )
    .unwrap()
}

/// A node's sealing key.
pub fn sealing_key(of: DivisionCode) -> SealingKey {
    SealingKey::new(*seed("sealing", of))
}

fn root_key() -> SigningKey {
    key("root", KeyType::Ed25519)
}

/// The root's fingerprint.
pub fn fingerprint() -> Hash {
    Hash::of(root_key().verifier().to_string().as_bytes())
}

/// Whoever signs the federation's notes: root, publisher and the province's authority in one.
pub struct Notary {
    /// The registry as it was last published.
    pub registry: Registry,
    province: DivisionCode,
}

impl Notary {
    /// A registry of these nodes, all active, all with vehicles.
    pub fn of(codes: impl IntoIterator<Item = DivisionCode>) -> Self {
        let mut nodes: Vec<_> = codes.into_iter().map(row).collect();
        nodes.sort_by_key(|row| row.code);
        let province = nodes.first().unwrap().code;
        let registry = Registry {
            nodes,
            not_after: days(30),
            grace_until: days(60),
        };
        Self { registry, province }
    }

    /// Root, delegation, registry and an empty list of revocations.
    pub fn notes(&self) -> Vec<String> {
        let federation = federation();
        let witness = key("witness/root", KeyType::CosignatureV1);
        let root = Root {
            key: root_key().verifier().clone(),
            certificates: Vec::new(),
            witness: witness.verifier().clone(),
        };
        let publisher = key("publisher", KeyType::Ed25519);
        let delegation = Delegation {
            publisher: Delegate {
                key: publisher.verifier().clone(),
                from: days(-100),
                until: days(100),
            },
            authorities: vec![Authority {
                code: self.province,
                key: self.authority().verifier().clone(),
                certificate: String::new(),
                from: days(-100),
                until: days(100),
            }],
        };
        vec![
            signed(&name::root(&federation), days(-10), &root, &root_key()),
            signed(&name::delegation(&federation), days(-9), &delegation, &root_key()),
            self.registry_note(days(-8)),
            self.revoked_note(days(-7), Vec::new()),
        ]
    }

    /// The registry, published at this instant.
    pub fn registry_note(&self, at: Time) -> String {
        let publisher = key("publisher", KeyType::Ed25519);
        signed(&name::registry(&federation()), at, &self.registry, &publisher)
    }

    /// A node has one log more, and a witness key with it; the log before is closed at this size, if any.
    pub fn renumber(&mut self, of: DivisionCode, final_size: Option<u64>, at: Time) -> u32 {
        let row = self.registry.nodes.iter_mut().find(|row| row.code == of).unwrap();
        let before = row.logs.last_mut().unwrap();
        let number = before.number + 1;
        before.final_size = final_size;
        if final_size.is_some() {
            before.until = at;
            row.witness_keys.last_mut().unwrap().until = at;
        }
        row.logs.push(LogRow {
            number,
            key: log_key_of(of, number).verifier().clone(),
            from: at,
            until: days(365),
            final_size: None,
        });
        row.witness_keys.push(Delegate {
            key: witness_key_of(of, number).verifier().clone(),
            from: at,
            until: days(365),
        });
        number
    }

    /// A log of a node is closed at this size, or its final size raised.
    pub fn close(&mut self, of: DivisionCode, number: u32, final_size: u64, at: Time) {
        let row = self.registry.nodes.iter_mut().find(|row| row.code == of).unwrap();
        let log = row.logs.iter_mut().find(|log| log.number == number).unwrap();
        if log.final_size.is_none() {
            log.until = at;
        }
        log.final_size = Some(final_size);
    }

    /// A list that suspends these nodes from this instant.
    pub fn suspension_note(&self, at: Time, suspended: &[DivisionCode]) -> String {
        let row = |code: &DivisionCode| RevokedRow {
            what: RevokedWhat::Suspended,
            code: *code,
            object: None,
            since: at,
            reason: "test".to_owned(),
        };
        self.revoked_note(at, suspended.iter().map(row).collect())
    }

    fn revoked_note(&self, at: Time, rows: Vec<RevokedRow>) -> String {
        let list = Revoked { next: days(90), rows };
        signed(
            &name::revoked(&federation(), self.province),
            at,
            &list,
            &self.authority(),
        )
    }

    fn authority(&self) -> SigningKey {
        key(&format!("authority/{}", self.province), KeyType::Ed25519)
    }
}

fn row(code: DivisionCode) -> NodeRow {
    let (from, until) = (days(-100), days(100));
    NodeRow {
        code,
        name: code.to_string(),
        state: NodeState::Active,
        endpoints: vec!["127.0.0.1:7443".to_owned()],
        logs: vec![LogRow {
            number: 1,
            key: log_key(code).verifier().clone(),
            from,
            until,
            final_size: None,
        }],
        witness_keys: vec![Delegate {
            key: witness_key(code).verifier().clone(),
            from,
            until,
        }],
        sealing_keys: vec![SealingRow {
            key: sealing_key(code).public().unwrap(),
            from,
            until,
        }],
        categories: vec!["vehicle".parse().unwrap()],
        formats: vec![1],
        order: None,
    }
}

fn signed<T: serde::Serialize>(name: &str, number: Time, content: &T, key: &SigningKey) -> String {
    sign(name, number, content, key).unwrap().to_string()
}
