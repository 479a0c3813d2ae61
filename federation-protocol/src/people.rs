//! Who may act at a centre (人员公告), and the texts by which they act: orders (指令) of two persons, proven by signatures.
//!
//! A person is a key of type Ed25519 under the name `<federation>/person/<code>/<id>`. An order is a note that its signed
//! text makes whole: one that proposes and another that approves sign the same bytes. [`judge_order`] says whether it is
//! approved; that it is executed once, by its hash, is its executor's part.

use std::collections::BTreeSet;

use sanku_tlog::{Hash, SignedNote, SigningKey, VerifierKey};
use sanku_values::{DivisionCode, FederationName, Time};
use serde::{Deserialize, Serialize};

use crate::json;
use crate::names::{StatementId, Word, closed_list};
use crate::notes::NoteRefused;

closed_list! {
    /// What a person may do at their centre (三员分立: nobody has two of these).
    PersonRole {
        /// Places, enrolments, logs, authorities: what makes nodes work.
        SystemAdministrator = "system_administrator",
        /// Persons, suspensions, revocations: who may.
        SecurityAdministrator = "security_administrator",
        /// Reads and inspects; signs no order.
        SecurityAuditor = "security_auditor",
    }
}

/// A person of a centre.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// A pseudonym of the centre's own, never used again.
    pub id: Word,
    /// The one role.
    pub role: PersonRole,
    /// The key that signs.
    pub key: VerifierKey,
    /// From.
    pub from: Time,
    /// Until; a dismissed person leaves the next note.
    pub until: Time,
}

/// `<federation>/people/<code>`: who may act there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct People {
    /// Everybody, rising by id.
    pub people: Vec<Person>,
}

/// The name of a person's key.
pub fn person_name(federation: &FederationName, code: DivisionCode, id: &Word) -> String {
    format!("{federation}/person/{code}/{id}")
}

impl People {
    /// What its types do not say: ids rise, each key bears its person's name, no key stands twice.
    pub(crate) fn judge(&self, federation: &FederationName, code: DivisionCode) -> Result<(), NoteRefused> {
        let form = |why: &str| Err(NoteRefused::Form(why.to_owned()));
        let ids: Vec<_> = self.people.iter().map(|person| &person.id).collect();
        if !json::rises(&ids) {
            return form("ids do not rise");
        }
        let mut keys = BTreeSet::new();
        for person in &self.people {
            if person.key.name() != person_name(federation, code, &person.id) {
                return form("a key does not bear its person's name");
            }
            if !keys.insert(*person.key.public()) {
                return form("a key stands twice");
            }
        }
        Ok(())
    }

    /// Everybody who signed a note and is in force at an instant.
    ///
    /// # Errors
    /// [`Refusal::Signature`] if a line bears a person's name and does not hold.
    fn signers(&self, note: &SignedNote, at: Time) -> Result<Vec<&Person>, Refusal> {
        let mut signers = Vec::new();
        for person in self
            .people
            .iter()
            .filter(|person| person.from <= at && at <= person.until)
        {
            match note.verified_by(&person.key) {
                Ok(()) => signers.push(person),
                Err(sanku_tlog::NoteError::Signature) => return Err(Refusal::Signature),
                Err(_) => {}
            }
        }
        Ok(signers)
    }

    /// Whether two different persons of this note, in a role that may admit others, signed another note.
    pub(crate) fn two_signed(&self, note: &SignedNote, at: Time) -> bool {
        let may = |person: &&Person| ActionKind::AdmitPerson.roles().contains(&person.role);
        self.signers(note, at)
            .is_ok_and(|signers| signers.into_iter().filter(may).count() >= 2)
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident $word:literal by [$($role:ident),*] { $($(#[$field_doc:meta])* $field:ident : $type:ty),* })*) => {
        /// What is ordered.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "action", deny_unknown_fields)]
        pub enum Action {
            $($(#[$doc])* #[serde(rename = $word)] $name { $($(#[$field_doc])* $field: $type,)* },)*
        }

        /// The kind of what is ordered.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ActionKind { $($(#[$doc])* $name,)* }

        impl ActionKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its word.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Who may sign for it.
            pub const fn roles(self) -> &'static [PersonRole] {
                match self { $(Self::$name => &[$(PersonRole::$role),*],)* }
            }
        }

        impl Action {
            /// Its kind.
            pub const fn kind(&self) -> ActionKind {
                match self { $(Self::$name { .. } => ActionKind::$name,)* }
            }
        }
    };
}

actions! {
    /// Opens places for nodes (开放席位).
    OpenPlaces "place.open" by [SystemAdministrator] {
        /// For these codes, rising.
        codes: Vec<DivisionCode>
    }
    /// Confirms an enrolment (确认入网).
    ConfirmEnrolment "enrolment.confirm" by [SystemAdministrator] {
        /// The node.
        code: DivisionCode,
        /// Leaf hash of its request.
        request: Hash
    }
    /// Admits a person (增加人员).
    AdmitPerson "person.admit" by [SecurityAdministrator] {
        /// Who.
        person: Person
    }
    /// Dismisses a person (撤销人员).
    DismissPerson "person.dismiss" by [SecurityAdministrator] {
        /// Who.
        id: Word
    }
    /// Suspends a node (暂停节点).
    Suspend "node.suspend" by [SecurityAdministrator] {
        /// The node.
        code: DivisionCode
    }
    /// Resumes a node (恢复节点).
    Resume "node.resume" by [SecurityAdministrator] {
        /// The node.
        code: DivisionCode
    }
    /// Revokes a node, a certificate or a key (吊销).
    Revoke "revoke" by [SecurityAdministrator] {
        /// What it is: a row of the list of revocations.
        what: crate::notes::RevokedWhat,
        /// The node it belongs to.
        code: DivisionCode,
        /// Serial or key; nothing for a node.
        object: Option<String>
    }
    /// Lets a node go (节点退出).
    Leave "node.leave" by [SystemAdministrator, SecurityAdministrator] {
        /// The node.
        code: DivisionCode
    }
    /// Lets a node that was long away return (久离返回).
    Return "node.return" by [SystemAdministrator] {
        /// The node.
        code: DivisionCode,
        /// Leaf hash of its request.
        request: Hash
    }
    /// Rotates an authority (轮换发证机构).
    RotateAuthority "authority.rotate" by [SecurityAdministrator] {
        /// Whose authority.
        code: DivisionCode,
        /// The step.
        step: RotationStep,
        /// Leaf hash of the request that brings the new keys: with `prepare` alone.
        request: Option<Hash>
    }
    /// Gives a node a new log number (更换日志).
    RenewLog "log.renew" by [SystemAdministrator, SecurityAdministrator] {
        /// The node.
        code: DivisionCode,
        /// The new number.
        number: u32,
        /// Leaf hash of its request.
        request: Hash
    }
    /// Lets a node answer on stale lists for a time (应急放行).
    BreakGlass "break_glass" by [SecurityAdministrator] {
        /// The node itself.
        code: DivisionCode,
        /// Until.
        until: Time
    }
}

closed_list! {
    /// A step of an authority's rotation.
    RotationStep {
        /// In the delegation, not used.
        Prepare = "prepare",
        /// It issues.
        Activate = "activate",
        /// Its certificates are good until they expire.
        Retire = "retire",
        /// Out of the delegation.
        Remove = "remove",
        /// Back to the one before, until activation.
        TakeBack = "take_back",
    }
}

/// What an order says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Its id; what makes two orders of one wording two.
    pub id: StatementId,
    /// What is ordered.
    pub act: Action,
    /// Why: for people.
    pub reason: String,
    /// Whose people ordered it, and who executes it: authority or node.
    pub executor: DivisionCode,
    /// After it the order is void.
    pub not_after: Time,
}

closed_list! {
    /// Why an order is not approved.
    Refusal {
        /// Not the form of an order of this federation.
        Form = "order_form",
        /// Addressed to somebody else.
        Executor = "order_executor",
        /// After its time.
        Expired = "order_expired",
        /// A signature that does not hold: a byte was changed.
        Signature = "order_signature",
        /// Nobody of the people note in force signed it, or they were dismissed.
        NobodySigned = "order_unsigned",
        /// One person alone.
        OnePerson = "order_one_person",
        /// Somebody signed whose role does not allow it.
        Role = "order_role",
        /// It was executed before: said by whoever keeps the hashes.
        Twice = "order_twice",
    }
}

/// An order that two persons signed. Made only by judging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    order: Order,
    hash: Hash,
    signers: BTreeSet<Word>,
}

impl Approved {
    /// What it says.
    pub const fn order(&self) -> &Order {
        &self.order
    }

    /// SHA-256 of its text, without signatures: the unique key under which it is executed once.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// Who signed.
    pub const fn signers(&self) -> &BTreeSet<Word> {
        &self.signers
    }
}

/// First line of an order's text.
pub fn order_name(federation: &FederationName) -> String {
    format!("{federation}/order")
}

impl Order {
    /// Its text: name, LF, one line of JSON, LF.
    pub fn text(&self, federation: &FederationName) -> Result<String, NoteRefused> {
        let json = serde_json::to_string(self).map_err(|_| NoteRefused::Form("it cannot be written".to_owned()))?;
        Ok(format!("{}\n{json}\n", order_name(federation)))
    }

    /// Proposes it: the first signature.
    pub fn propose(&self, federation: &FederationName, key: &SigningKey) -> Result<SignedNote, NoteRefused> {
        key.sign_note(&self.text(federation)?)
            .map_err(|_| NoteRefused::Form("it cannot be signed".to_owned()))
    }

    /// Reads an order's text. Signatures are not judged.
    ///
    /// # Errors
    /// [`Refusal::Form`].
    pub fn read(note: &SignedNote, federation: &FederationName) -> Result<Self, Refusal> {
        let mut lines = note.text().strip_suffix('\n').unwrap_or_default().split('\n');
        let (Some(name), Some(line), None) = (lines.next(), lines.next(), lines.next()) else {
            return Err(Refusal::Form);
        };
        if name != order_name(federation) {
            return Err(Refusal::Form);
        }
        let order: Self = json::parse(line.as_bytes()).map_err(|_| Refusal::Form)?;
        // One spelling: what is signed is what this type writes.
        if order.text(federation).ok().as_deref() != Some(note.text()) || !order.holds() {
            return Err(Refusal::Form);
        }
        Ok(order)
    }

    fn holds(&self) -> bool {
        let object = match &self.act {
            Action::OpenPlaces { codes } => !codes.is_empty() && json::rises(codes),
            Action::Revoke { what, object, .. } => {
                let of_node = matches!(
                    what,
                    crate::notes::RevokedWhat::Node | crate::notes::RevokedWhat::Suspended
                );
                of_node == object.is_none() && *what != crate::notes::RevokedWhat::Suspended
            }
            Action::BreakGlass { code, .. } => *code == self.executor,
            Action::AdmitPerson { person } => person.from < person.until,
            Action::RotateAuthority { step, request, .. } => (*step == RotationStep::Prepare) == request.is_some(),
            _ => true,
        };
        object && !self.reason.trim().is_empty()
    }
}

/// Judges an order: addressed to us, in time, signed by two different persons of the people note in force, each in a role
/// that allows it.
///
/// # Errors
/// The first that does not hold, as a stable code.
pub fn judge_order(
    bytes: &[u8],
    (federation, executor): (&FederationName, DivisionCode),
    people: &People,
    now: Time,
) -> Result<Approved, Refusal> {
    let note = SignedNote::parse(bytes).map_err(|_| Refusal::Form)?;
    let order = Order::read(&note, federation)?;
    if order.executor != executor {
        return Err(Refusal::Executor);
    }
    if now > order.not_after {
        return Err(Refusal::Expired);
    }
    let signers = people.signers(&note, now)?;
    if signers.is_empty() {
        return Err(Refusal::NobodySigned);
    }
    let allowed = order.act.kind().roles();
    if signers.iter().any(|person| !allowed.contains(&person.role)) {
        return Err(Refusal::Role);
    }
    let ids: BTreeSet<_> = signers.into_iter().map(|person| person.id.clone()).collect();
    if ids.len() < 2 {
        return Err(Refusal::OnePerson);
    }
    Ok(Approved {
        hash: Hash::of(note.text().as_bytes()),
        order,
        signers: ids,
    })
}

#[cfg(test)]
mod tests;
