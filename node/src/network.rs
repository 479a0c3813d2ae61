//! The exchange's network over mutual TLS.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http::Method;
use sanku_exchange::lost::Cursor;
use sanku_exchange::{AskFailure, Hop, LogFile, Network, PeerStatus, Reply, Witnessed};
use sanku_federation_protocol::entry::NoteRef;
use sanku_federation_protocol::names::{Origin, Outcome};
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::stream::MEDIA_TYPE;
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::Hash;
use sanku_transport::{PeerClients, TransportError};
use sanku_values::DivisionCode;

/// Neighbours over HTTP/2.
pub(crate) struct PeerNetwork(pub(crate) Arc<PeerClients>);

/// A shorter time than this for connecting tells nothing.
const CONNECTING: Duration = Duration::from_secs(1);
/// Left of a hop's time for saying so.
const SAYING: Duration = Duration::from_millis(20);

/// Most bytes of a list of notes, or of a note.
const NOTES: usize = 64 << 20;

fn failure(error: &TransportError) -> AskFailure {
    match error {
        TransportError::Refused(problem) => AskFailure::from((**problem).clone()),
        error if error.is_unreachable() => AskFailure::new(Outcome::Unreachable, error.to_string()),
        error => AskFailure::new(Outcome::PeerError, error.to_string()),
    }
}

impl PeerNetwork {
    async fn whole(&self, to: DivisionCode, path: &str) -> Result<(Vec<u8>, Option<Hash>), AskFailure> {
        let response = self
            .0
            .send(to, Method::GET, path, &[], Bytes::new())
            .await
            .map_err(|error| failure(&error))?;
        let notes = response.notes.and_then(|digest| digest.parse().ok());
        let mut body = response.body;
        let mut bytes = Vec::new();
        while let Some(part) = body.next().await {
            bytes.extend_from_slice(&part.map_err(|error| failure(&error))?);
            if bytes.len() > NOTES {
                return Err(AskFailure::new(Outcome::PeerError, "more notes than there can be"));
            }
        }
        Ok((bytes, notes))
    }

    /// The same, or nothing where the neighbour has no such thing.
    async fn whole_if_any(&self, to: DivisionCode, path: &str) -> Result<Option<Bytes>, AskFailure> {
        match self.whole(to, path).await {
            Ok((bytes, _)) => Ok(Some(bytes.into())),
            Err(failure) if failure.problem == Some(ProblemKind::NotFound) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

impl Network for PeerNetwork {
    async fn ask(&self, to: DivisionCode, hop: Hop, body: Bytes) -> Result<Reply, AskFailure> {
        let mut headers = vec![
            ("content-type", MEDIA_TYPE.to_owned()),
            ("sanku-budget-ms", hop.budget.as_millis().to_string()),
            ("sanku-attempt", hop.attempt.to_string()),
            ("traceparent", hop.traceparent.clone()),
        ];
        if let Some(only) = &hop.only {
            let codes: Vec<_> = only.iter().take(1000).map(ToString::to_string).collect();
            headers.push(("sanku-only", codes.join(",")));
        }
        // Whoever did not even connect in the time there was is not there.
        let connected_by = (hop.budget > CONNECTING).then(|| Instant::now() + hop.budget.saturating_sub(SAYING));
        let (method, path) = (Method::POST, "/v1/statements");
        let sent = self.0.send_connected_by(connected_by, to, method, path, &headers, body);
        let response = sent.await.map_err(|error| failure(&error))?;
        Ok(Reply {
            notes: response.notes.and_then(|digest| digest.parse().ok()),
            body: Box::pin(response.body.map_err(|error| failure(&error))),
        })
    }

    async fn add_checkpoint(&self, to: DivisionCode, body: String) -> Result<Witnessed, AskFailure> {
        let answer = self.0.post_text(to, "/v1/witness/add-checkpoint", body).await;
        let (status, bytes) = answer.map_err(|error| failure(&error))?;
        let text = String::from_utf8_lossy(&bytes);
        match (status, text.trim_end().parse()) {
            (200, _) => Ok(Witnessed::Cosigned(text.into_owned())),
            (409, Ok(size)) => Ok(Witnessed::Knows(size)),
            (status, _) => Err(AskFailure::new(Outcome::PeerError, format!("status {status}"))),
        }
    }

    async fn log_file(&self, from: DivisionCode, log: &Origin, file: LogFile) -> Result<Option<Bytes>, AskFailure> {
        let path = format!("/v1/logs/{}/{}/{}", log.node, log.number, file.path());
        self.whole_if_any(from, &path).await
    }

    async fn held_of(
        &self,
        from: DivisionCode,
        log: &Origin,
        holder: DivisionCode,
        cursor: Cursor,
    ) -> Result<Option<Bytes>, AskFailure> {
        let Cursor { from: index, at, after } = cursor;
        let path = format!(
            "/v1/held/{}/{}/{holder}?from={index}&at={at}&after={after}",
            log.node, log.number
        );
        self.whole_if_any(from, &path).await
    }

    async fn status_of(&self, from: DivisionCode) -> Result<PeerStatus, AskFailure> {
        let (status, notes) = self.whole(from, "/v1/status").await?;
        let status: PeerStatus =
            serde_json::from_slice(&status).map_err(|_| AskFailure::new(Outcome::PeerError, "not a status"))?;
        Ok(PeerStatus { notes, ..status })
    }

    async fn notes_of(&self, from: DivisionCode, at_hand: &Trust) -> Result<Vec<String>, AskFailure> {
        let broken = || AskFailure::new(Outcome::PeerError, "not a list of notes");
        let list: Vec<(String, u64, Hash)> =
            serde_json::from_slice(&self.whole(from, "/v1/notes").await?.0).map_err(|_| broken())?;
        let mut wanted = Vec::new();
        for (name, number, digest) in list.into_iter().take(10_000) {
            if at_hand.holds(&name, NoteRef { number, digest }) {
                continue;
            }
            // Each of these rests on the one before.
            if name.ends_with("/root") || name.contains("/people/") {
                let all = self.whole(from, &format!("/v1/notes/{name}/all")).await?.0;
                let all: Vec<(u64, Hash)> = serde_json::from_slice(&all).map_err(|_| broken())?;
                let new = all.into_iter().take(10_000);
                let new = new.filter(|(number, digest)| {
                    let (number, digest) = (*number, *digest);
                    !at_hand.holds(&name, NoteRef { number, digest })
                });
                wanted.extend(new.map(|(number, _)| (name.clone(), number)));
            } else {
                wanted.push((name, number));
            }
        }
        let mut notes = Vec::new();
        for (name, number) in wanted {
            notes.push(
                String::from_utf8(self.whole(from, &format!("/v1/notes/{name}/{number}")).await?.0)
                    .map_err(|_| broken())?,
            );
        }
        Ok(notes)
    }

    async fn give_note(&self, to: DivisionCode, note: String) -> Result<(), AskFailure> {
        self.0
            .send(to, Method::POST, "/v1/notes", &[], Bytes::from(note))
            .await
            .map(drop)
            .map_err(|error| failure(&error))
    }
}
