//! One node behind two addresses.

use super::*;

#[tokio::test]
async fn an_address_that_fails_is_followed_by_the_next_and_called_last_from_then_on() {
    let world = World::new();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [&gone, &listener].map(|listener| listener.local_addr().unwrap().to_string());
    drop(gone);
    world.add_with(CITY, addresses.to_vec());
    let city = world.run(CITY, listener);
    let province = world.caller(PROVINCE);
    for _ in 0..3 {
        assert!(province.get(CITY, "/who").await.unwrap().starts_with(PROVINCE));
    }
    assert_eq!(city.asked.load(Ordering::SeqCst), 3);
    // Another node at one of the addresses is not whom we mean, and the other address is called.
    let stranger = world.serve(DISTRICT).await;
    let other = "421003";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().to_string();
    world.add_with(other, vec![stranger.address.clone(), own]);
    let _other = world.run(other, listener);
    let province = world.caller(PROVINCE);
    assert!(province.get(other, "/who").await.is_ok());
    assert_eq!(stranger.asked.load(Ordering::SeqCst), 0);
    // Where no address answers the failure is told.
    city.stop.cancel();
    assert!(tokio::time::timeout(Duration::from_secs(20), city.task).await.is_ok());
    assert!(province.get(CITY, "/who").await.unwrap_err().is_unreachable());
}

#[tokio::test]
async fn a_slow_head_is_asked_for_at_the_other_address_at_most_twice_in_a_hundred_calls() {
    let world = World::new();
    let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = listeners.each_ref().map(|one| one.local_addr().unwrap().to_string());
    world.add_with(CITY, addresses.to_vec());
    let [one, two] = listeners.map(|listener| {
        listener.set_nonblocking(true).unwrap();
        world.run(CITY, TcpListener::from_std(listener).unwrap())
    });
    let province = world.caller(PROVINCE);
    let asked = |node: &Node| node.asked.load(Ordering::SeqCst);
    // A past in which heads took 20 ms, of a hundred calls: two may be asked for twice.
    let past = |calls: usize| {
        let mut records = province.clients.records();
        let record = records.entry(code(CITY)).or_default();
        for _ in 0..calls {
            record.call(2);
            record.answered(0, Duration::from_millis(20));
        }
    };
    past(100);
    for _ in 0..2 {
        assert_eq!(province.get(CITY, "/slow").await.unwrap(), "done");
        past(19);
    }
    assert_eq!((asked(&one), asked(&two)), (2, 2), "each was asked beside the other");
    past(5);
    for _ in 0..2 {
        assert_eq!(province.get(CITY, "/slow").await.unwrap(), "done");
    }
    assert_eq!(asked(&one) + asked(&two), 6, "two of a hundred are used up");
    assert!(province.clients.p95(code(CITY)).unwrap() >= Duration::from_millis(20));
}
