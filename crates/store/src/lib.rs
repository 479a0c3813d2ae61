//! SQLite and PostgreSQL: the only place with SQL. The log's sequencer, sealed records and statements, imports, questions.
