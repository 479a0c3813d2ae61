//! The planted household (预设家庭): what is hidden where, and what a lookup must therefore say.

use std::fmt;

use fastrand::Rng;
use sanku_values::{CreditCode, Date, IdentityNumber, PersonName};
use serde_json::{Value, json};

use crate::people::{self, Sex};
use crate::{PopulationError, Row};

/// A fact that the lookup must show. `Debug` shows no amount.
#[derive(Clone)]
pub struct Expectation {
    /// For the viewer: Chinese, then English.
    pub words: &'static str,
    /// The subject's index.
    pub subject: u32,
    /// The category.
    pub category: &'static str,
    /// Fields that the fact has, in stored form.
    pub fields: Value,
    /// The nodes that tell it so.
    pub nodes: Vec<u32>,
    /// Whether another node tells it otherwise.
    pub conflict: bool,
}

/// What was planted. `Debug` shows no number and no name.
#[derive(Clone)]
pub struct Planted {
    /// The household: head, spouse, child, father.
    pub household: Vec<(IdentityNumber, PersonName, &'static str)>,
    /// Every fact that the lookup must show, and no other.
    pub facts: Vec<Expectation>,
    /// The one mismatch: subject, category, node.
    pub mismatch: (u32, &'static str, u32),
    /// The namesake's number and deed, which must not appear.
    pub must_not_appear: Vec<String>,
    /// The namesake, for the viewer: Chinese and English.
    pub namesake_words: &'static str,
    /// The mismatch, for the viewer.
    pub mismatch_words: &'static str,
    /// Rows for the departments' files.
    pub(crate) rows: Vec<Row>,
}

impl fmt::Debug for Planted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "Planted({} people, {} facts)",
            self.household.len(),
            self.facts.len()
        )
    }
}

impl fmt::Debug for Expectation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Expectation({} {:?})", self.category, self.nodes)
    }
}

fn texts(values: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    values
        .iter()
        .map(|(field, shown)| (*field, (*shown).to_owned()))
        .collect()
}

/// Plants the household.
pub(crate) fn plant(
    rng: &mut Rng,
    today: Date,
    taken: &mut std::collections::HashSet<IdentityNumber>,
) -> Result<Planted, PopulationError> {
    let mut person = |division, year, sex| -> Result<IdentityNumber, PopulationError> {
        loop {
            let number = people::number(rng, division, year, sex, today)?;
            if taken.insert(number.clone()) {
                return Ok(number);
            }
        }
    };
    let named = |text: &str| PersonName::parse(text).map_err(|_| PopulationError::Value("name"));
    let head = (person(421_002, 1978, Sex::Male)?, named("覃守业")?);
    let spouse = (person(421_003, 1980, Sex::Female)?, named("蒲玉兰")?);
    let child = (person(421_002, 2008, Sex::Male)?, named("覃思远")?);
    let father = (person(421_002, 1949, Sex::Male)?, named("覃德福")?);
    let namesake = person(421_003, 1966, Sex::Male)?;
    let company = CreditCode::completing("91420000MA49PLAN0").map_err(|_| PopulationError::Value("credit code"))?;
    let household = vec![
        (head.0.clone(), head.1.clone(), "head"),
        (spouse.0.clone(), spouse.1.clone(), "spouse"),
        (child.0, child.1, "child"),
        (father.0.clone(), father.1.clone(), "supporter"),
    ];
    let row =
        |node: u32, category: &'static str, who: &(IdentityNumber, PersonName), values: &[(&'static str, &str)]| Row {
            node,
            category,
            number: who.0.clone(),
            name: who.1.clone(),
            values: texts(values),
        };

    let first_flat = [
        ("certificate_no", "鄂(2012)沙市不动产权第0031207号"),
        ("address", "沙市区北京西路88号3栋402室"),
        ("use", "住宅"),
        ("area", "86.50"),
        ("ownership", "共同"),
        ("registered_on", "2012-06-18"),
        ("mortgaged", "否"),
    ];
    let second_flat = [
        ("certificate_no", "鄂(2021)荆州区不动产权第0117743号"),
        ("address", "荆州区荆中路12号1栋1503室"),
        ("use", "住宅"),
        ("area", "121.30"),
        ("ownership", "单独"),
        ("registered_on", "2021-03-09"),
        ("mortgaged", "否"),
    ];
    let villa = [
        ("certificate_no", "鄂(2019)荆州区不动产权第0099999号"),
        ("address", "荆州区太湖路1号"),
        ("use", "住宅"),
        ("area", "310.00"),
        ("ownership", "单独"),
        ("registered_on", "2019-10-01"),
        ("mortgaged", "否"),
    ];
    let car = [
        ("plate", "鄂D6Q317"),
        ("plate_type", "小型汽车"),
        ("model", "东风风神AX7"),
        ("vehicle_type", "小型普通客车"),
        ("use", "非营运"),
        ("first_registered_on", "2020-08-21"),
        ("status", "正常"),
    ];
    let capital = company.to_string();
    let business = [
        ("name", "荆州守业建材有限公司"),
        ("credit_code", capital.as_str()),
        ("role", "法定代表人"),
        ("capital", "500000.00"),
        ("share_bp", "60%"),
        ("status", "存续"),
        ("founded_on", "2018-04-12"),
    ];
    let income = |amount: &'static str, tax: &'static str| {
        [
            ("income_type", "工资薪金所得"),
            ("withholder", "沙市纺织有限公司"),
            ("period", "2026-09"),
            ("income", amount),
            ("tax_paid", tax),
        ]
    };
    let deposit = [
        ("bank", "中国工商银行"),
        ("account", "6222********8841"),
        ("currency", "CNY"),
        ("balance", "386000.00"),
        ("inflow_12m", "120000.00"),
    ];
    let death = [
        ("died_on", "2025-12-02"),
        ("cremated_on", "2025-12-04"),
        ("institution", "荆州市殡仪馆"),
    ];
    let job = [
        ("employer", "荆州区惠民超市"),
        ("employment_type", "合同制"),
        ("start_date", "2023-03-01"),
        ("unemployment_registered", "否"),
    ];
    let another_name = (spouse.0.clone(), named("蒲春梅")?);
    let stranger = (namesake.clone(), head.1.clone());
    let rows = vec![
        row(421_002, "real_estate", &head, &first_flat),
        row(421_003, "real_estate", &head, &second_flat),
        row(420_000, "business_interest", &head, &business),
        row(421_000, "vehicle", &head, &car),
        row(421_002, "vehicle", &head, &car),
        row(420_000, "local_tax", &spouse, &income("5200.00", "6.00")),
        row(421_000, "local_tax", &spouse, &income("3100.00", "0.00")),
        row(421_003, "real_estate", &stranger, &villa),
        row(421_003, "employment", &another_name, &job),
        row(421_002, "death", &father, &death),
        row(420_000, "bank_deposit", &spouse, &deposit),
    ];
    let fact = |words, subject, category, fields, nodes: &[u32], conflict| Expectation {
        words,
        subject,
        category,
        fields,
        nodes: nodes.to_vec(),
        conflict,
    };
    let facts = vec![
        fact(
            "申报的住房，沙市区有登记 The declared flat, in Shashi's own register",
            0,
            "real_estate",
            json!({ "area": 8650, "ownership": "joint" }),
            &[421_002],
            false,
        ),
        fact(
            "第二套住房，只有荆州区有登记 A second flat that only 421003 knows",
            0,
            "real_estate",
            json!({ "area": 12130, "ownership": "sole" }),
            &[421_003],
            false,
        ),
        fact(
            "省里登记的公司，本人是法定代表人 A company on record at the province",
            0,
            "business_interest",
            json!({ "role": "legal_representative", "capital": 50_000_000, "share_bp": 6000 }),
            &[420_000],
            false,
        ),
        fact(
            "同一辆车，市和区说法一致 A vehicle that two nodes report alike",
            0,
            "vehicle",
            json!({ "plate": "鄂D6Q317" }),
            &[421_000, 421_002],
            false,
        ),
        fact(
            "同一笔收入，省里说 5200 元 An income: the province says 5,200 yuan",
            1,
            "local_tax",
            json!({ "income": 520_000, "period": "2026-09" }),
            &[420_000],
            true,
        ),
        fact(
            "……市里说 3100 元 … the city says 3,100 yuan",
            1,
            "local_tax",
            json!({ "income": 310_000, "period": "2026-09" }),
            &[421_000],
            true,
        ),
        fact(
            "大额存款 386000 元 A large deposit of 386,000 yuan",
            1,
            "bank_deposit",
            json!({ "balance": 38_600_000 }),
            &[420_000],
            false,
        ),
        fact(
            "父亲已在死亡登记中 The father stands in the death register",
            3,
            "death",
            json!({ "died_on": "2025-12-02" }),
            &[421_002],
            false,
        ),
    ];
    Ok(Planted {
        household,
        facts,
        mismatch: (1, "employment", 421_003),
        must_not_appear: vec![
            namesake.as_str().to_owned(),
            "鄂(2019)荆州区不动产权第0099999号".to_owned(),
        ],
        namesake_words: "同名不同号的人有一栋别墅，不得出现 A namesake with another number owns a villa: it must not appear",
        mismatch_words: "配偶的号码在荆州区登记在另一个姓名下：只报姓名不符，不提供记录 The spouse's number is known in 421003 under another name: a mismatch, and no record",
        rows,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn planted() -> Planted {
        plant(
            &mut Rng::with_seed(5),
            Date::new(2026, 11, 24).unwrap(),
            &mut HashSet::new(),
        )
        .unwrap()
    }

    #[test]
    fn each_expected_fact_stands_in_exactly_the_files_of_its_nodes() {
        let planted = planted();
        for expected in &planted.facts {
            let (number, name, _) = &planted.household[expected.subject as usize];
            let nodes: HashSet<_> = planted
                .rows
                .iter()
                .filter(|row| row.category == expected.category && row.number == *number && row.name == *name)
                .map(|row| row.node)
                .collect();
            assert!(
                expected.nodes.iter().all(|node| nodes.contains(node)),
                "{}",
                expected.words
            );
        }
        let told: usize = planted.facts.iter().map(|fact| fact.nodes.len()).sum();
        // Two rows are told by nobody: the namesake's villa, and the job under another name.
        assert_eq!(told + 2, planted.rows.len());
    }

    #[test]
    fn the_namesake_shares_the_name_and_nothing_else() {
        let planted = planted();
        let (number, name, _) = &planted.household[0];
        let namesake = planted
            .rows
            .iter()
            .find(|row| row.name == *name && row.number != *number)
            .unwrap();
        assert!(
            planted
                .must_not_appear
                .iter()
                .any(|secret| secret == namesake.number.as_str())
        );
        assert!(
            planted
                .household
                .iter()
                .all(|(member, _, _)| *member != namesake.number)
        );
    }

    #[test]
    fn the_mismatch_is_one_number_under_two_names() {
        let planted = planted();
        let (subject, category, node) = planted.mismatch;
        let (number, name, _) = &planted.household[subject as usize];
        let names: Vec<_> = planted
            .rows
            .iter()
            .filter(|row| row.node == node && row.category == category && row.number == *number)
            .map(|row| &row.name)
            .collect();
        assert_eq!(names.len(), 1);
        assert!(!names[0].matches(name));
    }

    #[test]
    fn debug_shows_nobody() {
        let planted = planted();
        let shown = format!("{planted:?} {:?} {:?}", planted.facts, planted.rows);
        for (number, name, _) in &planted.household {
            assert!(!shown.contains(number.as_str()) && !shown.contains(name.original()));
        }
    }
}
