//! The Sanku node.

fn main() {}
