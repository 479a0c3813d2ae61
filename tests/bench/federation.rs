//! Ours: a province, a city and a district as real processes, mutual TLS, every duty on. The city asks all three.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::asking::Questions;
use crate::load::Measured;
use crate::nodes::{Federation, Node, PEOPLE, write_rows};
use crate::postgres::Cluster;

pub(crate) const CODES: [u32; 3] = [420_000, 421_000, 421_002];
const CITY: u32 = 421_000;

/// Three nodes that end with their value.
pub(crate) struct Bench {
    federation: Federation,
    nodes: Vec<Node>,
    questions: Questions,
    /// How long filling took.
    pub(crate) said: String,
}

impl Bench {
    pub(crate) fn start(persons: u64, clusters: Option<&[Cluster; 3]>) -> Self {
        assert!(persons <= PEOPLE, "there are not so many numbers");
        let federation = Federation::new(&CODES, |place| clusters.map(|clusters| clusters[place].url()));
        let files = tempfile::tempdir().unwrap();
        let began = Instant::now();
        for code in CODES {
            let file = files.path().join(format!("{code}.csv"));
            write_rows(&file, code % 10_000, 0..persons);
            federation.import(code, &file);
            std::fs::remove_file(file).unwrap();
        }
        let (rows, took) = (persons * 30, began.elapsed().as_secs_f64());
        let said = format!("{rows} rows imported in {took:.0} s ({:.0} rows/s)", rows as f64 / took);
        let nodes = CODES.map(|code| federation.serve(code)).into();
        let questions = Questions {
            socket: federation.socket(CITY),
            persons,
            facts: 30,
        };
        Self {
            federation,
            nodes,
            questions,
            said,
        }
    }

    /// Lookups from so many clients for so many seconds; every one must be complete, with thirty facts.
    pub(crate) fn measure(&self, clients: u32, seconds: u64) -> Measured {
        self.questions.measure(clients, Duration::from_secs(seconds))
    }

    /// The configuration of the city, which asks.
    pub(crate) fn config(&self) -> PathBuf {
        self.federation.folder(CITY).join("node.toml")
    }

    /// The largest that each node ever was, in megabytes: province, city, district.
    pub(crate) fn memory_at_most(&self) -> String {
        let each = self.nodes.iter().map(|node| format!("{:.0}", node.memory("VmHWM")));
        each.collect::<Vec<_>>().join(", ")
    }

    /// T6: signatures that all nodes together made and judged for each question, at so many clients.
    pub(crate) fn signatures(&self, clients: u32, seconds: u64) -> f64 {
        let all = || -> f64 {
            let of = |code: &u32| self.federation.metric(*code, "sanku_signatures_total");
            CODES.iter().map(of).sum()
        };
        let before = all();
        let measured = self.measure(clients, seconds);
        (all() - before) / (measured.per_second * seconds as f64)
    }

    /// F06: how many of so many lookups over kept connections failed.
    pub(crate) fn failed_of(&self, lookups: u64) -> u64 {
        self.questions.failed_of(lookups, 8)
    }

    /// T9: milliseconds until a node listens; megabytes that it holds then, and at most with 1,000 lookups in flight.
    pub(crate) fn start_and_memory(mut self) -> [f64; 3] {
        let mut starts = Vec::new();
        for _ in 0..7 {
            drop(self.nodes.remove(0));
            let began = Instant::now();
            let node = self.federation.serve(CODES[0]);
            starts.push(began.elapsed().as_secs_f64() * 1000.0);
            self.nodes.insert(0, node);
        }
        drop(self.nodes.remove(1));
        let node = self.federation.serve(CITY);
        let after_start = node.memory("VmRSS");
        self.nodes.insert(1, node);
        let _ = self.measure(1000, 5);
        [crate::median(starts), after_start, self.nodes[1].memory("VmHWM")]
    }
}
