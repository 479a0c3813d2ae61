//! `backup create|verify|keygen` and `restore`: the whole database in one encrypted file, and back (S-30, G9).

use std::path::Path;
use std::sync::Arc;

use age::secrecy::ExposeSecret;
use anyhow::{Context, bail};
use sanku_federation_protocol::witness::cosigned;
use sanku_store::{Recovering, SCHEMA, Scratch, Teller};
use sanku_tlog::{Checkpoint, SignedNote};
use sanku_values::{Clock, SystemClock, Time};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::backup::{self, Header, Manifest};
use crate::cli::BackupCommand;
use crate::config::Loaded;
use crate::node::{Identity, Node, load, store_at};
use crate::operations::memory::Memory;
use crate::output::{remark, say, say_json, wrong_use};

/// Rows between the database and the file.
const WAITING: usize = 256;

pub(crate) async fn run(config: Option<&Path>, command: BackupCommand) -> anyhow::Result<u8> {
    match command {
        BackupCommand::Keygen { out, json } => keygen(&out, json.json),
        BackupCommand::Create { out, to, json } => create(config, &out, &to, json.json).await,
        BackupCommand::Verify { file, identity, json } => {
            let loaded = load(config)?;
            let judged = Judged::of(&loaded, &file, &identity).await?;
            judged.tell(&file, json.json);
            judged.scratch.discard().await?;
            Ok(0)
        }
    }
}

/// A key pair for backups: the secret half into a file, the other on standard output.
fn keygen(out: &Path, as_json: bool) -> anyhow::Result<u8> {
    let identity = age::x25519::Identity::generate();
    let secret = Zeroizing::new(format!("{}\n", identity.to_string().expose_secret()));
    sanku_certs::keys::write_new(out, secret.as_bytes())?;
    let recipient = identity.to_public().to_string();
    if as_json {
        say_json(&json!({ "recipient": recipient, "identity": out }));
    } else {
        remark(format!(
            "私钥已写入，移到别处保管 the secret half lies in {}: keep it elsewhere",
            out.display()
        ));
        say(recipient);
    }
    Ok(0)
}

async fn create(config: Option<&Path>, out: &Path, to: &[String], as_json: bool) -> anyhow::Result<u8> {
    let recipients = to
        .iter()
        .map(|to| {
            to.parse::<age::x25519::Recipient>()
                .map_err(|error| wrong_use(format!("--to {to}: {error}; 例如 such as age1…")))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    if recipients.len() < 2 {
        remark("只有一个收件人；私钥丢失即无法恢复 one recipient alone: if that key is lost, so is the backup");
    }
    let node = Node::open(config).await?;
    if let Some(recovering) = node.store.recovering() {
        remark(format!(
            "备份的是不完整的数据库 this is a backup of a database that is recovering: {recovering}"
        ));
    }
    let header = Header {
        log: node.store.origin().clone(),
        schema: SCHEMA,
        time: node.clock.now(),
    };
    let (sender, receiver) = mpsc::channel(WAITING);
    let (path, key) = (out.to_owned(), node.keys.log);
    let writing = tokio::task::spawn_blocking(move || backup::write(&path, &recipients, header, &key, receiver));
    let dumped = node.store.dump(sender).await;
    if let Err(error) = dumped {
        // What was cut short is no backup.
        let _ = writing.await;
        let _ = std::fs::remove_file(out);
        return Err(error.into());
    }
    let manifest = writing.await??;
    let size = std::fs::metadata(out)?.len();
    if as_json {
        let mut document = summary(&manifest);
        document["file"] = json!(out);
        document["bytes"] = json!(size);
        say_json(&document);
    } else {
        let checkpoint = parsed(&manifest.checkpoint)?.1;
        say(format!(
            "已备份 backed up: {} 条日志 entries, {} 行 rows, {size} 字节 bytes, {}",
            checkpoint.size,
            manifest.rows.values().sum::<u64>(),
            out.display()
        ));
        say("密钥不在其中，须另行保管 the keys are not in it: keep keys/ and key-file elsewhere");
    }
    Ok(0)
}

/// Puts a backup in the live database's place, once it was verified whole beside it.
pub(crate) async fn restore(config: Option<&Path>, file: &Path, identity: &Path, as_json: bool) -> anyhow::Result<u8> {
    let loaded = load(config)?;
    if tokio::net::UnixStream::connect(&loaded.node.listen.socket)
        .await
        .is_ok()
    {
        bail!("节点正在运行，先停止 the node runs: stop it first (systemctl stop sanku)");
    }
    let judged = Judged::of(&loaded, file, identity).await?;
    let (gap, said) = (judged.gap.clone(), judged.document(file));
    let kept = judged.scratch.put_in_place(SystemClock.now().millis()).await?;
    if as_json {
        let mut document = said;
        document["restored"] = true.into();
        document["old_database"] = json!(kept);
        say_json(&document);
    } else {
        say(format!(
            "已恢复 restored: {} 条日志 entries, {}",
            said["entries"], said["time"]
        ));
        if let Some(kept) = kept {
            say(format!("原数据库保留在 the old database is kept: {kept}"));
        }
        if let Some(gap) = &gap {
            remark(gap.to_string());
        }
    }
    Ok(if gap.is_some() { 3 } else { 0 })
}

/// A backup that holds, in a scratch database beside the live one.
struct Judged {
    scratch: Scratch,
    manifest: Manifest,
    checkpoint: Checkpoint,
    /// Size and time of the cosignature that counts.
    cosigned: Option<(u64, Option<Time>)>,
    /// What this node remembers beyond it.
    gap: Option<Recovering>,
}

impl Judged {
    /// Decrypts and verifies everything: recipients, header, digest, signature, then the whole log up to the checkpoint's root.
    async fn of(loaded: &Loaded, file: &Path, identity: &Path) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let identities = identities(identity)?;
        let Identity { keys, trust } = Identity::read(loaded, &*clock)?;
        let expected = Header {
            log: keys.origin.clone(),
            schema: SCHEMA,
            time: clock.now(),
        };
        let scratch = Scratch::beside(&loaded.node.storage.url, clock.now().millis()).await?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let (path, key) = (file.to_owned(), keys.log.verifier().clone());
        let reading = tokio::task::spawn_blocking(move || backup::read(&path, &identities, &expected, &key, &sender));
        let filled = scratch.fill(receiver).await;
        let judged = async {
            let manifest = reading.await??;
            filled?;
            let store = store_at(&scratch.url()?, &keys, &clock).await?;
            if let Some(recovering) = store.recovering() {
                bail!("备份中的日志不成立 the log in it does not hold: {recovering}");
            }
            let checkpoint = store.verify(|_, _| {}).await?;
            if parsed(&manifest.checkpoint)?.1 != checkpoint {
                bail!("日志不是清单中的检查点 the log is not the manifest's checkpoint");
            }
            let mut witnessed = None;
            if let Some(text) = &manifest.cosigned {
                let (note, covered) = parsed(text)?;
                store.remember(&note, Teller::File);
                store
                    .look()
                    .await
                    .context("日志与见证过的检查点不符 it is not what was witnessed")?;
                witnessed = Some((covered.size, cosigned(&trust, loaded.node.code, &note)));
            }
            Memory(loaded.node.storage.memory.clone()).recall(&store).await;
            let gap = store.recovering();
            store.close().await;
            Ok((manifest, checkpoint, witnessed, gap))
        };
        match judged.await {
            Ok((manifest, checkpoint, cosigned, gap)) => Ok(Self {
                scratch,
                manifest,
                checkpoint,
                cosigned,
                gap,
            }),
            Err(error) => {
                scratch.discard().await?;
                Err(error)
            }
        }
    }

    fn document(&self, file: &Path) -> Value {
        let mut document = summary(&self.manifest);
        document["ok"] = true.into();
        document["file"] = json!(file);
        document["age_seconds"] = json!((SystemClock.now().millis() - self.manifest.header.time.millis()) / 1000);
        document["witnessed"] = json!(self.cosigned.map(|(size, time)| json!({ "size": size, "time": time })));
        document["missing"] = json!(self.gap.as_ref().map_or(0, Recovering::missing));
        document["gap"] = json!(self.gap.as_ref().map(ToString::to_string));
        document["entries"] = json!(self.checkpoint.size);
        document
    }

    fn tell(&self, file: &Path, as_json: bool) {
        let document = self.document(file);
        if as_json {
            say_json(&document);
            return;
        }
        say(format!(
            "备份成立 the backup holds: {} 条日志 entries, {} 行 rows, {}",
            self.checkpoint.size,
            self.manifest.rows.values().sum::<u64>(),
            self.manifest.header.time
        ));
        match self.cosigned {
            Some((size, Some(time))) => say(format!("其中 {size} 条已见证 of them witnessed, at {time}")),
            _ => say("尚未见证 nothing in it is witnessed"),
        }
        if let Some(gap) = &self.gap {
            remark(gap.to_string());
        }
    }
}

fn summary(manifest: &Manifest) -> Value {
    let checkpoint = parsed(&manifest.checkpoint).ok().map(|(_, checkpoint)| checkpoint);
    json!({
        "log": manifest.header.log,
        "time": manifest.header.time,
        "digest": manifest.digest,
        "rows": manifest.rows,
        "entries": checkpoint.as_ref().map(|checkpoint| checkpoint.size),
        "root": checkpoint.map(|checkpoint| checkpoint.root),
    })
}

fn parsed(text: &str) -> anyhow::Result<(SignedNote, Checkpoint)> {
    let note = SignedNote::parse(text.as_bytes()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok((note, checkpoint))
}

/// The secret keys in a file.
fn identities(file: &Path) -> anyhow::Result<Vec<age::x25519::Identity>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("打不开 cannot open {}", file.display()))?;
    let keys = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<_> = keys.map(str::parse).collect::<Result<_, _>>().unwrap_or_default();
    if keys.is_empty() {
        return Err(wrong_use(format!(
            "--identity {}: 其中没有 age 私钥 holds no age identity (AGE-SECRET-KEY-1…)",
            file.display()
        )));
    }
    Ok(keys)
}
