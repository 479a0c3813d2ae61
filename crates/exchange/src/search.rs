//! Searching here: the only reader of records. One answer for each subject, by the same function for the person at this
//! node and for a neighbour.

use sanku_catalogue::CategoryId;
use sanku_federation_protocol::body::{AnswerBody, Body, CategoryAnswer, Record, Salt, Searched, Subject};
use sanku_federation_protocol::entry::{AnswerEntry, Draft, QueryEntry, Said};
use sanku_federation_protocol::names::{StatementId, Status, Word};
use sanku_store::{Store, StoreError, StoredImport, StoredRecord};
use sanku_tlog::Hash;
use sanku_values::{Date, Time};
use tokio::time::Instant;

use crate::ExchangeError;
use crate::authorise::Permit;

/// Most bytes of records in one answer: its body stays below its limit.
const HEAVIEST: usize = 3 << 20;

/// Searches for these subjects of a question, each with its index. What the database has not given by `until` is
/// `unavailable`, never nothing.
pub(crate) async fn search<'a>(
    store: &Store,
    _leave: &Permit,
    leaf: Hash,
    entry: &QueryEntry,
    subjects: impl Iterator<Item = (u32, &'a Subject)>,
    now: Time,
    until: Instant,
) -> Result<Vec<Draft>, ExchangeError> {
    let mut drafts = Vec::new();
    for (index, subject) in subjects {
        let mut weight = 0;
        let found = in_time(until, store.find(&subject.number, &entry.categories)).await;
        let mut categories = Vec::new();
        for category in &entry.categories {
            categories.push(match &found {
                Ok(found) => {
                    let current = found.current();
                    let records = current.into_iter().filter(|record| record.category == *category);
                    if found.corrupt.contains(category) {
                        unavailable(category, "corrupt")
                    } else {
                        answer(category, subject, &found.imports, records, &mut weight, now)
                    }
                }
                Err(why) => unavailable(category, why),
            });
        }
        let body = AnswerBody {
            salt: Salt::generate()?,
            categories,
        }
        .line()?;
        drafts.push(Draft {
            id: StatementId::generate(now),
            said: Said::Answer(AnswerEntry {
                re: leaf,
                subject: index,
            }),
            body,
        });
    }
    Ok(drafts)
}

/// What the database gives in time, or a stable word for why not.
async fn in_time<T>(until: Instant, reading: impl Future<Output = Result<T, StoreError>>) -> Result<T, &'static str> {
    match tokio::time::timeout_at(until, reading).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => {
            tracing::error!(%error, "the records cannot be searched");
            Err("database")
        }
        Err(_) => Err("late"),
    }
}

fn answer<'a>(
    category: &CategoryId,
    subject: &Subject,
    imports: &[StoredImport],
    records: impl Iterator<Item = &'a StoredRecord>,
    weight: &mut usize,
    now: Time,
) -> CategoryAnswer {
    let today = Date::in_china(now);
    let searched: Vec<_> = imports
        .iter()
        .filter(|import| import.category == *category)
        .map(|import| Searched {
            source: import.source.clone(),
            import: import.number,
            as_of: import.as_of,
            age_days: u32::try_from(today.days() - import.as_of.days()).unwrap_or(0),
        })
        .collect();
    let as_of = searched.iter().map(|searched| searched.as_of).max();
    let mut said = CategoryAnswer {
        category: category.clone(),
        status: Status::None,
        as_of,
        searched,
        records: Vec::new(),
        truncated: false,
        rule: None,
        why: None,
    };
    if said.searched.is_empty() {
        said.status = Status::NotHeld;
        return said;
    }
    for record in records {
        // Known under another name: it may be a stranger's, no record leaves.
        if !record.name.matches(&subject.name) {
            said.status = Status::NameMismatch;
            said.records.clear();
            said.truncated = false;
            return said;
        }
        *weight += record.fields.canonical().len() + 64;
        if *weight > HEAVIEST {
            said.truncated = true;
            continue;
        }
        said.status = Status::Found;
        said.records.push(Record {
            as_of: record.as_of,
            fields: record.fields.clone(),
        });
    }
    if said.truncated && said.records.is_empty() {
        return unavailable(category, "too_many");
    }
    said
}

fn unavailable(category: &CategoryId, why: &str) -> CategoryAnswer {
    let why: Option<Word> = why.parse().ok();
    CategoryAnswer {
        category: category.clone(),
        status: Status::Unavailable,
        as_of: None,
        searched: Vec::new(),
        records: Vec::new(),
        truncated: false,
        rule: None,
        why,
    }
}
