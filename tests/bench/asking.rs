//! Clients of a node's socket: each asks about one person after another, over one connection that is kept, and looks at every
//! answer.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::load::Measured;
use crate::nodes::number;

const NAME: &str = "测试甲";

/// Whom to ask, about how many people, and what a good answer is.
#[derive(Clone)]
pub(crate) struct Questions {
    pub(crate) socket: PathBuf,
    pub(crate) persons: u64,
    /// Facts of each person; an answer with another number is wrong, however fast.
    pub(crate) facts: usize,
}

/// A connection to a node's socket.
pub(crate) struct Client(SendRequest<Full<Bytes>>);

impl Client {
    pub(crate) async fn connect(socket: impl AsRef<Path>) -> Self {
        let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// One question; its result and how long it took.
    pub(crate) async fn ask(&mut self, number: &str, budget: Duration) -> (Value, Duration) {
        let body = case(number, budget);
        let began = Instant::now();
        self.0.ready().await.unwrap();
        let request = http::Request::post("/query")
            .header(http::header::HOST, "node")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = self.0.send_request(request).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let took = began.elapsed();
        let last = bytes
            .split(|byte| *byte == b'\n')
            .rev()
            .find(|line| !line.is_empty())
            .unwrap();
        (serde_json::from_slice(last).unwrap(), took)
    }
}

impl Questions {
    /// Whether this is everything about a person.
    fn is_whole(&self, answer: &Value) -> bool {
        let result = &answer["result"];
        result["complete"] == true && result["facts"].as_array().map(Vec::len) == Some(self.facts)
    }

    /// Lookups from so many clients for so long; every one must be complete.
    pub(crate) fn measure(&self, clients: u32, length: Duration) -> Measured {
        let until = Instant::now() + length;
        let lookups = self.by(clients, move |_| Instant::now() < until);
        let micros = lookups.into_iter().map(|(took, whole)| {
            assert!(whole, "an answer is not complete");
            u64::try_from(took.as_micros()).unwrap()
        });
        Measured::of(micros.collect(), length.as_secs_f64())
    }

    /// So many lookups over kept connections; how many of them a user would have called failed.
    pub(crate) fn failed_of(&self, lookups: u64, clients: u32) -> u64 {
        let each = lookups / u64::from(clients);
        let all = self.by(clients, move |done| done < each);
        assert_eq!(all.len() as u64, each * u64::from(clients));
        all.iter().filter(|(_, whole)| !whole).count() as u64
    }

    fn by(&self, clients: u32, goes_on: impl Fn(u64) -> bool + Clone + Send + Sync + 'static) -> Vec<(Duration, bool)> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let clients: Vec<_> = (0..clients)
                .map(|_| tokio::spawn(self.clone().one_after_another(goes_on.clone())))
                .collect();
            let mut all = Vec::new();
            for client in clients {
                all.extend(client.await.unwrap());
            }
            all
        })
    }

    async fn one_after_another(self, goes_on: impl Fn(u64) -> bool) -> Vec<(Duration, bool)> {
        let mut client = Client::connect(&self.socket).await;
        let mut all = Vec::new();
        while goes_on(all.len() as u64) {
            let person = number(fastrand::u64(0..self.persons));
            let (answer, took) = client.ask(&person, Duration::from_secs(10)).await;
            all.push((took, self.is_whole(&answer)));
        }
        all
    }
}

pub(crate) fn case(number: &str, budget: Duration) -> String {
    let budget = u64::try_from(budget.as_millis()).unwrap();
    json!({
        "purpose": "minimum_living_allowance", "case": "1", "requester": "民政", "examiner": { "name": "测试乙", "staff_number": "1" }, "approver": { "name": "测试丙", "staff_number": "2" },
        "mandate": {
            "id": "019a0000-0000-7000-8000-000000000001", "signatories": [NAME], "subjects": [number], "categories": ["vehicle"], "purpose": "minimum_living_allowance",
            "valid_from": "2020-01-01T00:00:00.000Z", "valid_until": "2099-01-01T00:00:00.000Z", "letter": "0".repeat(64),
        },
        "subjects": [{ "number": number, "kind": "resident", "name": NAME, "role": "head" }],
        "categories": ["vehicle"], "scope": "federation", "priority": "person", "budget_ms": budget, "expires_days": 20,
    })
    .to_string()
}
