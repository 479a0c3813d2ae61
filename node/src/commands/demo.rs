//! `demo`: a province, a city and two districts on this machine, as real processes with real TLS, and one lookup.
//!
//! Everything goes the ways that operators go: `federation init` and `add`, `import`, `serve`, `query`, `evidence export`.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sanku_certs::{Federation, NewNode};
use sanku_federation_protocol::names::StatementId;
use sanku_population::{DepartmentFile, Expectation, Planted, Population};
use sanku_values::{Clock, Date, DivisionCode, SystemClock};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::federation::{name_of, write_configuration};
use crate::cli::DemoArgs;
use crate::node::Node;
use crate::output::{reader_has_gone, remark, say, say_json, table, wrong_use};
use crate::{result, socket};

const CODES: [u32; 4] = [420_000, 421_000, 421_002, 421_003];
const ASKER: u32 = 421_002;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A node that runs; it ends when its standard input closes, with this process at the latest.
struct Running {
    child: Child,
    endpoint: String,
}

/// The demonstration after its lookup: nodes that run, and what to try with them.
struct LookedUp {
    code: u8,
    running: BTreeMap<u32, Running>,
    federation: Federation,
    id: StatementId,
    evidence: PathBuf,
    another: DepartmentFile,
}

/// Whoever ends it (Ctrl-C, SIGTERM, a closed terminal) or whatever fails: the nodes end, and the directory goes if it is ours.
pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<u8> {
    let stop_node = args.stop_node.as_deref().map(str::parse::<DivisionCode>).transpose();
    let stop_node = stop_node.map_err(|error| wrong_use(format!("--stop-node: {error}")))?;
    if stop_node.is_some_and(|code| !CODES.contains(&code.number()) || code.number() == ASKER) {
        return Err(wrong_use(
            "--stop-node: 420000、421000 或 421003 (421002 提问，不能停 asks and stays)",
        ));
    }
    let mut ended = std::pin::pin!(ended()?);
    let (directory, ours) = directory(args.dir.as_deref())?;
    let looked_up = tokio::select! {
        looked_up = look_up(&args, stop_node, &directory) => looked_up,
        () = &mut ended => Err(anyhow::anyhow!("已中断，节点已停止 interrupted; the nodes are stopped")),
    };
    let keep = args.once && looked_up.is_ok();
    let code = match looked_up {
        Ok(mut demonstration) => {
            if !args.once {
                invite(&directory, &demonstration, args.json.json);
                if !reader_has_gone() {
                    ended.await;
                }
            }
            let nodes = std::mem::take(&mut demonstration.running);
            futures_util::future::join_all(nodes.into_values().map(stop)).await;
            Ok(demonstration.code)
        }
        Err(error) => Err(error),
    };
    if ours && !keep {
        clear(&directory).await;
    } else if !keep {
        remark(format!("目录保留 the directory stays: {}", directory.display()));
    }
    code
}

/// Removes the directory. A database that is just being closed may still write into it: then again, a moment later.
async fn clear(directory: &Path) {
    for _ in 0..100 {
        match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            _ => return,
        }
    }
    remark(format!(
        "目录未能删除，请自行删除 could not be removed, please remove it: {}",
        directory.display()
    ));
}

/// Resolves at Ctrl-C, SIGTERM, or when the terminal closes; heard from the call on.
fn ended() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// From an empty directory to the merged result and its evidence file.
async fn look_up(args: &DemoArgs, stop_node: Option<DivisionCode>, directory: &Path) -> anyhow::Result<LookedUp> {
    let began = Instant::now();
    let tell = |text: &str| remark(format!("[{:>5.1} s] {text}", began.elapsed().as_secs_f64()));

    tell(&format!(
        "合成人口 synthetic population: {} 人 people, 种子 seed {}",
        args.people, args.seed
    ));
    let now = SystemClock.now();
    let population = Population::generate(args.seed, args.people, Date::in_china(now))?;
    tell("密钥、证书、公告 keys, certificates, notes");
    let federation = found(directory, &population)?;
    tell("各部门数据文件 department files");
    let files = population.write_department_files(&directory.join("files"))?;
    let mut imported: BTreeMap<u32, u64> = BTreeMap::new();
    for code in CODES {
        let node = Node::open(Some(&configuration(directory, code))).await?;
        for file in files.iter().filter(|file| file.node == code) {
            let outcome = super::import::import_file(
                &node,
                &file.path,
                file.category,
                &file.source,
                &file.as_of.to_string(),
                false,
            )
            .await?;
            if outcome.failed || !outcome.document["refused"].as_array().is_none_or(Vec::is_empty) {
                bail!("{}: {}", file.path.display(), outcome.document);
            }
            *imported.entry(code).or_default() += outcome.document["accepted"].as_u64().unwrap_or_default();
        }
        tell(&format!(
            "{code} {}: 导入 imported {} 条 rows",
            name_of(code.try_into()?),
            imported.get(&code).copied().unwrap_or_default()
        ));
    }
    let case = population.case(
        &StatementId::generate(now).to_string(),
        &now.minus(DAY).to_string(),
        &now.plus(DAY * 180).to_string(),
    );
    let case_file = directory.join("case.json");
    std::fs::write(&case_file, serde_json::to_string_pretty(&case)?)?;

    let mut running = BTreeMap::new();
    for code in CODES {
        running.insert(code, start(directory, code, &federation)?);
    }
    for code in CODES {
        wait_until_it_serves(directory, code, running.get_mut(&code).context("a node")?).await?;
    }
    tell("四个节点已启动 four nodes serve");
    if let Some(code) = stop_node
        && let Some(node) = running.remove(&code.number())
    {
        stop(node).await;
        tell(&format!("{code} 已停止 stopped before asking"));
    }
    tell("421002 沙市区 提问 asks, scope federation");
    let asker = crate::node::load(Some(&configuration(directory, ASKER)))?;
    let document = super::query::ask(&asker.node.listen.socket, "/query", std::fs::read(&case_file)?, false).await?;
    tell("已合并 merged");
    let id: StatementId = document["query"].as_str().unwrap_or_default().parse()?;
    let evidence = directory.join(format!("evidence-{id}.sanku"));
    let node = Node::open(Some(&configuration(directory, ASKER))).await?;
    super::evidence::export(node, id, &evidence).await?;

    let differences = compare(&document, population.planted());
    let as_planted = differences.is_empty();
    if args.json.json {
        let mut whole = document.clone();
        whole["evidence"] = json!(evidence);
        whole["directory"] = json!(directory);
        whole["as_planted"] = json!(as_planted);
        whole["differences"] = json!(differences);
        say_json(&whole);
    } else {
        show(&document, population.planted(), &differences, stop_node.is_some());
        say(format!("证据文件 evidence: {}", evidence.display()));
    }
    let code = match (stop_node, as_planted) {
        (Some(_), _) => 3,
        (None, true) => 0,
        (None, false) => 1,
    };
    let another = files
        .into_iter()
        .find(|file| file.node == ASKER && file.category == "vehicle")
        .context("the file of vehicles")?;
    Ok(LookedUp {
        code,
        running,
        federation,
        id,
        evidence,
        another,
    })
}

/// The directory for everything, and whether it is ours to clean up.
fn directory(wanted: Option<&Path>) -> anyhow::Result<(PathBuf, bool)> {
    let Some(wanted) = wanted else {
        // Fresh, and nobody else's: what another user put there before is never taken over.
        for attempt in 0_u32..100 {
            let place = std::env::temp_dir().join(format!("sanku-demo-{}-{attempt}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&place) {
                Ok(()) => return Ok((std::path::absolute(place)?, true)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!(
                            "建不了目录，用 --dir 指定 cannot make {}; name another with --dir",
                            place.display()
                        )
                    });
                }
            }
        }
        bail!("建不了目录，用 --dir 指定 no fresh directory could be made; name one with --dir");
    };
    if wanted.exists() && !wanted.is_dir() {
        return Err(wrong_use(format!(
            "--dir: {} 不是目录 is no directory; name a fresh directory",
            wanted.display()
        )));
    }
    if wanted.exists() && std::fs::read_dir(wanted)?.next().is_some() {
        return Err(wrong_use(format!(
            "--dir: {} 不是空目录 is not empty; name a fresh directory",
            wanted.display()
        )));
    }
    std::fs::create_dir_all(wanted).with_context(|| {
        format!(
            "--dir: 建不了目录，换一个位置 cannot make {}; name another place",
            wanted.display()
        )
    })?;
    Ok((std::path::absolute(wanted)?, false))
}

fn configuration(directory: &Path, code: u32) -> PathBuf {
    directory.join(code.to_string()).join("node.toml")
}

/// Ports below those that the system gives to outgoing connections, so that nobody takes one by chance before its node starts.
fn free_ports(count: usize) -> anyhow::Result<Vec<std::net::TcpListener>> {
    let begin = fastrand::u16(10_000..30_000);
    let free: Vec<_> = (begin..begin + 2_000)
        .filter_map(|port| std::net::TcpListener::bind(("127.0.0.1", port)).ok())
        .take(count)
        .collect();
    anyhow::ensure!(free.len() == count, "没有空闲端口 no free ports on 127.0.0.1");
    Ok(free)
}

/// Founds the federation: a node's registry row names the categories that it will hold.
fn found(directory: &Path, population: &Population) -> anyhow::Result<Federation> {
    let mut federation = None;
    // All ports are held at once, so that no two are alike.
    let listeners = free_ports(CODES.len())?;
    for (code, listener) in CODES.into_iter().zip(&listeners) {
        let code: DivisionCode = code.try_into()?;
        let categories = population
            .categories_of(code.number())
            .into_iter()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let node = NewNode {
            code,
            name: name_of(code),
            endpoints: vec![listener.local_addr()?.to_string()],
            categories,
        };
        let now = SystemClock.now();
        match &federation {
            None => {
                federation = Some(Federation::init(
                    directory,
                    &"hubei.example".parse()?,
                    node.clone(),
                    now,
                )?)
            }
            Some(federation) => drop(federation.add(node.clone(), now)?),
        }
        let founded = federation.as_ref().context("the federation")?;
        write_configuration(directory, &founded.name, founded.fingerprint, &node)?;
    }
    federation.context("the federation")
}

fn start(directory: &Path, code: u32, federation: &Federation) -> anyhow::Result<Running> {
    let log = std::fs::File::create(directory.join(code.to_string()).join("node.log"))?;
    let child = Command::new(std::env::current_exe()?)
        .arg("--config")
        .arg(configuration(directory, code))
        .args(["serve", "--until-stdin-closes"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    let endpoint = federation
        .registry()?
        .node(code.try_into()?)
        .and_then(|row| row.endpoints.first().cloned())
        .unwrap_or_default();
    Ok(Running { child, endpoint })
}

/// Waits for the node's own socket.
async fn wait_until_it_serves(directory: &Path, code: u32, node: &mut Running) -> anyhow::Result<()> {
    let loaded = crate::node::load(Some(&configuration(directory, code)))?;
    let until = Instant::now() + Duration::from_secs(20);
    while socket::call(&loaded.node.listen.socket, "/status", Vec::new(), |_| {})
        .await
        .is_err()
    {
        if let Some(status) = node.child.try_wait()? {
            let log = std::fs::read_to_string(directory.join(code.to_string()).join("node.log")).unwrap_or_default();
            bail!("{code} 没有启动 did not start ({status}): {log}");
        }
        if Instant::now() > until {
            bail!(
                "{code} 没有在 20 秒内启动 did not start within 20 s; see {}/{code}/node.log",
                directory.display()
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Closes the node's standard input and waits for its orderly end.
async fn stop(mut node: Running) {
    drop(node.child.stdin.take());
    if tokio::time::timeout(Duration::from_secs(15), node.child.wait())
        .await
        .is_err()
    {
        let _ = node.child.kill().await;
    }
}

/// What differs from what was planted; nothing if the lookup says exactly that.
fn compare(document: &Value, planted: &Planted) -> Vec<String> {
    let mut differences = Vec::new();
    let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
    for outcome in list("outcomes")
        .iter()
        .filter(|outcome| outcome["outcome"] != "answered")
    {
        let word = |key: &str| outcome[key].as_str().unwrap_or_default();
        differences.push(format!("{} {}", word("node"), result::outcome_words(word("outcome"))));
    }
    let facts = list("facts");
    for expected in &planted.facts {
        if !facts.iter().any(|fact| fits(fact, expected)) {
            differences.push(format!("缺少 missing: {}", expected.words));
        }
    }
    for fact in &facts {
        if !planted.facts.iter().any(|expected| fits(fact, expected)) {
            differences.push(format!(
                "多出 unexpected: {} {}",
                fact["category"].as_str().unwrap_or_default(),
                fact["key"].as_str().unwrap_or_default()
            ));
        }
    }
    if !mismatch_is_planted(document, planted) {
        differences.push("姓名不符的记录与预设不同 the mismatch is not the planted one".to_owned());
    }
    if namesake_appears(document, planted) {
        differences.push("出现了同名的陌生人 the namesake appears".to_owned());
    }
    differences
}

/// Whether the planted mismatch, and no other, is said.
fn mismatch_is_planted(document: &Value, planted: &Planted) -> bool {
    let (subject, category, node) = planted.mismatch;
    document["mismatches"].as_array().is_some_and(|all| {
        matches!(all.as_slice(), [one]
            if one["subject"] == subject && one["category"] == category && one["node"].as_str() == Some(&node.to_string()))
    })
}

fn namesake_appears(document: &Value, planted: &Planted) -> bool {
    let whole = document.to_string();
    planted
        .must_not_appear
        .iter()
        .any(|secret| whole.contains(secret.as_str()))
}

fn fits(fact: &Value, expected: &Expectation) -> bool {
    let nodes: Vec<_> = fact["sources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|source| source["node"].as_str().map(str::to_owned))
        .collect();
    let wanted: Vec<_> = expected.nodes.iter().map(ToString::to_string).collect();
    let same_nodes = nodes.len() == wanted.len() && wanted.iter().all(|node| nodes.contains(node));
    let fields = expected
        .fields
        .as_object()
        .is_some_and(|fields| fields.iter().all(|(field, value)| fact["fields"][field] == *value));
    fact["subject"] == expected.subject
        && fact["category"] == expected.category
        && fact["conflict"] == expected.conflict
        && same_nodes
        && fields
}

fn show(document: &Value, planted: &Planted, differences: &[String], stopped: bool) {
    say(result::tables(document));
    say("");
    say("预设了什么，查到了没有 What was planted, and whether it was found");
    let facts = document["facts"].as_array().cloned().unwrap_or_default();
    let row = |held: bool, words: &str| vec![if held { "✓" } else { "✗" }.to_owned(), words.to_owned()];
    let found = planted.facts.iter().map(|expected| {
        let held = facts.iter().any(|fact| fits(fact, expected));
        row(held, expected.words)
    });
    let remarks = [
        row(!namesake_appears(document, planted), planted.namesake_words),
        row(mismatch_is_planted(document, planted), planted.mismatch_words),
    ];
    say(table(&["", "预设 planted"], found.chain(remarks)));
    if differences.is_empty() {
        say("结果与预设完全一致 The result is exactly what was planted");
    } else {
        say(if stopped {
            "停了一个节点，因此缺少 With one node stopped this is missing:"
        } else {
            "与预设不同 This differs from what was planted:"
        });
        for difference in differences {
            say(format!("  {difference}"));
        }
    }
}

/// A word as a shell reads it back, whatever stands in it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-:=@%+,".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Says where the nodes listen and what to try, with the exact commands; beside a JSON document on standard error.
fn invite(directory: &Path, demonstration: &LookedUp, as_json: bool) {
    let LookedUp {
        running,
        federation,
        id,
        evidence,
        another,
        ..
    } = demonstration;
    let say = |line: String| if as_json { remark(line) } else { say(line) };
    let path = |path: &Path| quoted(&path.display().to_string());
    let me = std::env::current_exe().map_or_else(|_| "sanku".to_owned(), |file| path(&file));
    let dir = directory.display();
    let (asker, other) = (
        path(&configuration(directory, ASKER)),
        path(&configuration(directory, 421_003)),
    );
    let (case, vehicles) = (path(&directory.join("case.json")), path(&another.path));
    let (source, today) = (quoted(&another.source), Date::in_china(SystemClock.now()));
    say(String::new());
    say("节点在以下地址 The nodes listen here:".to_owned());
    say(table(
        &["节点 node", "地址 address", "日志 log"],
        running.iter().map(|(code, node)| {
            vec![
                format!("{code} {}", code.to_string().parse().map(name_of).unwrap_or_default()),
                node.endpoint.clone(),
                format!("{dir}/{code}/node.log"),
            ]
        }),
    ));
    say("接下来可以试试（在另一个终端）What to try next, in another terminal:".to_owned());
    let stop = running
        .get(&421_003)
        .and_then(|node| node.child.id())
        .map_or_else(String::new, |pid| format!("kill {pid}; sleep 1; "));
    for (words, command) in [
        (
            "再问一次 ask again",
            format!("{me} --config {asker} query --again {id}"),
        ),
        (
            "停掉荆州区，再查一次 stop 421003 and look up anew",
            format!("{stop}{me} --config {asker} query {case}"),
        ),
        (
            "再导入一个文件 import a file",
            format!("{me} --config {asker} import {vehicles} --category vehicle --source {source} --as-of {today}"),
        ),
        (
            "验证证据 check the evidence",
            format!(
                "{me} evidence verify {} --root {}",
                path(evidence),
                federation.fingerprint
            ),
        ),
        (
            "验证日志 check a node's log",
            format!("{me} --config {other} log verify"),
        ),
    ] {
        say(format!("  # {words}\n  {command}"));
    }
    say("按 Ctrl-C 结束 Ctrl-C ends everything".to_owned());
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_are_quoted_for_the_shell_where_they_need_it() {
        assert_eq!(quoted("/tmp/a/case.json"), "/tmp/a/case.json");
        assert_eq!(quoted("/tmp/a b/演示"), "'/tmp/a b/演示'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
