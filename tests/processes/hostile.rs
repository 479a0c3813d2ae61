//! Hostile files through the real program: each ends in a clear refusal, leaves nothing behind, and holds little memory.
//!
//! The table with seconds and memory: `cargo test --release -p sanku --test processes hostile -- --nocapture`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use zip::write::SimpleFileOptions;

use crate::rig::{run, sanku};

const HEAD: &str = "姓名,身份证号,号牌,号牌种类\n";
/// The most that the program may hold while it reads a hostile file.
const MEMORY: u64 = 100 << 20;

/// A workbook with one sheet: `before`, then `piece` so many times, then `after`; strings likewise.
struct Book {
    sheet: (String, String, usize, String),
    strings: (String, String, usize, String),
}

impl Book {
    fn rows(piece: &str, times: usize) -> Self {
        let head: String = HEAD
            .trim()
            .split(',')
            .map(|cell| format!("<c t=\"inlineStr\"><is><t>{cell}</t></is></c>"))
            .collect();
        Self {
            sheet: (
                format!("<worksheet><sheetData><row r=\"1\">{head}</row>"),
                piece.to_owned(),
                times,
                "</sheetData></worksheet>".to_owned(),
            ),
            strings: ("<sst>".to_owned(), String::new(), 0, "</sst>".to_owned()),
        }
    }

    fn write(&self, path: &Path) {
        let mut archive = zip::ZipWriter::new(std::io::BufWriter::new(std::fs::File::create(path).unwrap()));
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .compression_level(Some(1))
            .large_file(true);
        let fixed = [
            ("[Content_Types].xml", "<Types/>"),
            (
                "xl/workbook.xml",
                "<workbook xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\"><sheets><sheet name=\"一\" sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>",
            ),
            (
                "xl/_rels/workbook.xml.rels",
                "<Relationships><Relationship Id=\"r1\" Target=\"worksheets/sheet1.xml\"/></Relationships>",
            ),
        ];
        for (name, text) in fixed {
            archive.start_file(name, options).unwrap();
            archive.write_all(text.as_bytes()).unwrap();
        }
        for (name, (before, piece, times, after)) in [
            ("xl/sharedStrings.xml", &self.strings),
            ("xl/worksheets/sheet1.xml", &self.sheet),
        ] {
            archive.start_file(name, options).unwrap();
            archive.write_all(before.as_bytes()).unwrap();
            let many = 1 + (1 << 16) / piece.len().max(1);
            let chunk = piece.repeat(many);
            for _ in 0..times / many {
                archive.write_all(chunk.as_bytes()).unwrap();
            }
            archive.write_all(piece.repeat(times % many).as_bytes()).unwrap();
            archive.write_all(after.as_bytes()).unwrap();
        }
        archive.finish().unwrap().flush().unwrap();
    }
}

/// A text: `before`, then `piece` so many times.
fn text(path: &Path, before: &str, piece: &[u8], times: usize) {
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    out.write_all(before.as_bytes()).unwrap();
    let chunk = piece.repeat(4096);
    for _ in 0..times / 4096 {
        out.write_all(&chunk).unwrap();
    }
    out.write_all(&piece.repeat(times % 4096)).unwrap();
    out.flush().unwrap();
}

/// Each file with the codes that its refusal may bear.
fn corpus(place: &Path) -> Vec<(PathBuf, &'static [&'static str])> {
    let mut all: Vec<(PathBuf, &'static [&'static str])> = Vec::new();
    let mut add = |name: &str, codes: &'static [&'static str], make: &dyn Fn(&Path)| {
        let path = place.join(name);
        make(&path);
        all.push((path, codes));
    };
    // A debug build reads slowly: the same files, an eighth of the length.
    let less = if cfg!(debug_assertions) { 8 } else { 1 };
    let limit: &[&str] = &["over_limit"];
    let bad: &[&str] = &["unreadable", "unsupported_format", "missing_header", "over_limit"];
    add("blanks.xlsx", limit, &|path| Book::rows(" ", 700 << 20).write(path));
    add("empty-rows.xlsx", limit, &|path| {
        Book::rows("<row/>", 20_000_000).write(path)
    });
    add("million-columns.xlsx", limit, &|path| {
        let mut book = Book::rows("<c><v>1</v></c>", 1_000_000);
        book.sheet.0 += "<row r=\"2\">";
        book.sheet.3 = format!("</row>{}", book.sheet.3);
        book.write(path);
    });
    add("shared-strings.xlsx", limit, &|path| {
        let mut book = Book::rows("", 0);
        book.strings.1 = "<si><t>甲乙丙丁</t></si>".to_owned();
        book.strings.2 = 9_000_000;
        book.write(path);
    });
    add("one-string.xlsx", limit, &|path| {
        let mut book = Book::rows("", 0);
        book.strings = (
            "<sst><si><t>".to_owned(),
            "a".to_owned(),
            600 << 20,
            "</t></si></sst>".to_owned(),
        );
        book.write(path);
    });
    add("deep.xlsx", limit, &|path| Book::rows("<a>", 30_000_000).write(path));
    add("junk-rows.xlsx", limit, &|path| {
        Book::rows("<row><c><v>1</v></c><c><v>2</v></c></row>", 2_500_000).write(path)
    });
    add("comment.xlsx", bad, &|path| {
        let mut book = Book::rows("-a", 300 << 20);
        book.sheet.0 += "<!--";
        book.sheet.3 = format!("-->{}", book.sheet.3);
        book.write(path);
    });
    add("entities.xlsx", bad, &|path| {
        let mut book = Book::rows("", 0);
        book.sheet.0 = "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]><worksheet>&b;".to_owned();
        book.sheet.3 = "</worksheet>".to_owned();
        book.write(path);
    });
    add("claims.xlsx", limit, &|path| {
        let mut book = Book::rows("<row r=\"4000000000\"/>", 1);
        book.strings.0 = "<sst count=\"4000000000\" uniqueCount=\"4000000000\">".to_owned();
        book.write(path);
    });
    add("cut.xlsx", bad, &|path| {
        Book::rows("<row><c><v>1</v></c></row>", 100_000).write(path);
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    });
    add("entries.xlsx", bad, &|path| {
        let mut archive = zip::ZipWriter::new(std::io::BufWriter::new(std::fs::File::create(path).unwrap()));
        for place in 0..70_000 {
            archive
                .start_file(
                    format!("{place}"),
                    SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored),
                )
                .unwrap();
        }
        archive.finish().unwrap().flush().unwrap();
    });
    add("endless-line.csv", bad, &|path| {
        text(path, "", b"aaaaaaaaaaaaaaaa", (20 << 20) / less)
    });
    add("endless-quote.csv", bad, &|path| {
        text(path, &format!("{HEAD}\""), b"aaaaaaaaaaaaaaa\n", (20 << 20) / less)
    });
    add("million-commas.csv", bad, &|path| text(path, HEAD, b",", 2_000_000));
    add("noughts.csv", bad, &|path| {
        text(path, "", b"\0\0\0\0\0\0\0\0", 40 << 20)
    });
    add("junk-rows.csv", limit, &|path| {
        text(path, HEAD, "甲,1,2,3\n".as_bytes(), 2_500_000)
    });
    add("blank-lines.csv", bad, &|path| {
        text(path, HEAD, b"\n", (400 << 20) / less)
    });
    add("too-large.csv", limit, &|path| {
        std::fs::File::create(path).unwrap().set_len(600 << 20).unwrap();
    });
    add("old.xls", &["unsupported_format"], &|path| {
        text(path, "", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 4 << 20)
    });
    add("picture.jpg", &["unsupported_format"], &|path| {
        text(path, "", b"\xff\xd8\xff\xe0\0\x10JFIF\0", 1 << 20)
    });
    add(
        "nothing.csv",
        &["unreadable", "missing_header", "unsupported_format"],
        &|path| text(path, "", b"", 0),
    );
    all
}

/// Runs an import and watches it: exit code, its report, seconds, the most memory it held.
fn watched(config: &str, file: &Path) -> (i32, Value, Duration, u64) {
    let began = Instant::now();
    let mut child = sanku()
        .args([
            "--config",
            config,
            "import",
            &file.display().to_string(),
            "--category",
            "vehicle",
            "--source",
            "公安",
            "--as-of",
            "2026-11-01",
            "--json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut most = 0;
    let status = format!("/proc/{}/status", child.id());
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut stdout, &mut bytes).unwrap();
        bytes
    });
    let end = loop {
        if let Some(end) = child.try_wait().unwrap() {
            break end;
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let held = text.lines().find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        });
        most = most.max(held.unwrap_or(0) << 10);
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "{} has no end",
            file.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    };
    let report = serde_json::from_slice(&reader.join().unwrap()).unwrap_or_default();
    (end.code().unwrap_or(-1), report, began.elapsed(), most)
}

#[test]
fn f30_hostile_files_end_in_a_clear_refusal_with_little_memory() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("f").display().to_string();
    assert!(run(&["federation", "init", &dir]).status.success());
    let config = format!("{dir}/420000/node.toml");
    let size = || crate::rig::json_of(&run(&["--config", &config, "log", "verify", "--json"]))["size"].clone();
    let before = size();
    let mut wrong = Vec::new();
    println!("| file | MiB | refused as | seconds | peak MiB |\n|---|---|---|---|---|");
    for (file, codes) in corpus(place.path()) {
        let (exit, report, took, memory) = watched(&config, &file);
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let code = report["error"]["code"].as_str().unwrap_or("none").to_owned();
        let megabytes = std::fs::metadata(&file).unwrap().len() as f64 / f64::from(1 << 20);
        println!(
            "| {name} | {megabytes:.1} | `{code}` | {:.2} | {} |",
            took.as_secs_f64(),
            memory >> 20
        );
        let message = report["error"]["message"].as_str().unwrap_or_default();
        if exit != 1
            || !codes.contains(&code.as_str())
            || memory > MEMORY
            || message.chars().count() < 10
            || report["accepted"] != 0
        {
            wrong.push(format!("{name}: exit {exit}, {code}, {} MiB, {message}", memory >> 20));
        }
        std::fs::remove_file(file).unwrap();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(size(), before, "nothing went into the log");
}
