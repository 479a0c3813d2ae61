//! F05, F31, F32 and a cut of a minute: networks that drop without a word, between namespaces.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::namespaces::Net;
use crate::rig::{CODES, Rig, json_of, outcome};
use crate::{answers, event, put, status, until};

/// Time enough that each hop's reserve of a twentieth lets it say on a busy machine what it observed.
const BUDGET: Duration = Duration::from_secs(4);
/// G6: the budget and a second.
const AT_MOST: Duration = Duration::from_secs(5);

fn serve_all(rig: &mut Rig) {
    for code in CODES {
        rig.fill(code);
        rig.serve(code);
    }
}

/// Asks the usual case at a node; it ends in time.
fn asked_at(rig: &Rig, code: u32) -> Value {
    let case = rig.case("case.json", |case| {
        case["budget_ms"] = u64::try_from(BUDGET.as_millis()).unwrap().into();
    });
    let case = std::fs::read_to_string(case).unwrap();
    let began = Instant::now();
    let lines = put(&rig.folder(code).join("run/node.sock"), &case);
    let took = began.elapsed();
    assert!(took < AT_MOST, "{code} took {took:?}");
    let result = event(&lines, "result").unwrap_or_else(|| panic!("{lines:?}"));
    result["result"].clone()
}

/// What a result says of each node, in the order of their codes.
fn outcomes(result: &Value) -> [String; 4] {
    CODES.map(|code| outcome(result, code))
}

const ALL: [&str; 4] = ["answered"; 4];

/// Whether a question is complete by now, and whether its evidence holds. Nobody asks again for it.
fn complete(rig: &Rig, code: u32, id: &str) -> bool {
    let file = rig.place.path().join(format!("evidence-{code}")).display().to_string();
    let exported = rig.node(code, &["evidence", "export", id, "--out", &file]);
    assert!(
        exported.status.success(),
        "{}",
        String::from_utf8_lossy(&exported.stderr)
    );
    let verified = json_of(&rig.node(code, &["evidence", "verify", &file, "--json"]));
    assert_eq!(verified["ok"], true, "{verified:#}");
    verified["complete"] == true
}

/// How a node's status sees a neighbour's breaker.
fn breaker(rig: &Rig, code: u32, neighbour: u32) -> String {
    let status = status(rig, code);
    let neighbours = status["neighbours"].as_array().unwrap();
    let neighbour = neighbour.to_string();
    let row = neighbours.iter().find(|row| row["node"] == *neighbour);
    let row = row.unwrap_or_else(|| panic!("{status:#}"));
    row["breaker"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs root: just faults"]
fn f05_a_half_open_connection_fails_one_question_at_most_and_leaves_the_pool() {
    let net = Net::of(&CODES);
    let mut rig = net.rig();
    serve_all(&mut rig);
    let (city, district) = (421_000, 421_003);
    for round in 0..3 {
        assert_eq!(outcomes(&asked_at(&rig, 421_002)), ALL, "{round}");
        let vanished = net.vanish(city, district);
        assert!(!vanished.is_empty());
        let first = asked_at(&rig, 421_002);
        assert_eq!(outcome(&first, district), "late", "{first:#}");
        assert_eq!(outcome(&first, 420_000), "answered");
        let second = asked_at(&rig, 421_002);
        assert_eq!(
            outcomes(&second),
            ALL,
            "the next question goes over a new connection: {second:#}"
        );
        // Whoever called lets go soon, by what it sent or by its pings; whoever was called a while later.
        let held = |host, other, vanished: &dyn Fn((u16, u16)) -> bool| {
            let left = net.established(host, other);
            left.into_iter().any(vanished)
        };
        let callers = until("the caller's letting go", Duration::from_secs(20), || {
            !held(city, district, &|pair| pair.1 == 7443 && vanished.contains(&pair))
        });
        let all = until("the others' letting go", Duration::from_secs(60), || {
            !held(city, district, &|pair| vanished.contains(&pair))
                && !held(district, city, &|(here, there)| vanished.contains(&(there, here)))
        });
        println!("F05: the caller let go {callers:?} after the second answer, everybody {all:?} after that");
        net.heal(city);
    }
    // Nobody asks: the pings find it, and the next question is answered.
    let vanished = net.vanish(city, district);
    until("the pings", Duration::from_secs(20), || {
        let left = net.established(city, district);
        !left.iter().any(|pair| pair.1 == 7443 && vanished.contains(pair))
    });
    assert_eq!(outcomes(&asked_at(&rig, 421_002)), ALL);
}

#[test]
#[ignore = "needs root, two minutes: just faults"]
fn f31_a_cut_of_a_minute_between_tiers_is_said_and_heals_without_a_hand() {
    let net = Net::of(&CODES);
    let mut rig = net.rig();
    serve_all(&mut rig);
    assert_eq!(outcomes(&asked_at(&rig, 421_002)), ALL);
    net.cut_off(420_000);
    let (cut, mut waiting) = (Instant::now(), Vec::new());
    let mut seen = Vec::new();
    while cut.elapsed() < Duration::from_secs(60) {
        let below = asked_at(&rig, 421_002);
        assert_eq!(below["complete"], false);
        let [province, rest @ ..] = outcomes(&below);
        assert_eq!(rest, ["answered"; 3], "the subtree goes on: {below:#}");
        let above = asked_at(&rig, 420_000);
        let [own, rest @ ..] = outcomes(&above);
        assert_eq!((own.as_str(), &above["complete"]), ("answered", &Value::Bool(false)));
        assert!(
            rest.iter().all(|outcome| *outcome == rest[0]),
            "one hop failed: {above:#}"
        );
        seen.push((province, rest[0].clone()));
        waiting.extend([(421_002, below["query"].clone()), (420_000, above["query"].clone())]);
        std::thread::sleep(Duration::from_secs(2));
    }
    println!("F31: outcomes of the superior and of the tree below, as the cut went on: {seen:?}");
    // What had an open connection when the cut came is late once; from then on there is no connection.
    for (superior, below) in &seen[1..] {
        assert_eq!((superior.as_str(), below.as_str()), ("unreachable", "unreachable"));
    }
    assert_eq!(breaker(&rig, 421_000, 420_000), "open");
    assert_eq!(breaker(&rig, 420_000, 421_000), "open");
    assert_eq!(breaker(&rig, 421_000, 421_003), "closed");
    net.heal(420_000);
    let healed = Instant::now();
    until("asking upwards again", Duration::from_secs(90), || {
        std::thread::sleep(Duration::from_secs(1));
        outcomes(&asked_at(&rig, 421_002)) == ALL
    });
    let upwards = healed.elapsed();
    let late = until("every late answer", Duration::from_secs(180), || {
        waiting.retain(|(code, id)| !complete(&rig, *code, id.as_str().unwrap()));
        waiting.is_empty()
    });
    println!(
        "F31: asked upwards again {upwards:?} after the cut, every late answer joined {:?} after it",
        upwards + late
    );
    for code in CODES {
        rig.entries(code);
    }
}

#[test]
#[ignore = "needs root, a minute: just faults"]
fn f32_where_one_direction_is_dropped_no_answer_is_made_up_and_each_side_has_its_own_breaker() {
    let net = Net::of(&CODES);
    let mut rig = net.rig();
    serve_all(&mut rig);
    let (province, city) = (420_000, 421_000);
    assert_eq!(outcomes(&asked_at(&rig, 421_002)), ALL);
    // The city cannot call the province; the province can call the city.
    net.drop(
        province,
        &[format!("input ip saddr {} tcp dport 7443", net.address(city))],
    );
    let mut asked = Vec::new();
    for round in 0..7 {
        let up = asked_at(&rig, 421_002);
        let [above, rest @ ..] = outcomes(&up);
        assert_ne!(above, "answered", "{round}");
        assert_eq!(rest, ["answered"; 3]);
        assert_eq!(up["complete"], false);
        assert_eq!(
            outcomes(&asked_at(&rig, province)),
            ALL,
            "{round}: downwards all is well"
        );
        asked.push(up["query"].as_str().unwrap().to_owned());
    }
    assert_eq!(breaker(&rig, city, province), "open");
    assert_eq!(breaker(&rig, province, city), "closed");
    net.heal(province);
    until("asking upwards again", Duration::from_secs(90), || {
        std::thread::sleep(Duration::from_secs(1));
        outcomes(&asked_at(&rig, 421_002)) == ALL
    });
    assert_eq!(breaker(&rig, city, province), "closed");

    // Not one packet from the city arrives at the province: neither of them can ask the other, and neither says it could.
    net.drop(province, &[format!("input ip saddr {}", net.address(city))]);
    for round in 0..6 {
        for asker in [421_002, province] {
            let result = asked_at(&rig, asker);
            assert_eq!(result["complete"], false);
            for code in CODES {
                let beyond = (code == province) != (asker == province);
                assert_eq!(outcome(&result, code) == "answered", !beyond, "{round}: {result:#}");
            }
            if asker == 421_002 {
                asked.push(result["query"].as_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(
        (breaker(&rig, city, province), breaker(&rig, province, city)),
        ("open".to_owned(), "open".to_owned())
    );
    net.heal(province);
    let late = until("every late answer", Duration::from_secs(180), || {
        asked.iter().all(|id| complete(&rig, 421_002, id))
    });
    println!("F32: {} late answers joined within {late:?}", asked.len());
    assert_eq!(answers(&rig, &asked[0]).len(), 4);
}
