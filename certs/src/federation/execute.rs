//! Carrying out orders of two persons (执行指令) on a federation's directory. What the plain commands of `operate` do on an
//! operator's word alone is done here by order, and only what the table of a node's life allows.

use sanku_federation_protocol::notes::{NodeState, RawNote, RevokedWhat, name, sign};
use sanku_federation_protocol::people::{Action, Approved, People};
use sanku_federation_protocol::trust::{Accepted, Trust};
use sanku_tlog::{SignedNote, VerifierKey};
use sanku_values::{DivisionCode, Time};

use super::{Federation, notes_of};
use crate::CertsError;
use crate::life::{NodeEvent, NodeLife};
use crate::orders::people_after;

/// What an order changes here, judged and not done yet.
#[derive(Debug)]
pub struct Change(Kind);

#[derive(Debug)]
enum Kind {
    Suspend(DivisionCode, String),
    Resume(DivisionCode),
    Revoke((RevokedWhat, DivisionCode, Option<String>), String),
    People(SignedNote),
}

impl Federation {
    /// Signs a centre's first people note with this directory's root, and hands it out.
    ///
    /// # Errors
    /// If the centre has one: from then on its people sign.
    pub fn first_people(&self, centre: DivisionCode, people: &People, now: Time) -> Result<(), CertsError> {
        let _lock = self.lock()?;
        if self.trust(now)?.people(centre).is_some() {
            return Err(CertsError::Make(format!(
                "{centre} 已有人员公告，以后的变更须由其中两人签署 has a people note; two of its people sign every later one: sanku certs order"
            )));
        }
        let root = self.note_key("root-note", &name::root(&self.name))?;
        let note = sign(&name::people(&self.name, centre), now, people, &root)?;
        self.hand_in(&format!("people-{centre}-{}", now.millis()), &note, now)
    }

    /// Everything that this directory's notes say.
    pub fn trust(&self, now: Time) -> Result<Trust, CertsError> {
        let held = notes_of(&self.directory.join("authority/notes"))?;
        let held = held.iter().map(Vec::as_slice);
        Ok(Trust::from_notes(self.name.clone(), self.fingerprint, held, now).0)
    }

    /// What an order changes. Nothing is changed yet, so whatever stands against it is said before anything is logged.
    /// `people` is the note that follows from an order about people; `again` if the order was logged before and something came
    /// between, so that what it changes may be changed already.
    ///
    /// # Errors
    /// If the node is not in a state that allows it, the note does not follow from the order, or the order is of a kind that
    /// is not carried out here.
    pub fn plan(
        &self,
        approved: &Approved,
        people: Option<&[u8]>,
        again: bool,
        now: Time,
    ) -> Result<Change, CertsError> {
        let order = approved.order();
        let trust = self.trust(now)?;
        let life = |code: DivisionCode, event: NodeEvent| match life_of(&trust, code).on(event) {
            Err(error) if !again => Err(CertsError::Make(format!("{code}: {error}"))),
            _ => Ok(()),
        };
        Ok(Change(match &order.act {
            Action::Suspend { code } => {
                life(*code, NodeEvent::Suspend)?;
                Kind::Suspend(*code, order.reason.clone())
            }
            Action::Resume { code } => {
                life(*code, NodeEvent::Resume)?;
                Kind::Resume(*code)
            }
            Action::Revoke { what, code, object } => {
                match (what, object.as_deref()) {
                    (RevokedWhat::Certificate, Some(serial)) => super::operate::serial(serial)?,
                    (RevokedWhat::Key, Some(key)) => self.registered(*code, key)?,
                    _ => life(*code, NodeEvent::Revoke)?,
                }
                Kind::Revoke((*what, *code, object.clone()), order.reason.clone())
            }
            act @ (Action::AdmitPerson { .. } | Action::DismissPerson { .. }) => {
                let note = people.ok_or_else(|| {
                    CertsError::Make(
                        "人员指令须附新的人员公告 an order about people comes with the people note that follows"
                            .to_owned(),
                    )
                })?;
                Kind::People(self.follows(&trust, (order.executor, act), note, now)?)
            }
            act => {
                let word = act.kind().word();
                return Err(CertsError::Make(format!(
                    "此版本尚不能执行 {word} this version does not carry out {word} yet"
                )));
            }
        }))
    }

    /// Makes a change. Doing it twice is doing it once.
    pub fn carry_out(&self, change: &Change, now: Time) -> Result<(), CertsError> {
        match &change.0 {
            Kind::Suspend(code, reason) => self.suspend(*code, reason, now),
            Kind::Resume(code) => self.resume(*code, now),
            Kind::Revoke(row, reason) => self.name_in_list(row.clone(), reason, now),
            Kind::People(note) => {
                let _lock = self.lock()?;
                let raw = RawNote::parse(note.to_string().as_bytes())?;
                let centre = raw.name.rsplit('/').next().unwrap_or_default().to_owned();
                self.hand_in(&format!("people-{centre}-{}", raw.number), note, now)
            }
        }
    }

    /// The people note that follows from an order: it says what the order says, and two of the centre's people signed it.
    fn follows(
        &self,
        trust: &Trust,
        (centre, act): (DivisionCode, &Action),
        note: &[u8],
        now: Time,
    ) -> Result<SignedNote, CertsError> {
        let refused = |why: String| CertsError::Make(why);
        let raw = RawNote::parse(note)?;
        let before = trust.people(centre).ok_or_else(|| {
            refused(format!(
                "{centre} 没有人员公告 has no people note; first: sanku federation people"
            ))
        })?;
        let after = people_after(before, act).map_err(|error| refused(error.to_string()))?;
        if raw.name != name::people(&self.name, centre) || raw.content::<People>()? != after {
            // What was interrupted after the note was kept finds it in force.
            let same = trust
                .note(&raw.name, None)
                .is_some_and(|held| held.reference == raw.reference());
            if !same {
                return Err(refused(
                    "所附人员公告不是此指令的结果 the people note at hand is not what follows from this order"
                        .to_owned(),
                ));
            }
        }
        match trust.clone().accept(note, now)? {
            Accepted::New | Accepted::Known => Ok(raw.signed),
            Accepted::Archived => Err(refused("已有更新的人员公告 a newer people note is in force".to_owned())),
        }
    }

    /// A key that the registry has for a node.
    fn registered(&self, code: DivisionCode, key: &str) -> Result<(), CertsError> {
        let registry = self.registry()?;
        let row = registry.node(code).ok_or(CertsError::NotMember(code))?;
        let verifiers = row
            .logs
            .iter()
            .map(|log| &log.key)
            .chain(row.witness_keys.iter().map(|key| &key.key));
        let known = verifiers
            .map(VerifierKey::to_string)
            .chain(row.sealing_keys.iter().map(|key| key.key.to_string()));
        if known.into_iter().any(|known| known == key) {
            Ok(())
        } else {
            Err(CertsError::Make(format!(
                "登记公告中 {code} 没有此密钥 the registry has no such key of {code}"
            )))
        }
    }
}

/// Where a node stands in its life, by the notes alone: places are not theirs.
fn life_of(trust: &Trust, code: DivisionCode) -> NodeLife {
    use sanku_federation_protocol::problem::ProblemKind;
    let state = trust
        .registry()
        .and_then(|(_, registry, _)| Some(registry.node(code)?.state));
    match (state, trust.judge_member(code)) {
        (None, _) => NodeLife::Absent,
        (Some(NodeState::Left), _) | (_, Err(ProblemKind::Revoked)) => NodeLife::Left,
        (Some(NodeState::Active), Err(ProblemKind::Suspended)) => NodeLife::Suspended,
        (Some(NodeState::Active), _) => NodeLife::Active,
    }
}
