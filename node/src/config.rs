//! The configuration of a node: one TOML file, overridden by `SANKU__…` in the environment, judged before anything runs (G10).
//!
//! Every finding names file, line and cure. Relative paths are relative to the file.

use std::fmt;
use std::path::{Path, PathBuf};

use sanku_exchange::Policy;
use sanku_values::{DivisionCode, FederationName};
use serde::Deserialize;

/// The whole configuration of one node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeConfig {
    /// The federation's DNS-shaped name.
    pub(crate) federation: FederationName,
    /// This node's division code (区划代码).
    pub(crate) code: DivisionCode,
    /// This centre's name, for people.
    pub(crate) name: String,
    /// SHA-256 of the vkey text of the first root note, in hex: the one thing that is trusted beforehand.
    pub(crate) root: String,
    /// Where it listens.
    pub(crate) listen: Listen,
    /// Where it stores.
    pub(crate) storage: Storage,
    /// Where keys, certificates and notes lie.
    pub(crate) identity: Identity,
    /// Which relation may ask for what.
    #[serde(default)]
    pub(crate) policy: Policy,
    /// What is written to the log of operations.
    #[serde(default)]
    pub(crate) log: Log,
    /// Where supervisors and Prometheus look.
    #[serde(default)]
    pub(crate) operations: Operations,
}

/// The port of `/healthz`, `/readyz` and `/metrics`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Operations {
    /// `ADDRESS:PORT`; without it there is no such port.
    pub(crate) listen: Option<String>,
    /// It may lie beyond the loopback: whoever reaches it reads the metrics, nobody is asked who they are.
    pub(crate) beyond_loopback: bool,
}

/// Where the node listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    /// Address of the port for other nodes (mutual TLS), `HOST:PORT`.
    pub(crate) peers: String,
    /// The Unix socket for this machine's own commands; only its user may open it.
    #[serde(default = "default_socket")]
    pub(crate) socket: PathBuf,
}

/// Where the node stores.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Storage {
    /// `sqlite:FILE` or `postgres://…`.
    pub(crate) url: String,
    /// The file that remembers the newest checkpoint outside of the database; beside the keys if nothing is said.
    #[serde(default)]
    pub(crate) memory: PathBuf,
}

/// Where keys, certificates and notes lie.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// Directory with `keys/`, `certs/` and `notes/`.
    #[serde(default = "here")]
    pub(crate) directory: PathBuf,
}

/// What is written to the log of operations (never personal data).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// `error`, `warn`, `info`, `debug`, or a filter such as `info,sanku_exchange=debug`.
    pub(crate) level: String,
    /// `json` for machines or `text` for people.
    pub(crate) format: LogFormat,
}

/// Form of the operations' log.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// One JSON document a line.
    Json,
    /// Lines for people.
    Text,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Json,
        }
    }
}

fn default_socket() -> PathBuf {
    PathBuf::from("run/node.sock")
}

fn here() -> PathBuf {
    PathBuf::from(".")
}

/// Something wrong in the configuration: where it stands and what to do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Finding {
    /// The file.
    pub(crate) file: PathBuf,
    /// The line, from 1, where one is to blame.
    pub(crate) line: Option<usize>,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do.
    pub(crate) cure: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(out, ":{line}")?;
        }
        write!(out, ": {}\n  办法 cure: {}", self.message, self.cure)
    }
}

impl std::error::Error for Finding {}

/// A configuration that was read, with the text it came from, so that a finding can name its line.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The configuration, paths made absolute.
    pub(crate) node: NodeConfig,
    /// The file it came from.
    pub(crate) file: PathBuf,
    text: String,
}

impl Loaded {
    /// Reads file and environment. The first thing that does not hold is the error.
    pub(crate) fn read(file: &Path) -> Result<Self, Finding> {
        let finding = |line, message: String, cure: &str| Finding {
            file: file.to_owned(),
            line,
            message,
            cure: cure.to_owned(),
        };
        let text = std::fs::read_to_string(file).map_err(|error| {
            finding(
                None,
                format!("读不了配置 cannot be read: {error}"),
                "用 --config 指出 node.toml name it with --config FILE",
            )
        })?;
        // The text alone first: this reader knows lines. The environment is laid over it afterwards.
        if let Err(error) = toml::from_str::<NodeConfig>(&text) {
            let line = error.span().map(|span| line_at(&text, span.start));
            let (what, cure) = in_words(error.message());
            return Err(finding(line, format!("{what} {}", error.message().trim()), cure));
        }
        let mut node: NodeConfig = config::Config::builder()
            .add_source(config::File::from_str(&text, config::FileFormat::Toml))
            .add_source(
                config::Environment::with_prefix("SANKU")
                    .prefix_separator("__")
                    .separator("__"),
            )
            .build()
            .and_then(config::Config::try_deserialize)
            .map_err(|error| {
                finding(
                    None,
                    format!("环境变量 environment: {error}"),
                    "改正或去掉 SANKU__… 变量 mend or unset the SANKU__… variable",
                )
            })?;
        let base = std::path::absolute(file)
            .ok()
            .and_then(|path| path.parent().map(Path::to_owned))
            .unwrap_or_default();
        node.listen.socket = base.join(&node.listen.socket);
        node.identity.directory = base.join(&node.identity.directory);
        node.storage.memory = if node.storage.memory.as_os_str().is_empty() {
            node.identity.directory.join("newest-checkpoint")
        } else {
            base.join(&node.storage.memory)
        };
        node.storage.url = absolute_url(&node.storage.url, &base);
        let loaded = Self {
            node,
            file: file.to_owned(),
            text,
        };
        loaded.judge().map_or(Ok(loaded), Err)
    }

    /// A finding at the line of a key such as `listen.peers`, or at the variable of the environment that overrides it.
    pub(crate) fn finding(&self, key: &str, message: impl Into<String>, cure: impl Into<String>) -> Finding {
        let variable = format!("SANKU__{}", key.replace('.', "__").to_uppercase());
        let overridden = std::env::var_os(&variable).is_some();
        let message = message.into();
        Finding {
            file: self.file.clone(),
            line: self.line_of(key).filter(|_| !overridden),
            message: if overridden {
                format!("环境变量 environment {variable}: {message}")
            } else {
                message
            },
            cure: cure.into(),
        }
    }

    /// What can be judged without opening anything.
    fn judge(&self) -> Option<Finding> {
        let node = &self.node;
        if node.root.len() != 64
            || !node
                .root
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        {
            return Some(self.finding(
                "root",
                "不是 64 位小写十六进制 not 64 lower-case hex digits",
                "填根公告指纹 put the fingerprint that `sanku federation init` printed",
            ));
        }
        if node.name.trim().is_empty() {
            return Some(self.finding(
                "name",
                "中心名称是空的 the centre has no name",
                "写中心全称 put the centre's full name",
            ));
        }
        if node
            .listen
            .peers
            .rsplit_once(':')
            .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
        {
            return Some(self.finding(
                "listen.peers",
                "不是 地址:端口 not HOST:PORT",
                "例如 such as \"0.0.0.0:7443\"",
            ));
        }
        if node.listen.socket.as_os_str().len() > 100 {
            return Some(self.finding(
                "listen.socket",
                "套接字路径超过 100 字节 the path of the socket is longer than 100 bytes",
                "用较短的路径，例如 put a shorter one, such as /run/sanku/node.sock",
            ));
        }
        if !(node.storage.url.starts_with("sqlite:")
            || node.storage.url.starts_with("postgres://")
            || node.storage.url.starts_with("postgresql://"))
        {
            return Some(self.finding(
                "storage.url",
                "不认识的数据库 an unknown kind of database",
                "写 sqlite:文件 或 postgres://… put sqlite:FILE or postgres://…",
            ));
        }
        if let Some(listen) = &node.operations.listen {
            let Ok(address) = listen.parse::<std::net::SocketAddr>() else {
                return Some(self.finding(
                    "operations.listen",
                    "不是 IP地址:端口 not ADDRESS:PORT",
                    "例如 such as \"127.0.0.1:9443\"",
                ));
            };
            if !address.ip().is_loopback() && !node.operations.beyond_loopback {
                return Some(self.finding(
                    "operations.listen",
                    format!("{address} 不是本机回环地址，任何人都能读 lies beyond the loopback: whoever reaches it reads it"),
                    "改为 127.0.0.1:9443，或加 beyond_loopback = true 并用防火墙限制 put 127.0.0.1:9443; or add beyond_loopback = true, and let a firewall guard it",
                ));
            }
        }
        if !is_level(&node.log.level) {
            return Some(self.finding(
                "log.level",
                format!("级别不对 no level: {:?}", node.log.level),
                "写 error、warn、info 或 debug，或如 info,sanku_exchange=debug put error, warn, info or debug, or such as info,sanku_exchange=debug",
            ));
        }
        None
    }

    /// The line of a dotted key, or of its table where the key is absent.
    fn line_of(&self, key: &str) -> Option<usize> {
        let document = toml::de::DeTable::parse(&self.text).ok()?;
        let mut table = document.get_ref();
        let mut found = None;
        for part in key.split('.') {
            let (name, value) = table.iter().find(|(name, _)| name.get_ref().as_ref() == part)?;
            found = Some(line_at(&self.text, name.span().start));
            match value.get_ref() {
                toml::de::DeValue::Table(inner) => table = inner,
                _ => return found,
            }
        }
        found
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(offset)
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// What the reader of TOML found, in Chinese, and its cure.
fn in_words(message: &str) -> (&'static str, &'static str) {
    let kinds = [
        (
            "unknown field",
            "没有这一项",
            "删去或改成所列名称之一 delete the key, or write one of the names listed",
        ),
        (
            "missing field",
            "缺少一项",
            "补上这一项，见 deploy/ 中的示例 add it; deploy/ holds examples",
        ),
        ("duplicate key", "重复", "两处只留一处 keep one of both"),
        (
            "unknown variant",
            "没有这个值",
            "写所列的值之一 write one of the values listed",
        ),
        (
            "invalid type",
            "类型不对",
            "按 deploy/ 中的示例改正 write it as the examples in deploy/ do",
        ),
        (
            "wanted string",
            "类型不对",
            "按 deploy/ 中的示例改正 write it as the examples in deploy/ do",
        ),
        (
            "not a",
            "值不对",
            "按 deploy/ 中的示例改正 write it as the examples in deploy/ do",
        ),
    ];
    kinds
        .into_iter()
        .find(|(begin, ..)| message.trim().starts_with(begin))
        .map_or(
            (
                "格式不对",
                "检查这一行及其前面未闭合的引号和括号 look for an open quote or bracket here or before",
            ),
            |(_, what, cure)| (what, cure),
        )
}

/// Levels by comma, each for everything or for one crate. A word that is no level would silence the log.
fn is_level(text: &str) -> bool {
    let level = |word: &str| word.parse::<tracing::level_filters::LevelFilter>().is_ok() && word.parse::<u8>().is_err();
    let crate_name = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
    };
    let mut everything = false;
    let good = text.split(',').all(|part| match part.split_once('=') {
        Some((of, word)) => crate_name(of) && level(word),
        None => {
            everything = true;
            level(part)
        }
    });
    good && everything
}

/// `sqlite:FILE` with FILE made absolute; other URLs as they are.
fn absolute_url(url: &str, base: &Path) -> String {
    match url.strip_prefix("sqlite:") {
        Some(path) if !path.starts_with(':') => {
            format!("sqlite:{}", base.join(path.trim_start_matches("//")).display())
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests;
