//! A throwaway PostgreSQL: its own directory, a Unix socket alone, gone with the test.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A cluster that ends with its value.
pub(crate) struct Cluster {
    place: tempfile::TempDir,
    programs: PathBuf,
}

impl Cluster {
    /// Starts a cluster; nothing where PostgreSQL is not installed, which CI does not allow.
    pub(crate) fn start() -> Option<Self> {
        let installed = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .find(|bin| bin.join("initdb").exists());
        let Some(programs) = installed else {
            assert!(std::env::var_os("CI").is_none(), "install Debian's postgresql");
            println!("skipped: PostgreSQL is not installed (Debian: postgresql)");
            return None;
        };
        let place = tempfile::tempdir().unwrap();
        let root = Command::new("id")
            .arg("-u")
            .output()
            .unwrap()
            .stdout
            .starts_with(b"0\n");
        if root {
            assert!(
                Command::new("chown")
                    .arg("postgres")
                    .arg(place.path())
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let cluster = Self { place, programs };
        let data = cluster.place.path().join("data");
        cluster.run(
            "initdb",
            &[
                "-D",
                &data.display().to_string(),
                "-U",
                "test",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ],
        );
        let options = format!(
            "-k {} -c listen_addresses= -c max_connections=100",
            cluster.place.path().display()
        );
        cluster.run(
            "pg_ctl",
            &[
                "-D",
                &data.display().to_string(),
                "-w",
                "-s",
                "-l",
                &cluster.place.path().join("log").display().to_string(),
                "-o",
                &options,
                "start",
            ],
        );
        Some(cluster)
    }

    /// Where it is reached.
    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://test@localhost/postgres?host={}",
            self.place.path().display()
        )
    }

    /// Whether a text stands in any file of the cluster, its write-ahead log included.
    pub(crate) fn files_hold(&self, text: &str) -> bool {
        for _ in 0..3 {
            let mut command = Command::new("grep");
            command.args(["-r", "-a", "-q", "-s", "-F", "-e", text]);
            let status = command
                .arg(self.place.path().join("data"))
                .env("LC_ALL", "C")
                .status()
                .unwrap();
            match status.code() {
                Some(0) => return true,
                Some(1) => return false,
                // A file went while it was read: look again.
                _ => {}
            }
        }
        panic!("the cluster's files could not be searched");
    }

    /// Runs psql with these arguments; it stops at the first error.
    #[allow(dead_code, reason = "not every user of this module speaks SQL itself")]
    pub(crate) fn sql(&self, arguments: &[&str]) {
        let place = self.place.path().display().to_string();
        let to = [
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            &place,
            "-U",
            "test",
            "-d",
            "postgres",
        ];
        self.run("psql", &[&to, arguments].concat());
    }

    /// PostgreSQL does not run as root.
    fn run(&self, program: &str, arguments: &[&str]) {
        let root = Command::new("id")
            .arg("-u")
            .output()
            .unwrap()
            .stdout
            .starts_with(b"0\n");
        let program = self.programs.join(program);
        let mut command = if root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        assert!(
            command
                .args(arguments)
                .stdout(Stdio::null())
                .current_dir("/tmp")
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let data = self.place.path().join("data").display().to_string();
        self.run("pg_ctl", &["-D", &data, "-m", "immediate", "-s", "stop"]);
    }
}
