//! T12: a fresh proof, and the start of a store, in a long log against a short one.

use std::sync::Arc;
use std::time::Instant;

use sanku_federation_protocol::body::{ActBody, Body, Salt};
use sanku_federation_protocol::entry::{ActEntry, Draft, Said};
use sanku_federation_protocol::names::{Origin, StatementId};
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

fn act() -> Draft {
    let body = ActBody {
        salt: Salt::generate().unwrap(),
        who: "测试甲".to_owned(),
        what: "a look".to_owned(),
        purpose: None,
        digest: None,
        about: None,
    };
    let entry = ActEntry {
        action: "look".parse().unwrap(),
        object: Hash::of(b"object"),
        to: None,
        public: None,
    };
    Draft {
        id: StatementId::generate(SystemClock.now()),
        said: Said::Act(entry),
        body: body.line().unwrap(),
    }
}

/// Milliseconds of an opening and microseconds of a proof, medians.
async fn figures(url: &str) -> (f64, f64) {
    let mut starts = Vec::new();
    let mut proofs = Vec::new();
    for _ in 0..9 {
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
    (crate::median(starts), crate::median(proofs))
}

pub(crate) fn measure() {
    let long = crate::setting("SANKU_BENCH_LOG", 1_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let place = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        for size in [10_000, long] {
            let url = format!("sqlite:{}", place.path().join(format!("{size}.db")).display());
            let store = open(&url).await;
            let began = Instant::now();
            let mut written = 0;
            while written < size {
                let drafts = (0..250.min(size - written)).map(|_| act()).collect::<Vec<_>>();
                written += drafts.len() as u64;
                store.append("acts".to_owned(), drafts, Vec::new()).await.unwrap();
            }
            let rate = size as f64 / began.elapsed().as_secs_f64();
            drop(store);
            let (start, proof) = figures(&url).await;
            println!("T12: {size} entries written at {rate:.0}/s; a store opens in {start:.2} ms, a fresh proof takes {proof:.0} µs");
            all.push((start, proof));
        }
        println!("T12: ratio of proofs {:.2}, of starts {:.2}", all[1].1 / all[0].1, all[1].0 / all[0].0);
    });
}
