//! `import`: files of a department go in; every row's fate is said.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use sanku_catalogue::Catalogue;
use sanku_federation_protocol::body::{ActBody, Body, Salt};
use sanku_federation_protocol::entry::{ActEntry, Draft, Said};
use sanku_federation_protocol::names::StatementId;
use sanku_records::{Limits, Reading};
use sanku_store::{ImportRow, ImportRows, StoreError};
use sanku_tlog::Hash;
use sanku_values::Clock;
use sanku_values::{Date, SystemClock};
use serde_json::{Value, json};

use crate::cli::ImportArgs;
use crate::node::Node;
use crate::output::{remark, say, say_json, wrong_use};

/// What became of one file.
pub(crate) struct Outcome {
    pub(crate) document: Value,
    pub(crate) failed: bool,
}

pub(crate) async fn run(config: Option<&Path>, args: ImportArgs) -> anyhow::Result<u8> {
    let node = Node::open(config).await?;
    node.heed_the_node().await?;
    let mut documents = Vec::new();
    let mut failed = false;
    for file in &args.files {
        let outcome = import_file(&node, file, &args.category, &args.source, &args.as_of, true).await?;
        failed |= outcome.failed;
        if !args.json.json {
            tell(&outcome.document);
        }
        documents.push(outcome.document);
    }
    node.keep_memory();
    if args.json.json {
        // One file: its document; several: a list of them.
        match <[Value; 1]>::try_from(documents) {
            Ok([one]) => say_json(&one),
            Err(all) => say_json(&Value::Array(all)),
        }
    }
    Ok(u8::from(failed))
}

/// Imports one file: one commit with its act, or nothing.
pub(crate) async fn import_file(
    node: &Node,
    file: &Path,
    category: &str,
    source: &str,
    as_of: &str,
    progress: bool,
) -> anyhow::Result<Outcome> {
    let category = Catalogue::current()
        .category(
            &category
                .parse()
                .map_err(|error| wrong_use(format!("--category: {error}")))?,
        )
        .ok_or_else(|| {
            wrong_use(format!(
                "--category: 目录中没有类别 {category}；可用类别见 no such category, see: sanku records categories"
            ))
        })?;
    let as_of: Date = as_of
        .parse()
        .map_err(|_| wrong_use("--as-of: 写成 2026-11-01 的样子 write it like 2026-11-01"))?;
    let today = Date::in_china(SystemClock.now());
    if as_of > today {
        return Err(wrong_use(format!("--as-of: {as_of} 在将来 lies in the future")));
    }
    let source = source.trim();
    if source.is_empty() || source.chars().count() > 100 {
        return Err(wrong_use("--source: 写部门名称 write the department's name"));
    }
    let shown = file.display().to_string();
    let bar = if progress {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.set_message(format!("{shown} …"));
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let mut accepted = Vec::new();
    let read = std::fs::File::open(file).map_err(anyhow::Error::from).map(|mut open| {
        sanku_records::read_each(
            &mut open,
            category,
            &Limits::default(),
            today,
            &mut |step| {
                bar.set_message(format!(
                    "{shown}: {} 行 rows, {} 接受 accepted",
                    step.rows, step.accepted
                ))
            },
            &mut |row| accepted.push(row),
        )
    });
    let reading = match read {
        Ok(Ok(reading)) => reading,
        Ok(Err(unreadable)) => {
            bar.finish_and_clear();
            return Ok(Outcome {
                document: refused(
                    &shown,
                    category.id.as_str(),
                    as_of,
                    unreadable.code.as_str(),
                    &unreadable.message,
                ),
                failed: true,
            });
        }
        Err(error) => {
            bar.finish_and_clear();
            return Ok(Outcome {
                document: refused(
                    &shown,
                    category.id.as_str(),
                    as_of,
                    "unreadable",
                    &format!("读不了文件 cannot be read: {error}"),
                ),
                failed: true,
            });
        }
    };
    let rows: Vec<_> = (0..)
        .zip(accepted)
        .map(|(ordinal, row)| ImportRow {
            ordinal,
            number: row.identity,
            name: row.name,
            as_of: row.as_of.unwrap_or(as_of),
            fields: row.fields,
            sheet: row.sheet.unwrap_or_default(),
            row: row.row,
        })
        .collect();
    bar.set_message(format!("{shown}: 写入 writing {} …", rows.len()));
    let digest = digest(category.id.as_str(), source, as_of, &rows);
    let now = node.clock.now();
    let act = ActBody {
        salt: Salt::generate()?,
        who: user(),
        what: format!(
            "import {} {source} {as_of}: {} rows of {}",
            category.id,
            rows.len(),
            reading.sha256
        ),
        purpose: None,
        digest: Some(digest),
        about: None,
    };
    let entry = ActEntry {
        action: "import".parse()?,
        object: node.store.pseudonym("import", &reading.sha256),
        to: None,
        public: None,
    };
    let draft = Draft {
        id: StatementId::generate(now),
        said: Said::Act(entry),
        body: act.line()?,
    };
    let count = rows.len();
    let result = if count == 0 {
        Ok(None)
    } else {
        let import = ImportRows {
            category: category.id.clone(),
            source: source.to_owned(),
            as_of,
            file: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            digest,
            rows,
        };
        node.store.import(draft, import).await.map(Some)
    };
    bar.finish_and_clear();
    let (number, error, failed) = match result {
        Ok(Some(number)) => (Some(number), Value::Null, false),
        Ok(None) => (
            None,
            json!({ "code": "unreadable", "message": "没有一行可以接受，未导入 no row could be accepted, nothing was imported" }),
            true,
        ),
        Err(StoreError::AlreadyImported { number }) => (
            Some(number),
            json!({ "code": "already_imported", "message": format!("内容已导入，批号 {number} the same content is in already as #{number}") }),
            false,
        ),
        Err(error) => return Err(error.into()),
    };
    let counted = if error.is_null() { count } else { 0 };
    Ok(Outcome {
        document: document(&shown, &reading, number, category.id.as_str(), as_of, counted, &error),
        failed,
    })
}

/// What the import says, whatever its file is called and however it was saved.
fn digest(category: &str, source: &str, as_of: Date, rows: &[ImportRow]) -> Hash {
    // In the order of their hashes, so that the order of a file's rows is no content.
    let mut hashes: Vec<_> = rows
        .iter()
        .map(|row| {
            let (number, name) = (row.number.as_str(), row.name.original());
            let line = format!("{number}\n{name}\n{}\n{}", row.as_of, row.fields.canonical());
            *Hash::of(line.as_bytes()).bytes()
        })
        .collect();
    hashes.sort_unstable();
    let hashes = hashes.concat();
    Hash::of(format!("{category}\n{source}\n{as_of}\n{}", Hash::of(&hashes)).as_bytes())
}

/// Who runs this command, by the system's word.
pub(crate) fn user() -> String {
    std::env::var("SUDO_USER")
        .or_else(|_| std::env::var("USER"))
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_else(|_| "unknown".to_owned())
}

fn refused(file: &str, category: &str, as_of: Date, code: &str, message: &str) -> Value {
    json!({ "file": file, "sha256": null, "import": null, "category": category, "as_of": as_of, "accepted": 0, "error": { "code": code, "message": message }, "refused": [], "skipped": [], "duplicates": [], "warnings": [], "ignored_columns": [] })
}

fn document(
    file: &str,
    reading: &Reading,
    number: Option<u64>,
    category: &str,
    as_of: Date,
    accepted: usize,
    error: &Value,
) -> Value {
    json!({
        "file": file, "sha256": reading.sha256, "import": number, "category": category, "as_of": as_of, "accepted": accepted, "error": error,
        "refused": reading.refused, "skipped": reading.skipped, "duplicates": reading.duplicates, "warnings": reading.warnings, "ignored_columns": reading.ignored_columns,
    })
}

/// The report for a person.
fn tell(document: &Value) {
    let count = |key: &str| document[key].as_array().map_or(0, Vec::len);
    let file = document["file"].as_str().unwrap_or_default();
    if let Some(message) = document["error"]["message"].as_str() {
        remark(format!("{file}: {message}"));
    }
    say(format!(
        "{file}: 接受 accepted {}, 拒绝 refused {}, 跳过 skipped {}, 重复 duplicates {}, 提示 warnings {}{}",
        document["accepted"],
        count("refused"),
        count("skipped"),
        count("duplicates"),
        count("warnings"),
        document["import"]
            .as_u64()
            .map_or_else(String::new, |number| format!(", 批号 import #{number}")),
    ));
    for row in document["refused"].as_array().into_iter().flatten().take(50) {
        let sheet = row["sheet"]
            .as_str()
            .map_or_else(String::new, |sheet| format!("{sheet} "));
        say(format!(
            "  {sheet}第 {} 行 row {}: {} ({})",
            row["row"],
            row["row"],
            row["message"].as_str().unwrap_or_default(),
            row["code"].as_str().unwrap_or_default()
        ));
    }
    if count("refused") > 50 {
        say(format!(
            "  …另有 {} 行，用 --json 看全部 more rows; --json lists all",
            count("refused") - 50
        ));
    }
    for column in document["ignored_columns"].as_array().into_iter().flatten() {
        say(format!(
            "  未识别的列，已忽略 unknown column, ignored: {}",
            column.as_str().unwrap_or_default()
        ));
    }
}
