//! T10: one hung peer among a hundred nodes in two tiers, over real TLS. The province asks its 99 cities, one of which was
//! stopped with SIGSTOP: its connections stay, and it says nothing.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::asking::Client;
use crate::nodes::{Federation, number};

const PROVINCE: u32 = 420_000;
const BUDGET: Duration = Duration::from_secs(2);

/// What was seen.
pub(crate) struct Seen {
    /// Milliseconds of each question beyond its budget; negative where it ended earlier.
    pub(crate) beyond: Vec<f64>,
    /// Of each question, how many of the 99 other nodes, the province among them, answered.
    pub(crate) answered: Vec<usize>,
}

pub(crate) fn measure(rounds: u64) -> Seen {
    let codes: Vec<_> = (0..100).map(|city| PROVINCE + city * 100).collect();
    let federation = Federation::new(&codes, |_| None);
    let nodes: Vec<_> = codes.iter().map(|code| federation.serve(*code)).collect();
    let hung = nodes[57].id();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut client = Client::connect(federation.socket(PROVINCE)).await;
        // Everybody is connected before anybody hangs.
        for _ in 0..3 {
            let (answer, _) = client.ask(&number(0), Duration::from_secs(10)).await;
            assert_eq!(answered(&answer), 100, "{answer:#}");
        }
        signal(hung, "-STOP");
        let mut seen = Seen {
            beyond: Vec::new(),
            answered: Vec::new(),
        };
        for round in 0..rounds {
            let (answer, took) = client.ask(&number(round), BUDGET).await;
            seen.beyond.push((took.as_secs_f64() - BUDGET.as_secs_f64()) * 1000.0);
            seen.answered.push(answered(&answer));
            let end = outcome(&answer, codes[57]);
            assert!(matches!(end, "late" | "unreachable"), "the hung node is {end}");
        }
        signal(hung, "-CONT");
        seen
    })
}

fn outcomes(answer: &Value) -> &Vec<Value> {
    answer["result"]["outcomes"].as_array().unwrap()
}

fn answered(answer: &Value) -> usize {
    let all = outcomes(answer).iter();
    all.filter(|end| end["outcome"] == "answered").count()
}

fn outcome(answer: &Value, node: u32) -> &str {
    let code = node.to_string();
    let end = outcomes(answer).iter().find(|end| end["node"] == code.as_str());
    end.and_then(|end| end["outcome"].as_str()).unwrap_or("missing")
}

fn signal(process: u32, which: &str) {
    let sent = Command::new("kill")
        .args([which, &process.to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}
