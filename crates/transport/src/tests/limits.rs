//! What the peer port refuses of anybody, and how long it waits.

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::tls::provider;

/// Longer than any limit of time at the peer port; a connection that is open then was not closed.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// What comes until the other side closes.
pub(super) async fn until_closed(mut stream: impl tokio::io::AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut part = [0; 1024];
    let closed = tokio::time::timeout(LONG, async {
        while let Ok(read @ 1..) = stream.read(&mut part).await {
            bytes.extend_from_slice(&part[..read]);
        }
    });
    assert!(closed.await.is_ok(), "the connection stays open");
    bytes
}

fn without_certificate(world: &World) -> rustls::ClientConfig {
    let trust = Arc::new(ArcSwap::from_pointee(world.trust()));
    let strict = Strict::new(trust, Arc::new(FixedClock::at(start_of_time())), None);
    rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(strict)
        .with_no_client_auth()
}

#[tokio::test]
async fn who_shows_no_certificate_reaches_nothing() {
    let world = World::new();
    let city = world.serve(CITY).await;
    let mut stream = connect(without_certificate(&world), &city.address).await.unwrap();
    let _ = stream.write_all(b"GET /who HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(until_closed(stream).await, b"");
    assert_eq!(city.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn another_federations_certificate_reaches_nothing() {
    let (world, other) = (World::new(), World::new());
    let city = world.serve(CITY).await;
    let trust = Arc::new(ArcSwap::from_pointee(world.trust()));
    let strict = Strict::new(trust, Arc::new(FixedClock::at(start_of_time())), None);
    let config = client_config(&other.material(PROVINCE), strict).unwrap();
    let mut stream = connect(config, &city.address).await.unwrap();
    let _ = stream.write_all(b"GET /who HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(until_closed(stream).await, b"");
    assert_eq!(city.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn no_session_is_ever_resumed() {
    // C-03, F09
    let world = World::new();
    let city = world.serve(CITY).await;
    let strict = Strict::new(Arc::clone(&city.trust), Arc::new(FixedClock::at(start_of_time())), None);
    let mut config = client_config(&world.material(PROVINCE), strict).unwrap();
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    config.enable_early_data = true;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    for _ in 0..3 {
        let mut stream = connect(config.clone(), &city.address).await.unwrap();
        stream
            .write_all(b"GET /who HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        assert!(until_closed(&mut stream).await.starts_with(b"HTTP/1.1 200"));
        let connection = stream.get_ref().1;
        assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(connection.tls13_tickets_received(), 0);
        assert!(!connection.is_early_data_accepted());
    }
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let world = World::new();
    let city = world.serve(CITY).await;
    // A client hello that offers TLS 1.2 and nothing newer.
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 4, 0, 2, 4, 3],
    ]
    .concat();
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    hello.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    hello.extend(extensions);
    let length = u16::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 1];
    record.extend((length + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend(length.to_be_bytes());
    record.extend(hello);
    let mut socket = TcpStream::connect(&city.address).await.unwrap();
    socket.write_all(&record).await.unwrap();
    let answer = until_closed(socket).await;
    // A fatal alert, protocol_version.
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70]);
}

#[tokio::test]
async fn each_phase_has_its_time() {
    // S-22, F18
    let world = World::new();
    let city = world.serve(CITY).await;
    let silent = TcpStream::connect(&city.address).await.unwrap();
    let silent_behind_tls = world.dial(PROVINCE, &city).await;
    let mut header_never_ends = world.dial(PROVINCE, &city).await;
    header_never_ends.write_all(b"GET /who HTTP/1.1\r\nx: y").await.unwrap();
    let mut preface_never_ends = world.dial(PROVINCE, &city).await;
    preface_never_ends.write_all(b"PRI * HTTP/2").await.unwrap();
    let (a, b, _, d) = tokio::join!(
        until_closed(silent),
        until_closed(silent_behind_tls),
        until_closed(header_never_ends),
        until_closed(preface_never_ends),
    );
    assert!(a.is_empty() && b.is_empty() && d.is_empty());
    assert_eq!(city.asked.load(Ordering::SeqCst), 0);
    assert!(
        world.caller(PROVINCE).get(CITY, "/who").await.is_ok(),
        "others are served"
    );
}

#[tokio::test]
async fn a_peer_has_at_most_32_connections() {
    let world = World::new();
    let city = world.serve(CITY).await;
    world.add(DISTRICT, "127.0.0.1:1".to_owned());
    city.trust.store(Arc::new(world.trust()));
    let mut held = Vec::new();
    for _ in 0..32 {
        let mut stream = world.dial(DISTRICT, &city).await;
        stream
            .write_all(b"GET /drip HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        held.push(stream);
    }
    let mut one_more = world.dial(DISTRICT, &city).await;
    let _ = one_more.write_all(b"GET /who HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(until_closed(one_more).await, b"");
    assert!(
        world.caller(PROVINCE).get(CITY, "/who").await.is_ok(),
        "another peer is served"
    );
    drop(held);
    let district = world.caller(DISTRICT);
    let again = tokio::time::timeout(LONG, async {
        while district.get(CITY, "/who").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(again.await.is_ok(), "closed connections are counted no more");
}

#[tokio::test]
async fn headers_beyond_16_kib_are_refused_and_others_go_on() {
    let world = World::new();
    let city = world.serve(CITY).await;
    let province = world.caller(PROVINCE);
    let long = [("x-long", "x".repeat(40 << 10))];
    let refused = province
        .clients
        .send(code(CITY), http::Method::GET, "/who", &long, Bytes::new())
        .await;
    assert!(refused.is_err());
    assert_eq!(city.asked.load(Ordering::SeqCst), 0);
    assert!(province.get(CITY, "/who").await.is_ok());
    let mut stream = world.dial(PROVINCE, &city).await;
    let head = format!("GET /who HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(40 << 10));
    let _ = stream.write_all(head.as_bytes()).await;
    assert!(!until_closed(stream).await.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn nobody_is_led_elsewhere() {
    // S-23
    let world = World::new();
    let city = world.serve(CITY).await;
    let away = world.caller(PROVINCE).get(CITY, "/away").await.unwrap_err();
    assert!(away.to_string().contains("307"), "{away}");
    assert_eq!(city.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_runs_is_finished_before_the_server_ends() {
    let world = World::new();
    let city = world.serve(CITY).await;
    let province = Arc::new(world.caller(PROVINCE));
    let running = tokio::spawn({
        let province = Arc::clone(&province);
        async move { province.get(CITY, "/slow").await }
    });
    while city.asked.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    city.stop.cancel();
    assert_eq!(running.await.unwrap().unwrap(), "done");
    assert!(tokio::time::timeout(LONG, city.task).await.is_ok());
    assert!(province.get(CITY, "/who").await.is_err());
}

#[tokio::test]
async fn f44_a_panic_ends_one_request_and_tells_its_trace_alone() {
    let world = World::new();
    let province = world.serve(CITY).await;
    world.add(DISTRICT, "127.0.0.1:1".to_owned());
    province.trust.store(Arc::new(world.trust()));
    let caller = world.caller(DISTRICT);
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned();
    let headers = [("traceparent", traceparent)];
    let (to, get) = (code(CITY), http::Method::GET);
    let ended = caller.clients.send(to, get, "/panic", &headers, Bytes::new()).await;
    let Err(TransportError::Refused(problem)) = ended else {
        panic!("a panic is a problem")
    };
    assert_eq!((problem.status, problem.node), (500, Some(to)));
    assert_eq!(problem.trace.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert!(!serde_json::to_string(&problem).unwrap().contains("1101051949"));
    assert!(caller.get(CITY, "/who").await.unwrap().starts_with(DISTRICT));
}

#[tokio::test]
async fn f17_a_peer_that_asks_too_much_is_told_so_and_others_are_not() {
    let world = World::new();
    let three = std::num::NonZeroU32::new(3).unwrap();
    let city = world
        .serve_as(CITY, |server| server.with_budget(std::num::NonZeroU32::MIN, three))
        .await;
    world.add(DISTRICT, "127.0.0.1:1".to_owned());
    city.trust.store(Arc::new(world.trust()));
    let (province, district) = (world.caller(PROVINCE), world.caller(DISTRICT));
    let mut refused = 0;
    for _ in 0..20 {
        match province
            .clients
            .send(code(CITY), http::Method::GET, "/who", &[], Bytes::new())
            .await
        {
            Ok(_) => {}
            Err(TransportError::Refused(problem)) => {
                assert_eq!((problem.status, problem.known()), (429, ProblemKind::TooMany));
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        refused >= 10,
        "three at once and one a second pass, {refused} were refused"
    );
    let other = district
        .clients
        .send(code(CITY), http::Method::GET, "/who", &[], Bytes::new());
    assert!(other.await.is_ok(), "another peer has a budget of its own");
}
