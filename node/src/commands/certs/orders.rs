//! `sanku certs order`, `approve`, `show`: orders of two persons, as files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use sanku_certs::keys::write_whole;
use sanku_certs::{CertsError, federation, orders, person_key};
use sanku_federation_protocol::names::StatementId;
use sanku_federation_protocol::notes::RevokedWhat;
use sanku_federation_protocol::people::{Action, Order, Refusal, RotationStep, judge_order};
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::{Hash, SigningKey};
use sanku_values::{Clock, DivisionCode, SystemClock, Time};
use serde_json::json;

use super::passphrase::known;
use super::people::{code, person};
use crate::cli::{ActCommand, OrderArgs, Signer};
use crate::output::{remark, say, say_json, wrong_use};

fn signing_key(signer: &Signer) -> anyhow::Result<SigningKey> {
    let owner = person_key::owner(&signer.key)?;
    let passphrase = known(signer.passphrase_file.as_deref(), owner.name())?;
    Ok(person_key::open_with(&signer.key, &passphrase)?)
}

/// Where the people note stands that follows from an order.
pub(crate) fn beside(order: &Path) -> PathBuf {
    let mut name = order.as_os_str().to_owned();
    name.push(".people.note");
    PathBuf::from(name)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("读不到 cannot read {}", path.display()))
}

const fn is_about_people(act: &Action) -> bool {
    matches!(act, Action::AdmitPerson { .. } | Action::DismissPerson { .. })
}

fn people_needed() -> anyhow::Error {
    wrong_use(
        "人员指令须用 --people 给出现行人员公告 an order about people needs --people with the people note in force",
    )
}

/// Proposes: the order, and for one about people the note that follows from it.
pub(crate) fn order(args: &OrderArgs) -> anyhow::Result<u8> {
    let now = SystemClock.now();
    let (federation, centre) = orders::centre_of(&person_key::owner(&args.signer.key)?)?;
    let executor = args.executor.as_deref().map_or(Ok(centre), code)?;
    let order = Order {
        id: StatementId::generate(now),
        act: action(&args.act, executor, now)?,
        reason: args.reason.clone(),
        executor,
        not_after: now.plus(Duration::from_secs(24 * 3600) * args.days),
    };
    if args.out.exists() {
        return Err(CertsError::Exists(args.out.clone()).into());
    }
    let in_force = match (&args.people, is_about_people(&order.act)) {
        (Some(people), true) => Some(read(people)?),
        (None, true) => return Err(people_needed()),
        (Some(_), false) => {
            return Err(wrong_use(
                "此指令与人员无关，不用 --people this order is not about people: leave --people out",
            ));
        }
        (None, false) => None,
    };
    if let Some(in_force) = &in_force {
        // What cannot follow is said before anybody types a passphrase.
        let people = sanku_federation_protocol::notes::RawNote::parse(in_force)?;
        orders::people_after(&people.content()?, &order.act)?;
    }
    told(&order);
    let key = signing_key(&args.signer)?;
    let note = order.propose(&federation, &key)?;
    // It reads back as what was meant, or it is not written.
    orders::read(note.to_string().as_bytes(), &federation)
        .map_err(|_| wrong_use("指令内容不合规，例如事由为空 the order is not of its form, such as an empty reason"))?;
    if let Some(in_force) = in_force {
        let people = orders::propose_people(&in_force, &order, &key, now)?;
        write_whole(&beside(&args.out), people.to_string().as_bytes(), 0o644)?;
    }
    write_whole(&args.out, note.to_string().as_bytes(), 0o644)?;
    say(format!(
        "已提出，待另一人批准 proposed; another person approves it: sanku certs approve {} --as KEYFILE",
        args.out.display()
    ));
    Ok(0)
}

/// Approves: the second signature, in the same files.
pub(crate) fn approve(path: &Path, signer: &Signer, people: Option<&Path>) -> anyhow::Result<u8> {
    let bytes = read(path)?;
    let (federation, _) = orders::centre_of(&person_key::owner(&signer.key)?)?;
    let (_, order) = orders::read(&bytes, &federation)?;
    let in_force = match (people, is_about_people(&order.act)) {
        (Some(people), true) => Some(read(people)?),
        (None, true) => return Err(people_needed()),
        _ => None,
    };
    told(&order);
    let key = signing_key(signer)?;
    let (note, order) = orders::approve(&bytes, &key)?;
    if let Some(in_force) = in_force {
        let next = beside(path);
        let signed = orders::approve_people(&in_force, &read(&next)?, &order, &key)?;
        write_whole(&next, signed.to_string().as_bytes(), 0o644)?;
        say(format!("新的人员公告 the people note that follows: {}", next.display()));
    }
    write_whole(path, note.to_string().as_bytes(), 0o644)?;
    let signers: Vec<_> = note.signatures().iter().map(|line| line.name()).collect();
    say(format!("已批准 approved; 签署 signed by: {}", signers.join(", ")));
    Ok(0)
}

/// Says what is about to be signed, on standard error.
fn told(order: &Order) {
    for (what, value) in described(order) {
        remark(format!("{what}: {value}"));
    }
}

fn described(order: &Order) -> Vec<(&'static str, String)> {
    let mut act = serde_json::to_value(&order.act).unwrap_or_default();
    if let Some(members) = act.as_object_mut() {
        members.remove("action");
    }
    vec![
        ("指令 order", order.act.kind().word().to_owned()),
        ("内容 about", act.to_string()),
        ("事由 reason", order.reason.clone()),
        ("执行 executed by", order.executor.to_string()),
        ("有效至 until", order.not_after.to_string()),
    ]
}

/// Judges an order as its executor would.
pub(crate) fn show(path: &Path, notes: &Path, root: &str, as_json: bool) -> anyhow::Result<u8> {
    let now = SystemClock.now();
    let bytes = read(path)?;
    let fingerprint: Hash = root
        .parse()
        .map_err(|_| wrong_use("--root 须为 64 位十六进制指纹 is the root's fingerprint, 64 hex digits"))?;
    let text = String::from_utf8_lossy(&bytes);
    let federation = text
        .lines()
        .next()
        .and_then(|line| line.strip_suffix("/order")?.parse().ok());
    let federation = federation.ok_or_else(|| wrong_use(format!("{} 不是指令 is no order", path.display())))?;
    let held = federation::notes_of(notes)?;
    let (trust, _) = Trust::from_notes(
        sanku_values::FederationName::clone(&federation),
        fingerprint,
        held.iter().map(Vec::as_slice),
        now,
    );
    let (_, order) = orders::read(&bytes, &federation)?;
    let judged = match trust.people(order.executor) {
        Some(people) => judge_order(&bytes, (&federation, order.executor), people, now),
        None => {
            return Err(wrong_use(format!(
                "{} 中没有 {} 成立的人员公告（须从第一份起全部在内） holds no people note of {} that holds under this root; every one is needed, from the first on",
                notes.display(),
                order.executor,
                order.executor
            )));
        }
    };
    let verdict = judged.as_ref().map_or_else(|refusal| refusal.as_str(), |_| "approved");
    if as_json {
        let signers = judged
            .as_ref()
            .map(|approved| approved.signers().clone())
            .unwrap_or_default();
        let hash = judged.as_ref().ok().map(|approved| approved.hash());
        say_json(&json!({ "order": order, "verdict": verdict, "hash": hash, "signers": signers }));
    } else {
        for (what, value) in described(&order) {
            say(format!("{what}: {value}"));
        }
        match &judged {
            Ok(approved) => {
                let signers: Vec<_> = approved.signers().iter().map(ToString::to_string).collect();
                say(format!("签署 signed by: {}", signers.join(", ")));
                say(format!("成立 approved: {}", approved.hash()));
            }
            Err(refusal) => say(format!("不成立 not approved: {verdict} {}", words(*refusal))),
        }
    }
    Ok(u8::from(judged.is_err()))
}

/// A refusal for people, with what to do.
pub(crate) const fn words(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Form => "格式不对或已被改动：请重新提出 not the form of an order, or changed: propose it again",
        Refusal::Executor => "应由另一中心执行 addressed to somebody else",
        Refusal::Expired => "已过有效期：请重新提出 after its time: propose it again",
        Refusal::Signature => "签名不成立：内容已被改动 a signature does not hold: something was changed",
        Refusal::NobodySigned => "无在任人员签署 nobody who is on the people note now signed it",
        Refusal::OnePerson => "只有一人签署，须另一人批准 one person signed it: another approves it",
        Refusal::Role => "签署人的角色无权下达此指令 somebody signed whose role does not allow it",
        Refusal::Twice => "已执行过 it was executed before",
    }
}

fn hash(text: &str) -> anyhow::Result<Hash> {
    text.parse()
        .map_err(|_| wrong_use(format!("{text}: 须为 64 位十六进制哈希 is a hash of 64 hex digits")))
}

fn action(command: &ActCommand, executor: DivisionCode, now: Time) -> anyhow::Result<Action> {
    Ok(match command {
        ActCommand::PlaceOpen { codes } => {
            let mut codes: Vec<_> = codes.iter().map(|text| code(text)).collect::<anyhow::Result<_>>()?;
            codes.sort_unstable();
            codes.dedup();
            Action::OpenPlaces { codes }
        }
        ActCommand::Confirm { code: of, request } => Action::ConfirmEnrolment {
            code: code(of)?,
            request: hash(request)?,
        },
        ActCommand::Admit {
            person: text,
            days_in_office,
        } => Action::AdmitPerson {
            person: person(text, now, *days_in_office)?,
        },
        ActCommand::Dismiss { id } => Action::DismissPerson {
            id: id
                .parse()
                .map_err(|_| wrong_use(format!("{id}: 不是人员代号 is no person's id")))?,
        },
        ActCommand::Suspend { code: of } => Action::Suspend { code: code(of)? },
        ActCommand::Resume { code: of } => Action::Resume { code: code(of)? },
        ActCommand::Revoke {
            code: of,
            certificate,
            key,
        } => {
            let (what, object) = match (certificate, key) {
                (Some(serial), _) => (RevokedWhat::Certificate, Some(serial.clone())),
                (None, Some(key)) => (RevokedWhat::Key, Some(key.clone())),
                (None, None) => (RevokedWhat::Node, None),
            };
            Action::Revoke {
                what,
                code: code(of)?,
                object,
            }
        }
        ActCommand::Leave { code: of } => Action::Leave { code: code(of)? },
        ActCommand::Return { code: of, request } => Action::Return {
            code: code(of)?,
            request: hash(request)?,
        },
        ActCommand::RenewLog {
            code: of,
            number,
            request,
        } => Action::RenewLog {
            code: code(of)?,
            number: *number,
            request: hash(request)?,
        },
        ActCommand::Rotate {
            code: of,
            step,
            request,
        } => {
            let known = RotationStep::ALL.iter().find(|known| known.as_str() == step);
            let step = *known.ok_or_else(|| {
                let steps: Vec<_> = RotationStep::ALL.iter().map(|step| step.as_str()).collect();
                wrong_use(format!("{step}: 步骤为 a step is one of {}", steps.join(", ")))
            })?;
            let request = request.as_deref().map(hash).transpose()?;
            if (step == RotationStep::Prepare) != request.is_some() {
                return Err(wrong_use(
                    "--request 只与 prepare 同用 --request goes with prepare, and with it alone",
                ));
            }
            Action::RotateAuthority {
                code: code(of)?,
                step,
                request,
            }
        }
        ActCommand::BreakGlass { hours } => Action::BreakGlass {
            code: executor,
            until: now.plus(Duration::from_secs(3600) * *hours),
        },
    })
}
