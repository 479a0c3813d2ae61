//! The way of a question through a node: accept, authorise, search, ask neighbours, verify, log, account, merge.
