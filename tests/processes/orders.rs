//! Orders of two persons, as files: the commands of the handbook as they stand there, and what they refuse.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::rig::{Rig, json_of, outcome, run};

fn shell(place: &Path, script: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_sanku")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    Command::new("bash")
        .args(["-euc", script])
        .current_dir(place)
        .env("PATH", path)
        .env_remove("SANKU_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Everything that the handbook does up to its orders, in a fresh place.
fn ceremony() -> tempfile::TempDir {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let handbook = std::fs::read_to_string(top.join("docs/certificates.md")).unwrap();
    let blocks: Vec<_> = handbook
        .split("```sh\n")
        .skip(1)
        .map(|part| part.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 6, "{}", blocks.len());
    let place = tempfile::tempdir().unwrap();
    for block in blocks {
        let output = shell(place.path(), block);
        assert!(output.status.success(), "{block}{}", said(&output));
    }
    place
}

#[test]
fn c13_the_handbooks_ceremony_ends_with_orders_that_two_people_signed() {
    let place = ceremony();
    let path = |name: &str| place.path().join(name).display().to_string();
    let root = std::fs::read_to_string(path("root.txt")).unwrap().trim().to_owned();
    let show = |order: &str| {
        let output = run(&[
            "certs",
            "show",
            &path(order),
            "--notes",
            &path("notes"),
            "--root",
            &root,
            "--json",
        ]);
        (output.status.code(), json_of(&output))
    };
    let (code, document) = show("suspend.order");
    assert_eq!(
        (code, document["verdict"].as_str()),
        (Some(0), Some("approved")),
        "{document:#}"
    );
    assert_eq!(document["signers"], serde_json::json!(["a1", "a2"]));
    assert_eq!(document["order"]["act"]["action"], "node.suspend");
    // The people note that the handbook's two administrators signed admits a third.
    let people = std::fs::read_to_string(path("notes/people-420000-2.note")).unwrap();
    assert!(people.contains("hubei.example/person/420000/m2"), "{people}");

    // One signature; a changed byte; somebody of another role; the same person again.
    let sign = |arguments: &[&str], person: &str| {
        let (key, passphrase) = (path(&format!("{person}.key")), path(&format!("{person}.txt")));
        run(&[arguments, &["--as", &key, "--passphrase-file", &passphrase]].concat())
    };
    let alone = path("alone.order");
    let (key, passphrase) = (path("a1.key"), path("a1.txt"));
    let options = [
        "--as",
        &key,
        "--passphrase-file",
        &passphrase,
        "--reason",
        "试验",
        "--out",
        &alone,
    ];
    let proposed = run(&[&["certs", "order"], &options[..], &["resume", "421003"]].concat());
    assert!(proposed.status.success(), "{}", said(&proposed));
    assert_eq!(show("alone.order").1["verdict"], "order_one_person");
    let again = sign(&["certs", "approve", &alone], "a1");
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("another person approves it"), "{}", said(&again));
    let wrong = sign(&["certs", "approve", &alone], "m1");
    assert!(wrong.status.success());
    assert_eq!(show("alone.order").1["verdict"], "order_role");
    let text = std::fs::read_to_string(path("suspend.order")).unwrap();
    std::fs::write(path("changed.order"), text.replace("421003", "421002")).unwrap();
    assert_eq!(show("changed.order").1["verdict"], "order_signature");
    let elsewhere = run(&[
        "certs",
        "show",
        &path("suspend.order"),
        "--notes",
        &path("notes"),
        "--root",
        &"00".repeat(32),
    ]);
    assert_eq!(elsewhere.status.code(), Some(2), "{}", said(&elsewhere));
}

#[test]
fn keys_and_passphrases_stay_where_they_are() {
    let place = ceremony();
    let path = |name: &str| place.path().join(name).display().to_string();
    let wrong = run(&[
        "certs",
        "person",
        "passphrase",
        &path("a1.key"),
        "--passphrase-file",
        &path("a2.txt"),
        "--new-passphrase-file",
        &path("a2.txt"),
    ]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(said(&wrong).contains("口令不对"), "{}", said(&wrong));
    let again = run(&[
        "certs",
        "person",
        "new",
        "--federation",
        "hubei.example",
        "--centre",
        "420000",
        "--id",
        "a1",
        "--out",
        &path("a1.key"),
    ]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    // No terminal: it says what to do instead of waiting.
    let asked = Command::new("setsid")
        .args([
            env!("CARGO_BIN_EXE_sanku"),
            "certs",
            "approve",
            &path("suspend.order"),
            "--as",
            &path("a2.key"),
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(asked.status.code(), Some(1));
    assert!(said(&asked).contains("there is no terminal"), "{}", said(&asked));
    let open = run(&["certs", "person", "show", &path("a1.txt")]);
    assert_eq!(open.status.code(), Some(1), "a passphrase is no key");
    let mut secrets = Vec::new();
    for name in ["chen", "li", "wang", "a1", "a2", "m1", "m2"] {
        let file = path(&format!("{name}.txt"));
        secrets.push(std::fs::read_to_string(file).unwrap().trim().to_owned());
    }
    let mut pending = vec![place.path().to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                pending.push(entry);
                continue;
            }
            if entry.extension().is_some_and(|extension| extension == "txt") {
                continue;
            }
            let text = String::from_utf8_lossy(&std::fs::read(&entry).unwrap()).into_owned();
            assert!(
                secrets.iter().all(|secret| !text.contains(secret)),
                "{}",
                entry.display()
            );
        }
    }
}

/// A federation of processes whose province has people.
struct Governed {
    rig: Rig,
    people: tempfile::TempDir,
}

impl Governed {
    fn start() -> Self {
        let people = tempfile::tempdir().unwrap();
        let script = "umask 077; for who in a1 a2 m1 m2; do echo \"a sentence that only $who knows\" > $who.txt
            sanku certs person new --federation hubei.example --centre 420000 --id $who --out $who.key --passphrase-file $who.txt > $who.pub; done";
        let output = shell(people.path(), script);
        assert!(output.status.success(), "{}", said(&output));
        let this = Self {
            rig: Rig::start(),
            people,
        };
        let person = |role: &str, id: &str| {
            let key = std::fs::read_to_string(this.path(&format!("{id}.pub"))).unwrap();
            format!("{role}={}", key.trim())
        };
        let (a1, a2) = (
            person("security_administrator", "a1"),
            person("security_administrator", "a2"),
        );
        let m1 = person("system_administrator", "m1");
        let words = [
            "federation",
            "people",
            "--dir",
            &this.dir(),
            "--person",
            &a1,
            "--person",
            &a2,
            "--person",
            &m1,
        ];
        let first = run(&words);
        assert!(first.status.success(), "{}", said(&first));
        let second = run(&words);
        assert_eq!(second.status.code(), Some(1), "two of its people sign every later note");
        this
    }

    fn path(&self, name: &str) -> String {
        self.people.path().join(name).display().to_string()
    }

    fn dir(&self) -> String {
        self.rig.folder(420_000).parent().unwrap().display().to_string()
    }

    fn sign(&self, who: &str, words: &[&str], rest: &[&str]) -> Output {
        let (key, passphrase) = (self.path(&format!("{who}.key")), self.path(&format!("{who}.txt")));
        run(&[words, &["--as", &key, "--passphrase-file", &passphrase], rest].concat())
    }

    fn propose(&self, who: &str, order: &str, options: &[&str], act: &[&str]) {
        let out = self.path(order);
        let options = [&["--reason", "试验", "--out", &out], options, act].concat();
        let output = self.sign(who, &["certs", "order"], &options);
        assert!(output.status.success(), "{}", said(&output));
    }

    fn approve(&self, who: &str, order: &str, options: &[&str]) {
        let output = self.sign(who, &["certs", "approve", &self.path(order)], options);
        assert!(output.status.success(), "{}", said(&output));
    }

    /// What became of an order: the exit code and the verdict.
    fn execute(&self, order: &str) -> (i32, String) {
        let output = self.rig.node(
            420_000,
            &["certs", "execute", &self.path(order), "--dir", &self.dir(), "--json"],
        );
        let document = json_of(&output);
        let word = document["verdict"]
            .as_str()
            .map_or_else(|| document.to_string(), str::to_owned);
        (output.status.code().unwrap(), word)
    }

    /// Asks until a district ends in this way; how often, and how long it took.
    fn until(&self, case: &Path, wanted: &str) -> std::time::Duration {
        let began = std::time::Instant::now();
        loop {
            let (_, result) = self.rig.ask(case);
            if outcome(&result, 421_003) == wanted {
                return began.elapsed();
            }
            assert!(began.elapsed() < std::time::Duration::from_secs(30), "{result:#}");
        }
    }
}

#[test]
fn c13_c14_two_people_suspend_a_district_two_let_it_back_and_two_revoke_it() {
    let this = Governed::start();
    let case = |name: &str| this.rig.case(name, |_| {});
    this.until(&case("before"), "answered");
    let before = this.rig.entries(420_000);

    this.propose("a1", "suspend.order", &[], &["suspend", "421003"]);
    assert_eq!(this.execute("suspend.order"), (1, "order_one_person".to_owned()));
    this.approve("m1", "suspend.order", &[]);
    assert_eq!(this.execute("suspend.order"), (1, "order_role".to_owned()));
    assert_eq!(this.rig.entries(420_000), before, "what is refused is no act");

    this.propose("a1", "again.order", &[], &["suspend", "421003"]);
    this.approve("a2", "again.order", &[]);
    assert_eq!(this.execute("again.order"), (0, "executed".to_owned()));
    assert_eq!(this.execute("again.order"), (1, "order_twice".to_owned()));
    assert_eq!(this.rig.entries(420_000), before + 1, "one act for one order");
    let took = this.until(&case("suspended"), "suspended");
    eprintln!("the asker says so {took:?} after the order was executed");

    // A node that is suspended cannot be suspended; said before anything is logged.
    this.propose("a2", "more.order", &[], &["suspend", "421003"]);
    this.approve("a1", "more.order", &[]);
    let before = this.rig.entries(420_000);
    let (code, said) = this.execute("more.order");
    assert!(
        code == 1 && said.contains("in state suspended there is no suspend"),
        "{said}"
    );
    assert_eq!(this.rig.entries(420_000), before);

    this.propose("a2", "resume.order", &[], &["resume", "421003"]);
    this.approve("a1", "resume.order", &[]);
    assert_eq!(this.execute("resume.order"), (0, "executed".to_owned()));
    this.until(&case("back"), "answered");

    this.propose("a1", "revoke.order", &[], &["revoke", "421003"]);
    this.approve("a2", "revoke.order", &[]);
    assert_eq!(this.execute("revoke.order"), (0, "executed".to_owned()));
    this.until(&case("revoked"), "not_trusted");

    // C-14: the acts stand in the log, each with both persons.
    let bundle = this.path("tiles");
    assert!(this.rig.node(420_000, &["log", "tiles", &bundle]).status.success());
    let entries = std::fs::read_dir(Path::new(&bundle).join("tile/entries")).unwrap();
    let text: String = entries
        .flatten()
        .flat_map(|entry| files(&entry.path()))
        .map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned())
        .collect();
    assert_eq!(text.matches("\"action\":\"order.execute\"").count(), 3, "{text}");
    for action in ["node.suspend", "node.resume", "revoke"] {
        assert!(text.contains(&format!("\"ordered\":\"{action}\"")), "{action}");
    }
    let audit = json_of(&this.rig.node(420_000, &["certs", "audit", "--json"]));
    let rows = audit["orders"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "{audit:#}");
    assert_eq!(rows[0]["signers"], serde_json::json!(["a1", "a2"]));
    assert_eq!(
        (rows[0]["action"].as_str(), rows[0]["done"].as_bool()),
        (Some("node.suspend"), Some(true))
    );
    assert_eq!(rows[1]["about"]["code"], "421003");
}

fn files(place: &Path) -> Vec<std::path::PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    std::fs::read_dir(place)
        .unwrap()
        .flatten()
        .flat_map(|entry| files(&entry.path()))
        .collect()
}

#[test]
fn c13_a_person_is_admitted_and_dismissed_by_two_others() {
    let this = Governed::start();
    let notes = Path::new(&this.dir()).join("authority/notes");
    let newest = || {
        let people = std::fs::read_dir(&notes).unwrap().flatten().map(|entry| entry.path());
        let mut people: Vec<_> = people
            .filter(|path| path.display().to_string().contains("people-420000"))
            .collect();
        people.sort();
        people.pop().unwrap().display().to_string()
    };
    let m2 = std::fs::read_to_string(this.path("m2.pub")).unwrap();
    let m2 = format!("system_administrator={}", m2.trim());
    let in_force = newest();
    this.propose("a1", "admit.order", &["--people", &in_force], &["admit", &m2]);
    let alone = this.execute("admit.order");
    assert_eq!(alone, (1, "order_one_person".to_owned()));
    this.approve("a2", "admit.order", &["--people", &in_force]);
    assert_eq!(this.execute("admit.order"), (0, "executed".to_owned()));
    // The newcomer acts: with m1, who was there before.
    this.propose("m2", "place.order", &[], &["place-open", "421022"]);
    this.approve("m1", "place.order", &[]);
    let (code, said) = this.execute("place.order");
    assert!(
        code == 1 && said.contains("does not carry out place.open yet"),
        "{said}"
    );
    let in_force = newest();
    this.propose("a2", "dismiss.order", &["--people", &in_force], &["dismiss", "m2"]);
    this.approve("a1", "dismiss.order", &["--people", &in_force]);
    assert_eq!(this.execute("dismiss.order"), (0, "executed".to_owned()));
    assert_eq!(this.execute("dismiss.order"), (1, "order_twice".to_owned()));
    // A dismissed person signs for nobody.
    assert_eq!(this.execute("place.order"), (1, "order_one_person".to_owned()));
}
