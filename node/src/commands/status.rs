//! `status`: how the running node fares, asked over its socket.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::node::load;
use crate::output::{say, say_json, table};
use crate::socket;

/// 0 if the node is ready, 3 if it runs and cannot work.
pub(crate) async fn run(config: Option<&Path>, as_json: bool) -> anyhow::Result<u8> {
    let loaded = load(config)?;
    let mut answer = None;
    socket::call(&loaded.node.listen.socket, "/status", Vec::new(), |line| {
        answer = Some(line)
    })
    .await?;
    let status = answer.context("节点没有答复 the node gave no answer")?;
    if as_json {
        say_json(&status);
    } else {
        tell(&status);
    }
    Ok(if status["state"] == "working" { 0 } else { 3 })
}

fn tell(status: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or("—").to_owned();
    say(format!(
        "{} {}  {}",
        text(&status["node"]),
        text(&status["name"]),
        state(&text(&status["state"]))
    ));
    for missing in status["missing"].as_array().into_iter().flatten() {
        say(format!("  ! {}", text(&missing["words"])));
    }
    for fork in status["forks"].as_array().into_iter().flatten() {
        say(format!(
            "  ! 分叉 it says two things: {}（发现于 found {}；sanku log forks）",
            text(&fork["subject"]),
            minute(&fork["found"])
        ));
    }
    for log in status["cut_short"].as_array().into_iter().flatten() {
        say(format!(
            "  ! {} 在 {} 条处关闭，本节点见过 {} 条；24 小时内出示 it was closed below what is known here, present it: sanku log seen",
            text(&log["log"]),
            log["final_size"],
            log["known"]
        ));
    }
    let process = &status["process"];
    let mut rows = vec![
        line(
            "进程 process",
            format!(
                "{}，版本 version {}，已运行 up {}，内存 memory {}",
                process["pid"],
                text(&process["version"]),
                span(process["uptime_seconds"].as_i64()),
                bytes(&process["memory_bytes"])
            ),
        ),
        line(
            "监听 listens",
            format!(
                "{}（节点 peers）\n{}（命令 commands）\n{}（运维 operations）",
                text(&status["listeners"]["peers"]),
                text(&status["listeners"]["socket"]),
                text(&status["listeners"]["operations"])
            ),
        ),
        line(
            "证书 certificate",
            format!(
                "{}，剩 {} 天 days left",
                day(&status["certificate"]["not_after"]),
                status["certificate"]["days_left"]
            ),
        ),
        line(
            "日志 log",
            format!(
                "{} 条 entries，最新 newest {}\n未见证起于 unwitnessed since {}",
                number(&status["log"]["entries"]),
                minute(&status["log"]["newest"]),
                minute(&status["log"]["unwitnessed_since"])
            ) + &alarm(&status["log"]),
        ),
        line(
            "旧日志 earlier logs",
            status["log"]["earlier"]
                .as_array()
                .filter(|logs| !logs.is_empty())
                .map_or("—".to_owned(), |logs| {
                    logs.iter().map(earlier).collect::<Vec<_>>().join("\n")
                }),
        ),
        line(
            "他处日志 others' logs",
            format!(
                "未见证 unwitnessed {} 个检查点 checkpoints，起于 since {}",
                number(&status["held_unwitnessed"]["checkpoints"]),
                minute(&status["held_unwitnessed"]["since"])
            ) + &alarm(&status["held_unwitnessed"]),
        ),
        line(
            "导入 imports",
            format!(
                "{} 批 batches，{} 行 rows",
                number(&status["imports"]["count"]),
                number(&status["imports"]["rows"])
            ),
        ),
        line(
            "待问 queue",
            format!("{} 件 questions", number(&status["queue"]["waiting"])),
        ),
        line(
            "时钟 clock",
            match status["clock"]["lead_ms"].as_i64() {
                Some(lead) => format!("相邻节点中位差 neighbours' median {}", seconds(lead)),
                None => "未比对 not compared: no neighbour told its time".to_owned(),
            },
        ),
    ];
    if let Some(used) = status["disk"]["used_percent"].as_u64() {
        rows.push(line(
            "磁盘 disk",
            format!("已用 used {used} %，剩 free {}", bytes(&status["disk"]["free_bytes"])),
        ));
    }
    say(table(&["项目 item", "现状 now"], rows));

    let federation = text(&status["federation"]);
    let notes = status["notes"].as_array().into_iter().flatten();
    say(table(
        &["公告 note", "编号 number", "已发布 age"],
        notes.map(|note| {
            let name = text(&note["name"]);
            vec![
                name.trim_start_matches(&format!("{federation}/")).to_owned(),
                number(&note["number"]),
                span(note["age_seconds"].as_i64()),
            ]
        }),
    ));
    let neighbours = status["neighbours"].as_array().into_iter().flatten();
    say(table(
        &[
            "相邻节点 neighbour",
            "断路 breaker",
            "上次 last",
            "耗时 took",
            "钟差 clock",
        ],
        neighbours.map(|neighbour| {
            vec![
                format!("{} {}", text(&neighbour["node"]), text(&neighbour["name"])),
                text(&neighbour["breaker"]),
                text(&neighbour["outcome"]),
                neighbour["milliseconds"]
                    .as_i64()
                    .map_or("—".to_owned(), |took| format!("{took} ms")),
                neighbour["clock_lead_ms"].as_i64().map_or("—".to_owned(), seconds),
            ]
        }),
    ));
    if let Some(misbehaved) = misbehaved(status) {
        say(misbehaved);
    }
}

/// Those that said what no good node says.
fn misbehaved(status: &Value) -> Option<String> {
    let peers = status["misbehaved"].as_array().filter(|peers| !peers.is_empty())?;
    let text = |value: &Value| value.as_str().unwrap_or("—").to_owned();
    let rows = peers.iter().map(|peer| {
        let flagged = match &peer["flagged_since"] {
            Value::Null => "—".to_owned(),
            since => format!("自 since {}", minute(since)),
        };
        vec![
            text(&peer["node"]),
            number(&peer["faults"]),
            format!("{} {}", text(&peer["last"]), minute(&peer["at"])),
            flagged,
        ]
    });
    Some(table(
        &["异常节点 misbehaved", "次数 times", "最近 last", "已标记 flagged"],
        rows,
    ))
}

fn state(state: &str) -> String {
    match state {
        "working" => "正常 working".to_owned(),
        other => format!("不能工作 cannot work: {other}"),
    }
}

/// A mark beside what is unwitnessed for too long.
fn alarm(of: &Value) -> String {
    if of["alarm"] == true {
        "\n⚠ 超过 72 小时 for more than 72 hours".to_owned()
    } else {
        String::new()
    }
}

/// One of this node's earlier logs.
fn earlier(log: &Value) -> String {
    let name = log["log"].as_str().unwrap_or("—");
    let missing = match log["missing"].as_u64() {
        None => "未关闭 open".to_owned(),
        Some(0) => "完整 whole".to_owned(),
        Some(missing) => format!("缺 {missing} 条 missing；sanku log lost"),
    };
    format!("{name} {} 条 entries，{missing}", number(&log["entries"]))
}

fn line(what: &str, value: String) -> Vec<String> {
    vec![what.to_owned(), value]
}

fn number(value: &Value) -> String {
    value.as_i64().map_or("—".to_owned(), |number| number.to_string())
}

fn bytes(value: &Value) -> String {
    let Some(bytes) = value.as_u64() else {
        return "—".to_owned();
    };
    match bytes >> 20 {
        mebibytes @ 0..10_240 => format!("{mebibytes} MiB"),
        mebibytes => format!("{} GiB", mebibytes >> 10),
    }
}

/// A time's day, or its minute: `2026-11-24`, `2026-11-24 08:18Z`.
fn day(time: &Value) -> String {
    time.as_str().and_then(|time| time.get(..10)).unwrap_or("—").to_owned()
}

fn minute(time: &Value) -> String {
    let minute = time.as_str().and_then(|time| time.get(..16));
    minute.map_or("—".to_owned(), |minute| format!("{}Z", minute.replace('T', " ")))
}

fn seconds(milliseconds: i64) -> String {
    let sign = if milliseconds < 0 { "-" } else { "+" };
    let milliseconds = milliseconds.unsigned_abs();
    format!("{sign}{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

/// How long, in the two largest units.
fn span(seconds: Option<i64>) -> String {
    let Some(seconds) = seconds else {
        return "—".to_owned();
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, _) => format!("{hours} h {} min", minutes % 60),
        (days, ..) => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_as_people_write_them() {
        assert_eq!(span(Some(59)), "59 s");
        assert_eq!(span(Some(3_725)), "1 h 2 min");
        assert_eq!(span(Some(90_000)), "1 d 1 h");
        assert_eq!(
            (seconds(-1_234), seconds(50)),
            ("-1.2 s".to_owned(), "+0.0 s".to_owned())
        );
        assert_eq!(minute(&"2026-11-24T08:18:11.000Z".into()), "2026-11-24 08:18Z");
        assert_eq!(bytes(&(20_u64 << 30).into()), "20 GiB");
    }
}
