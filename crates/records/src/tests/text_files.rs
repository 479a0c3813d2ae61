//! CSV files as departments send them.

use super::common::{fields, good, number, number_of, read, refused, skipped, warned};
use crate::Code;
use proptest::prelude::*;

fn subsidy() -> String {
    format!(
        "序号,姓名,身份证号码,补贴项目,发放金额(元),发放日期,批次\n1,王芳,{},耕地补贴,300.50,2023-5-1,一\n",
        number(1)
    )
}

const SUBSIDY: &str = r#"{"amount":30050,"batch":"一","paid_on":"2023-05-01","programme":"耕地补贴"}"#;

fn utf16(text: &str, little: bool) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units
        .flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() })
        .collect()
}

#[test]
fn every_encoding_and_separator_says_the_same() {
    for separator in [",", ";", "\t"] {
        for ending in ["\n", "\r\n", "\r"] {
            let text = subsidy().replace(',', separator).replace('\n', ending);
            let marked = format!("\u{feff}{text}");
            for bytes in [
                text.clone().into_bytes(),
                marked.into_bytes(),
                encoding_rs::GBK.encode(&text).0.into_owned(),
                encoding_rs::GB18030.encode(&text).0.into_owned(),
                utf16(&text, true),
                utf16(&text, false),
            ] {
                let reading = good(&bytes, "subsidy");
                assert_eq!(reading.rows, 1);
                assert_eq!(fields(&reading, 0), SUBSIDY);
                let row = &reading.accepted[0];
                assert_eq!((row.row, row.name.original(), row.sheet.as_ref()), (2, "王芳", None));
                assert_eq!(row.identity.as_str(), number(1));
                assert_eq!(reading.ignored_columns, ["序号"]);
            }
        }
    }
}

#[test]
fn a_rare_character_of_gb18030_stays() {
    let text = subsidy().replace("王芳", "王𠮷");
    let reading = good(&encoding_rs::GB18030.encode(&text).0, "subsidy");
    assert_eq!(reading.accepted[0].name.original(), "王𠮷");
}

#[test]
fn rows_are_numbered_as_a_spreadsheet_shows_them() {
    let text = format!(
        "惠民补贴发放表,,,,\n\n姓名,公民身份号码,\"补贴\n项目\",金额,批次\n\n王芳,{},\"耕地\n补贴\",1,一\n,,,,\n李四,1,a,1,一\n",
        number(1)
    );
    let reading = good(text.as_bytes(), "subsidy");
    assert_eq!(reading.accepted[0].row, 5);
    assert_eq!(
        fields(&reading, 0),
        r#"{"amount":100,"batch":"一","paid_on":null,"programme":"耕地 补贴"}"#
    );
    assert_eq!(refused(&reading), [(7, Code::BadIdentityNumber)]);
    assert_eq!(reading.refused[0].column.as_deref(), Some("公民身份号码"));
}

#[test]
fn every_row_has_its_fate() {
    let head = "姓名,身份证号,补贴项目,金额,发放日期,批次";
    let row = |name: &str, number: &str, amount: &str, date: &str| format!("{name},{number},补贴,{amount},{date},一");
    let long = format!("{},{},{},1,2023-01-01,一", "王芳", number(2), "长".repeat(2000));
    let lines = [
        head.to_owned(),
        row("王芳", &number(1), "1", "2023-01-01"),
        row("王芳", &number(1), "1", "2023-1-1"),
        row("王芳、李四", &number(2), "1", "2023-01-01"),
        row("王芳", &format!("{}、{}", number(2), number(3)), "1", "2023-01-01"),
        row("王芳", "4.21002E+17", "1", "2023-01-01"),
        row("王芳", "421002198001010019", "1", "2023-01-01"),
        row("王芳", &number(2), "五百", "2023-01-01"),
        row("王芳", &number(2), "5美元", "2023-01-01"),
        row("王芳", &number(2), "1", "2023-02-30"),
        row("", &number(2), "1", "2023-01-01"),
        row("王芳", "", "1", "2023-01-01"),
        format!("{},\"1,5\",多", row("王芳", &number(2), "1", "2023-01-01")),
        "王芳,1".to_owned(),
        long,
        head.to_owned(),
        row("王\u{fffd}", &number(2), "1", "2023-01-01"),
        row("王芳", &number_of("991002", "19800101", 1), "1", "2023-01-01"),
        row("王芳", &number_of("429902", "19800101", 1), "1", "2023-01-01"),
        "合计,,,17,,".to_owned(),
        "制表人：王芳,,,审核：李四,,".to_owned(),
    ];
    let reading = good(lines.join("\n").as_bytes(), "subsidy");
    assert_eq!(reading.rows, 20);
    assert_eq!(
        refused(&reading),
        [
            (4, Code::SeveralPeople),
            (5, Code::SeveralPeople),
            (6, Code::LostDigits),
            (7, Code::BadIdentityNumber),
            (8, Code::BadAmount),
            (9, Code::BadUnit),
            (10, Code::BadDate),
            (11, Code::MissingField),
            (12, Code::MissingField),
            (13, Code::ColumnCount),
            (14, Code::ColumnCount),
            (15, Code::TooLong),
            (17, Code::Unreadable),
        ]
    );
    assert_eq!(
        skipped(&reading),
        [
            (Some(16), Code::HeaderRepeated),
            (Some(20), Code::TotalLine),
            (Some(21), Code::Footer)
        ]
    );
    assert_eq!(reading.duplicates[0].row, Some(3));
    assert_eq!(warned(&reading), [(Some(19), Code::UnknownDivision)]);
    for refused in &reading.refused {
        assert!(
            !refused.message.contains(|character: char| character.is_ascii_digit()) || refused.code == Code::BadDate
        );
        assert!(!refused.message.contains("王芳"));
    }
}

#[test]
fn units_scale_or_stop() {
    let money = |header: &str, value: &str| {
        let text = format!("姓名,身份证号,补贴项目,{header}\n王芳,{},补贴,\"{value}\"\n", number(1));
        read(text.as_bytes(), "subsidy").map(|reading| {
            reading
                .accepted
                .first()
                .map(|row| row.fields.get("amount").clone())
                .ok_or_else(|| reading.refused[0].code)
        })
    };
    let fen = |fen| Ok(Ok(sanku_catalogue::Value::Integer(fen)));
    for (header, value, expected) in [
        ("金额", "12,345.60元", 1_234_560),
        ("金额", "1.2万元", 1_200_000),
        ("金额", "￥300", 30_000),
        ("金额", "１２３", 12_300),
        ("金额", "(12.50)", -1250),
        ("金额（万元）", "3", 3_000_000),
        ("金额(元)", "3", 300),
        ("金额\n（单位：万元）", "1.23456", 1_234_560),
        ("金额万元", "3", 3_000_000),
        ("金额（万元）", "30000元", 3_000_000),
        ("amount", "0", 0),
    ] {
        let header = format!("\"{header}\"");
        assert_eq!(money(&header, value), fen(expected), "{header} {value}");
    }
    assert_eq!(money("金额", ""), Ok(Ok(sanku_catalogue::Value::Null)));
    for (value, code) in [
        ("1,23", Code::BadAmount),
        ("1.234", Code::BadAmount),
        ("$5", Code::BadUnit),
        ("5平方米", Code::BadUnit),
        ("-", Code::BadAmount),
        ("无", Code::BadAmount),
        ("90071992547409.92", Code::BadAmount),
        ("1E+5", Code::BadAmount),
    ] {
        assert_eq!(money("金额", value), Ok(Err(code)), "{value}");
    }
    assert_eq!(money("金额（美元）", "1").unwrap_err().code, Code::BadUnit);
    assert_eq!(money("金额（㎡）", "1").unwrap_err().code, Code::BadUnit);
    let above = format!(
        "惠民补贴,,单位：万元,\n姓名,身份证号,补贴项目,金额\n王芳,{},补贴,3\n",
        number(1)
    );
    assert_eq!(
        *good(above.as_bytes(), "subsidy").accepted[0].fields.get("amount"),
        sanku_catalogue::Value::Integer(3_000_000)
    );
}

#[test]
fn other_kinds_of_values_are_read() {
    let text = format!(
        "姓名,证件号码,权证号,坐落,建筑面积（㎡）,共有方式,份额,登记日期,抵押\n王芳,'{0},鄂1号,北京路,89.50平方米,共同共有,50%,２０２３年5月1日,否\n王芳,{0},鄂2号,,90,单独,1/3,45047,是\n王芳,{0},鄂3号,,1亩,,,,\n王芳,{0},鄂4号,,,,1,,\n",
        number(1)
    );
    let reading = good(text.as_bytes(), "real_estate");
    assert_eq!(
        fields(&reading, 0),
        r#"{"address":"北京路","area":8950,"certificate_no":"鄂1号","mortgaged":false,"ownership":"joint","registered_on":"2023-05-01","share_bp":5000,"use":null}"#
    );
    assert_eq!(
        fields(&reading, 1),
        r#"{"address":null,"area":9000,"certificate_no":"鄂2号","mortgaged":true,"ownership":"sole","registered_on":"2023-05-01","share_bp":3333,"use":null}"#
    );
    assert_eq!(refused(&reading), [(4, Code::BadUnit), (5, Code::BadUnit)]);

    let months = format!(
        "姓名,证件号码,险种,缴费单位,最近缴费月,累计月数\n王芳,{0},养老保险,甲,202305,36个月\n王芳,{0},医疗,甲,2023年5月,\n王芳,{0},失业,甲,2023-5-3,7\n王芳,{0},工伤,甲,2023.1,7\n王芳,{0},婚姻,甲,,\n",
        number(1)
    );
    let reading = good(months.as_bytes(), "social_insurance");
    for place in 0..3 {
        assert_eq!(
            *reading.accepted[place].fields.get("last_paid_month"),
            sanku_catalogue::Value::Text("2023-05".to_owned())
        );
    }
    assert_eq!(refused(&reading), [(5, Code::BadDate), (6, Code::Unreadable)]);
}

#[test]
fn a_balance_carries_its_own_date() {
    let text = format!(
        "姓名,身份证号,银行,账号,币种,余额,日期\n王芳,{0},农行,6222,人民币,1,2023-05-01\n王芳,{0},农行,6222,人民币,2,\n",
        number(1)
    );
    let reading = good(text.as_bytes(), "bank_deposit");
    assert_eq!(reading.accepted[0].as_of.unwrap().to_string(), "2023-05-01");
    assert_eq!(reading.accepted[1].as_of, None);
}

#[test]
fn headers_are_found_or_the_file_is_refused() {
    let code = |text: &str| read(text.as_bytes(), "subsidy").unwrap_err().code;
    assert_eq!(code("姓名,身份证号,证件号码,补贴项目\n"), Code::AmbiguousHeader);
    assert_eq!(code("姓名,身份证号,金额,发放金额,批次\n"), Code::AmbiguousHeader);
    assert_eq!(code("姓名,金额\n王芳,1\n"), Code::MissingHeader);
    assert_eq!(code("身份证号,金额\n1,1\n"), Code::MissingHeader);
    assert_eq!(code("姓名,身份证号,号牌\n"), Code::MissingHeader);
    assert_eq!(code("\n\n"), Code::MissingHeader);
    assert_eq!(code(""), Code::UnsupportedFormat);
    let english = format!("id_number,name,programme,amount\n{},王芳,补贴,1\n", number(1));
    assert_eq!(good(english.as_bytes(), "subsidy").accepted_count, 1);
    let company = format!(
        "姓名,身份证号,企业名称,统一社会信用代码,角色\n王芳,{},甲,91350100M000100Y43,股东\n王芳,{0},甲,91350100M000100Y44,股东\n",
        number(1)
    );
    let reading = good(company.as_bytes(), "business_interest");
    assert_eq!(reading.accepted_count, 1);
    assert_eq!(refused(&reading), [(3, Code::BadCreditCode)]);
}

#[test]
fn what_a_quotation_mark_swallows_is_not_lost() {
    let text = format!("{}\"李四,{},补贴,1,2023-01-01,一\n", subsidy(), number(2));
    assert_eq!(read(text.as_bytes(), "subsidy").unwrap_err().code, Code::Unreadable);
}

#[test]
fn bad_bytes_refuse_their_row_alone() {
    let mut bytes = subsidy().into_bytes();
    for sequence in 2..6 {
        bytes.extend(format!("2,李四,{},补贴,1,2023-01-01,", number(sequence)).bytes());
        bytes.extend(if sequence == 3 { b"\xff\n".as_slice() } else { b"x\n" });
    }
    let reading = good(&bytes, "subsidy");
    assert_eq!(refused(&reading), [(4, Code::Unreadable)]);
    assert_eq!(reading.accepted_count, 4);
}

#[test]
fn hostile_text_is_refused() {
    let wide = format!("{}\n", ",".repeat(1_000_000));
    assert_eq!(read(wide.as_bytes(), "subsidy").unwrap_err().code, Code::OverLimit);
    let long = format!("姓名,身份证号,批次\n\"{}", "a".repeat(4 << 20));
    assert_eq!(read(long.as_bytes(), "subsidy").unwrap_err().code, Code::OverLimit);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        if let Ok(reading) = read(&bytes, "subsidy") {
            prop_assert!(reading.adds_up());
        }
    }

    #[test]
    fn any_table_adds_up(cells in proptest::collection::vec("[王芳0-9,\"\n合计\u{fffd};. ]{0,20}", 0..20)) {
        let text = format!("姓名,身份证号,补贴项目,金额\n王芳,{},补贴,3\n{}", number(1), cells.join(","));
        if let Ok(reading) = read(text.as_bytes(), "subsidy") {
            prop_assert!(reading.adds_up());
            prop_assert!(reading.rows >= 1);
        }
    }
}
