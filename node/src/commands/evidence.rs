//! `evidence export|verify`: what a decision rests on, for anybody to check offline.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use sanku_exchange::{AskFailure, Exchange, Hop, LogFile, Network, OwnKeys, Reply, Witnessed};
use sanku_federation_protocol::evidence;
use sanku_federation_protocol::names::{Origin, Outcome, StatementId};
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::Hash;
use sanku_values::{Clock, DivisionCode, SystemClock};
use serde_json::json;

use crate::cli::EvidenceCommand;
use crate::node::{Node, load};
use crate::output::{remark, say, say_json, wrong_use};

/// Nobody is asked for evidence: everything stands in the database.
struct NoNetwork;

impl Network for NoNetwork {
    async fn ask(&self, _: DivisionCode, _: Hop, _: bytes::Bytes) -> Result<Reply, AskFailure> {
        Err(AskFailure::new(Outcome::Unreachable, "offline"))
    }

    async fn add_checkpoint(&self, _: DivisionCode, _: String) -> Result<Witnessed, AskFailure> {
        Err(AskFailure::new(Outcome::Unreachable, "no network"))
    }

    async fn log_file(&self, _: DivisionCode, _: &Origin, _: LogFile) -> Result<Option<bytes::Bytes>, AskFailure> {
        Err(AskFailure::new(Outcome::Unreachable, "offline"))
    }

    async fn notes_of(&self, _: DivisionCode, _: &Trust) -> Result<Vec<String>, AskFailure> {
        Err(AskFailure::new(Outcome::Unreachable, "offline"))
    }

    async fn give_note(&self, _: DivisionCode, _: String) -> Result<(), AskFailure> {
        Err(AskFailure::new(Outcome::Unreachable, "offline"))
    }
}

pub(crate) async fn run(config: Option<&Path>, command: EvidenceCommand) -> anyhow::Result<u8> {
    match command {
        EvidenceCommand::Export { query, out, json } => {
            let id: StatementId = query
                .parse()
                .map_err(|_| wrong_use("不是查询编号 not a query's id; a result prints it at its end"))?;
            let node = Node::open(config).await?;
            let out = out.unwrap_or_else(|| format!("evidence-{id}.sanku").into());
            export(node, id, &out).await?;
            if json.json {
                say_json(&json!({ "query": id, "evidence": out }));
                return Ok(0);
            }
            say(format!("证据文件 evidence file: {}", out.display()));
            say(format!(
                "验证 check it: sanku evidence verify {} --root FINGERPRINT",
                out.display()
            ));
            Ok(0)
        }
        EvidenceCommand::Verify {
            file,
            root,
            notes,
            witnessed,
            json,
        } => verify(config, &file, root.as_deref(), &notes, witnessed, json.json),
    }
}

/// Writes the evidence file of a question of this node; the export is logged before the file exists.
pub(crate) async fn export(node: Node, id: StatementId, out: &Path) -> anyhow::Result<()> {
    use sanku_federation_protocol::body::{ActBody, Body, Salt};
    use sanku_federation_protocol::entry::{ActEntry, Draft, Said};
    let notes: Vec<String> = node.trust.all().map(|(_, held)| held.bytes.to_string()).collect();
    let code = node.loaded.node.code;
    let trust = Arc::new(ArcSwap::from_pointee(node.trust));
    let exchange = Exchange::new(
        code,
        node.store.clone(),
        trust,
        NoNetwork,
        node.loaded.node.policy.clone(),
        OwnKeys {
            sealing: node.keys.sealing,
            witness: node.keys.witness,
            earlier: node.keys.earlier,
        },
        Arc::clone(&node.clock),
    );
    let (runs, covers, merged) = exchange.evidence(id).await?;
    let text = evidence::write(notes.iter().map(String::as_bytes), &runs, &covers, &merged);
    let act = ActBody {
        salt: Salt::generate()?,
        who: super::import::user(),
        what: "evidence export".to_owned(),
        purpose: None,
        digest: Some(Hash::of(text.as_bytes())),
        about: Some(id),
    };
    let entry = ActEntry {
        action: "export".parse()?,
        object: node.store.pseudonym("query", &id.to_string()),
        to: None,
        public: None,
    };
    let draft = Draft {
        id: StatementId::generate(node.clock.now()),
        said: Said::Act(entry),
        body: act.line()?,
    };
    node.store.append("acts".to_owned(), vec![draft], Vec::new()).await?;
    sanku_certs::keys::write_whole(out, text.as_bytes(), 0o600).with_context(|| format!("{}", out.display()))
}

fn verify(
    config: Option<&Path>,
    file: &Path,
    root: Option<&str>,
    notes: &[std::path::PathBuf],
    witnessed: bool,
    as_json: bool,
) -> anyhow::Result<u8> {
    let fingerprint: Hash = match root {
        Some(root) => root
            .parse()
            .map_err(|_| wrong_use("--root: 64 位十六进制 64 hex digits"))?,
        None => load(config)
            .context("用 --root 给出根公告指纹 give the root's fingerprint with --root HEX")?
            .node
            .root
            .parse()?,
    };
    let bytes = std::fs::read(file)
        .with_context(|| format!("读不了证据文件 the evidence file cannot be read: {}", file.display()))?;
    let newer: Vec<_> = notes
        .iter()
        .map(|note| {
            std::fs::read(note).with_context(|| format!("读不了公告 the note cannot be read: {}", note.display()))
        })
        .collect::<Result<_, _>>()?;
    let report = match evidence::verify(&bytes, fingerprint, &newer, SystemClock.now()) {
        Ok(report) => report,
        Err(fault) => {
            if as_json {
                say_json(&json!({ "ok": false, "line": fault.line, "why": fault.fault.to_string() }));
            } else {
                remark(format!(
                    "证据不成立 the evidence does not hold: {}:{}: {}",
                    file.display(),
                    fault.line,
                    fault.fault
                ));
            }
            return Ok(1);
        }
    };
    let unwitnessed: Vec<_> = report
        .unwitnessed()
        .map(|run| json!({ "log": run.origin, "first": run.first, "count": run.count, "line": run.line }))
        .collect();
    let document = json!({
        "ok": !witnessed || unwitnessed.is_empty(),
        "federation": report.federation, "query": report.query, "asker": report.asker, "asked": report.asked,
        "as_of": { "log": report.as_of.log, "index": report.as_of.index, "time": report.as_of.time },
        "complete": report.merged.complete, "facts": report.merged.facts.len(),
        "notes": report.notes.iter().map(|note| json!({ "name": note.name, "number": note.reference.number, "issued": sanku_values::Time::from_millis(note.reference.number.cast_signed()), "in_force": note.in_force })).collect::<Vec<_>>(),
        "runs": report.runs.len(), "unwitnessed": unwitnessed,
        "missing": report.missing.iter().map(|(node, outcome)| json!({ "node": node, "outcome": outcome })).collect::<Vec<_>>(),
    });
    if as_json {
        say_json(&document);
    } else {
        say(format!(
            "证据成立 the evidence holds: 查询 query {} 由 by {} 于 at {}",
            report.query, report.asker, report.asked
        ));
        say(format!(
            "依据日志 as of {} 第 {} 条 index {}",
            report.as_of.log, report.as_of.index, report.as_of.index
        ));
        for note in &report.notes {
            let force = if note.in_force {
                ""
            } else {
                "（已被取代 superseded）"
            };
            say(format!(
                "  公告 note {} {}{force}",
                note.name,
                sanku_values::Time::from_millis(note.reference.number.cast_signed())
            ));
        }
        say(format!(
            "事实 facts: {}；完整 complete: {}",
            report.merged.facts.len(),
            report.merged.complete
        ));
        for (node, outcome) in &report.missing {
            say(format!("  缺少 missing: {node} {outcome}"));
        }
        for run in report.unwitnessed() {
            say(format!(
                "  未见证 unwitnessed: {} 第 {} 条起 {} 条 from {} on, {} entries",
                run.origin, run.first, run.count, run.first, run.count
            ));
        }
    }
    if witnessed && report.unwitnessed().next().is_some() {
        remark("sanku: --witnessed: 有未见证的部分 some runs are unwitnessed");
        return Ok(1);
    }
    Ok(0)
}
