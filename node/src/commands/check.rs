//! `check`: the whole configuration judged as a start would, and nothing changed.

use std::path::Path;

use sanku_values::SystemClock;
use serde_json::json;

use crate::config::{Finding, Loaded};
use crate::node::{Identity, load, places};
use crate::output::{say, say_json};

pub(crate) async fn run(config: Option<&Path>, as_json: bool) -> anyhow::Result<u8> {
    let verdict = match load(config) {
        Ok(loaded) => judge(&loaded).await.map(|()| loaded),
        Err(error) => Err(error),
    };
    match verdict {
        Ok(loaded) if as_json => say_json(&json!({ "ok": true, "node": loaded.node.code, "findings": [] })),
        Ok(loaded) => say(format!(
            "配置无误 the configuration is good: {} {} ({})",
            loaded.node.code,
            loaded.node.name,
            loaded.file.display()
        )),
        Err(error) => {
            if as_json {
                let finding = error
                    .downcast_ref::<Finding>()
                    .map_or_else(|| json!({ "message": error.to_string() }), |finding| json!(finding));
                say_json(&json!({ "ok": false, "findings": [finding] }));
            } else {
                crate::output::remark(format!("{error:#}"));
            }
            return Ok(1);
        }
    }
    Ok(0)
}

async fn judge(loaded: &Loaded) -> anyhow::Result<()> {
    let identity = Identity::read(loaded, &SystemClock, true).await?;
    identity.judge_certificate(loaded, &SystemClock)?;
    places(loaded)?;
    // A node that runs holds its own ports: then its socket answers.
    if tokio::net::UnixStream::connect(&loaded.node.listen.socket)
        .await
        .is_err()
    {
        let operations = loaded.node.operations.listen.as_deref();
        let ports = [
            ("listen.peers", Some(loaded.node.listen.peers.as_str())),
            ("operations.listen", operations),
        ];
        for (key, port) in ports.into_iter().filter_map(|(key, port)| Some((key, port?))) {
            tokio::net::TcpListener::bind(port)
                .await
                .map_err(|error| port_is_taken(loaded, key, port, &error))?;
        }
    }
    Ok(())
}

/// A port that cannot be opened, with its line.
pub(crate) fn port_is_taken(loaded: &Loaded, key: &str, port: &str, error: &std::io::Error) -> Finding {
    loaded.finding(
        key,
        format!("{port}: {error}"),
        "换一个端口，或停掉占用它的程序 choose another port, or stop what holds it",
    )
}
