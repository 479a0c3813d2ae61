//! What departments know of a synthetic person, and which node would hold it.

use fastrand::Rng;
use sanku_values::CreditCode;

use crate::people::SyntheticPerson;
use crate::{PopulationError, Row};

const CITY: u32 = 421_000;
const PROVINCE: u32 = 420_000;
const COMPANIES: [&str; 8] = [
    "沙市纺织有限公司",
    "荆州食品有限公司",
    "江汉运输有限公司",
    "楚天商贸有限公司",
    "长江印刷厂",
    "荆楚物业有限公司",
    "沙隆达化工厂",
    "古城旅游公司",
];
const BANKS: [&str; 5] = [
    "中国工商银行",
    "中国农业银行",
    "中国建设银行",
    "湖北农村商业银行",
    "中国邮政储蓄银行",
];
const STREETS: [&str; 5] = ["北京中路", "江津西路", "荆沙大道", "红门路", "太岳路"];

fn yuan(rng: &mut Rng, low: u32, high: u32) -> String {
    format!("{}.{:02}", rng.u32(low..high), rng.u8(..100))
}

fn date(rng: &mut Rng, from: u16, to: u16) -> String {
    format!("{}-{:02}-{:02}", rng.u16(from..=to), rng.u8(1..=12), rng.u8(1..=28))
}

fn month(rng: &mut Rng) -> String {
    format!("2026-{:02}", rng.u8(1..=10))
}

fn one<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from.get(rng.usize(..from.len())).copied().unwrap_or_default()
}

fn yes_no(rng: &mut Rng) -> &'static str {
    if rng.u8(..5) == 0 { "是" } else { "否" }
}

/// Appends the rows of one person: each category with a likelihood that such a register has.
pub(crate) fn of(rng: &mut Rng, person: &SyntheticPerson, rows: &mut Vec<Row>) -> Result<(), PopulationError> {
    let age = 2026 - person.born.min(2026);
    let working = (18..60).contains(&age);
    let home = person.district;
    let serial = rng.u32(1_000_000..9_999_999);
    let mut put = |likelihood: u8,
                   applies: bool,
                   node: u32,
                   category: &'static str,
                   rng: &mut Rng,
                   values: &dyn Fn(&mut Rng) -> Vec<(&'static str, String)>| {
        if applies && rng.u8(..100) < likelihood {
            rows.push(Row {
                node,
                category,
                number: person.number.clone(),
                name: person.name.clone(),
                values: values(rng),
            });
        }
    };
    let t = |text: &str| text.to_owned();
    put(100, true, home, "household_register", rng, &|rng| {
        vec![
            ("household_no", format!("{home}{:06}", person.household)),
            ("relation", t(person.relation)),
            ("hukou_type", t("城镇")),
            ("address", format!("{}{}号", one(rng, &STREETS), rng.u16(1..300))),
        ]
    });
    put(60, working, home, "employment", rng, &|rng| {
        vec![
            ("employer", t(one(rng, &COMPANIES))),
            ("employment_type", t("合同制")),
            ("start_date", date(rng, 2010, 2025)),
            ("unemployment_registered", t(yes_no(rng))),
        ]
    });
    put(70, working, CITY, "social_insurance", rng, &|rng| {
        vec![
            (
                "insurance_type",
                t(one(rng, &["养老", "医疗", "失业", "工伤", "城乡居民"])),
            ),
            ("status", t("参保缴费")),
            ("payer", t(one(rng, &COMPANIES))),
            ("contribution_base", yuan(rng, 3000, 9000)),
            ("last_paid_month", month(rng)),
            ("months_paid", rng.u16(1..400).to_string()),
        ]
    });
    put(80, age >= 60, CITY, "pension", rng, &|rng| {
        vec![
            ("benefit_type", t("基本养老金")),
            ("monthly_amount", yuan(rng, 900, 4500)),
            ("since_month", format!("20{:02}-01", rng.u8(10..26))),
            ("status", t("正常")),
        ]
    });
    put(60, true, CITY, "medical_insurance", rng, &|rng| {
        vec![
            ("scheme", t("城乡居民")),
            ("year", t("2026")),
            ("account_balance", yuan(rng, 0, 5000)),
            ("out_of_pocket", yuan(rng, 0, 9000)),
        ]
    });
    put(6, working, CITY, "public_payroll", rng, &|rng| {
        vec![
            ("unit", t("沙市区实验小学")),
            ("staff_type", t("事业编制")),
            ("monthly_amount", yuan(rng, 3000, 8000)),
            ("month", month(rng)),
        ]
    });
    put(12, true, home, "subsidy", rng, &|rng| {
        vec![
            (
                "programme",
                t(one(rng, &["耕地地力保护补贴", "残疾人两项补贴", "高龄津贴"])),
            ),
            ("amount", yuan(rng, 50, 1500)),
            ("paid_on", date(rng, 2025, 2025)),
            ("batch", t("2025-2")),
        ]
    });
    put(35, working, CITY, "housing_fund", rng, &|rng| {
        vec![
            ("employer", t(one(rng, &COMPANIES))),
            ("account_no", format!("GJJ{serial}")),
            ("base", yuan(rng, 3000, 9000)),
            ("monthly_deposit", yuan(rng, 300, 1800)),
            ("balance", yuan(rng, 500, 90000)),
            ("status", t("正常")),
            ("paid_to_month", month(rng)),
        ]
    });
    put(8, working, CITY, "housing_fund_use", rng, &|rng| {
        vec![
            ("use_type", t(one(rng, &["提取", "贷款"]))),
            ("date", date(rng, 2018, 2025)),
            ("amount", yuan(rng, 5000, 300_000)),
            ("purpose", t("购房")),
        ]
    });
    let code = CreditCode::completing(&format!("91421000MA4{:06}", serial % 1_000_000))
        .map_err(|_| PopulationError::Value("credit code"))?;
    put(5, age > 20, PROVINCE, "business_interest", rng, &|rng| {
        vec![
            ("name", format!("荆州{}商行", person.name.original())),
            ("credit_code", code.to_string()),
            ("role", t(one(rng, &["经营者", "股东", "法定代表人"]))),
            ("capital", yuan(rng, 5000, 900_000)),
            ("status", t("存续")),
            ("founded_on", date(rng, 2005, 2025)),
        ]
    });
    put(4, age > 20, PROVINCE, "state_tax", rng, &|rng| {
        vec![
            ("taxpayer", format!("荆州{}商行", person.name.original())),
            ("tax_type", t("增值税")),
            ("period", month(rng)),
            ("declared_income", yuan(rng, 1000, 90000)),
            ("tax_paid", yuan(rng, 0, 3000)),
        ]
    });
    put(45, working, PROVINCE, "local_tax", rng, &|rng| {
        vec![
            ("income_type", t("工资薪金所得")),
            ("withholder", t(one(rng, &COMPANIES))),
            ("period", month(rng)),
            ("income", yuan(rng, 2000, 15000)),
            ("tax_paid", yuan(rng, 0, 900)),
        ]
    });
    put(30, age > 24, home, "real_estate", rng, &|rng| {
        vec![
            ("certificate_no", format!("鄂不动产权第{serial}号")),
            ("address", format!("{}{}号", one(rng, &STREETS), rng.u16(1..300))),
            ("use", t("住宅")),
            ("area", format!("{}.{:02}", rng.u8(45..150), rng.u8(..100))),
            ("ownership", t(one(rng, &["单独", "共同"]))),
            ("registered_on", date(rng, 1998, 2025)),
            ("mortgaged", t(yes_no(rng))),
        ]
    });
    put(5, age > 24, CITY, "real_estate_deal", rng, &|rng| {
        vec![
            ("contract_no", format!("HT{serial}")),
            ("deal_type", t(one(rng, &["买", "卖", "租"]))),
            ("date", date(rng, 2015, 2025)),
            ("amount", yuan(rng, 10000, 900_000)),
        ]
    });
    put(20, age > 20, CITY, "vehicle", rng, &|rng| {
        vec![
            ("plate", format!("鄂D{:05}", serial % 100_000)),
            ("plate_type", t("小型汽车")),
            ("model", t(one(rng, &["东风日产轩逸", "五菱宏光", "比亚迪秦"]))),
            ("vehicle_type", t("小型轿车")),
            ("use", t("非营运")),
            ("first_registered_on", date(rng, 2008, 2025)),
            ("status", t("正常")),
        ]
    });
    put(3, age > 20, home, "land_compensation", rng, &|rng| {
        vec![
            ("project", t("沙市机场路改造")),
            ("area", format!("{}.00", rng.u8(20..200))),
            ("amount", yuan(rng, 9000, 200_000)),
            ("paid_on", date(rng, 2015, 2025)),
        ]
    });
    put(95, person.spouse.is_some(), home, "marriage", rng, &|_| {
        // Both have one registration: what it says follows from the household alone.
        let mut shared = Rng::with_seed(u64::from(person.household));
        vec![
            ("event", t("结婚")),
            ("date", date(&mut shared, 2016, 2025)),
            (
                "spouse_id",
                person
                    .spouse
                    .as_ref()
                    .map(|number| number.as_str().to_owned())
                    .unwrap_or_default(),
            ),
            ("certificate_no", format!("J{home}-{:06}", person.household)),
        ]
    });
    put(4, age > 24 && person.spouse.is_none(), home, "marriage", rng, &|rng| {
        vec![
            ("event", t("离婚")),
            ("date", date(rng, 2000, 2025)),
            ("certificate_no", format!("L{home}-{serial}")),
        ]
    });
    put(2, age > 50, home, "death", rng, &|rng| {
        vec![("died_on", date(rng, 2024, 2025)), ("institution", t("荆州市殡仪馆"))]
    });
    put(5, true, home, "assistance", rng, &|rng| {
        vec![
            ("programme", t("最低生活保障")),
            ("monthly_amount", yuan(rng, 200, 900)),
            ("since", t("2025-01")),
            ("status", t("在享")),
        ]
    });
    put(2, working, CITY, "transport_operation", rng, &|rng| {
        vec![
            ("licence_no", format!("YS{serial}")),
            ("operation_type", t(one(rng, &["出租", "客运", "货运"]))),
            ("plate", format!("鄂D{:05}", serial % 100_000)),
            ("status", t("有效")),
        ]
    });
    put(1, age > 24, home, "family_planning", rng, &|rng| {
        vec![
            ("document_no", format!("SF{serial}")),
            ("date", date(rng, 2005, 2015)),
            ("amount", yuan(rng, 2000, 40000)),
            ("settled", t(yes_no(rng))),
        ]
    });
    put(90, (6..20).contains(&age), home, "education", rng, &|rng| {
        vec![
            ("school", t(one(rng, &["沙市中学", "荆州中学", "北京路第一小学"]))),
            ("school_type", t(one(rng, &["公办", "公办", "民办"]))),
            ("stage", t("中小学")),
            ("school_year", t("2026-2027")),
            ("tuition", yuan(rng, 0, 3000)),
        ]
    });
    put(6, age > 20, PROVINCE, "securities", rng, &|rng| {
        vec![
            ("institution", t("长江证券")),
            ("account", format!("A***{:04}", serial % 10_000)),
            ("market_value", yuan(rng, 0, 90000)),
            ("cash", yuan(rng, 0, 20000)),
            ("income_12m", yuan(rng, 0, 2000)),
        ]
    });
    put(12, age > 20, PROVINCE, "insurance_policy", rng, &|rng| {
        vec![
            ("policy_no", format!("P{serial}")),
            ("insurer", t("中国人寿")),
            ("product_type", t("终身寿险")),
            ("annual_premium", yuan(rng, 500, 9000)),
            ("cash_value", yuan(rng, 0, 50000)),
            ("from", date(rng, 2010, 2025)),
            ("status", t("有效")),
            ("role", t(one(rng, &["投保人", "被保险人"]))),
        ]
    });
    put(70, age > 16, PROVINCE, "bank_deposit", rng, &|rng| {
        vec![
            ("bank", t(one(rng, &BANKS))),
            ("account", format!("6222********{:04}", serial % 10_000)),
            ("currency", t("CNY")),
            ("balance", yuan(rng, 10, 60000)),
            ("inflow_12m", yuan(rng, 0, 80000)),
        ]
    });
    put(8, age > 24, PROVINCE, "bank_product", rng, &|rng| {
        vec![
            ("bank", t(one(rng, &BANKS))),
            ("product", t("稳健增利一号")),
            ("amount", yuan(rng, 10000, 200_000)),
            ("maturity", date(rng, 2026, 2028)),
        ]
    });
    Ok(())
}
