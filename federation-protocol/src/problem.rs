//! Problem documents (RFC 9457) between nodes: stable types, the node that made them, the trace.

use sanku_values::DivisionCode;
use serde::{Deserialize, Serialize};

use crate::names::{Outcome, closed_list};
use crate::trace::Trace;

closed_list! {
    /// What went wrong, stably.
    ProblemKind {
        /// Not the protocol's form.
        Malformed = "malformed",
        /// The peer is no active member.
        NotMember = "not_member",
        /// The peer's certificate has expired.
        PeerCertExpired = "peer_cert_expired",
        /// The peer, or its certificate, is revoked.
        Revoked = "revoked",
        /// The peer is suspended.
        Suspended = "suspended",
        /// Clocks are too far apart.
        Clock = "clock",
        /// The budget is used up.
        Budget = "budget",
        /// No format version in common.
        Version = "version",
        /// Not from the neighbour on the tree path to the asker.
        NotOnPath = "not_on_path",
        /// A statement does not hold.
        BadProof = "bad_proof",
        /// Other bytes under an id that was used.
        Conflict = "conflict",
        /// Larger than the limits.
        TooLarge = "too_large",
        /// Not the stream's media type.
        MediaType = "media_type",
        /// Too many requests of this peer.
        TooMany = "too_many",
        /// This node cannot work now.
        Unavailable = "unavailable",
        /// Not found.
        NotFound = "not_found",
        /// Something broke here.
        Internal = "internal",
    }
}

impl ProblemKind {
    /// The HTTP status it travels with.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::BadProof | Self::Clock | Self::Budget => 400,
            Self::NotMember | Self::PeerCertExpired | Self::Revoked | Self::Suspended | Self::NotOnPath => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::MediaType => 415,
            Self::Version => 426,
            Self::TooMany => 429,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }

    /// What a hop makes of it: the one table from failures to outcomes.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Malformed
            | Self::Conflict
            | Self::TooLarge
            | Self::MediaType
            | Self::Clock
            | Self::NotFound
            | Self::Internal
            | Self::BadProof => Outcome::PeerError,
            Self::TooMany | Self::Unavailable => Outcome::Overloaded,
            Self::Budget => Outcome::Late,
            Self::Version => Outcome::Incompatible,
            Self::NotOnPath => Outcome::NotOnPath,
            Self::NotMember | Self::PeerCertExpired | Self::Revoked | Self::Suspended => Outcome::NotTrusted,
        }
    }

    /// For people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Malformed => "请求格式不对 malformed request",
            Self::NotMember => "不是联邦成员 not an active member",
            Self::PeerCertExpired => "对方证书已过期 the peer's certificate has expired",
            Self::Revoked => "已吊销 revoked",
            Self::Suspended => "已暂停 suspended",
            Self::Clock => "时钟相差太大 clocks are too far apart",
            Self::Budget => "时限已用完 the budget is used up",
            Self::Version => "没有共同的格式版本 no format version in common",
            Self::NotOnPath => "不在树的路径上 not on the tree path",
            Self::BadProof => "证明不成立 the proof does not hold",
            Self::Conflict => "编号已用于别的内容 other bytes under this id",
            Self::TooLarge => "超过限度 over the limits",
            Self::MediaType => "媒体类型不对 another media type",
            Self::TooMany => "请求太多 too many requests",
            Self::Unavailable => "暂时不能服务 unavailable for now",
            Self::NotFound => "没有 not found",
            Self::Internal => "内部错误 internal error",
        }
    }
}

/// A problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:sanku:problem:<kind>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What exactly, without personal data.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The node that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<DivisionCode>,
    /// The trace id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl Problem {
    /// A problem with a detail for people.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:sanku:problem:{kind}"),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            node: None,
            trace: None,
        }
    }

    /// The same problem, said by a node.
    #[must_use]
    pub fn of(mut self, node: DivisionCode) -> Self {
        self.node = Some(node);
        self
    }

    /// The same problem, met in a trace.
    #[must_use]
    pub fn in_trace(mut self, trace: &Trace) -> Self {
        self.trace = Some(trace.id());
        self
    }

    /// Its stable kind; what is unknown counts as broken.
    pub fn known(&self) -> ProblemKind {
        let word = self.kind.strip_prefix("urn:sanku:problem:").unwrap_or_default();
        ProblemKind::ALL
            .iter()
            .find(|kind| kind.as_str() == word)
            .copied()
            .unwrap_or(ProblemKind::Internal)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.title, self.detail)
    }
}

impl std::error::Error for Problem {}
