//! T4: a batch of ours from its file to its last result, every duty on, beside one query of the alternative for the same number of
//! persons (`= ANY($1)` through `postgres_fdw`, no audit row, no proof).

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::alternative::Alternative;
use crate::federation::{Bench, case, memory};
use crate::median;

/// Seconds until the first person's answer stands in the file, and until the last.
struct Batch {
    first: f64,
    whole: f64,
}

/// Prints the rows of the table.
pub(crate) fn measure(ours: &Bench, theirs: &Alternative, rounds: u64) {
    println!(
        "\n| no. | persons | Sanku, persons/s | A, persons/s | ratio | first person after, of A's whole time | nodes at most |"
    );
    println!("|---|---|---|---|---|---|---|");
    for persons in [1_000, 10_000] {
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
        let persons_of = persons as f64;
        println!(
            "| T4 | {persons} | {:.0} | {:.0} | {:.2} | {:.2} | {} |",
            median(mine.iter().map(|one| persons_of / one.whole).collect()),
            median(other.iter().map(|seconds| persons_of / seconds).collect()),
            of_each(|mine, other| other / mine.whole),
            of_each(|mine, other| mine.first / other),
            ours.memory_at_most(),
        );
    }
}

impl Bench {
    /// A file that was never asked, by the program, as a person would ask it.
    fn batch(&self, persons: u64, round: u64) -> Batch {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cases.jsonl");
        let mut out = std::io::BufWriter::new(std::fs::File::create(&file).unwrap());
        for line in 0..persons {
            let mut case: serde_json::Value = serde_json::from_str(&case(&crate::federation::number(line))).unwrap();
            case["case"] = format!("{persons} {round} {line} {}", std::process::id()).into();
            case["budget_ms"] = 60_000.into();
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

    /// The largest that each node ever was, in megabytes: province, city, district.
    fn memory_at_most(&self) -> String {
        let each = self
            .processes()
            .into_iter()
            .map(|node| format!("{:.0}", memory(node, "VmHWM")));
        format!("{} MB", each.collect::<Vec<_>>().join(", "))
    }
}
