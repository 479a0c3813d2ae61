//! `sanku certs`: what is judged and signed without a running node: chains, people's keys, the root, orders.

mod audit;
mod execute;
mod orders;
mod passphrase;
pub(crate) mod people;

use std::io::{BufRead, Read};
use std::path::Path;

use sanku_certs::check::{Verdict, check};

use crate::cli::CertsCommand;
use crate::output::{say, wrong_use};

/// Largest document with one chain.
const LARGEST: u64 = 64 << 20;

/// Runs a command. `check` ends with 0 if the chain is accepted, 1 if it is refused, 2 if there was nothing to judge; with
/// `--lines` the exit code says only whether every line could be judged.
pub(crate) async fn run(config: Option<&Path>, command: &CertsCommand) -> anyhow::Result<u8> {
    match command {
        CertsCommand::Check { lines: true, .. } => each(std::io::stdin().lock()),
        CertsCommand::Check { lines: false, .. } => whole(std::io::stdin().lock()),
        CertsCommand::Person(command) => people::person_command(command),
        CertsCommand::Root(command) => people::root_command(command),
        CertsCommand::Order(args) => orders::order(args),
        CertsCommand::Approve { order, signer, people } => orders::approve(order, signer, people.as_deref()),
        CertsCommand::Execute { order, dir, json } => execute::run(config, order, dir, *json).await,
        CertsCommand::Audit { json } => audit::run(config, *json).await,
        CertsCommand::Show {
            order,
            notes,
            root,
            json,
        } => orders::show(order, notes, root, *json),
    }
}

fn whole(input: impl Read) -> anyhow::Result<u8> {
    let mut document = Vec::new();
    input.take(LARGEST + 1).read_to_end(&mut document)?;
    let verdict = judged(&document)?;
    say(serde_json::to_string(&verdict)?);
    Ok(u8::from(!verdict.accepted))
}

fn each(mut input: impl BufRead) -> anyhow::Result<u8> {
    let mut code = 0;
    loop {
        let mut line = Vec::new();
        if (&mut input).take(LARGEST + 1).read_until(b'\n', &mut line)? == 0 {
            return Ok(code);
        }
        if line.len() as u64 > LARGEST && line.last() != Some(&b'\n') {
            return Err(wrong_use("一行超过 64 MiB a line is longer than 64 MiB"));
        }
        match judged(&line) {
            Ok(verdict) => say(serde_json::to_string(&verdict)?),
            Err(error) => {
                code = 2;
                say(serde_json::json!({ "error": { "message": format!("{error:#}") } }).to_string());
            }
        }
    }
}

fn judged(document: &[u8]) -> anyhow::Result<Verdict> {
    if document.len() as u64 > LARGEST {
        return Err(wrong_use("文档超过 64 MiB the document is larger than 64 MiB"));
    }
    check(document).map_err(|error| wrong_use(error.to_string()))
}
