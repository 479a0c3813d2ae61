//! The newcomer's walk: the commands of `docs/fifth-node.md` as they stand there.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Programs that stay up, ended with the test.
struct Staying(Vec<Child>);

impl Drop for Staying {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // The shell became the program by `exec`; the demonstration ends its nodes itself when it is interrupted.
            let id = child.id().to_string();
            let _ = Command::new("kill").args(["-INT", &id]).status();
            let _ = child.wait();
        }
    }
}

/// The fenced blocks of commands, from top to bottom.
fn blocks(text: &str) -> Vec<String> {
    let parts = text.split("```sh\n").skip(1);
    parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

fn shell(place: &Path, script: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_sanku")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command
        .args(["-euc", script])
        .current_dir(place)
        .env("PATH", path)
        .env_remove("SANKU_CONFIG");
    command
}

fn run(place: &Path, script: &str) -> Output {
    shell(place, script).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_newcomer_joins_a_fifth_node_and_finds_its_record_from_another_district() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let blocks = blocks(&std::fs::read_to_string(top.join("docs/fifth-node.md")).unwrap());
    let place = tempfile::tempdir().unwrap();
    let mut staying = Staying(Vec::new());
    let mut said = Vec::new();
    for block in &blocks {
        let stays = block.lines().count() == 1 && (block.contains("sanku demo") || block.trim_end().ends_with("serve"));
        if !stays {
            let output = run(place.path(), block);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            // The household's answer is incomplete, and the document says so.
            let expected = if block.contains(" query ") { 3 } else { 0 };
            assert_eq!(output.status.code(), Some(expected), "{block}{text}{error}");
            said.push(text);
            continue;
        }
        let log = place.path().join(format!("{}.out", staying.0.len()));
        let file = std::fs::File::create(&log).unwrap();
        let mut command = shell(place.path(), &format!("exec {block}"));
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn();
        staying.0.push(child.unwrap());
        let until = Instant::now() + Duration::from_secs(60);
        let ready = || {
            let text = std::fs::read_to_string(&log).unwrap();
            text.contains("Ctrl-C ends everything") || text.contains("the node serves")
        };
        while !ready() {
            assert!(
                Instant::now() < until,
                "{block}{}",
                std::fs::read_to_string(&log).unwrap()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    assert_eq!(staying.0.len(), 2, "the demonstration and the fifth node");
    let found = said
        .iter()
        .find(|text| text.contains("鄂D5T018"))
        .unwrap_or_else(|| panic!("no such record: {said:#?}"));
    let fact = found.split("鄂D5T018").nth(1).unwrap();
    assert!(
        found.contains("公安县") && found.contains("已答复 answered") && fact.contains("421022"),
        "{found}"
    );
}
