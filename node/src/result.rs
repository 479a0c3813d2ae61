//! A result as a script reads it, and as a person does.

use std::cell::Cell;

use sanku_catalogue::{Catalogue, CategoryId, FieldKind, Fields, Value as FieldValue};
use sanku_exchange::Asked;
use sanku_exchange::links::ALARM;
use sanku_federation_protocol::body::{QueryBody, Subject};
use sanku_federation_protocol::merge::GapKind;
use sanku_federation_protocol::names::{Outcome, Word};
use sanku_federation_protocol::statement::VerifiedRun;
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::Hash;
use sanku_values::{Date, DivisionCode, Time};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use crate::output::{table, yuan};

/// The household of a question of ours.
pub(crate) fn subjects(run: &VerifiedRun) -> Option<Vec<Subject>> {
    Some(run.statements.first()?.body_as::<QueryBody>().ok()?.subjects)
}

/// What a question came to, as `query --json` prints it. Written straight from what was merged: a household may have thousands
/// of facts.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    pub(crate) asked: &'a Asked,
    pub(crate) subjects: Option<&'a [Subject]>,
    pub(crate) trust: &'a Trust,
    pub(crate) now: Time,
}

#[derive(Serialize)]
struct Ended<'a> {
    detail: &'a str,
    name: &'a str,
    node: DivisionCode,
    outcome: Outcome,
}

#[derive(Serialize)]
struct Told<'a> {
    category: &'a CategoryId,
    conflict: bool,
    fields: &'a Fields,
    key: &'a str,
    sources: Vec<Said>,
    subject: u32,
}

#[derive(Serialize)]
struct Said {
    as_of: Date,
    node: DivisionCode,
    statement: Hash,
}

#[derive(Serialize)]
struct Unknown<'a> {
    category: Option<&'a CategoryId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    node: Option<DivisionCode>,
    subject: Option<u32>,
    why: &'a str,
}

#[derive(Serialize)]
struct Named<'a> {
    name: String,
    number: String,
    role: &'a Word,
    subject: usize,
}

#[derive(Serialize)]
struct Open<'a> {
    alarm: bool,
    log: &'a str,
    runs: u64,
    since: Time,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { asked, trust, now, .. } = self;
        let merged = &asked.merged;
        let registry = trust.registry().map(|(_, registry, _)| registry);
        let name = |code| {
            registry
                .and_then(|registry| registry.node(code))
                .map_or("", |row| row.name.as_str())
        };
        let gaps = |mismatch: bool| {
            let all = merged
                .gaps
                .iter()
                .filter(move |gap| (gap.why == GapKind::NameMismatch) == mismatch);
            all.map(|gap| Unknown {
                category: Some(&gap.category),
                detail: None,
                node: Some(gap.node),
                subject: Some(gap.subject),
                why: gap.why.as_str(),
            })
        };
        let not_answered = merged
            .outcomes
            .iter()
            .filter(|(_, end)| end.outcome != Outcome::Answered);
        let not_answered = not_answered.map(|(node, end)| Unknown {
            category: None,
            detail: Some(&end.detail),
            node: Some(*node),
            subject: None,
            why: end.outcome.as_str(),
        });
        let unheld = merged.unheld.iter().map(|category| Unknown {
            category: Some(category),
            detail: None,
            node: None,
            subject: None,
            why: "held_by_nobody",
        });
        let rows = merged
            .facts
            .iter()
            .flat_map(|fact| fact.rows.iter().map(move |row| (fact, row)));
        let facts = rows.map(|(fact, row)| Told {
            category: &fact.category,
            conflict: fact.conflict(),
            fields: &row.fields,
            key: &fact.key,
            sources: (row.sources.iter())
                .map(|source| Said {
                    as_of: source.as_of,
                    node: source.node,
                    statement: source.statement,
                })
                .collect(),
            subject: fact.subject,
        });
        let outcomes = merged.outcomes.iter().map(|(node, end)| Ended {
            detail: &end.detail,
            name: name(*node),
            node: *node,
            outcome: end.outcome,
        });
        let people = self.subjects.into_iter().flatten().enumerate();
        let people = people.map(|(index, subject)| Named {
            name: subject.name.masked(),
            number: subject.number.masked(),
            role: &subject.role,
            subject: index,
        });
        let unwitnessed = asked.unwitnessed.iter().map(|open| Open {
            alarm: *now >= open.since.plus(ALARM),
            log: &open.log,
            runs: open.runs,
            since: open.since,
        });
        let mut map = serializer.serialize_map(Some(10))?;
        map.serialize_entry("again", &asked.again)?;
        map.serialize_entry("complete", &merged.complete)?;
        map.serialize_entry("digest", &asked.digest)?;
        map.serialize_entry("facts", &Each::of(facts))?;
        map.serialize_entry("mismatches", &Each::of(gaps(true)))?;
        map.serialize_entry("outcomes", &Each::of(outcomes))?;
        map.serialize_entry("query", &asked.id)?;
        map.serialize_entry("subjects", &Each::of(people))?;
        map.serialize_entry("unknown", &Each::of(gaps(false).chain(not_answered).chain(unheld)))?;
        map.serialize_entry("unwitnessed", &Each::of(unwitnessed))?;
        map.end()
    }
}

/// A sequence that is written as it comes.
struct Each<I>(Cell<Option<I>>);

impl<I> Each<I> {
    const fn of(items: I) -> Self {
        Self(Cell::new(Some(items)))
    }
}

impl<T: Serialize, I: Iterator<Item = T>> Serialize for Each<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.take().into_iter().flatten())
    }
}

/// The same document as tables for a person.
pub(crate) fn tables(document: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows = |key: &str| document[key].as_array().cloned().unwrap_or_default();
    let person = |subject: &Value| {
        let found = rows("subjects")
            .into_iter()
            .find(|person| person["subject"] == *subject);
        found.map_or_else(
            || "—".to_owned(),
            |person| {
                // Members of one family share a masked name: the role and the number's end tell them apart.
                let number = text(&person["number"]);
                let end = number.get(number.len().saturating_sub(4)..).unwrap_or_default();
                format!(
                    "{} {}\n…{end}",
                    text(&person["name"]),
                    role_label(&text(&person["role"]))
                )
            },
        )
    };
    let mut out = Vec::new();
    out.push("节点 Nodes".to_owned());
    out.push(table(
        &["节点 node", "名称 name", "结果 outcome", "说明 detail"],
        rows("outcomes").iter().map(|row| {
            vec![
                text(&row["node"]),
                text(&row["name"]),
                outcome_words(&text(&row["outcome"])),
                text(&row["detail"]),
            ]
        }),
    ));
    out.push("事实 Facts".to_owned());
    out.push(table(
        &["人 person", "类别 category", "内容 content", "来源 sources"],
        rows("facts").iter().map(|fact| {
            let sources: Vec<_> = fact["sources"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|source| format!("{} ({})", text(&source["node"]), text(&source["as_of"])))
                .collect();
            let mark = if fact["conflict"] == true {
                "⚠ 各方不一致 sources disagree\n"
            } else {
                ""
            };
            vec![
                person(&fact["subject"]),
                category_label(&text(&fact["category"])),
                format!("{mark}{}", content(&text(&fact["category"]), &fact["fields"])),
                sources.join("\n"),
            ]
        }),
    ));
    if !rows("mismatches").is_empty() {
        out.push("号码相同、姓名不符，未提供记录 Known under another name, no record given".to_owned());
        out.push(table(
            &["人 person", "类别 category", "节点 node"],
            rows("mismatches").iter().map(|row| {
                vec![
                    person(&row["subject"]),
                    category_label(&text(&row["category"])),
                    text(&row["node"]),
                ]
            }),
        ));
    }
    if !rows("unknown").is_empty() {
        out.push("未能查明（不等于没有）Not known, which is not the same as nothing".to_owned());
        out.push(table(
            &["节点 node", "人 person", "类别 category", "原因 why"],
            // What one node does not say of one person for one reason is one row.
            rows("unknown").chunk_by(alike).map(|alike| {
                let row = &alike[0];
                let or_all = |value: &Value, label: String| {
                    if value.is_null() {
                        "全部 all".to_owned()
                    } else {
                        label
                    }
                };
                vec![
                    or_all(&row["node"], text(&row["node"])),
                    or_all(&row["subject"], person(&row["subject"])),
                    or_all(
                        &row["category"],
                        alike
                            .iter()
                            .map(|row| category_label(&text(&row["category"])))
                            .collect::<Vec<_>>()
                            .join("、"),
                    ),
                    outcome_words(&text(&row["why"])),
                ]
            }),
        ));
    }
    out.push(match document["complete"].as_bool() {
        Some(true) => "完整：全部节点已答复全部类别 Complete: every node answered every category".to_owned(),
        _ => "不完整：见上表 Incomplete: see above".to_owned(),
    });
    if !document["again"].is_null() {
        out.push(format!(
            "未答复的节点将自动再问，下次 {}；等待补答：sanku query --again {} --wait Whoever has not answered is asked again by itself; --wait waits for it",
            text(&document["again"]),
            text(&document["query"])
        ));
    }
    let unwitnessed = rows("unwitnessed");
    if let Some(since) = unwitnessed.iter().filter_map(|open| open["since"].as_str()).min() {
        let mark = if unwitnessed.iter().any(|open| open["alarm"] == true) {
            "⚠ 超过 72 小时 for more than 72 hours: "
        } else {
            ""
        };
        let runs: u64 = unwitnessed.iter().filter_map(|open| open["runs"].as_u64()).sum();
        out.push(format!(
            "{mark}尚未见证 unwitnessed: {runs} 段 runs, {} 个日志 logs，起于 since {since}",
            unwitnessed.len()
        ));
    }
    out.push(format!("查询编号 query {}", text(&document["query"])));
    out.join("\n")
}

fn alike(a: &Value, b: &Value) -> bool {
    ["node", "subject", "why"].iter().all(|key| a[key] == b[key])
        && !a["category"].is_null()
        && !b["category"].is_null()
}

/// A person's place in the household, as it is called.
fn role_label(role: &str) -> &str {
    match role {
        "applicant" => "申请人",
        "head" => "户主",
        "spouse" => "配偶",
        "child" => "子女",
        "parent" => "父母",
        "supporter" => "赡养人",
        "member" => "成员",
        _ => role,
    }
}

/// Chinese beside the stable word.
pub(crate) fn outcome_words(word: &str) -> String {
    let chinese = match word {
        "answered" => "已答复",
        "refused" => "拒绝",
        "late" => "超时",
        "unreachable" => "无法连接",
        "overloaded" => "繁忙",
        "peer_error" => "对方出错",
        "bad_proof" => "证明不成立",
        "not_trusted" => "不受信任",
        "incompatible" => "版本不符",
        "refused_on_way" => "途中被拒",
        "not_on_path" => "不在路径上",
        "suspended" => "已暂停",
        "unknown_node" => "未知节点",
        "pending" => "尚未询问",
        "omitted" => "无人交代",
        "held_by_nobody" => "无节点掌握",
        "truncated" => "结果被截断",
        "corrupt" => "数据损坏",
        "database" => "数据库故障",
        _ => "",
    };
    format!("{chinese} {word}").trim().to_owned()
}

fn category_label(id: &str) -> String {
    let category = id.parse().ok().and_then(|id| Catalogue::current().category(&id));
    category.map_or_else(|| id.to_owned(), |category| category.label.clone())
}

/// Fields as people write them: labels, yuan, square metres.
pub(crate) fn content(category: &str, fields: &Value) -> String {
    let Some(category) = category.parse().ok().and_then(|id| Catalogue::current().category(&id)) else {
        return fields.to_string();
    };
    let shown = category
        .fields
        .iter()
        .filter(|field| !fields[&field.id].is_null())
        .map(|field| {
            let value = &fields[&field.id];
            let number = value.as_i64().unwrap_or_default();
            let shown = match &field.kind {
                FieldKind::Money => format!("{} 元", yuan(number)),
                FieldKind::Area => format!("{} ㎡", yuan(number)),
                FieldKind::BasisPoints => format!("{}%", yuan(number)),
                FieldKind::Boolean => {
                    if value == true {
                        "是".to_owned()
                    } else {
                        "否".to_owned()
                    }
                }
                FieldKind::Code(codes) => codes
                    .iter()
                    .find(|code| value == code.id.as_str())
                    .map_or_else(|| value.to_string(), |code| code.label.clone()),
                _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            };
            format!("{} {shown}", field.label)
        });
    shown.collect::<Vec<_>>().join("，")
}

/// A field's value as JSON.
pub(crate) fn field_json(value: &FieldValue) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
