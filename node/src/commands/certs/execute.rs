//! `sanku certs execute`: carries an order out that two people signed, once, as an act of this node's log.

use std::path::Path;

use anyhow::Context;
use sanku_certs::Federation;
use sanku_federation_protocol::acts::{OrderExecuted, Public};
use sanku_federation_protocol::body::{ActBody, Body, Salt};
use sanku_federation_protocol::entry::{Draft, Said};
use sanku_federation_protocol::names::StatementId;
use sanku_federation_protocol::people::{Approved, Refusal, judge_order};
use sanku_store::{Effect, StoreError};
use serde_json::json;

use super::orders::{beside, words};
use crate::node::Node;
use crate::output::{say, say_json, wrong_use};

/// Judges the order by this node's people, says so in the log, and makes the change in the authority's directory. Whatever
/// interrupts it, the same command goes on; once everything is done the order is refused as executed.
pub(crate) async fn run(config: Option<&Path>, path: &Path, dir: &Path, as_json: bool) -> anyhow::Result<u8> {
    let bytes = std::fs::read(path).with_context(|| format!("读不到 cannot read {}", path.display()))?;
    let node = Node::open(config).await?;
    let here = node.loaded.node.code;
    let federation = Federation::open(dir)?;
    let own = node.loaded.node.root == federation.fingerprint.to_string() && federation.province()? == here;
    if !own {
        return Err(wrong_use(format!(
            "{} 不是节点 {here} 的发证机构目录 is not the directory of this node's authority",
            dir.display()
        )));
    }
    let now = node.clock.now();
    let trust = federation.trust(now)?;
    let people = trust.people(here).with_context(|| {
        format!(
            "{here} 没有人员公告 has no people note yet; first: sanku federation people --dir {}",
            dir.display()
        )
    })?;
    // What was logged and then interrupted is taken up again; what was done is not done twice.
    let hash = sanku_tlog::SignedNote::parse(&bytes).map(|note| sanku_tlog::Hash::of(note.text().as_bytes()));
    let before = match hash {
        Ok(hash) => node.store.executed_order(&hash).await?,
        Err(_) => None,
    };
    if before.as_ref().is_some_and(|before| before.done) {
        return Ok(refused(Refusal::Twice, as_json));
    }
    let approved = match judge_order(&bytes, (&federation.name, here), people, now) {
        Ok(approved) => approved,
        Err(refusal) => return Ok(refused(refusal, as_json)),
    };
    let next = std::fs::read(beside(path)).ok();
    let change = federation.plan(&approved, next.as_deref(), before.is_some(), now)?;
    if before.is_none() {
        let effect = Effect::Executed {
            order: approved.hash(),
            action: approved.order().act.kind().word().to_owned(),
        };
        match node
            .store
            .append("acts".to_owned(), vec![act(&approved, &bytes, &node)?], vec![effect])
            .await
        {
            Ok(_) => {}
            Err(StoreError::Executed) => return Ok(refused(Refusal::Twice, as_json)),
            Err(error) => return Err(error.into()),
        }
    }
    federation.carry_out(&change, now)?;
    node.store.order_is_done(&approved.hash()).await?;
    let word = approved.order().act.kind().word();
    if as_json {
        say_json(
            &json!({ "verdict": "executed", "order": approved.hash(), "action": word, "signers": approved.signers() }),
        );
    } else {
        say(format!(
            "已执行 executed: {word}；运行中的节点几秒内得知 running nodes know within seconds"
        ));
    }
    Ok(0)
}

/// The act that says so: who signed, and the whole order.
fn act(approved: &Approved, bytes: &[u8], node: &Node) -> anyhow::Result<Draft> {
    let signers: Vec<_> = approved.signers().iter().map(ToString::to_string).collect();
    let body = ActBody {
        salt: Salt::generate()?,
        who: signers.join(" "),
        what: String::from_utf8_lossy(bytes).into_owned(),
        purpose: None,
        digest: Some(approved.hash()),
        about: None,
    };
    let public = Public::Order(OrderExecuted {
        order: approved.hash(),
        ordered: approved.order().act.kind().word().parse()?,
    });
    Ok(Draft {
        id: StatementId::generate(node.clock.now()),
        said: Said::Act(public.entry(node.loaded.node.code, None)),
        body: body.line()?,
    })
}

fn refused(refusal: Refusal, as_json: bool) -> u8 {
    if as_json {
        say_json(&json!({ "verdict": refusal.as_str(), "detail": words(refusal) }));
    } else {
        say(format!("未执行 not executed: {} {}", refusal.as_str(), words(refusal)));
    }
    1
}
