//! A new log number: `log renew`, `log seen` and `log lost` on the node, `federation renumber` and `close` at the publisher.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sanku_certs::Federation;
use sanku_certs::federation::Renumbered;
use sanku_certs::renumber::{NextKeys, Request, largest};
use sanku_federation_protocol::names::Origin;
use sanku_store::Unfit;
use sanku_tlog::Hash;
use sanku_values::{Clock, DivisionCode, SystemClock};
use serde_json::{Value, json};

use crate::control::LostOf;
use crate::node::Node;
use crate::output::{remark, say, say_json, table, wrong_use};
use crate::socket;

/// What the running node hears of its logs.
struct Heard {
    seen: Vec<Value>,
    not_heard: Vec<String>,
}

impl Heard {
    async fn ask(node: &Node) -> anyhow::Result<Self> {
        let mut answer = Value::Null;
        let asked = socket::call(&node.loaded.node.listen.socket, "/seen", Vec::new(), |line| {
            answer = line
        });
        asked.await.context(
            "先启动节点，它会问相邻节点见过什么 start the node first: it asks its neighbours what they have seen of this log",
        )?;
        let list = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Self {
            seen: list("seen"),
            not_heard: list("not_heard").iter().filter_map(text).collect(),
        })
    }

    /// Checkpoints of one log, as they were signed.
    fn of(&self, log: &Origin) -> Vec<String> {
        let of = self.seen.iter().filter(|one| one["log"] == log.to_string());
        of.filter_map(|one| one["note"].as_str().map(str::to_owned)).collect()
    }
}

/// What `log renew` is told.
pub(crate) struct Renew {
    pub(crate) planned: bool,
    pub(crate) out: Option<PathBuf>,
    pub(crate) dry_run: bool,
    pub(crate) as_json: bool,
}

/// Makes the next log's keys and the request for the registry's publisher.
pub(crate) async fn renew(config: Option<&Path>, told: Renew) -> anyhow::Result<u8> {
    let node = Node::open(config).await?;
    let (config, origin) = (&node.loaded.node, node.store.origin().clone());
    let state = node.store.recovering();
    let row = node
        .trust
        .registry()
        .and_then(|(_, registry, _)| registry.node(config.code));
    let newest = row.into_iter().flat_map(|row| &row.logs).map(|log| log.number).max();
    let waits = state
        .as_ref()
        .is_some_and(|state| matches!(state.why, Unfit::NotOpened));
    if waits || newest.is_some_and(|newest| newest > origin.number) {
        bail!(
            "新日志号已登记，重新启动节点即可 the next log stands in the registry already: restart the node, and it opens it"
        );
    }
    let heard = Heard::ask(&node).await?;
    let elsewhere = node.heed_the_node().await.err();
    if told.planned && (state.is_some() || elsewhere.is_some()) {
        bail!(
            "节点处于恢复状态，不是计划内轮换；去掉 --planned the node is recovering, which is no planned rotation: leave --planned out"
        );
    }
    if !told.planned && state.is_none() && elsewhere.is_none() {
        return Err(wrong_use(
            "节点没有处于恢复状态；计划内轮换用 --planned the node is not recovering; give --planned to rotate its key",
        ));
    }
    let number = origin.number + 1;
    let seen = if told.planned { Vec::new() } else { heard.of(&origin) };
    let (known, forked) = largest(node.keys.log.verifier(), &seen)?;
    let holds = node
        .store
        .checkpoint()
        .await
        .map_or(0, |(checkpoint, _)| checkpoint.size);
    let out = told
        .out
        .unwrap_or_else(|| PathBuf::from(format!("renumber-{}-{number}.note", config.code)));
    let mut said = json!({
        "node": config.code, "planned": told.planned, "before": origin, "number": number, "holds": holds,
        "largest_seen": known.as_ref().map(|known| known.size), "forked": forked, "not_heard": heard.not_heard,
        "dry_run": told.dry_run, "request": out,
    });
    if told.dry_run {
        if told.as_json {
            say_json(&said);
        } else {
            say(format!(
                "将生成 would make: keys/log-{number}.key、keys/witness-{number}.key，请求 request {}；旧密钥不动 no older key is touched",
                out.display()
            ));
            tell(&said);
        }
        return Ok(0);
    }
    let next = NextKeys::make(&config.identity.directory, &config.federation, config.code, number)?;
    let request = Request {
        code: config.code,
        planned: told.planned,
        before: origin.number,
        holds,
        seen,
        number,
        log: next.log.verifier().clone(),
        witness: next.witness.verifier().clone(),
    };
    let note = request.sign(&config.federation, &node.keys.log, &next.log, node.clock.now())?;
    sanku_certs::keys::write_whole(&out, note.to_string().as_bytes(), 0o644)?;
    said["fingerprint"] = json!(Request::fingerprint(&note));
    said["log_key"] = json!(request.log);
    said["witness_key"] = json!(request.witness);
    if told.as_json {
        say_json(&said);
        return Ok(0);
    }
    tell(&said);
    say(format!("请求 request: {}", out.display()));
    say(format!("指纹 fingerprint: {}", Request::fingerprint(&note)));
    say(format!(
        "下一步：把请求交给登记公告的发布者并电话核对指纹；公告到达后重新启动节点 next: hand the request to the registry's publisher (sanku federation renumber {}), compare the fingerprint on the telephone, and restart the node once the registry has come; back keys/ up again",
        out.display()
    ));
    Ok(0)
}

fn tell(said: &Value) {
    say(format!(
        "{} → {} 号日志 log number {}，本库有 here {} 条 entries，别处见过 seen elsewhere {}",
        said["before"].as_str().unwrap_or_default(),
        said["number"],
        said["number"],
        said["holds"],
        said["largest_seen"]
            .as_u64()
            .map_or("—".to_owned(), |size| size.to_string()),
    ));
    let missing: Vec<_> = said["not_heard"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !missing.is_empty() {
        remark(format!(
            "没有听到 not heard: {}；它们可能见过更多，接通后再运行一次，或请其管理员出示 sanku log seen they may have seen more: run it again when they are reachable, or have their administrators present `sanku log seen`",
            missing.join(" ")
        ));
    }
    if said["forked"] == true {
        remark("见过的检查点互相矛盾：日志已分叉 what was seen contradicts itself: the log forked");
    }
}

/// A log as people write it: its origin, or the node's code and the number.
fn log_of(node: &Node, text: &str) -> anyhow::Result<Origin> {
    let short = || {
        let (code, number) = text.split_once('/')?;
        Some(Origin {
            federation: node.loaded.node.federation.clone(),
            node: code.parse().ok()?,
            number: number.parse().ok()?,
        })
    };
    text.parse().ok().or_else(short).ok_or_else(|| {
        wrong_use(format!(
            "{text}: 写成 区划代码/日志号 write CODE/NUMBER, such as 421002/1"
        ))
    })
}

/// Writes the largest checkpoint of a log that this node cosigned or holds.
pub(crate) async fn seen(config: Option<&Path>, log: &str, out: &Path) -> anyhow::Result<u8> {
    let node = Node::open(config).await?;
    let log = log_of(&node, log)?;
    let key = node.trust.registered_log_key(&log).cloned();
    let key = key.with_context(|| format!("登记公告中没有 {log} the registry has no such log"))?;
    let mut notes = Vec::new();
    if log.node == node.loaded.node.code {
        let mut logs = node.store.earlier().await?;
        logs.push(node.store.clone());
        for held in logs.iter().filter(|held| *held.origin() == log) {
            notes.push(held.checkpoint().await?.1);
        }
    } else {
        let name = log.to_string();
        notes.extend(node.store.seen(&name).await?.map(|(_, note)| note));
        notes.extend(node.store.largest_held(&name).await?.map(|(_, note)| note));
    }
    let checked = notes.iter().filter_map(|note| {
        let checkpoint = sanku_tlog::Checkpoint::verify(note, &key).ok()?;
        Some((checkpoint.size, note))
    });
    let Some((size, note)) = checked.max_by_key(|(size, _)| *size) else {
        bail!("本节点没有见过 {log} this node has seen nothing of {log}");
    };
    sanku_certs::keys::write_whole(out, note.to_string().as_bytes(), 0o644)?;
    say(format!(
        "{log}: {size} 条 entries，{}；交给发布者 hand it to the publisher: sanku federation close {}/{} --seen {}",
        out.display(),
        log.node,
        log.number,
        out.display()
    ));
    Ok(0)
}

/// Lists what others hold of an earlier log and this database does not know; with `out` keeps it as lines of a stream, bodies
/// sealed to this node.
pub(crate) async fn lost(
    config: Option<&Path>,
    number: Option<u32>,
    out: Option<&Path>,
    as_json: bool,
) -> anyhow::Result<u8> {
    let loaded = crate::node::load(config)?;
    let body = serde_json::to_vec(&LostOf { number })?;
    let (mut rows, mut end, mut lines) = (Vec::new(), Value::Null, String::new());
    socket::call(
        &loaded.node.listen.socket,
        "/lost",
        body,
        |mut line| match line["event"].as_str() {
            Some("lost") => {
                lines.push_str(line["lines"].as_str().unwrap_or_default());
                if let Some(row) = line.as_object_mut() {
                    row.remove("lines");
                    row.remove("event");
                }
                rows.push(line);
            }
            _ => end = line,
        },
    )
    .await?;
    if end["event"] != "end" {
        bail!("{}", end["message"].as_str().unwrap_or("the node broke off its answer"));
    }
    if let Some(out) = out {
        sanku_certs::keys::write_whole(out, lines.as_bytes(), 0o600)?;
    }
    let mut kinds = std::collections::BTreeMap::<String, u64>::new();
    for row in &rows {
        *kinds
            .entry(row["kind"].as_str().unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    let failed = end["holders"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|holder| !holder["failed"].is_null());
    let failed: Vec<_> = failed.cloned().collect();
    if as_json {
        say_json(&json!({
            "log": end["log"], "counts": kinds, "statements": rows, "holders": end["holders"], "kept": out,
        }));
    } else {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        say(table(
            &[
                "日志 log",
                "序号 index",
                "种类 kind",
                "时间 time",
                "叶哈希 leaf hash",
                "持有 held by",
            ],
            rows.iter().map(|row| {
                ["log", "index", "kind", "time", "leaf", "holder"]
                    .map(|key| text(&row[key]))
                    .to_vec()
            }),
        ));
        for holder in &failed {
            remark(format!(
                "没有问到 not asked: {} ({})",
                text(&holder["node"]),
                text(&holder["failed"])
            ));
        }
    }
    // Somebody may hold more than was told.
    Ok(if failed.is_empty() { 0 } else { 3 })
}

/// Files of checkpoints.
fn read_all(files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let read = |file: &PathBuf| {
        std::fs::read_to_string(file).with_context(|| format!("读不了 cannot read {}", file.display()))
    };
    files.iter().map(read).collect()
}

/// What `federation renumber` is told.
pub(crate) struct Renumber {
    pub(crate) request: PathBuf,
    pub(crate) fingerprint: Option<String>,
    pub(crate) seen: Vec<PathBuf>,
    pub(crate) dry_run: bool,
    pub(crate) as_json: bool,
}

/// Gives a node the log number that it asks for.
pub(crate) fn renumber(directory: &Path, told: &Renumber) -> anyhow::Result<u8> {
    let request = std::fs::read(&told.request)
        .with_context(|| format!("读不了请求 the request cannot be read: {}", told.request.display()))?;
    let fingerprint = told.fingerprint.as_deref().map(str::parse::<Hash>).transpose();
    let fingerprint = fingerprint.map_err(|_| wrong_use("--fingerprint: 64 位十六进制 64 hex digits"))?;
    let seen = read_all(&told.seen)?;
    let federation = Federation::open(directory)?;
    let done = federation.renumber(&request, fingerprint, &seen, told.dry_run, SystemClock.now())?;
    report(&federation, &done, told.dry_run, told.as_json);
    Ok(0)
}

/// Closes a log that has a successor, or raises its final size.
pub(crate) fn close(directory: &Path, log: &str, seen: &[PathBuf], dry_run: bool, as_json: bool) -> anyhow::Result<u8> {
    let named = log.split_once('/').and_then(|(code, number)| {
        let code: DivisionCode = code.parse().ok()?;
        Some((code, number.parse().ok()?))
    });
    let (code, number) = named.ok_or_else(|| {
        wrong_use(format!(
            "{log}: 写成 区划代码/日志号 write CODE/NUMBER, such as 421002/1"
        ))
    })?;
    let federation = Federation::open(directory)?;
    let done = federation.close_log(code, number, &read_all(seen)?, dry_run, SystemClock.now())?;
    report(&federation, &done, dry_run, as_json);
    Ok(0)
}

fn report(federation: &Federation, done: &Renumbered, dry_run: bool, as_json: bool) {
    if as_json {
        say_json(&json!({
            "federation": federation.name, "node": done.code, "fingerprint": done.fingerprint, "before": done.before,
            "final_size": done.final_size, "raised_until": done.raised_until, "number": done.number,
            "forked": done.forked, "dry_run": dry_run,
        }));
        return;
    }
    if let Some(fingerprint) = done.fingerprint {
        say(format!("指纹 fingerprint: {fingerprint}"));
    }
    let verb = if dry_run {
        "将登记 would register"
    } else {
        "已登记 registered"
    };
    say(format!(
        "{verb}: {} 的 {} 号日志 log number {}",
        done.code, done.number, done.number
    ));
    match (done.final_size, done.raised_until) {
        (Some(size), Some(until)) => say(format!(
            "{} 号日志关闭于 {size} 条；{until} 前有人出示更大的检查点则提高 log {} is closed at {size} entries; a larger checkpoint raises that until {until}: sanku federation close {}/{} --seen FILE",
            done.before, done.before, done.code, done.before
        )),
        _ => say(format!(
            "{} 号日志在节点开启新日志前继续；之后 log {} goes on until the node opens the next one; then: sanku federation close {}/{} --seen FILE",
            done.before, done.before, done.code, done.before
        )),
    }
    if done.forked {
        remark(
            "出示的检查点互相矛盾：日志已分叉，见 sanku log forks what is presented contradicts itself: the log forked",
        );
    }
    if !dry_run {
        say("下一步：请节点管理员重新启动节点 next: have the node's administrator restart the node");
    }
}
