//! T12: a fresh proof, and the start of a store, in a long log beside a short one; what a proven answer weighs on the wire.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use sanku_federation_protocol::body::{AnswerBody, Body, Salt};
use sanku_federation_protocol::entry::{AnswerEntry, Draft, Said};
use sanku_federation_protocol::names::{Origin, StatementId};
use sanku_federation_protocol::stream::write_run;
use sanku_store::{StorageKeys, Store};
use sanku_tlog::{Hash, KeyType, SigningKey};
use sanku_values::{Clock, SystemClock};

async fn open(url: &str) -> Store {
    let origin: Origin = "hubei.example/node/421002/1".parse().unwrap();
    let key = SigningKey::from_seed(&origin.to_string(), KeyType::Ed25519, [5; 32]).unwrap();
    Store::open(
        url,
        StorageKeys::new([1; 32], [2; 32]),
        origin,
        key,
        Arc::new(SystemClock),
    )
    .await
    .unwrap()
}

/// An answer about one subject that found nothing.
fn answer() -> Draft {
    let body = AnswerBody {
        salt: Salt::generate().unwrap(),
        categories: Vec::new(),
    };
    Draft {
        id: StatementId::generate(SystemClock.now()),
        said: Said::Answer(AnswerEntry {
            re: Hash::of(b"question"),
            subject: 0,
        }),
        body: body.line().unwrap(),
    }
}

/// What was measured of one log.
pub(crate) struct Log {
    pub(crate) entries: u64,
    /// Milliseconds until a store is open.
    pub(crate) opens: f64,
    /// Microseconds of the proof of an entry anywhere in the log.
    pub(crate) proof: f64,
}

/// What is measured of all.
pub(crate) struct Logs {
    pub(crate) short: Log,
    pub(crate) long: Log,
    /// Bytes of a stream per answer beyond its body: alone, and in a run of 250.
    pub(crate) weights: [f64; 2],
}

/// A log of this size in this directory, written there if it is not.
async fn with(directory: &Path, entries: u64) -> String {
    let file = directory.join(format!("log-{entries}.db"));
    let url = format!("sqlite:{}", file.display());
    let store = open(&url).await;
    let mut written = store.checkpoint().await.unwrap().0.size;
    let (began, first) = (Instant::now(), written);
    while written < entries {
        let drafts: Vec<_> = (0..250.min(entries - written)).map(|_| answer()).collect();
        written += drafts.len() as u64;
        store.append("acts".to_owned(), drafts, Vec::new()).await.unwrap();
    }
    if written > first {
        let took = began.elapsed().as_secs_f64();
        println!(
            "{} entries written at {:.0}/s",
            written - first,
            (written - first) as f64 / took
        );
    }
    url
}

/// Openings and proofs in turn: what else the machine does falls on both.
async fn in_turn(urls: [&String; 2]) -> [[f64; 2]; 2] {
    let mut all = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for _ in 0..9 {
        for (url, [starts, proofs]) in urls.into_iter().zip(&mut all) {
            let began = Instant::now();
            let store = open(url).await;
            starts.push(began.elapsed().as_secs_f64() * 1000.0);
            let size = store.checkpoint().await.unwrap().0.size;
            for _ in 0..100 {
                let index = fastrand::u64(0..size);
                let began = Instant::now();
                store.prove(index).await.unwrap();
                proofs.push(began.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    all.map(|figures| figures.map(crate::median))
}

async fn weights(directory: &Path) -> [f64; 2] {
    let store = open(&with(directory, 10_000).await).await;
    let weight = |first: u64, count: u64| {
        let store = store.clone();
        async move {
            let run = store.run(first, count).await.unwrap();
            let bodies: usize = run.statements.iter().map(|one| one.open_body().unwrap().len()).sum();
            (write_run(&run).len() - bodies) as f64 / count as f64
        }
    };
    [weight(4321, 1).await, weight(5000, 250).await]
}

pub(crate) fn measure(directory: &Path, long: u64) -> Logs {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (short_url, long_url) = (with(directory, 10_000).await, with(directory, long).await);
        let figures = in_turn([&short_url, &long_url]).await;
        let log = |entries, [opens, proof]: [f64; 2]| Log { entries, opens, proof };
        let [short, long_figures] = figures;
        Logs {
            short: log(10_000, short),
            long: log(long, long_figures),
            weights: weights(directory).await,
        }
    })
}
