//! Synthetic people: names, numbers and households that could be, and are nobody's.

use fastrand::Rng;
use sanku_values::{Date, IdentityNumber, PersonName};

use crate::PopulationError;

/// A synthetic person.
#[derive(Clone, Debug)]
pub struct SyntheticPerson {
    /// Identity number.
    pub number: IdentityNumber,
    /// Name.
    pub name: PersonName,
    /// Household.
    pub household: u32,
    /// How they stand to the head of the household.
    pub relation: &'static str,
    /// Year of birth.
    pub born: u16,
    /// The district they live in.
    pub district: u32,
}

const SURNAMES: &str = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段";
const GIVEN: &str = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰红建国志文辉玲斌宇浩凯燕波鹏云飞雪梅琴晨欣怡佳嘉俊子涵梓萱诗琪思远晓春海山松柏竹荣庆福祥瑞安宁康乐成功立新民生";

fn pick(rng: &mut Rng, from: &str) -> char {
    let count = from.chars().count();
    from.chars().nth(rng.usize(..count)).unwrap_or('李')
}

/// A name of two or three characters.
pub(crate) fn name(rng: &mut Rng) -> Result<PersonName, PopulationError> {
    let mut text = String::from(pick(rng, SURNAMES));
    text.push(pick(rng, GIVEN));
    if rng.u8(..10) < 7 {
        text.push(pick(rng, GIVEN));
    }
    PersonName::parse(&text).map_err(|_| PopulationError::Value("name"))
}

/// A valid number of a person born in `year`, registered in `division`.
pub(crate) fn number(rng: &mut Rng, division: u32, year: u16, today: Date) -> Result<IdentityNumber, PopulationError> {
    let first = format!(
        "{division:06}{year:04}{:02}{:02}{:03}",
        rng.u8(1..=12),
        rng.u8(1..=28),
        rng.u16(1..=999)
    );
    IdentityNumber::completing(&first, today).map_err(|_| PopulationError::Value("identity number"))
}

/// Households until there are `count` people; no number twice.
pub(crate) fn people(
    rng: &mut Rng,
    count: u32,
    today: Date,
    taken: &mut std::collections::HashSet<IdentityNumber>,
) -> Result<Vec<SyntheticPerson>, PopulationError> {
    let mut people = Vec::new();
    let mut household = 1;
    while people.len() < count as usize {
        household += 1;
        let district = if rng.bool() { 421_002 } else { 421_003 };
        let head_born = rng.u16(1950..=1995);
        let size = rng.usize(1..=5);
        let surname = pick(rng, SURNAMES);
        for place in 0..size.min(count as usize - people.len()) {
            let (relation, born) = match place {
                0 => ("户主", head_born),
                1 => ("配偶", head_born + rng.u16(0..=5)),
                2 | 3 => ("子女", (head_born + rng.u16(24..=30)).min(2025)),
                _ => ("父母", head_born - rng.u16(22..=30)),
            };
            let name = if relation == "子女" {
                PersonName::parse(&format!("{surname}{}{}", pick(rng, GIVEN), pick(rng, GIVEN)))
                    .map_err(|_| PopulationError::Value("name"))?
            } else {
                name(rng)?
            };
            let number = loop {
                let number = number(rng, district, born, today)?;
                if taken.insert(number.clone()) {
                    break number;
                }
            };
            people.push(SyntheticPerson {
                number,
                name,
                household,
                relation,
                born,
                district,
            });
        }
    }
    Ok(people)
}
