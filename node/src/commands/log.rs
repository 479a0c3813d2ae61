//! `log verify|checkpoint|prove`: the node's transparency log.

use std::path::Path;

use indicatif::ProgressBar;
use sanku_store::StoreError;
use serde_json::json;

use crate::cli::LogCommand;
use crate::node::Node;
use crate::output::{remark, say, say_json};

pub(crate) async fn run(config: Option<&Path>, command: LogCommand) -> anyhow::Result<u8> {
    let node = Node::open(config).await?;
    match command {
        LogCommand::Verify(args) => {
            let bar = if args.json {
                ProgressBar::hidden()
            } else {
                ProgressBar::new(0)
            };
            let verdict = node
                .store
                .verify(|done, size| {
                    bar.set_length(size);
                    bar.set_position(done);
                })
                .await;
            bar.finish_and_clear();
            // Whole in itself is not enough: it must hold what this node, or a neighbour that the running node heard, remembers.
            let elsewhere = match node.store.recovering() {
                Some(recovering) => Some(recovering.to_string()),
                None => node.heed_the_node().await.err().map(|error| error.to_string()),
            };
            match verdict {
                Ok(checkpoint) if elsewhere.is_some() => {
                    let why = elsewhere.unwrap_or_default();
                    if args.json {
                        say_json(
                            &json!({ "ok": false, "log": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root, "why": why }),
                        );
                    } else {
                        remark(why);
                    }
                    return Ok(1);
                }
                Ok(checkpoint) if args.json => say_json(
                    &json!({ "ok": true, "log": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root }),
                ),
                Ok(checkpoint) => say(format!(
                    "日志成立 the log holds: {} 条 entries, {}",
                    checkpoint.size, checkpoint.origin
                )),
                Err(StoreError::Broken { index, why }) if args.json => {
                    say_json(&json!({ "ok": false, "log": node.store.origin(), "index": index, "why": why }));
                    return Ok(1);
                }
                Err(error) => {
                    remark(error.to_string());
                    return Ok(1);
                }
            }
        }
        LogCommand::Checkpoint => say(node.store.checkpoint().await?.1.to_string().trim_end()),
        LogCommand::Prove { index } => say(node.store.prove(index).await?.0.text().trim_end()),
    }
    Ok(0)
}
