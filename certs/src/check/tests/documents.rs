//! What is no document has no verdict.

use serde_json::{Value, json};

use super::corpus::{good, reason};
use crate::check::check;

#[test]
fn a_malformed_document_is_an_error_and_never_an_acceptance() {
    let made = good().made();
    let with = |key: &str, value: Value| {
        let mut document = made.document();
        document[key] = value;
        check(document.to_string().as_bytes())
    };
    let without = |key: &str| {
        let mut document = made.document();
        document.as_object_mut().unwrap().remove(key);
        check(document.to_string().as_bytes())
    };
    assert!(with("profile", json!("path")).unwrap().accepted);
    for key in ["roots", "leaf", "time", "role"] {
        assert!(without(key).is_err(), "without {key}");
    }
    for key in ["intermediates", "expect"] {
        assert!(without(key).is_ok(), "without {key}");
    }
    for (key, value) in [
        ("roots", json!([])),
        ("roots", json!("text")),
        ("leaf", json!("")),
        (
            "leaf",
            json!("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"),
        ),
        ("leaf", json!(format!("{}{}", made.leaf, made.authority))),
        ("leaf", json!(made.leaf.replace("CERTIFICATE", "X509 CRL"))),
        ("crls", json!([made.leaf])),
        ("notes", json!(["!"])),
        ("time", json!("2026-03-01")),
        ("time", json!("1969-12-31T23:59:59Z")),
        ("role", json!("both")),
        ("expect", json!("no name")),
        ("profile", json!("strict")),
        ("more", json!(1)),
    ] {
        assert!(with(key, value.clone()).is_err(), "{key}: {value}");
    }
    let text = made.document().to_string();
    for text in [
        String::new(),
        "[]".to_owned(),
        text[..text.len() - 1].to_owned(),
        format!("{text} {text}"),
        text.replacen('{', "{\"role\":\"server\",", 1),
    ] {
        assert!(check(text.as_bytes()).is_err(), "{}", &text[..text.len().min(40)]);
    }
}

#[test]
fn the_profile_is_node_if_left_out_and_needs_notes() {
    let mut document = good().made().document();
    document.as_object_mut().unwrap().remove("profile");
    document["expect"] = json!("421002");
    assert_eq!(reason(&document), "no_notes");
    document["expect"] = json!("node.example.com");
    assert!(check(document.to_string().as_bytes()).is_err());
}
