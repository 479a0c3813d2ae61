-- This node's own questions and withdrawals, and when each is asked again. Nothing due: it came to its end. Whoever asks holds a lease.
CREATE TABLE asked (origin TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, mandate TEXT NOT NULL, expires BIGINT NOT NULL, attempt BIGINT NOT NULL, due BIGINT, holder TEXT NOT NULL, leased BIGINT NOT NULL, PRIMARY KEY (origin, id));
CREATE INDEX asked_due ON asked (due) WHERE due IS NOT NULL;
CREATE INDEX questions_expires ON questions (expires);
