//! The house keeps its rules: dependencies point from I/O to values, SQL stands in one crate, files have a size a reader can hold.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Crates of ours that each crate may use outside its tests.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let values = vec!["values"];
    let catalogue = [values.clone(), vec!["catalogue"]].concat();
    let protocol = [catalogue.clone(), vec!["tlog", "federation-protocol"]].concat();
    BTreeMap::from([
        ("values", vec![]),
        ("tlog", values.clone()),
        ("catalogue", values),
        ("federation-protocol", [catalogue.clone(), vec!["tlog"]].concat()),
        ("records", catalogue.clone()),
        ("population", catalogue),
        ("certs", protocol.clone()),
        ("store", protocol.clone()),
        ("transport", [protocol.clone(), vec!["certs"]].concat()),
        ("exchange", [protocol.clone(), vec!["store"]].concat()),
        ("testkit", [protocol, vec!["store", "exchange"]].concat()),
    ])
}

fn manifest(name: &str) -> PathBuf {
    match name {
        "federation-protocol" | "certs" => root().join(name),
        _ => root().join("crates").join(name),
    }
}

fn dependencies(manifest: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(manifest.join("Cargo.toml")).unwrap();
    let section = text
        .split("[dependencies]")
        .nth(1)
        .unwrap_or_default()
        .split("\n[")
        .next()
        .unwrap_or_default();
    section
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn dependencies_point_from_io_to_values() {
    for (name, may_use) in allowed() {
        for dependency in dependencies(&manifest(name)) {
            if let Some(ours) = dependency.strip_prefix("sanku-") {
                assert!(may_use.contains(&ours), "{name} must not depend on {ours}");
            }
        }
    }
}

#[test]
fn every_crate_has_its_rule() {
    let rules: BTreeSet<_> = allowed().into_keys().map(str::to_owned).collect();
    let crates = std::fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for name in crates {
        assert!(
            rules.contains(&name),
            "crates/{name} stands in no rule: add it to tests/tests/house.rs and docs/ARCHITECTURE.md"
        );
    }
}

#[test]
fn pure_crates_know_no_runtime_network_or_database() {
    for name in ["values", "catalogue", "tlog", "federation-protocol"] {
        let found = dependencies(&manifest(name));
        for io in [
            "tokio",
            "sqlx",
            "axum",
            "reqwest",
            "hyper",
            "rustls",
            "tokio-rustls",
            "config",
        ] {
            assert!(!found.contains(io), "{name} must know no {io}");
        }
    }
    for (name, stranger) in [
        ("store", "axum"),
        ("store", "reqwest"),
        ("transport", "sqlx"),
        ("exchange", "sqlx"),
        ("exchange", "axum"),
        ("certs", "sqlx"),
        ("certs", "axum"),
    ] {
        assert!(
            !dependencies(&manifest(name)).contains(stranger),
            "{name} must know no {stranger}"
        );
    }
}

#[test]
fn sql_stands_in_the_store_alone() {
    let mut sources = Vec::new();
    for directory in ["node", "federation-protocol", "certs", "crates"] {
        collect(&root().join(directory), &mut sources);
    }
    for source in sources
        .iter()
        .filter(|path| !path.starts_with(root().join("crates/store")))
        // A test may damage a database from outside.
        .filter(|path| !path.starts_with(root().join("crates/testkit/tests")))
    {
        let text = std::fs::read_to_string(source).unwrap();
        for word in ["INSERT INTO", "SELECT * FROM", "sqlx::"] {
            assert!(!text.contains(word), "{} holds SQL", source.display());
        }
    }
}

#[test]
fn no_code_of_ours_is_unsafe_or_unfinished() {
    let mut sources = Vec::new();
    for directory in ["node", "federation-protocol", "certs", "crates"] {
        collect(&root().join(directory), &mut sources);
    }
    assert!(sources.len() > 40, "found only {} sources", sources.len());
    for source in sources {
        let text = std::fs::read_to_string(&source).unwrap();
        for word in ["todo!(", "unimplemented!(", "unsafe {", "#[ignore"] {
            assert!(!text.contains(word), "{} holds {word}", source.display());
        }
    }
}

#[test]
fn architecture_names_only_files_that_exist() {
    let text = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let named: Vec<_> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.ends_with(".rs") || word.ends_with(".toml") || word.ends_with(".md"))
        .collect();
    assert!(named.len() > 15, "names only {} files", named.len());
    for file in named {
        assert!(
            root().join(file).exists(),
            "docs/ARCHITECTURE.md names {file}, which does not exist"
        );
    }
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The fields of an event's macro, before its message: `peer = %x`, `%x`, `x.y`, without their values.
fn fields_of(call: &str) -> BTreeSet<String> {
    let before = call.split('"').next().unwrap_or_default();
    let fields = before.split(',').map(str::trim).filter(|field| !field.is_empty());
    let name = |field: &str| {
        field
            .split('=')
            .next()
            .unwrap_or_default()
            .trim()
            .trim_start_matches(['%', '?'])
            .to_owned()
    };
    fields.map(name).collect()
}

#[test]
fn every_field_that_is_logged_stands_in_the_list_of_what_may_be() {
    let logging = std::fs::read_to_string(root().join("node/src/logging.rs")).unwrap();
    let list = logging
        .split("const FIELDS")
        .nth(1)
        .unwrap()
        .split("];")
        .next()
        .unwrap();
    let listed: BTreeSet<_> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(listed.contains("peer") && listed.contains("trace"), "{listed:?}");
    let mut sources = Vec::new();
    for directory in ["node/src", "certs/src", "crates"] {
        collect(&root().join(directory), &mut sources);
    }
    let mut events = 0;
    for source in sources {
        let text = std::fs::read_to_string(&source).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for level in ["error", "warn", "info", "debug", "trace"] {
            for call in text.split(&format!("tracing::{level}!(")).skip(1) {
                events += 1;
                for field in fields_of(call) {
                    assert!(
                        listed.contains(&field),
                        "{} logs {field}: list it in node/src/logging.rs if it never says anything about a person",
                        source.display()
                    );
                }
                let message = call.split('"').nth(1).unwrap_or_default();
                assert!(
                    !message.contains('{'),
                    "{}: a message holds no values: {message}",
                    source.display()
                );
            }
        }
    }
    assert!(events > 30, "found only {events} events");
}
