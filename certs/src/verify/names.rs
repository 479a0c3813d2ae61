//! The forms of names in certificates and in name constraints (RFC 5280 §4.2.1.6, §4.2.1.10): what is no name constrains
//! nothing, so it is refused before anybody compares it.

use x509_parser::extensions::GeneralName;

/// Whether a name of a subject has its form. Kinds that nobody compares here have no form of their own.
pub(super) fn is_name(name: &GeneralName<'_>) -> bool {
    match name {
        GeneralName::DNSName(name) => is_dns(name, true),
        GeneralName::RFC822Name(mail) => is_mail(mail),
        GeneralName::URI(uri) => is_uri(uri),
        GeneralName::IPAddress(octets) => matches!(octets.len(), 4 | 16),
        GeneralName::Invalid(..) => false,
        _ => true,
    }
}

/// Whether the base of a constraint has its form.
pub(super) fn is_constraint(base: &GeneralName<'_>) -> bool {
    match base {
        // Nothing at all means every name.
        GeneralName::DNSName(name) => name.is_empty() || is_dns(name, false),
        GeneralName::RFC822Name(mail) => match mail.split_once('@') {
            Some(_) => is_mail(mail),
            None => is_dns(mail.strip_prefix('.').unwrap_or(mail), false),
        },
        GeneralName::URI(host) => is_dns(host.strip_prefix('.').unwrap_or(host), false),
        GeneralName::IPAddress(octets) => match octets.len() {
            8 | 32 => is_mask(&octets[octets.len() / 2..]),
            _ => false,
        },
        GeneralName::Invalid(..) => false,
        _ => true,
    }
}

/// Labels of letters, digits and hyphens; a star may stand for the whole first label of a subject's name with two more.
fn is_dns(name: &str, star: bool) -> bool {
    let (labels, least) = match name.strip_prefix("*.") {
        Some(rest) if star => (rest, 2),
        _ => (name, 1),
    };
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
    };
    // Four numbers are an address in the place of a name.
    let all_digits = labels
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|octet| octet.is_ascii_digit()));
    name.len() <= 253 && labels.split('.').count() >= least && labels.split('.').all(label) && !all_digits
}

fn is_mail(mail: &str) -> bool {
    let atom = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&octet);
    mail.split_once('@').is_some_and(|(local, host)| {
        !local.is_empty()
            && local.len() <= 64
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..")
            && local.bytes().all(atom)
            && is_dns(host, false)
    })
}

/// Absolute: a scheme and something behind it (RFC 5280 forbids relative ones).
fn is_uri(uri: &str) -> bool {
    let printable = uri.bytes().all(|octet| octet.is_ascii_graphic());
    uri.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet))
            && !rest.is_empty()
    }) && printable
}

/// Ones, then noughts.
fn is_mask(mask: &[u8]) -> bool {
    let bits = mask
        .iter()
        .flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1));
    bits.clone().zip(bits.skip(1)).all(|(before, after)| before >= after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_forms() {
        for good in [
            "example.com",
            "a-b.example",
            "*.example.com",
            "xn--fiq.example",
            "localhost",
        ] {
            assert!(is_dns(good, true), "{good}");
        }
        for bad in [
            "",
            "a_b.example",
            ".example",
            "example.com.",
            "*",
            "*.com",
            "w*.example.com",
            "a.*.com",
            "-a.b",
            "1.2.3.4",
            "中.cn",
        ] {
            assert!(!is_dns(bad, true), "{bad}");
        }
        assert!(!is_dns("*.example.com", false));
        assert!(
            is_mail("a.b@example.com") && !is_mail("a b@example.com") && !is_mail("@example.com") && !is_mail("a@")
        );
        assert!(
            is_uri("spiffe://hubei.example/node/421002") && !is_uri("/node") && !is_uri("http:") && !is_uri("a b:c")
        );
        assert!(is_mask(&[255, 255, 240, 0]) && is_mask(&[0; 4]) && !is_mask(&[255, 0, 255, 0]));
    }
}
