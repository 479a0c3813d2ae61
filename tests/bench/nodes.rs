//! A federation's nodes as real processes over mutual TLS, every duty on: keys, notes, configuration, imports, and what their
//! operations' port says.

use std::io::{BufWriter, Read, Write};
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

const NAME: &str = "测试甲";

/// A directory with the folders of its nodes; the first code is the province.
pub(crate) struct Federation {
    place: PathBuf,
    /// Gone with its value, unless it was made to stay.
    _temporary: Option<tempfile::TempDir>,
}

/// A node that runs; killed with its value.
pub(crate) struct Node(Child);

impl Node {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Megabytes of the process, by the name of the line in its status.
    pub(crate) fn memory(&self, what: &str) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with(what)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1000.0
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sanku() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sanku"));
    command.env_remove("SANKU_CONFIG");
    command
}

pub(crate) fn run(arguments: &[&str]) {
    let output = sanku().args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// An address that nobody listens at, below the ports that the machine gives to those who call: a hundred nodes call each other
/// before the last of them listens.
fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let place = NEXT.fetch_add(1, Ordering::Relaxed) + u16::try_from(std::process::id() % 20).unwrap() * 1000;
        let address = format!("127.0.0.1:{}", 10_000 + place % 22_000);
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// How many people have a number here.
pub(crate) const PEOPLE: u64 = 1_680_000;

/// A valid identity number (GB 11643) for each person, in no order of place.
pub(crate) fn number(person: u64) -> String {
    let (years, days, order) = (person % 60, person / 60 % 28, person / 1680);
    let text = format!(
        "420102{:04}{:02}{:02}{:03}",
        1940 + years,
        1 + days % 12,
        1 + days,
        order % 1000
    );
    let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 = text
        .bytes()
        .zip(weights)
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    let check = b"10X98765432"[(sum % 11) as usize] as char;
    format!("{text}{check}")
}

/// A file of a department: ten vehicles of each person, who all bear one name.
pub(crate) fn write_rows(file: &Path, prefix: u32, persons: Range<u64>) {
    let mut out = BufWriter::new(std::fs::File::create(file).unwrap());
    writeln!(
        out,
        "姓名,身份证号,号牌,号牌种类,品牌型号,车辆类型,使用性质,初次登记,状态"
    )
    .unwrap();
    for person in persons {
        let number = number(person);
        for record in 0..10 {
            let plate = person * 10 + record;
            writeln!(
                out,
                "{NAME},{number},{prefix}{plate:08},小型汽车,东风风神AX7,小型普通客车,非营运,2020-08-21,正常"
            )
            .unwrap();
        }
    }
    out.into_inner().unwrap().sync_all().unwrap();
}

impl Federation {
    /// Makes keys, notes and configuration of these nodes, with each one's database where it is not SQLite.
    pub(crate) fn new(codes: &[u32], url: impl Fn(usize) -> Option<String>) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut this = Self::at(temporary.path().join("f"), codes, url);
        this._temporary = Some(temporary);
        this
    }

    /// The same in a directory that stays.
    pub(crate) fn at(place: PathBuf, codes: &[u32], url: impl Fn(usize) -> Option<String>) -> Self {
        let directory = place.display().to_string();
        let this = Self {
            place,
            _temporary: None,
        };
        for (index, code) in codes.iter().enumerate() {
            let (code_text, endpoint) = (code.to_string(), free_address());
            if index == 0 {
                run(&["federation", "init", &directory, "--endpoint", &endpoint]);
            } else {
                run(&[
                    "federation",
                    "add",
                    &code_text,
                    "--dir",
                    &directory,
                    "--endpoint",
                    &endpoint,
                ]);
            }
            let file = this.folder(*code).join("node.toml");
            let mut text = std::fs::read_to_string(&file).unwrap();
            if let Some(url) = url(index) {
                text = text.replace("sqlite:node.db", &url);
            }
            // Budgets of a centre that asks thousands of questions a second; all of them are counted as ever.
            text.push_str("\n[policy.budgets]\nnode = 100000\nperson = 100000\npurpose = 100000\n");
            text.push_str(&format!("\n[operations]\nlisten = \"{}\"\n", free_address()));
            std::fs::write(&file, text).unwrap();
        }
        this
    }

    /// One that was made before.
    pub(crate) const fn open(place: PathBuf) -> Self {
        Self {
            place,
            _temporary: None,
        }
    }

    pub(crate) fn folder(&self, code: u32) -> PathBuf {
        self.place.join(code.to_string())
    }

    fn config(&self, code: u32) -> PathBuf {
        self.folder(code).join("node.toml")
    }

    /// Imports a file as the administrator would.
    pub(crate) fn import(&self, code: u32, file: &Path) {
        let (config, file) = (self.config(code).display().to_string(), file.display().to_string());
        run(&[
            "--config",
            &config,
            "import",
            &file,
            "--category",
            "vehicle",
            "--source",
            "公安",
            "--as-of",
            "2026-11-01",
            "--json",
        ]);
    }

    /// Starts a node; it listens when this returns.
    pub(crate) fn serve(&self, code: u32) -> Node {
        let child = sanku()
            .arg("--config")
            .arg(self.config(code))
            .args(["serve", "--until-stdin-closes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let node = Node(child);
        let until = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(self.socket(code)).is_err() {
            assert!(Instant::now() < until, "{code} does not serve");
            std::thread::sleep(Duration::from_micros(200));
        }
        node
    }

    pub(crate) fn socket(&self, code: u32) -> PathBuf {
        self.folder(code).join("run/node.sock")
    }

    /// The sum of a metric over its labels, as the node's operations' port says it.
    pub(crate) fn metric(&self, code: u32, name: &str) -> f64 {
        let text = std::fs::read_to_string(self.config(code)).unwrap();
        let (_, after) = text.split_once("[operations]\nlisten = \"").unwrap();
        let mut stream = std::net::TcpStream::connect(after.split('"').next().unwrap()).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let values = said
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        values
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}
