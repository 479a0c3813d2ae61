//! Requests (申请) judged: what a node asks of its authority, against the place that is open for it, the orders of two
//! persons, and the registry. The types and their limits are the protocol's (`acts`); a [`Grant`] is made here alone, and the
//! issuer signs nothing without one.

mod authority;
mod changes;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use sanku_federation_protocol::acts::{self, CertificateRequest, Newcomer, Occasion, Public, Spki};
use sanku_federation_protocol::entry::Said;
use sanku_federation_protocol::names::Origin;
use sanku_federation_protocol::notes::{NodeRow, NodeState};
use sanku_federation_protocol::people::{Action, ActionKind, Approved};
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::statement::{LogKeys, RunError, Statement, UnverifiedRun, Verified, VerifiedRun};
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::{Hash, VerifierKey};
use sanku_values::{DivisionCode, Time};

pub use authority::AuthorityGrant;
pub use changes::{newcomer_row, revised_row};

/// How long a place stays open.
pub const PLACE_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How old a request may be: as old as an invitation that travels as a file.
const OLDEST: Duration = crate::invitation::BY_FILE;
/// How far ahead of our clock a request's time may lie.
const AHEAD: Duration = Duration::from_secs(15 * 60);

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident $code:literal $words:literal),* $(,)?) => {
        /// Why a request is not granted, with what to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
        pub enum RequestRefused { $($(#[$doc])* #[error($words)] $name,)* }

        impl RequestRefused {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its stable code.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }
    };
}

refusals! {
    /// Not a request of this kind.
    Form "request_form" "不是此类申请 not a request of this kind",
    /// Addressed to somebody else, or not the nearest authority.
    Addressee "request_addressee" "申请应交给该节点最近的发证机构 the request belongs to the node's nearest authority: address it there",
    /// Its time lies ahead.
    Clock "request_clock" "申请时间超前：请校准该节点的时钟 the request's time lies ahead: set the node's clock right",
    /// Too old.
    Old "request_old" "申请已过期：请重新提出 the request is too old: make it again",
    /// The node did not show that it has the key.
    Possession "request_possession" "未证明持有私钥：请重新提出申请 the node did not show that it has the private key: make the request again",
    /// The key, or one of the keys, is in use already.
    KeyUsed "request_key_used" "密钥已被使用：请生成新密钥后重新申请 a key of it was used before: make new keys and ask again",
    /// No place is open for the code.
    NoPlace "request_no_place" "没有为该代码开放的席位：请先由两人下达 place.open 指令 no place is open for the code: two persons order place.open first",
    /// The place's time is over.
    PlaceOver "request_place_over" "席位已过期：请再次开放 the place's time is over: open it again",
    /// The node works already.
    Member "request_member" "该节点已在网：应申请更新证书 the node is a member already: let it ask for a renewal",
    /// The log's number does not rise.
    LogNumber "request_log_number" "日志编号须高于该代码以往的编号 the log's number must be higher than any that the code had",
    /// Not in the registry, or left.
    NotMember "request_not_member" "该节点不在联邦中：请开放席位并重新入网 the node is not a member: open a place and enrol it",
    /// Suspended.
    Suspended "request_suspended" "该节点已被暂停：恢复后再申请 the node is suspended: let it ask again once it is resumed",
    /// Revoked.
    Revoked "request_revoked" "该节点已被吊销：请开放席位并重新入网 the node is revoked: open a place and enrol it anew",
    /// Its certificate expired.
    Expired "request_expired" "证书已过期：应申请返回 its certificate expired: let it ask to return",
    /// Its certificate is good.
    NotExpired "request_not_expired" "证书仍有效：应申请更新 its certificate is good: let it ask for a renewal",
    /// The row holds too many keys.
    TooManyKeys "request_too_many_keys" "该节点登记的密钥过多：请先吊销不再使用的密钥 the registry holds too many keys of the node: revoke those that are not used",
    /// An order is needed, or this one is about something else.
    Order "request_order" "需要两人签署的相应指令 an order of two persons about this very request is needed",
}

/// A place that an order opened for a code (席位).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// For whom.
    pub code: DivisionCode,
    /// The order's hash.
    pub order: Hash,
    /// Until then.
    pub until: Time,
}

impl Place {
    /// The places that an order opens when it is executed.
    ///
    /// # Errors
    /// [`RequestRefused::Order`] if it opens none, or one outside its executor's subtree.
    pub fn opened_by(order: &Approved, now: Time) -> Result<Vec<Self>, RequestRefused> {
        let Action::OpenPlaces { codes } = &order.order().act else {
            return Err(RequestRefused::Order);
        };
        let executor = order.order().executor;
        if codes.iter().any(|code| *code != executor && !code.is_below(executor)) {
            return Err(RequestRefused::Addressee);
        }
        let place = |code: &DivisionCode| Self {
            code: *code,
            order: order.hash(),
            until: now.plus(PLACE_LIFE),
        };
        Ok(codes.iter().map(place).collect())
    }
}

/// A request whose run was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The log it stands in.
    pub log: Origin,
    /// Its leaf hash.
    pub leaf: Hash,
    /// When it was made, by the node's clock.
    pub time: Time,
    /// Whom it asks.
    pub to: DivisionCode,
    /// What it asks for.
    pub asked: Public,
}

impl Received {
    /// The request that a verified statement is.
    ///
    /// # Errors
    /// [`RequestRefused::Form`] if it is none.
    pub fn of(statement: &Verified<Statement>) -> Result<Self, RequestRefused> {
        let entry = &statement.entry;
        let Said::Act(act) = &entry.said else {
            return Err(RequestRefused::Form);
        };
        match (act.public.as_deref(), act.to) {
            (Some(asked), Some(to)) if asked.is_request() => Ok(Self {
                log: entry.log.clone(),
                leaf: statement.leaf,
                time: entry.time,
                to,
                asked: asked.clone(),
            }),
            _ => Err(RequestRefused::Form),
        }
    }

    fn certificate(&self) -> Result<&CertificateRequest, RequestRefused> {
        match &self.asked {
            Public::Certificate(request) => Ok(request),
            _ => Err(RequestRefused::Form),
        }
    }

    /// For the one it is addressed to, and neither old nor ahead.
    fn timely(&self, here: DivisionCode, now: Time) -> Result<(), RequestRefused> {
        if self.to != here {
            Err(RequestRefused::Addressee)
        } else if self.time > now.plus(AHEAD) {
            Err(RequestRefused::Clock)
        } else if now > self.time.plus(OLDEST) {
            Err(RequestRefused::Old)
        } else {
            Ok(())
        }
    }
}

/// The key that a newcomer's first request names itself.
struct OwnKey(Origin, VerifierKey);

impl LogKeys for OwnKey {
    fn log_key(&self, log: &Origin) -> Result<VerifierKey, RunError> {
        if *log == self.0 {
            Ok(self.1.clone())
        } else {
            Err(RunError::NotTrusted("unknown_log"))
        }
    }
}

/// Verifies a newcomer's run: the first entry of its log, a first request, under the key that it names itself. That this
/// key is the node's follows from the code that was proven over the request, and from people's confirmation.
///
/// # Errors
/// If it is another run, or does not hold.
pub fn verify_first(run: UnverifiedRun) -> Result<VerifiedRun, RunError> {
    let bad = RunError::BadProof;
    let ([statement], 0) = (run.statements.as_slice(), run.first) else {
        return Err(bad("not the first entry of a log alone"));
    };
    let node = match &statement.entry.said {
        Said::Act(act) => match act.public.as_deref() {
            Some(Public::Certificate(request)) => request.node.as_ref(),
            _ => None,
        },
        _ => None,
    };
    let key = node.ok_or_else(|| bad("not a first request"))?.log.clone();
    let keys = OwnKey(statement.entry.log.clone(), key);
    run.verify(&keys)
}

/// What an authority knows when it judges a request.
pub struct Standing<'a> {
    /// The notes.
    pub trust: &'a Trust,
    /// Whose authority judges.
    pub authority: DivisionCode,
    /// Now.
    pub now: Time,
    /// The place that is open for the node's code.
    pub place: Option<&'a Place>,
    /// When the node's last certificate expires, if it had one.
    pub expires: Option<Time>,
    /// Keys (SHA-256 of SubjectPublicKeyInfo) that had a certificate here before.
    pub used: &'a BTreeSet<Hash>,
    /// How long a node may have been away and return without an order.
    pub away: Duration,
}

/// A request that may be granted, some only by an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    log: Origin,
    leaf: Hash,
    tls: Spki,
    hosts: Vec<String>,
    newcomer: Option<Newcomer>,
    orders: BTreeSet<Hash>,
    needs: Option<ActionKind>,
    authority: DivisionCode,
    /// The order that granted it, or that its row in the registry names.
    order: Option<Hash>,
}

/// A request that is granted: what the issuer works from. Made only by judging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant(Judged);

impl Judged {
    /// The order that it needs.
    pub const fn needs(&self) -> Option<ActionKind> {
        self.needs
    }

    /// Grants it; with the order that it needs, which people of this authority's centre gave about this very request.
    ///
    /// # Errors
    /// [`RequestRefused::Order`].
    pub fn granted(mut self, order: Option<&Approved>) -> Result<Grant, RequestRefused> {
        match (self.needs, order) {
            (None, None) => {}
            (Some(_), Some(order)) => {
                let about = (self.log.node, self.leaf);
                let named = match order.order().act {
                    Action::ConfirmEnrolment { code, request } if self.needs == Some(ActionKind::ConfirmEnrolment) => {
                        (code, request)
                    }
                    Action::Return { code, request } if self.needs == Some(ActionKind::Return) => (code, request),
                    _ => return Err(RequestRefused::Order),
                };
                if named != about || order.order().executor != self.authority {
                    return Err(RequestRefused::Order);
                }
                self.orders.insert(order.hash());
                self.order = Some(order.hash());
            }
            _ => return Err(RequestRefused::Order),
        }
        Ok(Grant(self))
    }
}

impl Grant {
    /// Whose certificate.
    pub const fn code(&self) -> DivisionCode {
        self.0.log.node
    }

    /// The log that the request stands in.
    pub const fn log(&self) -> &Origin {
        &self.0.log
    }

    /// Leaf hash of the request.
    pub const fn request(&self) -> Hash {
        self.0.leaf
    }

    /// The key.
    pub const fn tls(&self) -> &Spki {
        &self.0.tls
    }

    /// Names and addresses of its endpoints.
    pub fn hosts(&self) -> &[String] {
        &self.0.hosts
    }

    /// The orders behind it.
    pub const fn orders(&self) -> &BTreeSet<Hash> {
        &self.0.orders
    }

    /// The order that a row in the registry is to name.
    pub const fn order(&self) -> Option<Hash> {
        self.0.order
    }

    /// What the registry is to say of it, if it enrols.
    pub const fn newcomer(&self) -> Option<&Newcomer> {
        self.0.newcomer.as_ref()
    }
}

/// The authority that issues for a code: the nearest at or above it that the delegation names and that is in force.
pub fn nearest_authority(code: DivisionCode, trust: &Trust, now: Time) -> Option<DivisionCode> {
    let authorities = &trust.delegation()?.authorities;
    let in_force = |of: &DivisionCode| {
        let mut rows = authorities.iter();
        rows.any(|row| row.code == *of && row.from <= now && now <= row.until)
    };
    std::iter::once(code).chain(code.ancestors()).find(in_force)
}

impl Standing<'_> {
    /// Judges a request for a certificate.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn judge(&self, received: &Received) -> Result<Judged, RequestRefused> {
        let request = received.certificate()?;
        let code = received.log.node;
        received.timely(self.authority, self.now)?;
        if received.log.federation != *self.trust.federation()
            || nearest_authority(code, self.trust, self.now) != Some(self.authority)
        {
            return Err(RequestRefused::Addressee);
        }
        if !request.possession.holds(&request.tls, &received.log) {
            return Err(RequestRefused::Possession);
        }
        if self.used.contains(&request.tls.hash()) {
            return Err(RequestRefused::KeyUsed);
        }
        let registry = self.trust.registry().map(|(_, registry, _)| registry);
        let row = registry.and_then(|registry| registry.node(code));
        let judged = |hosts, needs, order: Option<Hash>| Judged {
            log: received.log.clone(),
            leaf: received.leaf,
            tls: request.tls,
            hosts,
            newcomer: request.node.clone(),
            orders: order.into_iter().collect(),
            needs,
            authority: self.authority,
            order,
        };
        if let Some(node) = &request.node {
            let place = self.newcomer(received, node, row)?;
            let needs = Some(ActionKind::ConfirmEnrolment);
            return Ok(judged(hosts(&node.endpoints), needs, Some(place.order)));
        }
        let row = row.ok_or(RequestRefused::NotMember)?;
        let needs = self.member(received, request.occasion)?;
        Ok(judged(hosts(&row.endpoints), needs, row.order))
    }

    /// A newcomer: its place is open, it is no member, its log and its keys are new.
    fn newcomer(&self, received: &Received, node: &Newcomer, row: Option<&NodeRow>) -> Result<&Place, RequestRefused> {
        let code = received.log.node;
        let place = self.place.filter(|place| place.code == code);
        let place = place.ok_or(RequestRefused::NoPlace)?;
        if self.now > place.until {
            return Err(RequestRefused::PlaceOver);
        }
        if row.is_some_and(|row| row.state == NodeState::Active) {
            return Err(RequestRefused::Member);
        }
        let newest = row.and_then(|row| row.logs.iter().map(|log| log.number).max());
        if newest.is_some_and(|newest| received.log.number <= newest) {
            return Err(RequestRefused::LogNumber);
        }
        let keys = [*node.log.public(), *node.witness.public(), *node.sealing.bytes()];
        let distinct = BTreeSet::from(keys).len() == keys.len();
        let mut registered = self
            .trust
            .registry()
            .into_iter()
            .flat_map(|(_, registry, _)| registry.raw_keys());
        if !distinct || registered.any(|key| keys.contains(&key)) {
            return Err(RequestRefused::KeyUsed);
        }
        Ok(place)
    }

    /// A member that asks again: the order it needs, if it was away for long.
    fn member(&self, received: &Received, occasion: Occasion) -> Result<Option<ActionKind>, RequestRefused> {
        match self.trust.judge_member(received.log.node) {
            Ok(()) => {}
            Err(ProblemKind::Suspended) => return Err(RequestRefused::Suspended),
            Err(ProblemKind::Revoked) => return Err(RequestRefused::Revoked),
            Err(_) => return Err(RequestRefused::NotMember),
        }
        let expired = self.expires.filter(|expires| *expires < self.now);
        match (occasion, expired) {
            (Occasion::Renewal, None) => Ok(None),
            (Occasion::Renewal, Some(_)) => Err(RequestRefused::Expired),
            (_, None) => Err(RequestRefused::NotExpired),
            (_, Some(expires)) => Ok((self.now > expires.plus(self.away)).then_some(ActionKind::Return)),
        }
    }
}

/// Names and addresses of endpoints, each once.
fn hosts(endpoints: &[String]) -> Vec<String> {
    let hosts = endpoints.iter().filter_map(|endpoint| acts::split_endpoint(endpoint));
    let hosts: BTreeSet<_> = hosts.map(|(host, _)| host.to_owned()).collect();
    hosts.into_iter().collect()
}
