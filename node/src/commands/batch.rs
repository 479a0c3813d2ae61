//! `query --batch`: many cases from a file, one a line, by the running node over its socket.
//!
//! All lines are judged before the first is asked. Then parts of the file are handed over, few at a time, the first ones small,
//! so that the first result is soon there and neither side holds the whole file. Each result is one line of the results' file,
//! written as it comes. The same command goes on where it broke off: the node knows every line that it asked.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use sanku_exchange::{CASES, Case};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::node::load;
use crate::output::{remark, say, say_json};
use crate::socket;

/// Parts of the file that are with the node at once.
const AT_ONCE: usize = 4;
/// Lines of the first part; each further one has twice as many, up to what a call takes.
const FIRST: usize = 16;
/// Bytes of one part: below what the socket takes.
const HEAVIEST: usize = 3 << 20;
/// The longest line.
const LONGEST: usize = 1 << 20;
/// Some editors begin a file with it.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Wrong lines that are shown.
const SHOWN: usize = 20;

pub(crate) async fn run(
    config: Option<&Path>,
    cases: &Path,
    out: Option<PathBuf>,
    as_json: bool,
) -> anyhow::Result<u8> {
    let loaded = load(config)?;
    let total = judged(cases)?;
    let out = out.unwrap_or_else(|| cases.with_extension("results.jsonl"));
    let results = Results::open(&out)?;
    let bar = if as_json {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(total as u64)
    };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}（余 left {eta}）");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let tally = Mutex::new(Tally::new(results));
    let held = || tally.lock().unwrap_or_else(PoisonError::into_inner);
    let parts = Parts::of(cases)?.take_while(|_| std::future::ready(held().broken.is_none()));
    let asking = parts.for_each_concurrent(AT_ONCE, |part| async {
        let Part { numbers, body } = match part {
            Ok(part) => part,
            Err(error) => return held().broke(&error),
        };
        let asked = socket::call(&loaded.node.listen.socket, "/batch", body, |line| {
            let mut tally = held();
            tally.take(&numbers, &line);
            bar.set_position(tally.told as u64);
            bar.set_message(format!("完整 complete {}", tally.complete));
        });
        if let Err(error) = asked.await {
            held().broke(&error);
        }
    });
    asking.await;
    bar.finish_and_clear();
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.report(total, cases, &out, as_json)
}

/// Judges every line of the file before anything is asked. Gives how many there are.
fn judged(cases: &Path) -> anyhow::Result<usize> {
    let (mut total, mut wrong) = (0, Vec::new());
    for line in Lines::of(cases)? {
        let (number, line) = line?;
        total += 1;
        if let Err(why) = Case::parse(&line) {
            // A case of a batch is one line: where in it says nothing more.
            let why = why.replace("（第 1 行 line 1）", "");
            wrong.push(format!("第 {number} 行 line {number}: {why}"));
        }
    }
    if wrong.is_empty() && total > 0 {
        return Ok(total);
    }
    if total == 0 {
        bail!("{} 中没有案件 no case stands in the file", cases.display());
    }
    let more = wrong.len().saturating_sub(SHOWN);
    wrong.truncate(SHOWN);
    if more > 0 {
        wrong.push(format!("还有 {more} 行 and {more} more"));
    }
    bail!(
        "案件文件有误，未提问；改正后再运行 lines are wrong and nothing was asked; mend them and run it again\n  {}",
        wrong.join("\n  ")
    );
}

/// The lines of a file that are not blank, each with its number, from 1.
struct Lines {
    reader: BufReader<File>,
    number: u64,
}

impl Lines {
    fn of(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path)
            .with_context(|| format!("读不了案件文件 the case file cannot be read: {}", path.display()))?;
        Ok(Self {
            reader: BufReader::new(file),
            number: 0,
        })
    }
}

impl Iterator for Lines {
    type Item = anyhow::Result<(u64, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut line = Vec::new();
            self.number += 1;
            let mut limited = std::io::Read::take(&mut self.reader, LONGEST as u64 + 1);
            match limited.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.len() > LONGEST => {
                    let number = self.number;
                    return Some(Err(anyhow::anyhow!(
                        "第 {number} 行过长，最多 1 MiB line {number} is longer than 1 MiB"
                    )));
                }
                Ok(_) => {
                    if self.number == 1 && line.starts_with(BYTE_ORDER_MARK) {
                        line.drain(..BYTE_ORDER_MARK.len());
                    }
                    let blank = line.trim_ascii().is_empty();
                    if !blank {
                        return Some(Ok((self.number, line.trim_ascii().to_vec())));
                    }
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

/// Part of the file, as the node takes it.
struct Part {
    /// The number of each line.
    numbers: Vec<u64>,
    body: Vec<u8>,
}

/// The file's parts, read as they are needed.
struct Parts {
    lines: std::iter::Peekable<Lines>,
    most: usize,
}

impl Parts {
    fn of(path: &Path) -> anyhow::Result<impl stream::Stream<Item = anyhow::Result<Part>> + use<>> {
        let lines = Lines::of(path)?.peekable();
        Ok(stream::iter(Self { lines, most: FIRST }))
    }
}

impl Iterator for Parts {
    type Item = anyhow::Result<Part>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut part = Part {
            numbers: Vec::new(),
            body: Vec::new(),
        };
        let fits = |part: &Part, line: &anyhow::Result<(u64, Vec<u8>)>| match line {
            Ok((_, line)) => part.numbers.is_empty() || part.body.len() + line.len() < HEAVIEST,
            Err(_) => part.numbers.is_empty(),
        };
        while part.numbers.len() < self.most
            && let Some(line) = self.lines.next_if(|line| fits(&part, line))
        {
            match line {
                Ok((number, line)) => {
                    part.numbers.push(number);
                    // One line there, however it was written here.
                    part.body.extend(line.into_iter().filter(|byte| *byte != b'\r'));
                    part.body.push(b'\n');
                }
                Err(error) => return Some(Err(error)),
            }
        }
        self.most = (self.most * 2).min(CASES);
        (!part.numbers.is_empty()).then_some(Ok(part))
    }
}

/// The results' file. Of several lines with one number the last counts.
struct Results {
    file: File,
    /// Bytes of whole lines.
    whole: u64,
    /// What the file says of each line already.
    known: HashMap<u64, String>,
}

/// What is read again of a line of results.
#[derive(Deserialize)]
struct Known {
    line: u64,
    #[serde(default)]
    says: String,
}

impl Results {
    /// Opens the file for this program alone; half a line that a crash left behind is taken away.
    fn open(path: &Path) -> anyhow::Result<Self> {
        let wrong = || format!("结果文件 the results' file: {}", path.display());
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = file.open(path).with_context(wrong)?;
        if file.try_lock().is_err() {
            bail!(
                "{} 正被另一次普查写入：等它结束，或用 --out 另写一个 another batch writes to this file: wait for its end, or name another with --out",
                path.display()
            );
        }
        let mut known = HashMap::new();
        let mut whole = 0;
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).with_context(wrong)? > 0 {
            if line.last() != Some(&b'\n') {
                break;
            }
            let Ok(Known { line: number, says }) = serde_json::from_slice(&line) else {
                bail!(
                    "{} 不是普查结果文件，用 --out 另写一个 is no file of a batch's results; name another with --out",
                    path.display()
                );
            };
            known.insert(number, says);
            whole += line.len() as u64;
            line.clear();
        }
        file.set_len(whole).with_context(wrong)?;
        file.seek(SeekFrom::End(0)).with_context(wrong)?;
        Ok(Self { file, whole, known })
    }

    /// Writes one line, unless the file says the same already.
    fn write(&mut self, number: u64, says: String, mut line: Value) -> std::io::Result<()> {
        if self.known.get(&number) == Some(&says) {
            return Ok(());
        }
        line["says"] = says.as_str().into();
        let line = format!("{line}\n");
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // Half a line is none.
            self.file.set_len(self.whole)?;
            self.file.seek(SeekFrom::End(0))?;
            return Err(error);
        }
        self.whole += line.len() as u64;
        self.known.insert(number, says);
        Ok(())
    }
}

/// What came of the batch so far: numbers and counts, nothing about people.
struct Tally {
    results: Results,
    told: usize,
    complete: usize,
    incomplete: Vec<u64>,
    refused: BTreeMap<String, Vec<u64>>,
    failed: Vec<u64>,
    /// How often each node ended otherwise than answered.
    nodes: BTreeMap<(String, String), usize>,
    broken: Option<String>,
}

impl Tally {
    const fn new(results: Results) -> Self {
        Self {
            results,
            told: 0,
            complete: 0,
            incomplete: Vec::new(),
            refused: BTreeMap::new(),
            failed: Vec::new(),
            nodes: BTreeMap::new(),
            broken: None,
        }
    }

    fn broke(&mut self, error: &anyhow::Error) {
        self.broken.get_or_insert_with(|| format!("{error:#}"));
    }

    /// Takes what came of one line.
    fn take(&mut self, numbers: &[u64], line: &Value) {
        let place = line["place"].as_u64().and_then(|place| usize::try_from(place).ok());
        let Some(number) = place.and_then(|place| numbers.get(place)).copied() else {
            return;
        };
        self.told += 1;
        let message = line["message"].as_str().unwrap_or_default().to_owned();
        let (says, line) = if let Some(result) = line.get("result") {
            let complete = result["complete"] == true;
            if complete {
                self.complete += 1;
            } else {
                self.incomplete.push(number);
            }
            for end in result["outcomes"].as_array().into_iter().flatten() {
                let word = |name: &str| end[name].as_str().unwrap_or_default().to_owned();
                if word("outcome") != "answered" {
                    *self.nodes.entry((word("node"), word("outcome"))).or_default() += 1;
                }
            }
            let word = |name: &str| result[name].as_str().unwrap_or_default();
            let says = format!("{} {}", word("query"), word("digest"));
            let line = json!({ "line": number, "query": result["query"], "complete": complete, "result": result });
            (says, line)
        } else if let Some(rule) = line["refused"].as_str() {
            self.refused.entry(rule.to_owned()).or_default().push(number);
            let says = format!("refused {rule}");
            (says, json!({ "line": number, "refused": rule, "message": message }))
        } else {
            self.failed.push(number);
            let says = format!("failed {message}");
            (says, json!({ "line": number, "failed": message }))
        };
        if let Err(error) = self.results.write(number, says, line) {
            self.broke(&anyhow::Error::new(error).context("结果写不出去 a result cannot be written"));
        }
    }

    /// The closing report, and the exit code.
    fn report(mut self, total: usize, cases: &Path, out: &Path, as_json: bool) -> anyhow::Result<u8> {
        self.results
            .file
            .sync_all()
            .with_context(|| format!("{}", out.display()))?;
        for numbers in self
            .refused
            .values_mut()
            .chain([&mut self.incomplete, &mut self.failed])
        {
            numbers.sort_unstable();
        }
        let refused: usize = self.refused.values().map(Vec::len).sum();
        let open = total.saturating_sub(self.told);
        let code = if open > 0 || !self.failed.is_empty() || self.broken.is_some() {
            1
        } else if refused > 0 || !self.incomplete.is_empty() {
            3
        } else {
            0
        };
        if as_json {
            let nodes = self.nodes.iter();
            let nodes: Vec<_> = nodes
                .map(|((node, outcome), lines)| json!({ "node": node, "outcome": outcome, "lines": lines }))
                .collect();
            say_json(&json!({
                "lines": total, "complete": self.complete, "incomplete": self.incomplete, "refused": self.refused,
                "failed": self.failed, "not_asked": open, "nodes": nodes, "results": out, "broken": self.broken,
            }));
            return Ok(code);
        }
        say(format!(
            "普查 batch: {total} 行 lines，完整 complete {}，不完整 incomplete {}，被拒 refused {refused}，失败 failed {}，未问 not asked {open}",
            self.complete,
            self.incomplete.len(),
            self.failed.len()
        ));
        for ((node, outcome), lines) in &self.nodes {
            say(format!("  {node} {outcome}: {lines} 行 lines"));
        }
        for (rule, numbers) in &self.refused {
            say(format!("  被拒 refused by {rule}: {}", listed(numbers)));
        }
        if !self.failed.is_empty() {
            say(format!("  失败 failed: {}", listed(&self.failed)));
        }
        say(format!("结果 results: {}", out.display()));
        if let Some(broken) = &self.broken {
            remark(format!("中断 it broke off: {broken}"));
        }
        if code != 0 {
            remark(format!(
                "同一命令再运行一次即继续，已问的不再重问 the same command goes on with what is missing: sanku query --batch {}",
                cases.display()
            ));
        }
        Ok(code)
    }
}

/// The first of some numbers.
fn listed(numbers: &[u64]) -> String {
    let shown: Vec<_> = numbers.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = numbers.len().saturating_sub(SHOWN);
    let rest = if more > 0 {
        format!(" …（+{more}）")
    } else {
        String::new()
    };
    format!("第 {} 行 lines{rest}", shown.join(", "))
}
