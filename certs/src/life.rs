//! The life of a node and of a certificate (节点与证书的一生): one table for each, with every transition, what triggers it, and
//! the order of two persons that it needs. What no table names does not happen. The handbook's diagrams are drawn from here.

use std::fmt::{Display, Write as _};

use sanku_federation_protocol::people::ActionKind;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $word:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its stable word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(self.as_str())
            }
        }
    )*};
}

words! {
    /// Where a code stands in its node's life.
    NodeLife {
        /// Nobody expects a node here.
        Absent "absent",
        /// A place is open (席位已开).
        Planned "planned",
        /// A one-time code was given out (已邀请).
        Invited "invited",
        /// Its request is here and waits to be confirmed (待确认).
        Enrolling "enrolling",
        /// It works (在网).
        Active "active",
        /// Nobody speaks with it until it is resumed (已暂停).
        Suspended "suspended",
        /// It left, or was revoked; what it said stays verifiable (已退出).
        Left "left",
    }

    /// What moves a node on.
    NodeEvent {
        /// A place is opened.
        OpenPlace "open_place",
        /// A one-time code is given out; an earlier one is void.
        Invite "invite",
        /// A request comes with the proof of the code.
        Request "request",
        /// The request is confirmed: both sides saw the same number.
        Confirm "confirm",
        /// The request is put aside: the numbers differ, or nobody confirmed it in time.
        PutAside "put_aside",
        /// The place's time is over.
        Lapse "lapse",
        /// It is suspended.
        Suspend "suspend",
        /// It is resumed.
        Resume "resume",
        /// It was long away and returns with a new certificate.
        Return "return",
        /// It leaves.
        Leave "leave",
        /// It is revoked for good.
        Revoke "revoke",
    }

    /// Where a certificate stands in its life.
    CertificateLife {
        /// Made, and not in use yet.
        Issued "issued",
        /// In use.
        Active "active",
        /// Good, and not in use any more: a newer one is.
        Retiring "retiring",
        /// After its life.
        Expired "expired",
        /// On the list of revocations.
        Revoked "revoked",
    }

    /// What moves a certificate on.
    CertificateEvent {
        /// Its node serves and calls with it.
        TakeUp "take_up",
        /// A newer one was taken up.
        Supersede "supersede",
        /// Its life ends.
        Expire "expire",
        /// It is revoked.
        Revoke "revoke",
        /// Its node leaves.
        NodeLeaves "node_leaves",
    }
}

/// One transition of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition<State: 'static, Event: 'static> {
    /// From.
    pub from: State,
    /// What triggers it.
    pub event: Event,
    /// To.
    pub to: State,
    /// The order of two persons that it needs; nothing where none is needed.
    pub order: Option<ActionKind>,
}

const fn moves<State: Copy, Event: Copy>(
    from: State,
    event: Event,
    to: State,
    order: Option<ActionKind>,
) -> Transition<State, Event> {
    Transition { from, event, to, order }
}

/// Every transition of a node.
pub const NODE: &[Transition<NodeLife, NodeEvent>] = {
    use NodeEvent::{Confirm, Invite, Lapse, Leave, OpenPlace, PutAside, Request, Resume, Return, Revoke, Suspend};
    use NodeLife::{Absent, Active, Enrolling, Invited, Left, Planned, Suspended};
    &[
        moves(Absent, OpenPlace, Planned, Some(ActionKind::OpenPlaces)),
        moves(Planned, Invite, Invited, None),
        moves(Invited, Invite, Invited, None),
        moves(Invited, Request, Enrolling, None),
        moves(Enrolling, PutAside, Planned, None),
        moves(Enrolling, Confirm, Active, Some(ActionKind::ConfirmEnrolment)),
        moves(Planned, Lapse, Absent, None),
        moves(Invited, Lapse, Absent, None),
        moves(Enrolling, Lapse, Absent, None),
        moves(Active, Suspend, Suspended, Some(ActionKind::Suspend)),
        moves(Suspended, Resume, Active, Some(ActionKind::Resume)),
        moves(Active, Return, Active, Some(ActionKind::Return)),
        moves(Active, Leave, Left, Some(ActionKind::Leave)),
        moves(Suspended, Leave, Left, Some(ActionKind::Leave)),
        moves(Active, Revoke, Left, Some(ActionKind::Revoke)),
        moves(Suspended, Revoke, Left, Some(ActionKind::Revoke)),
        // A centre whose machine was lost or stolen comes back on a new one, with a new log number.
        moves(Left, OpenPlace, Planned, Some(ActionKind::OpenPlaces)),
    ]
};

/// Every transition of a certificate.
pub const CERTIFICATE: &[Transition<CertificateLife, CertificateEvent>] = {
    use CertificateEvent::{Expire, NodeLeaves, Revoke, Supersede, TakeUp};
    use CertificateLife::{Active, Expired, Issued, Retiring, Revoked};
    &[
        moves(Issued, TakeUp, Active, None),
        moves(Issued, Supersede, Retiring, None),
        moves(Active, Supersede, Retiring, None),
        // A newer one turned out not to work: its node goes back to the one before.
        moves(Retiring, TakeUp, Active, None),
        moves(Issued, Expire, Expired, None),
        moves(Active, Expire, Expired, None),
        moves(Retiring, Expire, Expired, None),
        moves(Issued, Revoke, Revoked, Some(ActionKind::Revoke)),
        moves(Active, Revoke, Revoked, Some(ActionKind::Revoke)),
        moves(Retiring, Revoke, Revoked, Some(ActionKind::Revoke)),
        moves(Issued, NodeLeaves, Revoked, Some(ActionKind::Leave)),
        moves(Active, NodeLeaves, Revoked, Some(ActionKind::Leave)),
        moves(Retiring, NodeLeaves, Revoked, Some(ActionKind::Leave)),
    ]
};

/// What does not happen in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "状态 {0} 下不能 {1}：见证书手册“节点的一生” in state {0} there is no {1}: the handbook of certificates shows what there is"
)]
pub struct NotInThisState(&'static str, &'static str);

impl NodeLife {
    /// The transition that an event makes from here.
    ///
    /// # Errors
    /// If the table has none.
    pub fn on(self, event: NodeEvent) -> Result<&'static Transition<Self, NodeEvent>, NotInThisState> {
        let found = NODE.iter().find(|row| row.from == self && row.event == event);
        found.ok_or(NotInThisState(self.as_str(), event.as_str()))
    }
}

impl CertificateLife {
    /// The transition that an event makes from here.
    ///
    /// # Errors
    /// If the table has none.
    pub fn on(self, event: CertificateEvent) -> Result<&'static Transition<Self, CertificateEvent>, NotInThisState> {
        let found = CERTIFICATE.iter().find(|row| row.from == self && row.event == event);
        found.ok_or(NotInThisState(self.as_str(), event.as_str()))
    }
}

/// The diagram of a table (mermaid `stateDiagram-v2`): orders stand behind what triggers a transition.
fn diagram<State, Event>(table: &[Transition<State, Event>], name: impl Fn(State) -> &'static str) -> String
where
    State: Copy,
    Event: Copy + Display,
{
    let mut text = "stateDiagram-v2\n".to_owned();
    for row in table {
        let (from, to) = (name(row.from), name(row.to));
        let _ = match row.order {
            Some(order) => writeln!(text, "    {from} --> {to}: {} [{}]", row.event, order.word()),
            None => writeln!(text, "    {from} --> {to}: {}", row.event),
        };
    }
    text
}

/// The diagram of a node's life.
pub fn node_diagram() -> String {
    diagram(NODE, |state| match state {
        NodeLife::Absent => "[*]",
        state => state.as_str(),
    })
}

/// The diagram of a certificate's life.
pub fn certificate_diagram() -> String {
    let mut text = diagram(CERTIFICATE, CertificateLife::as_str);
    text.insert_str("stateDiagram-v2\n".len(), "    [*] --> issued: certificate.issue\n");
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Every state that can be reached from one.
    fn reached(from: NodeLife) -> BTreeSet<NodeLife> {
        let mut reached = BTreeSet::from([from]);
        loop {
            let next: BTreeSet<_> = NODE
                .iter()
                .filter(|row| reached.contains(&row.from))
                .map(|row| row.to)
                .collect();
            let before = reached.len();
            reached.extend(next);
            if reached.len() == before {
                return reached;
            }
        }
    }

    #[test]
    fn no_event_leads_two_ways() {
        let node: BTreeSet<_> = NODE.iter().map(|row| (row.from, row.event)).collect();
        let certificate: BTreeSet<_> = CERTIFICATE.iter().map(|row| (row.from, row.event)).collect();
        assert_eq!((node.len(), certificate.len()), (NODE.len(), CERTIFICATE.len()));
    }

    #[test]
    fn every_state_is_reached_and_none_is_a_dead_end() {
        assert_eq!(reached(NodeLife::Absent).len(), NodeLife::ALL.len());
        for state in NodeLife::ALL {
            assert!(
                reached(*state).contains(&NodeLife::Active),
                "from {state} nobody comes back"
            );
        }
        let ended = [CertificateLife::Expired, CertificateLife::Revoked];
        for state in CertificateLife::ALL {
            let ends = CERTIFICATE.iter().all(|row| row.from != *state);
            assert_eq!(ends, ended.contains(state), "{state}");
        }
        let used: BTreeSet<_> = NODE.iter().map(|row| row.event).collect();
        assert_eq!(used.len(), NodeEvent::ALL.len());
        let used: BTreeSet<_> = CERTIFICATE.iter().map(|row| row.event).collect();
        assert_eq!(used.len(), CertificateEvent::ALL.len());
    }

    #[test]
    fn c13_who_belongs_changes_by_order_of_two_persons_alone() {
        let member = |state| matches!(state, NodeLife::Active | NodeLife::Suspended);
        for row in NODE {
            if member(row.from) || member(row.to) {
                assert!(row.order.is_some(), "{} --{}--> {}", row.from, row.event, row.to);
            }
        }
        for row in CERTIFICATE {
            assert_eq!(
                row.to == CertificateLife::Revoked,
                row.order.is_some(),
                "{} {}",
                row.from,
                row.event
            );
        }
        // What is ordered about a node stands in the table.
        let ordered: BTreeSet<_> = NODE.iter().filter_map(|row| row.order).collect();
        let about_nodes = [
            ActionKind::OpenPlaces,
            ActionKind::ConfirmEnrolment,
            ActionKind::Suspend,
            ActionKind::Resume,
            ActionKind::Return,
            ActionKind::Leave,
            ActionKind::Revoke,
        ];
        assert_eq!(ordered, about_nodes.into());
    }

    #[test]
    fn the_handbooks_diagrams_are_drawn_from_the_tables() {
        let handbook = include_str!("../../docs/certificates.md");
        for diagram in [node_diagram(), certificate_diagram()] {
            let block = format!("```mermaid\n{diagram}```\n");
            assert!(handbook.contains(&block), "docs/certificates.md lacks:\n{block}");
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_a_node_works_only_after_it_was_confirmed(
            events in proptest::collection::vec(proptest::sample::select(NodeEvent::ALL), 0..60)
        ) {
            let (mut state, mut confirmed, mut suspended) = (NodeLife::Absent, false, false);
            for event in events {
                let Ok(row) = state.on(event) else { continue };
                prop_assert_eq!(row.from, state);
                match event {
                    NodeEvent::Confirm => confirmed = true,
                    NodeEvent::Leave | NodeEvent::Revoke => (confirmed, suspended) = (false, false),
                    NodeEvent::Suspend => suspended = true,
                    NodeEvent::Resume => suspended = false,
                    _ => {}
                }
                state = row.to;
                prop_assert_eq!(state == NodeLife::Active, confirmed && !suspended);
                prop_assert_eq!(state == NodeLife::Suspended, confirmed && suspended);
            }
        }

        #[test]
        fn a_certificate_that_ended_stays_so(
            events in proptest::collection::vec(proptest::sample::select(CertificateEvent::ALL), 0..40)
        ) {
            let (mut state, mut ended) = (CertificateLife::Issued, None);
            for event in events {
                if let Ok(row) = state.on(event) {
                    prop_assert_eq!(ended, None);
                    state = row.to;
                }
                if matches!(state, CertificateLife::Expired | CertificateLife::Revoked) {
                    ended = Some(state);
                }
            }
        }
    }
}
