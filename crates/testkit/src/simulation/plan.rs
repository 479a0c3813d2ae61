//! What a seed draws: a federation's faults, questions, withdrawals and imports, each with its time.

use std::time::Duration;

use super::air::{Spell, Trouble, Where};
use crate::code;

/// How large a federation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Cities under the one province.
    pub cities: u32,
    /// Districts under the cities, dealt out in turn.
    pub districts: usize,
}

impl Size {
    /// 1 province, 2 cities, 6 districts.
    pub const SMALL: Self = Self {
        cities: 2,
        districts: 6,
    };
    /// 1 province, 13 cities, 103 districts.
    pub const FULL: Self = Self {
        cities: 13,
        districts: 103,
    };

    /// The nodes' codes, superiors first.
    pub fn codes(self) -> Vec<u32> {
        let cities: Vec<_> = (1..=self.cities).map(|city| 420_000 + city * 100).collect();
        let mut codes = vec![420_000];
        codes.extend(&cities);
        let places = (2..).flat_map(|place| cities.iter().map(move |city| city + place));
        codes.extend(places.take(self.districts));
        codes
    }
}

/// The code above another.
pub(super) fn superior(of: u32) -> u32 {
    if of.is_multiple_of(100) {
        420_000
    } else {
        of / 100 * 100
    }
}

/// What happens at an instant.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Somebody asks: the question's number, asker, scope, budget in milliseconds.
    Ask(usize, u32, &'static str, u64),
    /// Somebody asks a file: the first question's number, how many lines, asker, scope, budget in milliseconds.
    AskLines(usize, usize, u32, &'static str, u64),
    /// The file that begins with this question is asked again.
    AskLinesAgain(usize),
    /// The mandate of a question, by its number, is withdrawn.
    Withdraw(usize),
    /// The same file comes in twice at once: node, subject, plate.
    Import(u32, u32, String),
    /// A process dies.
    Kill(u32),
    /// Another takes its place.
    Start(u32),
    /// A node's clock is put to this lead, in milliseconds.
    Watch(u32, i64),
    /// A new registry reaches this node.
    Notes(u32),
    /// A list reaches the province that suspends this node, or nobody.
    Suspend(Option<u32>),
}

/// Everything that follows from a seed.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) seed: u64,
    pub(super) codes: Vec<u32>,
    /// During this time things go wrong.
    pub(super) storm: Duration,
    pub(super) spells: Vec<Spell>,
    /// In the order of their times.
    pub(super) events: Vec<(Duration, Event)>,
    /// Who holds what from the beginning: node, subject, plate.
    pub(super) planted: Vec<(u32, u32, String)>,
    /// Whether the queue is looked at when something is due instead of each second: most of the work of hours without news.
    pub(super) patient: bool,
}

impl Plan {
    /// Ten minutes of faults, and a few questions.
    pub fn of(seed: u64, size: Size) -> Self {
        let mut draw = fastrand::Rng::with_seed(seed);
        let codes = size.codes();
        let storm = Duration::from_secs(600);
        let mut plan = Self::calm(seed, codes, storm, &mut draw);
        let (spells, askers) = (
            draw.usize(plan.codes.len() / 3..plan.codes.len()),
            [plan.node(&mut draw), plan.node(&mut draw)],
        );
        plan.spells(spells, &mut draw);
        plan.mishaps(draw.usize(0..4), &mut draw);
        for number in 0..draw.usize(2..6) {
            let at = plan.moment(&mut draw, 0.9);
            plan.ask(at, askers[draw.usize(..2)], number, &mut draw);
        }
        plan.sorted()
    }

    /// A day, or some hours of one, in which somebody asks every few minutes and things go wrong all the time.
    pub fn day(seed: u64, size: Size, hours: u64, questions: usize) -> Self {
        let mut draw = fastrand::Rng::with_seed(seed);
        let codes = size.codes();
        let storm = Duration::from_secs(hours * 3600);
        let mut plan = Self::calm(seed, codes, storm, &mut draw);
        plan.patient = true;
        let many = usize::try_from(hours).unwrap_or(1) * plan.codes.len().div_ceil(4);
        plan.spells(many, &mut draw);
        plan.mishaps(usize::try_from(hours).unwrap_or(1), &mut draw);
        for number in 0..questions {
            let at = plan.moment(&mut draw, 0.98);
            let asker = plan.node(&mut draw);
            plan.ask(at, asker, number, &mut draw);
        }
        plan.sorted()
    }

    fn calm(seed: u64, codes: Vec<u32>, storm: Duration, draw: &mut fastrand::Rng) -> Self {
        let planted = (0..draw.u32(2..8)).map(|number| {
            let node = codes[draw.usize(..codes.len())];
            (node, draw.u32(0..2), format!("鄂S{number}"))
        });
        Self {
            seed,
            planted: planted.collect(),
            codes,
            storm,
            spells: Vec::new(),
            events: Vec::new(),
            patient: false,
        }
    }

    fn sorted(mut self) -> Self {
        self.events.sort_by_key(|(at, _)| *at);
        self
    }

    fn node(&self, draw: &mut fastrand::Rng) -> u32 {
        self.codes[draw.usize(..self.codes.len())]
    }

    /// An instant within this part of the storm.
    fn moment(&self, draw: &mut fastrand::Rng, part: f64) -> Duration {
        Duration::from_millis(1_000) + self.storm.mul_f64(draw.f64() * part)
    }

    fn ask(&mut self, at: Duration, asker: u32, number: usize, draw: &mut fastrand::Rng) {
        let scope = ["federation", "lineage"][usize::from(draw.u8(0..4) == 0)];
        let budget = draw.u64(300..10_000);
        if draw.u8(0..3) == 0 {
            let lines = draw.usize(2..9);
            self.events
                .push((at, Event::AskLines(number, lines, asker, scope, budget)));
            for _ in 0..draw.u8(0..3) {
                let later = at + Duration::from_millis(draw.u64(1..200_000));
                self.events.push((later.min(self.storm), Event::AskLinesAgain(number)));
            }
        } else {
            self.events.push((at, Event::Ask(number, asker, scope, budget)));
        }
        if draw.u8(0..6) == 0 {
            let later = at + Duration::from_millis(draw.u64(1..60_000));
            self.events.push((later.min(self.storm), Event::Withdraw(number)));
        }
    }

    fn spells(&mut self, count: usize, draw: &mut fastrand::Rng) {
        for _ in 0..count {
            let one = self.codes[draw.usize(1..self.codes.len())];
            let (one, other) = (code(one), code(superior(one)));
            let database = draw.u8(0..8) == 0;
            let at = match draw.u8(0..5) {
                _ if database => Where::Database(code(self.node(draw))),
                0 => Where::Line(one, other),
                1 | 2 => Where::Line(other, one),
                3 => Where::Between(one, other),
                _ => Where::To(one),
            };
            let trouble = match draw.u8(0..11) {
                0..4 if database => Trouble::Slow(Duration::from_millis(draw.u64(50..2_000))),
                4..8 if database => Trouble::Flaky,
                _ if database => Trouble::Down,
                0 => Trouble::Down,
                1 => Trouble::Hang,
                2 => Trouble::HalfOpen,
                3 => Trouble::Drip(Duration::from_millis(draw.u64(1..400))),
                4 => Trouble::Duplicate,
                5 => Trouble::Reorder,
                6 => Trouble::CutAfter(draw.usize(0..20_000)),
                7 => Trouble::Flip(draw.usize(0..100_000)),
                8 => Trouble::Lies,
                9 => Trouble::Headers,
                _ => Trouble::Slow(Duration::from_millis(draw.u64(50..5_000))),
            };
            let from = self.moment(draw, 0.85);
            let until = from + Duration::from_millis(draw.u64(1_000..300_000));
            self.spells.push(Spell {
                from,
                until: until.min(self.storm),
                at,
                trouble,
            });
        }
        if draw.u8(0..4) == 0 {
            // The tiers are cut from each other.
            let from = self.moment(draw, 0.5);
            let until = (from + self.storm.mul_f64(draw.f64() * 0.3)).min(self.storm);
            let cities = self.codes.iter().filter(|code| **code % 100 == 0 && **code != 420_000);
            self.spells.extend(cities.map(|city| Spell {
                from,
                until,
                at: Where::Between(code(*city), code(420_000)),
                trouble: Trouble::Down,
            }));
        }
    }

    fn mishaps(&mut self, many: usize, draw: &mut fastrand::Rng) {
        for _ in 0..many {
            let (node, at) = (self.node(draw), self.moment(draw, 0.75));
            let back = at + Duration::from_millis(draw.u64(1..100_000));
            self.events
                .extend([(at, Event::Kill(node)), (back, Event::Start(node))]);
        }
        for _ in 0..draw.usize(..=many) {
            let (node, at) = (self.node(draw), self.moment(draw, 0.8));
            let lead = draw.i64(-600_000..=600_000);
            if draw.bool() {
                self.events.push((at, Event::Watch(node, lead)));
                self.events.push((self.storm, Event::Watch(node, 0)));
            } else {
                // Nobody sets it again: two such clocks stay within the 15 minutes beyond which a node appends nothing.
                self.events.push((at, Event::Watch(node, lead / 2)));
            }
        }
        for number in 0..draw.usize(..=many) {
            let (node, at) = (self.node(draw), self.moment(draw, 0.9));
            self.events
                .push((at, Event::Import(node, draw.u32(0..2), format!("鄂T{number}"))));
        }
        if draw.bool() {
            let (node, at) = (self.node(draw), self.moment(draw, 0.8));
            self.events.push((at, Event::Notes(node)));
        }
        if draw.u8(0..4) == 0 {
            let (at, back) = (self.moment(draw, 0.4), self.moment(draw, 0.5) + self.storm / 2);
            let node = self.codes[draw.usize(1..self.codes.len())];
            self.events.push((at, Event::Suspend(Some(node))));
            self.events.push((back.min(self.storm), Event::Suspend(None)));
        }
    }
}
