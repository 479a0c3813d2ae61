//! The vectors beside `PROTOCOL.md`: made from fixed keys, compared with the files that are kept, judged by our own reader.
//!
//! `SANKU_WRITE_VECTORS=1 cargo test -p sanku-federation-protocol vectors` writes them anew.

mod evidence;
mod forks;

use sanku_values::Date;
use serde_json::{Value, json};

use crate::body::{ActBody, Body, Salt, WithdrawalBody};
use crate::entry::{ActEntry, Said, WithdrawalEntry};
use crate::fixture::{
    CITY, EVERYBODY, HERE, THERE, World, code, days, fingerprint, found, job, job_of, log_key, minute, no_revocations,
    notes, nothing, publisher_key, registry, root_key, signed, status, unavailable,
};
use crate::names::{Outcome, Rule, ScopeLabel, Status};
use crate::notes::{RawNote, name};
use crate::seal::{SealedBody, SealingKey};
use crate::statement::VerifiedRun;
use crate::stream::{Event, Reader, write_run};
use crate::trust::Trust;

/// What our own reader makes of a stream.
fn verdict(stream: &str, world: &World) -> &'static str {
    let mut reader = Reader::new();
    reader.push(stream.as_bytes());
    loop {
        match reader.next_event() {
            Ok(Some(Event::Run(run))) if run.clone().verify(&world.trust).is_err() => return "invalid",
            Ok(Some(_)) => {}
            Ok(None) => return if reader.finish().is_ok() { "valid" } else { "invalid" },
            Err(_) => return "invalid",
        }
    }
}

/// A world in which every kind was said.
fn world() -> World {
    let (mut world, _) = World::whole_case();
    world.refuse(THERE, minute(4), Rule::Relation);
    let registry = world.reference();
    let withdrawal = WithdrawalEntry {
        mandate_id: "019a0000-0000-7000-8000-00000000abcd".parse().unwrap(),
        registry,
        scope: ScopeLabel::Codes,
        targets: Some(vec![code(CITY), code(THERE)]),
        expires: days(20),
    };
    let body = WithdrawalBody {
        salt: Salt::of([7; 16]),
        reason: "家庭撤回".to_owned(),
    };
    world.say(HERE, minute(5), Said::Withdrawal(withdrawal), body.line().unwrap());
    let act = ActEntry {
        action: "import".parse().unwrap(),
        object: sanku_tlog::Hash::of(b"object"),
        to: None,
        public: None,
    };
    let body = ActBody {
        salt: Salt::of([8; 16]),
        who: "a\"\\\u{1}中".to_owned(),
        what: "import".to_owned(),
        purpose: None,
        digest: None,
        about: None,
    };
    world.say(HERE, minute(6), Said::Act(act), body.line().unwrap());
    world
}

/// One value of an entry, changed a little.
fn changed(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let mut characters: Vec<char> = text.chars().collect();
            if let Some(last) = characters.last_mut() {
                *last = if *last == '1' { '2' } else { '1' };
            }
            Value::String(characters.into_iter().collect())
        }
        Value::Number(number) => json!(number.as_u64().unwrap_or_default() + 1),
        Value::Bool(value) => json!(!value),
        Value::Array(items) => Value::Array(items[1..].to_vec()),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(key, value)| (key.clone(), changed(value)))
                .collect(),
        ),
        Value::Null => json!(0),
    }
}

fn streams(world: &World) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let whole = |of: u32| write_run(&world.whole(of));
    for of in EVERYBODY {
        all.push((format!("everything that {of} said, one run"), whole(of)));
    }
    let here = world.whole(HERE);
    for (index, statement) in here.statements.iter().enumerate() {
        all.push((
            format!("a run of one: {}", statement.entry.said.kind()),
            write_run(&world.run(HERE, index as u64, 1)),
        ));
        all.push((
            format!("a run of one, cut from a longer: {}", statement.entry.said.kind()),
            write_run(&here.cut(index, 1).unwrap()),
        ));
    }
    all.push((
        "two runs of two nodes".to_owned(),
        format!("{}{}", whole(CITY), whole(THERE)),
    ));
    all.push((
        "a heartbeat between runs".to_owned(),
        format!("{}H \n{}", whole(CITY), whole(THERE)),
    ));

    // Two questions that go the same way, and what a target says of both.
    let mut batch = World::new();
    for _ in 0..2 {
        batch.ask_bent(minute(0), |entry, _| entry.priority = crate::names::Priority::Batch);
        batch.answer(THERE, minute(1), 0, nothing());
        batch.account(THERE, minute(1), &[]);
    }
    let asked = write_run(&batch.whole(HERE));
    all.push(("a batch: two questions in one run".to_owned(), asked));
    let said = batch.whole(THERE);
    all.push(("a batch: what is said of both in one run".to_owned(), write_run(&said)));
    for (place, (_, part)) in said.by_question().iter().enumerate() {
        all.push((
            format!("a batch: what is said of question {place}, cut from it"),
            write_run(part),
        ));
    }

    // Each single key of each kind's entry changed: the leaf is another, or the line is none.
    for (of, index) in (0..here.statements.len() as u64)
        .map(|index| (HERE, index))
        .chain([(CITY, 0), (THERE, 3)])
    {
        let run = world.run(of, index, 1);
        let line = String::from_utf8(run.statements[0].line.to_vec()).unwrap();
        let entry: serde_json::Map<String, Value> = serde_json::from_str(&line).unwrap();
        for key in entry.keys() {
            let mut other = entry.clone();
            other.insert(key.clone(), changed(&entry[key]));
            let other = serde_json::to_string(&other).unwrap();
            all.push((
                format!("{}: {key} changed", run.statements[0].entry.said.kind()),
                write_run(&run).replace(&line, &other),
            ));
        }
        all.push((
            format!("{}: an unknown key", run.statements[0].entry.said.kind()),
            write_run(&run).replace(&line, &line.replacen('{', "{\"x\":1,", 1)),
        ));
        all.push((
            format!("{}: a repeated key", run.statements[0].entry.said.kind()),
            write_run(&run).replace(&line, &line.replacen('{', "{\"v\":1,", 1)),
        ));
    }

    // Each kind of wrong proof.
    let good = write_run(&world.run(HERE, 2, 3));
    let lines: Vec<&str> = good.lines().collect();
    let with_proof = |proof: String| format!("{}\n{proof}\n", lines[..lines.len() - 1].join("\n"));
    let words: Vec<&str> = lines[lines.len() - 1].split(' ').collect();
    all.push((
        "proof: a hash is missing".to_owned(),
        with_proof(words[..words.len() - 1].join(" ")),
    ));
    all.push((
        "proof: a hash is left over".to_owned(),
        with_proof(format!("{} {}", words.join(" "), words[3])),
    ));
    let mut swapped = words.clone();
    swapped.swap(3, 4);
    all.push(("proof: two hashes swapped".to_owned(), with_proof(swapped.join(" "))));
    all.push((
        "proof: another index".to_owned(),
        with_proof(words.join(" ").replacen(" 2 ", " 3 ", 1)),
    ));
    all.push((
        "proof: an index with a leading nought".to_owned(),
        with_proof(words.join(" ").replacen(" 2 ", " 02 ", 1)),
    ));
    all.push((
        "proof: another node's log".to_owned(),
        with_proof(words.join(" ").replacen("421002", "421003", 1)),
    ));
    all.push((
        "checkpoint: another node's".to_owned(),
        format!("{}\n{}\n", whole(THERE).lines().next().unwrap(), lines[1..].join("\n")),
    ));
    all.push(("no checkpoint".to_owned(), format!("{}\n", lines[1..].join("\n"))));
    all.push((
        "an empty run".to_owned(),
        format!("{}\n{}\n", lines[0], lines[lines.len() - 1]),
    ));
    all.push(("two statements swapped".to_owned(), {
        let mut lines = lines.clone();
        lines.swap(1, 3);
        lines.swap(2, 4);
        format!("{}\n", lines.join("\n"))
    }));
    all.push((
        "a body changed".to_owned(),
        good.replacen("\"milliseconds\":", "\"milliseconds\":1", 1)
            .replacen("棉纺", "麻纺", 1),
    ));
    all.push((
        "a body without its entry".to_owned(),
        format!("{}\n{}\n", lines[0], lines[2]),
    ));
    all.push(("a line of no known letter".to_owned(), format!("{good}Z \n")));
    for (part, whole) in [(3, 4), (1, 2), (9, 10)] {
        let mut end = good.len() * part / whole;
        while !good.is_char_boundary(end) {
            end += 1;
        }
        all.push((format!("cut after {part}/{whole}"), good[..end].to_owned()));
    }
    all.push(("nothing".to_owned(), String::new()));
    all
}

fn notes_vectors() -> Vec<(String, Vec<String>, usize)> {
    let federation = crate::fixture::federation();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let good: Vec<String> = notes().into_iter().map(text).collect();
    let with = |place: usize, note: Vec<u8>| {
        let mut notes = good.clone();
        notes[place] = text(note);
        notes
    };
    let mut older = good.clone();
    older.push(text(signed(
        &name::registry(&federation),
        days(-20),
        &registry(),
        &publisher_key(),
    )));
    vec![
        ("all four".to_owned(), good.clone(), 4),
        (
            "a registry signed by the root instead of the publisher".to_owned(),
            with(
                2,
                signed(&name::registry(&federation), days(-8), &registry(), &root_key()),
            ),
            3,
        ),
        (
            "a delegation signed by the publisher".to_owned(),
            with(
                1,
                signed(
                    &name::delegation(&federation),
                    days(-9),
                    &crate::fixture::delegation(),
                    &publisher_key(),
                ),
            ),
            1,
        ),
        (
            "revocations signed by the publisher".to_owned(),
            with(
                3,
                signed(
                    &name::revoked(&federation, code(420_000)),
                    days(-7),
                    &no_revocations(),
                    &publisher_key(),
                ),
            ),
            3,
        ),
        (
            "a registry with a lower number: archived, not in force".to_owned(),
            older,
            5,
        ),
        (
            "a registry with a changed byte".to_owned(),
            {
                let mut notes = good.clone();
                notes[2] = notes[2].replacen("active", "actIve", 1);
                notes
            },
            3,
        ),
    ]
}

fn sealed_vectors(written: &Value) -> Value {
    let key = SealingKey::new([0x42; 32]);
    let public = key.public().unwrap();
    let (entry, body) = (r#"{"entry":1}"#, r#"{"salt":"00","中":"文"}"#);
    // Sealing is random: what was written once is kept and opened again.
    let sealed = match written["sealed"].as_str() {
        Some(text) => text.to_owned(),
        None => public.seal(entry.as_bytes(), body.as_bytes()).unwrap().text(),
    };
    let parsed = SealedBody::parse(&sealed).unwrap();
    assert_eq!(key.open(&parsed, entry.as_bytes()).unwrap(), body.as_bytes());
    assert!(key.open(&parsed, b"{}").is_err());
    json!({ "secret": hex::encode([0x42; 32]), "public": public.to_string(), "entry": entry, "body": body, "sealed": sealed, "hint": public.hint() })
}

/// Cases that end in different ways, each with what everybody said and the bytes that follow from it.
fn merge_vectors() -> Value {
    let case = |name: &str, world: &World| {
        let (_, merged) = world.merged();
        let runs: Vec<VerifiedRun> = world.everything();
        json!({ "name": name, "streams": runs.iter().map(write_run).collect::<Vec<_>>(), "merged": String::from_utf8(merged.bytes()).unwrap(), "digest": merged.digest() })
    };
    let mut vectors = vec![case("everybody answered", &World::whole_case().0)];

    let mut world = World::new();
    world.ask();
    world.answer(
        HERE,
        minute(1),
        0,
        found(&[job("棉纺厂", "全职"), job("学校\"\\/é", "兼职")]),
    );
    world.answer(HERE, minute(1), 1, nothing());
    vectors.push(case("the asker has asked nobody yet", &world));
    world.answer(
        CITY,
        minute(1),
        0,
        found(&[job_of("棉纺厂", "兼职", Date::new(2026, 8, 9).unwrap())]),
    );
    world.answer(CITY, minute(1), 1, status(Status::NameMismatch));
    world.answer(420_000, minute(1), 0, found(&[job("棉纺厂", "全职")]));
    world.account(420_000, minute(1), &[]);
    world.account(CITY, minute(1), &[(420_000, Outcome::Answered), (THERE, Outcome::Late)]);
    world.account(HERE, minute(2), &[(CITY, Outcome::Answered)]);
    vectors.push(case(
        "a conflict, a name mismatch, a target late, one that answered half",
        &world,
    ));
    world.answer(420_000, minute(3), 1, unavailable());
    world.refuse(THERE, minute(3), Rule::Relation);
    vectors.push(case("the same, with a refusal and an answer that came later", &world));
    world.answer(CITY, minute(4), 0, found(&[job("棉纺厂", "全职")]));
    world.answer(THERE, minute(4), 0, status(Status::NotHeld));
    world.answer(THERE, minute(4), 1, nothing());
    vectors.push(case("later answers count, and outrank an earlier refusal", &world));

    let mut world = World::new();
    world.ask();
    world.account(HERE, minute(1), &[(CITY, Outcome::Answered)]);
    world.refuse(CITY, minute(1), Rule::SamePerson);
    world.account(
        CITY,
        minute(1),
        &[(420_000, Outcome::RefusedOnWay), (THERE, Outcome::Pending)],
    );
    vectors.push(case(
        "a relay stopped the question and claims what only the asker may",
        &world,
    ));
    json!({ "registry": registry(), "vectors": vectors })
}

fn keep(file: &str, fresh: &Value) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(file);
    let text = format!("{}\n", serde_json::to_string_pretty(fresh).unwrap());
    if std::env::var_os("SANKU_WRITE_VECTORS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == text,
        "{} differs from what the code says: bytes are frozen; SANKU_WRITE_VECTORS=1 writes anew",
        path.display()
    );
}

#[test]
fn vectors_are_what_the_code_says() {
    let world = world();
    let keys: serde_json::Map<String, Value> = EVERYBODY
        .iter()
        .map(|of| {
            (
                log_key(*of).verifier().name().to_owned(),
                json!(log_key(*of).verifier()),
            )
        })
        .collect();
    let streams: Vec<_> = streams(&world)
        .into_iter()
        .map(|(name, stream)| {
            let verdict = verdict(&stream, &world);
            json!({ "name": name, "verdict": verdict, "stream": stream })
        })
        .collect();
    let count = |verdict: &str| streams.iter().filter(|vector| vector["verdict"] == verdict).count();
    assert!(
        count("valid") >= 15 && count("invalid") >= 80,
        "{} valid, {} invalid",
        count("valid"),
        count("invalid")
    );
    for vector in &streams {
        let name = vector["name"].as_str().unwrap();
        let wrong = [
            "changed",
            "unknown",
            "repeated",
            "proof:",
            "checkpoint:",
            "cut after",
            "swapped",
            "without",
            "empty",
            "no ",
        ]
        .iter()
        .any(|word| name.contains(word));
        assert_eq!(
            vector["verdict"] == "invalid",
            wrong && !name.contains("cut from"),
            "{name}"
        );
    }
    keep("streams.json", &json!({ "keys": keys, "vectors": streams }));

    let notes: Vec<_> = notes_vectors()
        .into_iter()
        .map(|(name, notes, accepted)| {
            let (trust, _) = Trust::from_notes(
                crate::fixture::federation(),
                fingerprint(),
                notes.iter().map(String::as_bytes),
                days(50),
            );
            assert_eq!(trust.all().count(), accepted, "{name}");
            assert!(
                notes.iter().all(|note| RawNote::parse(note.as_bytes()).is_ok()),
                "{name}"
            );
            let in_force: serde_json::Map<String, Value> = trust
                .list()
                .map(|(name, held)| (name.to_owned(), json!(held.reference.number)))
                .collect();
            json!({ "name": name, "notes": notes, "accepted": accepted, "in_force": in_force })
        })
        .collect();
    keep(
        "notes.json",
        &json!({ "federation": crate::fixture::federation(), "fingerprint": fingerprint(), "vectors": notes }),
    );

    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/sealed.json");
    let written = std::fs::read(&path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or(Value::Null);
    keep("sealed.json", &sealed_vectors(&written));
    keep("merge.json", &merge_vectors());
}
