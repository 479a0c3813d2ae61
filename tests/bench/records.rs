//! T7: a lookup in one node that holds ten million records beside one that holds a hundred thousand. T8: the import of a file,
//! sealed row by row, beside PostgreSQL's `COPY` into a table with an index on the person.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::asking::Questions;
use crate::load::Measured;
use crate::nodes::{Federation, Node, write_rows};
use crate::postgres::Cluster;

const CODE: u32 = 420_000;
/// Rows of one file: an import is held in memory while it is written.
const ROWS_OF_A_FILE: u64 = 2_500_000;

/// One node with ten records of each person.
pub(crate) struct Alone {
    _node: Node,
    questions: Questions,
}

impl Alone {
    /// The node in this directory, made there if it is not.
    pub(crate) fn with(directory: &Path, records: u64) -> Self {
        let persons = records / 10;
        let place = directory.join(format!("records-{records}"));
        let whole = place.join("whole");
        let federation = if whole.exists() {
            Federation::open(place)
        } else {
            let _ = std::fs::remove_dir_all(&place);
            let federation = Federation::at(place.clone(), &[CODE], |_| None);
            let (began, mut first) = (Instant::now(), 0);
            while first < persons {
                let last = persons.min(first + ROWS_OF_A_FILE / 10);
                let file = place.join("rows.csv");
                write_rows(&file, 0, first..last);
                federation.import(CODE, &file);
                std::fs::remove_file(file).unwrap();
                first = last;
            }
            std::fs::write(whole, "").unwrap();
            println!("{records} records imported in {:.0} s", began.elapsed().as_secs_f64());
            federation
        };
        let node = federation.serve(CODE);
        Self {
            _node: node,
            questions: Questions {
                socket: federation.socket(CODE),
                persons,
                facts: 10,
            },
        }
    }

    /// Lookups of one client, of people at random.
    pub(crate) fn measure(&self, seconds: u64) -> Measured {
        self.questions.measure(1, Duration::from_secs(seconds))
    }
}

/// Seconds of our import and of PostgreSQL's, of a file with so many rows, in turn.
pub(crate) fn imports(rows: u64) -> [f64; 2] {
    let place = tempfile::tempdir().unwrap();
    // psql runs as another user.
    std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let file = place.path().join("rows.csv");
    write_rows(&file, 0, 0..rows / 10);
    let federation = Federation::new(&[CODE], |_| None);
    let began = Instant::now();
    federation.import(CODE, &file);
    let ours = began.elapsed().as_secs_f64();

    let cluster = Cluster::start().expect("Debian's postgresql");
    let table = "CREATE TABLE records (name text NOT NULL, id_number text NOT NULL, plate text NOT NULL, kind text, model text, vehicle text, purpose text, registered date, state text); CREATE INDEX records_by_person ON records (id_number)";
    cluster.sql(&["-c", table]);
    let began = Instant::now();
    cluster.sql(&[
        "-c",
        &format!(
            "\\copy records FROM '{}' WITH (FORMAT csv, HEADER true)",
            file.display()
        ),
    ]);
    [ours, began.elapsed().as_secs_f64()]
}
