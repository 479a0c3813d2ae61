//! One question's turn at this node: what was said about it before, what this node decided, and what is to be said now.

use std::collections::BTreeSet;

use sanku_federation_protocol::body::{AccountBody, Body, RefusalBody, Salt, Subject};
use sanku_federation_protocol::entry::{Draft, RefusalEntry, Said};
use sanku_federation_protocol::names::{Rule, StatementId};
use sanku_federation_protocol::statement::{LONGEST_RUN, VerifiedRun};
use sanku_store::{Effect, StoreError};
use sanku_values::Time;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::accept::{Accepted, Asking, Question};
use crate::authorise::{Leave, words};
use crate::network::{Hop, Network};
use crate::once::{answered, discloses, refused};
use crate::{Exchange, ExchangeError, account, search};

/// One question's turn here.
pub(crate) struct Turn<'a> {
    pub(crate) question: &'a Question,
    /// What was said before.
    pub(crate) said: Vec<VerifiedRun>,
    /// Whoever repeats the question waits as long as this is held.
    pub(crate) guard: Option<OwnedMutexGuard<()>>,
    pub(crate) leave: Leave,
    /// The account that was given before.
    pub(crate) before: Option<AccountBody>,
    /// No neighbour is asked.
    pub(crate) alone: bool,
    /// This node is asked itself, or stops it.
    pub(crate) wanted: bool,
    /// What is found here commits with the account: whoever asks is told of everything at the end.
    pub(crate) at_the_end: bool,
    /// Answers or a refusal that are to be said.
    pub(crate) drafts: Vec<Draft>,
}

impl Turn<'_> {
    pub(crate) const fn withdrawn(&self) -> bool {
        matches!(self.leave, Leave::Stop(Rule::MandateWithdrawn))
    }

    /// Subjects that are left to be searched, by index. A second disclosure would be one too many: only of whom something was
    /// unavailable is searched again.
    fn left(&self) -> Vec<(u32, &Subject)> {
        let Asking::Query(_, body) = &self.question.asking else {
            return Vec::new();
        };
        let answered = answered(&self.said);
        let subjects = (0..).zip(&body.subjects);
        subjects.filter(|(subject, _)| !answered.contains(subject)).collect()
    }

    /// What is searched here.
    fn search(&self) -> Option<search::Leaf<'_>> {
        let (Leave::Search(permit), Asking::Query(entry, _)) = (&self.leave, &self.question.asking) else {
            return None;
        };
        let left = self.left();
        (self.wanted && !left.is_empty()).then_some(search::Leaf {
            permit,
            leaf: self.question.leaf,
            entry,
            subjects: left,
        })
    }

    /// Where nobody was asked: the account that is said with the drafts, unless it stands as it was said before and may be sent
    /// as it is.
    pub(crate) fn account_alone(&self, hop: &Hop, now: Time) -> Result<Option<Draft>, ExchangeError> {
        if !self.alone {
            return Ok(None);
        }
        let body = account::due(self.before.as_ref(), Vec::new(), Vec::new(), |_, _| false, hop)?;
        let stands = self.before.as_ref().is_some_and(|before| account::same(before, &body));
        let place = account::place(&self.said);
        let sendable = place.is_some_and(|place| !self.withdrawn() || !discloses(&self.said[place]));
        if self.drafts.is_empty() && stands && sendable {
            return Ok(None);
        }
        account::draft(self.question.leaf, &body, now).map(Some)
    }
}

/// How many of these are said together: one run's worth of statements, one question at least.
pub(crate) fn portion<'a>(turns: &[Turn<'a>], statements: impl Fn(&Turn<'a>) -> usize) -> usize {
    let mut count = 0;
    let fit = turns.iter().take_while(|turn| {
        count += statements(turn);
        count <= LONGEST_RUN
    });
    fit.count().max(1)
}

impl<N: Network> Exchange<N> {
    /// What is to be said here now about each question: answers, a refusal, or nothing where it was said before.
    pub(crate) async fn draft(
        &self,
        asked: &Accepted,
        turns: &mut [Turn<'_>],
        until: Instant,
    ) -> Result<(), ExchangeError> {
        let to_search: Vec<_> = turns.iter().map(Turn::search).collect();
        let now = self.clock.now();
        let found = search::search(&self.store, to_search.iter().flatten(), now, until).await?;
        let mut found = found.into_iter();
        let mut all = Vec::new();
        for (turn, searched) in turns.iter().zip(&to_search) {
            all.push(match turn.leave {
                _ if searched.is_some() => found.next().unwrap_or_default(),
                Leave::Refuse(rule) | Leave::Stop(rule) if turn.wanted => self.refusal(asked, turn, rule)?,
                _ => Vec::new(),
            });
        }
        drop(to_search);
        for (turn, drafts) in turns.iter_mut().zip(all) {
            turn.drafts = drafts;
        }
        Ok(())
    }

    /// The refusal that is to be said, or nothing where it was said before.
    fn refusal(&self, asked: &Accepted, turn: &Turn<'_>, rule: Rule) -> Result<Vec<Draft>, ExchangeError> {
        let is_query = matches!(turn.question.asking, Asking::Query(..));
        // What was answered for good stays answered when the question or its mandate runs out later.
        let stays = rule != Rule::MandateWithdrawn && turn.left().is_empty();
        if !is_query || stays || refused(&turn.said, rule) {
            return Ok(Vec::new());
        }
        // A refusal counts double, whether or not the budget has as much.
        let _ = self.charge(asked.asker(), turn.question);
        let (zh, en) = words(rule);
        let body = RefusalBody {
            salt: Salt::generate()?,
            zh: zh.to_owned(),
            en: en.to_owned(),
        };
        Ok(vec![Draft {
            id: StatementId::generate(self.clock.now()),
            said: Said::Refusal(RefusalEntry {
                re: turn.question.leaf,
                rule,
            }),
            body: body.line()?,
        }])
    }

    /// Logs one run's worth of what is to be said: of each question its drafts and what `account` gives beside them; nothing of
    /// those that `skip` leaves for later. A withdrawal that came while we searched makes answers a refusal; what
    /// another process of this node said while we searched is not said again.
    pub(crate) async fn say_turns(
        &self,
        asked: &Accepted,
        turns: &mut [Turn<'_>],
        skip: impl Fn(&Turn<'_>) -> bool,
        account: impl Fn(usize, &Turn<'_>) -> Result<Option<Draft>, ExchangeError>,
    ) -> Result<Vec<VerifiedRun>, ExchangeError> {
        loop {
            let mut parts = Vec::new();
            for (place, turn) in turns.iter().enumerate().filter(|(_, turn)| !skip(turn)) {
                let mut drafts = turn.drafts.clone();
                drafts.extend(account(place, turn)?);
                if !drafts.is_empty() {
                    let once = self.once(asked, turn, &drafts);
                    parts.push(self.part(asked, turn.question, drafts, once.into_iter().collect()));
                }
            }
            match self.say(asked, parts).await {
                Err(ExchangeError::Store(StoreError::Withdrawn)) => self.withdraw_from(asked, turns).await?,
                Err(ExchangeError::Store(StoreError::SaidMeanwhile)) => self.take_in(asked, turns).await?,
                said => return said,
            }
        }
    }

    /// What decides a question is said once, whichever process comes first. A question of this node's own is leased to one.
    fn once(&self, asked: &Accepted, turn: &Turn<'_>, drafts: &[Draft]) -> Option<Effect> {
        let decides = |draft: &Draft| matches!(draft.said, Said::Answer(_) | Said::Refusal(_));
        (asked.asker() != self.here() && drafts.iter().any(decides)).then(|| Effect::Once {
            origin: asked.origin.clone(),
            id: turn.question.id,
            after: turn.said.iter().map(|run| run.first).max(),
        })
    }

    /// What another process of this node said meanwhile counts, and joins what was said before: it is not said again.
    async fn take_in(&self, asked: &Accepted, turns: &mut [Turn<'_>]) -> Result<(), ExchangeError> {
        for turn in turns {
            turn.said = self.store.said(&asked.origin, turn.question.id).await?;
            let answered = answered(&turn.said);
            turn.drafts.retain(|draft| match &draft.said {
                Said::Answer(answer) => !answered.contains(&answer.subject),
                Said::Refusal(refusal) => !refused(&turn.said, refusal.rule),
                _ => true,
            });
        }
        Ok(())
    }

    /// Answers under mandates that are withdrawn by now become refusals: what was found is not said.
    ///
    /// # Errors
    /// `Withdrawn` if there are none, so that nobody tries the same again without end.
    async fn withdraw_from(&self, asked: &Accepted, turns: &mut [Turn<'_>]) -> Result<(), ExchangeError> {
        let withdrawn = self.withdrawn(asked).await?;
        let mut found = false;
        for turn in turns {
            let mandate = turn.question.mandate();
            if mandate.is_some_and(|mandate| withdrawn.contains(&mandate)) && !turn.withdrawn() {
                turn.leave = Leave::Stop(Rule::MandateWithdrawn);
                turn.drafts = self.refusal(asked, turn, Rule::MandateWithdrawn)?;
                found = true;
            }
        }
        if found {
            Ok(())
        } else {
            Err(StoreError::Withdrawn.into())
        }
    }

    /// Those of the questions' mandates that are withdrawn now.
    pub(crate) async fn withdrawn(&self, asked: &Accepted) -> Result<BTreeSet<StatementId>, ExchangeError> {
        let mandates = asked.questions.iter().filter_map(|question| question.mandate());
        let mandates: Vec<_> = mandates.collect();
        Ok(self.store.withdrawn(asked.asker(), &mandates, self.clock.now()).await?)
    }
}
