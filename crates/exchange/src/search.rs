//! Searching here: the only reader of records. One answer for each subject, by the same function for the person at this
//! node and for a neighbour.

use sanku_catalogue::CategoryId;
use sanku_federation_protocol::body::{AnswerBody, Body, CategoryAnswer, Record, Salt, Searched, Subject};
use sanku_federation_protocol::entry::{AnswerEntry, Draft, QueryEntry, Said};
use sanku_federation_protocol::names::{StatementId, Status, Word};
use sanku_store::{Found, Store, StoreError, StoredImport, StoredRecord};
use sanku_tlog::Hash;
use sanku_values::{Date, Time};
use tokio::time::Instant;

use crate::authorise::Permit;
use crate::{ExchangeError, fair};

/// Most bytes of records in one answer: its body stays below its limit.
const HEAVIEST: usize = 3 << 20;

/// A question that is searched, with the leave to.
pub(crate) struct Leaf<'a> {
    pub(crate) permit: &'a Permit,
    pub(crate) leaf: Hash,
    pub(crate) entry: &'a QueryEntry,
    /// Who is searched, each with its index.
    pub(crate) subjects: Vec<(u32, &'a Subject)>,
}

/// Searches for the subjects of these questions with one query, whoever they are about; gives each question's answers. What the
/// database has not given by `until` is `unavailable`, never nothing.
pub(crate) async fn search<'a>(
    store: &Store,
    questions: impl Iterator<Item = &'a Leaf<'a>> + Clone,
    now: Time,
    until: Instant,
) -> Result<Vec<Vec<Draft>>, ExchangeError> {
    let of_all = questions.clone().flat_map(|question| {
        let subjects = question.subjects.iter();
        subjects.map(|(_, subject)| (&subject.number, question.entry.categories.as_slice()))
    });
    let people: Vec<_> = of_all.collect();
    if people.is_empty() {
        return Ok(Vec::new());
    }
    let found = in_time(until, store.find_all(&people)).await;
    let (imports, found) = match found {
        Ok((imports, found)) => (
            imports,
            found
                .into_iter()
                .map(|found| found.map_err(|error| why(&error)))
                .collect(),
        ),
        Err(why) => (Vec::new(), people.iter().map(|_| Err(why)).collect::<Vec<_>>()),
    };
    let mut found = found.into_iter();
    let mut all = Vec::new();
    for question in questions {
        let mut drafts = Vec::new();
        for (index, subject) in &question.subjects {
            let found = found.next().unwrap_or(Err("database"));
            drafts.push(of_subject(question, *index, subject, &imports, &found, now)?);
        }
        all.push(drafts);
        fair::pause(all.len()).await;
    }
    Ok(all)
}

/// The answer about one subject.
fn of_subject(
    question: &Leaf<'_>,
    index: u32,
    subject: &Subject,
    imports: &[StoredImport],
    found: &Result<Found, &'static str>,
    now: Time,
) -> Result<Draft, ExchangeError> {
    let _leave = question.permit;
    let mut weight = 0;
    let mut categories = Vec::new();
    let current = found.as_ref().map(Found::current).unwrap_or_default();
    for category in &question.entry.categories {
        categories.push(match found {
            Ok(found) if found.corrupt.contains(category) => unavailable(category, "corrupt"),
            Ok(_) => {
                let records = current.iter().copied().filter(|record| record.category == *category);
                answer(category, subject, imports, records, &mut weight, now)
            }
            Err(why) => unavailable(category, why),
        });
    }
    let body = AnswerBody {
        salt: Salt::generate()?,
        categories,
    }
    .line()?;
    Ok(Draft {
        id: StatementId::generate(now),
        said: Said::Answer(AnswerEntry {
            re: question.leaf,
            subject: index,
        }),
        body,
    })
}

/// A stable word for a database's failure.
fn why(error: &StoreError) -> &'static str {
    tracing::error!(%error, "the records cannot be searched");
    "database"
}

/// What the database gives in time, or a stable word for why not.
async fn in_time<T>(until: Instant, reading: impl Future<Output = Result<T, StoreError>>) -> Result<T, &'static str> {
    match tokio::time::timeout_at(until, reading).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(why(&error)),
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
