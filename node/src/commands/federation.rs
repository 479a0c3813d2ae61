//! `federation init` and `add`: plain operator's commands on a directory of files.

use std::path::Path;

use sanku_catalogue::{Catalogue, CategoryId};
use sanku_certs::{CertsError, Federation, NewNode};
use sanku_tlog::Hash;
use sanku_values::{Clock, DivisionCode, FederationName, SystemClock};
use serde_json::{Value, json};

use crate::output::{say, say_json, wrong_use};

/// Divisions that the demonstration and newcomers meet.
const DIVISIONS: [(&str, &str); 11] = [
    ("420000", "湖北省"),
    ("421000", "荆州市"),
    ("421002", "沙市区"),
    ("421003", "荆州区"),
    ("421022", "公安县"),
    ("421024", "江陵县"),
    ("421081", "石首市"),
    ("421083", "洪湖市"),
    ("421087", "松滋市"),
    ("421088", "监利市"),
    ("429004", "仙桃市"),
];

pub(crate) fn name_of(code: DivisionCode) -> String {
    let text = code.to_string();
    DIVISIONS
        .iter()
        .find(|(known, _)| *known == text)
        .map_or(text.clone(), |(_, name)| (*name).to_owned())
}

/// A node as an operator describes it; no categories means all of the catalogue.
///
/// # Errors
/// A code that is none, or a category that the catalogue does not have.
pub(crate) fn node(
    code: &str,
    centre: Option<String>,
    endpoints: Vec<String>,
    categories: &[String],
) -> anyhow::Result<NewNode> {
    let code: DivisionCode = code.parse().map_err(|error| {
        wrong_use(format!(
            "{code}: {error}；写六位区划代码 write six digits, such as 421002"
        ))
    })?;
    let categories = categories
        .iter()
        .map(|id| {
            let known = id
                .trim()
                .parse()
                .ok()
                .filter(|id| Catalogue::current().category(id).is_some());
            known.ok_or_else(|| {
                wrong_use(format!(
                    "目录中没有类别 {id}；可用类别见 no such category, see: sanku records categories"
                ))
            })
        })
        .collect::<anyhow::Result<Vec<CategoryId>>>()?;
    Ok(NewNode {
        code,
        name: centre.unwrap_or_else(|| name_of(code)),
        endpoints,
        categories,
    })
}

pub(crate) fn init(directory: &Path, name: &str, node: &NewNode, as_json: bool) -> anyhow::Result<u8> {
    let name = name.parse().map_err(|error| {
        wrong_use(format!(
            "--name {name}: {error}；写成域名形式 write it like hubei.example"
        ))
    })?;
    let federation = Federation::init(directory, &name, node.clone(), SystemClock.now())?;
    write_configuration(directory, &federation.name, federation.fingerprint, node)?;
    if as_json {
        say_json(&made(directory, &federation, node));
        return Ok(0);
    }
    say(format!(
        "联邦 {} 已建立 founded in {}",
        federation.name,
        directory.display()
    ));
    say(format!("根公告指纹 root fingerprint: {}", federation.fingerprint));
    say(format!(
        "下一步 next: sanku federation add CODE --dir {}",
        directory.display()
    ));
    say(format!(
        "启动 start:  sanku --config {}/{}/node.toml serve",
        directory.display(),
        node.code
    ));
    Ok(0)
}

pub(crate) fn add(directory: &Path, node: &NewNode, as_json: bool) -> anyhow::Result<u8> {
    let federation = Federation::open(directory)?;
    match federation.add(node.clone(), SystemClock.now()) {
        // A run that was interrupted behind the registry left a member without a configuration.
        Err(CertsError::AlreadyMember(_)) if lacks_its_configuration(directory, &federation, node)? => {}
        added => drop(added?),
    }
    write_configuration(directory, &federation.name, federation.fingerprint, node)?;
    if as_json {
        say_json(&made(directory, &federation, node));
        return Ok(0);
    }
    say(format!(
        "{} {} 已加入 added; {} 中各节点的公告已更新 every node's notes here are new",
        node.code,
        node.name,
        directory.display()
    ));
    say(format!(
        "启动 start: sanku --config {}/{}/node.toml serve",
        directory.display(),
        node.code
    ));
    Ok(0)
}

/// Signs the province's first people note.
pub(crate) fn people(directory: &Path, persons: &[String], days: u32) -> anyhow::Result<u8> {
    let federation = Federation::open(directory)?;
    let (now, centre) = (SystemClock.now(), federation.province()?);
    let people = super::certs::people::people(persons, (&federation.name, centre), now, days)?;
    federation.first_people(centre, &people, now)?;
    say(format!(
        "{centre} 的人员公告已发布，{} 人；以后的变更由其中两人签署 the people note of {centre} is out; two of its people sign every later one",
        people.people.len()
    ));
    Ok(0)
}

/// Whether a member of the same description has its folder here and no configuration in it.
fn lacks_its_configuration(directory: &Path, federation: &Federation, node: &NewNode) -> anyhow::Result<bool> {
    let folder = directory.join(node.code.to_string());
    let registry = federation.registry()?;
    let same = registry
        .node(node.code)
        .is_some_and(|row| row.endpoints == node.endpoints);
    Ok(same && folder.join("keys").exists() && !folder.join("node.toml").exists())
}

/// What a script needs of a node that was just made.
fn made(directory: &Path, federation: &Federation, node: &NewNode) -> Value {
    let config = directory.join(node.code.to_string()).join("node.toml");
    json!({ "federation": federation.name, "root": federation.fingerprint, "node": node.code, "name": node.name, "endpoint": node.endpoints.first(), "endpoints": node.endpoints, "config": config })
}

/// The addresses that were given, or this machine and the next port.
pub(crate) fn endpoints(directory: &Path, given: Vec<String>) -> anyhow::Result<Vec<String>> {
    if given.is_empty() {
        return Ok(vec![next_endpoint(&Federation::open(directory)?)?]);
    }
    Ok(given)
}

/// This machine, the first free port after the highest of the federation.
fn next_endpoint(federation: &Federation) -> anyhow::Result<String> {
    let registry = federation.registry()?;
    let ports = registry
        .nodes
        .iter()
        .flat_map(|row| &row.endpoints)
        .filter_map(|endpoint| endpoint.rsplit_once(':')?.1.parse::<u16>().ok());
    let highest = ports.max().unwrap_or(7442);
    let port = (highest.saturating_add(1)..u16::MAX)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| wrong_use("没有剩余端口，用 --endpoint 给出 no port is left; give one with --endpoint"))?;
    Ok(format!("127.0.0.1:{port}"))
}

/// Writes a node's configuration beside its keys.
pub(crate) fn write_configuration(
    directory: &Path,
    federation: &FederationName,
    root: Hash,
    node: &NewNode,
) -> anyhow::Result<()> {
    let folder = directory.join(node.code.to_string());
    let absolute = std::path::absolute(&folder)?;
    // A socket's path has little room; a deep directory gets its socket elsewhere.
    let socket = if absolute.as_os_str().len() > 80 {
        let short = &Hash::of(absolute.as_os_str().as_encoded_bytes()).to_string()[..16];
        std::env::temp_dir()
            .join(format!("sanku-{short}"))
            .join("node.sock")
            .display()
            .to_string()
    } else {
        "run/node.sock".to_owned()
    };
    let text = format!(
        "# {} {}\nfederation = \"{federation}\"\ncode = \"{}\"\nname = {}\n# 根公告指纹：唯一事先信任的东西 the one thing that is trusted beforehand\nroot = \"{root}\"\n\n[listen]\npeers = \"{}\"\nsocket = \"{socket}\"\n\n[storage]\nurl = \"sqlite:node.db\"\n\n[identity]\ndirectory = \".\"\n",
        node.code,
        node.name.replace(['\n', '\r'], " "),
        node.code,
        toml::Value::String(node.name.clone()),
        node.endpoints.first().map_or("", String::as_str),
    );
    sanku_certs::keys::write_whole(&folder.join("node.toml"), text.as_bytes(), 0o644)?;
    Ok(())
}
