//! The file of a backup (备份): an age file that holds one header line, the database's rows as lines, and a manifest that the
//! log's key signed. Written and read as it streams; keys are never in it.
//!
//! The manifest's signed text begins with another line than a checkpoint's, so that neither passes for the other.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use sanku_federation_protocol::names::Origin;
use sanku_tlog::{SignedNote, SigningKey, VerifierKey};
use sanku_values::Time;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// The first words of the file, and of what is signed.
const BEGIN: &str = "sanku/v1/backup";
/// No row is longer: a run that was received has 8 MiB at most.
const LONGEST: u64 = 32 << 20;

/// Whose database it is, and of when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) log: Origin,
    pub(crate) schema: usize,
    pub(crate) time: Time,
}

/// What was written, signed by the log's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) header: Header,
    /// SHA-256 over every line before the manifest.
    pub(crate) digest: String,
    /// Rows by table.
    pub(crate) rows: BTreeMap<String, u64>,
    /// The log's newest checkpoint, as it was signed.
    pub(crate) checkpoint: String,
    /// The newest with the cosignature that counts.
    pub(crate) cosigned: Option<String>,
}

/// Lines that are counted as they pass.
struct Counted {
    digest: digest::Context,
    rows: BTreeMap<String, u64>,
    checkpoint: Option<String>,
    cosigned: Option<String>,
}

impl Counted {
    fn new() -> Self {
        Self {
            digest: digest::Context::new(&digest::SHA256),
            rows: BTreeMap::new(),
            checkpoint: None,
            cosigned: None,
        }
    }

    fn row(&mut self, line: &str) {
        self.digest.update(line.as_bytes());
        let (table, values) = line.split_once(' ').unwrap_or((line, ""));
        *self.rows.entry(table.to_owned()).or_default() += 1;
        let last = || {
            let values: Vec<serde_json::Value> = serde_json::from_str(values).ok()?;
            values.last()?.as_str().map(str::to_owned)
        };
        match table {
            "head" => self.checkpoint = last(),
            "cosigned" => self.cosigned = last(),
            _ => {}
        }
    }

    fn manifest(self, header: Header) -> Manifest {
        let digest = self.digest.finish();
        Manifest {
            header,
            digest: digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect(),
            rows: self.rows,
            checkpoint: self.checkpoint.unwrap_or_default(),
            cosigned: self.cosigned,
        }
    }
}

/// Writes a backup; the file is whole or not there. Blocks.
pub(crate) fn write(
    out: &Path,
    recipients: &[age::x25519::Recipient],
    header: Header,
    key: &SigningKey,
    mut lines: mpsc::Receiver<String>,
) -> anyhow::Result<Manifest> {
    if out.exists() {
        bail!(
            "{} 已存在，未覆盖 exists already; nothing was overwritten",
            out.display()
        );
    }
    let mut young = out.as_os_str().to_owned();
    young.push(".unfinished");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&young);
    let file = file.with_context(|| format!("写不了 cannot write {}", out.display()))?;
    let encryptor = age::Encryptor::with_recipients(recipients.iter().map(|to| to as &dyn age::Recipient))
        .context("no recipient")?;
    let mut sealed = encryptor.wrap_output(BufWriter::new(file))?;
    let mut counted = Counted::new();
    let first = format!("{BEGIN} {}\n", serde_json::to_string(&header)?);
    counted.digest.update(first.as_bytes());
    sealed.write_all(first.as_bytes())?;
    while let Some(line) = lines.blocking_recv() {
        counted.row(&line);
        sealed.write_all(line.as_bytes())?;
    }
    let manifest = counted.manifest(header);
    let signed = key.sign_note(&format!("{BEGIN}\n{}\n", serde_json::to_string(&manifest)?));
    let signed = signed.map_err(|error| anyhow::anyhow!("the manifest cannot be signed: {error}"))?;
    writeln!(sealed, "manifest {}", STANDARD.encode(signed.to_string()))?;
    let file = sealed
        .finish()?
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    std::fs::rename(&young, out)?;
    let directory = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all())?;
    Ok(manifest)
}

/// Reads a backup to its end: decrypts, gives its rows, and checks whose it is, the digest, the counts and the signature. What
/// the rows gave counts only if this returns. Blocks.
pub(crate) fn read(
    from: &Path,
    identities: &[age::x25519::Identity],
    expected: &Header,
    keys: &[VerifierKey],
    rows: &mpsc::Sender<String>,
) -> anyhow::Result<Manifest> {
    let file = File::open(from).with_context(|| format!("打不开 cannot open {}", from.display()))?;
    let spoilt = "文件被截断或改动，换一份备份 the file is cut short or was changed; take another backup";
    let decryptor = age::Decryptor::new(BufReader::new(file)).context(spoilt)?;
    let opened = decryptor.decrypt(identities.iter().map(|identity| identity as &dyn age::Identity));
    let plain = opened.map_err(|error| match error {
        age::DecryptError::NoMatchingKeys => anyhow::anyhow!(
            "这把私钥打不开此备份，用 --identity 给出收件人的私钥 this identity does not open it: give the one of a recipient with --identity"
        ),
        error => anyhow::Error::new(error).context(spoilt),
    })?;
    let mut plain = BufReader::new(plain);
    let mut line = String::new();
    let mut next = |line: &mut String| -> anyhow::Result<bool> {
        line.clear();
        let read = Read::by_ref(&mut plain).take(LONGEST).read_line(line).context(spoilt)?;
        if read > 0 && !line.ends_with('\n') {
            bail!(spoilt);
        }
        Ok(read > 0)
    };
    next(&mut line)?;
    let header = line
        .strip_prefix(BEGIN)
        .and_then(|json| serde_json::from_str::<Header>(json).ok());
    let header = header.context("不是 sanku 备份 not a backup of sanku")?;
    let key = belongs(&header, expected, keys)?;
    let mut counted = Counted::new();
    counted.digest.update(line.as_bytes());
    loop {
        if !next(&mut line)? {
            bail!(spoilt);
        }
        if let Some(signed) = line.strip_prefix("manifest ") {
            let note = STANDARD
                .decode(signed.trim_end())
                .ok()
                .and_then(|bytes| SignedNote::parse(&bytes).ok());
            let note = note.context(spoilt)?;
            note.verified_by(key).map_err(|_| {
                anyhow::anyhow!("清单不是本节点日志密钥签的 the manifest is not signed by this node's log key")
            })?;
            let json = note.text().strip_prefix(BEGIN).context(spoilt)?;
            let manifest: Manifest = serde_json::from_str(json).context(spoilt)?;
            if counted.manifest(header) != manifest || next(&mut line)? {
                bail!("内容与清单不符 the rows are not those of the manifest; take another backup");
            }
            return Ok(manifest);
        }
        counted.row(&line);
        if rows.blocking_send(line.clone()).is_err() {
            // Whoever fills the scratch database knows why.
            bail!("内容写不进临时数据库 the rows do not go into the scratch database");
        }
    }
}

/// The key of the log that it is of: this node's, or an earlier one.
fn belongs<'a>(header: &Header, expected: &Header, keys: &'a [VerifierKey]) -> anyhow::Result<&'a VerifierKey> {
    let Some(key) = keys.iter().find(|key| key.name() == header.log.to_string()) else {
        bail!(
            "这是 {} 的备份，本节点的日志是 {} this is a backup of another log than this node's",
            header.log,
            expected.log
        );
    };
    if header.schema != expected.schema {
        bail!(
            "备份的数据库结构是第 {} 版，本程序是第 {} 版；用当时的程序恢复，再升级 restore it with the program that made it, then upgrade",
            header.schema,
            expected.schema
        );
    }
    Ok(key)
}
