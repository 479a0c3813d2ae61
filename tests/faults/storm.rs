//! F34: five hundred people ask at once.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::{CODES, Rig, listener, outcome};
use crate::{event, put, status, until};

const LOOKUPS: usize = 500;
/// What each of them may take.
const BUDGET: Duration = Duration::from_secs(120);

/// Adds text to a node's configuration.
fn add(rig: &Rig, code: u32, text: &str) {
    let file = rig.folder(code).join("node.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{before}\n{text}")).unwrap();
}

/// The sums of a counter over all labels that hold a word.
fn metric(port: &str, name: &str, label: &str) -> f64 {
    let mut stream = TcpStream::connect(port).unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let lines = text
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    lines
        .filter(|line| line.contains(label))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

#[test]
#[ignore = "minutes: just faults"]
fn f34_five_hundred_lookups_at_once_are_bounded_by_budgets_and_melt_nobody() {
    let mut rig = Rig::found();
    let mut ports = BTreeMap::new();
    for code in CODES {
        let port = listener().local_addr().unwrap().to_string();
        add(&rig, code, &format!("[operations]\nlisten = \"{port}\"\n"));
        rig.configure(code, "level = \"trace\"", "level = \"info\"");
        ports.insert(code, port);
    }
    // An examiner may ask forty questions at once; nine of the ten keep to it.
    add(&rig, 421_002, "[policy.budgets]\nperson = 1\nburst = 40\n");
    for code in CODES {
        rig.fill(code);
        rig.serve(code);
    }
    let text = |examiner: usize| {
        let case = rig.case("case.json", |case| {
            case["budget_ms"] = u64::try_from(BUDGET.as_millis()).unwrap().into();
            case["examiner"]["staff_number"] = format!("{}", 100 + examiner).into();
        });
        std::fs::read_to_string(case).unwrap()
    };
    // Thirty-five each for nine examiners; all the others come from one.
    let cases: Vec<_> = (0..LOOKUPS).map(|number| text((number / 35).min(9))).collect();
    let greedy = LOOKUPS - 9 * 35;
    let memory = |code| status(&rig, code)["process"]["memory_bytes"].as_u64().unwrap();
    let before = memory(420_000);
    let socket = rig.folder(421_002).join("run/node.sock");
    let ends = Mutex::new(Vec::new());
    let began = Instant::now();
    let (mut peak, mut slowest) = (0, Duration::ZERO);
    std::thread::scope(|scope| {
        for case in &cases {
            let (socket, ends) = (&socket, &ends);
            scope.spawn(move || {
                let began = Instant::now();
                let lines = put(socket, case);
                ends.lock().unwrap().push((began.elapsed(), lines));
            });
        }
        // Meanwhile the superior says how it fares.
        while ends.lock().unwrap().len() < LOOKUPS {
            let asked = Instant::now();
            let seen = status(&rig, 420_000);
            assert_eq!(seen["state"], "working", "{seen:#}");
            peak = peak.max(seen["process"]["in_hand"].as_u64().unwrap());
            slowest = slowest.max(asked.elapsed());
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    let ends = ends.into_inner().unwrap();
    let longest = ends.iter().map(|(took, _)| *took).max().unwrap();
    let results: Vec<&Value> = ends
        .iter()
        .filter_map(|(_, lines)| event(lines, "result"))
        .map(|line| &line["result"])
        .collect();
    let refused: Vec<_> = ends
        .iter()
        .filter(|(_, lines)| event(lines, "result").is_none())
        .collect();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for result in &results {
        *counts.entry(outcome(result, 420_000)).or_default() += 1;
    }
    println!(
        "F34: {} asked, {} refused, in {:?}; the longest took {longest:?}; the superior: {counts:?}, at most {peak} in hand, slowest status {slowest:?}, {} KiB more memory",
        results.len(),
        refused.len(),
        began.elapsed(),
        memory(420_000).saturating_sub(before) / 1024
    );
    assert!(longest < BUDGET + Duration::from_secs(1), "nobody hangs");
    assert_eq!(results.len() + refused.len(), LOOKUPS);
    // Forty of the greedy one's, and one more for each second that it lasted.
    let more = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!(
        (greedy - 40 - more..=greedy - 40).contains(&refused.len()),
        "{}",
        refused.len()
    );
    for (_, lines) in refused {
        let why = lines.iter().map(Value::to_string).collect::<String>();
        assert!(why.contains("person"), "it says which budget: {why}");
    }
    assert!(peak <= 33, "32 of one neighbour, and whatever else");
    assert!(memory(420_000).saturating_sub(before) < 200 << 20);
    assert!(
        counts
            .get("answered")
            .is_some_and(|answered| answered * 2 > results.len()),
        "{counts:?}"
    );
    // No storm: what was asked is what was wanted, and retries are few.
    for (from, to) in [(421_002, 421_000), (421_000, 420_000), (421_000, 421_003)] {
        let label = format!("peer=\"{to}\"");
        let asked = metric(&ports[&from], "sanku_asked_total", &label);
        let retries = metric(&ports[&from], "sanku_retries_total", &label);
        let served = metric(&ports[&to], "sanku_served_total", &format!("peer=\"{from}\""));
        println!("F34: {from} asked {to} {asked} times and tried again {retries} times; {to} served {served}");
        assert!(asked > 0.0 && retries * 10.0 <= asked, "{from} → {to}");
    }
    // What was late joins by itself, and an honest question finds everybody.
    let drained = until("the queue's end", Duration::from_secs(300), || {
        status(&rig, 421_002)["queue"]["waiting"] == 0
    });
    println!("F34: every late answer joined {drained:?} after the storm");
    let case = text(20);
    let lines = put(&socket, &case);
    let result = &event(&lines, "result").unwrap()["result"];
    assert_eq!(result["complete"], true, "{result:#}");
}
