//! A federation of real processes: founded, filled and started by the program's own commands.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A name and a number that must appear nowhere but in answers.
pub(crate) const NAME: &str = "金丝雀";
pub(crate) const NUMBER: &str = "11010519491231002X";

pub(crate) fn sanku() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sanku"));
    command.env_remove("SANKU_CONFIG").env("RUST_BACKTRACE", "0");
    command
}

/// The program after other words: `ip netns exec …`.
fn sanku_after(words: Vec<String>) -> Command {
    let mut words = words.into_iter();
    words.next().map_or_else(sanku, |first| {
        let mut command = Command::new(first);
        command.args(words).arg(env!("CARGO_BIN_EXE_sanku"));
        command.env_remove("SANKU_CONFIG").env("RUST_BACKTRACE", "0");
        command
    })
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    sanku().args(arguments).output().unwrap()
}

/// Runs a command that must end with 0, and gives its JSON.
pub(crate) fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {} {}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// How a proxy treats what a node sends back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Good,
    /// Nothing comes back for so long.
    Slow,
    /// The connection is cut after so many bytes of response.
    Cut,
    /// Nothing comes back for ten seconds.
    VerySlow,
    /// One byte a second comes back.
    Drip,
}

/// A proxy in front of a node's peer port.
pub(crate) struct Proxy {
    mode: Arc<AtomicU8>,
    cut_after: Arc<AtomicU64>,
}

impl Proxy {
    fn start(listener: TcpListener, to: String) -> Self {
        let (mode, cut_after) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
        let proxy = Self {
            mode: Arc::clone(&mode),
            cut_after: Arc::clone(&cut_after),
        };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&to) else { continue };
                let (mode, cut_after) = (Arc::clone(&mode), Arc::clone(&cut_after));
                let (client_out, server_out) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pump(client, server_out, None));
                std::thread::spawn(move || pump(server, client_out, Some(&(mode, cut_after))));
            }
        });
        proxy
    }

    pub(crate) fn set(&self, link: Link, bytes: u64) {
        self.cut_after.store(bytes, Ordering::SeqCst);
        self.mode.store(link as u8, Ordering::SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, link: Option<&(Arc<AtomicU8>, Arc<AtomicU64>)>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(mut read @ 1..) = from.read(&mut buffer) {
        if let Some((mode, cut_after)) = link {
            match mode.load(Ordering::SeqCst) {
                1 => std::thread::sleep(Duration::from_secs(3)),
                2 => {
                    let left = cut_after.load(Ordering::SeqCst);
                    if left < read as u64 {
                        let _ = to.write_all(&buffer[..usize::try_from(left).unwrap()]);
                        break;
                    }
                    cut_after.store(left - read as u64, Ordering::SeqCst);
                }
                3 => std::thread::sleep(Duration::from_secs(10)),
                4 => {
                    let mut sent = 0;
                    while mode.load(Ordering::SeqCst) == 4 && sent < read && to.write_all(&buffer[sent..=sent]).is_ok()
                    {
                        sent += 1;
                        std::thread::sleep(Duration::from_secs(1));
                    }
                    buffer.copy_within(sent..read, 0);
                    read -= sent;
                }
                _ => {}
            }
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// What a node is started with beside its configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dress {
    /// Words before the program's own: `ip netns exec …`.
    pub(crate) before: Vec<String>,
    /// The environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// Four nodes, each behind a proxy.
pub(crate) struct Rig {
    pub(crate) place: tempfile::TempDir,
    nodes: BTreeMap<u32, Child>,
    pub(crate) proxies: BTreeMap<u32, Proxy>,
    /// In front of a node's second address.
    pub(crate) second: Option<Proxy>,
    pub(crate) dress: BTreeMap<u32, Dress>,
}

pub(crate) const CODES: [u32; 4] = [420_000, 421_000, 421_002, 421_003];

/// A listener on a free port below those that the system gives to outgoing connections: nobody takes it by chance while a
/// node that owns it is down.
pub(crate) fn listener() -> TcpListener {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let turn = NEXT.fetch_add(1, Ordering::SeqCst) + u64::from(std::process::id()) * 131;
        let port = u16::try_from(10_000 + turn % 20_000).unwrap();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
    }
}

impl Rig {
    /// Founds the federation, imports one vehicle at each node, starts all four.
    pub(crate) fn start() -> Self {
        Self::filled(None)
    }

    /// The same; one node has a second address, with a proxy of its own.
    pub(crate) fn with_two_addresses(of: u32) -> Self {
        Self::filled(Some(of))
    }

    fn filled(two_addresses: Option<u32>) -> Self {
        let mut rig = Self::found_with(two_addresses);
        for code in CODES {
            rig.fill(code);
            rig.serve(code);
        }
        rig
    }

    /// Founds the federation: every node has its folder and its proxy, none holds anything or runs.
    pub(crate) fn found() -> Self {
        Self::found_with(None)
    }

    fn found_with(two_addresses: Option<u32>) -> Self {
        let mut rig = Self::bare();
        for code in CODES {
            let (outside, inside) = (listener(), listener());
            let (endpoint, real) = (
                outside.local_addr().unwrap().to_string(),
                inside.local_addr().unwrap().to_string(),
            );
            drop(inside);
            let other = (two_addresses == Some(code)).then(listener);
            let address = other.as_ref().map(|other| other.local_addr().unwrap().to_string());
            let mut endpoints = vec![endpoint.as_str()];
            endpoints.extend(address.as_deref());
            rig.add(code, &endpoints);
            rig.configure(code, &endpoint, &real);
            if let Some(other) = other {
                rig.second = Some(Proxy::start(other, real.clone()));
            }
            rig.proxies.insert(code, Proxy::start(outside, real));
        }
        rig
    }

    /// A place for a federation.
    pub(crate) fn bare() -> Self {
        Self {
            place: tempfile::tempdir().unwrap(),
            nodes: BTreeMap::new(),
            proxies: BTreeMap::new(),
            second: None,
            dress: BTreeMap::new(),
        }
    }

    /// Adds a node that is called at these endpoints; the province founds the federation.
    pub(crate) fn add(&self, code: u32, endpoints: &[&str]) {
        let (dir, number) = (self.place.path().join("f").display().to_string(), code.to_string());
        let words = if code == CODES[0] {
            vec!["init", &dir, "--name", "hubei.example"]
        } else {
            vec!["add", &number, "--dir", &dir]
        };
        let endpoints: Vec<_> = endpoints.iter().flat_map(|endpoint| ["--endpoint", endpoint]).collect();
        let output = run(&[&["federation"], words.as_slice(), &endpoints].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Whatever any library would log stands in the logs that are scanned.
        let file = self.folder(code).join("node.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text + "\n[log]\nlevel = \"trace\"\n").unwrap();
    }

    /// Replaces a text of a node's configuration, which must stand there.
    pub(crate) fn configure(&self, code: u32, from: &str, to: &str) {
        let file = self.folder(code).join("node.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from} does not stand in {text}");
        std::fs::write(&file, text.replace(from, to)).unwrap();
    }

    /// Imports the one vehicle.
    pub(crate) fn fill(&self, code: u32) {
        let file = self.place.path().join(format!("{code}.csv"));
        let rows = format!("姓名,身份证号,号牌,号牌种类\n{NAME},{NUMBER},鄂D{code},小型汽车\n");
        std::fs::write(&file, rows).unwrap();
        let file = file.display().to_string();
        let words = [
            "--category",
            "vehicle",
            "--source",
            "公安",
            "--as-of",
            "2026-11-01",
            "--json",
        ];
        let output = self.node(code, &[&["import", file.as_str()], words.as_slice()].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn folder(&self, code: u32) -> PathBuf {
        self.place.path().join("f").join(code.to_string())
    }

    /// Runs a command of one node, on its host.
    pub(crate) fn node(&self, code: u32, arguments: &[&str]) -> Output {
        let before = self.dress.get(&code).map(|dress| dress.before.clone());
        let mut command = sanku_after(before.unwrap_or_default());
        let config = self.folder(code).join("node.toml");
        let output = command.arg("--config").arg(config).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        for secret in planted() {
            assert!(!said.contains(&secret), "an error or a log line says {secret}: {said}");
        }
        output
    }

    /// Starts a node and waits until it answers.
    pub(crate) fn serve(&mut self, code: u32) {
        assert!(
            self.try_serve(code),
            "{code} does not serve: {}",
            std::fs::read_to_string(self.folder(code).join("node.log")).unwrap()
        );
    }

    /// Starts a node and waits until it answers, or has ended.
    pub(crate) fn try_serve(&mut self, code: u32) -> bool {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder(code).join("node.log"))
            .unwrap();
        let dress = self.dress.get(&code).cloned().unwrap_or_default();
        let mut child = sanku_after(dress.before)
            .envs(dress.environment)
            .arg("--config")
            .arg(self.folder(code).join("node.toml"))
            .args(["serve", "--until-stdin-closes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let socket = self.folder(code).join("run/node.sock");
        let until = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            if child.try_wait().unwrap().is_some() || Instant::now() > until {
                let _ = child.kill();
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.nodes.insert(code, child);
        true
    }

    /// Whether a node's process is there.
    pub(crate) fn lives(&mut self, code: u32) -> bool {
        self.nodes
            .get_mut(&code)
            .is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, code: u32) {
        if let Some(mut child) = self.nodes.remove(&code) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// A case about the one person, asked from 421002.
    pub(crate) fn case(&self, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
        let mut case = json!({
            "purpose": "minimum_living_allowance", "case": "1", "requester": "民政", "examiner": { "name": "甲", "staff_number": "1" }, "approver": { "name": "乙", "staff_number": "2" },
            "mandate": {
                "id": "019a0000-0000-7000-8000-000000000001", "signatories": [NAME], "subjects": [NUMBER], "categories": ["vehicle"], "purpose": "minimum_living_allowance",
                "valid_from": "2020-01-01T00:00:00.000Z", "valid_until": "2099-01-01T00:00:00.000Z", "letter": "0".repeat(64),
            },
            "subjects": [{ "number": NUMBER, "kind": "resident", "name": NAME, "role": "head" }],
            "categories": ["vehicle"], "scope": "federation", "priority": "person", "budget_ms": 2000, "expires_days": 20,
        });
        change(&mut case);
        let file = self.place.path().join(name);
        std::fs::write(&file, case.to_string()).unwrap();
        file
    }

    /// Asks from 421002.
    pub(crate) fn ask(&self, case: &Path) -> (i32, Value) {
        let output = self.node(421_002, &["query", &case.display().to_string(), "--json"]);
        (output.status.code().unwrap(), json_of(&output))
    }

    /// How many entries of a kind stand in a node's log about questions.
    pub(crate) fn entries(&self, code: u32) -> u64 {
        json_of(&self.node(code, &["log", "verify", "--json"]))["size"]
            .as_u64()
            .unwrap()
    }
}

/// A target's outcome in a result.
pub(crate) fn outcome(result: &Value, code: u32) -> String {
    let found = result["outcomes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|outcome| outcome["node"].as_str() == Some(&code.to_string()));
    found.unwrap_or_else(|| panic!("{code} has no outcome"))["outcome"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Every file of a node, however deep.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&path)),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}

/// S-33: none of these words stands in a node's folder: database, write-ahead log, logs, notes, configuration, keys.
/// Gives how many files were looked through.
pub(crate) fn scan(folder: &Path, secrets: &[String]) -> usize {
    let files = files_below(folder);
    for path in &files {
        // A journal may go between listing and reading.
        let bytes = std::fs::read(path).unwrap_or_default();
        for secret in secrets {
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
                "{secret} stands in {}",
                path.display()
            );
        }
    }
    files.len()
}

/// The words that stand in no file and no error of any test: the person, the person's number, all plates.
pub(crate) fn planted() -> Vec<String> {
    [NAME, NUMBER, "鄂D42", "鄂E0"].map(str::to_owned).to_vec()
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for code in CODES {
                assert!(
                    scan(&self.folder(code), &planted()) > 8,
                    "a node's folder has its files"
                );
            }
        }
        for child in self.nodes.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
