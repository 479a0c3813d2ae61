//! Whether this node can do its work now, and what is missing if not.

use sanku_exchange::clock::Clocks;
use sanku_store::Standing;

use crate::operations::{PATIENCE, Running};

/// Something without which the node cannot answer: a stable word, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Missing {
    /// Stable.
    pub(crate) what: &'static str,
    /// For people.
    pub(crate) words: String,
}

/// What a look at the whole node gave.
pub(crate) struct Look {
    /// The store's counts, where it answers.
    pub(crate) standing: Option<Standing>,
    /// What is missing; empty where the node is ready.
    pub(crate) missing: Vec<Missing>,
}

impl Look {
    /// `working`, or what keeps it from working.
    pub(crate) fn state(&self) -> &'static str {
        self.missing.first().map_or("working", |missing| missing.what)
    }
}

/// Looks at database, notes, certificate and clock.
pub(crate) async fn look(node: &Running) -> Look {
    let mut missing = Vec::new();
    let mut lacks = |what, words: &str| {
        missing.push(Missing {
            what,
            words: words.to_owned(),
        });
    };
    if node.work.is_stopping() {
        lacks("stopping", "节点正在停止 the node is stopping");
    }
    if let Some(recovering) = node.exchange.store().recovering() {
        lacks("recovering", &recovering.to_string());
    }
    let standing = match tokio::time::timeout(PATIENCE, node.exchange.store().standing()).await {
        Ok(Ok(standing)) => Some(standing),
        Ok(Err(_)) | Err(_) => {
            lacks(
                "database",
                "数据库没有应答，检查服务、磁盘和权限 the database does not answer; see its service, disk and permissions",
            );
            None
        }
    };
    if !node.exchange.store().has_room().await {
        lacks(
            "disk",
            "磁盘曾写满，剩余不足 16 MiB，不能写入也不能回答；腾出空间后自动恢复 the disk was full and has less than 16 MiB free, nothing can be written or answered; make room, and the node goes on by itself",
        );
    }
    let (trust, now) = (node.exchange.trust(), node.exchange.now());
    match trust.registry() {
        None => lacks(
            "registry",
            "没有登记公告 no registry is at hand; copy the federation's notes to notes/",
        ),
        Some((_, registry, _)) if registry.grace_until < now => {
            lacks(
                "registry",
                "登记公告已过期 the registry has run out; fetch the newest notes",
            );
        }
        Some(_) if trust.judge_member(node.exchange.here()).is_err() => {
            lacks(
                "member",
                "本节点已被暂停或吊销 this node is suspended, revoked, or no member",
            );
        }
        Some(_) => {}
    }
    if node.certificate() < now {
        lacks(
            "certificate",
            "本节点证书已过期 this node's certificate has expired; have a new one issued",
        );
    }
    if node.exchange.store().is_held() || matches!(node.exchange.clocks(), Clocks::TooFar(_)) {
        lacks(
            "clock",
            "时钟与相邻节点相差超过 15 分钟 the clock is more than 15 minutes from the neighbours'; set it",
        );
    }
    Look { standing, missing }
}
