//! Connections whose other end vanished without a word.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A relay of connections that can swallow all there are, without closing them.
struct Relay {
    made: Arc<AtomicUsize>,
    swallowed: Arc<AtomicUsize>,
}

impl Relay {
    fn start(outside: TcpListener, to: String) -> Self {
        let (made, swallowed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let relay = Self {
            made: Arc::clone(&made),
            swallowed: Arc::clone(&swallowed),
        };
        tokio::spawn(async move {
            while let Ok((near, _)) = outside.accept().await {
                let number = made.fetch_add(1, Ordering::SeqCst);
                let (near, far) = (near.into_split(), TcpStream::connect(&to).await.unwrap().into_split());
                for (mut from, mut to) in [(near.0, far.1), (far.0, near.1)] {
                    let swallowed = Arc::clone(&swallowed);
                    tokio::spawn(async move {
                        let mut bytes = [0; 4096];
                        while let Ok(read @ 1..) = from.read(&mut bytes).await {
                            if swallowed.load(Ordering::SeqCst) <= number && to.write_all(&bytes[..read]).await.is_err()
                            {
                                return;
                            }
                        }
                    });
                }
            }
        });
        relay
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// Every connection so far is dead from now on.
    fn swallow(&self) {
        self.swallowed.store(self.made(), Ordering::SeqCst);
    }
}

async fn behind_a_relay(world: &World) -> (Node, Relay) {
    let (outside, inside) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    world.add(CITY, outside.local_addr().unwrap().to_string());
    let relay = Relay::start(outside, inside.local_addr().unwrap().to_string());
    (world.run(CITY, inside), relay)
}

#[tokio::test]
async fn f05_one_call_fails_on_a_connection_that_vanished_and_the_next_makes_a_new_one() {
    let world = World::new();
    let (_city, relay) = behind_a_relay(&world).await;
    let province = world.caller(PROVINCE);
    for round in 1..4 {
        assert!(province.get(CITY, "/who").await.is_ok(), "{round}");
        assert_eq!(relay.made(), round, "a good connection is used again");
        relay.swallow();
        let patience = Duration::from_millis(1200);
        let given_up = tokio::time::timeout(patience, province.get(CITY, "/who")).await;
        assert!(given_up.is_err(), "{given_up:?}");
    }
    // It dies within a response: what is read there ends, the next call is answered.
    let mut response = province
        .clients
        .send(code(CITY), http::Method::GET, "/drip", &[], Bytes::new())
        .await
        .unwrap();
    assert!(response.body.next().await.unwrap().is_ok());
    relay.swallow();
    let reading = async { while response.body.next().await.is_some_and(|part| part.is_ok()) {} };
    assert!(
        tokio::time::timeout(Duration::from_millis(1400), reading)
            .await
            .is_err()
    );
    drop(response);
    assert!(province.get(CITY, "/who").await.is_ok());
}

#[tokio::test]
async fn a_caller_that_goes_away_early_or_while_others_are_answered_keeps_the_connection() {
    let world = World::new();
    let (_city, relay) = behind_a_relay(&world).await;
    let province = world.caller(PROVINCE);
    assert!(province.get(CITY, "/who").await.is_ok());
    for _ in 0..3 {
        let short = Duration::from_millis(50);
        assert!(
            tokio::time::timeout(short, province.get(CITY, "/slow")).await.is_err(),
            "it takes 300 ms"
        );
        assert!(province.get(CITY, "/who").await.is_ok());
    }
    assert_eq!(relay.made(), 1);
}

#[tokio::test]
async fn whoever_does_not_connect_in_time_is_told_from_whoever_is_slow() {
    let world = World::new();
    let (_city, relay) = behind_a_relay(&world).await;
    let province = world.caller(PROVINCE);
    let call = |path: &'static str| {
        let by = std::time::Instant::now() + Duration::from_millis(150);
        let method = http::Method::GET;
        province
            .clients
            .send_connected_by(Some(by), code(CITY), method, path, &[], Bytes::new())
    };
    assert!(call("/slow").await.is_ok(), "it takes 300 ms, over a connection");
    relay.swallowed.store(usize::MAX, Ordering::SeqCst);
    // The old connection is there as far as anybody knows; a new one does not come about.
    let patience = Duration::from_millis(1200);
    assert!(tokio::time::timeout(patience, call("/who")).await.is_err());
    let failed = call("/who").await.map(drop).unwrap_err();
    assert!(matches!(failed, TransportError::NotConnected), "{failed}");
    assert!(failed.is_unreachable());
    relay.swallowed.store(0, Ordering::SeqCst);
    assert!(call("/who").await.is_ok());
}
