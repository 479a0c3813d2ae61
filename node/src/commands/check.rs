//! `check`: the whole configuration judged as a start would, and nothing changed.

use std::path::Path;

use sanku_values::SystemClock;
use serde_json::json;

use crate::config::{Finding, Loaded};
use crate::node::{Identity, load};
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
    let identity = Identity::read(loaded, &SystemClock)?;
    identity.judge_certificate(loaded, &SystemClock)?;
    let peers = &loaded.node.listen.peers;
    // A node that runs holds its own port: then its socket answers.
    if tokio::net::UnixStream::connect(&loaded.node.listen.socket)
        .await
        .is_err()
        && let Err(error) = tokio::net::TcpListener::bind(peers).await
    {
        anyhow::bail!(loaded.finding(
            "listen.peers",
            format!("{peers}: {error}"),
            "换一个端口，或停掉占用它的程序 choose another port, or stop what holds it"
        ));
    }
    if let Some(file) = loaded.node.storage.url.strip_prefix("sqlite:") {
        let directory = Path::new(file).parent().unwrap_or(Path::new("."));
        if !directory.is_dir() {
            anyhow::bail!(loaded.finding(
                "storage.url",
                format!("{} 不存在 does not exist", directory.display()),
                "建立这个目录 make the directory"
            ));
        }
    }
    Ok(())
}
