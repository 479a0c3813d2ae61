//! Why a chain is refused: every stable code there is, in one place. `certs/FORMATS.md` lists them for readers of logs.

use sanku_federation_protocol::problem::ProblemKind;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $code:literal $words:literal),* $(,)?) => {
        /// Why a chain is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its stable code.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What it means, Chinese and English.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

reasons! {
    /// Nothing was sent.
    NoCertificate "no_certificate" "没有证书 no certificate",
    /// Not the DER of a certificate.
    Malformed "malformed" "证书无法读取 a certificate cannot be read",
    /// Not version 3.
    Version "version" "证书不是第三版 a certificate is not of version 3",
    /// Not a positive number of at most 20 octets.
    Serial "serial" "序列号不合规 a serial is not a positive number of at most 20 octets",
    /// Twice, unreadable, or critical where it must not be, or the reverse.
    Extension "extension" "扩展不合规 an extension is not as RFC 5280 says",
    /// Critical and unknown.
    CriticalExtension "critical_extension" "未知的关键扩展 a critical extension that is not known",
    /// A key that is not allowed.
    KeyType "key_type" "密钥类型不允许 a key of a type that is not allowed",
    /// Key usage does not allow it.
    KeyUsage "key_usage" "密钥用途不允许 key usage does not allow it",
    /// Extended key usage does not allow it.
    ExtendedKeyUsage "extended_key_usage" "扩展密钥用途不允许 extended key usage does not allow it",
    /// An issuer that may not issue, or a leaf that may.
    BasicConstraints "basic_constraints" "基本约束不合规 basic constraints are not as they must be",
    /// More authorities below than allowed.
    PathLength "path_length" "超过路径长度 more authorities stand below than its path length allows",
    /// Outside name constraints, or constraints that are none.
    NameConstraints "name_constraints" "违反名称约束 name constraints do not allow it",
    /// Subject or authority key identifier missing or not fitting.
    KeyIdentifiers "key_identifiers" "密钥标识不合规 key identifiers are missing or do not fit",
    /// Empty or malformed names.
    Names "names" "名称不合规 names are not as they must be",
    /// Dates that cannot be, or are written in another way than RFC 5280 says.
    Validity "validity" "有效期不合规 the validity is not as RFC 5280 says",
    /// After its life.
    Expired "expired" "证书已过期 a certificate has expired",
    /// Before its life.
    NotValidYet "not_valid_yet" "证书尚未生效 a certificate is not valid yet",
    /// A signature that does not hold.
    Signature "bad_signature" "签名不成立 a signature does not hold",
    /// No path to a root.
    UnknownIssuer "unknown_issuer" "不是所信任的机构签发 not issued by an authority that is trusted",
    /// The chain as sent is not the path.
    NotLinked "not_linked" "证书链不相连 a certificate was not issued by the next in the chain",
    /// Too long a chain.
    TooDeep "too_deep" "证书链过长 the chain is too long",
    /// Too much work.
    TooCostly "too_costly" "验证代价过高 judging it would take too much work",
    /// A root that is no root.
    BadRoot "bad_root" "根证书不成立 a root's certificate is none",
    /// A root after its life.
    RootExpired "root_expired" "根证书已过期 the root's certificate has expired",
    /// Good for another name.
    WrongName "wrong_name" "证书不属于所期望的名称 not for the name that was expected",
    /// A list that cannot be read or lacks what it must have.
    CrlMalformed "crl_malformed" "吊销列表无法读取 a revocation list cannot be read",
    /// Delta, indirect or otherwise partial lists.
    CrlUnsupported "crl_unsupported" "不支持的吊销列表 a revocation list of a kind that is not supported",
    /// No number, or not as RFC 5280 says.
    CrlNumber "crl_number" "吊销列表的编号不合规 a revocation list's number is missing or not as RFC 5280 says",
    /// Its issuer's key did not sign it.
    CrlSignature "crl_signature" "吊销列表的签名不成立 a revocation list's signature does not hold",
    /// Its issuer may not sign lists.
    CrlIssuer "crl_issuer" "签发机构无权签发吊销列表 the authority may not sign revocation lists",
    /// After its next update.
    CrlExpired "crl_expired" "吊销列表已过期 a revocation list has expired",
    /// Before its own time.
    CrlNotValidYet "crl_not_valid_yet" "吊销列表尚未生效 a revocation list is not valid yet",
    /// On a list, or in the notes.
    Revoked "revoked" "证书或节点已被吊销 revoked",
    /// Root, delegation or registry is not at hand.
    NoNotes "no_notes" "没有根公告、授权公告或登记公告 root, delegation or registry is not at hand",
    /// Outside the profile of nodes and authorities.
    Profile "profile" "不符合证书规范 not as the profile says",
    /// It lives longer than allowed.
    Life "life" "有效期过长 it lives longer than the profile allows",
    /// The delegation does not name the authority.
    NotDelegated "not_delegated" "发证机构不在授权公告中 the delegation does not name this authority",
    /// The delegation's row is not in force.
    AuthorityExpired "authority_expired" "发证机构的授权不在有效期内 the authority's delegation is not in force",
    /// An authority issued for what does not lie below it.
    OutsideSubtree "outside_subtree" "发证机构越权 an authority issued outside its subtree",
    /// No proof that its authority said beforehand that it issues it.
    NoIssuanceProof "no_issuance_proof" "证书没有签发证明 the certificate carries no proof of issuance",
    /// A proof that does not hold.
    IssuanceProof "issuance_proof" "签发证明不成立 the proof of issuance does not hold",
    /// A proof of another certificate.
    IssuanceDiffers "issuance_differs" "签发证明与证书不符 the proof of issuance is about another certificate",
    /// Another node than expected.
    WrongNode "wrong_node" "应答的是另一个节点 another node than expected",
    /// Not in the registry, or left.
    NotMember "not_member" "节点不在联邦中 the node is not a member",
    /// Suspended for now.
    Suspended "suspended" "节点已被暂停 the node is suspended",
}

/// Why a chain is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}", code = .reason.code())]
pub struct Refused {
    /// Stable.
    pub reason: Reason,
    /// For people.
    pub detail: String,
}

impl Refused {
    /// A refusal in its reason's own words.
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            detail: reason.words().to_owned(),
        }
    }

    /// A refusal that says more.
    pub fn because(reason: Reason, more: &str) -> Self {
        Self {
            reason,
            detail: format!("{}: {more}", reason.words()),
        }
    }

    /// What a node says of a peer that it refuses for this reason.
    pub const fn problem(&self) -> ProblemKind {
        match self.reason {
            Reason::Expired => ProblemKind::PeerCertExpired,
            Reason::Revoked => ProblemKind::Revoked,
            Reason::Suspended => ProblemKind::Suspended,
            _ => ProblemKind::NotMember,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Reason;

    #[test]
    fn codes_are_unique_and_documented() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        let document = include_str!("../../FORMATS.md");
        for reason in Reason::ALL {
            assert!(
                document.contains(&format!("| `{}` |", reason.code())),
                "{}",
                reason.code()
            );
        }
    }
}
