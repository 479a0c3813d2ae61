//! Synthetic people, households, department files and one planted household, for the demonstration and for tests.
//!
//! Seeded: the same seed gives the same people. Nobody here exists.

mod files;
mod people;
mod planted;
mod records;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use fastrand::Rng;
pub use files::DepartmentFile;
use files::Form;
pub use people::SyntheticPerson;
pub use planted::{Expectation, Planted};
use sanku_values::{Date, IdentityNumber, PersonName};
use serde_json::{Value, json};

/// The population cannot be made or written.
#[derive(Debug, thiserror::Error)]
pub enum PopulationError {
    /// A value that does not hold: a mistake of the generator.
    #[error("a synthetic {0} does not hold")]
    Value(&'static str),
    /// A file.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// A workbook.
    #[error(transparent)]
    Workbook(#[from] rust_xlsxwriter::XlsxError),
    /// A CSV file.
    #[error(transparent)]
    Csv(#[from] csv::Error),
}

/// One row of a department's file.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) node: u32,
    pub(crate) category: &'static str,
    pub(crate) number: IdentityNumber,
    pub(crate) name: PersonName,
    /// Field ids and how the department writes them.
    pub(crate) values: Vec<(&'static str, String)>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Row({} {})", self.node, self.category)
    }
}

/// Everybody, and what is known of them where.
#[derive(Debug)]
pub struct Population {
    people: Vec<SyntheticPerson>,
    planted: Planted,
    rows: Vec<Row>,
    today: Date,
}

impl Population {
    /// Makes people and what departments know of them. `today` bounds their births.
    pub fn generate(seed: u64, people: u32, today: Date) -> Result<Self, PopulationError> {
        let mut rng = Rng::with_seed(seed);
        let mut taken = HashSet::new();
        let planted = planted::plant(&mut rng, today, &mut taken)?;
        let people = people::people(&mut rng, people, today, &mut taken)?;
        let mut rows = planted.rows.clone();
        for person in &people {
            records::of(&mut rng, person, &mut rows)?;
        }
        Ok(Self {
            people,
            planted,
            rows,
            today,
        })
    }

    /// The people, without the planted household.
    pub fn people(&self) -> &[SyntheticPerson] {
        &self.people
    }

    /// What was planted.
    pub const fn planted(&self) -> &Planted {
        &self.planted
    }

    /// Which categories a node holds.
    pub fn categories_of(&self, node: u32) -> Vec<&'static str> {
        let held: std::collections::BTreeSet<_> = self
            .rows
            .iter()
            .filter(|row| row.node == node)
            .map(|row| row.category)
            .collect();
        held.into_iter().collect()
    }

    /// Writes each department's files, a folder a node.
    pub fn write_department_files(&self, directory: &Path) -> Result<Vec<DepartmentFile>, PopulationError> {
        let mut grouped: BTreeMap<(u32, &'static str), Vec<&Row>> = BTreeMap::new();
        for row in &self.rows {
            grouped.entry((row.node, row.category)).or_default().push(row);
        }
        let as_of = Date::from_days(self.today.days() - 20).map_err(|_| PopulationError::Value("date"))?;
        let forms = [Form::Workbook, Form::Gbk, Form::Utf8];
        grouped
            .into_iter()
            .zip(forms.into_iter().cycle())
            .map(|(((node, category), rows), form)| files::write(directory, node, category, &rows, as_of, form))
            .collect()
    }

    /// The case of the planted household, as a district centre hands it in. `mandate` is a UUIDv7.
    pub fn case(&self, mandate: &str, valid_from: &str, valid_until: &str) -> Value {
        let categories: std::collections::BTreeSet<_> = self.rows.iter().map(|row| row.category).collect();
        let subjects: Vec<_> = self
            .planted
            .household
            .iter()
            .map(|(number, name, role)| json!({ "number": number, "kind": "resident", "name": name, "role": role }))
            .collect();
        let household = &self.planted.household;
        json!({
            "purpose": "minimum_living_allowance",
            "case": "沙市区-2026-000123",
            "requester": "沙市区民政局社会救助股",
            "examiner": { "name": "初审员甲", "staff_number": "SS-0007" },
            "approver": { "name": "审批员乙", "staff_number": "SS-0012" },
            "mandate": {
                "id": mandate,
                "signatories": household.iter().map(|(_, name, _)| name).collect::<Vec<_>>(),
                "subjects": household.iter().map(|(number, _, _)| number).collect::<Vec<_>>(),
                "categories": categories,
                "purpose": "minimum_living_allowance",
                "valid_from": valid_from,
                "valid_until": valid_until,
                "letter": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            },
            "subjects": subjects,
            "categories": categories,
            "scope": "federation",
            "priority": "person",
            "budget_ms": 5000,
            "expires_days": 20,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn today() -> Date {
        Date::new(2026, 11, 24).unwrap()
    }

    #[test]
    fn one_seed_gives_one_population() {
        let of = |seed| {
            Population::generate(seed, 200, today())
                .unwrap()
                .people
                .iter()
                .map(|person| person.number.as_str().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        assert_eq!(of(7).len(), 200);
    }

    #[test]
    fn every_category_of_the_catalogue_is_held_somewhere() {
        let population = Population::generate(1, 2000, today()).unwrap();
        let held: std::collections::BTreeSet<_> = [420_000, 421_000, 421_002, 421_003]
            .into_iter()
            .flat_map(|node| population.categories_of(node))
            .collect();
        let all: std::collections::BTreeSet<_> = sanku_catalogue::Catalogue::current()
            .categories()
            .iter()
            .map(|category| category.id.as_str())
            .collect();
        assert_eq!(held, all);
    }

    #[test]
    fn files_are_written_for_each_node_and_category() {
        let population = Population::generate(1, 100, today()).unwrap();
        let place = tempfile::tempdir().unwrap();
        let files = population.write_department_files(place.path()).unwrap();
        assert!(files.len() > 20);
        assert!(
            files
                .iter()
                .all(|file| std::fs::metadata(&file.path).unwrap().len() > 50)
        );
    }
}
