//! What one peer can make a node hold, however it sends and reads; what it costs to say what no good node says.

use std::num::NonZeroU32;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::limits::{LONG, until_closed};
use super::*;

/// Begins a request over HTTP/1.1 whose body has so many bytes, of which so many are sent.
async fn begin(world: &World, from: &str, to: &Node, announced: usize, sent: usize) -> TlsStream<TcpStream> {
    let mut stream = world.dial(from, to).await;
    let head = format!("POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: {announced}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; sent]).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

/// The status line's number.
async fn status(stream: &mut TlsStream<TcpStream>) -> String {
    let mut line = [0; 12];
    let read = tokio::time::timeout(LONG, stream.read_exact(&mut line)).await;
    read.expect("a response comes").unwrap();
    String::from_utf8(line[9..].to_vec()).unwrap()
}

/// Posts `x` so many times as a node does, and gives how it ended.
async fn post(world: &World, from: &str, bytes: usize) -> String {
    let body = Bytes::from(vec![b'x'; bytes]);
    match world.caller(from).send(CITY, http::Method::POST, "/read", body).await {
        Ok(text) => text,
        ended => problem(ended),
    }
}

/// A node that holds little in hand, with two peers.
async fn with_hands(of_a_peer: usize, of_all: usize) -> (World, Node) {
    let world = World::new();
    let city = world
        .serve_as(CITY, |server| server.with_hands(of_a_peer, of_all))
        .await;
    world.add(DISTRICT, "127.0.0.1:1".to_owned());
    city.trust.store(Arc::new(world.trust()));
    (world, city)
}

#[tokio::test]
async fn s22_what_one_peer_has_in_hand_over_all_its_connections_is_bounded() {
    let (world, city) = with_hands(100 << 10, 1 << 20).await;
    let held = [
        begin(&world, DISTRICT, &city, 60 << 10, 40 << 10).await,
        begin(&world, DISTRICT, &city, 60 << 10, 40 << 10).await,
    ];
    let mut third = begin(&world, DISTRICT, &city, 40 << 10, 40 << 10).await;
    assert_eq!(status(&mut third).await, "503");
    let said = until_closed_or(&mut third, b"come again").await;
    assert!(said.contains("retry-after") && said.contains("this peer"), "{said}");
    assert_eq!(
        post(&world, PROVINCE, 40 << 10).await,
        "40960",
        "another peer is served"
    );
    assert_eq!(
        post(&world, DISTRICT, 4 << 10).await,
        "4096",
        "what still fits is served"
    );
    drop(held);
    let again = tokio::time::timeout(LONG, async {
        while post(&world, DISTRICT, 90 << 10).await != "92160" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(again.await.is_ok(), "what ended is in hand no more");
}

#[tokio::test]
async fn s22_what_all_peers_have_in_hand_is_bounded() {
    let (world, city) = with_hands(100 << 10, 150 << 10).await;
    let _held = [
        begin(&world, DISTRICT, &city, 90 << 10, 80 << 10).await,
        begin(&world, PROVINCE, &city, 90 << 10, 60 << 10).await,
    ];
    let mut third = begin(&world, PROVINCE, &city, 30 << 10, 30 << 10).await;
    assert_eq!(status(&mut third).await, "503");
    assert!(
        until_closed_or(&mut third, b"come again")
            .await
            .contains("all requests")
    );
    assert_eq!(post(&world, DISTRICT, 2 << 10).await, "2048");
}

#[tokio::test]
async fn s22_what_a_request_brought_is_in_hand_until_its_response_is_read() {
    let world = World::new();
    let city = world
        .serve_as(CITY, |server| server.with_hands(100 << 10, 1 << 20))
        .await;
    let (mut client, driver) = over_http_2(&world, &city, 1 << 20).await;
    let request = http::Request::post("https://x/hold").body(()).unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    body.send_data(Bytes::from(vec![b'x'; 60 << 10]), true).unwrap();
    let mut response = response.await.unwrap();
    assert!(response.body_mut().data().await.unwrap().is_ok(), "it has begun");
    assert_eq!(post(&world, PROVINCE, 60 << 10).await, "unavailable");
    drop(response);
    let again = tokio::time::timeout(LONG, async {
        while post(&world, PROVINCE, 60 << 10).await != "61440" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(again.await.is_ok());
    driver.abort();
}

/// What comes until these words did.
async fn until_closed_or(stream: &mut TlsStream<TcpStream>, words: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let came = tokio::time::timeout(LONG, async {
        while !bytes.windows(words.len()).any(|window| window == words) {
            match stream.read(&mut part).await {
                Ok(read @ 1..) => bytes.extend_from_slice(&part[..read]),
                _ => break,
            }
        }
    });
    assert!(came.await.is_ok(), "it does not end");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn s22_a_body_that_drips_is_broken_off_and_one_that_flows_is_read() {
    let world = World::new();
    let city = world.serve(CITY).await;
    let mut dripping = begin(&world, PROVINCE, &city, 100 << 10, 1).await;
    let mut flowing = begin(&world, PROVINCE, &city, 20 << 10, 0).await;
    let began = tokio::time::Instant::now();
    let drip = async {
        let (mut reading, mut writing) = tokio::io::split(&mut dripping);
        let mut line = [0; 12];
        let drops = async {
            loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                if writing.write_all(b"x").await.is_err() || writing.flush().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            read = tokio::time::timeout(LONG, reading.read_exact(&mut line)) => { read.expect("it goes on for ever").unwrap(); }
            () = drops => {}
        }
        (String::from_utf8(line[9..].to_vec()).unwrap(), began.elapsed())
    };
    let flow = async {
        // 2 KiB a second: slow, and fast enough.
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            flowing.write_all(&[b'x'; 2 << 10]).await.unwrap();
            flowing.flush().await.unwrap();
        }
        status(&mut flowing).await
    };
    let ((dripped, took), flowed) = tokio::join!(drip, flow);
    assert_eq!(dripped, ProblemKind::Budget.status().to_string());
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(30),
        "{took:?}"
    );
    assert_eq!(flowed, "200");
}

#[tokio::test]
async fn f17_after_a_413_the_connection_is_closed() {
    let world = World::new();
    let city = world.serve(CITY).await;
    // Announced, and said at once; then one that only turns out to be too long.
    let announced = begin(&world, PROVINCE, &city, 99_000_000, 0).await;
    assert!(until_closed(announced).await.starts_with(b"HTTP/1.1 413"));
    let mut grows = world.dial(PROVINCE, &city).await;
    let head = b"POST /read HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    grows.write_all(head).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 64 << 10, "x".repeat(64 << 10));
    for _ in 0..3 {
        // It may be closed before everything is written.
        let _ = grows.write_all(chunk.as_bytes()).await;
    }
    let _ = grows.flush().await;
    assert!(until_closed(grows).await.starts_with(b"HTTP/1.1 413"));
    let (mut client, driver) = over_http_2(&world, &city, 1 << 20).await;
    let request = http::Request::post("https://x/read").body(()).unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    body.send_data(Bytes::from(vec![b'x'; 200 << 10]), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 413);
    assert!(tokio::time::timeout(LONG, driver).await.is_ok(), "it stays open");
    assert_eq!(post(&world, PROVINCE, 1).await, "1", "a new connection is served");
}

/// A bare HTTP/2 connection whose reader allows so many bytes at once.
async fn over_http_2(
    world: &World,
    to: &Node,
    window: u32,
) -> (h2::client::SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = world.dial_with(PROVINCE, to, b"h2").await;
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(window)
        .initial_connection_window_size(1 << 20);
    let (client, connection) = builder.handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    (client.ready().await.unwrap(), driver)
}

#[tokio::test]
async fn s22_a_reader_that_takes_nothing_is_cut_off_and_the_others_of_its_connection_go_on() {
    let world = World::new();
    let city = world.serve(CITY).await;
    // Its windows are shut for a stream, and it answers every ping.
    let (mut client, driver) = over_http_2(&world, &city, 0).await;
    let ask = |client: &mut h2::client::SendRequest<Bytes>, path: &str| {
        let request = http::Request::get(format!("https://x{path}")).body(()).unwrap();
        client.send_request(request, true).unwrap().0
    };
    let mut silent = Vec::new();
    for path in ["/who", "/large", "/drip"] {
        silent.push(ask(&mut client, path).await.unwrap().into_body());
    }
    let began = tokio::time::Instant::now();
    for body in &mut silent {
        let end = tokio::time::timeout(LONG, body.data()).await;
        let error = end.expect("it is not cut off").unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    }
    assert!(began.elapsed() > Duration::from_secs(8), "it had its time");
    // What needs no window is served over the same connection.
    assert_eq!(ask(&mut client, "/away").await.unwrap().status(), 307);
    driver.abort();
    // And one that reads slowly is not cut off.
    let (mut client, driver) = over_http_2(&world, &city, 16 << 10).await;
    let mut slow = ask(&mut client, "/large").await.unwrap().into_body();
    let until = tokio::time::Instant::now() + Duration::from_secs(13);
    while tokio::time::Instant::now() < until {
        let part = slow.data().await.expect("it goes on").expect("it is not cut off");
        tokio::time::sleep(Duration::from_secs(3)).await;
        slow.flow_control().release_capacity(part.len()).unwrap();
    }
    driver.abort();
}

#[tokio::test]
async fn s22_a_reader_that_takes_nothing_of_its_socket_is_cut_off() {
    let world = World::new();
    let city = world.serve(CITY).await;
    let mut silent = world.dial(PROVINCE, &city).await;
    silent
        .write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(15)).await;
    let came = until_closed(silent).await;
    assert!(came.starts_with(b"HTTP/1.1 200"));
    assert!(came.len() < 64 << 20, "it was cut off");
}

/// How many requests of one peer pass after so many that no good node makes.
async fn passes_after(faults: usize, a_second: u32, at_once: u32) -> usize {
    let world = World::new();
    let [a_second, at_once] = [a_second, at_once].map(|many| NonZeroU32::new(many).unwrap());
    let _city = world
        .serve_as(CITY, |server| server.with_budget(a_second, at_once))
        .await;
    let province = world.caller(PROVINCE);
    let send = |body: &'static [u8]| province.send(CITY, http::Method::POST, "/read", Bytes::from_static(body));
    for _ in 0..faults {
        assert!(["malformed", "too_many"].contains(&problem(send(b"y").await).as_str()));
    }
    let mut passed = 0;
    for _ in 0..at_once.get() {
        match send(b"x").await {
            Ok(_) => passed += 1,
            refused => assert_eq!(problem(refused), "too_many"),
        }
    }
    passed
}

#[tokio::test]
async fn f17_what_no_good_node_says_costs_as_much_as_fifty_requests() {
    // A hundred at once, one a second more: 50 are left, and what came back while it ran.
    let passed = passes_after(1, 1, 100).await;
    assert!((50..=60).contains(&passed), "{passed}");
    let passed = passes_after(0, 1, 100).await;
    assert_eq!(passed, 100);
}

#[tokio::test]
async fn f17_a_fault_that_a_budget_cannot_pay_is_owed_and_paid_first() {
    // Sixty at once: the second fault finds ten of the fifty, and the forty are owed.
    let began = tokio::time::Instant::now();
    let passed = passes_after(2, 10, 60).await;
    let came_back = usize::try_from(began.elapsed().as_secs()).unwrap() * 10 + 10;
    assert!(
        passed <= came_back.saturating_sub(30),
        "{passed} passed, {came_back} came back"
    );
}
