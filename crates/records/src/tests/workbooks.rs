//! Workbooks: as spreadsheet programs write them, and as an attacker does.

use crate::Code;
use proptest::prelude::*;
use rust_xlsxwriter::{Format, Formula, Workbook, Worksheet};

use super::common::{archive, fields, good, number, one_sheet, read, refused, row, sheet, skipped, warned};

const HEAD: [&str; 6] = ["姓名", "身份证号", "补贴项目", "金额（元）", "发放日期", "批次"];

fn written(fill: impl FnOnce(&mut Workbook)) -> Vec<u8> {
    let mut workbook = Workbook::new();
    fill(&mut workbook);
    workbook.save_to_buffer().unwrap()
}

fn texts(sheet: &mut Worksheet, row: u32, texts: &[&str]) {
    for (column, text) in (0..).zip(texts) {
        sheet.write(row, column, *text).unwrap();
    }
}

fn header() -> String {
    row(1, &HEAD)
}

#[test]
fn a_department_s_workbook_is_read_as_it_is_shown() {
    let bytes = written(|workbook| {
        let sheet = workbook.add_worksheet();
        let date = Format::new().set_num_format("yyyy\"年\"m\"月\"d\"日\"");
        sheet.merge_range(0, 0, 0, 5, "惠民补贴发放表", &Format::new()).unwrap();
        texts(sheet, 3, &HEAD);
        texts(sheet, 4, &["王芳", &number(1), "耕地补贴"]);
        sheet.write(4, 3, 1234.56).unwrap();
        sheet.write_with_format(4, 4, 45_047, &date).unwrap();
        sheet.write(4, 5, 3).unwrap();
        texts(sheet, 5, &["王芳", "", "耕地补贴"]);
        sheet.write(5, 1, 421_002_198_001_010_019.0).unwrap();
        texts(sheet, 6, &["李四", &number(2), "耕地补贴"]);
        sheet.write(6, 4, 20_230_501).unwrap();
        sheet.write_formula(6, 3, Formula::new("=1+1").set_result("2")).unwrap();
        sheet.set_row_hidden(6).unwrap();
        texts(sheet, 7, &["合计", "", "", "1236.56"]);
        texts(sheet, 8, &["制表人：赵六"]);
    });
    let reading = good(&bytes, "subsidy");
    assert_eq!(
        fields(&reading, 0),
        r#"{"amount":123456,"batch":"3","paid_on":"2023-05-01","programme":"耕地补贴"}"#
    );
    assert_eq!(
        fields(&reading, 1),
        r#"{"amount":200,"batch":null,"paid_on":"2023-05-01","programme":"耕地补贴"}"#
    );
    assert_eq!(
        (reading.accepted[1].row, reading.accepted[1].sheet.as_deref()),
        (7, Some("Sheet1"))
    );
    assert_eq!(refused(&reading), [(6, Code::LostDigits)]);
    assert_eq!(warned(&reading), [(Some(7), Code::HiddenRow)]);
    assert_eq!(skipped(&reading), [(Some(8), Code::TotalLine), (Some(9), Code::Footer)]);
}

#[test]
fn a_merge_lends_its_value_to_every_row_and_a_blank_does_not() {
    let bytes = written(|workbook| {
        let sheet = workbook.add_worksheet();
        texts(sheet, 0, &HEAD);
        let plain = Format::new();
        sheet.merge_range(1, 0, 3, 0, "王芳", &plain).unwrap();
        sheet.merge_range(1, 1, 3, 1, &number(1), &plain).unwrap();
        for line in 1..4 {
            sheet.write(line, 2, format!("补贴{line}")).unwrap();
        }
        sheet.write(4, 2, "补贴4").unwrap();
        sheet.merge_range(5, 0, 9, 0, "李四", &plain).unwrap();
        sheet.write(5, 1, number(2)).unwrap();
        sheet.write(5, 2, "补贴").unwrap();
    });
    let reading = good(&bytes, "subsidy");
    assert_eq!(reading.accepted_count, 4);
    assert!(
        reading.accepted[..3]
            .iter()
            .all(|row| row.identity.as_str() == number(1))
    );
    assert_eq!(refused(&reading), [(5, Code::MissingField)]);
    assert_eq!(reading.rows, 5);
}

#[test]
fn a_header_of_two_rows_is_one_header() {
    let bytes = written(|workbook| {
        let sheet = workbook.add_worksheet();
        let plain = Format::new();
        sheet.merge_range(0, 0, 1, 0, "姓名", &plain).unwrap();
        sheet.merge_range(0, 1, 1, 1, "身份证号", &plain).unwrap();
        sheet.merge_range(0, 2, 0, 3, "补贴信息", &plain).unwrap();
        sheet.write(1, 2, "补贴项目").unwrap();
        sheet.write(1, 3, "金额").unwrap();
        texts(sheet, 2, &["王芳", &number(1), "补贴", "5"]);
    });
    // 补贴信息 alone is no key column: the lower half brings it.
    let reading = good(&bytes, "subsidy");
    assert_eq!(
        fields(&reading, 0),
        r#"{"amount":500,"batch":null,"paid_on":null,"programme":"补贴"}"#
    );
}

#[test]
fn sheets_are_all_read_or_named() {
    let bytes = written(|workbook| {
        for (place, name) in ["一月", "说明", "二月"].into_iter().enumerate() {
            let sheet = workbook.add_worksheet().set_name(name).unwrap();
            if place == 1 {
                texts(sheet, 0, &["本表由财政局填报"]);
            } else {
                texts(sheet, 0, &HEAD);
                texts(sheet, 1, &["王芳", &number(1), name, "1"]);
            }
            if place == 2 {
                sheet.set_hidden(true);
            }
        }
    });
    let reading = good(&bytes, "subsidy");
    let sheets: Vec<_> = reading
        .accepted
        .iter()
        .map(|row| row.sheet.as_deref().unwrap())
        .collect();
    assert_eq!(sheets, ["一月", "二月"]);
    let warned: Vec<_> = reading
        .warnings
        .iter()
        .map(|notice| (notice.sheet.as_deref().unwrap(), notice.code))
        .collect();
    assert_eq!(warned, [("说明", Code::SheetNotRead), ("二月", Code::HiddenSheet)]);
}

#[test]
fn days_count_from_the_epoch_that_the_workbook_names() {
    let rows = format!(
        "{}<row r=\"2\"><c t=\"inlineStr\"><is><t>王芳</t></is></c><c t=\"inlineStr\"><is><t>{}</t></is></c><c t=\"inlineStr\"><is><t>补贴</t></is></c><c/><c><v>43585</v></c></row>",
        header(),
        number(1)
    );
    let book = r#"<workbook><workbookPr date1904="1"/><sheets><sheet name="a" r:id="rId1"/></sheets></workbook>"#;
    let bytes = archive(&[
        ("xl/workbook.xml", book.as_bytes().to_vec()),
        ("xl/worksheets/sheet1.xml", sheet(&rows)),
    ]);
    assert!(fields(&good(&bytes, "subsidy"), 0).contains("2023-05-01"));
}

#[test]
fn cells_that_hold_no_value_refuse_their_row() {
    let cell = |cell: &str| {
        format!(
            "<row><c t=\"inlineStr\"><is><t>王芳</t></is></c><c t=\"inlineStr\"><is><t>{}</t></is></c><c t=\"inlineStr\"><is><t>补贴</t></is></c>{cell}</row>",
            number(1)
        )
    };
    let rows = [
        header(),
        cell("<c t=\"e\"><v>#N/A</v></c>"),
        cell("<c><f>1+1</f></c>"),
        cell("<c><v>1E+30</v></c>"),
        cell("<c><v>abc</v></c>"),
        cell("<c t=\"b\"><v>1</v></c>"),
    ]
    .concat();
    let reading = good(&one_sheet(&rows), "subsidy");
    assert_eq!(
        refused(&reading),
        [
            (2, Code::Unreadable),
            (3, Code::Unreadable),
            (4, Code::BadAmount),
            (5, Code::Unreadable),
            (6, Code::BadAmount)
        ]
    );
}

#[test]
fn rich_text_and_references_are_read_without_reading_aids() {
    let rows = format!(
        "{}<row><c t=\"inlineStr\"><is><r><t>王</t></r><r><t>芳</t></r><rPh><t>wang</t></rPh></is></c><c t=\"inlineStr\"><is><t>{}</t></is></c><c t=\"inlineStr\"><is><t>A&amp;B&#x4e00;_x0041_</t></is></c></row>",
        header(),
        number(1)
    );
    let reading = good(&one_sheet(&rows), "subsidy");
    assert_eq!(reading.accepted[0].name.original(), "王芳");
    assert!(fields(&reading, 0).contains("A&B一A"));
}

#[test]
fn an_archive_that_is_no_workbook_is_named() {
    let named = |name: &str| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        let refused = read(&zip.finish().unwrap().into_inner(), "subsidy").unwrap_err();
        assert_eq!(refused.code, Code::UnsupportedFormat);
        refused.message
    };
    assert!(named("word/document.xml").contains("docx"));
    assert!(named("content.xml").contains("ods"));
    assert!(named("OFD.xml").contains("OFD"));
    assert!(named("xl/workbook.bin").contains("xlsb"));
    assert!(named("a.csv").contains("zip"));
}

/// What an attacker sends ends in this refusal.
fn attacked(bytes: &[u8]) -> Code {
    read(bytes, "subsidy").unwrap_err().code
}

#[test]
fn a_bomb_is_refused_on_what_it_unpacks_to() {
    let blanks = vec![b' '; 80 << 20];
    assert_eq!(
        attacked(&archive(&[("xl/worksheets/sheet1.xml", blanks)])),
        Code::OverLimit
    );
    let rows = format!("{}{}", header(), "<row/>".repeat(7 << 20));
    assert_eq!(attacked(&one_sheet(&rows)), Code::OverLimit);
    let strings = format!("<sst>{}</sst>", "<si><t>aaaaaaaa</t></si>".repeat(3 << 20));
    let bytes = archive(&[
        ("xl/worksheets/sheet1.xml", sheet("")),
        ("xl/sharedStrings.xml", strings.into_bytes()),
    ]);
    assert_eq!(attacked(&bytes), Code::OverLimit);
}

#[test]
fn a_claimed_size_is_not_believed() {
    let mut bytes = one_sheet(&format!("{}{}", header(), row(2, &["王芳", &number(1), "补贴"])));
    // Every directory entry claims four gigabytes, or nothing.
    for claim in [[0xf0, 0xff, 0xff, 0xff], [0, 0, 0, 0]] {
        let mut at = 0;
        while let Some(found) = memchr::memmem::find(&bytes[at..], b"PK\x01\x02") {
            at += found;
            bytes[at + 24..at + 28].copy_from_slice(&claim);
            at += 4;
        }
        match read(&bytes, "subsidy") {
            Ok(reading) => assert_eq!(reading.accepted_count, 1),
            Err(refused) => assert_eq!(refused.code, Code::Unreadable),
        }
    }
}

#[test]
fn counts_and_places_that_are_claimed_are_not_believed() {
    let claims = format!(
        "<worksheet><dimension ref=\"A1:XFD1048576\"/><sheetData>{}{}</sheetData></worksheet>",
        header(),
        row(2, &["王芳", &number(1), "补贴"])
    );
    let strings = b"<sst count=\"4000000000\" uniqueCount=\"4000000000\"/>".to_vec();
    let bytes = archive(&[
        ("xl/worksheets/sheet1.xml", claims.into_bytes()),
        ("xl/sharedStrings.xml", strings),
    ]);
    assert_eq!(good(&bytes, "subsidy").accepted_count, 1);
    let far = |row: &str| attacked(&one_sheet(&format!("{}{row}", header())));
    assert_eq!(far("<row r=\"4000000000\"/>"), Code::OverLimit);
    assert_eq!(far("<row r=\"99999999999999999999999\"/>"), Code::Unreadable);
    assert_eq!(far("<row r=\"2\"><c r=\"XFD2\"><v>1</v></c></row>"), Code::OverLimit);
    assert_eq!(
        far("<row r=\"2\"><c r=\"ZZZZZZZZ2\"><v>1</v></c></row>"),
        Code::Unreadable
    );
    assert_eq!(
        far("<row r=\"2\"><c r=\"A2\" t=\"s\"><v>77</v></c></row>"),
        Code::Unreadable
    );
    assert_eq!(far("<row r=\"1\"><c><v>1</v></c></row>"), Code::Unreadable);
    let wide = format!("<row r=\"2\">{}</row>", "<c><v>1</v></c>".repeat(1_000_000));
    assert_eq!(far(&wide), Code::OverLimit);
}

#[test]
fn entities_and_depth_are_refused() {
    let laughs = "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]><worksheet>&b;</worksheet>";
    assert_eq!(
        attacked(&archive(&[("xl/worksheets/sheet1.xml", laughs.as_bytes().to_vec())])),
        Code::Unreadable
    );
    let unknown = row(2, &["&b;"]);
    assert_eq!(
        attacked(&one_sheet(&format!("{}{unknown}", header()))),
        Code::Unreadable
    );
    let deep = "<a>".repeat(1_000_000);
    assert_eq!(attacked(&one_sheet(&deep)), Code::OverLimit);
    let attributes: String = (0..150_000).map(|place| format!(" a{place}=\"\"")).collect();
    let cell = format!("<row r=\"2\"{attributes}/>");
    assert!(matches!(
        attacked(&one_sheet(&format!("{}{cell}", header()))),
        Code::OverLimit
    ));
    let value = format!("<row r=\"2\"><c><v>{}</v></c></row>", "1".repeat(3 << 20));
    assert_eq!(attacked(&one_sheet(&format!("{}{value}", header()))), Code::OverLimit);
}

#[test]
fn merges_do_not_multiply() {
    let merges: String = (0..100_000)
        .map(|place| format!("<mergeCell ref=\"A{}:ALL1048576\"/>", place % 3 + 1))
        .collect();
    let rows: String = (2..2000).map(|place| row(place, &["王芳", "1", "补贴"])).collect();
    let part = format!(
        "<worksheet><sheetData>{}{rows}</sheetData><mergeCells>{merges}</mergeCells></worksheet>",
        header()
    );
    let reading = good(&archive(&[("xl/worksheets/sheet1.xml", part.into_bytes())]), "subsidy");
    assert_eq!(reading.refused.len(), 1998);
    let many: String = (0..300_000).map(|_| "<mergeCell ref=\"A1:A2\"/>").collect();
    let part = format!("<worksheet><sheetData/>{many}</worksheet>");
    assert_eq!(
        attacked(&archive(&[("xl/worksheets/sheet1.xml", part.into_bytes())])),
        Code::OverLimit
    );
}

#[test]
fn one_part_is_not_read_as_many_sheets() {
    let sheets: String = (0..200)
        .map(|place| format!("<sheet name=\"{place}\" r:id=\"rId1\"/>"))
        .collect();
    let book = format!("<workbook><sheets>{sheets}</sheets></workbook>");
    let bytes = archive(&[
        ("xl/workbook.xml", book.into_bytes()),
        ("xl/worksheets/sheet1.xml", sheet(&header())),
    ]);
    assert_eq!(attacked(&bytes), Code::Unreadable);
}

#[test]
fn too_many_entries_are_refused_before_they_are_kept() {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for place in 0..5000 {
        zip.start_file(format!("{place}"), zip::write::SimpleFileOptions::default())
            .unwrap();
    }
    assert_eq!(attacked(&zip.finish().unwrap().into_inner()), Code::OverLimit);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_damaged_workbook_is_read_or_refused(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut bytes = one_sheet(&format!("{}{}", header(), row(2, &["王芳", &number(1), "补贴"])));
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(reading) = read(&bytes, "subsidy") {
            prop_assert!(reading.adds_up());
        }
    }

    #[test]
    fn any_sheet_adds_up(xml in "(<row>|</row>|<c>|<c t=\"s\">|</c>|<v>|1|</v>|<is>|<t>|</t>|合计|&amp;|<mergeCell ref=\"A1:A3\"/>){0,40}") {
        let rows = format!("{}{}{xml}", header(), row(2, &["王芳", &number(1), "补贴"]));
        if let Ok(reading) = read(&one_sheet(&rows), "subsidy") {
            prop_assert!(reading.adds_up());
        }
    }
}

#[test]
fn hidden_columns_of_shares_and_percent_formats_are_read() {
    let bytes = written(|workbook| {
        let sheet = workbook.add_worksheet();
        texts(sheet, 0, &["姓名", "身份证号", "权证号", "份额"]);
        texts(sheet, 1, &["王芳", &number(1), "鄂1号"]);
        sheet
            .write_with_format(1, 3, 0.5, &Format::new().set_num_format("0.00%"))
            .unwrap();
        texts(sheet, 2, &["王芳", &number(1), "鄂2号"]);
        sheet.write(2, 3, 0.5).unwrap();
        sheet.set_column_hidden(3).unwrap();
    });
    let reading = good(&bytes, "real_estate");
    assert_eq!(
        *reading.accepted[0].fields.get("share_bp"),
        sanku_catalogue::Value::Integer(5000)
    );
    // Half, or half of one per cent: nobody can say.
    assert_eq!(refused(&reading), [(3, Code::BadUnit)]);
}

#[test]
fn long_numbers_in_text_fields_have_lost_digits_too() {
    let bytes = written(|workbook| {
        let sheet = workbook.add_worksheet();
        texts(sheet, 0, &["姓名", "身份证号", "银行", "账号", "币种", "余额"]);
        texts(sheet, 1, &["王芳", &number(1), "农行"]);
        sheet.write(1, 3, 6_222_020_000_000_008_841.0).unwrap();
        texts(sheet, 2, &["王芳", &number(1), "农行", "6.22202E+18"]);
        texts(sheet, 3, &["王芳", &number(1), "农行", "6222020000000008841"]);
    });
    let reading = good(&bytes, "bank_deposit");
    assert_eq!(refused(&reading), [(2, Code::LostDigits), (3, Code::LostDigits)]);
    assert_eq!(reading.accepted_count, 1);
}

#[test]
fn serial_days_follow_the_calendar_that_a_spreadsheet_believes_in() {
    let rows = |serial: &str| {
        format!(
            "{}<row r=\"2\"><c t=\"inlineStr\"><is><t>王芳</t></is></c><c t=\"inlineStr\"><is><t>{}</t></is></c><c t=\"inlineStr\"><is><t>补贴</t></is></c><c/><c><v>{serial}</v></c></row>",
            header(),
            number(1)
        )
    };
    for (serial, day) in [
        ("1", "1900-01-01"),
        ("59", "1900-02-28"),
        ("61", "1900-03-01"),
        ("45047.75", "2023-05-01"),
    ] {
        let reading = good(&one_sheet(&rows(serial)), "subsidy");
        assert!(fields(&reading, 0).contains(day), "{serial}");
    }
    for serial in ["60", "0", "-5", "3000000"] {
        let reading = good(&one_sheet(&rows(serial)), "subsidy");
        assert_eq!(refused(&reading), [(2, Code::BadDate)], "{serial}");
    }
}
