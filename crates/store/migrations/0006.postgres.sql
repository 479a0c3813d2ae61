-- Orders of two persons that were executed here, each once; number and idx are the place of the entry that says so.
CREATE TABLE orders (hash BYTEA NOT NULL PRIMARY KEY, action TEXT NOT NULL, number BIGINT NOT NULL, idx BIGINT NOT NULL, executed BIGINT NOT NULL, done BIGINT NOT NULL);
