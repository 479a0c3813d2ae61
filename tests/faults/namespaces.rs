//! Hosts of their own for nodes: a network namespace for each, all on one bridge. What a rule of nftables drops there is gone
//! without a word, which no proxy can do. Needs root.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::rig::{CODES, Dress, Rig};
use crate::system;

/// The port that every node listens on, at an address of its own.
const PORT: u16 = 7443;

/// A bridge with hosts on it.
pub(crate) struct Net {
    name: String,
    hosts: BTreeMap<u32, u8>,
}

impl Net {
    /// A host for each number: a node's code, or whatever a test calls another machine.
    pub(crate) fn of(hosts: &[u32]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sk{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let net = Self {
            hosts: hosts.iter().copied().zip(1..).collect(),
            name,
        };
        let hub = net.hub();
        system(&["ip", "netns", "add", &hub]);
        let on_hub = |words: &[&str]| system(&[&["ip", "-n", hub.as_str()], words].concat());
        on_hub(&["link", "add", "bridge0", "type", "bridge"]);
        on_hub(&["link", "set", "bridge0", "up"]);
        for (host, number) in &net.hosts {
            let (space, port, address) = (
                net.space(*host),
                format!("port{number}"),
                format!("10.88.0.{number}/24"),
            );
            system(&["ip", "netns", "add", &space]);
            let pair = [
                "link",
                "add",
                port.as_str(),
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
            ];
            on_hub(&[pair.as_slice(), &[space.as_str()]].concat());
            on_hub(&["link", "set", &port, "master", "bridge0", "up"]);
            for words in [
                ["link", "set", "lo", "up"].as_slice(),
                &["link", "set", "eth0", "up"],
                &["address", "add", &address, "dev", "eth0"],
            ] {
                system(&[&["ip", "-n", space.as_str()], words].concat());
            }
        }
        net
    }

    /// The four nodes, each on its own host.
    pub(crate) fn rig(&self) -> Rig {
        let mut rig = Rig::bare();
        for code in CODES {
            rig.add(code, &[&format!("{}:{PORT}", self.address(code))]);
            let dress = Dress {
                before: self.on(code),
                environment: Vec::new(),
            };
            rig.dress.insert(code, dress);
        }
        rig
    }

    fn hub(&self) -> String {
        format!("{}hub", self.name)
    }

    fn space(&self, host: u32) -> String {
        format!("{}n{}", self.name, self.hosts[&host])
    }

    /// A host's address.
    pub(crate) fn address(&self, host: u32) -> String {
        format!("10.88.0.{}", self.hosts[&host])
    }

    /// The words that run a command on a host.
    pub(crate) fn on(&self, host: u32) -> Vec<String> {
        ["ip", "netns", "exec", &self.space(host)].map(str::to_owned).to_vec()
    }

    fn nft(&self, host: u32, words: &[&str]) {
        let space = self.space(host);
        system(&[&["ip", "netns", "exec", space.as_str(), "nft"], words].concat());
    }

    /// From now on a host drops what these rules match, as it comes in or goes out.
    pub(crate) fn drop(&self, host: u32, rules: &[String]) {
        self.nft(host, &["add", "table", "inet", "cut"]);
        for hook in ["input", "output"] {
            let chain = format!("{{ type filter hook {hook} priority 0; }}");
            self.nft(host, &["add", "chain", "inet", "cut", hook, &chain]);
        }
        for rule in rules {
            let (hook, matches) = rule.split_once(' ').unwrap();
            let words = [
                &["add", "rule", "inet", "cut", hook],
                matches.split(' ').collect::<Vec<_>>().as_slice(),
            ]
            .concat();
            self.nft(host, &[words.as_slice(), &["drop"]].concat());
        }
    }

    /// Between a host and everybody else nothing passes.
    pub(crate) fn cut_off(&self, host: u32) {
        self.drop(host, &["input", "output"].map(|hook| format!("{hook} ip protocol tcp")));
    }

    /// Everything that a host dropped passes again.
    pub(crate) fn heal(&self, host: u32) {
        self.nft(host, &["delete", "table", "inet", "cut"]);
    }

    /// The established connections between two hosts: the port of each at the first, and at the second.
    pub(crate) fn established(&self, host: u32, other: u32) -> Vec<(u16, u16)> {
        let listed = Command::new("ip")
            .args(["netns", "exec", &self.space(host), "ss", "-Htn", "state", "established"])
            .output()
            .unwrap();
        let port = |address: &str| address.rsplit_once(':').unwrap().1.parse().unwrap();
        let other = format!("{}:", self.address(other));
        String::from_utf8_lossy(&listed.stdout)
            .lines()
            .filter_map(|line| {
                let mut columns = line.split_whitespace().skip(2);
                let (near, far) = (columns.next()?, columns.next()?);
                far.starts_with(&other).then(|| (port(near), port(far)))
            })
            .collect()
    }

    /// The other end of every connection between two hosts vanishes without a word; new connections pass. Gives what vanished.
    pub(crate) fn vanish(&self, host: u32, other: u32) -> Vec<(u16, u16)> {
        let connections = self.established(host, other);
        let far = self.address(other);
        let rules = connections.iter().flat_map(|(here, there)| {
            [
                format!("input ip saddr {far} tcp sport {there} tcp dport {here}"),
                format!("output ip daddr {far} tcp sport {here} tcp dport {there}"),
            ]
        });
        self.drop(host, &rules.collect::<Vec<_>>());
        connections
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let spaces = self.hosts.keys().map(|host| self.space(*host));
        for space in spaces.chain([self.hub()]) {
            let _ = Command::new("ip").args(["netns", "delete", &space]).status();
        }
    }
}
