//! Who may speak with whom, and from when on no more.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn neighbours_speak_http_2_and_know_each_other() {
    let world = World::new();
    let city = world.serve(CITY).await;
    world.add(DISTRICT, "127.0.0.1:1".to_owned());
    city.trust.store(Arc::new(world.trust()));
    let district = world.caller(DISTRICT);
    let who = district.get(CITY, "/who").await.unwrap();
    assert!(who.starts_with(DISTRICT), "{who}");
    assert_eq!(district.get(CITY, "/version").await.unwrap(), "HTTP/2.0");
    let body = Bytes::from(vec![b'x'; 3 << 20]);
    let echo = district
        .send(CITY, http::Method::POST, "/echo", body.slice(..2_000_000))
        .await
        .unwrap();
    assert_eq!(echo.len(), 2_000_000);
    let response = district
        .clients
        .send(code(CITY), http::Method::GET, "/who", &[], Bytes::new())
        .await
        .unwrap();
    assert_eq!(response.notes, Some(world.trust().digest().to_string()));
}

#[tokio::test]
async fn another_node_at_the_address_is_not_whom_we_mean() {
    // F46
    let world = World::new();
    let city = world.serve(CITY).await;
    world.add(DISTRICT, city.address.clone());
    let province = world.caller(PROVINCE);
    let error = province.get(DISTRICT, "/who").await.unwrap_err();
    assert!(error.to_string().contains("wrong_node"), "{error}");
    assert!(!error.is_unreachable());
    assert_eq!(city.asked.load(Ordering::SeqCst), 0);
    assert!(province.get(CITY, "/who").await.is_ok());
}

#[tokio::test]
async fn a_certificate_that_expires_ends_an_open_connection_in_both_directions() {
    // C-02, F07
    let world = World::new();
    let city = world.serve(CITY).await;
    let province = world.caller(PROVINCE);
    assert!(province.get(CITY, "/who").await.is_ok());
    let later = start_of_time().plus(Duration::from_secs(31 * 24 * 3600));
    city.clock.set(later);
    assert_eq!(problem(province.get(CITY, "/who").await), "peer_cert_expired");
    city.clock.set(start_of_time());
    assert!(province.get(CITY, "/who").await.is_ok());
    province.clock.set(later);
    assert_eq!(problem(province.get(CITY, "/who").await), "peer_cert_expired");
    assert_eq!(city.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_at_the_next_request_and_its_connection_closed() {
    // C-01, F08
    let world = World::new();
    let city = world.serve(CITY).await;
    let province = world.caller(PROVINCE);
    let who = province.get(CITY, "/who").await.unwrap();
    let serial = who.split(' ').nth(1).unwrap();
    let mut open = world.dial(PROVINCE, &city).await;
    open.write_all(b"GET /who HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    open.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    world
        .federation
        .revoke_certificate(code(PROVINCE), serial, "a test", start_of_time())
        .unwrap();
    city.trust.store(Arc::new(world.trust()));
    assert_eq!(problem(province.get(CITY, "/who").await), "revoked");
    city.server.trust_changed();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), open.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection was not closed");
    assert!(province.get(CITY, "/who").await.is_err(), "a new connection");
    assert_eq!(city.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_suspended_node_is_neither_heard_nor_called_until_it_is_resumed() {
    let world = World::new();
    let city = world.serve(CITY).await;
    world.add(DISTRICT, "127.0.0.1:1".to_owned());
    city.trust.store(Arc::new(world.trust()));
    let (district, province) = (world.caller(DISTRICT), world.caller(PROVINCE));
    assert!(district.get(CITY, "/who").await.is_ok());
    world
        .federation
        .suspend(code(DISTRICT), "a test", start_of_time())
        .unwrap();
    city.trust.store(Arc::new(world.trust()));
    assert_eq!(problem(district.get(CITY, "/who").await), "suspended");
    province.trust.store(Arc::new(world.trust()));
    assert_eq!(problem(province.get(DISTRICT, "/who").await), "suspended");
    world.federation.resume(code(DISTRICT), start_of_time()).unwrap();
    city.trust.store(Arc::new(world.trust()));
    assert!(district.get(CITY, "/who").await.is_ok());
    let stranger = Trust::new(world.federation.name.clone(), world.federation.fingerprint);
    city.trust.store(Arc::new(stranger));
    assert_eq!(problem(district.get(CITY, "/who").await), "not_member");
}

#[tokio::test]
async fn an_answer_that_streams_ends_when_its_sender_is_trusted_no_more() {
    let world = World::new();
    let _city = world.serve(CITY).await;
    let province = world.caller(PROVINCE);
    let mut response = province
        .clients
        .send(code(CITY), http::Method::GET, "/drip", &[], Bytes::new())
        .await
        .unwrap();
    assert!(response.body.next().await.unwrap().is_ok());
    world.federation.revoke(code(CITY), "a test", start_of_time()).unwrap();
    province.trust.store(Arc::new(world.trust()));
    province.clients.trust_changed();
    let ended = async {
        loop {
            match response.body.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return problem(Err(error)),
                None => return "it ended".to_owned(),
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
    assert_eq!(ended.as_deref(), Ok("revoked"));
}

#[tokio::test]
async fn bad_material_is_refused_and_the_good_goes_on_serving() {
    // C-06
    let world = World::new();
    let city = world.serve(CITY).await;
    let province = world.caller(PROVINCE);
    let mixed = || Material {
        chain: world.material(CITY).chain,
        key: world.material(PROVINCE).key,
    };
    let refused = city.server.reload(&mixed()).unwrap_err();
    assert!(refused.to_string().starts_with("tls:"), "{refused}");
    province.clients.reload(mixed());
    let nothing = Material {
        chain: Vec::new(),
        key: world.material(CITY).key,
    };
    assert!(city.server.reload(&nothing).is_err());
    assert!(province.get(CITY, "/who").await.unwrap().starts_with(PROVINCE));
}

#[tokio::test]
async fn new_certificates_count_in_both_directions_without_a_restart() {
    // C-07
    let world = World::new();
    let city = world.serve(CITY).await;
    let province = world.caller(PROVINCE);
    let before = province.get(CITY, "/who").await.unwrap();
    world.federation.renew(code(PROVINCE), start_of_time()).unwrap();
    province.clients.reload(world.material(PROVINCE));
    let after = province.get(CITY, "/who").await.unwrap();
    assert_ne!(before, after, "the peer sees another serial");
    let old = world.dial(PROVINCE, &city).await;
    world.federation.renew(code(CITY), start_of_time()).unwrap();
    city.server.reload(&world.material(CITY)).unwrap();
    let new = world.dial(PROVINCE, &city).await;
    let leaf = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    assert_ne!(leaf(&old), leaf(&new));
    assert_eq!(
        province.get(CITY, "/who").await.unwrap(),
        after,
        "the open connection goes on"
    );
}

#[tokio::test]
async fn a_new_address_in_the_registry_is_called_from_then_on() {
    let world = World::new();
    let city = world.serve(CITY).await;
    let province = world.caller(PROVINCE);
    assert!(province.get(CITY, "/who").await.is_ok());
    let moved = world.run(CITY, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let mut registry = world.federation.registry().unwrap();
    registry.nodes[1].endpoints = vec![moved.address.clone()];
    world.federation.publish(registry, start_of_time()).unwrap();
    province.trust.store(Arc::new(world.trust()));
    assert!(province.get(CITY, "/who").await.is_ok());
    assert_eq!(
        (city.asked.load(Ordering::SeqCst), moved.asked.load(Ordering::SeqCst)),
        (1, 1)
    );
}

#[tokio::test]
async fn a_neighbour_that_is_away_is_unreachable_and_back_when_it_is_back() {
    let world = World::new();
    let city = world.serve(CITY).await;
    let province = world.caller(PROVINCE);
    assert!(province.get(CITY, "/who").await.is_ok());
    let address = city.address.clone();
    city.stop.cancel();
    city.task.await.unwrap();
    let away = province.get(CITY, "/who").await.unwrap_err();
    let away = if away.is_unreachable() {
        away
    } else {
        province.get(CITY, "/who").await.unwrap_err()
    };
    assert!(away.is_unreachable(), "{away}");
    let _back = world.run(CITY, TcpListener::bind(&address).await.unwrap());
    assert!(province.get(CITY, "/who").await.is_ok());
    assert!(
        matches!(province.get(DISTRICT, "/who").await, Err(TransportError::Refused(_))),
        "no member"
    );
}
