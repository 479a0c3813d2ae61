-- Orders of two persons that were executed here, each once; number and idx are the place of the entry that says so.
CREATE TABLE orders (hash BLOB NOT NULL PRIMARY KEY, action TEXT NOT NULL, number INTEGER NOT NULL, idx INTEGER NOT NULL, executed INTEGER NOT NULL, done INTEGER NOT NULL) WITHOUT ROWID;
