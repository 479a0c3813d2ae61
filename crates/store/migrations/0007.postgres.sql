-- This node's earlier logs: how each ended in this database, and the key that signed it. stands: it holds whatever was remembered
-- of it when the next one was opened; else only what is cosigned of it is given to others.
CREATE TABLE earlier (number BIGINT NOT NULL PRIMARY KEY, size BIGINT NOT NULL, checkpoint TEXT NOT NULL, key TEXT NOT NULL, stands BIGINT NOT NULL);
-- Checkpoints of this node's own logs with the cosignature that counts, one in ten minutes for good: they show when something was witnessed.
CREATE TABLE witnessed (number BIGINT NOT NULL, size BIGINT NOT NULL, time BIGINT NOT NULL, checkpoint TEXT NOT NULL, PRIMARY KEY (number, size));
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON earlier FOR EACH STATEMENT EXECUTE FUNCTION append_only();
