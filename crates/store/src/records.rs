//! Records: imports in one commit, search by blind index, every row bound to its place.

use std::collections::{BTreeMap, HashMap};

use sanku_catalogue::{Catalogue, CategoryId, Fields, UnjudgedFields};
use sanku_federation_protocol::entry::Draft;
use sanku_tlog::Hash;
use sanku_values::{Date, IdentityNumber, PersonName};
use serde::{Deserialize, Serialize};
use sqlx::{QueryBuilder, Row};

use crate::database::on;
use crate::sealing::DataKey;
use crate::sequencer::{Effect, ROWS};
use crate::{Store, StoreError};

/// One row that goes in.
#[derive(Clone, Serialize)]
pub struct ImportRow {
    /// Its place among the accepted rows.
    pub ordinal: i64,
    /// Whom it is about.
    pub number: IdentityNumber,
    /// Under which name.
    pub name: PersonName,
    /// The record's own date.
    pub as_of: Date,
    /// Its fields.
    pub fields: Fields,
    /// The sheet it stood in.
    pub sheet: String,
    /// The row, as a person sees it.
    pub row: u64,
}

/// One import.
pub struct ImportRows {
    /// The category.
    pub category: CategoryId,
    /// The department that vouches for it.
    pub source: String,
    /// The date it vouches for.
    pub as_of: Date,
    /// The file's name: a secret, since names may stand in it.
    pub file: String,
    /// SHA-256 over what the import says: the same content has one effect, whatever its file is called.
    pub digest: Hash,
    /// The rows.
    pub rows: Vec<ImportRow>,
}

impl std::fmt::Debug for ImportRows {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ImportRows({}, {} rows)", self.category, self.rows.len())
    }
}

/// A row as it is sealed.
#[derive(Deserialize)]
struct StoredRow {
    #[serde(rename = "ordinal")]
    _ordinal: i64,
    number: IdentityNumber,
    name: PersonName,
    as_of: Date,
    fields: UnjudgedFields,
    sheet: String,
    row: u64,
}

/// A record that stands in the database.
#[derive(Clone)]
pub struct StoredRecord {
    /// Its category.
    pub category: CategoryId,
    /// Under which name.
    pub name: PersonName,
    /// The record's own date.
    pub as_of: Date,
    /// Its fields.
    pub fields: Fields,
    /// The import.
    pub import: u64,
    /// The department.
    pub source: String,
    /// The sheet.
    pub sheet: String,
    /// The row.
    pub row: u64,
}

impl std::fmt::Debug for StoredRecord {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "StoredRecord({} of import {})", self.category, self.import)
    }
}

/// An import that stands in the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredImport {
    /// Its number.
    pub number: u64,
    /// Its category.
    pub category: CategoryId,
    /// The department.
    pub source: String,
    /// The date it vouches for.
    pub as_of: Date,
}

/// What stands about a person: rows that were read, and categories with a row that does not open.
#[derive(Debug, Default)]
pub struct Found {
    /// The rows, newest import first.
    pub records: Vec<StoredRecord>,
    /// Categories in which a row is corrupt: nothing of them may be served.
    pub corrupt: Vec<CategoryId>,
}

/// What a record's seal is bound to: its place, whom it is about, and its import's category, date and department.
pub(crate) fn place(subject: &[u8], import: i64, ordinal: i64, about: [&str; 3]) -> Vec<u8> {
    let [category, as_of, source] = about;
    [
        format!("records {import} {ordinal} {category} {as_of} {source} ").as_bytes(),
        subject,
    ]
    .concat()
}

/// A record with its import and the import's wrapped key, as one query reads them; nothing where one is missing.
struct FoundRow {
    import: i64,
    ordinal: i64,
    sealed: Vec<u8>,
    category: Option<String>,
    source: Option<String>,
    as_of: Option<String>,
    wrapped: Option<Vec<u8>>,
}

impl Store {
    /// Imports rows in one commit together with their act.
    ///
    /// # Errors
    /// `AlreadyImported` with the number of the import that holds the same content.
    pub async fn import(&self, act: Draft, rows: ImportRows) -> Result<u64, StoreError> {
        let digest = rows.digest;
        self.append("acts".to_owned(), vec![act], vec![Effect::Import(Box::new(rows))])
            .await?;
        let number: i64 = on!(&self.database, pool => sqlx::query("SELECT number FROM imports WHERE digest = $1").bind(digest.bytes().to_vec()).fetch_one(pool).await?.try_get(0)?);
        Ok(number.unsigned_abs())
    }

    /// The import that holds this content, if one does.
    pub async fn imported(&self, digest: Hash) -> Result<Option<u64>, StoreError> {
        let number: Option<i64> = on!(&self.database, pool => sqlx::query("SELECT number FROM imports WHERE digest = $1").bind(digest.bytes().to_vec()).fetch_optional(pool).await?.map(|row| row.try_get(0)).transpose()?);
        Ok(number.map(i64::unsigned_abs))
    }

    /// Every import of a category, newest first.
    pub async fn imports(&self) -> Result<Vec<StoredImport>, StoreError> {
        let rows: Result<Vec<(i64, String, String, String)>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT number, category, source, as_of FROM imports ORDER BY as_of DESC, number DESC")
            .fetch_all(pool).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))).collect());
        let read = |(number, category, source, as_of): (i64, String, String, String)| {
            let corrupt = StoreError::Corrupt("an import");
            Ok(StoredImport {
                number: number.unsigned_abs(),
                category: category.parse().map_err(|_| corrupt.clone())?,
                source,
                as_of: as_of.parse().map_err(|_| corrupt)?,
            })
        };
        rows?.into_iter().map(read).collect()
    }

    /// The name of an import's file.
    pub async fn import_file(&self, number: u64) -> Result<String, StoreError> {
        let sealed: Vec<u8> = on!(&self.database, pool => sqlx::query("SELECT file FROM imports WHERE number = $1").bind(number.cast_signed()).fetch_one(pool).await?.try_get(0)?);
        let plain = self
            .data_key(&format!("import {number}"))
            .await?
            .open(format!("imports {number}").as_bytes(), &sealed)?;
        String::from_utf8(plain).map_err(|_| StoreError::Corrupt("an import"))
    }

    /// Every row about a person in these categories.
    pub async fn find(&self, number: &IdentityNumber, categories: &[CategoryId]) -> Result<Found, StoreError> {
        let mut found = self.find_all(&[(number, categories)]).await?;
        found.pop().unwrap_or_else(|| Ok(Found::default()))
    }

    /// Every row about each of these people, each in categories of their own: one query for many people.
    pub async fn find_all(
        &self,
        people: &[(&IdentityNumber, &[CategoryId])],
    ) -> Result<Vec<Result<Found, StoreError>>, StoreError> {
        let subjects: Vec<_> = people.iter().map(|(number, _)| self.keys.blind(number)).collect();
        let mut rows: HashMap<Vec<u8>, Vec<FoundRow>> = HashMap::new();
        for chunk in subjects.chunks(ROWS) {
            // What hangs on a person's rows is found by key, however many imports there are.
            on!(&self.database, pool => {
                let mut select = QueryBuilder::new("SELECT r.subject, r.import, r.row, r.sealed, i.category, i.source, i.as_of, k.wrapped FROM records r \
                     LEFT JOIN imports i ON i.number = r.import LEFT JOIN keys k ON k.name = 'import ' || CAST(r.import AS TEXT) \
                     WHERE r.subject IN (");
                let mut list = select.separated(", ");
                for subject in chunk {
                    list.push_bind(subject.clone());
                }
                select.push(") ORDER BY i.as_of DESC, r.import DESC, r.row");
                for row in select.build().fetch_all(pool).await? {
                    rows.entry(row.try_get(0)?).or_default().push(FoundRow {
                        import: row.try_get(1)?, ordinal: row.try_get(2)?, sealed: row.try_get(3)?, category: row.try_get(4)?,
                        source: row.try_get(5)?, as_of: row.try_get(6)?, wrapped: row.try_get(7)?,
                    });
                }
            });
        }
        let mut keys = HashMap::new();
        let of_each = people.iter().zip(&subjects).map(|((number, categories), subject)| {
            let rows = rows.get(subject).map(Vec::as_slice).unwrap_or_default();
            self.read(rows, &mut keys, subject, number, categories)
        });
        Ok(of_each.collect())
    }

    /// Opens and judges the rows about one person. `keys` are those of imports that were unwrapped already.
    fn read(
        &self,
        rows: &[FoundRow],
        keys: &mut HashMap<i64, Option<DataKey>>,
        subject: &[u8],
        number: &IdentityNumber,
        categories: &[CategoryId],
    ) -> Result<Found, StoreError> {
        let mut found = Found::default();
        for row in rows {
            // Without its import nobody can say which category is missing something.
            let category: CategoryId = row
                .category
                .as_deref()
                .and_then(|category| category.parse().ok())
                .ok_or(StoreError::Corrupt("an import"))?;
            if !categories.contains(&category) {
                continue;
            }
            let key = keys.entry(row.import).or_insert_with(|| {
                let name = format!("import {}", row.import);
                row.wrapped
                    .as_ref()
                    .and_then(|wrapped| self.keys.unwrap(&name, wrapped).ok())
            });
            match key
                .as_ref()
                .and_then(|key| opened(row, key, subject, &category, number))
            {
                Some(record) => found.records.push(record),
                None => {
                    tracing::error!(
                        import = row.import,
                        row = row.ordinal,
                        "a record does not open: it is withheld"
                    );
                    if !found.corrupt.contains(&category) {
                        found.corrupt.push(category);
                    }
                }
            }
        }
        Ok(found)
    }
}

/// The record of a row that stands where, and under what, it was sealed.
fn opened(
    row: &FoundRow,
    key: &DataKey,
    subject: &[u8],
    category: &CategoryId,
    number: &IdentityNumber,
) -> Option<StoredRecord> {
    let (source, as_of) = (row.source.as_deref()?, row.as_of.as_deref()?);
    let place = place(subject, row.import, row.ordinal, [category.as_str(), as_of, source]);
    let about = StoredImport {
        number: row.import.unsigned_abs(),
        category: category.clone(),
        source: source.to_owned(),
        as_of: as_of.parse().ok()?,
    };
    judged(&key.open(&place, &row.sealed).ok()?, number, &about)
}

fn judged(plain: &[u8], number: &IdentityNumber, about: &StoredImport) -> Option<StoredRecord> {
    let stored: StoredRow = serde_json::from_slice(plain).ok()?;
    let category = Catalogue::current().category(&about.category)?;
    (stored.number == *number).then_some(())?;
    Some(StoredRecord {
        category: about.category.clone(),
        name: stored.name,
        as_of: stored.as_of,
        fields: category.judge(stored.fields).ok()?,
        import: about.number,
        source: about.source.clone(),
        sheet: stored.sheet,
        row: stored.row,
    })
}

impl Found {
    /// The records that count now: of one source's rows with the same natural key the newest import's; earlier rows with
    /// another key stay, since a partial file takes nothing away.
    pub fn current(&self) -> Vec<&StoredRecord> {
        let mut seen: BTreeMap<(&CategoryId, &str, String), u64> = BTreeMap::new();
        let mut current = Vec::new();
        for record in &self.records {
            let key = Catalogue::current()
                .category(&record.category)
                .map(|category| category.natural_key(&record.fields))
                .unwrap_or_default();
            let newest = *seen
                .entry((&record.category, record.source.as_str(), key))
                .or_insert(record.import);
            if newest == record.import {
                current.push(record);
            }
        }
        current
    }
}
