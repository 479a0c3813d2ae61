//! Peers with good certificates, and strangers with none, that try to hurt a node: too much, or in no known form.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use serde_json::Value;

use crate::attacker::{TYPE, address, dial};
use crate::byzantine::{hand_in, question};
use crate::operations::{get, watch};
use crate::rig::{Rig, json_of, outcome};

/// Sends a request over HTTP/1.1 and gives the status, or nothing where the connection was closed instead.
fn status_of(rig: &Rig, headers: &str, body: &[u8]) -> Option<u16> {
    let mut stream = dial(rig, 421_003, 421_000, b"http/1.1");
    let head = format!("POST /v1/statements HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    // The node may close before everything is written.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let mut answer = [0; 12];
    let mut read = 0;
    while read < answer.len() {
        match stream.read(&mut answer[read..]) {
            Ok(more @ 1..) => read += more,
            _ => return None,
        }
    }
    std::str::from_utf8(&answer[9..]).ok()?.parse().ok()
}

pub(crate) fn status(rig: &Rig, code: u32) -> Value {
    json_of(&rig.node(code, &["status", "--json"]))
}

pub(crate) fn misbehaved(rig: &Rig, at: u32, who: u32) -> Value {
    let status = status(rig, at);
    let peers = status["misbehaved"].as_array().unwrap();
    let who = who.to_string();
    let found = peers.iter().find(|peer| peer["node"] == who.as_str());
    found.cloned().unwrap_or(Value::Null)
}

fn honest(rig: &Rig, name: &str) {
    let (code, result) = rig.ask(&rig.case(name, |_| {}));
    assert_eq!(
        (code, outcome(&result, 421_000).as_str()),
        (0, "answered"),
        "{result:#}"
    );
}

#[test]
fn f17_too_much_is_refused_early_in_bounded_memory_and_charged() {
    let rig = Rig::start();
    let (_, result) = rig.ask(&rig.case("first.json", |_| {}));
    let run = question(&rig, result["query"].as_str().unwrap());
    let memory = || status(&rig, 421_000)["process"]["memory_bytes"].as_u64().unwrap();
    let before = memory();
    let sized = |body: &[u8]| format!("{TYPE}content-length: {}\r\n", body.len());
    let pair: String = run.split_inclusive('\n').skip(1).take(2).collect();
    let many = format!("{}{}", run.split_inclusive('\n').next().unwrap(), pair.repeat(300));
    let deep = format!("C x\nE {{\"v\":{}1{}}}\n", "[".repeat(30_000), "]".repeat(30_000));
    let chunk = format!("{:x}\r\n{}\r\n", 64 << 10, "x".repeat(64 << 10));
    let headers: String = (0..10_000).map(|number| format!("x-{number}: y\r\n")).collect();
    for round in 0..3 {
        // Announced, and nothing of it sent: the answer does not wait for it.
        let announced = Instant::now();
        let answer = status_of(&rig, &format!("{TYPE}content-length: 99000000\r\n"), b"");
        assert_eq!(answer, Some(413), "{round}");
        assert!(announced.elapsed() < Duration::from_secs(2));
        let endless = status_of(
            &rig,
            &format!("{TYPE}transfer-encoding: chunked\r\n"),
            chunk.repeat(200).as_bytes(),
        );
        assert!([Some(413), None].contains(&endless), "{endless:?}");
        let refused = [many.as_bytes(), deep.as_bytes(), b"\0\xff\n"].map(|body| status_of(&rig, &sized(body), body));
        for answer in refused {
            assert!([Some(400), Some(413)].contains(&answer), "{answer:?}");
        }
        let zipped = format!("{}content-encoding: gzip\r\n", sized(b"x"));
        assert_eq!(status_of(&rig, &zipped, b"x"), Some(415));
        let answer = status_of(&rig, &headers, b"");
        assert!([Some(431), Some(400), None].contains(&answer), "{answer:?}");
    }
    let grown = memory().saturating_sub(before);
    assert!(grown < 50 << 20, "{grown} bytes more");
    println!("F17: {} KiB more resident memory", grown >> 10);
    assert!(misbehaved(&rig, 421_000, 421_003)["faults"].as_u64().unwrap() >= 15);
    honest(&rig, "honest.json");
}

#[test]
fn f19_malformed_tls_never_stops_a_node() {
    let rig = Rig::start();
    let pid = status(&rig, 421_000)["process"]["pid"].clone();
    let to = address(&rig, 421_000);
    // The beginning of a good handshake, to be spoilt.
    let hello = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        drop(listener);
        let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from("x.example").unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    };
    let mut random = fastrand::Rng::with_seed(19);
    for round in 0..400_usize {
        let mut bytes = hello.clone();
        match round % 4 {
            0 => bytes = (0..random.usize(1..2000)).map(|_| random.u8(..)).collect(),
            1 => bytes.truncate(random.usize(1..hello.len())),
            2 => (0..random.usize(1..9)).for_each(|_| bytes[random.usize(..hello.len())] = random.u8(..)),
            _ => {
                bytes = [22, 3, 1, 0xff, 0xff]
                    .into_iter()
                    .chain(hello.iter().copied().cycle().take(20_000))
                    .collect()
            }
        }
        let mut stream = TcpStream::connect(&to).unwrap();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(
            !ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
            "{round} stays open"
        );
    }
    assert_eq!(status(&rig, 421_000)["process"]["pid"], pid);
    honest(&rig, "after.json");
    let log = std::fs::read_to_string(rig.folder(421_000).join("node.log")).unwrap();
    assert!(!log.contains("panic"), "no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn f45_random_and_mutated_words_of_a_trusted_peer_are_refused_by_type_and_flag_it() {
    let mut rig = Rig::start();
    let port = watch(&rig, 421_000);
    rig.kill(421_000);
    rig.serve(421_000);
    let (_, result) = rig.ask(&rig.case("first.json", |_| {}));
    let run = question(&rig, result["query"].as_str().unwrap());
    let pid = status(&rig, 421_000)["process"]["pid"].clone();
    let size = rig.entries(421_000);
    let mut random = fastrand::Rng::with_seed(45);
    let known = [
        "malformed",
        "bad_proof",
        "conflict",
        "not_on_path",
        "too_large",
        "too_many",
        "clock",
        "not_member",
        "unavailable",
    ];
    let mut kinds = std::collections::BTreeMap::new();
    for _ in 0..40 {
        let mut bytes = run.clone().into_bytes();
        let place = random.usize(..bytes.len() - 1);
        bytes[place] = b"0aZ {\"\n"[random.usize(..7)];
        if bytes == run.as_bytes() {
            continue;
        }
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let refused = hand_in(&rig, 421_002, 421_000, &text).await.map(drop).unwrap_err();
        assert!(known.contains(&refused.as_str()), "{refused} at {place}");
        *kinds.entry(refused).or_insert(0) += 1;
    }
    println!("F45: {kinds:?}");
    // Random bytes beneath HTTP.
    for _ in 0..30 {
        let mut stream = dial(&rig, 421_003, 421_000, b"http/1.1");
        let bytes: Vec<u8> = (0..random.usize(20..3000)).map(|_| random.u8(..)).collect();
        let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
        stream.sock.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(status(&rig, 421_000)["process"]["pid"], pid, "it lives");
    let flagged = misbehaved(&rig, 421_000, 421_002);
    assert!(flagged["flagged_since"].is_string(), "{flagged}");
    let (_, metrics) = get(&port, "/metrics");
    assert!(metrics.contains(r#"sanku_peer_flagged{peer="421002"} 1"#), "{metrics}");
    assert!(metrics.contains("sanku_peer_faults_total{peer=\"421002\",what="));
    assert_eq!(rig.entries(421_000), size, "nothing was said about it");
    // Its budget fills again, and what it says well is answered.
    tokio::time::sleep(Duration::from_secs(3)).await;
    honest(&rig, "after.json");
}
