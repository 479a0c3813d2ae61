//! `serve`: the running node. Wires store, exchange, peer port and socket; reloads certificates and notes; stops in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use sanku_certs::NodeKeys;
use sanku_certs::federation::notes_in;
use sanku_exchange::{Exchange, OwnKeys};
use sanku_federation_protocol::trust::Trust;
use sanku_store::StoreError;
use sanku_transport::{Material, PeerClients, Server};
use sanku_values::{Clock, Time};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::commands::check::port_is_taken;
use crate::config::Loaded;
use crate::network::PeerNetwork;
use crate::node::{Identity, Node, load};
use crate::operations::memory::Memory;
use crate::operations::work::Work;
use crate::operations::{self, Running};
use crate::peer_api::{self, SharedExchange};
use crate::{control, logging, socket};

/// How long what is in hand may take after the node was told to stop.
const FINISH: Duration = Duration::from_secs(10);
/// How long the ports may take to close after that.
const CLOSE: Duration = Duration::from_secs(1);
/// How often certificates and notes on disk are looked at.
const LOOK: Duration = Duration::from_secs(2);

pub(crate) async fn serve(config: Option<&Path>, until_stdin_closes: bool) -> anyhow::Result<()> {
    let loaded = load(config)?;
    logging::start(&loaded.node.log);
    logging::quiet_panics();
    let counted = loaded.node.operations.listen.as_ref();
    let counted = counted.map(|_| operations::http::start_counting()).transpose()?;
    let Node {
        loaded,
        keys,
        trust,
        store,
        clock,
    } = Node::open_for(config, true).await?;
    let certified_until = Identity {
        keys: reread(&loaded, store.origin().number)?,
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
        OwnKeys {
            sealing: keys.sealing,
            witness: keys.witness,
            earlier: keys.earlier,
        },
        Arc::clone(&clock),
    );
    // What was found to say two things counts before anybody is answered.
    exchange.learn_forks().await?;
    let server = server.with_watcher({
        let exchange = Arc::clone(&exchange);
        move |peer, what| exchange.misbehaved(peer, what)
    });
    let mut signals = Signals::new(until_stdin_closes)?;
    let peers = bind(&loaded, "listen.peers", &loaded.node.listen.peers).await?;
    let watched = match (&loaded.node.operations.listen, counted) {
        (Some(listen), Some(counted)) => Some((bind(&loaded, "operations.listen", listen).await?, counted)),
        _ => None,
    };
    let unix = socket::bind(&loaded.node.listen.socket).await?;

    // Nothing is said before neighbours were asked what they have seen of this log.
    exchange.store().ask_first(true);
    let work = Work::default();
    let node = Running::new(loaded.clone(), Arc::clone(&exchange), work.clone(), certified_until);
    // Background work ends as soon as the node stops; the ports stay open until what is in hand is finished.
    let (resting, stop) = (CancellationToken::new(), CancellationToken::new());
    let peer_port = tokio::spawn(server.clone().serve(
        peers,
        peer_api::router(Arc::clone(&exchange), work.clone()),
        stop.clone(),
    ));
    let own_port = {
        let (router, stop) = (control::router(Arc::clone(&node)), stop.clone());
        tokio::spawn(async move {
            axum::serve(unix, router)
                .with_graceful_shutdown(stop.cancelled_owned())
                .await
        })
    };
    let mut background = JoinSet::new();
    if let Some((listener, counted)) = watched {
        background.spawn(operations::http::serve(
            listener,
            Arc::clone(&node),
            counted,
            stop.clone(),
        ));
    }
    // What it breaks off another process, or the next start, asks again when its lease ran out.
    background.spawn({
        let (exchange, resting) = (Arc::clone(&exchange), resting.clone());
        async move {
            resting.run_until_cancelled(exchange.keep_asking()).await;
        }
    });
    background.spawn({
        let (exchange, resting) = (Arc::clone(&exchange), resting.clone());
        async move {
            resting.run_until_cancelled(exchange.be_witnessed()).await;
        }
    });
    background.spawn({
        let (exchange, resting) = (Arc::clone(&exchange), resting.clone());
        async move {
            resting.run_until_cancelled(exchange.keep_linking()).await;
        }
    });
    background.spawn(keep_looking(
        Arc::clone(&node),
        server,
        clients,
        Arc::clone(&clock),
        resting.clone(),
    ));
    background.spawn({
        let (exchange, resting) = (Arc::clone(&exchange), resting.clone());
        async move {
            exchange.ask_what_was_seen().await;
            resting.run_until_cancelled(exchange.keep_looking()).await;
        }
    });
    background.spawn(Memory(loaded.node.storage.memory.clone()).keep_on(exchange.store().clone(), stop.clone()));
    background.spawn(operations::clock::keep_comparing(
        Arc::clone(&exchange),
        resting.clone(),
    ));
    background.spawn(operations::supervisor::keep_alive(stop.clone()));
    tracing::info!(node = %code, peers = %loaded.node.listen.peers, socket = %loaded.node.listen.socket.display(), operations = loaded.node.operations.listen, "the node serves");
    operations::supervisor::ready(&format!("{code} {}", loaded.node.listen.peers));
    ask_neighbours_for_notes(&exchange);

    let failed = tokio::select! {
        () = signals.end() => false,
        () = exchange.store().failed() => true,
    };
    if failed {
        tracing::error!(error = %StoreError::Failed, "the node ends: what its disk holds is verified at the next start");
    }
    operations::supervisor::stopping();
    tracing::info!(
        in_hand = work.count(),
        "stopping: new work is refused, what is in hand is finished"
    );
    resting.cancel();
    tokio::select! {
        () = work.finish() => tracing::info!("everything in hand is finished"),
        () = tokio::time::sleep(FINISH) => tracing::warn!(in_hand = work.count(), "what is in hand took too long and is broken off"),
        () = signals.again() => tracing::warn!(in_hand = work.count(), "told twice to stop: what is in hand is broken off"),
    }
    stop.cancel();
    let ports = async { tokio::join!(peer_port, own_port, background.join_all()) };
    let _ = tokio::time::timeout(CLOSE, ports).await;
    let _ = std::fs::remove_file(&loaded.node.listen.socket);
    if failed {
        // The supervisor starts it again.
        return Err(StoreError::Failed.into());
    }
    Ok(())
}

async fn bind(loaded: &Loaded, key: &str, port: &str) -> anyhow::Result<TcpListener> {
    Ok(TcpListener::bind(port)
        .await
        .map_err(|error| port_is_taken(loaded, key, port, &error))?)
}

fn reread(loaded: &Loaded, log_number: u32) -> anyhow::Result<NodeKeys> {
    Ok(NodeKeys::load(
        &loaded.node.identity.directory,
        &loaded.node.federation,
        loaded.node.code,
        log_number,
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

/// What tells a node to stop: SIGTERM, Ctrl-C, or the parent's end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    parent: oneshot::Receiver<()>,
    /// Without a parent to wait for, its word never comes.
    _kept: Option<oneshot::Sender<()>>,
}

impl Signals {
    fn new(until_stdin_closes: bool) -> anyhow::Result<Self> {
        let (gone, parent) = oneshot::channel();
        let mut kept = Some(gone);
        if until_stdin_closes && let Some(gone) = kept.take() {
            // A thread of its own: one of the runtime's would keep the process until standard input closes.
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
                let _ = gone.send(());
            });
        }
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?,
            interrupt: signal(SignalKind::interrupt()).context("Ctrl-C cannot be waited for")?,
            parent,
            _kept: kept,
        })
    }

    /// The first of them.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = &mut self.parent => {}
        }
    }

    /// A signal once more.
    async fn again(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Looks at certificates and notes on disk; what changed counts without a restart, what is bad leaves the good state and is said.
async fn keep_looking(
    node: Arc<Running>,
    server: Server,
    clients: Arc<PeerClients>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let (loaded, exchange) = (&node.loaded, &node.exchange);
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
            match reload_certificate(loaded, exchange, &server, &clients, &*clock) {
                Ok(until) => {
                    node.certified_until(until);
                    tracing::info!(%until, "the new certificate counts");
                }
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
    exchange: &SharedExchange,
    server: &Server,
    clients: &PeerClients,
    clock: &dyn Clock,
) -> anyhow::Result<Time> {
    let identity = Identity {
        keys: reread(loaded, exchange.store().origin().number)?,
        trust: Trust::clone(&exchange.trust()),
    };
    let until = identity.judge_certificate(loaded, clock)?;
    let material = || Material {
        chain: identity.keys.chain.clone(),
        key: identity.keys.tls.clone_key(),
    };
    server.reload(&material())?;
    clients.reload(material());
    Ok(until)
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
