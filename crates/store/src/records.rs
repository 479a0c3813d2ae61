//! Records: imports in one commit, search by blind index, every row bound to its place.

use std::collections::{BTreeMap, HashMap};

use sanku_catalogue::{Catalogue, CategoryId, Fields, UnjudgedFields};
use sanku_federation_protocol::entry::Draft;
use sanku_tlog::Hash;
use sanku_values::{Date, IdentityNumber, PersonName};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Row};

use crate::database::on;
use crate::script::{ROWS, Value};
use crate::sealing::{DataKey, StorageKeys};
use crate::sequencer::Effect;
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

/// Rows with their blind indices, in the order of the table's key.
pub(crate) fn in_order<'a>(keys: &StorageKeys, rows: &'a [ImportRow]) -> Vec<(Vec<u8>, &'a ImportRow)> {
    let mut rows: Vec<_> = rows.iter().map(|row| (keys.blind(&row.number), row)).collect();
    rows.sort_by(|(a, one), (b, other)| a.cmp(b).then(one.ordinal.cmp(&other.ordinal)));
    rows
}

/// Rows of an import as they stand in the table.
pub(crate) fn sealed(
    key: &DataKey,
    number: i64,
    import: &ImportRows,
    rows: &[(Vec<u8>, &ImportRow)],
) -> Result<Vec<[Value; 4]>, StoreError> {
    let as_of = import.as_of.to_string();
    let about = [import.category.as_str(), as_of.as_str(), import.source.as_str()];
    let seal = |(subject, row): &(Vec<u8>, &ImportRow)| {
        let plain =
            serde_json::to_vec(row).map_err(|_| StoreError::Draft("a record that cannot be written".to_owned()))?;
        let sealed = key.seal(&place(subject, number, row.ordinal, about), &plain)?;
        Ok([subject.clone().into(), number.into(), row.ordinal.into(), sealed.into()])
    };
    rows.iter().map(seal).collect()
}

/// A record with its import and the import's wrapped key, as one query reads them, or an import alone; nothing where one is
/// missing.
struct FoundRow {
    import: i64,
    ordinal: Option<i64>,
    sealed: Option<Vec<u8>>,
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
        let read = |(number, category, source, as_of)| stored_import(number, Some(category), Some(source), Some(as_of));
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
        let (_, mut found) = self.find_all(&[(number, categories)]).await?;
        found.pop().unwrap_or_else(|| Ok(Found::default()))
    }

    /// Every import, and every row about each of these people, each in categories of their own, as they stand at one moment: one
    /// query for many people.
    pub async fn find_all(
        &self,
        people: &[(&IdentityNumber, &[CategoryId])],
    ) -> Result<(Vec<StoredImport>, Vec<Result<Found, StoreError>>), StoreError> {
        let subjects: Vec<_> = people.iter().map(|(number, _)| self.keys.blind(number)).collect();
        let mut rows: HashMap<Vec<u8>, Vec<FoundRow>> = HashMap::new();
        let mut imports = Vec::new();
        for chunk in subjects.chunks(ROWS) {
            imports.clear();
            // What hangs on a person's rows is found by key, however many imports there are.
            let sql = format!(
                "SELECT r.subject, r.import, r.row, r.sealed, i.category, i.source, i.as_of, k.wrapped FROM records r \
                 LEFT JOIN imports i ON i.number = r.import LEFT JOIN keys k ON k.name = 'import ' || CAST(r.import AS TEXT) WHERE r.subject IN ({}) \
                 UNION ALL SELECT NULL, number, NULL, NULL, category, source, as_of, NULL FROM imports",
                (1..=chunk.len())
                    .map(|place| format!("${place}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            on!(&self.database, pool => {
                let mut select = sqlx::query(AssertSqlSafe(sql.as_str()));
                for subject in chunk {
                    select = select.bind(subject.clone());
                }
                for row in select.fetch_all(pool).await? {
                    let found = FoundRow {
                        import: row.try_get(1)?, ordinal: row.try_get(2)?, sealed: row.try_get(3)?, category: row.try_get(4)?,
                        source: row.try_get(5)?, as_of: row.try_get(6)?, wrapped: row.try_get(7)?,
                    };
                    match row.try_get::<Option<Vec<u8>>, _>(0)? {
                        Some(subject) => rows.entry(subject).or_default().push(found),
                        None => imports.push(found),
                    }
                }
            });
        }
        let imports = imports
            .into_iter()
            .map(|row| stored_import(row.import, row.category, row.source, row.as_of));
        let mut imports = imports.collect::<Result<Vec<_>, _>>()?;
        // Newest first.
        imports.sort_by_key(|import| std::cmp::Reverse((import.as_of, import.number)));
        for rows in rows.values_mut() {
            rows.sort_by(|a, b| (&b.as_of, b.import, a.ordinal).cmp(&(&a.as_of, a.import, b.ordinal)));
        }
        let mut keys = HashMap::new();
        let of_each = people.iter().zip(&subjects).map(|((number, categories), subject)| {
            let rows = rows.get(subject).map(Vec::as_slice).unwrap_or_default();
            self.read(rows, &mut keys, subject, number, categories)
        });
        Ok((imports, of_each.collect()))
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

/// An import of its columns.
fn stored_import(
    number: i64,
    category: Option<String>,
    source: Option<String>,
    as_of: Option<String>,
) -> Result<StoredImport, StoreError> {
    let read = || {
        Some(StoredImport {
            number: number.unsigned_abs(),
            category: category?.parse().ok()?,
            source: source?,
            as_of: as_of?.parse().ok()?,
        })
    };
    read().ok_or(StoreError::Corrupt("an import"))
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
    let place = place(subject, row.import, row.ordinal?, [category.as_str(), as_of, source]);
    let about = StoredImport {
        number: row.import.unsigned_abs(),
        category: category.clone(),
        source: source.to_owned(),
        as_of: as_of.parse().ok()?,
    };
    judged(&key.open(&place, row.sealed.as_ref()?).ok()?, number, &about)
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
