//! `sanku certs person` and `sanku certs root`: keys of people and of the root, made where their owners are.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sanku_certs::custodians::{self, RootKeys};
use sanku_certs::issuer::ceremony;
use sanku_certs::keys::write_whole;
use sanku_certs::{CertsError, orders, person_key};
use sanku_federation_protocol::notes::{Root, name, sign};
use sanku_federation_protocol::people::{People, Person, PersonRole};
use sanku_tlog::VerifierKey;
use sanku_values::{Clock, DivisionCode, FederationName, SystemClock, Time};
use serde_json::json;

use super::passphrase::{Custodian, chosen, custodians as read_custodians, known};
use crate::cli::{PersonCommand, RootCommand};
use crate::output::{say, say_json, wrong_use};

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn federation(text: &str) -> anyhow::Result<FederationName> {
    text.parse()
        .map_err(|error| wrong_use(format!("--federation {text}: {error}")))
}

pub(crate) fn code(text: &str) -> anyhow::Result<DivisionCode> {
    text.parse().map_err(|error| {
        wrong_use(format!(
            "{text}: {error}；写六位区划代码 write six digits, such as 421002"
        ))
    })
}

/// Somebody who is to be on a people note, written `ROLE=VKEY`.
pub(crate) fn person(text: &str, now: Time, days: u32) -> anyhow::Result<Person> {
    let (role, key) = text.split_once('=').unwrap_or_default();
    let role = PersonRole::ALL
        .iter()
        .find(|known| known.as_str() == role)
        .ok_or_else(|| {
            let roles: Vec<_> = PersonRole::ALL.iter().map(|role| role.as_str()).collect();
            wrong_use(format!(
                "{text}: 写作 角色=公钥 write ROLE=VKEY; 角色 roles: {}",
                roles.join(", ")
            ))
        })?;
    let key: VerifierKey = key.parse().map_err(|_| {
        wrong_use(format!(
            "{text}: 公钥不对，应为 `certs person show` 的输出 not a key as `certs person show` prints it"
        ))
    })?;
    orders::centre_of(&key)?;
    let id = key.name().rsplit('/').next().unwrap_or_default().parse()?;
    Ok(Person {
        id,
        role: *role,
        key,
        from: now,
        until: now.plus(DAY * days),
    })
}

pub(crate) fn person_command(command: &PersonCommand) -> anyhow::Result<u8> {
    match command {
        PersonCommand::New {
            federation: name,
            centre,
            id,
            out,
            passphrase_file,
            json,
        } => {
            let (name, centre) = (federation(name)?, code(centre)?);
            let id = id.parse().map_err(|_| {
                wrong_use(format!(
                    "--id {id}: 人员代号为小写字母和数字 an id is of lower-case letters and digits"
                ))
            })?;
            if out.exists() {
                return Err(CertsError::Exists(out.clone()).into());
            }
            let passphrase = chosen(passphrase_file.as_deref(), &format!("{centre}/{id}"))?;
            let key = person_key::create(out, &name, (centre, &id), &passphrase)?;
            told(out, key.verifier(), *json);
        }
        PersonCommand::Show { file, json } => told(file, &person_key::owner(file)?, *json),
        PersonCommand::Passphrase {
            file,
            passphrase_file,
            new_passphrase_file,
        } => {
            let owner = person_key::owner(file)?;
            let before = known(passphrase_file.as_deref(), owner.name())?;
            let after = chosen(new_passphrase_file.as_deref(), owner.name())?;
            person_key::change_passphrase(file, &before, &after)?;
            say(format!("口令已更换 {} is under the new passphrase", file.display()));
        }
    }
    Ok(0)
}

fn told(file: &Path, key: &VerifierKey, as_json: bool) {
    if as_json {
        say_json(&json!({ "file": file, "key": key }));
    } else {
        say(key.to_string());
    }
}

const fn borrowed(custodian: &Custodian) -> custodians::Custodian<'_> {
    (&custodian.id, &custodian.passphrase)
}

pub(crate) fn root_command(command: &RootCommand) -> anyhow::Result<u8> {
    match command {
        RootCommand::New {
            federation: name,
            out,
            custodian,
            json,
        } => {
            let [a, b, c] = read_custodians(custodian, chosen)?;
            new_root(&federation(name)?, out, [&a, &b, &c].map(borrowed), *json)?;
        }
        RootCommand::HandOver { file, from, to } => {
            let [a, b] = read_custodians(from, known)?;
            let [one, two, three] = read_custodians(to, chosen)?;
            custodians::hand_over(file, [&a, &b].map(borrowed), [&one, &two, &three].map(borrowed))?;
            say(format!(
                "{} 已移交 is held by: {}, {}, {}",
                file.display(),
                one.id,
                two.id,
                three.id
            ));
        }
        RootCommand::People {
            file,
            custodian,
            centre,
            person: persons,
            days,
            out,
        } => {
            let now = SystemClock.now();
            let (key, _) = custodians::held_by(file)?;
            let name = key.name().strip_suffix("/root").unwrap_or_default().parse()?;
            let centre = code(centre)?;
            let people = people(persons, (&name, centre), now, *days)?;
            let [a, b] = read_custodians(custodian, known)?;
            let keys = custodians::open_with(file, [&a, &b].map(borrowed))?;
            first_people(&keys, &name, (centre, &people), out, now)?;
        }
    }
    Ok(0)
}

/// Makes the root: its keys under the custodians, and the root note that everybody trusts.
fn new_root(
    federation: &FederationName,
    out: &Path,
    custodians: [custodians::Custodian<'_>; 3],
    as_json: bool,
) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let keys = RootKeys::generate(federation)?;
    let content = Root {
        key: keys.note.verifier().clone(),
        certificates: vec![STANDARD.encode(ceremony::root(federation, &keys, now)?)],
        witness: keys.witness.verifier().clone(),
    };
    let note = sign(&name::root(federation), now, &content, &keys.note)?;
    let (key_file, note_file) = (out.join("root.key"), out.join("root.note"));
    custodians::keep(&key_file, &keys, custodians)?;
    write_whole(&note_file, note.to_string().as_bytes(), 0o644)?;
    let fingerprint = keys.fingerprint();
    if as_json {
        say_json(&json!({ "key": key_file, "note": note_file, "root": fingerprint }));
        return Ok(());
    }
    say(format!("根密钥 the root's keys: {}", key_file.display()));
    say(format!("根公告 the root note: {}", note_file.display()));
    say(format!("根公告指纹 root fingerprint: {fingerprint}"));
    say("密钥文件离线保存两份；指纹印在纸上 keep two copies of the key file offline, and the fingerprint on paper");
    Ok(())
}

/// A centre's first people, two security administrators at least.
pub(crate) fn people(
    texts: &[String],
    whose: (&FederationName, DivisionCode),
    now: Time,
    days: u32,
) -> anyhow::Result<People> {
    let mut people: Vec<_> = texts
        .iter()
        .map(|text| person(text, now, days))
        .collect::<anyhow::Result<_>>()?;
    people.sort_by(|one, two| one.id.cmp(&two.id));
    let administrators = people
        .iter()
        .filter(|person| person.role == PersonRole::SecurityAdministrator);
    if administrators.count() < 2 {
        return Err(wrong_use(
            "至少两名安全管理员 at least two security administrators are needed",
        ));
    }
    for person in &people {
        let (federation, centre) = orders::centre_of(&person.key)?;
        if (&federation, centre) != whose {
            let (federation, centre) = whose;
            let name = person.key.name();
            return Err(wrong_use(format!(
                "{name} 不属于 {federation} 的中心 {centre} is not of the centre {centre} of {federation}"
            )));
        }
    }
    Ok(People { people })
}

/// Signs a centre's first note: every later one is signed by two of its people.
fn first_people(
    keys: &RootKeys,
    federation: &FederationName,
    (centre, people): (DivisionCode, &People),
    out: &Path,
    now: Time,
) -> anyhow::Result<()> {
    if out.exists() {
        return Err(CertsError::Exists(out.to_owned()).into());
    }
    let note = sign(&name::people(federation, centre), now, people, &keys.note)?;
    write_whole(out, note.to_string().as_bytes(), 0o644)?;
    say(format!(
        "人员公告 the people note of {centre}: {}（{} 人 people）",
        out.display(),
        people.people.len()
    ));
    Ok(())
}
