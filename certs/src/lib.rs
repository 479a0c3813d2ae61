//! Node certificates and keys: profiles, authorities, the strict verifier, keys at rest. No HTTP, no SQL.
