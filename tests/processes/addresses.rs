//! A node behind two addresses, each with a proxy that a test spoils.

use crate::rig::{Link, Rig, outcome};

#[test]
fn a_node_is_reached_over_its_second_address_while_the_first_is_cut() {
    let rig = Rig::with_two_addresses(421_000);
    let ask = |name: &str| rig.ask(&rig.case(name, |_| {}));
    let (code, result) = ask("before.json");
    assert_eq!(
        (code, outcome(&result, 421_000).as_str()),
        (0, "answered"),
        "{result:#}"
    );
    // Whatever comes back over the first is cut at once: new connections fail, and open ones break.
    rig.proxies[&421_000].set(Link::Cut, 0);
    for round in 0..3 {
        let (code, result) = ask(&format!("{round}.json"));
        assert_eq!(
            (code, outcome(&result, 421_000).as_str()),
            (0, "answered"),
            "{result:#}"
        );
    }
    // With both cut it is said; with the first good again it is found there.
    let second = rig.second.as_ref().unwrap();
    second.set(Link::Cut, 0);
    let (code, result) = ask("both.json");
    assert_eq!(code, 3, "{result:#}");
    assert_ne!(outcome(&result, 421_000), "answered");
    rig.proxies[&421_000].set(Link::Good, u64::MAX);
    let (code, result) = ask("again.json");
    assert_eq!(
        (code, outcome(&result, 421_000).as_str()),
        (0, "answered"),
        "{result:#}"
    );
}
