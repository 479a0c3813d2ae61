//! F22, F23: a disk that is full, a disk that fails once.

use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::rig::{NAME, Rig, json_of, listener, outcome, planted, scan};
use crate::sabotage::{Act, EIO, ENOSPC, SYNC, Sabotage, WRITE};
use crate::{answers, ask, event, status, system, until};

#[test]
fn f23_after_one_failed_flush_a_node_writes_no_more_ends_and_verifies_at_its_next_start() {
    let mut rig = Rig::start();
    rig.kill(421_003);
    let sabotage = Sabotage::of_files(rig.place.path(), &rig.folder(421_003).join("node.db"));
    rig.dress.insert(421_003, sabotage.dress.clone());
    rig.serve(421_003);
    let before = rig.entries(421_003);
    sabotage.arm(SYNC, 1, Act::Fail, EIO);
    let (_, result) = rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!(sabotage.hurt(), 1);
    assert_ne!(
        outcome(&result, 421_003),
        "answered",
        "nothing was disclosed: {result:#}"
    );
    // It does not go on as if nothing had been, though the disk is good again.
    until("the end of the node", Duration::from_secs(15), || !rig.lives(421_003));
    let log = std::fs::read_to_string(rig.folder(421_003).join("node.log")).unwrap();
    assert!(log.contains("dmesg"), "the log says what to do");
    rig.serve(421_003);
    assert!(rig.entries(421_003) >= before);
    let id = result["query"].as_str().unwrap();
    let again = json_of(&rig.node(421_002, &["query", "--again", id, "--json"]));
    assert_eq!(again["complete"], true, "{again:#}");
    assert_eq!(answers(&rig, id).len(), 4);
}

#[test]
fn f22_without_room_a_node_refuses_clearly_discloses_nothing_and_goes_on_by_itself() {
    let mut rig = Rig::start();
    for code in [421_002, 421_003] {
        rig.kill(code);
    }
    let full = [421_002, 421_003].map(|code| {
        let sabotage = Sabotage::of_files(rig.place.path(), &rig.folder(code).join("node.db"));
        rig.dress.insert(code, sabotage.dress.clone());
        rig.serve(code);
        sabotage
    });
    // The answerer's disk: it is asked, discloses nothing, and the asker hears why.
    full[1].fail_all(WRITE, ENOSPC);
    let (code, result) = rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!(code, 3, "{result:#}");
    assert_ne!(outcome(&result, 421_003), "answered", "{result:#}");
    let said = status(&rig, 421_003);
    assert_eq!(said["state"], "disk", "status lives: {said:#}");
    assert!(said["log"]["entries"].as_u64().is_some(), "what is read is read");
    full[1].disarm();
    until("going on", Duration::from_secs(10), || {
        status(&rig, 421_003)["state"] == "working"
    });
    let id = result["query"].as_str().unwrap();
    let again = json_of(&rig.node(421_002, &["query", "--again", id, "--json"]));
    assert_eq!(again["complete"], true, "{again:#}");
    assert_eq!(answers(&rig, id).len(), 4);
    // The asker's disk: a person is told so, with the cure; nobody was asked.
    let before = rig.entries(421_003);
    full[0].fail_all(WRITE, ENOSPC);
    let refused = rig.node(
        421_002,
        &["query", &rig.case("again.json", |_| {}).display().to_string()],
    );
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(words.contains("磁盘已满") && words.contains("make room"), "{words}");
    assert_eq!(rig.entries(421_003), before, "nothing was asked");
    full[0].disarm();
    let (code, result) = rig.ask(&rig.case("again.json", |_| {}));
    assert_eq!(code, 0, "{result:#}");
}

#[test]
fn f22_a_log_that_cannot_be_written_ends_no_node() {
    let mut rig = Rig::start();
    rig.kill(421_003);
    let log = rig.folder(421_003).join("node.log");
    std::fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    rig.serve(421_003);
    let (code, result) = rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!((code, outcome(&result, 421_003).as_str()), (0, "answered"));
    rig.kill(421_003);
    std::fs::remove_file(&log).unwrap();
}

/// What a node's operations' port says of a metric.
fn metric(port: &str, name: &str) -> f64 {
    let mut stream = std::net::TcpStream::connect(port).unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not exported"))
        .parse()
        .unwrap()
}

/// Whether the rule of the alarm holds that says that a disk is 90 % full.
fn alarms(port: &str) -> bool {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus/sanku.rules.yml");
    let rules = std::fs::read_to_string(rules).unwrap();
    let alarm = rules
        .split("- alert: ")
        .find(|alarm| alarm.starts_with("SankuDiskFull"))
        .unwrap();
    let rule = "expr: sanku_disk_free_bytes < 0.1 * sanku_disk_size_bytes";
    assert!(alarm.contains(rule), "the rule is another one: {alarm}");
    metric(port, "sanku_disk_free_bytes") < 0.1 * metric(port, "sanku_disk_size_bytes")
}

#[test]
#[ignore = "needs root: just faults"]
fn f22_a_full_file_system_loses_nothing_alarms_before_and_heals_without_a_restart() {
    let mut rig = Rig::found();
    let mount = rig.place.path().join("small");
    std::fs::create_dir(&mount).unwrap();
    let at = mount.display().to_string();
    let image = rig.place.path().join("small.img");
    std::fs::File::create(&image).unwrap().set_len(96 << 20).unwrap();
    let image = image.display().to_string();
    system(&["mkfs.ext4", "-q", "-m", "0", &image]);
    system(&["mount", "-o", "loop", &image, &at]);
    let mounted = Mounted(at.clone());
    rig.configure(421_003, "sqlite:node.db", &format!("sqlite:{at}/node.db"));
    let port = listener().local_addr().unwrap().to_string();
    let config = rig.folder(421_003).join("node.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n[operations]\nlisten = \"{port}\"\n")).unwrap();
    for code in crate::rig::CODES {
        rig.fill(code);
        rig.serve(code);
    }
    let ballast = std::fs::File::create(mount.join("ballast")).unwrap();
    let used = |rig: &Rig| status(rig, 421_003)["disk"]["used_percent"].as_u64().unwrap();
    assert!(used(&rig) < 90 && !alarms(&port));
    let mut place = 0;
    let block = vec![7; 1 << 20];
    while ballast.write_all_at(&block, place).is_ok() {
        place += block.len() as u64;
        if alarms(&port) {
            break;
        }
    }
    assert!((90..=98).contains(&used(&rig)), "the alarm comes at 90 %");
    assert_eq!(status(&rig, 421_003)["state"], "working", "before the harm");
    let (code, result) = rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!((code, outcome(&result, 421_003).as_str()), (0, "answered"));
    // Until nothing is left, not even what questions write.
    let fill = |place: &mut u64| {
        while ballast.write_all_at(&block[..4096], *place).is_ok() {
            *place += 4096;
        }
    };
    fill(&mut place);
    let mut last = None;
    for round in 0.. {
        let lines = ask(&rig);
        let result = &event(&lines, "result").unwrap()["result"];
        last = Some(result["query"].as_str().unwrap().to_owned());
        if outcome(result, 421_003) != "answered" {
            println!("F22: full after {round} questions");
            break;
        }
        assert!(round < 200, "it never was full");
        fill(&mut place);
    }
    // It stays so as long as less is free than an answer may write, whatever small thing would still fit.
    let stays = |rig: &Rig| (0..10).all(|_| status(rig, 421_003)["state"] == "disk");
    assert!(stays(&rig));
    assert!(metric(&port, "sanku_ready") < 0.5);
    ballast.set_len(place - (8 << 20)).unwrap();
    assert!(stays(&rig), "8 MiB are not enough");
    ballast.set_len(0).unwrap();
    until("going on", Duration::from_secs(30), || {
        status(&rig, 421_003)["state"] == "working"
    });
    rig.entries(421_003);
    let id = last.unwrap();
    let again = json_of(&rig.node(421_002, &["query", "--again", &id, "--json"]));
    assert_eq!(again["complete"], true, "{again:#}");
    assert_eq!(answers(&rig, &id).len(), 4);
    assert!(!alarms(&port));
    rig.kill(421_003);
    assert!(scan(&mount, &planted()) > 1, "{NAME} stands nowhere on that disk");
    drop(mounted);
}

#[test]
#[ignore = "needs root: just faults"]
fn f22_full_disks_of_logs_of_temporary_files_and_of_what_is_remembered_stop_nothing() {
    let mut rig = Rig::found();
    let mounts = ["logs", "temporary", "memory"].map(|name| {
        let mount = rig.place.path().join(name);
        std::fs::create_dir(&mount).unwrap();
        let at = mount.display().to_string();
        system(&["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", &at]);
        Mounted(at)
    });
    let [logs, temporary, memory] = mounts.each_ref().map(|mount| mount.0.clone());
    rig.configure(
        421_003,
        "url = \"sqlite:node.db\"",
        &format!("url = \"sqlite:node.db\"\nmemory = \"{memory}/newest-checkpoint\""),
    );
    let log = rig.folder(421_003).join("node.log");
    std::os::unix::fs::symlink(format!("{logs}/node.log"), &log).unwrap();
    for directory in ["TMPDIR", "SQLITE_TMPDIR"] {
        let dress = rig.dress.entry(421_003).or_default();
        dress.environment.push((directory.to_owned(), temporary.clone()));
    }
    for mount in [&logs, &temporary, &memory] {
        let ballast = std::fs::File::create(format!("{mount}/ballast")).unwrap();
        let mut place = 0;
        while ballast.write_all_at(&[7; 512], place).is_ok() {
            place += 512;
        }
    }
    for code in crate::rig::CODES {
        rig.fill(code);
        rig.serve(code);
    }
    for _ in 0..3 {
        let (code, result) = rig.ask(&rig.case("case.json", |_| {}));
        assert_eq!(
            (code, outcome(&result, 421_003).as_str()),
            (0, "answered"),
            "{result:#}"
        );
        std::thread::sleep(Duration::from_millis(1200));
    }
    assert_eq!(status(&rig, 421_003)["state"], "working");
    assert_eq!(std::fs::metadata(&log).map_or(0, |log| log.len()) >> 16, 0);
    assert!(!std::path::Path::new(&format!("{memory}/newest-checkpoint")).exists());
    // With room again it remembers by itself.
    std::fs::remove_file(format!("{memory}/ballast")).unwrap();
    let (code, _) = rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!(code, 0);
    until("remembering", Duration::from_secs(10), || {
        std::path::Path::new(&format!("{memory}/newest-checkpoint")).exists()
    });
    rig.kill(421_003);
    std::fs::remove_file(&log).unwrap();
}

/// A mount that goes with its test.
pub(crate) struct Mounted(pub(crate) String);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
