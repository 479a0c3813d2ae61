//! Where a passphrase comes from: a private file, or the terminal without echo. Never an argument, never the environment.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::Context;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use sanku_certs::passphrase::Passphrase;
use sanku_federation_protocol::names::Word;
use zeroize::Zeroizing;

use crate::output::wrong_use;

/// A passphrase that opens something.
pub(crate) fn known(file: Option<&Path>, whose: &str) -> anyhow::Result<Passphrase> {
    match file {
        Some(file) => Ok(Passphrase::from_file(file)?),
        None => ask(&format!("{whose} 的口令 passphrase: ")),
    }
}

/// A passphrase that will seal something: on a terminal it is asked for twice.
pub(crate) fn chosen(file: Option<&Path>, whose: &str) -> anyhow::Result<Passphrase> {
    let Some(file) = file else {
        let first = ask(&format!(
            "{whose} 的新口令（至少 12 个字符） new passphrase, 12 characters at least: "
        ))?;
        let again = ask("再输入一次 once more: ")?;
        if !first.is(&again) {
            return Err(wrong_use("两次输入不一致，未作更改 the two differ; nothing was made"));
        }
        return Ok(first);
    };
    Ok(Passphrase::from_file(file)?)
}

/// A custodian, written `ID` or `ID=FILE`.
pub(crate) struct Custodian {
    pub(crate) id: Word,
    pub(crate) passphrase: Passphrase,
}

/// Custodians, as many as are needed.
pub(crate) fn custodians<const N: usize>(
    texts: &[String],
    read: impl Fn(Option<&Path>, &str) -> anyhow::Result<Passphrase>,
) -> anyhow::Result<[Custodian; N]> {
    if texts.len() != N {
        return Err(wrong_use(format!(
            "须恰好 {N} 名保管人 exactly {N} custodians are needed, here are {}",
            texts.len()
        )));
    }
    let custodian = |text: &String| {
        let (id, file) = text
            .split_once('=')
            .map_or((text.as_str(), None), |(id, file)| (id, Some(Path::new(file))));
        let parsed = id.parse().map_err(|_| {
            wrong_use(format!(
                "{id}: 保管人代号为小写字母和数字 a custodian's id is of lower-case letters and digits"
            ))
        })?;
        Ok(Custodian {
            id: parsed,
            passphrase: read(file, id)?,
        })
    };
    let all: Vec<_> = texts.iter().map(custodian).collect::<anyhow::Result<_>>()?;
    all.try_into().map_err(|_| wrong_use("custodians"))
}

/// The terminal without echo, until dropped.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
        let _ = self.terminal.write_all(b"\n");
    }
}

fn ask(prompt: &str) -> anyhow::Result<Passphrase> {
    let open = || File::options().read(true).write(true).open("/dev/tty");
    let terminal = open().context("没有终端可输入口令，请用口令文件 there is no terminal to type a passphrase on; give a file with it (mode 0600)")?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let mut quiet = Quiet { terminal, before };
    quiet.terminal.write_all(prompt.as_bytes())?;
    let mut line = Zeroizing::new(String::with_capacity(1024));
    BufReader::new(&quiet.terminal).read_line(&mut line)?;
    let typed = line.trim_end_matches(['\r', '\n']).to_owned();
    drop(quiet);
    Ok(Passphrase::new(typed)?)
}
