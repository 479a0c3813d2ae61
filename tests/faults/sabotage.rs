//! Hurting a process at a call that the test names: `sabotage.c`, preloaded, and the words it is told.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::rig::Dress;

/// What happens to the call; the numbers are those of `sabotage.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    KillBefore = 1,
    KillAfter = 2,
    Fail = 3,
    /// Half of it is written, then the process is killed.
    Tear = 4,
    /// Half of it is written, and said so.
    Short = 5,
}

pub(crate) const WRITE: u64 = 1;
pub(crate) const SYNC: u64 = 2;
pub(crate) const RENAME: u64 = 4;
pub(crate) const SIZE: u64 = 8;
/// Whatever goes to a database server.
pub(crate) const SEND: u64 = 16;
pub(crate) const EIO: u64 = 5;
pub(crate) const ENOSPC: u64 = 28;

/// The words that a process under sabotage shares with its test.
pub(crate) struct Sabotage {
    control: std::fs::File,
    pub(crate) dress: Dress,
}

impl Sabotage {
    /// Of files whose path begins so.
    pub(crate) fn of_files(place: &Path, below: &Path) -> Self {
        Self::of(place, ("SABOTAGE_PATH", below.display().to_string()))
    }

    /// Of what is sent to a port.
    pub(crate) fn of_port(place: &Path, port: u16) -> Self {
        Self::of(place, ("SABOTAGE_PORT", port.to_string()))
    }

    fn of(place: &Path, whose: (&str, String)) -> Self {
        let (file, control) = (0..)
            .find_map(|number| {
                let file = place.join(format!("sabotage-{number}"));
                let made = std::fs::OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(&file);
                made.ok().map(|made| (file, made))
            })
            .unwrap();
        control.set_len(4096).unwrap();
        let environment = [
            ("LD_PRELOAD", library().display().to_string()),
            ("SABOTAGE_CONTROL", file.display().to_string()),
            whose,
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let dress = Dress {
            before: Vec::new(),
            environment,
        };
        Self { control, dress }
    }

    fn put(&self, word: u64, value: u64) {
        self.control.write_all_at(&value.to_ne_bytes(), word * 8).unwrap();
    }

    fn word(&self, word: u64) -> u64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, word * 8).unwrap();
        u64::from_ne_bytes(bytes)
    }

    /// From now on the calls are counted anew, and the one in this place is hurt.
    pub(crate) fn arm(&self, calls: u64, at: u64, act: Act, error: u64) {
        self.disarm();
        for (word, value) in [(2, act as u64), (3, calls), (6, error), (5, 0), (0, 0), (1, at)] {
            self.put(word, value);
        }
    }

    /// From now on all these calls fail.
    pub(crate) fn fail_all(&self, calls: u64, error: u64) {
        self.arm(calls, 1, Act::Fail, error);
        self.put(4, 1);
    }

    /// Nothing is hurt any more.
    pub(crate) fn disarm(&self) {
        self.put(1, 0);
        self.put(4, 0);
    }

    /// How many calls were hurt since it was armed.
    pub(crate) fn hurt(&self) -> u64 {
        self.word(5)
    }

    /// How many calls counted since it was armed.
    pub(crate) fn seen(&self) -> u64 {
        self.word(0)
    }
}

/// The library, built once.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/faults/sabotage.c");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sabotage-{}.so", std::process::id()));
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-o"])
            .arg(&target)
            .arg(source)
            .arg("-ldl")
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "sabotage.c is built with cc"
        );
        target
    })
}
