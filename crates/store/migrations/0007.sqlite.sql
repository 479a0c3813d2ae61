-- This node's earlier logs: how each ended in this database, and the key that signed it. stands: it holds whatever was remembered
-- of it when the next one was opened; else only what is cosigned of it is given to others.
CREATE TABLE earlier (number INTEGER NOT NULL PRIMARY KEY, size INTEGER NOT NULL, checkpoint TEXT NOT NULL, key TEXT NOT NULL, stands INTEGER NOT NULL);
-- Checkpoints of this node's own logs with the cosignature that counts, one in ten minutes for good: they show when something was witnessed.
CREATE TABLE witnessed (number INTEGER NOT NULL, size INTEGER NOT NULL, time INTEGER NOT NULL, checkpoint TEXT NOT NULL, PRIMARY KEY (number, size)) WITHOUT ROWID;
CREATE TRIGGER earlier_no_update BEFORE UPDATE ON earlier BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER earlier_no_delete BEFORE DELETE ON earlier BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
