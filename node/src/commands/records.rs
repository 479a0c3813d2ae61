//! `records categories|show`: the catalogue, and what this node holds about a person (a look that is logged).

use std::io::Read;
use std::path::Path;

use sanku_catalogue::{Catalogue, CategoryId, FieldKind, Sensitivity};
use sanku_federation_protocol::body::{ActBody, Body, Salt};
use sanku_federation_protocol::entry::{ActEntry, Draft, Said};
use sanku_federation_protocol::names::StatementId;
use sanku_values::{Clock, Date, IdentityNumber, SystemClock};
use serde_json::{Map, Value, json};

use crate::cli::RecordsCommand;
use crate::node::Node;
use crate::output::{say, say_json, table, wrong_use};
use crate::result::{content, field_json};

pub(crate) async fn run(config: Option<&Path>, command: RecordsCommand) -> anyhow::Result<u8> {
    match command {
        RecordsCommand::Categories(args) => categories(args.json),
        RecordsCommand::Show {
            identity,
            purpose,
            json,
        } => return show(config, &identity, &purpose, json.json).await,
    }
    Ok(0)
}

const fn kind(kind: &FieldKind) -> &'static str {
    match kind {
        FieldKind::Text => "text",
        FieldKind::Money => "money",
        FieldKind::Area => "area",
        FieldKind::Date => "date",
        FieldKind::Month => "month",
        FieldKind::Year => "year",
        FieldKind::Integer => "integer",
        FieldKind::BasisPoints => "basis_points",
        FieldKind::Boolean => "boolean",
        FieldKind::Code(_) => "code",
        FieldKind::CreditCode => "credit_code",
        FieldKind::IdentityNumber => "identity_number",
    }
}

fn categories(as_json: bool) {
    let catalogue = Catalogue::current();
    let department = |id: &str| {
        catalogue
            .department(id)
            .map(|department| department.label.clone())
            .unwrap_or_default()
    };
    if as_json {
        let all: Vec<_> = catalogue
            .categories()
            .iter()
            .map(|category| {
                let fields: Vec<_> = category.fields.iter().map(|field| json!({ "id": field.id, "label": field.label, "kind": kind(&field.kind), "key": field.key, "aliases": field.aliases })).collect();
                json!({ "id": category.id, "label": category.label, "department": category.department, "sensitivity": category.sensitivity, "fields": fields })
            })
            .collect();
        return say_json(&json!({ "version": catalogue.version(), "categories": all }));
    }
    say(table(
        &[
            "部门 department",
            "类别 category",
            "编号 id",
            "级别",
            "字段 fields（* 自然键 natural key）",
        ],
        catalogue.categories().iter().map(|category| {
            let fields: Vec<_> = category
                .fields
                .iter()
                .map(|field| format!("{}{}", field.label, if field.key { "*" } else { "" }))
                .collect();
            let level = match category.sensitivity {
                Sensitivity::Public => "公开",
                Sensitivity::Restricted => "受限",
                Sensitivity::Secret => "秘密",
            };
            vec![
                department(&category.department),
                category.label.clone(),
                category.id.to_string(),
                level.to_owned(),
                fields.join(" "),
            ]
        }),
    ));
}

async fn show(config: Option<&Path>, identity: &str, purpose: &str, as_json: bool) -> anyhow::Result<u8> {
    if purpose.trim().is_empty() {
        return Err(wrong_use("--purpose: 写明用途 say why you look"));
    }
    let written = if identity == "-" {
        let mut text = String::new();
        std::io::stdin().take(256).read_to_string(&mut text)?;
        text
    } else {
        identity.to_owned()
    };
    let number = IdentityNumber::parse(written.trim(), Date::in_china(SystemClock.now()))
        .map_err(|error| wrong_use(format!("--identity: {error}")))?;
    let node = Node::open(config).await?;
    node.heed_the_node().await?;
    // The look stands in the log before anything is shown.
    let act = ActBody {
        salt: Salt::generate()?,
        who: super::import::user(),
        what: format!("look at records of {}", number.as_str()),
        purpose: Some(purpose.to_owned()),
        digest: None,
        about: None,
    };
    let entry = ActEntry {
        action: "look".parse()?,
        object: node.store.pseudonym("subject", number.as_str()),
        to: None,
        public: None,
    };
    let draft = Draft {
        id: StatementId::generate(node.clock.now()),
        said: Said::Act(entry),
        body: act.line()?,
    };
    node.store.append("acts".to_owned(), vec![draft], Vec::new()).await?;
    node.keep_memory();
    let all: Vec<CategoryId> = Catalogue::current()
        .categories()
        .iter()
        .map(|category| category.id.clone())
        .collect();
    let found = node.store.find(&number, &all).await?;
    let mut records = Vec::new();
    for record in &found.records {
        let fields: Map<String, Value> = record
            .fields
            .iter()
            .map(|(field, value)| (field.to_owned(), field_json(value)))
            .collect();
        let file = node.store.import_file(record.import).await?;
        records.push(json!({ "category": record.category, "name": record.name, "as_of": record.as_of, "fields": fields, "import": record.import, "source": record.source, "file": file, "sheet": record.sheet, "row": record.row }));
    }
    let corrupt = &found.corrupt;
    if as_json {
        say_json(&json!({ "identity": number.as_str(), "records": records, "corrupt": corrupt }));
    } else {
        say(table(
            &["类别 category", "姓名 name", "内容 content", "出处 from"],
            records.iter().map(|record| {
                let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
                let label = text("category")
                    .parse()
                    .ok()
                    .and_then(|id| Catalogue::current().category(&id))
                    .map(|category| category.label.clone())
                    .unwrap_or_default();
                vec![
                    label,
                    text("name"),
                    content(&text("category"), &record["fields"]),
                    format!(
                        "{} {}\n{} {} 第 {} 行 row",
                        text("source"),
                        text("as_of"),
                        text("file"),
                        text("sheet"),
                        record["row"]
                    ),
                ]
            }),
        ));
        for category in corrupt {
            say(format!("数据损坏，未显示 corrupt, withheld: {category}"));
        }
    }
    Ok(if corrupt.is_empty() { 0 } else { 3 })
}
