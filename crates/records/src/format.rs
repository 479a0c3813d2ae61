//! What a file is, by its first bytes: a workbook, text, or something that is named and refused.

use crate::{Code, Unreadable};

/// What can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// An archive: perhaps xlsx.
    Archive,
    /// Text: perhaps CSV.
    Text,
}

pub(crate) fn seems(what: &str, english: &str) -> Unreadable {
    Unreadable::new(
        Code::UnsupportedFormat,
        format!(
            "这个文件像是{what}，请用表格软件打开后另存为 xlsx 或 CSV this seems to be {english}; open it in a spreadsheet program and save it as xlsx or CSV"
        ),
    )
}

/// Signatures of what departments send by mistake.
const KNOWN: [(&[u8], &str, &str); 19] = [
    (b"%PDF", "PDF 文件", "a PDF document"),
    (b"{\\rtf", "RTF 文档", "an RTF document"),
    (b"\x89PNG", "图片（PNG）", "an image (PNG)"),
    (b"\xff\xd8\xff", "图片（JPEG）", "an image (JPEG)"),
    (b"GIF8", "图片（GIF）", "an image (GIF)"),
    (b"BM", "图片（BMP）", "an image (BMP)"),
    (b"II*\0", "图片（TIFF）", "an image (TIFF)"),
    (b"MM\0*", "图片（TIFF）", "an image (TIFF)"),
    (b"RIFF", "图片或音频", "an image or sound (RIFF)"),
    (b"Rar!", "压缩包（rar），请先解压", "an archive (rar); unpack it first"),
    (
        b"7z\xbc\xaf",
        "压缩包（7z），请先解压",
        "an archive (7z); unpack it first",
    ),
    (
        b"\x1f\x8b",
        "压缩包（gz），请先解压",
        "an archive (gz); unpack it first",
    ),
    (b"BZh", "压缩包（bz2），请先解压", "an archive (bz2); unpack it first"),
    (b"SQLite format 3", "数据库文件", "a database"),
    (b"\x7fELF", "程序", "a program"),
    (b"MZ", "程序", "a program"),
    (b"\x09\x08", "旧版 Excel 文件（xls）", "an old Excel file (xls)"),
    (b"\x09\x04", "旧版 Excel 文件（xls）", "an old Excel file (xls)"),
    (b"\x09\x00\x04", "旧版 Excel 文件（xls）", "an old Excel file (xls)"),
];

/// Judges the beginning of a file (some kilobytes).
pub(crate) fn judge(head: &[u8]) -> Result<Format, Unreadable> {
    if head.is_empty() {
        return Err(Unreadable::new(
            Code::UnsupportedFormat,
            "文件是空的，请重新导出 the file is empty; export it again",
        ));
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Format::Archive);
    }
    if head.starts_with(b"\xd0\xcf\x11\xe0") {
        return Err(compound(head));
    }
    for (mark, what, english) in KNOWN {
        // Two letters alone begin many a header: only what is no text is taken for such a file.
        if head.starts_with(mark) && (mark.len() > 2 || head.contains(&0)) {
            return Err(seems(what, english));
        }
    }
    let wide = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    if wide {
        return Ok(Format::Text);
    }
    markup(head)?;
    if head.contains(&0) {
        let odd = head.iter().skip(1).step_by(2).filter(|byte| **byte == 0).count();
        let even = head.iter().step_by(2).filter(|byte| **byte == 0).count();
        return Err(if odd.max(even) * 8 > head.len() && odd.min(even) * 4 < odd.max(even) {
            seems("没有标记的 UTF-16 文本", "UTF-16 text without its mark")
        } else {
            seems("二进制文件", "a binary file")
        });
    }
    Ok(Format::Text)
}

/// What an OLE compound file holds, by the names in its directory.
fn compound(head: &[u8]) -> Unreadable {
    let holds = |name: &str| {
        let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        memchr::memmem::find(head, &wide).is_some()
    };
    if holds("EncryptedPackage") {
        seems(
            "加了密码的工作簿，请去掉密码",
            "a workbook with a password; remove the password",
        )
    } else if holds("WordDocument") {
        seems("旧版 Word 文档（doc）", "an old Word document (doc)")
    } else {
        seems("旧版 Excel 文件（xls）", "an old Excel file (xls)")
    }
}

/// Markup and data formats that are text but no table.
fn markup(head: &[u8]) -> Result<(), Unreadable> {
    let text = String::from_utf8_lossy(head).to_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let begins = |marks: &[&str]| marks.iter().any(|mark| text.starts_with(mark));
    if begins(&[
        "<html",
        "<!doctype html",
        "<table",
        "<head",
        "<meta",
        "<style",
        "<body",
        "<div",
    ]) || (text.starts_with('<') && text.contains("<html"))
    {
        Err(seems(
            "网页表格（改了扩展名的 HTML）",
            "a web page's table (HTML under another name)",
        ))
    } else if begins(&["mime-version:"]) {
        Err(seems("单个文件网页（mht）", "a web archive (mht)"))
    } else if text.starts_with('<') && text.contains("urn:schemas-microsoft-com:office:spreadsheet") {
        Err(seems("XML 表格（2003 版）", "an XML spreadsheet (2003)"))
    } else if begins(&["<?xml", "<!doctype", "<!--"]) {
        Err(seems("XML 文件", "an XML file"))
    } else if begins(&["{\"", "{\n", "{\r", "{ ", "[{", "[\n", "[["]) {
        Err(seems("JSON 文件", "a JSON file"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_departments_send_by_mistake_is_named() {
        let mut old_excel = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
        old_excel.resize(600, 0);
        let mut locked = old_excel.clone();
        locked.extend("EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes));
        for (bytes, word) in [
            (b"%PDF-1.7".as_slice(), "PDF"),
            (b"\x89PNG\r\n\x1a\n", "PNG"),
            (b"<html><table><tr><td>\xe5\xa7\x93", "HTML"),
            (b"<?xml version=\"1.0\"?><a/>", "XML"),
            (b"[{\"name\":1}]", "JSON"),
            (b"Rar!\x1a\x07", "rar"),
            (b"a\0b\0c\0d\0", "UTF-16"),
            (b"a,b\n\0\0\0\0\0\0\0\0", "binary"),
            (&old_excel, "xls"),
            (&locked, "password"),
        ] {
            let refused = judge(bytes).unwrap_err();
            assert_eq!(refused.code, Code::UnsupportedFormat);
            assert!(refused.message.contains(word), "{}", refused.message);
            assert!(refused.message.contains("xlsx"), "{}", refused.message);
        }
        assert_eq!(judge("姓名,证件号码".as_bytes()), Ok(Format::Text));
        assert_eq!(judge(b"BMW,1"), Ok(Format::Text));
    }
}
