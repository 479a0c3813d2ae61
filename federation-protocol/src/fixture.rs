//! A federation by hand, for tests: one province, one city, two districts, keys from fixed seeds.

use std::collections::BTreeMap;
use std::sync::Arc;

use sanku_catalogue::{Catalogue, CategoryId, Value};
use sanku_tlog::{
    Checkpoint, Hash, KeyType, ProofError, SignedNote, SigningKey, consistency_subtrees, leaf_hash, node_hash,
    run_proof,
};
use sanku_values::{Date, DivisionCode, FederationName, IdentityNumber, PersonName, Time};

use crate::body::{
    AccountBody, AnswerBody, Body, CategoryAnswer, Mandate, Observed, Person, QueryBody, Record, RefusalBody,
    ResultBody, Salt, Subject,
};
use crate::entry::{AccountEntry, AnswerEntry, Draft, NoteRef, QueryEntry, RefusalEntry, ResultEntry, Said};
use crate::gather::Gathered;
use crate::merge::{Merged, merge};
use crate::names::{Origin, Outcome, Priority, Rule, ScopeLabel, StatementId, Status};
use crate::notes::{
    Authority, Delegate, Delegation, LogRow, NodeRow, NodeState, Registry, Revoked, Root, SealingRow, name, sign,
};
use crate::outcomes::outcomes;
use crate::seal::SealingKey;
use crate::statement::{BodyPart, Statement, UnverifiedRun, VerifiedRun};
use crate::trust::Trust;

pub(crate) const PROVINCE: u32 = 420_000;
pub(crate) const CITY: u32 = 421_000;
pub(crate) const HERE: u32 = 421_002;
pub(crate) const THERE: u32 = 421_003;
pub(crate) const EVERYBODY: [u32; 4] = [PROVINCE, CITY, HERE, THERE];

pub(crate) fn code(number: u32) -> DivisionCode {
    number.try_into().unwrap()
}

/// Noon of the case, and `minutes` more.
pub(crate) fn minute(minutes: i64) -> Time {
    Time::from_millis(1_790_000_000_000 + minutes * 60_000)
}

pub(crate) fn days(days: i64) -> Time {
    minute(days * 24 * 60)
}

pub(crate) fn federation() -> FederationName {
    "hubei.example".parse().unwrap()
}

pub(crate) fn category(id: &str) -> CategoryId {
    id.parse().unwrap()
}

pub(crate) fn key(name: &str, seed: u8) -> SigningKey {
    SigningKey::from_seed(&format!("hubei.example/{name}"), KeyType::Ed25519, [seed; 32]).unwrap()
}

pub(crate) fn witness_key(name: &str, seed: u8) -> SigningKey {
    SigningKey::from_seed(
        &format!("hubei.example/witness/{name}"),
        KeyType::CosignatureV1,
        [seed; 32],
    )
    .unwrap()
}

pub(crate) fn root_key() -> SigningKey {
    key("root", 1)
}

pub(crate) fn publisher_key() -> SigningKey {
    key("publisher", 2)
}

pub(crate) fn authority_key(of: u32) -> SigningKey {
    key(&format!("authority/{of}"), if of == PROVINCE { 3 } else { 4 })
}

fn place(of: u32) -> u8 {
    EVERYBODY
        .iter()
        .position(|known| *known == of)
        .map_or(9, |place| u8::try_from(place).unwrap())
}

pub(crate) fn log_key(of: u32) -> SigningKey {
    key(&format!("node/{of}/1"), 10 + place(of))
}

pub(crate) fn fingerprint() -> Hash {
    Hash::of(root_key().verifier().to_string().as_bytes())
}

pub(crate) fn root() -> Root {
    Root {
        key: root_key().verifier().clone(),
        certificates: Vec::new(),
        witness: witness_key("root", 5).verifier().clone(),
    }
}

pub(crate) fn delegation() -> Delegation {
    let authority = |of| Authority {
        code: code(of),
        key: authority_key(of).verifier().clone(),
        certificate: String::new(),
        from: days(-100),
        until: days(100),
    };
    Delegation {
        publisher: Delegate {
            key: publisher_key().verifier().clone(),
            from: days(-100),
            until: days(100),
        },
        authorities: vec![authority(PROVINCE), authority(CITY)],
    }
}

pub(crate) fn registry() -> Registry {
    let row = |of: u32| NodeRow {
        code: code(of),
        name: of.to_string(),
        state: NodeState::Active,
        endpoints: vec!["127.0.0.1:7443".to_owned()],
        logs: vec![LogRow {
            number: 1,
            key: log_key(of).verifier().clone(),
            from: days(-100),
            until: days(100),
            final_size: None,
        }],
        witness_keys: vec![Delegate {
            key: witness_key(&of.to_string(), 20 + place(of)).verifier().clone(),
            from: days(-100),
            until: days(100),
        }],
        sealing_keys: vec![SealingRow {
            key: SealingKey::new([30 + place(of); 32]).public().unwrap(),
            from: days(-100),
            until: days(100),
        }],
        categories: vec![category("employment")],
        formats: vec![1],
        order: None,
    };
    Registry {
        nodes: EVERYBODY.map(row).into(),
        not_after: days(30),
        grace_until: days(60),
    }
}

pub(crate) fn no_revocations() -> Revoked {
    Revoked {
        next: days(1),
        rows: Vec::new(),
    }
}

pub(crate) fn signed<T: serde::Serialize>(name: &str, number: Time, content: &T, key: &SigningKey) -> Vec<u8> {
    sign(name, number, content, key).unwrap().to_string().into_bytes()
}

/// Root, delegation, registry and the province's empty list.
pub(crate) fn notes() -> Vec<Vec<u8>> {
    let federation = federation();
    vec![
        signed(&name::root(&federation), days(-10), &root(), &root_key()),
        signed(&name::delegation(&federation), days(-9), &delegation(), &root_key()),
        signed(&name::registry(&federation), days(-8), &registry(), &publisher_key()),
        signed(
            &name::revoked(&federation, code(PROVINCE)),
            days(-7),
            &no_revocations(),
            &authority_key(PROVINCE),
        ),
    ]
}

pub(crate) fn trust_of(notes: &[Vec<u8>]) -> Trust {
    let (trust, refused) = Trust::from_notes(federation(), fingerprint(), notes.iter().map(Vec::as_slice), days(50));
    assert_eq!(refused, []);
    trust
}

type EntryAndBody = (Vec<u8>, Arc<[u8]>);

/// Everybody's logs, and what was asked.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) trust: Trust,
    logs: BTreeMap<u32, Vec<EntryAndBody>>,
    pub(crate) asked: Option<QueryEntry>,
    pub(crate) query: Hash,
    said: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            trust: trust_of(&notes()),
            logs: BTreeMap::new(),
            asked: None,
            query: Hash::of(b""),
            said: 0,
        }
    }

    pub(crate) fn reference(&self) -> NoteRef {
        self.trust.registry().unwrap().0
    }

    fn id(&mut self) -> StatementId {
        self.said += 1;
        format!("019a0000-0000-7000-8000-{:012}", self.said).parse().unwrap()
    }

    fn salt(&self) -> Salt {
        let mut bits = [0; 16];
        bits[..8].copy_from_slice(&self.said.to_be_bytes());
        Salt::of(bits)
    }

    /// Appends a statement to a node's log; its index and leaf hash.
    pub(crate) fn say(&mut self, of: u32, at: Time, said: Said, body: Arc<[u8]>) -> (u64, Hash) {
        let origin = Origin {
            federation: federation(),
            node: code(of),
            number: 1,
        };
        let draft = Draft {
            id: self.id(),
            said,
            body: Arc::clone(&body),
        };
        let (line, leaf) = draft.entry(&origin, at);
        let log = self.logs.entry(of).or_default();
        log.push((line, body));
        (log.len() as u64 - 1, leaf)
    }

    fn leaves(&self, of: u32) -> Vec<Hash> {
        self.logs[&of].iter().map(|(line, _)| leaf_hash(line)).collect()
    }

    /// A node's signed checkpoint over its first entries.
    pub(crate) fn checkpoint(&self, of: u32, size: u64) -> SignedNote {
        let checkpoint = Checkpoint {
            origin: log_key(of).verifier().name().to_owned(),
            size,
            root: tree_hash(&self.leaves(of)[..size as usize]),
        };
        checkpoint.sign(&log_key(of)).unwrap()
    }

    /// The proof that a node's log of one size begins with that of another.
    pub(crate) fn consistency(&self, of: u32, old: u64, new: u64) -> Vec<Hash> {
        let leaves = self.leaves(of);
        let subtrees = consistency_subtrees(old, new).unwrap();
        subtrees
            .into_iter()
            .map(|subtree| {
                subtree
                    .hash(&mut |level, index| node_of(&leaves, level, index))
                    .unwrap()
            })
            .collect()
    }

    pub(crate) fn unverified(&self, of: u32, first: u64, count: u64) -> UnverifiedRun {
        let (log, leaves) = (&self.logs[&of], self.leaves(of));
        let size = leaves.len() as u64;
        let origin = Origin {
            federation: federation(),
            node: code(of),
            number: 1,
        };
        UnverifiedRun {
            checkpoint: Arc::new(self.checkpoint(of, size)),
            origin,
            first,
            proof: run_proof(first, count, size, |level, index| node_of(&leaves, level, index)).unwrap(),
            statements: log[first as usize..(first + count) as usize]
                .iter()
                .map(|(line, body)| Statement::parse(line, BodyPart::Open(Arc::clone(body))).unwrap())
                .collect(),
        }
    }

    pub(crate) fn run(&self, of: u32, first: u64, count: u64) -> VerifiedRun {
        self.unverified(of, first, count)
            .verify(&self.trust.at(minute(0)))
            .unwrap()
    }

    /// Everything that a node said, as one run.
    pub(crate) fn whole(&self, of: u32) -> VerifiedRun {
        self.run(of, 0, self.logs[&of].len() as u64)
    }

    /// The household of two that HERE asks everybody about.
    pub(crate) fn ask(&mut self) -> Hash {
        self.ask_at(minute(0))
    }

    pub(crate) fn ask_at(&mut self, at: Time) -> Hash {
        self.ask_bent(at, |_, _| {})
    }

    /// The same question, changed before it is said.
    pub(crate) fn ask_bent(&mut self, at: Time, bend: impl FnOnce(&mut QueryEntry, &mut QueryBody)) -> Hash {
        let today = Date::new(2026, 9, 1).unwrap();
        let number = |text: &str| IdentityNumber::parse(text, today).unwrap();
        let (one, two) = (number("11010519491231002X"), number("440524188001010014"));
        let person = |name: &str, staff_number: &str| Person {
            name: PersonName::parse(name).unwrap(),
            staff_number: staff_number.to_owned(),
            time: minute(0),
        };
        let subject = |number: &IdentityNumber, name: &str| Subject {
            number: number.clone(),
            kind: number.kind(),
            name: PersonName::parse(name).unwrap(),
            role: "applicant".parse().unwrap(),
        };
        let purpose = "minimum_living_allowance".parse::<crate::names::Word>().unwrap();
        let mut body = QueryBody {
            salt: self.salt(),
            requester: "民政局".to_owned(),
            examiner: person("王一", "1"),
            approver: person("李二", "2"),
            mandate: Mandate {
                signatories: vec![PersonName::parse("张三").unwrap()],
                subjects: vec![one.clone(), two.clone()],
                categories: vec![category("employment")],
                purpose: purpose.clone(),
                valid_from: days(-1),
                valid_until: days(20),
                letter: Hash::of(b"letter"),
            },
            subjects: vec![subject(&one, "张三"), subject(&two, "张四")],
        };
        let mut entry = QueryEntry {
            purpose,
            case: Hash::of(b"case"),
            subjects: 2,
            categories: vec![category("employment")],
            scope: ScopeLabel::Federation,
            registry: self.reference(),
            catalogue: 1,
            targets: None,
            priority: Priority::Person,
            expires: days(10),
            mandate_id: self.id(),
        };
        bend(&mut entry, &mut body);
        self.asked = Some(entry.clone());
        self.query = self.say(HERE, at, Said::Query(entry), body.line().unwrap()).1;
        self.query
    }

    pub(crate) fn answer(&mut self, of: u32, at: Time, subject: u32, answer: CategoryAnswer) -> (u64, Hash) {
        let body = AnswerBody {
            salt: self.salt(),
            categories: vec![answer],
        }
        .line()
        .unwrap();
        self.say(
            of,
            at,
            Said::Answer(AnswerEntry {
                re: self.query,
                subject,
            }),
            body,
        )
    }

    pub(crate) fn refuse(&mut self, of: u32, at: Time, rule: Rule) -> (u64, Hash) {
        let body = RefusalBody {
            salt: self.salt(),
            zh: "不行".to_owned(),
            en: "no".to_owned(),
        }
        .line()
        .unwrap();
        self.say(of, at, Said::Refusal(RefusalEntry { re: self.query, rule }), body)
    }

    pub(crate) fn account(&mut self, of: u32, at: Time, neighbours: &[(u32, Outcome)]) -> (u64, Hash) {
        self.account_with(of, at, neighbours, Vec::new())
    }

    pub(crate) fn account_with(
        &mut self,
        of: u32,
        at: Time,
        neighbours: &[(u32, Outcome)],
        rejected: Vec<crate::body::Rejected>,
    ) -> (u64, Hash) {
        let observed = |(node, outcome): &(u32, Outcome)| Observed {
            node: code(*node),
            outcome: *outcome,
            since: at,
            milliseconds: 7,
        };
        let body = AccountBody {
            salt: self.salt(),
            neighbours: neighbours.iter().map(observed).collect(),
            rejected,
            only: None,
            budget_ms: 1000,
            attempt: 0,
        };
        self.say(
            of,
            at,
            Said::Account(AccountEntry { re: self.query }),
            body.line().unwrap(),
        )
    }

    pub(crate) fn gathered(&self) -> Gathered {
        let targets = EVERYBODY.map(code).into();
        Gathered::new(self.query, self.asked.as_ref().unwrap(), targets)
    }

    /// Everything said so far, gathered and merged under the notes at hand.
    pub(crate) fn merged(&self) -> (Gathered, Merged) {
        let mut known = self.gathered();
        let nobody = [].into();
        for of in self.logs.keys() {
            let whole = self.whole(*of);
            for (place, statement) in whole.statements.iter().enumerate() {
                if matches!(
                    statement.entry.said,
                    Said::Answer(_) | Said::Refusal(_) | Said::Account(_)
                ) {
                    known.insert(&whole.cut(place, 1).unwrap(), &nobody).unwrap();
                }
            }
        }
        let (_, registry, tree) = self.trust.registry().unwrap();
        let ends = outcomes(code(HERE), tree, &self.trust.suspended(&known.targets), &known);
        let merged = merge(&known, ends, registry);
        (known, merged)
    }

    /// The asker's result of what was said so far.
    pub(crate) fn conclude(&mut self, at: Time, supersedes: Option<Hash>) -> (Merged, Hash) {
        let (known, merged) = self.merged();
        let leaves = known.leaves().into_iter().collect();
        let body = ResultBody {
            salt: self.salt(),
            merged: leaves,
            digest: merged.digest(),
            supersedes,
        };
        let said = Said::Result(ResultEntry {
            re: self.query,
            complete: merged.complete,
        });
        let (_, leaf) = self.say(HERE, at, said, body.line().unwrap());
        (merged, leaf)
    }

    /// A case that went well: everybody answered both subjects.
    pub(crate) fn whole_case() -> (Self, Merged) {
        Self::whole_case_bent(|_, _| {})
    }

    /// A whole case about a question that was changed before it was said.
    pub(crate) fn whole_case_bent(bend: impl FnOnce(&mut QueryEntry, &mut QueryBody)) -> (Self, Merged) {
        let mut world = Self::new();
        world.ask_bent(minute(0), bend);
        for of in EVERYBODY {
            world.answer(of, minute(1), 0, found(&[job("棉纺厂", "全职")]));
            world.answer(of, minute(1), 1, nothing());
        }
        world.account(PROVINCE, minute(1), &[]);
        world.account(THERE, minute(1), &[]);
        world.account(
            CITY,
            minute(1),
            &[(PROVINCE, Outcome::Answered), (THERE, Outcome::Answered)],
        );
        world.account(HERE, minute(2), &[(CITY, Outcome::Answered)]);
        let (merged, _) = world.conclude(minute(3), None);
        (world, merged)
    }

    pub(crate) fn everything(&self) -> Vec<VerifiedRun> {
        let first = std::iter::once(HERE);
        first
            .chain(
                EVERYBODY
                    .into_iter()
                    .filter(|of| *of != HERE && self.logs.contains_key(of)),
            )
            .map(|of| self.whole(of))
            .collect()
    }
}

fn node_of(leaves: &[Hash], level: u8, index: u64) -> Result<Hash, ProofError> {
    let (from, to) = ((index << level) as usize, ((index + 1) << level) as usize);
    Ok(tree_hash(&leaves[from..to]))
}

fn tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sanku_tlog::empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&tree_hash(left), &tree_hash(right))
        }
    }
}

/// A job's record.
pub(crate) fn job(employer: &str, kind: &str) -> Record {
    job_of(employer, kind, Date::new(2026, 8, 1).unwrap())
}

pub(crate) fn job_of(employer: &str, kind: &str, as_of: Date) -> Record {
    let text = |field: &str, value: &str| (field.to_owned(), Value::Text(value.to_owned()));
    let values = [
        text("employer", employer),
        text("employment_type", kind),
        text("start_date", "2020-01-01"),
    ];
    let employment = Catalogue::current().category(&category("employment")).unwrap();
    Record {
        as_of,
        fields: employment.fields_of(values).unwrap(),
    }
}

fn plain(status: Status) -> CategoryAnswer {
    CategoryAnswer {
        category: category("employment"),
        status,
        as_of: None,
        searched: Vec::new(),
        records: Vec::new(),
        truncated: false,
        rule: None,
        why: None,
    }
}

pub(crate) fn found(records: &[Record]) -> CategoryAnswer {
    CategoryAnswer {
        records: records.to_vec(),
        ..plain(Status::Found)
    }
}

pub(crate) fn nothing() -> CategoryAnswer {
    plain(Status::None)
}

pub(crate) fn status(status: Status) -> CategoryAnswer {
    plain(status)
}

pub(crate) fn unavailable() -> CategoryAnswer {
    CategoryAnswer {
        why: Some("database".parse().unwrap()),
        ..plain(Status::Unavailable)
    }
}
