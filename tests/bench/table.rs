//! The table that a run prints, a line as soon as it is known.

/// A target, what was measured, and whether it was met.
pub(crate) struct Target<'a> {
    pub(crate) number: &'static str,
    pub(crate) what: &'a str,
    pub(crate) ours: String,
    /// What stands beside it; empty where the target is a figure of its own.
    pub(crate) theirs: String,
    pub(crate) ratio: String,
    pub(crate) target: String,
    pub(crate) met: bool,
}

pub(crate) fn head() {
    println!("| no. | what | Sanku | beside it | ratio | target | |");
    println!("|---|---|---|---|---|---|---|");
}

/// A target that this run cannot measure, and why.
pub(crate) fn unmeasured(number: &str, what: &str, target: &str, why: &str) {
    println!("| {number} | {what} | | | | {target} | not measured: {why} |");
}

pub(crate) fn say(target: &Target<'_>) {
    let met = if target.met { "met" } else { "**missed**" };
    println!(
        "| {} | {} | {} | {} | {} | {} | {met} |",
        target.number, target.what, target.ours, target.theirs, target.ratio, target.target
    );
}
