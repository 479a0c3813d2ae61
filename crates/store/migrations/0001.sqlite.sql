-- The log: entry and sealed body are one row, keyed by place; nothing here has a random key.
CREATE TABLE log (number INTEGER NOT NULL, idx INTEGER NOT NULL, entry BLOB NOT NULL, body BLOB NOT NULL, key TEXT NOT NULL, PRIMARY KEY (number, idx)) WITHOUT ROWID;
-- Roots of full tiles below: level 1 and above of the tiles.
CREATE TABLE roots (number INTEGER NOT NULL, level INTEGER NOT NULL, idx INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (number, level, idx)) WITHOUT ROWID;
-- One row: the log's head. Whoever holds it writes.
CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, size INTEGER NOT NULL, time INTEGER NOT NULL, checkpoint TEXT NOT NULL);
-- Keys that seal bodies and records, wrapped by the storage key. Destroying one makes what it sealed unreadable.
CREATE TABLE keys (name TEXT PRIMARY KEY, wrapped BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE questions (origin TEXT NOT NULL, id TEXT NOT NULL, leaf BLOB NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (origin, id)) WITHOUT ROWID;
CREATE TABLE said (origin TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (origin, id, number, first)) WITHOUT ROWID;
CREATE TABLE received (origin TEXT NOT NULL, id TEXT NOT NULL, log TEXT NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, wire BLOB NOT NULL, PRIMARY KEY (origin, id, log, first, count)) WITHOUT ROWID;
CREATE TABLE withdrawals (asker INTEGER NOT NULL, mandate TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (asker, mandate)) WITHOUT ROWID;
CREATE TABLE imports (number INTEGER PRIMARY KEY, category TEXT NOT NULL, source TEXT NOT NULL, as_of TEXT NOT NULL, digest BLOB NOT NULL UNIQUE, accepted INTEGER NOT NULL, file BLOB NOT NULL);
CREATE TABLE records (subject BLOB NOT NULL, import INTEGER NOT NULL, row INTEGER NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (subject, import, row)) WITHOUT ROWID;
CREATE TABLE notes (name TEXT NOT NULL, number INTEGER NOT NULL, bytes TEXT NOT NULL, PRIMARY KEY (name, number)) WITHOUT ROWID;
CREATE TRIGGER log_no_update BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_no_delete BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER roots_no_update BEFORE UPDATE ON roots BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER roots_no_delete BEFORE DELETE ON roots BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER said_no_update BEFORE UPDATE ON said BEGIN SELECT RAISE(ABORT, 'statements are append-only'); END;
CREATE TRIGGER said_no_delete BEFORE DELETE ON said BEGIN SELECT RAISE(ABORT, 'statements are append-only'); END;
CREATE TRIGGER received_no_update BEFORE UPDATE ON received BEGIN SELECT RAISE(ABORT, 'statements are append-only'); END;
CREATE TRIGGER received_no_delete BEFORE DELETE ON received BEGIN SELECT RAISE(ABORT, 'statements are append-only'); END;
CREATE TRIGGER imports_no_update BEFORE UPDATE ON imports BEGIN SELECT RAISE(ABORT, 'imports are append-only'); END;
CREATE TRIGGER imports_no_delete BEFORE DELETE ON imports BEGIN SELECT RAISE(ABORT, 'imports are append-only'); END;
CREATE TRIGGER records_no_update BEFORE UPDATE ON records BEGIN SELECT RAISE(ABORT, 'records are append-only'); END;
CREATE TRIGGER records_no_delete BEFORE DELETE ON records BEGIN SELECT RAISE(ABORT, 'records are append-only'); END;
