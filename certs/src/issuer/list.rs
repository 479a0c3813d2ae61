//! Lists of revocations for other programs (RFC 5280 §5), written from the note that nodes go by.

use std::collections::BTreeMap;

use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber, SigningKey,
};
use sanku_federation_protocol::acts::Serial;
use sanku_federation_protocol::notes::{Revoked, RevokedWhat};
use sanku_values::{DivisionCode, Time};

use super::{Issuer, NotIssued};
use crate::profile::{at, made};
use crate::verify::{key_identifier, read_certificate};

/// A certificate that this authority issued, as it remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Whose.
    pub code: DivisionCode,
    /// Its serial.
    pub serial: Serial,
    /// Its last second.
    pub not_after: Time,
}

impl<K: SigningKey> Issuer<K> {
    /// The list that says what a note says: certificates by their serials; of a node that is revoked or suspended (or stands
    /// below one that is) every certificate that has not expired, a suspended one's on hold. Its number and date are the
    /// note's, so it rises as the note does.
    pub fn list(&self, number: Time, note: &Revoked, issued: &[Listed]) -> Result<Vec<u8>, NotIssued> {
        // Of several words about one certificate the stricter counts, and of two alike the earlier.
        let mut rows: BTreeMap<Serial, (bool, Time)> = BTreeMap::new();
        let mut add = |serial: Serial, hold: bool, since: Time| {
            let row = rows.entry(serial).or_insert((hold, since));
            *row = (*row).min((hold, since));
        };
        for row in &note.rows {
            match (row.what, row.object.as_deref().map(str::parse::<Serial>)) {
                (RevokedWhat::Certificate, Some(Ok(serial))) => add(serial, false, row.since),
                (RevokedWhat::Node | RevokedWhat::Suspended, _) => {
                    let touched = |listed: &&Listed| listed.code == row.code || listed.code.is_below(row.code);
                    for listed in issued
                        .iter()
                        .filter(touched)
                        .filter(|listed| listed.not_after >= number)
                    {
                        add(listed.serial, row.what == RevokedWhat::Suspended, row.since);
                    }
                }
                // Keys of logs, witnesses and seals are in no certificate.
                _ => {}
            }
        }
        let revoked = |(serial, (hold, since)): (Serial, (bool, Time))| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial.octets()),
                revocation_time: at(since)?,
                reason_code: hold.then_some(RevocationReason::CertificateHold),
                invalidity_date: None,
            })
        };
        let own = read_certificate(&self.certificate)?;
        let identifier = key_identifier(&own).unwrap_or_default().to_vec();
        let millis = number.millis().to_be_bytes();
        let significant = millis
            .iter()
            .copied()
            .skip_while(|octet| *octet == 0)
            .collect::<Vec<_>>();
        let params = CertificateRevocationListParams {
            this_update: at(number)?,
            next_update: at(note.next)?,
            crl_number: SerialNumber::from(significant),
            issuing_distribution_point: None,
            revoked_certs: rows
                .into_iter()
                .map(revoked)
                .collect::<Result<_, crate::CertsError>>()?,
            key_identifier_method: KeyIdMethod::PreSpecified(identifier),
        };
        let list = params.signed_by(&self.issuer()?).map_err(|error| made(&error))?;
        Ok(list.der().to_vec())
    }
}
