//! A node from its configuration: keys, notes, database. What `serve` runs and what commands open beside it.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use sanku_certs::federation::notes_in;
use sanku_certs::{NodeKeys, Role, verify_chain};
use sanku_exchange::clock::STOP_BEYOND;
use sanku_federation_protocol::trust::Trust;
use sanku_store::{Glance, StorageKeys, Store, StoreError};
use sanku_tlog::{Hash, KeyType, SigningKey};
use sanku_values::{Clock, SystemClock, Time};

use crate::config::{Finding, Loaded};
use crate::operations::memory::Memory;

/// What a command needs of a node.
pub(crate) struct Node {
    pub(crate) loaded: Loaded,
    pub(crate) keys: NodeKeys,
    pub(crate) trust: Trust,
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Keys and notes, before the database is opened.
pub(crate) struct Identity {
    pub(crate) keys: NodeKeys,
    pub(crate) trust: Trust,
}

/// The configuration that `--config` names; beside nothing else, `node.toml` here.
pub(crate) fn load(config: Option<&Path>) -> anyhow::Result<Loaded> {
    Ok(Loaded::read(config.unwrap_or(Path::new("node.toml")))?)
}

impl Identity {
    /// Reads keys, certificates and notes and judges them together.
    /// What serves takes the newest log; a command stays with the one that the database has while nobody closed that.
    pub(crate) async fn read(loaded: &Loaded, clock: &dyn Clock, serves: bool) -> anyhow::Result<Self> {
        let config = &loaded.node;
        let folder = &config.identity.directory;
        let wrong = |message: String, cure: &str| loaded.finding("identity.directory", message, cure);
        let fingerprint: Hash = config
            .root
            .parse()
            .map_err(|_| loaded.finding("root", "不是指纹 not a fingerprint", "64 位十六进制 64 hex digits"))?;
        let notes = notes_in(folder).map_err(|error| {
            wrong(
                error.to_string(),
                "把联邦的公告放进 notes/ copy the federation's notes into notes/",
            )
        })?;
        let (mut trust, refused) = Trust::from_notes(
            config.federation.clone(),
            fingerprint,
            notes.iter().map(Vec::as_slice),
            clock.now(),
        );
        if trust.root().is_none() {
            bail!(loaded.finding(
                "root",
                "notes/ 中没有此指纹的根公告 no root note with this fingerprint stands in notes/",
                "核对指纹和 federation 一项 compare the fingerprint, and `federation`"
            ));
        }
        if let Some(error) = refused.first() {
            bail!(wrong(
                format!("有一份公告不成立 a note does not hold: {error}"),
                "从发布者重新取得公告 fetch the notes again from their publisher"
            ));
        }
        // Those that came over the network may name a newer log.
        let glance = Glance::at(&config.storage.url).await;
        trust.accept_all(glance.notes.iter().map(String::as_bytes), clock.now());
        let row = trust
            .registry()
            .and_then(|(_, registry, _)| registry.node(config.code).cloned());
        let Some(row) = row else {
            bail!(loaded.finding(
                "code",
                format!(
                    "登记公告中没有 {} the registry does not know {}",
                    config.code, config.code
                ),
                "用 sanku federation add 加入 add it with `sanku federation add`"
            ));
        };
        let newest = row.logs.iter().map(|log| log.number).max().unwrap_or(1);
        let open = row.logs.iter().filter(|log| log.final_size.is_none());
        let number = open
            .map(|log| log.number)
            .find(|number| !serves && glance.number == Some(*number))
            .unwrap_or(newest);
        let keys = NodeKeys::load(folder, &config.federation, config.code, number).map_err(|error| {
            wrong(
                error.to_string(),
                "改正后再试；密钥可从备份恢复，用登记公告中最新日志号的那一份 mend it as it says; keys come back from their backup, the one of the newest log number in the registry",
            )
        })?;
        if !row.logs.iter().any(|log| log.key == *keys.log.verifier()) {
            bail!(wrong(
                "日志密钥不是登记公告中的那一把 the log's key is not the registry's".to_owned(),
                "核对 identity.directory 是否属于本节点 see whether the directory belongs to this node"
            ));
        }
        Ok(Self { keys, trust })
    }

    /// Judges our own certificate as a neighbour would. Gives when it expires.
    pub(crate) fn judge_certificate(&self, loaded: &Loaded, clock: &dyn Clock) -> anyhow::Result<Time> {
        let identity = verify_chain(&self.keys.chain, Role::Server, &self.trust, clock.now()).map_err(|refused| {
            loaded.finding(
                "identity.directory",
                format!("证书不成立 the certificate does not hold: {refused}"),
                "换发证书 have a new certificate issued",
            )
        })?;
        if identity.code != loaded.node.code {
            bail!(loaded.finding(
                "code",
                format!(
                    "证书属于 {} the certificate belongs to {}",
                    identity.code, identity.code
                ),
                "核对 code 和 identity.directory compare both"
            ));
        }
        Ok(identity.not_after)
    }
}

/// Where socket, database and memory are to lie: what a start finds there, too.
pub(crate) fn places(loaded: &Loaded) -> Result<(), Finding> {
    let (node, there) = (&loaded.node, |path: &Path| path.parent().is_some_and(Path::is_dir));
    let kind = std::fs::symlink_metadata(&node.listen.socket).map(|found| found.file_type());
    if kind.is_ok_and(|kind| !kind.is_socket()) {
        return Err(loaded.finding(
            "listen.socket",
            format!(
                "{} 已存在且不是套接字 exists and is no socket",
                node.listen.socket.display()
            ),
            "写一个尚不存在的文件名 put the name of a file that does not exist yet",
        ));
    }
    let absent = |path: &Path| {
        let directory = path.parent().unwrap_or(Path::new("."));
        format!("{} 不存在 does not exist", directory.display())
    };
    if let Some(file) = node.storage.url.strip_prefix("sqlite:").map(Path::new)
        && !there(file)
    {
        return Err(loaded.finding("storage.url", absent(file), "建立这个目录 make the directory"));
    }
    let memory = &node.storage.memory;
    if !there(memory) {
        return Err(loaded.finding("storage.memory", absent(memory), "建立这个目录 make the directory"));
    }
    // Whether the directory can be written only writing tells.
    let probe = memory.with_file_name(format!(".sanku-check-{}", std::process::id()));
    std::fs::write(&probe, b"")
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|error| {
            loaded.finding(
                "storage.memory",
                format!("{}: {error}", memory.display()),
                "让运行节点的用户能写这个目录 let the node's user write this directory",
            )
        })
}

/// A database under this node's keys.
pub(crate) async fn store_at(url: &str, keys: &NodeKeys, clock: &Arc<dyn Clock>) -> Result<Store, StoreError> {
    let storage = StorageKeys::new(*keys.storage, *keys.index);
    let signing = SigningKey::from_seed(keys.log.verifier().name(), KeyType::Ed25519, *keys.log.seed())
        .map_err(|_| StoreError::Keys("the log's key"))?;
    Store::open(url, storage, keys.origin.clone(), signing, Arc::clone(clock)).await
}

impl Node {
    /// Opens everything, for a command.
    pub(crate) async fn open(config: Option<&Path>) -> anyhow::Result<Self> {
        Self::open_for(config, false).await
    }

    /// The same; what serves begins the newest log that the registry names.
    pub(crate) async fn open_for(config: Option<&Path>, serves: bool) -> anyhow::Result<Self> {
        let loaded = load(config)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let Identity { keys, mut trust } = Identity::read(&loaded, &*clock, serves).await?;
        places(&loaded)?;
        let store = store_at(&loaded.node.storage.url, &keys, &clock)
            .await
            .map_err(|error| {
                loaded.finding(
                    "storage.url",
                    error.to_string(),
                    "核对地址、权限和磁盘空间 see address, permissions and free space",
                )
            })?;
        Memory(loaded.node.storage.memory.clone()).recall(&store, &trust).await;
        let kept = store.notes().await?;
        trust.accept_all(kept.iter().map(String::as_bytes), clock.now());
        let names: Vec<_> = trust
            .all()
            .map(|(name, held)| (name.to_owned(), held.reference.number, Arc::clone(&held.bytes)))
            .collect();
        for (name, number, bytes) in names {
            store.keep_note(&name, number, &bytes).await?;
        }
        Ok(Self {
            loaded,
            keys,
            trust,
            store,
            clock,
        })
    }

    /// What a command appended is remembered outside of the database, too.
    pub(crate) fn keep_memory(&self) {
        Memory(self.loaded.node.storage.memory.clone()).keep(&self.store);
    }

    /// What a command appends beside the running node bears the same clock: while that node's is too far from its
    /// neighbours', nothing is appended here either; nor while that node is recovering.
    pub(crate) async fn heed_the_node(&self) -> anyhow::Result<()> {
        let mut theirs = None;
        let mut recovering = None;
        let asked = crate::socket::call(&self.loaded.node.listen.socket, "/status", Vec::new(), |status| {
            let time = status["time"].as_str().and_then(|time| time.parse::<Time>().ok());
            theirs = time
                .zip(status["clock"]["lead_ms"].as_i64())
                .map(|(time, lead)| Time::from_millis(time.millis() + lead));
            let missing = status["missing"].as_array().into_iter().flatten();
            let mut states = missing.filter(|missing| missing["what"] == "recovering");
            recovering = states
                .next()
                .and_then(|missing| missing["words"].as_str().map(str::to_owned));
        });
        // Where no node runs there is nobody to compare with.
        if tokio::time::timeout(std::time::Duration::from_secs(10), asked)
            .await
            .is_ok_and(|asked| asked.is_ok())
        {
            self.store.keep_within(STOP_BEYOND, theirs);
        }
        match recovering {
            Some(words) => bail!("节点处于恢复状态 recovering: {words}"),
            None => Ok(()),
        }
    }
}
