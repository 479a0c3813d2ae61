//! What a byzantine relay does to what it passes on. Nothing of it may be believed, and nobody may be hidden by it.

use sanku_exchange::Hop;

use crate::network::Part;

/// Another response: one of a relay's lies, drawn.
pub(super) fn of_runs(mut runs: Vec<Part>, old: &[Part], draw: &mut fastrand::Rng) -> Vec<Part> {
    if runs.is_empty() {
        return runs;
    }
    let (one, other) = (draw.usize(..runs.len()), draw.usize(..runs.len()));
    match draw.u8(0..6) {
        0 => {
            runs.remove(one);
        }
        1 => runs.insert(other, runs[one].clone()),
        2 => {
            // An answer to an earlier question instead of this one's.
            if !old.is_empty() {
                runs[one] = old[draw.usize(..old.len())].clone();
            }
        }
        3 => {
            // Two nodes' bodies change places.
            let (mine, theirs) = (bodies(&runs[one]), bodies(&runs[other]));
            let give = |part: &Part, from: &[String], to: &[String]| {
                let pairs = from.iter().zip(to);
                Part(pairs.fold(part.0.clone(), |text, (from, to)| text.replace(from.as_str(), to)))
            };
            (runs[one], runs[other]) = (give(&runs[one], &mine, &theirs), give(&runs[other], &theirs, &mine));
        }
        4 => {
            // One node's run under another's name.
            if let (Some(mine), Some(theirs)) = (runs[one].node(), runs[other].node()) {
                let name = |node| format!("/node/{node}/");
                runs[one] = Part(runs[one].0.replace(&name(mine), &name(theirs)));
            }
        }
        _ => runs.truncate(one),
    }
    runs
}

fn bodies(part: &Part) -> Vec<String> {
    let lines = part
        .0
        .lines()
        .filter(|line| line.starts_with("S ") || line.starts_with("B "));
    lines.map(str::to_owned).collect()
}

/// Other headers: fewer codes, another attempt, less or more time.
pub(super) fn of_hop(hop: Hop, draw: &mut fastrand::Rng) -> Hop {
    match draw.u8(0..4) {
        0 => Hop { only: None, ..hop },
        1 => Hop {
            only: hop.only.map(|only| only.into_iter().skip(1).collect()),
            ..hop
        },
        2 => Hop {
            attempt: draw.u32(1..1000),
            ..hop
        },
        _ => Hop {
            budget: hop.budget.mul_f64(draw.f64() * 3.0),
            ..hop
        },
    }
}
