//! Throwaway servers of PostgreSQL: on the loopback or on a host of a test's network, with replicas that can be promoted.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::namespaces::Net;
use crate::rig::listener;
use crate::system;

/// A server with a directory of its own.
pub(crate) struct Cluster {
    place: tempfile::TempDir,
    programs: PathBuf,
    /// The words that run a command on its host.
    on: Vec<String>,
    address: String,
    port: u16,
}

impl Cluster {
    /// On a port of the loopback.
    pub(crate) fn start() -> Self {
        let port = listener().local_addr().unwrap().port();
        let cluster = Self::at("127.0.0.1".to_owned(), port, Vec::new());
        cluster.found(&[]);
        cluster
    }

    /// On a port of the loopback, with its data in an empty directory, which may be a mount, and its journal elsewhere.
    pub(crate) fn start_with_data_in(directory: &Path) -> Self {
        let port = listener().local_addr().unwrap().port();
        let cluster = Self::at("127.0.0.1".to_owned(), port, Vec::new());
        std::os::unix::fs::symlink(directory, cluster.data()).unwrap();
        let journal = cluster.place.path().join("wal").display().to_string();
        cluster.found(&["--waldir", &journal]);
        cluster
    }

    /// On a host of a network, for all of its hosts.
    pub(crate) fn on(net: &Net, host: u32) -> Self {
        let cluster = Self::at(net.address(host), 5432, net.on(host));
        cluster.found(&[]);
        cluster
    }

    fn at(address: String, port: u16, on: Vec<String>) -> Self {
        let mut installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let programs = installed.find_map(|entry| {
            let bin = entry.path().join("bin");
            bin.join("initdb").exists().then_some(bin)
        });
        let programs = programs.expect("install Debian's postgresql");
        let place = tempfile::tempdir().unwrap();
        if root() {
            system(&["chown", "postgres", &place.path().display().to_string()]);
        }
        Self {
            place,
            programs,
            on,
            address,
            port,
        }
    }

    fn found(&self, more: &[&str]) {
        let data = self.data();
        let words = [
            "-D",
            &data,
            "-U",
            "test",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        ];
        self.run("initdb", &[&words, more].concat());
        let rules = std::fs::OpenOptions::new()
            .append(true)
            .open(format!("{data}/pg_hba.conf"));
        writeln!(rules.unwrap(), "host all all 10.88.0.0/24 trust").unwrap();
        self.begin();
    }

    fn data(&self) -> String {
        self.place.path().join("data").display().to_string()
    }

    /// Starts the server on what its directory holds.
    pub(crate) fn begin(&self) {
        let log = self.place.path().join("log").display().to_string();
        let options = format!(
            "-k {} -p {} -c listen_addresses={}",
            self.place.path().display(),
            self.port,
            self.address
        );
        self.run(
            "pg_ctl",
            &["-D", &self.data(), "-w", "-s", "-l", &log, "-o", &options, "start"],
        );
    }

    /// The server dies.
    pub(crate) fn end(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-s", "stop"]);
    }

    /// A server that follows this one.
    pub(crate) fn replica(&self) -> Self {
        let port = listener().local_addr().unwrap().port();
        let replica = Self::at(self.address.clone(), port, self.on.clone());
        let (data, port) = (replica.data(), self.port.to_string());
        let of = ["-h", &self.address, "-p", &port, "-U", "test"];
        let whole = ["-D", &data, "-R", "-X", "stream", "-c", "fast"];
        replica.run("pg_basebackup", &[of.as_slice(), &whole].concat());
        replica.begin();
        replica
    }

    /// A replica becomes the server at the address of the one that died; what it did not hear of is lost.
    pub(crate) fn take_the_place_of(&mut self, other: &Self) {
        let _ = self
            .command("pg_ctl")
            .args(["-D", &self.data(), "-m", "fast", "-s", "stop"])
            .status();
        self.port = other.port;
        self.begin();
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-s", "promote"]);
    }

    pub(crate) fn url(&self) -> String {
        let Self { address, port, .. } = self;
        format!("postgres://test@{address}:{port}/postgres?sslmode=disable")
    }

    /// The port on which it is called.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The one value that a query gives.
    pub(crate) fn value(&self, query: &str) -> String {
        let mut client = self.command("psql");
        let output = client
            .stdout(Stdio::piped())
            .arg(self.url())
            .args(["-Atc", query])
            .output()
            .unwrap();
        assert!(output.status.success(), "{query}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// PostgreSQL does not run as root.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program).display().to_string();
        let other: &[&str] = if root() {
            &["runuser", "-u", "postgres", "--"]
        } else {
            &[]
        };
        let on = self.on.iter().map(String::as_str);
        let mut words = on.chain(other.iter().copied()).chain([program.as_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .current_dir("/tmp")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        assert!(
            self.command(program).args(arguments).status().unwrap().success(),
            "{program} {arguments:?}"
        );
    }

    /// A client that takes a lock and keeps it until it is dropped.
    pub(crate) fn lock(&self, statement: &str) -> Child {
        let mut client = self
            .command("psql")
            .arg(self.url())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let words = format!("BEGIN; {statement};\n");
        client.stdin.as_mut().unwrap().write_all(words.as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(700));
        client
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self
            .command("pg_ctl")
            .args(["-D", &self.data(), "-m", "immediate", "-s", "stop"])
            .status();
    }
}

fn root() -> bool {
    Command::new("id").arg("-u").output().unwrap().stdout == b"0\n"
}
