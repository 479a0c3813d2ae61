//! Orders as people write them (指令): one person proposes, another approves, each with their own key. And what an order about
//! people makes of their centre's note, which both of them sign as well: no server can.

use sanku_federation_protocol::notes::{self, NoteRefused, RawNote, name};
use sanku_federation_protocol::people::{Action, Order, People, PersonRole};
use sanku_tlog::{SignedNote, SigningKey, VerifierKey};
use sanku_values::{DivisionCode, FederationName, Time};

/// Why an order, or the note that follows from it, is not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// Not a person's key.
    #[error("不是人员密钥 not a person's key: {0}")]
    Key(String),
    /// Not an order of this federation.
    #[error("不是本联邦的指令，或已被改动 not an order of the federation {0}, or it was changed")]
    Order(FederationName),
    /// The person who proposed it cannot approve it.
    #[error("您已签署此指令，须由另一人批准 you signed this order already: another person approves it")]
    Twice,
    /// What the order says of people does not fit their note.
    #[error("{0}")]
    People(&'static str),
    /// The note that should follow from the order is another.
    #[error("所附人员公告不是此指令的结果 the people note at hand is not what follows from this order")]
    OtherNote,
    /// A note does not hold.
    #[error(transparent)]
    Note(#[from] NoteRefused),
}

/// Whose key it is, by its name `<federation>/person/<code>/<id>`.
pub fn centre_of(key: &VerifierKey) -> Result<(FederationName, DivisionCode), NotSigned> {
    let read = || {
        let (federation, rest) = key.name().split_once("/person/")?;
        let (code, id) = rest.split_once('/')?;
        id.parse::<sanku_federation_protocol::names::Word>().ok()?;
        Some((federation.parse().ok()?, code.parse().ok()?))
    };
    read().ok_or_else(|| NotSigned::Key(key.name().to_owned()))
}

/// Reads an order without judging it: for people who are about to sign it.
pub fn read(bytes: &[u8], federation: &FederationName) -> Result<(SignedNote, Order), NotSigned> {
    let none = || NotSigned::Order(federation.clone());
    let note = SignedNote::parse(bytes).map_err(|_| none())?;
    let order = Order::read(&note, federation).map_err(|_| none())?;
    Ok((note, order))
}

/// Adds a second person's signature to an order.
///
/// # Errors
/// If it is none, or this person signed it before.
pub fn approve(bytes: &[u8], key: &SigningKey) -> Result<(SignedNote, Order), NotSigned> {
    let (federation, _) = centre_of(key.verifier())?;
    let (mut note, order) = read(bytes, &federation)?;
    sign(&mut note, key)?;
    Ok((note, order))
}

fn sign(note: &mut SignedNote, key: &SigningKey) -> Result<(), NotSigned> {
    let name = key.verifier().name();
    if note.signatures().iter().any(|line| line.name() == name) {
        return Err(NotSigned::Twice);
    }
    let line = key.sign(note.text());
    note.add(line);
    Ok(())
}

/// The people of a centre after an order about them.
///
/// # Errors
/// If the person is there already or is not, or too few would remain who can change the note.
pub fn people_after(people: &People, act: &Action) -> Result<People, NotSigned> {
    let mut after = people.clone();
    match act {
        Action::AdmitPerson { person } => {
            let same = |known: &sanku_federation_protocol::people::Person| {
                known.id == person.id || known.key.public() == person.key.public()
            };
            if after.people.iter().any(same) {
                return Err(NotSigned::People(
                    "此人或其密钥已在公告中 the person, or their key, is on the note already",
                ));
            }
            after.people.push(person.clone());
            after.people.sort_by(|one, two| one.id.cmp(&two.id));
        }
        Action::DismissPerson { id } => {
            after.people.retain(|person| person.id != *id);
            if after.people.len() == people.people.len() {
                return Err(NotSigned::People("公告中没有此人 nobody of this id is on the note"));
            }
        }
        _ => return Err(NotSigned::People("此指令与人员无关 the order is not about people")),
    }
    let may = |person: &&sanku_federation_protocol::people::Person| person.role == PersonRole::SecurityAdministrator;
    if after.people.iter().filter(may).count() < 2 {
        return Err(NotSigned::People(
            "须至少保留两名安全管理员，否则无人能再变更人员 two security administrators must remain, or nobody can change the note again",
        ));
    }
    Ok(after)
}

/// Proposes the people note that follows from an order, over the one in force: the first signature.
pub fn propose_people(in_force: &[u8], order: &Order, key: &SigningKey, now: Time) -> Result<SignedNote, NotSigned> {
    let (federation, centre) = centre_of(key.verifier())?;
    let note = people_note(in_force, &federation, centre)?;
    let after = people_after(&note.content()?, &order.act)?;
    // Numbers rise, also where a clock went back.
    let number = now
        .millis()
        .max(i64::try_from(note.number).unwrap_or(i64::MAX).saturating_add(1));
    let name = name::people(&federation, centre);
    Ok(notes::sign(&name, Time::from_millis(number), &after, key)?)
}

/// Adds a second person's signature to the people note that follows from an order over the one in force.
///
/// # Errors
/// If it says anything else than the order.
pub fn approve_people(
    in_force: &[u8],
    proposed: &[u8],
    order: &Order,
    key: &SigningKey,
) -> Result<SignedNote, NotSigned> {
    let (federation, centre) = centre_of(key.verifier())?;
    let before = people_note(in_force, &federation, centre)?;
    let mut after = people_note(proposed, &federation, centre)?;
    if after.number <= before.number || after.content::<People>()? != people_after(&before.content()?, &order.act)? {
        return Err(NotSigned::OtherNote);
    }
    sign(&mut after.signed, key)?;
    Ok(after.signed)
}

fn people_note(bytes: &[u8], federation: &FederationName, centre: DivisionCode) -> Result<RawNote, NotSigned> {
    let note = RawNote::parse(bytes)?;
    if note.name == name::people(federation, centre) {
        Ok(note)
    } else {
        Err(NotSigned::People(
            "不是本中心的人员公告 not the people note of your own centre",
        ))
    }
}

#[cfg(test)]
mod tests;
