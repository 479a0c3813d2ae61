//! Statements that need nothing of each other's results, handed to the database together: the way there costs more than what
//! it does there. SQLite takes them as one text with its BEGIN and COMMIT; PostgreSQL one after another in a transaction.

use std::fmt::Write as _;

use sqlx::error::{BoxDynError, ErrorKind};
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, AssertSqlSafe, Error, PgConnection, PgPool, SqliteConnection, SqlitePool};

/// Rows of one INSERT, below the databases' limits on parameters.
pub(crate) const ROWS: usize = 1000;

/// A value that is bound to a statement.
#[derive(Clone)]
pub(crate) enum Value {
    Integer(i64),
    /// An integer that may be missing.
    Maybe(Option<i64>),
    Text(String),
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// Statements with their values.
#[derive(Default)]
pub(crate) struct Script(Vec<Statement>);

enum Statement {
    /// `?` in its text stands for each value in turn.
    One(String, Vec<Value>),
    /// Rows that go into these columns, by columns, and what follows them.
    Rows(String, Vec<Vec<Value>>, &'static str),
}

impl Script {
    /// A statement.
    pub(crate) fn push(&mut self, sql: &str, values: Vec<Value>) {
        self.0.push(Statement::One(sql.to_owned(), values));
    }

    /// `INSERT INTO` these columns these rows, with what follows them.
    pub(crate) fn insert<const N: usize>(&mut self, into: &str, rows: Vec<[Value; N]>, after: &'static str) {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut columns: Vec<_> = (0..N).map(|_| Vec::new()).collect();
            for row in rows.by_ref().take(ROWS) {
                for (column, value) in columns.iter_mut().zip(row) {
                    column.push(value);
                }
            }
            self.0.push(Statement::Rows(into.to_owned(), columns, after));
        }
    }

    /// One text of all, and all values in their order.
    fn joined(self) -> (String, Vec<Value>) {
        let (mut texts, mut values) = (Vec::new(), Vec::new());
        for statement in self.0 {
            match statement {
                Statement::One(sql, of_it) => {
                    texts.push(sql);
                    values.extend(of_it);
                }
                Statement::Rows(into, columns, after) => {
                    let row = format!("({})", vec!["?"; columns.len()].join(", "));
                    let count = columns.first().map_or(0, Vec::len);
                    let rows = vec![row.as_str(); count].join(", ");
                    texts.push(format!("INSERT INTO {into} VALUES {rows} {after}"));
                    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
                    for _ in 0..count {
                        values.extend(columns.iter_mut().filter_map(Iterator::next));
                    }
                }
            }
        }
        (texts.join(";"), values)
    }
}

/// Where a script runs.
pub(crate) trait Run {
    /// Within the transaction that is open.
    fn run(&mut self, script: Script) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What can run a script as a transaction of its own.
pub(crate) trait RunWhole {
    /// All of it, durably, or nothing.
    fn run_whole(&self, script: Script) -> impl Future<Output = Result<(), Error>> + Send;
}

/// One parameter more, for either database.
macro_rules! add {
    ($arguments:expr, $value:expr) => {
        match $value {
            Value::Integer(integer) => $arguments.add(integer),
            Value::Maybe(integer) => $arguments.add(integer),
            Value::Text(text) => $arguments.add(text),
            Value::Bytes(bytes) => $arguments.add(bytes),
        }
        .map_err(Error::Encode)
    };
}

async fn run_text(connection: &mut SqliteConnection, text: String, values: Vec<Value>) -> Result<(), Error> {
    let mut arguments = sqlx::sqlite::SqliteArguments::default();
    for value in values {
        add!(arguments, value)?;
    }
    sqlx::query_with(AssertSqlSafe(text), arguments)
        .execute(connection)
        .await
        .map(drop)
}

impl Run for SqliteConnection {
    async fn run(&mut self, script: Script) -> Result<(), Error> {
        let (text, values) = script.joined();
        run_text(self, text, values).await
    }
}

impl RunWhole for SqlitePool {
    async fn run_whole(&self, script: Script) -> Result<(), Error> {
        let (text, values) = script.joined();
        let mut connection = self.acquire().await?;
        let run = async move {
            let done = run_text(&mut connection, format!("BEGIN IMMEDIATE;{text};COMMIT"), values).await;
            if done.is_err() {
                // What failed may have left the transaction open; where it did not, there is none to roll back.
                let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
            }
            done
        };
        // Whoever stops waiting does not stop it half-way: the connection would stay in the transaction.
        tokio::spawn(run).await.unwrap_or(Err(Error::WorkerCrashed))
    }
}

/// The text with PostgreSQL's numbered parameters.
fn numbered(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() * 2);
    let mut number = 0;
    for letter in sql.chars() {
        if letter == '?' {
            number += 1;
            let _ = write!(out, "${number}");
        } else {
            out.push(letter);
        }
    }
    out
}

/// Adds a column's values as one array; says how it stands in the statement.
fn add_column(arguments: &mut PgArguments, column: Vec<Value>) -> Result<&'static str, BoxDynError> {
    let (mut integers, mut texts, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for value in column {
        match value {
            Value::Integer(integer) => integers.push(Some(integer)),
            Value::Maybe(integer) => integers.push(integer),
            Value::Text(text) => texts.push(text),
            Value::Bytes(these) => bytes.push(these),
        }
    }
    if !texts.is_empty() {
        arguments.add(texts)?;
        return Ok("?::text[]");
    }
    if !bytes.is_empty() {
        arguments.add(bytes)?;
        return Ok("?::bytea[]");
    }
    arguments.add(integers)?;
    Ok("?::bigint[]")
}

impl Run for PgConnection {
    async fn run(&mut self, script: Script) -> Result<(), Error> {
        for statement in script.0 {
            let mut arguments = PgArguments::default();
            let sql = match statement {
                Statement::One(sql, values) => {
                    for value in values {
                        add!(arguments, value)?;
                    }
                    numbered(&sql)
                }
                // A column is one value: the text, and with it the server's plan, is the same however many rows there are.
                Statement::Rows(into, columns, after) => {
                    let mut kinds = Vec::new();
                    for column in columns {
                        kinds.push(add_column(&mut arguments, column).map_err(Error::Encode)?);
                    }
                    numbered(&format!(
                        "INSERT INTO {into} SELECT * FROM UNNEST({}) {after}",
                        kinds.join(", ")
                    ))
                }
            };
            sqlx::query_with(AssertSqlSafe(sql), arguments)
                .execute(&mut *self)
                .await?;
        }
        Ok(())
    }
}

impl RunWhole for PgPool {
    async fn run_whole(&self, script: Script) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        (*tx).run(script).await?;
        tx.commit().await
    }
}

/// Whether the database refused because it knows more than whoever wrote the script: another process wrote meanwhile.
pub(crate) fn is_overtaken(error: &Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| matches!(error.kind(), ErrorKind::UniqueViolation | ErrorKind::NotNullViolation))
}
