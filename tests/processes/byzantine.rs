//! Neighbours with good certificates and bad intentions, over real TLS: replays, old answers, changed bytes, another's log.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::routing::{MethodRouter, post};
use bytes::Bytes;
use futures_util::StreamExt;
use sanku_certs::NodeKeys;
use sanku_certs::federation::notes_in;
use sanku_federation_protocol::stream::MEDIA_TYPE;
use sanku_federation_protocol::trust::Trust;
use sanku_transport::{Material, PeerClients, Server, TransportError};
use sanku_values::{Clock, SystemClock};
use tokio_util::sync::CancellationToken;

use crate::rig::{Link, Rig, json_of, outcome};

/// What a node is on the wire: its certificate and its notes.
pub(crate) fn identity(rig: &Rig, code: u32) -> (Material, Arc<ArcSwap<Trust>>) {
    let (federation, node) = ("hubei.example".parse().unwrap(), code.try_into().unwrap());
    let keys = NodeKeys::load(&rig.folder(code), &federation, node, 1).unwrap();
    let notes = notes_in(&rig.folder(code)).unwrap();
    let text = std::fs::read_to_string(rig.folder(code).join("node.toml")).unwrap();
    let root = text
        .lines()
        .find_map(|line| line.strip_prefix("root = "))
        .unwrap()
        .trim_matches('"')
        .parse()
        .unwrap();
    let (trust, refused) = Trust::from_notes(federation, root, notes.iter().map(Vec::as_slice), SystemClock.now());
    assert!(refused.is_empty());
    (
        Material {
            chain: keys.chain,
            key: keys.tls,
        },
        Arc::new(ArcSwap::from_pointee(trust)),
    )
}

/// Hands bytes to a node in another's name; the response's bytes, or the problem's kind.
pub(crate) async fn hand_in(rig: &Rig, from: u32, to: u32, bytes: &str) -> Result<Vec<u8>, String> {
    let (material, trust) = identity(rig, from);
    let clients = PeerClients::new(material, trust, Arc::new(SystemClock));
    let headers = [
        ("content-type", MEDIA_TYPE.to_owned()),
        ("sanku-budget-ms", "3000".to_owned()),
        ("sanku-attempt", "1".to_owned()),
    ];
    let sent = clients
        .send(
            to.try_into().unwrap(),
            http::Method::POST,
            "/v1/statements",
            &headers,
            Bytes::from(bytes.to_owned()),
        )
        .await;
    match sent {
        Ok(response) => {
            let parts: Vec<_> = response.body.collect().await;
            Ok(parts.into_iter().flat_map(|part| part.unwrap().to_vec()).collect())
        }
        Err(TransportError::Refused(problem)) => Err(problem.known().to_string()),
        Err(error) => panic!("{error}"),
    }
}

/// The question's run as it travelled: the first of its evidence.
pub(crate) fn question(rig: &Rig, id: &str) -> String {
    let file = rig.place.path().join(format!("evidence-{id}"));
    assert!(
        rig.node(
            421_002,
            &["evidence", "export", id, "--out", &file.display().to_string()]
        )
        .status
        .success()
    );
    let text = std::fs::read_to_string(file).unwrap();
    let from = text.find("\nC ").unwrap() + 1;
    let end = from + text[from..].find("\nP ").unwrap() + 1;
    let end = end + text[end..].find('\n').unwrap() + 1;
    text[from..end].to_owned()
}

/// Serves one response at 421003's own address, under its own certificate, whatever is asked.
async fn pretend(rig: &Rig, stop: &CancellationToken) -> Arc<Mutex<Vec<u8>>> {
    let said = Arc::new(Mutex::new(Vec::new()));
    let response = Arc::clone(&said);
    let answer = post(move || {
        let bytes = response.lock().unwrap().clone();
        async move { ([(http::header::CONTENT_TYPE, MEDIA_TYPE)], bytes) }
    });
    stand_in(rig, answer, stop).await;
    said
}

/// Stands in for 421003, at its own address and under its own certificate.
async fn stand_in(rig: &Rig, answer: MethodRouter, stop: &CancellationToken) {
    let (material, trust) = identity(rig, 421_003);
    let text = std::fs::read_to_string(rig.folder(421_003).join("node.toml")).unwrap();
    let address = text
        .lines()
        .find_map(|line| line.strip_prefix("peers = "))
        .unwrap()
        .trim_matches('"')
        .to_owned();
    let router = Router::new().route("/v1/statements", answer);
    let server = Server::new(421_003.try_into().unwrap(), &material, trust, Arc::new(SystemClock)).unwrap();
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    tokio::spawn(server.serve(listener, router, stop.clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_a_replay_discloses_nothing_anew_and_goes_no_other_way() {
    let mut rig = Rig::start();
    let (_, result) = rig.ask(&rig.case("case.json", |_| {}));
    let asked = question(&rig, result["query"].as_str().unwrap());
    let before = (rig.entries(421_003), rig.entries(420_000));
    // From the neighbour on the path: what was said before. The province's account differs in times alone.
    let stored = hand_in(&rig, 421_000, 421_003, &asked).await.unwrap();
    assert!(String::from_utf8(stored).unwrap().contains("\"kind\":\"answer\""));
    assert_eq!(
        (rig.entries(421_003), rig.entries(420_000)),
        before,
        "no second disclosure"
    );
    // From anybody else, or to a node that is not on the way.
    assert_eq!(
        hand_in(&rig, 421_003, 421_000, &asked).await.unwrap_err(),
        "not_on_path"
    );
    assert_eq!(
        hand_in(&rig, 420_000, 421_000, &asked).await.unwrap_err(),
        "not_on_path"
    );
    // Other bytes under the id are no statement of the asker.
    assert_eq!(
        hand_in(
            &rig,
            421_000,
            421_003,
            &asked.replacen("\"subjects\":1", "\"subjects\":2", 1)
        )
        .await
        .unwrap_err(),
        "bad_proof"
    );
    // All of it survives a restart.
    rig.kill(421_003);
    rig.serve(421_003);
    hand_in(&rig, 421_000, 421_003, &asked).await.unwrap();
    assert_eq!(rig.entries(421_003), before.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn f13_f14_f15_old_changed_and_another_nodes_answers_are_merged_by_nobody() {
    let mut rig = Rig::start();
    let (_, earlier) = rig.ask(&rig.case("earlier.json", |_| {}));
    rig.proxies[&421_003].set(Link::Cut, 0);
    let (_, result) = rig.ask(&rig.case("case.json", |_| {}));
    assert_ne!(outcome(&result, 421_003), "answered");
    rig.proxies[&421_003].set(Link::Good, u64::MAX);
    let id = result["query"].as_str().unwrap().to_owned();
    let good = hand_in(&rig, 421_000, 421_003, &question(&rig, &id)).await.unwrap();
    let old = hand_in(
        &rig,
        421_000,
        421_003,
        &question(&rig, earlier["query"].as_str().unwrap()),
    )
    .await
    .unwrap();
    let of_another = hand_in(&rig, 421_000, 420_000, &question(&rig, &id)).await.unwrap();
    rig.kill(421_003);
    let stop = CancellationToken::new();
    let said = pretend(&rig, &stop).await;
    let again = |bytes: Vec<u8>| {
        *said.lock().unwrap() = bytes;
        let document = json_of(&rig.node(421_002, &["query", "--again", &id, "--json"]));
        let facts = document["facts"].as_array().unwrap().len();
        (outcome(&document, 421_003), facts)
    };
    assert_eq!(
        again(old),
        ("bad_proof".to_owned(), 3),
        "F13: bound to another question"
    );
    let (ended, facts) = again(of_another);
    assert!(["bad_proof", "peer_error"].contains(&ended.as_str()), "F15: {ended}");
    assert_eq!(facts, 3);
    // The answers' run; a change in the account's own run behind it takes nothing from answers that hold.
    let text = String::from_utf8(good.clone()).unwrap();
    let end = text.find("\nP ").unwrap();
    let end = end + 1 + text[end + 1..].find('\n').unwrap();
    for place in (0..end).step_by(end / 12) {
        let mut changed = good.clone();
        changed[place] ^= 1;
        let (ended, facts) = again(changed);
        assert!(
            ["bad_proof", "peer_error", "omitted", "not_trusted"].contains(&ended.as_str()),
            "F14, byte {place}: {ended}"
        );
        assert_eq!(facts, 3, "F14, byte {place}");
    }
    // The same bytes unchanged are an answer: it was the change that was refused.
    assert_eq!(again(good), ("answered".to_owned(), 4));
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_another_version_of_statements_is_named_as_such_in_both_directions() {
    let mut rig = Rig::start();
    let (_, result) = rig.ask(&rig.case("case.json", |_| {}));
    let id = result["query"].as_str().unwrap().to_owned();
    let asked = question(&rig, &id);
    let good = hand_in(&rig, 421_000, 421_003, &asked).await.unwrap();
    // Whoever asks in another version is told so, and is no peer that misbehaves.
    for other in ["0", "2", "4294967297"] {
        let newer = asked.replacen(
            "{\"kind\":\"query\",\"v\":1,",
            &format!("{{\"kind\":\"query\",\"v\":{other},"),
            1,
        );
        assert_ne!(newer, asked);
        for _ in 0..10 {
            assert_eq!(hand_in(&rig, 421_000, 421_003, &newer).await.unwrap_err(), "version");
        }
    }
    let misbehaved = json_of(&rig.node(421_003, &["status", "--json"]))["misbehaved"].clone();
    assert!(misbehaved.as_array().is_none_or(Vec::is_empty), "{misbehaved}");
    // Whoever answers in another version is incompatible; nothing of it is merged, all others are.
    rig.kill(421_003);
    let stop = CancellationToken::new();
    let said = pretend(&rig, &stop).await;
    let newer = String::from_utf8(good.clone()).unwrap().replace("\"v\":1,", "\"v\":2,");
    *said.lock().unwrap() = newer.into_bytes();
    let (_, fresh) = rig.ask(&rig.case("fresh.json", |_| {}));
    assert_eq!(outcome(&fresh, 421_003), "incompatible");
    assert_eq!(outcome(&fresh, 420_000), "answered");
    assert_eq!(fresh["complete"], false);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_a_line_that_drips_a_byte_a_second_is_given_up_long_before_the_budget_and_fills_no_memory() {
    let mut rig = Rig::start();
    let memory = |rig: &Rig| {
        let status = json_of(&rig.node(421_000, &["status", "--json"]));
        status["process"]["memory_bytes"].as_u64().unwrap()
    };
    let patient = |rig: &Rig| rig.ask(&rig.case("patient.json", |case| case["budget_ms"] = 30_000.into()));
    assert_eq!(patient(&rig).0, 0);
    rig.kill(421_003);
    // Each byte is a frame of its own: there is always something to hear, and never a whole line.
    let drips = post(|| async {
        let drops = futures_util::stream::iter(b"E {".iter().copied().chain(std::iter::repeat(b' ')));
        let slowly = drops.then(|drop| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, std::convert::Infallible>(Bytes::copy_from_slice(&[drop]))
        });
        ([(http::header::CONTENT_TYPE, MEDIA_TYPE)], Body::from_stream(slowly))
    });
    let stop = CancellationToken::new();
    stand_in(&rig, drips, &stop).await;
    let before = memory(&rig);
    for _ in 0..3 {
        let began = Instant::now();
        let (code, result) = tokio::task::block_in_place(|| patient(&rig));
        let took = began.elapsed();
        assert_eq!((code, outcome(&result, 421_003).as_str()), (3, "late"), "{result:#}");
        assert_eq!(outcome(&result, 420_000), "answered");
        assert!(
            (Duration::from_secs(4)..Duration::from_secs(10)).contains(&took),
            "S-22: a line may take 5 s and then 1 KiB a second; it took {took:?}"
        );
    }
    let more = memory(&rig).saturating_sub(before);
    assert!(more < 16 << 20, "{more} bytes more");
    stop.cancel();
}
