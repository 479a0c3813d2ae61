//! F18: whoever is slow, silent or floods with frames, against a real node: each phase ends by itself, and honest peers are
//! answered meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::attacker::{TYPE, Tls, address, dial, heap_up, nothing_yet};
use crate::hostile_peers::{misbehaved, status};
use crate::rig::{CODES, Rig, outcome};

/// Longer than any limit of time of the peer port.
const LONG: Duration = Duration::from_secs(60);

/// A federation that logs as it usually does: at level trace each frame of a flood is a line.
fn usual() -> Rig {
    let mut rig = Rig::found();
    for code in CODES {
        rig.configure(code, "level = \"trace\"", "level = \"info\"");
        rig.fill(code);
        rig.serve(code);
    }
    rig
}

/// How long a connection stays open of which a byte is sent each 200 ms, and what came back first.
fn drip(mut stream: Tls, head: &str) -> (Duration, Vec<u8>) {
    let began = Instant::now();
    let _ = stream.write_all(head.as_bytes());
    stream.sock.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut answer = vec![0; 1024];
    while began.elapsed() < LONG {
        let sent = stream.write_all(b"x").and_then(|()| stream.flush());
        match stream.read(&mut answer) {
            Ok(read) => {
                answer.truncate(read);
                return (began.elapsed(), answer);
            }
            Err(error) if nothing_yet(&error) && sent.is_ok() => {}
            Err(_) => return (began.elapsed(), Vec::new()),
        }
    }
    panic!("it goes on for ever")
}

/// How long a connection stays open on which nothing more is sent.
fn silence(mut stream: impl Read) -> Duration {
    let began = Instant::now();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            // An alert, or a first frame, may come before the end.
            Ok(1..) => {}
            Err(error) if nothing_yet(&error) => panic!("it stays open"),
            Ok(0) | Err(_) => return began.elapsed(),
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const RESET: u8 = 3;

/// The header frame of a GET that ends its stream.
fn get(stream: u32, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap();
    let fields = [&[0x82, 0x87, 0x04, length][..], path.as_bytes(), &[0x01, 1, b'x']].concat();
    frame(1, 5, stream, &fields)
}

/// How long a reader is heard that holds its window shut and answers every ping; its stream must be reset.
fn takes_nothing(rig: &Rig) -> Duration {
    let mut stream = dial(rig, 421_003, 421_000, b"h2");
    stream.sock.set_read_timeout(Some(LONG)).unwrap();
    let shut = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let head = [PREFACE, &shut, &get(1, "/v1/status")].concat();
    stream.write_all(&head).unwrap();
    let began = Instant::now();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).expect("its stream is reset");
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).unwrap();
        match (head[3], head[4]) {
            (RESET, _) => {
                assert_eq!((head[8], payload.as_slice()), (1, &[0, 0, 0, 8][..]), "cancelled");
                return began.elapsed();
            }
            (PING, 0) => stream.write_all(&frame(PING, 1, 0, &payload)).unwrap(),
            (SETTINGS, 0) => stream.write_all(&frame(SETTINGS, 1, 0, &[])).unwrap(),
            (0, _) => assert!(payload.is_empty(), "its window is shut"),
            _ => {}
        }
    }
}

#[test]
fn f18_each_phase_of_a_connection_has_its_time() {
    let rig = usual();
    let to = address(&rig, 421_000);
    let tcp = || {
        let stream = TcpStream::connect(&to).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    };
    let body = format!(
        "POST /v1/statements HTTP/1.1\r\nhost: x\r\n{}content-length: 100000\r\n\r\n",
        TYPE.replace("3000", "60000")
    );
    std::thread::scope(|scope| {
        let nothing = scope.spawn(|| silence(tcp()));
        let half_a_hello = scope.spawn(|| {
            let mut stream = tcp();
            stream.write_all(&[22, 3, 1, 2, 0, 1, 0]).unwrap();
            silence(stream)
        });
        let no_request = [&b"http/1.1"[..], b"h2"].map(|protocol| {
            let mut stream = dial(&rig, 421_003, 421_000, protocol);
            // The handshake ends with what the client writes.
            stream.flush().unwrap();
            stream.sock.set_read_timeout(Some(LONG)).unwrap();
            scope.spawn(|| silence(stream))
        });
        let header = dial(&rig, 421_003, 421_000, b"http/1.1");
        let header = scope.spawn(|| drip(header, "POST /v1/statements HTTP/1.1\r\nhost: x\r\nx: "));
        let dripping = dial(&rig, 421_003, 421_000, b"http/1.1");
        let body = scope.spawn(|| drip(dripping, &body));
        let note = dial(&rig, 421_003, 421_000, b"http/1.1");
        let note = scope.spawn(|| {
            drip(
                note,
                "POST /v1/notes HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n",
            )
        });
        let reader = scope.spawn(|| takes_nothing(&rig));
        let most = Duration::from_secs(30);
        let mut ended = vec![nothing.join().unwrap(), half_a_hello.join().unwrap()];
        ended.extend(no_request.map(|ended| ended.join().unwrap()));
        let (took, _) = header.join().unwrap();
        ended.push(took);
        for dripped in [body, note] {
            let (took, answer) = dripped.join().unwrap();
            assert!(took > Duration::from_secs(4), "it had its time");
            assert!(answer.starts_with(b"HTTP/1.1 400"), "a drip is told why");
            ended.push(took);
        }
        let took = reader.join().unwrap();
        assert!(took > Duration::from_secs(8), "a reader has its time: {took:?}");
        ended.push(took);
        println!(
            "F18: nothing, half a hello, no request, no preface, header, body, a note's body, reader: {ended:.1?}"
        );
        assert!(ended.iter().all(|took| *took < most), "{ended:?}");
    });
    assert!(
        misbehaved(&rig, 421_000, 421_003).is_null(),
        "a line that is slow is nobody's fault"
    );
}

/// Puts the case to the asker's node and gives how long the whole result took; every target must have answered.
fn honest(rig: &Rig, case: &str) -> Duration {
    let began = Instant::now();
    let mut stream = UnixStream::connect(rig.folder(421_002).join("run/node.sock")).unwrap();
    let length = case.len();
    write!(
        stream,
        "POST /query HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{case}"
    )
    .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let took = began.elapsed();
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let result = lines.find(|line| line["event"] == "result").expect("a result");
    for code in CODES {
        assert_eq!(outcome(&result["result"], code), "answered", "{result:#}");
    }
    took
}

/// The time that 99 of a hundred do not exceed.
fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[(times.len() * 99).div_ceil(100) - 1]
}

/// Attackers that go on until they are dropped.
struct Attack<'scope> {
    stop: &'scope AtomicBool,
}

impl Drop for Attack<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// A connection after another that sends these frames again and again, each 20 ms: bounded, since this machine is the
/// node's too. Gives how many connections it needed.
fn flood(rig: &Rig, frames: &[u8], stop: &AtomicBool, sent: &AtomicU64) {
    while !stop.load(Ordering::SeqCst) {
        let mut stream = dial(rig, 421_003, 421_000, b"h2");
        stream.sock.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        stream.sock.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut going = stream
            .write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
            .is_ok();
        let mut answers = vec![0; 64 << 10];
        while going && !stop.load(Ordering::SeqCst) {
            going = stream.write_all(frames).is_ok();
            sent.fetch_add(1, Ordering::SeqCst);
            // It reads what comes back: who does not is stopped by the socket.
            match stream.read(&mut answers) {
                Ok(0) => going = false,
                Ok(_) => {}
                Err(error) => going &= nothing_yet(&error),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn f18_floods_and_stalls_do_not_keep_honest_peers_from_being_answered() {
    let rig = usual();
    let case = std::fs::read_to_string(rig.case("case.json", |case| case["budget_ms"] = 10_000.into())).unwrap();
    let ask = |times: usize| (0..times).map(|_| honest(&rig, &case)).collect::<Vec<_>>();
    ask(20);
    let opened = |number: u32| {
        let stream = number * 2 + 1;
        [get(stream, "/"), frame(RESET, 0, stream, &[0, 0, 0, 8])].concat()
    };
    let floods: [(&str, Vec<u8>); 3] = [
        ("settings", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(200)),
        ("pings", frame(PING, 0, 0, &[7; 8]).repeat(200)),
        ("resets", (0..200).flat_map(opened).collect()),
    ];
    let pid = status(&rig, 421_000)["process"]["pid"].clone();
    let memory = || status(&rig, 421_000)["process"]["memory_bytes"].as_u64().unwrap();
    let before = memory();
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let (rig_ref, case_ref) = (&rig, &case);
    let (mut calm, mut under) = (Vec::new(), Vec::new());
    for round in 0..2 {
        stop.store(false, Ordering::SeqCst);
        calm.extend(ask(60));
        std::thread::scope(|scope| {
            let _attack = Attack { stop: &stop };
            for (_, frames) in &floods {
                scope.spawn(|| flood(rig_ref, frames, &stop, &sent));
            }
            // Strangers, from another address: connections and nothing more, and half of a handshake.
            let silent = strangers(&address(rig_ref, 421_000), 100);
            let mut header = dial(rig_ref, 421_003, 421_000, b"http/1.1");
            header.write_all(b"GET /v1/notes HTTP/1.1\r\nx: ").unwrap();
            std::thread::sleep(Duration::from_millis(200));
            under.extend((0..60).map(|_| honest(rig_ref, case_ref)));
            drop((silent, header));
        });
        println!("F18: round {round} done");
    }
    let grown = memory().saturating_sub(before);
    let (calm, under) = (p99(&mut calm), p99(&mut under));
    println!(
        "F18: the p99 of 120 honest questions is {under:.0?} under {} floods of 200 frames and 101 stalled connections, {calm:.0?} when it is calm: {:.2} times; {} KiB more memory",
        sent.load(Ordering::SeqCst),
        under.as_secs_f64() / calm.as_secs_f64(),
        grown >> 10
    );
    assert!(sent.load(Ordering::SeqCst) > 100, "it was attacked");
    assert!(under < calm * 10 + Duration::from_secs(2), "honest peers starve");
    assert!(grown < 50 << 20, "{grown} bytes more");
    assert_eq!(status(&rig, 421_000)["process"]["pid"], pid, "it lives");
}

/// Connections without a certificate from an address of their own: half of a handshake, and no more.
fn strangers(to: &str, how_many: usize) -> Vec<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let connect = || {
        let connected = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind("127.0.0.2:0".parse().unwrap())?;
            socket.connect(to.parse().unwrap()).await
        });
        let stream = connected.unwrap().into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        let _ = (&stream).write_all(&[22, 3, 1, 2, 0]);
        stream
    };
    (0..how_many).map(|_| connect()).collect()
}

#[test]
fn s22_what_one_peer_has_in_hand_is_bounded_and_others_are_served() {
    let rig = usual();
    let memory = || status(&rig, 421_000)["process"]["memory_bytes"].as_u64().unwrap();
    let before = memory();
    let (held, refused) = heap_up(&rig, 10);
    let grown = memory().saturating_sub(before);
    println!(
        "S-22: {} of ten requests of 8 MiB in hand, {refused} refused, {} KiB more memory",
        held.len(),
        grown >> 10
    );
    assert!(refused >= 4, "{refused}");
    assert!(grown < 64 << 20, "{grown} bytes more");
    let case = std::fs::read_to_string(rig.case("case.json", |case| case["budget_ms"] = 10_000.into())).unwrap();
    honest(&rig, &case);
    drop(held);
}
