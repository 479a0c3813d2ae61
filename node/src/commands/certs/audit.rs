//! `sanku certs audit`: every order that this node executed, with both persons, read from its log.

use std::path::Path;

use sanku_certs::orders;
use sanku_federation_protocol::body::ActBody;
use serde_json::{Value, json};

use crate::node::Node;
use crate::output::{say, say_json, table};

/// Lists them, oldest first.
pub(crate) async fn run(config: Option<&Path>, as_json: bool) -> anyhow::Result<u8> {
    let node = Node::open(config).await?;
    let mut rows = Vec::new();
    for executed in node.store.executed_orders().await? {
        let (number, index) = executed.entry;
        let mut row = json!({
            "order": executed.order, "action": executed.action, "at": executed.at, "done": executed.done,
            "log": number, "index": index,
        });
        // What stands in a log that was given up is read with the tools of that log.
        if number == node.keys.origin.number {
            let run = node.store.run(index, 1).await?;
            let body: ActBody = run.statements[0].body_as()?;
            let (_, order) = orders::read(body.what.as_bytes(), &node.loaded.node.federation)?;
            row["signers"] = json!(body.who.split(' ').collect::<Vec<_>>());
            row["about"] = serde_json::to_value(&order.act)?;
            row["reason"] = json!(order.reason);
        }
        rows.push(row);
    }
    if as_json {
        say_json(&json!({ "orders": rows }));
        return Ok(0);
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let lines = rows.iter().map(|row| {
        let signers = row["signers"]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect::<Vec<_>>()
            .join(", ");
        let about = text(&row["about"]["code"]);
        let done = if row["done"] == true {
            "完成 done"
        } else {
            "未完成 not done: 再次执行 execute it again"
        };
        vec![
            text(&row["at"]),
            text(&row["action"]),
            about,
            signers,
            text(&row["reason"]),
            done.to_owned(),
        ]
    });
    let header = [
        "时间 at",
        "指令 order",
        "节点 node",
        "签署 signed by",
        "事由 reason",
        "",
    ];
    say(table(&header, lines));
    Ok(0)
}
