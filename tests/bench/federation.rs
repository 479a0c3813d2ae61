//! Ours: a province, a city and a district as real processes, mutual TLS, every duty on. The city asks all three.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::load::Measured;
use crate::postgres::Cluster;

const CODES: [u32; 3] = [420_000, 421_000, 421_002];
const CITY: u32 = 421_000;
const NAME: &str = "测试甲";

/// Nodes that end with their value.
pub(crate) struct Bench {
    place: tempfile::TempDir,
    nodes: Vec<Child>,
    persons: u64,
    /// How long filling took.
    pub(crate) said: String,
}

fn sanku() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sanku"));
    command.env_remove("SANKU_CONFIG");
    command
}

fn run(arguments: &[&str]) {
    let output = sanku().args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

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

impl Bench {
    pub(crate) fn start(persons: u64, clusters: Option<&[Cluster; 3]>) -> Self {
        assert!(persons <= 1_680_000, "there are not so many numbers");
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("f").display().to_string();
        for (place_of, code) in CODES.into_iter().enumerate() {
            let free = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .to_string();
            let code_text = code.to_string();
            if place_of == 0 {
                run(&["federation", "init", &directory, "--endpoint", &free]);
            } else {
                run(&[
                    "federation",
                    "add",
                    &code_text,
                    "--dir",
                    &directory,
                    "--endpoint",
                    &free,
                ]);
            }
            let file = place.path().join("f").join(&code_text).join("node.toml");
            let mut text = std::fs::read_to_string(&file).unwrap();
            if let Some(clusters) = clusters {
                text = text.replace("sqlite:node.db", &clusters[place_of].url());
            }
            // Budgets of a centre that asks thousands of questions a second; all of them are counted as ever.
            text.push_str("\n[policy.budgets]\nnode = 100000\nperson = 100000\npurpose = 100000\n");
            std::fs::write(&file, text).unwrap();
        }
        let mut this = Self {
            place,
            nodes: Vec::new(),
            persons,
            said: String::new(),
        };
        let began = Instant::now();
        for code in CODES {
            this.fill(code);
        }
        let rows = persons * 30;
        let took = began.elapsed().as_secs_f64();
        this.said = format!("{rows} rows imported in {took:.0} s ({:.0} rows/s)", rows as f64 / took);
        for code in CODES {
            let node = this.serve(code);
            this.nodes.push(node);
        }
        this
    }

    fn folder(&self, code: u32) -> PathBuf {
        self.place.path().join("f").join(code.to_string())
    }

    /// The city's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder(CITY).join("node.toml")
    }

    /// The nodes' processes, province first.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.nodes.iter().map(Child::id).collect()
    }

    fn fill(&self, code: u32) {
        let file = self.place.path().join(format!("{code}.csv"));
        let mut out = std::io::BufWriter::new(std::fs::File::create(&file).unwrap());
        writeln!(
            out,
            "姓名,身份证号,号牌,号牌种类,品牌型号,车辆类型,使用性质,初次登记,状态"
        )
        .unwrap();
        for person in 0..self.persons {
            for record in 0..10 {
                writeln!(
                    out,
                    "{NAME},{},{}{:08},小型汽车,东风风神AX7,小型普通客车,非营运,2020-08-21,正常",
                    number(person),
                    code % 10_000,
                    person * 10 + record
                )
                .unwrap();
            }
        }
        out.into_inner().unwrap().sync_all().unwrap();
        let config = self.folder(code).join("node.toml").display().to_string();
        run(&[
            "--config",
            &config,
            "import",
            &file.display().to_string(),
            "--category",
            "vehicle",
            "--source",
            "公安",
            "--as-of",
            "2026-11-01",
            "--json",
        ]);
        std::fs::remove_file(file).unwrap();
    }

    fn serve(&self, code: u32) -> Child {
        let child = sanku()
            .arg("--config")
            .arg(self.folder(code).join("node.toml"))
            .args(["serve", "--until-stdin-closes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(self.socket(code)).is_err() {
            assert!(Instant::now() < until, "{code} does not serve");
            std::thread::sleep(Duration::from_micros(200));
        }
        child
    }

    fn socket(&self, code: u32) -> PathBuf {
        self.folder(code).join("run/node.sock")
    }

    /// Lookups from so many clients for so many seconds; every one must be complete, with thirty facts.
    pub(crate) fn measure(&self, clients: u32, seconds: u64) -> Measured {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (socket, persons) = (self.socket(CITY), self.persons);
        let micros = runtime.block_on(async {
            let until = Instant::now() + Duration::from_secs(seconds);
            let clients: Vec<_> = (0..clients)
                .map(|_| tokio::spawn(client(socket.clone(), persons, until)))
                .collect();
            let mut micros = Vec::new();
            for client in clients {
                micros.extend(client.await.unwrap());
            }
            micros
        });
        Measured::of(micros, seconds as f64)
    }

    /// T9: until a node listens, what it holds in memory then, and with 1,000 lookups in flight.
    pub(crate) fn start_and_memory(mut self) -> String {
        let mut starts = Vec::new();
        for _ in 0..7 {
            let mut province = self.nodes.remove(0);
            province.kill().unwrap();
            province.wait().unwrap();
            let began = Instant::now();
            let node = self.serve(CODES[0]);
            starts.push(began.elapsed().as_secs_f64() * 1000.0);
            self.nodes.insert(0, node);
        }
        let mut city = self.nodes.remove(1);
        city.kill().unwrap();
        city.wait().unwrap();
        let node = self.serve(CITY);
        let after_start = memory(node.id(), "VmRSS");
        self.nodes.insert(1, node);
        let _ = self.measure(1000, 5);
        let peak = memory(self.nodes[1].id(), "VmHWM");
        format!(
            "listening after {:.1} ms (median of 7, kill -9 before each), {after_start:.0} MB resident after start, {peak:.0} MB at most with 1,000 lookups in flight",
            crate::median(starts)
        )
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

/// Megabytes of a process.
pub(crate) fn memory(process: u32, what: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1000.0
}

async fn client(socket: impl AsRef<Path>, persons: u64, until: Instant) -> Vec<u64> {
    let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut micros = Vec::new();
    while Instant::now() < until {
        let body = case(&number(fastrand::u64(0..persons)));
        let began = Instant::now();
        sender.ready().await.unwrap();
        let request = http::Request::post("/query")
            .header(http::header::HOST, "node")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        micros.push(u64::try_from(began.elapsed().as_micros()).unwrap());
        // Every answer is looked at: a fast wrong one does not count.
        let last = bytes
            .split(|byte| *byte == b'\n')
            .rev()
            .find(|line| !line.is_empty())
            .unwrap();
        let last: Value = serde_json::from_slice(last).unwrap();
        assert_eq!(last["result"]["complete"], true, "{last:#}");
        assert_eq!(last["result"]["facts"].as_array().unwrap().len(), 30);
    }
    micros
}

pub(crate) fn case(number: &str) -> String {
    json!({
        "purpose": "minimum_living_allowance", "case": "1", "requester": "民政", "examiner": { "name": "测试乙", "staff_number": "1" }, "approver": { "name": "测试丙", "staff_number": "2" },
        "mandate": {
            "id": "019a0000-0000-7000-8000-000000000001", "signatories": [NAME], "subjects": [number], "categories": ["vehicle"], "purpose": "minimum_living_allowance",
            "valid_from": "2020-01-01T00:00:00.000Z", "valid_until": "2099-01-01T00:00:00.000Z", "letter": "0".repeat(64),
        },
        "subjects": [{ "number": number, "kind": "resident", "name": NAME, "role": "head" }],
        "categories": ["vehicle"], "scope": "federation", "priority": "person", "budget_ms": 10_000, "expires_days": 20,
    })
    .to_string()
}
