//! `serve`: the running node. Wires store, exchange, peer port and socket; reloads certificates and notes; stops in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use sanku_certs::NodeKeys;
use sanku_certs::federation::notes_in;
use sanku_exchange::Exchange;
use sanku_federation_protocol::trust::Trust;
use sanku_transport::{Material, PeerClients, Server};
use sanku_values::Clock;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Loaded;
use crate::network::PeerNetwork;
use crate::node::{Identity, Node, load};
use crate::peer_api::{self, SharedExchange};
use crate::{control, logging, socket};

/// How often certificates and notes on disk are looked at.
const LOOK: Duration = Duration::from_secs(2);

pub(crate) async fn serve(config: Option<&Path>, until_stdin_closes: bool) -> anyhow::Result<()> {
    let loaded = load(config)?;
    logging::start(&loaded.node.log);
    let Node {
        loaded,
        keys,
        trust,
        store,
        clock,
    } = Node::open(config).await?;
    Identity {
        keys: reread(&loaded)?,
        trust: trust.clone(),
    }
    .judge_certificate(&loaded, &*clock)?;
    let code = loaded.node.code;
    let trust = Arc::new(ArcSwap::from_pointee(trust));
    let material = || Material {
        chain: keys.chain.clone(),
        key: keys.tls.clone_key(),
    };
    let clients = Arc::new(PeerClients::new(material(), Arc::clone(&trust), Arc::clone(&clock)));
    let server = Server::new(code, &material(), Arc::clone(&trust), Arc::clone(&clock))?;
    let exchange = Exchange::new(
        code,
        store,
        Arc::clone(&trust),
        PeerNetwork(Arc::clone(&clients)),
        loaded.node.policy.clone(),
        keys.sealing,
        Arc::clone(&clock),
    );
    let peers = TcpListener::bind(&loaded.node.listen.peers).await.map_err(|error| {
        loaded.finding(
            "listen.peers",
            format!("{}: {error}", loaded.node.listen.peers),
            "换一个端口，或停掉占用它的程序 choose another port, or stop what holds it",
        )
    })?;
    let unix = socket::bind(&loaded.node.listen.socket).await?;

    let stop = CancellationToken::new();
    let peer_port = tokio::spawn(
        server
            .clone()
            .serve(peers, peer_api::router(Arc::clone(&exchange)), stop.clone()),
    );
    let own_port = {
        let (router, stop) = (control::router(Arc::clone(&exchange)), stop.clone());
        tokio::spawn(async move {
            axum::serve(unix, router)
                .with_graceful_shutdown(stop.cancelled_owned())
                .await
        })
    };
    let asking = {
        let (exchange, stop) = (Arc::clone(&exchange), stop.clone());
        // What it breaks off another process, or the next start, asks again when its lease ran out.
        tokio::spawn(async move { stop.run_until_cancelled(exchange.keep_asking()).await })
    };
    let looking = tokio::spawn(keep_looking(
        loaded.clone(),
        Arc::clone(&exchange),
        server,
        clients,
        Arc::clone(&clock),
        stop.clone(),
    ));
    tracing::info!(node = %code, peers = %loaded.node.listen.peers, socket = %loaded.node.listen.socket.display(), "the node serves");
    ask_neighbours_for_notes(&exchange);

    wait_for_end(until_stdin_closes).await?;
    tracing::info!("stopping");
    stop.cancel();
    let _ = tokio::time::timeout(Duration::from_secs(12), async {
        tokio::join!(peer_port, own_port, looking, asking)
    })
    .await;
    let _ = std::fs::remove_file(&loaded.node.listen.socket);
    Ok(())
}

fn reread(loaded: &Loaded) -> anyhow::Result<NodeKeys> {
    Ok(NodeKeys::load(
        &loaded.node.identity.directory,
        &loaded.node.federation,
        loaded.node.code,
        1,
    )?)
}

/// At start: whoever missed notes fetches them.
fn ask_neighbours_for_notes(exchange: &SharedExchange) {
    let neighbours = exchange
        .trust()
        .registry()
        .map(|(_, _, tree)| tree.neighbours(exchange.here()))
        .unwrap_or_default();
    for neighbour in neighbours {
        let exchange = Arc::clone(exchange);
        tokio::spawn(async move { exchange.pull_notes(neighbour).await });
    }
}

/// SIGTERM, Ctrl-C, or the parent's end.
async fn wait_for_end(until_stdin_closes: bool) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;
    let parent = async {
        if !until_stdin_closes {
            return std::future::pending::<()>().await;
        }
        let mut byte = [0; 64];
        let mut stdin = tokio::io::stdin();
        while matches!(stdin.read(&mut byte).await, Ok(read) if read > 0) {}
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        () = parent => {}
    }
    Ok(())
}

/// Looks at certificates and notes on disk; what changed counts without a restart, what is bad leaves the good state and is said.
async fn keep_looking(
    loaded: Loaded,
    exchange: SharedExchange,
    server: Server,
    clients: Arc<PeerClients>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let folder = loaded.node.identity.directory.clone();
    let mut chain_seen = modified(&folder.join("certs/chain.pem"));
    let mut notes_seen = notes_modified(&folder);
    let mut trust_seen = exchange.trust().digest();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let chain_now = modified(&folder.join("certs/chain.pem"));
        if chain_now != chain_seen {
            chain_seen = chain_now;
            match reload_certificate(&loaded, &exchange.trust(), &server, &clients, &*clock) {
                Ok(()) => tracing::info!("the new certificate counts"),
                Err(error) => tracing::error!(%error, "the new certificate is bad; the old one goes on serving"),
            }
        }
        let notes_now = notes_modified(&folder);
        if notes_now != notes_seen {
            notes_seen = notes_now;
            match notes_in(&folder) {
                Ok(notes) => {
                    let notes = notes
                        .into_iter()
                        .filter_map(|note| String::from_utf8(note).ok())
                        .collect();
                    if let Err(error) = exchange.take_notes(notes, None).await {
                        tracing::error!(%error, "the new notes could not be kept");
                    }
                }
                Err(error) => tracing::error!(%error, "the notes cannot be read; the old ones go on counting"),
            }
        }
        let trust_now = exchange.trust().digest();
        if trust_now != trust_seen {
            trust_seen = trust_now;
            server.trust_changed();
            clients.trust_changed();
        }
    }
}

fn reload_certificate(
    loaded: &Loaded,
    trust: &Trust,
    server: &Server,
    clients: &PeerClients,
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    let identity = Identity {
        keys: reread(loaded)?,
        trust: trust.clone(),
    };
    identity.judge_certificate(loaded, clock)?;
    let material = || Material {
        chain: identity.keys.chain.clone(),
        key: identity.keys.tls.clone_key(),
    };
    server.reload(&material())?;
    clients.reload(material());
    Ok(())
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

fn notes_modified(folder: &Path) -> Vec<(std::path::PathBuf, Option<std::time::SystemTime>)> {
    let entries = std::fs::read_dir(folder.join("notes")).into_iter().flatten().flatten();
    let mut seen: Vec<_> = entries.map(|entry| (entry.path(), modified(&entry.path()))).collect();
    seen.sort();
    seen
}
