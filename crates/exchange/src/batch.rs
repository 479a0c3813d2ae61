//! Batches (普查) at the asker: many cases at once, each of which is an ordinary question afterwards. Cases that go the same way are
//! logged as one run and asked in one request; a line of a file is one question until that expires, so that whoever asks the
//! same lines again after a crash gets what is known and asks nothing twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use sanku_federation_protocol::body::Body;
use sanku_federation_protocol::names::{Priority, StatementId};
use sanku_store::Urgency;
use sanku_tlog::Hash;

use crate::asker::{Asked, Posed};
use crate::case::Case;
use crate::network::Network;
use crate::{Exchange, ExchangeError};

/// Cases that one call takes: as many as a run has statements.
pub const CASES: usize = 256;
/// Bytes of questions in one request: below the limit of a run, with its entries.
const HEAVIEST: usize = 4 << 20;
/// Requests of one call that are under way at once, and earlier questions that are asked again at once.
const AT_ONCE: usize = 4;

/// What came of one case of a batch.
pub type Line = Result<Asked, ExchangeError>;

impl<N: Network> Exchange<N> {
    /// Asks at most 256 cases that nobody waits for; `each` hears what came of each by its place, as soon as it is known.
    /// A case that was asked before, to the letter, and has not expired is not asked anew: what is missing of it is asked again.
    pub async fn ask_batch(self: &Arc<Self>, cases: Vec<Case>, each: impl Fn(usize, Line) + Send + Sync) {
        let mut places: BTreeMap<Hash, Vec<usize>> = BTreeMap::new();
        let mut lines = Vec::new();
        for (place, case) in cases.into_iter().take(CASES).enumerate() {
            let case = Case {
                priority: Priority::Batch,
                ..case
            };
            // Whatever the white space of its line: what it says is what counts.
            let text = serde_json::to_string(&case).unwrap_or_default();
            let line = self.store.pseudonym("line", &text);
            let of_line = places.entry(line).or_default();
            if of_line.is_empty() {
                lines.push((line, case));
            }
            of_line.push(place);
        }
        let tell = |line: &Hash, came: &Line| {
            for place in places.get(line).into_iter().flatten() {
                each(*place, came.clone());
            }
        };
        // Of two that ask the same lines at once one poses them, the other finds them posed; processes of one node, too.
        let posed = {
            let _turn = self.posing.lock().await;
            match self.pose_new(&lines, &tell).await {
                Err(ExchangeError::Conflict) => self.pose_new(&lines, &tell).await,
                posed => posed,
            }
        };
        let (known, requests) = match posed {
            Ok(posed) => posed,
            Err(error) => return lines.iter().for_each(|(line, _)| tell(line, &Err(error.clone()))),
        };
        let tell: &(dyn Fn(&Hash, &Line) + Send + Sync) = &tell;
        let earlier = known.into_iter().map(|earlier| self.answer_earlier(earlier, tell));
        let new = requests.into_iter().map(|request| self.answer_request(request, tell));
        let all: Vec<BoxFuture<'_, ()>> = new.map(boxed).chain(earlier.map(boxed)).collect();
        stream::iter(all).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    async fn answer_request(self: &Arc<Self>, request: Request, tell: &(dyn Fn(&Hash, &Line) + Send + Sync)) {
        let Request { run, lines, budget } = request;
        match self.go(run, self.hop(budget, None, 1), true, &|_| {}).await {
            Ok(asked) => {
                for (line, asked) in lines.iter().zip(asked) {
                    tell(line, &Ok(asked));
                }
            }
            Err(error) => {
                for line in &lines {
                    tell(line, &Err(error.clone()));
                }
            }
        }
    }

    async fn answer_earlier(
        self: &Arc<Self>,
        (line, id, budget): Earlier,
        tell: &(dyn Fn(&Hash, &Line) + Send + Sync),
    ) {
        tell(&line, &self.ask_earlier(id, budget).await);
    }

    /// What is known of a question that was asked before; what is missing is asked again first.
    async fn ask_earlier(self: &Arc<Self>, id: StatementId, budget: Duration) -> Line {
        let known = self.known_now(id).await?;
        if known.merged.complete {
            return Ok(known);
        }
        self.ask_again(id, budget, |_| {}).await
    }

    /// Poses every line that is not a question yet, and gives those that are. What a rule forbids is told at once.
    async fn pose_new(
        &self,
        lines: &[(Hash, Case)],
        tell: &(impl Fn(&Hash, &Line) + Sync),
    ) -> Result<(Vec<Earlier>, Vec<Request>), ExchangeError> {
        let now = self.clock.now();
        let names: Vec<_> = lines.iter().map(|(line, _)| *line).collect();
        let posed = self.store.of_lines(&names, now).await?;
        let mut earlier = Vec::new();
        let mut together: BTreeMap<_, Vec<Posed>> = BTreeMap::new();
        let mut forbidden = Vec::new();
        for (line, case) in lines {
            if let Some(id) = posed.get(line) {
                earlier.push((*line, *id, Duration::from_millis(case.budget_ms)));
                continue;
            }
            match self.prepare(case, Some(*line), now).await {
                Ok(posed) => {
                    let way = (posed.entry.scope, posed.entry.targets.clone(), posed.entry.expires);
                    together.entry(way).or_default().push(posed);
                }
                Err(error) => forbidden.push((*line, error)),
            }
        }
        let mut requests = Vec::new();
        for posed in together.into_values() {
            let mut rest = posed.into_iter().peekable();
            while rest.peek().is_some() {
                let (mut part, mut weight) = (Vec::new(), 0);
                while let Some(posed) = rest.next_if(|posed| {
                    weight += posed.body.line().map_or(HEAVIEST, |line| line.len());
                    weight <= HEAVIEST || part.is_empty()
                }) {
                    self.charge_own(&posed.entry, &posed.body).await?;
                    part.push(posed);
                }
                let budget = part.iter().map(|posed| posed.budget).max().unwrap_or_default();
                let lines = part.iter().filter_map(|posed| posed.line).collect();
                let run = self.pose(part, Urgency::Batch).await?;
                requests.push(Request { run, lines, budget });
            }
        }
        for (line, error) in forbidden {
            tell(&line, &Err(error));
        }
        Ok((earlier, requests))
    }
}

fn boxed<'a>(work: impl Future<Output = ()> + Send + 'a) -> BoxFuture<'a, ()> {
    Box::pin(work)
}

/// A line that is a question already, and how long its case waits.
type Earlier = (Hash, StatementId, Duration);

/// One request of a batch: what was posed together.
struct Request {
    run: sanku_federation_protocol::statement::VerifiedRun,
    lines: Vec<Hash>,
    budget: Duration,
}
