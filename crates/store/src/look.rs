//! What the sequencer looks up before it writes a group, where it cannot know it: one query for many questions, keys, mandates and
//! lines.

use std::collections::BTreeMap;

use sanku_federation_protocol::names::{Origin, StatementId};
use sanku_tlog::Hash;
use sanku_values::DivisionCode;

use crate::sequencer::{Effect, Job};

/// What a group needs to know of the database, read inside a transaction: one query for many questions, keys, mandates, lines.
macro_rules! read_for {
    ($self:expr, $tx:expr, $group:expr) => {{
        let (mut read, wanted) = ($crate::compose::Read::default(), $crate::look::Wanted::of($group));
        for names in wanted.keys.chunks($crate::script::ROWS) {
            // What the database does not hold is known, too.
            for name in names {
                read.held.entry((*name).to_owned()).or_default();
            }
            let select = format!(
                "SELECT name, wrapped FROM keys WHERE name IN ({})",
                $crate::look::places(1, names.len())
            );
            let query = names
                .iter()
                .fold(sqlx::query(sqlx::AssertSqlSafe(select)), |query, name| {
                    query.bind(*name)
                });
            for row in query.fetch_all(&mut *$tx).await? {
                let name: String = row.try_get(0)?;
                let key = $self.keys.unwrap(&name, &row.try_get::<Vec<u8>, _>(1)?)?;
                read.held.entry(name).or_default().key = Some(key);
            }
        }
        for (origin, ids) in &wanted.questions {
            for ids in ids.chunks($crate::script::ROWS) {
                let select = format!(
                    "SELECT id, leaf FROM questions WHERE origin = $1 AND id IN ({})",
                    $crate::look::places(2, ids.len())
                );
                let query = sqlx::query(sqlx::AssertSqlSafe(select)).bind(origin.to_string());
                let query = ids.iter().fold(query, |query, (id, _)| query.bind(id.to_string()));
                let mut leaves = std::collections::HashMap::new();
                for row in query.fetch_all(&mut *$tx).await? {
                    leaves.insert(
                        row.try_get::<String, _>(0)?,
                        $crate::log::hash_of_row(row.try_get::<Vec<u8>, _>(1), 1)?,
                    );
                }
                for (id, key_name) in ids {
                    read.held.entry((*key_name).to_owned()).or_default().leaf = leaves.get(&id.to_string()).copied();
                }
            }
        }
        for (asker, mandates) in &wanted.mandates {
            for mandates in mandates.chunks($crate::script::ROWS) {
                let select = format!(
                    "SELECT mandate, until FROM withdrawals WHERE asker = $1 AND mandate IN ({})",
                    $crate::look::places(2, mandates.len())
                );
                let query = sqlx::query(sqlx::AssertSqlSafe(select)).bind(i64::from(asker.number()));
                let query = mandates
                    .iter()
                    .fold(query, |query, mandate| query.bind(mandate.to_string()));
                for row in query.fetch_all(&mut *$tx).await? {
                    let mandate = row
                        .try_get::<String, _>(0)?
                        .parse()
                        .map_err(|_| $crate::StoreError::Corrupt("a withdrawal"))?;
                    read.withdrawn
                        .insert((*asker, mandate), sanku_values::Time::from_millis(row.try_get(1)?));
                }
            }
        }
        for (origin, id) in wanted.once {
            let newest: Option<i64> =
                sqlx::query("SELECT MAX(first) FROM said WHERE origin = $1 AND id = $2 AND number = $3")
                    .bind(origin.to_string())
                    .bind(id.to_string())
                    .bind(i64::from($self.origin.number))
                    .fetch_one(&mut *$tx)
                    .await?
                    .try_get(0)?;
            if let Some(newest) = newest {
                read.said.insert((origin.clone(), id), newest.unsigned_abs());
            }
        }
        for lines in wanted.lines.chunks($crate::script::ROWS) {
            let select = format!(
                "SELECT line, expires FROM asked WHERE line IN ({})",
                $crate::look::places(1, lines.len())
            );
            let query = sqlx::query(sqlx::AssertSqlSafe(select));
            let query = lines
                .iter()
                .fold(query, |query, line| query.bind(line.bytes().to_vec()));
            for row in query.fetch_all(&mut *$tx).await? {
                let (line, expires) = (
                    $crate::log::hash_of_row(row.try_get::<Vec<u8>, _>(0), 1)?,
                    sanku_values::Time::from_millis(row.try_get(1)?),
                );
                let known = read.lines.entry(line).or_insert(expires);
                *known = (*known).max(expires);
            }
        }
        for order in wanted.orders {
            let row = sqlx::query("SELECT 1 FROM orders WHERE hash = $1")
                .bind(order.bytes().to_vec())
                .fetch_optional(&mut *$tx)
                .await?;
            if row.is_some() {
                read.executed.insert(order);
            }
        }
        for digest in wanted.imports {
            let row = sqlx::query("SELECT number FROM imports WHERE digest = $1")
                .bind(digest.bytes().to_vec())
                .fetch_optional(&mut *$tx)
                .await?;
            if let Some(row) = row {
                read.imports.insert(digest, row.try_get(0)?);
            }
            read.next = sqlx::query("SELECT COALESCE(MAX(number), 0) + 1 FROM imports")
                .fetch_one(&mut *$tx)
                .await?
                .try_get(0)?;
        }
        read
    }};
}
pub(crate) use read_for;

/// What of the database a group needs to know.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) keys: Vec<&'a str>,
    /// By their askers' logs: ids, and the name of the key that a question's bodies are sealed with.
    pub(crate) questions: BTreeMap<&'a Origin, Vec<(StatementId, &'a str)>>,
    pub(crate) mandates: BTreeMap<DivisionCode, Vec<StatementId>>,
    /// Questions about which nothing else must have been said.
    pub(crate) once: Vec<(&'a Origin, StatementId)>,
    pub(crate) lines: Vec<Hash>,
    pub(crate) orders: Vec<Hash>,
    pub(crate) imports: Vec<Hash>,
}

impl<'a> Wanted<'a> {
    pub(crate) fn of(group: &'a [Job]) -> Self {
        let mut wanted = Self::default();
        for part in group.iter().flat_map(|job| &job.parts) {
            wanted.keys.push(&part.key_name);
            for effect in &part.effects {
                match effect {
                    Effect::Said { origin, id, .. } => {
                        wanted.questions.entry(origin).or_default().push((*id, &part.key_name));
                    }
                    Effect::Under { asker, mandate } => wanted.mandates.entry(*asker).or_default().push(*mandate),
                    Effect::Once { origin, id, .. } => wanted.once.push((origin, *id)),
                    Effect::Asked { line: Some(line), .. } => wanted.lines.push(*line),
                    Effect::Executed { order, .. } => wanted.orders.push(*order),
                    Effect::Import(import) => wanted.imports.push(import.digest),
                    _ => {}
                }
            }
        }
        wanted
    }
}

/// Parameters of a list, from `first`.
pub(crate) fn places(first: usize, count: usize) -> String {
    (first..first + count)
        .map(|place| format!("${place}"))
        .collect::<Vec<_>>()
        .join(", ")
}
