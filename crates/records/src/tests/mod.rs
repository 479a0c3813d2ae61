//! Files as departments send them, and files that attack: what is read, what is refused, and that every row has one fate.

mod common;
mod text_files;
mod workbooks;
