use super::*;

const SAMPLE: &str = r#"federation = "hubei.example"
code = "421002"
name = "沙市区"
root = "0000000000000000000000000000000000000000000000000000000000000000"

[listen]
peers = "127.0.0.1:7443"

[storage]
url = "sqlite:node.db"

[identity]
directory = "."
"#;

fn read(text: &str) -> Result<Loaded, Finding> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.toml");
    std::fs::write(&file, text).unwrap();
    Loaded::read(&file)
}

#[test]
fn sample_is_read_and_paths_are_absolute() {
    let loaded = read(SAMPLE).unwrap();
    assert!(loaded.node.listen.socket.is_absolute());
    assert!(loaded.node.storage.url.starts_with("sqlite:/"));
}

#[test]
fn s42_the_operations_port_leaves_the_loopback_only_when_told_twice() {
    let with = |text: &str| read(&format!("{SAMPLE}\n[operations]\n{text}\n"));
    assert_eq!(read(SAMPLE).unwrap().node.operations.listen, None);
    for good in [
        "listen = \"127.0.0.1:9443\"",
        "listen = \"[::1]:9443\"",
        "listen = \"0.0.0.0:9443\"\nbeyond_loopback = true",
    ] {
        assert!(with(good).is_ok(), "{good}");
    }
    for bad in [
        "listen = \"0.0.0.0:9443\"",
        "listen = \"10.1.2.3:9443\"",
        "listen = \"9443\"",
    ] {
        let finding = with(bad).unwrap_err();
        assert_eq!(finding.line, Some(16), "{bad}: {finding}");
    }
}

#[test]
fn f37_each_spoilt_line_is_named_with_a_cure() {
    let spoilt = [
        ("hubei.example", "Hubei Example", 1),
        ("421002", "421", 2),
        ("name = ", "nmae = ", 3),
        ("root = \"0000", "root = \"zz00", 4),
        ("127.0.0.1:7443", "127.0.0.1", 7),
        ("sqlite:node.db", "mysql:node", 10),
        ("directory = \".\"", "directroy = \".\"", 13),
    ];
    for (from, to, line) in spoilt {
        let finding = read(&SAMPLE.replace(from, to)).unwrap_err();
        assert_eq!(finding.line, Some(line), "{from} → {to}: {finding}");
        assert!(!finding.cure.is_empty());
    }
}
