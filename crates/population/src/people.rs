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
    /// The husband's or wife's number, for who is married within the household.
    pub spouse: Option<IdentityNumber>,
}

/// What the sequence of an identity number tells: odd for men (男), even for women (女).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sex {
    Male,
    Female,
}

impl Sex {
    const fn other(self) -> Self {
        match self {
            Self::Male => Self::Female,
            Self::Female => Self::Male,
        }
    }
}

const SURNAMES: &str = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段";
const GIVEN_OF_MEN: &str =
    "伟强磊军洋勇涛明超刚建国志文辉斌宇浩凯波鹏云飞嘉俊子远海山松柏荣庆福祥瑞宁康成功立新民生德平";
const GIVEN_OF_WOMEN: &str = "芳娜敏静丽艳杰娟秀霞桂英华玉兰红玲燕雪梅琴晨欣怡佳涵梓萱诗琪思晓春竹安乐慧洁珍凤莲巧云";

fn pick(rng: &mut Rng, from: &str) -> char {
    let count = from.chars().count();
    from.chars().nth(rng.usize(..count)).unwrap_or('李')
}

/// A name of two or three characters.
fn name(rng: &mut Rng, surname: char, sex: Sex) -> Result<PersonName, PopulationError> {
    let given = match sex {
        Sex::Male => GIVEN_OF_MEN,
        Sex::Female => GIVEN_OF_WOMEN,
    };
    let mut text = String::from(surname);
    text.push(pick(rng, given));
    if rng.u8(..10) < 7 {
        text.push(pick(rng, given));
    }
    PersonName::parse(&text).map_err(|_| PopulationError::Value("name"))
}

/// A valid number of a person born in `year`, registered in `division`.
pub(crate) fn number(
    rng: &mut Rng,
    division: u32,
    year: u16,
    sex: Sex,
    today: Date,
) -> Result<IdentityNumber, PopulationError> {
    let sequence = rng.u16(1..=498) * 2 + u16::from(sex == Sex::Male);
    let first = format!(
        "{division:06}{year:04}{:02}{:02}{:03}",
        rng.u8(1..=12),
        rng.u8(1..=28),
        sequence
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
    let mut people: Vec<SyntheticPerson> = Vec::new();
    let mut household = 1;
    // Nobody is born this year: the day might lie ahead.
    let last_year = today.year() - 1;
    while people.len() < count as usize {
        household += 1;
        let district = if rng.bool() { 421_002 } else { 421_003 };
        let head_born = rng.u16(1950..=1995);
        let head_sex = if rng.u8(..4) == 0 { Sex::Female } else { Sex::Male };
        let surname = pick(rng, SURNAMES);
        let first = people.len();
        for place in 0..rng.usize(1..=5).min(count as usize - first) {
            let either = if rng.bool() { Sex::Male } else { Sex::Female };
            let (relation, born, sex, surname) = match place {
                0 => ("户主", head_born, head_sex, surname),
                1 => (
                    "配偶",
                    head_born + rng.u16(0..=5),
                    head_sex.other(),
                    pick(rng, SURNAMES),
                ),
                2 | 3 => ("子女", (head_born + rng.u16(24..=30)).min(last_year), either, surname),
                _ => ("父亲", head_born - rng.u16(22..=30), Sex::Male, surname),
            };
            let number = loop {
                let number = number(rng, district, born, sex, today)?;
                if taken.insert(number.clone()) {
                    break number;
                }
            };
            people.push(SyntheticPerson {
                number,
                name: name(rng, surname, sex)?,
                household,
                relation,
                born,
                district,
                spouse: None,
            });
        }
        if let Some([head, spouse, ..]) = people.get_mut(first..) {
            head.spouse = Some(spouse.number.clone());
            spouse.spouse = Some(head.number.clone());
        }
    }
    Ok(people)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn households_hold_together() {
        let today = Date::new(2026, 11, 24).unwrap();
        let people = people(&mut Rng::with_seed(3), 400, today, &mut HashSet::new()).unwrap();
        let is_man = |number: &IdentityNumber| (number.as_str().as_bytes()[16] - b'0') % 2 == 1;
        let surname = |person: &SyntheticPerson| person.name.original().chars().next().unwrap();
        assert_eq!(
            people.iter().map(|person| &person.number).collect::<HashSet<_>>().len(),
            400
        );
        let mut married = 0;
        for person in &people {
            let head = people.iter().find(|head| head.household == person.household).unwrap();
            assert_eq!(head.relation, "户主");
            match person.relation {
                "子女" | "父亲" => assert_eq!(surname(person), surname(head)),
                "配偶" => {
                    married += 1;
                    assert_eq!(person.spouse.as_ref(), Some(&head.number));
                    assert_eq!(head.spouse.as_ref(), Some(&person.number));
                    assert_ne!(is_man(&person.number), is_man(&head.number));
                }
                _ => {}
            }
        }
        assert!(married > 50);
    }
}
