//! `log verify|checkpoint|prove`: the node's transparency log.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use sanku_federation_protocol::forks::{self, Forked};
use sanku_federation_protocol::stream::write_note;
use sanku_store::StoreError;
use sanku_tlog::tiles::{self, Tile, WIDTH};
use sanku_values::{Clock, SystemClock};
use serde_json::json;

use crate::cli::{ForkCommand, LogCommand};
use crate::node::Node;
use crate::output::{remark, say, say_json, wrong_use};

pub(crate) async fn run(config: Option<&Path>, command: LogCommand) -> anyhow::Result<u8> {
    if let LogCommand::Fork(ForkCommand::Verify { file, root }) = &command {
        return judge(file, root);
    }
    let node = Node::open(config).await?;
    match command {
        LogCommand::Forks(args) => {
            let forks = node.store.forks().await?;
            if args.json {
                let list = forks
                    .iter()
                    .map(|fork| json!({ "subject": fork.subject, "found": fork.found }));
                say_json(&json!({ "forks": list.collect::<Vec<_>>() }));
            } else if forks.is_empty() {
                say("没有发现分叉 no fork was found");
            }
            for fork in forks.iter().filter(|_| !args.json) {
                say(format!("{} 发现于 found {}", fork.subject, fork.found));
            }
        }
        LogCommand::Fork(ForkCommand::Export { subject, out }) => {
            let forks = node.store.forks().await?;
            let fork = forks.into_iter().find(|fork| fork.subject == subject);
            let fork = fork.ok_or_else(|| {
                wrong_use("没有这个分叉，见 sanku log forks no such fork; `sanku log forks` lists them")
            })?;
            let notes = node.trust.all().map(|(_, held)| write_note(held.bytes.as_bytes()));
            let file = notes.collect::<String>() + &fork.proof;
            sanku_certs::keys::write_whole(&out, file.as_bytes(), 0o644)
                .with_context(|| format!("{}", out.display()))?;
            say(format!(
                "证明 proof: {}；验证 check it: sanku log fork verify {} --root FINGERPRINT",
                out.display(),
                out.display()
            ));
        }
        LogCommand::Fork(ForkCommand::Verify { .. }) => {}
        LogCommand::Tiles { dir } => write_tiles(&node, &dir).await?,
        LogCommand::Verify(args) => {
            let bar = if args.json {
                ProgressBar::hidden()
            } else {
                ProgressBar::new(0)
            };
            let verdict = node
                .store
                .verify(|done, size| {
                    bar.set_length(size);
                    bar.set_position(done);
                })
                .await;
            bar.finish_and_clear();
            // Whole in itself is not enough: it must hold what this node, or a neighbour that the running node heard, remembers.
            let elsewhere = match node.store.recovering() {
                Some(recovering) => Some(recovering.to_string()),
                None => node.heed_the_node().await.err().map(|error| error.to_string()),
            };
            match verdict {
                Ok(checkpoint) if elsewhere.is_some() => {
                    let why = elsewhere.unwrap_or_default();
                    if args.json {
                        say_json(
                            &json!({ "ok": false, "log": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root, "why": why }),
                        );
                    } else {
                        remark(why);
                    }
                    return Ok(1);
                }
                Ok(checkpoint) if args.json => say_json(
                    &json!({ "ok": true, "log": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root }),
                ),
                Ok(checkpoint) => say(format!(
                    "日志成立 the log holds: {} 条 entries, {}",
                    checkpoint.size, checkpoint.origin
                )),
                Err(StoreError::Broken { index, why }) if args.json => {
                    say_json(&json!({ "ok": false, "log": node.store.origin(), "index": index, "why": why }));
                    return Ok(1);
                }
                Err(error) => {
                    remark(error.to_string());
                    return Ok(1);
                }
            }
        }
        LogCommand::Checkpoint => say(node.store.checkpoint().await?.1.to_string().trim_end()),
        LogCommand::Prove { index } => say(node.store.prove(index).await?.0.text().trim_end()),
    }
    Ok(0)
}

/// Judges the proof of a fork, offline.
fn judge(file: &Path, root: &str) -> anyhow::Result<u8> {
    let fingerprint = root
        .parse()
        .map_err(|_| wrong_use("--root: 64 位十六进制 64 hex digits"))?;
    let bytes =
        std::fs::read(file).with_context(|| format!("读不了证明 the proof cannot be read: {}", file.display()))?;
    match forks::verify(&bytes, fingerprint, SystemClock.now()) {
        Ok(Forked::Log(origin, one, other)) => say(format!(
            "分叉成立 the fork is proven: {origin} 签署过 signed {} 条 entries {} 与 and {} 条 entries {}",
            one.size, one.root, other.size, other.root
        )),
        Ok(Forked::Note(name, number)) => say(format!(
            "分叉成立 the fork is proven: 公告 note {name} {number} 有两种内容 says two things"
        )),
        Err(why) => {
            remark(format!("不能证明分叉 it proves no fork: {}: {why}", file.display()));
            return Ok(1);
        }
    }
    Ok(0)
}

/// Writes the whole log as C2SP tlog-tiles has it. The directory is made beside its place and moved there whole.
async fn write_tiles(node: &Node, dir: &Path) -> anyhow::Result<()> {
    if dir.exists() {
        bail!(
            "{} 已存在，未覆盖 exists already; nothing was overwritten",
            dir.display()
        );
    }
    let mut young = dir.as_os_str().to_owned();
    young.push(".unfinished");
    let young = PathBuf::from(young);
    if young.exists() {
        // An interrupted run left it, and nobody reads it.
        std::fs::remove_dir_all(&young).with_context(|| format!("{}", young.display()))?;
    }
    std::fs::create_dir(&young).with_context(|| format!("目录不能建立 it cannot be made: {}", young.display()))?;
    let (checkpoint, newest) = node.store.checkpoint().await?;
    let write = |path: &str, bytes: &[u8]| {
        let file = young.join(path);
        let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&file, bytes))
            .with_context(|| format!("写不了 cannot be written: {}", file.display()))
    };
    write("checkpoint", newest.to_string().as_bytes())?;
    for level in 0..8 {
        let mut index = 0;
        while let Some(tile) = Tile::in_log(level, index, checkpoint.size) {
            let start = (index * WIDTH).cast_signed();
            let hashes = node.store.tile_hashes(level, start, tile.width.cast_signed()).await?;
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.bytes()).collect();
            write(&tile.path(), &bytes)?;
            if level == 0 {
                let entries = node.store.entries(index * WIDTH, tile.width).await?;
                let bundle = tiles::bundle(entries.iter().map(Vec::as_slice)).context("an entry is too long")?;
                write(&tiles::entries_path(index, tile.width), &bundle)?;
            }
            index += 1;
        }
    }
    // Thousands of files: they go to the disk together.
    std::fs::File::open(&young).and_then(|directory| Ok(rustix::fs::syncfs(directory)?))?;
    std::fs::rename(&young, dir).with_context(|| format!("{}", dir.display()))?;
    let beside = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::fs::File::open(beside.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all())?;
    say(format!(
        "日志已写入 the log is written: {}，{} 条 entries",
        dir.display(),
        checkpoint.size
    ));
    Ok(())
}
