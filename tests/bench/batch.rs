//! T4: a batch of ours from its file to its last result, every duty on, beside one query of the alternative for the same number of
//! persons (`= ANY($1)` through `postgres_fdw`, no audit row, no proof).

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::alternative::Alternative;
use crate::asking::case;
use crate::federation::Bench;
use crate::median;
use crate::nodes::number;
use crate::table::{Target, say};

/// Seconds until the first person's answer stands in the file, and until the last.
struct Batch {
    first: f64,
    whole: f64,
}

/// A target for so many persons: throughput beside A's at least, the first person's answer after a part of A's whole time at most.
const TARGETS: [(u64, f64, f64); 2] = [(1_000, 2.5, 0.2), (10_000, 2.0, 0.05)];

/// Ours and the alternative in turn.
pub(crate) fn measure(ours: &Bench, theirs: &Alternative, rounds: u64) {
    for (persons, throughput, first) in TARGETS {
        let (mut mine, mut other) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let mut measure = |is_ours: bool| {
                if is_ours {
                    mine.push(ours.batch(persons, round));
                } else {
                    other.push(theirs.batch(persons));
                }
            };
            measure(round % 2 == 0);
            measure(round % 2 == 1);
        }
        let of_each = |figure: fn(&Batch, f64) -> f64| {
            let both = mine.iter().zip(&other);
            median(both.map(|(mine, other)| figure(mine, *other)).collect())
        };
        let ratios = [
            of_each(|mine, other| other / mine.whole),
            of_each(|mine, other| mine.first / other),
        ];
        let per_second = |seconds: Vec<f64>| persons as f64 / median(seconds);
        say(&Target {
            number: "T4",
            what: &format!(
                "a batch of {persons} persons beside = ANY; the first person's answer, of A's whole time; memory of province, city, district at most"
            ),
            ours: format!(
                "{:.0} persons/s, first after {:.0} ms; {} MB",
                per_second(mine.iter().map(|one| one.whole).collect()),
                median(mine.iter().map(|one| one.first * 1000.0).collect()),
                ours.memory_at_most()
            ),
            theirs: format!("{:.0} persons/s", per_second(other.clone())),
            ratio: format!("{:.2} ×; {:.2} ×", ratios[0], ratios[1]),
            target: format!("≥ {throughput:.1} ×; ≤ {first} ×"),
            met: ratios[0] >= throughput && ratios[1] <= first,
        });
    }
}

impl Bench {
    /// A file that was never asked, by the program, as a person would ask it.
    fn batch(&self, persons: u64, round: u64) -> Batch {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cases.jsonl");
        let mut out = std::io::BufWriter::new(std::fs::File::create(&file).unwrap());
        for line in 0..persons {
            let mut case: serde_json::Value =
                serde_json::from_str(&case(&number(line), Duration::from_secs(60))).unwrap();
            case["case"] = format!("{persons} {round} {line} {}", std::process::id()).into();
            writeln!(out, "{case}").unwrap();
        }
        out.into_inner().unwrap().sync_all().unwrap();
        let results = file.with_extension("results.jsonl");
        let began = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sanku"));
        let mut asking = command
            .env_remove("SANKU_CONFIG")
            .arg("--config")
            .arg(self.config())
            .args([Path::new("query"), Path::new("--json"), Path::new("--batch"), &file])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let is_there = || std::fs::metadata(&results).is_ok_and(|file| file.len() > 0);
        while !is_there() && asking.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let first = began.elapsed().as_secs_f64();
        let mut said = String::new();
        asking.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        asking.wait().unwrap();
        let whole = began.elapsed().as_secs_f64();
        let report: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(report["complete"], persons, "{report:#}");
        Batch { first, whole }
    }
}
