-- The log: entry and sealed body are one row, keyed by place; nothing here has a random key.
CREATE TABLE log (number BIGINT NOT NULL, idx BIGINT NOT NULL, entry BYTEA NOT NULL, body BYTEA NOT NULL, key TEXT NOT NULL, PRIMARY KEY (number, idx));
-- Roots of full tiles below: level 1 and above of the tiles.
CREATE TABLE roots (number BIGINT NOT NULL, level BIGINT NOT NULL, idx BIGINT NOT NULL, hash BYTEA NOT NULL, PRIMARY KEY (number, level, idx));
-- One row: the log's head. Whoever holds it writes.
CREATE TABLE head (one BIGINT PRIMARY KEY CHECK (one = 1), number BIGINT NOT NULL, size BIGINT NOT NULL, time BIGINT NOT NULL, checkpoint TEXT NOT NULL);
-- Keys that seal bodies and records, wrapped by the storage key. Destroying one makes what it sealed unreadable.
CREATE TABLE keys (name TEXT PRIMARY KEY, wrapped BYTEA NOT NULL);
CREATE TABLE questions (origin TEXT NOT NULL, id TEXT NOT NULL, leaf BYTEA NOT NULL, expires BIGINT NOT NULL, PRIMARY KEY (origin, id));
CREATE TABLE said (origin TEXT NOT NULL, id TEXT NOT NULL, number BIGINT NOT NULL, first BIGINT NOT NULL, count BIGINT NOT NULL, PRIMARY KEY (origin, id, number, first));
CREATE TABLE received (origin TEXT NOT NULL, id TEXT NOT NULL, log TEXT NOT NULL, first BIGINT NOT NULL, count BIGINT NOT NULL, wire BYTEA NOT NULL, PRIMARY KEY (origin, id, log, first, count));
CREATE TABLE withdrawals (asker BIGINT NOT NULL, mandate TEXT NOT NULL, until BIGINT NOT NULL, PRIMARY KEY (asker, mandate));
CREATE TABLE imports (number BIGINT PRIMARY KEY, category TEXT NOT NULL, source TEXT NOT NULL, as_of TEXT NOT NULL, digest BYTEA NOT NULL UNIQUE, accepted BIGINT NOT NULL, file BYTEA NOT NULL);
CREATE TABLE records (subject BYTEA NOT NULL, import BIGINT NOT NULL, row BIGINT NOT NULL, sealed BYTEA NOT NULL, PRIMARY KEY (subject, import, row));
CREATE TABLE notes (name TEXT NOT NULL, number BIGINT NOT NULL, bytes TEXT NOT NULL, PRIMARY KEY (name, number));
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON roots FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON said FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON received FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON imports FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON records FOR EACH STATEMENT EXECUTE FUNCTION append_only();
