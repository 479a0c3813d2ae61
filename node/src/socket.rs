//! The Unix socket between a running node and the commands of its own machine: HTTP/1.1, answers as lines of JSON.
//!
//! Only the node's user may open it: it lies in a directory of mode 0700 and has mode 0600 itself.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};

/// Binds the socket. A socket that a dead node left behind is replaced, one that answers is an error.
pub(crate) async fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    let directory = path.parent().context("the socket needs a directory")?;
    if !directory.exists() {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    if path.exists() {
        if UnixStream::connect(path).await.is_ok() {
            bail!(
                "{} 已有节点在运行 another node answers here; stop it, or set another listen.socket",
                path.display()
            );
        }
        std::fs::remove_file(path)?;
    }
    // Bound under a name in a directory that only this user enters, narrowed, then moved to its place.
    let nursery = tempfile_in(directory)?;
    let young = nursery.join("s");
    let listener = UnixListener::bind(&young).with_context(|| format!("cannot bind {}", path.display()))?;
    std::fs::set_permissions(&young, Permissions::from_mode(0o600))?;
    std::fs::rename(&young, path)?;
    std::fs::remove_dir(&nursery)?;
    Ok(listener)
}

/// A fresh directory of mode 0700 beside the socket.
fn tempfile_in(directory: &Path) -> anyhow::Result<std::path::PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let nursery = directory.join(format!(".{}", std::process::id()));
    let _ = std::fs::remove_file(nursery.join("s"));
    let _ = std::fs::remove_dir(&nursery);
    std::fs::DirBuilder::new().mode(0o700).create(&nursery)?;
    Ok(nursery)
}

/// Asks the running node. `each` sees every line of the answer as it comes.
///
/// # Errors
/// If no node runs here, or it answers with a problem: the problem's title and detail.
pub(crate) async fn call(socket: &Path, path: &str, body: Vec<u8>, mut each: impl FnMut(Value)) -> anyhow::Result<()> {
    let stream = UnixStream::connect(socket).await.with_context(|| {
        format!(
            "没有节点在运行（{}）no node is running here; start it: sanku --config FILE serve",
            socket.display()
        )
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Its failure shows in the request below.
        let _ = connection.await;
    });
    let request = http::Request::post(path)
        .header(http::header::HOST, "node")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let ok = status.is_success();
    let mut body = response.into_body();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame
            .context("节点中断了回答 the node broke off its answer")?
            .into_data()
        else {
            continue;
        };
        rest.extend_from_slice(&data);
        while ok && let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            each(serde_json::from_slice(&line).context("the node said something that is no JSON")?);
        }
    }
    if !ok {
        let problem: Value = serde_json::from_slice(&rest).unwrap_or_default();
        let text = |key: &str| problem.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if problem.is_null() {
            bail!("节点答复 the node answered {status}");
        }
        bail!("{} {}", text("title"), text("detail"));
    }
    Ok(())
}
