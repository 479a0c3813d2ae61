//! What nodes say to each other: statements, streams, sealing, notes, scope, routing, accounts, merging, evidence.
