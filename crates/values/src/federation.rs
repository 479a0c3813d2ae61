//! Names of federations: DNS-shaped, lower case. Everything signed names its federation.

use std::fmt;
use std::str::FromStr;

/// A federation's name, such as `hubei.example`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FederationName(String);

/// The text is not DNS-shaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("联邦名应为小写域名，如 hubei.example not a federation's name: a lower-case DNS name such as hubei.example")]
pub struct NotAFederationName;

impl FederationName {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FederationName {
    type Err = NotAFederationName;

    fn from_str(text: &str) -> Result<Self, NotAFederationName> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > 253 || !text.contains('.') || !text.split('.').all(label) {
            return Err(NotAFederationName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for FederationName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

crate::text::serde_as_text!(FederationName, "a federation's DNS-shaped name");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dns_shaped_names_are_names() {
        assert!("hubei.example".parse::<FederationName>().is_ok());
        for text in [
            "",
            "hubei",
            "Hubei.example",
            "hubei..example",
            "-a.b",
            "a-.b",
            "a b.c",
            "湖北.example",
        ] {
            assert_eq!(text.parse::<FederationName>(), Err(NotAFederationName), "{text}");
        }
    }
}
