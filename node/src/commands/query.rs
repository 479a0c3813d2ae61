//! `query` and `withdraw`: by the running node, over its socket.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::{QueryArgs, WithdrawArgs};
use crate::control::{Again, Follow, Withdraw};
use crate::node::load;
use crate::output::{remark, say, say_json, wrong_use};
use crate::{result, socket};

pub(crate) async fn query(config: Option<&Path>, args: QueryArgs) -> anyhow::Result<u8> {
    if let Some(cases) = &args.batch {
        return super::batch::run(config, cases, args.out, args.json.json).await;
    }
    let loaded = load(config)?;
    let (path, body) = match (&args.case, &args.again) {
        (_, Some(id)) => {
            let id = id
                .parse()
                .map_err(|_| wrong_use("--again: 不是查询编号 not a query's id; a result prints it at its end"))?;
            ("/again", serde_json::to_vec(&Again { id, budget_ms: 10_000 })?)
        }
        (Some(file), None) => ("/query", read_case(file)?),
        (None, None) => bail!("写案件文件或 --again ID name a case file, or --again ID"),
    };
    let socket = &loaded.node.listen.socket;
    let mut document = ask(socket, path, body, !args.json.json).await?;
    if args.wait && document["complete"] != true {
        document = wait(socket, document, !args.json.json).await?;
    }
    if args.json.json {
        say_json(&document);
    } else {
        say(result::tables(&document));
    }
    Ok(if document["complete"] == true { 0 } else { 3 })
}

/// Waits until a question is complete or asked no more, and shows each change as it comes. Gives the newest result.
async fn wait(socket: &Path, mut document: Value, show: bool) -> anyhow::Result<Value> {
    let id = document["query"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .context("the node gave no query id")?;
    let mut failed = None;
    let missing = |document: &Value| {
        let ends = document["outcomes"].as_array().cloned().unwrap_or_default();
        let open = ends.iter().filter(|end| end["outcome"] != "answered");
        let named: Vec<_> = open
            .map(|end| {
                format!(
                    "{} {}",
                    end["node"].as_str().unwrap_or_default(),
                    end["outcome"].as_str().unwrap_or_default()
                )
            })
            .collect();
        named.join("，")
    };
    if show {
        remark(format!(
            "等待补答，未答 waiting for late answers: {}",
            missing(&document)
        ));
    }
    socket::call(
        socket,
        "/follow",
        serde_json::to_vec(&Follow { id })?,
        |line| match line["event"].as_str() {
            Some("changed") => {
                if show && line["result"]["digest"] != document["digest"] {
                    remark(format!(
                        "有变化，仍未答 it changed, still missing: {}",
                        missing(&line["result"])
                    ));
                }
                document = line["result"].clone();
            }
            Some("failed") => failed = line["message"].as_str().map(str::to_owned),
            _ => {}
        },
    )
    .await?;
    match failed {
        Some(message) => bail!("{message}"),
        None => Ok(document),
    }
}

fn read_case(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().take(4 << 20).read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(file).with_context(|| format!("读不了案件文件 the case file cannot be read: {}", file.display()))
}

/// Asks the running node and shows who answered so far.
pub(crate) async fn ask(socket: &Path, path: &str, body: Vec<u8>, progress: bool) -> anyhow::Result<Value> {
    let bar = if progress {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    let mut targets = 0;
    let mut heard = std::collections::BTreeSet::new();
    let mut end = None;
    socket::call(socket, path, body, |line| match line["event"].as_str() {
        Some("asked") => {
            targets = line["targets"].as_u64().unwrap_or_default();
            bar.set_message(format!("已提问 {targets} 个节点 asked {targets} nodes"));
        }
        Some("heard") => {
            heard.insert(line["node"].to_string());
            bar.set_message(format!("已答复 heard from {} / {targets}", heard.len() + 1));
        }
        _ => end = Some(line),
    })
    .await?;
    bar.finish_and_clear();
    let end = end.context("节点没有给出结果 the node gave no result")?;
    if let Some(message) = end["message"].as_str() {
        bail!("{message}");
    }
    Ok(end["result"].clone())
}

pub(crate) async fn withdraw(config: Option<&Path>, args: WithdrawArgs) -> anyhow::Result<u8> {
    let loaded = load(config)?;
    let mandate = args
        .mandate
        .parse()
        .map_err(|_| wrong_use("不是授权书编号 not a mandate's id (a UUIDv7, as in the case file)"))?;
    let body = serde_json::to_vec(&Withdraw {
        mandate,
        reason: args.reason,
    })?;
    let mut answer = json!(null);
    socket::call(&loaded.node.listen.socket, "/withdraw", body, |line| answer = line).await?;
    let targets = answer["targets"].as_array().cloned().unwrap_or_default();
    let open = targets.iter().filter(|target| target["acknowledged"] != true).count();
    if args.json.json {
        say_json(&answer);
    } else {
        say(format!(
            "授权书 {mandate} 已撤回；{} 个节点已确认，{open} 个未确认 withdrawn; {} nodes acknowledged, {open} did not",
            targets.len() - open,
            targets.len() - open
        ));
        for target in targets.iter().filter(|target| target["acknowledged"] != true) {
            say(format!(
                "  未确认 not acknowledged: {}；本节点会自动继续通知，直到其确认 this node goes on telling it until it acknowledges",
                target["node"].as_str().unwrap_or_default()
            ));
        }
    }
    Ok(if open == 0 { 0 } else { 3 })
}
