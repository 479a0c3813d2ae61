//! `sanku`: the node and its command line. Configuration, wiring, commands; what they do stands in the crates.

mod backup;
mod cli;
mod commands;
mod config;
mod control;
mod logging;
mod network;
mod node;
mod operations;
mod output;
mod peer_api;
mod result;
mod serve;
mod socket;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::cli::{Cli, Command, FederationCommand};

/// One lookup makes some ten thousand small allocations, on several threads: with the system's allocator they took a sixth of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::remark(format!("sanku: {error}"));
            return ExitCode::from(1);
        }
    };
    // One TLS provider for the whole process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let as_json = cli.command.as_json();
    match runtime.block_on(Box::pin(run(cli))) {
        Ok(_) if output::was_lost() => ExitCode::from(1),
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if as_json {
                output::say_json(&serde_json::json!({ "error": { "message": format!("{error:#}") } }));
            }
            output::remark(format!("sanku: {error:#}"));
            ExitCode::from(if is_wrong_use(&error) { 2 } else { 1 })
        }
    }
}

/// Whether the command line itself was wrong, and not what it met.
fn is_wrong_use(error: &anyhow::Error) -> bool {
    error.is::<output::WrongUse>()
        || matches!(
            error.downcast_ref::<sanku_certs::CertsError>(),
            Some(sanku_certs::CertsError::Endpoint(_))
        )
}

/// Exit codes: 0 done, 1 failed, 2 wrong use, 3 done but incomplete.
async fn run(cli: Cli) -> anyhow::Result<u8> {
    let config = cli.config.as_deref();
    if !matches!(cli.command, Command::Serve(_)) {
        logging::start_for_command();
    }
    match cli.command {
        Command::Demo(args) => commands::demo::run(args).await,
        Command::Serve(args) => serve::serve(config, args.until_stdin_closes).await.map(|()| 0),
        Command::Status(args) => commands::status::run(config, args.json).await,
        Command::Check(args) => commands::check::run(config, args.json).await,
        Command::Backup(command) => commands::backup::run(config, command).await,
        Command::Restore { file, identity, json } => {
            commands::backup::restore(config, &file, &identity, json.json).await
        }
        Command::Import(args) => commands::import::run(config, args).await,
        Command::Query(args) => commands::query::query(config, args).await,
        Command::Withdraw(args) => commands::query::withdraw(config, args).await,
        Command::Federation(FederationCommand::Init {
            dir,
            name,
            code,
            centre,
            endpoint,
            categories,
            json,
        }) => {
            let node = commands::federation::node(&code, centre, endpoint, &categories)?;
            commands::federation::init(&dir, &name, &node, json.json)
        }
        Command::Federation(FederationCommand::Add {
            code,
            dir,
            centre,
            endpoint,
            categories,
            json,
        }) => {
            let endpoint = commands::federation::endpoints(&dir, endpoint)?;
            let node = commands::federation::node(&code, centre, endpoint, &categories)?;
            commands::federation::add(&dir, &node, json.json)
        }
        Command::Federation(FederationCommand::Renumber {
            request,
            fingerprint,
            presented,
            json,
        }) => commands::renumber::renumber(
            &presented.dir,
            &commands::renumber::Renumber {
                request,
                fingerprint,
                seen: presented.seen,
                dry_run: presented.dry_run,
                as_json: json.json,
            },
        ),
        Command::Federation(FederationCommand::Close { log, presented, json }) => {
            commands::renumber::close(&presented.dir, &log, &presented.seen, presented.dry_run, json.json)
        }
        Command::Federation(FederationCommand::People { dir, person, days }) => {
            commands::federation::people(&dir, &person, days)
        }
        Command::Certs(command) => commands::certs::run(config, &command).await,
        Command::Log(command) => commands::log::run(config, command).await,
        Command::Evidence(command) => commands::evidence::run(config, command).await,
        Command::Records(command) => commands::records::run(config, command).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "sanku", &mut std::io::stdout());
            Ok(0)
        }
    }
}
