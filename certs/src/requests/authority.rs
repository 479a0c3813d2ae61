//! A centre's request for an authority of its own, and for the next one's keys when it rotates.

use sanku_federation_protocol::acts::{Public, Spki};
use sanku_federation_protocol::notes::NodeState;
use sanku_federation_protocol::people::{Action, Approved, RotationStep};
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::{Hash, VerifierKey};
use sanku_values::{DivisionCode, Level, Time};

use super::{Received, RequestRefused};
use crate::issuer::authority_key;

/// A centre's authority that is granted: what the issuer above, or the root, works from. Made only by judging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityGrant {
    code: DivisionCode,
    key: Spki,
    notes: VerifierKey,
    order: Hash,
}

impl AuthorityGrant {
    /// Judges a request for an authority at `above`, by an order of its people to prepare it with these very keys. A province
    /// has its authority from the root, by its own people's order.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn judge(
        received: &Received,
        order: &Approved,
        (above, trust): (DivisionCode, &Trust),
        now: Time,
    ) -> Result<Self, RequestRefused> {
        let Public::Authority(request) = &received.asked else {
            return Err(RequestRefused::Form);
        };
        let code = received.log.node;
        received.timely(above, now)?;
        let from_root = code == above && code.level() == Level::Province;
        if code.level() == Level::District || !(from_root || code.is_below(above)) {
            return Err(RequestRefused::Addressee);
        }
        if !request.possession.holds(&request.authority, &received.log) {
            return Err(RequestRefused::Possession);
        }
        let registry = trust.registry().map(|(_, registry, _)| registry.as_ref());
        let registry = registry.ok_or(RequestRefused::NotMember)?;
        if registry.node(code).is_none_or(|row| row.state != NodeState::Active) {
            return Err(RequestRefused::NotMember);
        }
        let known = trust
            .delegation()
            .into_iter()
            .flat_map(|delegation| &delegation.authorities);
        let used = |row: &sanku_federation_protocol::notes::Authority| {
            row.key.public() == request.notes.public() || authority_key(row).as_deref() == Some(request.authority.der())
        };
        let in_registry = registry.raw_keys().any(|key| key == *request.notes.public());
        if known.into_iter().any(used) || in_registry {
            return Err(RequestRefused::KeyUsed);
        }
        let named = Action::RotateAuthority {
            code,
            step: RotationStep::Prepare,
            request: Some(received.leaf),
        };
        if order.order().executor != above || order.order().act != named {
            return Err(RequestRefused::Order);
        }
        Ok(Self {
            code,
            key: request.authority,
            notes: request.notes.clone(),
            order: order.hash(),
        })
    }

    /// Whose authority.
    pub const fn code(&self) -> DivisionCode {
        self.code
    }

    /// The key that is to sign certificates.
    pub const fn key(&self) -> &Spki {
        &self.key
    }

    /// The key that is to sign lists of revocations.
    pub const fn notes(&self) -> &VerifierKey {
        &self.notes
    }

    /// The order behind it.
    pub const fn order(&self) -> Hash {
        self.order
    }
}
