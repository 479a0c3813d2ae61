//! The commands, a file each; short ones stand together.

pub(crate) mod backup;
pub(crate) mod batch;
pub(crate) mod certs;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod evidence;
pub(crate) mod federation;
pub(crate) mod import;
pub(crate) mod log;
pub(crate) mod query;
pub(crate) mod records;
pub(crate) mod status;
