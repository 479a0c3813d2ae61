//! Documents and verdicts: each field of a certificate broken in turn, in leaf and authority, beside chains that hold.

mod corpus;
mod documents;
