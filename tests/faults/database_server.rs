//! F25, F26, promoted replicas and several processes of one node, on a real PostgreSQL.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::attacker::{TYPE, dial_at};
use crate::cluster::Cluster;
use crate::namespaces::Net;
use crate::rig::{CODES, Rig, json_of, listener, outcome, sanku};
use crate::{answers, event, put, status, until};

/// The rig with one node's database behind a server.
pub(crate) fn on_postgres(cluster: &Cluster, code: u32) -> Rig {
    let mut rig = Rig::found();
    rig.configure(code, "sqlite:node.db", &cluster.url());
    for code in CODES {
        rig.fill(code);
        rig.serve(code);
    }
    rig
}

#[test]
fn f25_a_database_server_that_dies_is_said_and_its_return_is_enough() {
    let cluster = Cluster::start();
    let rig = on_postgres(&cluster, 421_003);
    let ask = |rig: &Rig| rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!(outcome(&ask(&rig).1, 421_003), "answered");
    for _ in 0..2 {
        cluster.end();
        until("noticing", Duration::from_secs(10), || {
            status(&rig, 421_003)["state"] == "database"
        });
        let began = Instant::now();
        let (code, result) = ask(&rig);
        assert_eq!(code, 3);
        assert_ne!(outcome(&result, 421_003), "answered", "{result:#}");
        assert!(began.elapsed() < Duration::from_secs(4), "the budget holds");
        cluster.begin();
        let back = until("returning", Duration::from_secs(30), || {
            status(&rig, 421_003)["state"] == "working"
        });
        println!("F25: working {back:?} after the server started");
        let id = result["query"].as_str().unwrap().to_owned();
        let again = json_of(&rig.node(421_002, &["query", "--again", &id, "--json"]));
        assert_eq!(again["complete"], true, "{again:#}");
        assert_eq!(answers(&rig, &id).len(), 4);
        rig.entries(421_003);
    }
}

/// Waits until a node works, and gives how long that took.
fn works(rig: &Rig, code: u32) -> Duration {
    until("returning", Duration::from_secs(30), || {
        status(rig, code)["state"] == "working"
    })
}

/// Asks again for a question until it is complete.
fn completes(rig: &Rig, id: &str) {
    until("completing", Duration::from_secs(60), || {
        json_of(&rig.node(421_002, &["query", "--again", id, "--json"]))["complete"] == true
    });
    assert_eq!(answers(rig, id).len(), 4, "each node's answer once");
}

#[test]
#[ignore = "needs root: just faults"]
fn f25_a_half_open_line_to_the_database_is_said_and_its_return_is_enough() {
    const DATABASE: u32 = 1;
    let hosts: Vec<u32> = CODES.into_iter().chain([DATABASE]).collect();
    let net = Net::of(&hosts);
    let cluster = Cluster::on(&net, DATABASE);
    let mut rig = net.rig();
    rig.configure(421_003, "sqlite:node.db", &cluster.url());
    for code in CODES {
        rig.fill(code);
        rig.serve(code);
    }
    let ask = |rig: &Rig| rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!(outcome(&ask(&rig).1, 421_003), "answered");
    let database = net.address(DATABASE);
    net.drop(
        421_003,
        &[
            format!("output ip daddr {database}"),
            format!("input ip saddr {database}"),
        ],
    );
    let cut = Instant::now();
    let noticed = until("noticing", Duration::from_secs(20), || {
        status(&rig, 421_003)["state"] == "database"
    });
    let began = Instant::now();
    let (code, result) = ask(&rig);
    assert!(began.elapsed() < Duration::from_secs(4), "the budget holds");
    assert_eq!(code, 3);
    assert_ne!(outcome(&result, 421_003), "answered", "{result:#}");
    assert_eq!(outcome(&result, 420_000), "answered");
    std::thread::sleep(Duration::from_secs(25).saturating_sub(cut.elapsed()));
    net.heal(421_003);
    let back = works(&rig, 421_003);
    println!("F25: a line that drops was noticed after {noticed:?}; working {back:?} after it passed again");
    completes(&rig, result["query"].as_str().unwrap());

    // What was open vanishes, what is new passes: a firewall that forgot.
    let vanished = net.vanish(421_003, DATABASE);
    assert!(!vanished.is_empty());
    let answered = until("answering over new connections", Duration::from_secs(30), || {
        outcome(&ask(&rig).1, 421_003) == "answered"
    });
    println!(
        "F25: {} connections vanished; answering again after {answered:?}",
        vanished.len()
    );
    works(&rig, 421_003);
    rig.entries(421_003);
}

#[test]
fn f38_a_promoted_replica_goes_on_where_it_has_everything_and_where_it_lags_nothing_forks() {
    let mut primary = Cluster::start();
    let mut rig = on_postgres(&primary, 421_003);
    let ask = |rig: &Rig| rig.ask(&rig.case("case.json", |_| {}));
    let size = |cluster: &Cluster| cluster.value("SELECT size FROM head");
    let follows = |replica: &Cluster, primary: &Cluster| {
        until("the replica's following", Duration::from_secs(20), || {
            size(replica) == size(primary)
        });
    };
    // The replica has everything: it takes the place of the server that died, and the log goes on.
    assert_eq!(outcome(&ask(&rig).1, 421_003), "answered");
    let mut replica = primary.replica();
    follows(&replica, &primary);
    let before = size(&primary);
    primary.end();
    replica.take_the_place_of(&primary);
    let back = works(&rig, 421_003);
    println!("promoted with everything: working {back:?} after the promotion");
    assert_eq!(outcome(&ask(&rig).1, 421_003), "answered");
    assert!(size(&replica).parse::<u64>().unwrap() > before.parse().unwrap());
    drop(primary);

    // The next one stops to follow, then its primary dies: what was said meanwhile it does not hold.
    primary = replica;
    replica = primary.replica();
    follows(&replica, &primary);
    replica.end();
    for _ in 0..2 {
        assert_eq!(outcome(&ask(&rig).1, 421_003), "answered");
    }
    let said = size(&primary);
    primary.end();
    replica.take_the_place_of(&primary);
    let held = size(&replica);
    assert!(held.parse::<u64>().unwrap() < said.parse().unwrap());
    let recovering = |rig: &Rig| {
        let seen = until("seeing it", Duration::from_secs(30), || {
            status(rig, 421_003)["state"] == "recovering"
        });
        let status = status(rig, 421_003);
        assert_eq!(status["recovering"]["why"], "behind", "{status:#}");
        assert!(status["recovering"]["missing"].as_u64().unwrap() > 0, "{status:#}");
        seen
    };
    println!(
        "promoted while it lagged: recovering {:?} after the promotion",
        recovering(&rig)
    );
    let (code, result) = ask(&rig);
    assert_eq!(
        (code, outcome(&result, 421_003).as_str()),
        (3, "overloaded"),
        "{result:#}"
    );
    // Not even a process that was started anew, and remembers nothing, goes on with it.
    rig.kill(421_003);
    rig.serve(421_003);
    recovering(&rig);
    assert_ne!(outcome(&ask(&rig).1, 421_003), "answered");
    assert_eq!(size(&replica), held, "not one entry was written");

    // The server with everything is put back: it goes on by itself, and nobody saw a fork.
    replica.end();
    primary.begin();
    let back = works(&rig, 421_003);
    println!("the right database back: working after {back:?}");
    completes(&rig, result["query"].as_str().unwrap());
    for code in CODES {
        let status = status(&rig, code);
        assert!(status["forks"].as_array().unwrap().is_empty(), "{status:#}");
        rig.entries(code);
    }
}

#[test]
fn f26_a_locked_log_makes_an_answer_late_and_nothing_piles_up() {
    let cluster = Cluster::start();
    let rig = on_postgres(&cluster, 421_003);
    let mut client = cluster.lock("SELECT * FROM head FOR UPDATE");
    let began = Instant::now();
    let (code, result) = rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!((code, outcome(&result, 421_003).as_str()), (3, "late"), "{result:#}");
    assert!(began.elapsed() < Duration::from_secs(4));
    assert_eq!(status(&rig, 421_003)["state"], "working", "reading goes on");
    until("letting go of what nobody waits for", Duration::from_secs(25), || {
        status(&rig, 421_003)["process"]["in_hand"] == 0
    });
    client.kill().unwrap();
    client.wait().unwrap();
    let id = result["query"].as_str().unwrap().to_owned();
    until("answering", Duration::from_secs(30), || {
        json_of(&rig.node(421_002, &["query", "--again", &id, "--json"]))["complete"] == true
    });
    assert_eq!(answers(&rig, &id).len(), 4);
}

/// Connections to one address go by turns to whoever still takes them.
fn balance(front: TcpListener, behind: [String; 2]) {
    std::thread::spawn(move || {
        for (turn, client) in front.incoming().flatten().enumerate() {
            let order = [&behind[turn % 2], &behind[(turn + 1) % 2]];
            let Some(server) = order.into_iter().find_map(|address| TcpStream::connect(address).ok()) else {
                continue;
            };
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                    let _ = from.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
}

/// A second process of a node, on the same folder: another port, another socket.
fn second_process(rig: &Rig, code: u32, port: (&str, &str)) -> Child {
    let folder = rig.folder(code);
    let text = std::fs::read_to_string(folder.join("node.toml")).unwrap();
    let text = text
        .replace(port.0, port.1)
        .replace("run/node.sock", "second/node.sock");
    let text = if text.contains("second/") {
        text
    } else {
        text.replace("[listen]\n", "[listen]\nsocket = \"second/node.sock\"\n")
    };
    std::fs::write(folder.join("second.toml"), text).unwrap();
    let log = std::fs::File::create(folder.join("second.log")).unwrap();
    let second = sanku()
        .arg("--config")
        .arg(folder.join("second.toml"))
        .args(["serve", "--until-stdin-closes"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    until("the second process", Duration::from_secs(20), || {
        folder.join("second/node.sock").exists()
    });
    second
}

#[test]
#[ignore = "needs root: just faults"]
fn f22_a_full_disk_of_a_database_server_is_told_and_heals_by_itself() {
    let mount = tempfile::tempdir().unwrap();
    let at = mount.path().display().to_string();
    crate::system(&["mount", "-t", "tmpfs", "-o", "size=160m,mode=0700", "tmpfs", &at]);
    let _mounted = crate::disk::Mounted(at.clone());
    crate::system(&["chown", "postgres", &at]);
    // The server's own journal lies elsewhere: where it has no room for that, the server ends by itself (F25).
    let cluster = Cluster::start_with_data_in(mount.path());
    let mut rig = on_postgres(&cluster, 421_003);
    let (code, _) = rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!(code, 0);
    let ballast = std::fs::File::create(mount.path().join("ballast")).unwrap();
    let fill = || {
        let mut place = ballast.metadata().unwrap().len();
        while ballast.write_all_at(&[7; 4096], place).is_ok() {
            place += 4096;
        }
        place
    };
    let mut last = None;
    let size = (0..300).find_map(|_| {
        let size = fill();
        let (_, result) = rig.ask(&rig.case("case.json", |_| {}));
        last = Some(result["query"].as_str().unwrap().to_owned());
        (outcome(&result, 421_003) != "answered").then_some(size)
    });
    let size = size.expect("it never was full");
    let disk = |rig: &Rig| status(rig, 421_003)["state"] == "disk";
    assert!(disk(&rig), "{:#}", status(&rig, 421_003));
    // Less than a large answer writes is not enough.
    ballast.set_len(size - (3 << 20)).unwrap();
    assert!((0..5).all(|_| disk(&rig)));
    ballast.set_len(0).unwrap();
    until("going on", Duration::from_secs(30), || {
        status(&rig, 421_003)["state"] == "working"
    });
    let id = last.unwrap();
    until("answering", Duration::from_secs(30), || {
        json_of(&rig.node(421_002, &["query", "--again", &id, "--json"]))["complete"] == true
    });
    assert_eq!(answers(&rig, &id).len(), 4);
    rig.entries(421_003);
    rig.kill(421_003);
    drop(cluster);
}

/// A question as it travels: the first run of its evidence.
fn question(rig: &Rig, id: &str) -> String {
    let file = rig.place.path().join(format!("evidence-{id}"));
    let out = file.display().to_string();
    let exported = rig.node(421_002, &["evidence", "export", id, "--out", &out]);
    assert!(exported.status.success(), "{exported:?}");
    let text = std::fs::read_to_string(file).unwrap();
    let run = text.split_inclusive('\n').skip_while(|line| !line.starts_with("C "));
    let end = run.clone().position(|line| line.starts_with("P ")).unwrap();
    run.take(end + 1).collect()
}

/// Hands a question to one process of 421003, as its superior does; everything that comes back.
fn hand_in(rig: &Rig, address: &str, run: &str) -> String {
    let mut stream = dial_at(rig, 421_000, address, b"http/1.1");
    let length = run.len();
    let headers = TYPE.replace("3000", "8000");
    write!(
        stream,
        "POST /v1/statements HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{run}"
    )
    .unwrap();
    let mut bytes = Vec::new();
    // The end of the connection may come without TLS's own.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn g05_a_question_that_two_processes_of_a_node_search_at_once_is_disclosed_once() {
    let cluster = Cluster::start();
    let mut rig = on_postgres(&cluster, 421_003);
    // What was asked while the node was away, handed in by hand: nobody else hands it in.
    rig.kill(421_003);
    let ids: Vec<_> = (0..5)
        .map(|_| {
            let (_, result) = rig.ask(&rig.case("case.json", |_| {}));
            result["query"].as_str().unwrap().to_owned()
        })
        .collect();
    rig.kill(421_000);
    let runs: Vec<_> = ids.iter().map(|id| question(&rig, id)).collect();
    rig.serve(421_003);
    let first = crate::attacker::address(&rig, 421_003);
    let other = listener().local_addr().unwrap().to_string();
    let mut second = second_process(&rig, 421_003, (&first, &other));
    until("working", Duration::from_secs(30), || {
        status(&rig, 421_003)["state"] == "working"
    });
    let count = |sql: &str| -> u64 { cluster.value(sql).parse().unwrap() };
    let answers = || count("SELECT count(*) FROM log WHERE convert_from(entry, 'UTF8') LIKE '%\"kind\":\"answer\"%'");
    for (turn, run) in (1..).zip(&runs) {
        // Nobody can write for a moment: both processes search, and come to the log with what they found.
        let mut client = cluster.lock("SELECT * FROM head FOR UPDATE");
        let said = std::thread::scope(|scope| {
            let asked = [&first, &other].map(|address| scope.spawn(|| hand_in(&rig, address, run)));
            until("both processes with what they found", Duration::from_secs(6), || {
                count("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") >= 2
            });
            client.kill().unwrap();
            client.wait().unwrap();
            asked.map(|asked| asked.join().unwrap())
        });
        // Both have it from the log, and there it stands once.
        let entries = said.each_ref().map(|said| {
            let lines = said
                .lines()
                .filter(|line| line.starts_with("E ") && line.contains("\"kind\":\"answer\""));
            lines.collect::<Vec<_>>()
        });
        assert_eq!(entries[0].len(), 1, "{}", said[0]);
        assert_eq!(entries[0], entries[1]);
        assert_eq!(answers(), turn, "one disclosure for each question");
    }
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(rig.entries(421_003) > 5);
}

#[test]
fn two_processes_of_one_node_keep_one_log_and_the_death_of_one_loses_nothing() {
    let cluster = Cluster::start();
    let mut rig = Rig::bare();
    let mut ports = Vec::new();
    for code in CODES {
        let (front, one, other) = (listener(), listener(), listener());
        let endpoint = front.local_addr().unwrap().to_string();
        let reals = [&one, &other].map(|port| port.local_addr().unwrap().to_string());
        rig.add(code, &[&endpoint]);
        rig.configure(code, &endpoint, &reals[0]);
        drop((one, other));
        ports.push(reals.clone());
        balance(front, reals);
    }
    rig.configure(421_002, "sqlite:node.db", &cluster.url());
    let folder = rig.folder(421_002);
    for code in CODES {
        rig.fill(code);
        rig.serve(code);
    }
    let second = second_process(&rig, 421_002, (&ports[2][0], &ports[2][1]));
    let second = Arc::new(Mutex::new(second));
    let sockets = [folder.join("run/node.sock"), folder.join("second/node.sock")];

    // Ten people at each process; half-way the second one is killed.
    let case = std::fs::read_to_string(rig.case("case.json", |case| case["budget_ms"] = 8_000.into())).unwrap();
    let done = AtomicU64::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for socket in &sockets {
            for _ in 0..10 {
                let (case, done, outcomes) = (&case, &done, &outcomes);
                scope.spawn(move || {
                    for _ in 0..2 {
                        let lines = put(socket, case);
                        outcomes.lock().unwrap().push(lines);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        }
        until("half of the questions", Duration::from_secs(120), || {
            done.load(Ordering::SeqCst) >= 14
        });
        let mut second = second.lock().unwrap();
        second.kill().unwrap();
        second.wait().unwrap();
    });
    let outcomes = outcomes.into_inner().unwrap();
    let asked: Vec<_> = outcomes
        .iter()
        .filter_map(|lines| event(lines, "asked"))
        .map(|line| line["query"].as_str().unwrap().to_owned())
        .collect();
    let results = outcomes.iter().filter(|lines| event(lines, "result").is_some()).count();
    println!("two processes: {} questions asked, {results} results told", asked.len());
    assert!(results >= 20 && asked.len() >= results);
    // One log, whole; whatever was acknowledged is there, comes to its end, and was answered once by each node.
    rig.entries(421_002);
    for id in &asked {
        until("an orphan's lease to run out", Duration::from_secs(90), || {
            json_of(&rig.node(421_002, &["query", "--again", id, "--json"]))["complete"] == true
        });
        assert_eq!(answers(&rig, id).len(), 4, "{id}");
    }
}
