//! The command line: what `sanku` understands, Chinese first and English. What each command does stands in `commands`.

mod certs;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use certs::{ActCommand, CertsCommand, OrderArgs, PersonCommand, RootCommand, Signer};

/// 三库：居民家庭经济状况核对联查节点。Sanku: the federated query node of household economic verification centres.
#[derive(Debug, Parser)]
#[command(
    name = "sanku",
    version,
    max_term_width = 110,
    after_help = "例 Examples:\n  sanku demo                                       四个节点的演示 four real nodes and one lookup\n  sanku --config 421002/node.toml check            检查全部配置 judge the whole configuration\n  sanku --config 421002/node.toml query case.json  联查一个家庭 look one household up\n\n退出码 Exit codes: 0 完成 done, 1 失败 failed, 2 用法错误 wrong use, 3 完成但不完整 done but incomplete"
)]
pub(crate) struct Cli {
    /// 节点配置文件 The node's configuration file
    #[arg(long, short, global = true, env = "SANKU_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// 要做的事 What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Every command, in the order in which a newcomer meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// 启动四个真实节点并联查一个家庭 Start a province, a city and two districts, and look one household up
    #[command(
        after_help = "例 Examples:\n  sanku demo                        启动并保持 start and stay up\n  sanku demo --once                 查一次即结束 one lookup, then stop\n  sanku demo --once --json          只输出一个 JSON 文档 one JSON document\n  sanku demo --once --stop-node 421003   先停一个节点 stop a node first (exit code 3)"
    )]
    Demo(DemoArgs),
    /// 运行节点 Run the node
    #[command(after_help = "例 Example:\n  sanku --config /etc/sanku/node.toml serve")]
    Serve(ServeArgs),
    /// 节点现状：状态、公告、日志、队列、相邻节点 How the running node fares
    #[command(
        after_help = "例 Examples:\n  sanku --config /etc/sanku/node.toml status\n  sanku --config /etc/sanku/node.toml status --json\n\n退出码 Exit codes: 0 正常 ready, 1 没有节点在运行 no node runs, 3 在运行但不能工作 it runs and cannot work"
    )]
    Status(JsonArg),
    /// 检查全部配置，指出文件、行号和改法 Judge the whole configuration: file, line and cure
    #[command(after_help = "例 Example:\n  sanku --config /etc/sanku/node.toml check")]
    Check(JsonArg),
    /// 导入部门数据文件 Import files of a department
    #[command(
        after_help = "例 Example:\n  sanku --config node.toml import 房产2026.xlsx --category real_estate --source 沙市区房产局 --as-of 2026-11-01"
    )]
    Import(ImportArgs),
    /// 联查一个家庭 Look one household up in all databases
    #[command(
        after_help = "例 Examples:\n  sanku --config node.toml query case.json\n  sanku --config node.toml query --again 019a…   再问未答的节点 ask again whoever has not answered\n  sanku --config node.toml query case.json --wait  等到全部答复或到期 wait for late answers\n  sanku --config node.toml query --batch cases.jsonl 普查：每行一个案件，可续 a batch: one case a line, resumable"
    )]
    Query(QueryArgs),
    /// 撤回授权书 Withdraw a mandate: from then on nobody may look this family up under it
    #[command(after_help = "例 Example:\n  sanku --config node.toml withdraw 019a… --reason 家庭撤回授权")]
    Withdraw(WithdrawArgs),
    /// 联邦的密钥、证书和公告 Keys, certificates and notes of a federation
    #[command(subcommand)]
    Federation(FederationCommand),
    /// 证书、人员密钥、根密钥、指令 Certificates, people's keys, the root, orders
    #[command(subcommand)]
    Certs(CertsCommand),
    /// 节点的透明日志 The node's transparency log
    #[command(subcommand)]
    Log(LogCommand),
    /// 证据文件 Evidence files: what a decision rests on, for anybody to check offline
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// 备份整个数据库（加密；不含密钥） Back the whole database up, encrypted; keys are not in it
    #[command(subcommand)]
    Backup(BackupCommand),
    /// 恢复备份：先在旁边全部验证，再替换 Restore a backup: verified whole beside the database first, then put in its place
    #[command(
        after_help = "例 Example:\n  sanku --config /etc/sanku/node.toml restore node-2026-11-25.age --identity backup.key\n\n退出码 Exit codes: 0 已恢复 restored, 1 备份不成立，未动数据库 it does not hold, nothing was touched, 3 已恢复但比本节点签过的旧 restored, and older than what this node signed"
    )]
    Restore {
        /// 备份文件 The backup
        file: PathBuf,
        /// 收件人私钥文件 The file with a recipient's secret key
        #[arg(long, value_name = "FILE")]
        identity: PathBuf,
        #[command(flatten)]
        json: JsonArg,
    },
    /// 数据目录与本节点数据 The catalogue, and what this node holds
    #[command(subcommand)]
    Records(RecordsCommand),
    /// 生成命令补全脚本 Print a completion script for a shell
    #[command(
        after_help = "例 Examples:\n  sanku completions bash > ~/.local/share/bash-completion/completions/sanku\n  sanku completions zsh > ~/.zfunc/_sanku    (fpath=(~/.zfunc $fpath))\n  sanku completions fish > ~/.config/fish/completions/sanku.fish"
    )]
    Completions {
        /// 命令解释器 The shell
        shell: Shell,
    },
}

impl Command {
    /// Whether a script reads: then a failure is one JSON document, too.
    pub(crate) const fn as_json(&self) -> bool {
        match self {
            Self::Demo(args) => args.json.json,
            Self::Import(args) => args.json.json,
            Self::Query(args) => args.json.json,
            Self::Withdraw(args) => args.json.json,
            Self::Check(args) | Self::Status(args) | Self::Log(LogCommand::Verify(args) | LogCommand::Forks(args)) => {
                args.json
            }
            Self::Log(LogCommand::Renew { json, .. } | LogCommand::Lost { json, .. })
            | Self::Federation(
                FederationCommand::Init { json, .. }
                | FederationCommand::Add { json, .. }
                | FederationCommand::Renumber { json, .. }
                | FederationCommand::Close { json, .. },
            )
            | Self::Evidence(EvidenceCommand::Export { json, .. } | EvidenceCommand::Verify { json, .. })
            | Self::Records(RecordsCommand::Categories(json) | RecordsCommand::Show { json, .. }) => json.json,
            Self::Certs(command) => command.as_json(),
            Self::Backup(
                BackupCommand::Create { json, .. }
                | BackupCommand::Verify { json, .. }
                | BackupCommand::Keygen { json, .. },
            )
            | Self::Restore { json, .. } => json.json,
            Self::Federation(FederationCommand::People { .. })
            | Self::Serve(_)
            | Self::Log(_)
            | Self::Completions { .. } => false,
        }
    }
}

/// `--json`, wherever a script might read.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct JsonArg {
    /// 输出 JSON，供程序读取 Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `demo` understands.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// 查一次，输出结果和证据后结束 One lookup, its result and evidence file, then stop
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) json: JsonArg,
    /// 目录（不得已存在或须为空） Directory for everything; it must not exist yet or be empty
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// 人口数 How many synthetic people
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(20..=200_000))]
    pub(crate) people: u32,
    /// 随机种子 Seed of the population
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub(crate) seed: u64,
    /// 提问前先停掉的节点 A node to stop before asking
    #[arg(long, value_name = "CODE")]
    pub(crate) stop_node: Option<String>,
}

/// What `serve` understands.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// 标准输入关闭时结束 Stop when standard input closes (for a parent process)
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
}

/// What `import` understands.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// 文件：xlsx 或 CSV（UTF-8、GBK、GB 18030、UTF-16） Files: xlsx or CSV
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// 类别编号，见 `sanku records categories` The category's id
    #[arg(long, value_name = "ID")]
    pub(crate) category: String,
    /// 来源部门 The department that vouches for the data
    #[arg(long, value_name = "NAME")]
    pub(crate) source: String,
    /// 数据日期 The date that the department vouches for
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) as_of: String,
    #[command(flatten)]
    pub(crate) json: JsonArg,
}

/// What `query` understands.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// 案件文件（`-` 为标准输入） The case file (`-`: standard input)
    #[arg(
        value_name = "CASE.json",
        required_unless_present_any = ["again", "batch"],
        conflicts_with = "again"
    )]
    pub(crate) case: Option<PathBuf>,
    /// 再问一次此前的查询 Ask an earlier question again
    #[arg(long, value_name = "ID")]
    pub(crate) again: Option<String>,
    /// 普查：每行一个案件的文件；同一文件再运行一次即从中断处继续，已问的不再重问
    /// A batch: a file with one case a line; the same file again goes on where it broke off and asks nothing twice
    #[arg(long, value_name = "CASES.jsonl", conflicts_with_all = ["case", "again", "wait"])]
    pub(crate) batch: Option<PathBuf>,
    /// 普查结果文件，每行一个结果（默认与案件文件同目录）Where a batch's results go, one a line (default: beside the cases)
    #[arg(long, value_name = "RESULTS.jsonl", requires = "batch")]
    pub(crate) out: Option<PathBuf>,
    /// 等待补答，直到完整或到期；每次变化即显示 Wait for late answers until it is complete or expires
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) json: JsonArg,
}

/// What `withdraw` understands.
#[derive(Debug, Args)]
pub(crate) struct WithdrawArgs {
    /// 授权书编号 The mandate's id
    #[arg(value_name = "MANDATE")]
    pub(crate) mandate: String,
    /// 原因 Why
    #[arg(long, default_value = "授权撤回 withdrawn by the family", value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) json: JsonArg,
}

/// What `federation` understands.
#[derive(Debug, Subcommand)]
pub(crate) enum FederationCommand {
    /// 建立联邦：根、发证机构、公告、省节点 Found a federation: root, authority, notes, the province's node
    #[command(
        after_help = "例 Example:\n  sanku federation init hubei --name hubei.example --code 420000 --centre 湖北省 --endpoint 127.0.0.1:7443"
    )]
    Init {
        /// 目录（不得已存在） The directory; it must not exist yet
        dir: PathBuf,
        /// 联邦名（域名形式） The federation's DNS-shaped name
        #[arg(long, default_value = "sanku.example")]
        name: String,
        /// 省级区划代码 The province's division code
        #[arg(long, default_value = "420000")]
        code: String,
        /// 中心名称（默认为区划名称） The centre's name (default: the division's)
        #[arg(long, value_name = "NAME")]
        centre: Option<String>,
        /// 对外地址，可多次给出 Where other nodes reach it; more than once for several addresses
        #[arg(long, default_value = "127.0.0.1:7443", value_name = "HOST:PORT")]
        endpoint: Vec<String>,
        /// 本节点持有的数据类别，逗号分隔（默认全部；未导入的会如实显示为未获得）
        /// Categories it holds, by comma (default: all; what is not imported yet is shown as missing)
        #[arg(long, value_delimiter = ',', value_name = "ID")]
        categories: Vec<String>,
        #[command(flatten)]
        json: JsonArg,
    },
    /// 加入一个节点 Add a node: its keys, certificate, configuration and place in the registry
    #[command(
        after_help = "例 Example:\n  sanku federation add 421002 --dir hubei --centre 沙市区 --endpoint 127.0.0.1:7444"
    )]
    Add {
        /// 区划代码 The division code
        code: String,
        /// 联邦目录 The federation's directory
        #[arg(long, default_value = ".")]
        dir: PathBuf,
        /// 中心名称（默认为区划名称） The centre's name (default: the division's)
        #[arg(long, value_name = "NAME")]
        centre: Option<String>,
        /// 对外地址，可多次给出（默认本机下一个空闲端口）
        /// Where other nodes reach it; more than once for several addresses (default: this machine, the next free port)
        #[arg(long, value_name = "HOST:PORT")]
        endpoint: Vec<String>,
        /// 本节点持有的数据类别，逗号分隔（默认全部；未导入的会如实显示为未获得）
        /// Categories it holds, by comma (default: all; what is not imported yet is shown as missing)
        #[arg(long, value_delimiter = ',', value_name = "ID")]
        categories: Vec<String>,
        #[command(flatten)]
        json: JsonArg,
    },
    /// 给节点换新日志号：旧日志关闭，新日志登记 Give a node the log number that it asks for; the log before is closed
    #[command(
        after_help = "例 Examples:\n  sanku federation renumber renumber-421002-2.note --dir hubei --dry-run\n  sanku federation renumber renumber-421002-2.note --dir hubei --fingerprint 3f0c…   与节点管理员电话核对 compare it on the telephone"
    )]
    Renumber {
        /// 节点的请求（sanku log renew） The node's request
        request: PathBuf,
        /// 与节点管理员核对过的指纹 The fingerprint, as the node's administrator reads it out
        #[arg(long, value_name = "HEX")]
        fingerprint: Option<String>,
        #[command(flatten)]
        presented: Presented,
        #[command(flatten)]
        json: JsonArg,
    },
    /// 关闭已有后继的日志，或在 24 小时内提高其终止大小 Close a log that has a successor, or raise its final size within 24 hours
    #[command(
        after_help = "例 Example:\n  sanku federation close 421002/1 --dir hubei --seen seen-421002-1.checkpoint"
    )]
    Close {
        /// 区划代码/日志号 The node's code and the log's number
        log: String,
        #[command(flatten)]
        presented: Presented,
        #[command(flatten)]
        json: JsonArg,
    },
    /// 省中心的第一份人员公告，由根签署 The province's first people note, signed by the root
    #[command(
        after_help = "例 Example:\n  sanku federation people --dir hubei --person security_administrator=VKEY --person security_administrator=VKEY"
    )]
    People {
        /// 联邦目录 The federation's directory
        #[arg(long, default_value = ".")]
        dir: PathBuf,
        /// 人员：角色=公钥；至少两名安全管理员 A person, as `certs person new` printed the key; two security administrators at least
        #[arg(long, required = true, value_name = "ROLE=VKEY")]
        person: Vec<String>,
        /// 有效天数 For how many days
        #[arg(long, default_value_t = 730, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3660))]
        days: u32,
    },
}

/// Where the federation is, and what others present of a log.
#[derive(Debug, Args)]
pub(crate) struct Presented {
    /// 联邦目录 The federation's directory
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// 别的中心出示的检查点（sanku log seen），可多次给出 A checkpoint that another centre presents; more than once
    #[arg(long, value_name = "FILE")]
    pub(crate) seen: Vec<PathBuf>,
    /// 只说会做什么 Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What `log` understands.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// 逐条重算整个日志 Recompute the whole log; names the first index that does not hold
    Verify(JsonArg),
    /// 输出最新检查点 Print the newest signed checkpoint
    Checkpoint,
    /// 输出一条记录的 tlog-proof 证明 Print the tlog-proof of one entry
    Prove {
        /// 记录序号 The entry's index
        index: u64,
    },
    /// 列出发现的分叉 List forks that this node found: logs or notes that say two things
    Forks(JsonArg),
    /// 分叉的证明 The proof of a fork
    #[command(subcommand)]
    Fork(ForkCommand),
    /// 换新日志号：生成新密钥和给发布者的请求 Ask for a new log number: makes the next keys and a request for the publisher
    #[command(
        after_help = "例 Examples:\n  sanku --config node.toml log renew --dry-run\n  sanku --config node.toml log renew             数据库确已丢失 the newest database is lost\n  sanku --config node.toml log renew --planned   计划内轮换 a planned rotation of the log's key"
    )]
    Renew {
        /// 计划内轮换：旧日志写完最后一条再由新日志接续 A planned rotation: the log before ends with an entry that names the next
        #[arg(long)]
        planned: bool,
        /// 请求写到哪里 Where the request goes (default: renumber-CODE-NUMBER.note here)
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        /// 只说会做什么 Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        json: JsonArg,
    },
    /// 出示本节点见过的某日志的最大检查点 Write the largest checkpoint of a log that this node has seen, for whoever closes that log
    #[command(after_help = "例 Example:\n  sanku --config node.toml log seen 421002/1 --out seen-421002-1.checkpoint")]
    Seen {
        /// 区划代码/日志号 The node's code and the log's number
        log: String,
        /// 输出文件 Where to write it
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
    },
    /// 列出别处持有而本库已失的旧日志内容 List what others hold of an earlier log and this database does not know
    #[command(
        after_help = "例 Examples:\n  sanku --config node.toml log lost\n  sanku --config node.toml log lost --out lost.statements   并保存（正文仍密封） and keep it, bodies sealed\n\n退出码 Exit codes: 0 全部问到 everybody was asked, 3 有的没有问到 some could not be asked"
    )]
    Lost {
        /// 日志号（默认上一个） The log's number (default: the one before)
        #[arg(long, value_name = "N")]
        number: Option<u32>,
        /// 保存到文件 Keep what is found in this file
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        json: JsonArg,
    },
    /// 把整个日志写成文件（C2SP tlog-tiles），供审计 Write the whole log as files for auditors: checkpoint, tiles, entries
    Tiles {
        /// 目录（不得已存在） The directory; it must not exist yet
        dir: PathBuf,
    },
}

/// What `log fork` understands.
#[derive(Debug, Subcommand)]
pub(crate) enum ForkCommand {
    /// 导出证明 Write the proof as a file that anybody can check
    Export {
        /// 日志或公告，见 `sanku log forks` The log or the note, as `log forks` names it
        subject: String,
        /// 输出文件 Where to write it
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
    },
    /// 离线验证证明 Check a proof; needs only the root's fingerprint
    Verify {
        /// 证明文件 The proof
        file: PathBuf,
        /// 根公告指纹（十六进制） The root's fingerprint in hex
        #[arg(long, value_name = "HEX")]
        root: String,
    },
}

/// What `backup` understands.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// 备份；节点可继续运行 Write a backup; the node may run meanwhile
    #[command(
        after_help = "例 Example:\n  sanku --config /etc/sanku/node.toml backup create --to age1… --to age1… --out node-2026-11-25.age"
    )]
    Create {
        /// 收件人公钥，可多次 A recipient's public key; at least two are wise
        #[arg(long, required = true, value_name = "age1…")]
        to: Vec<String>,
        /// 输出文件（不得已存在） Where to write it; it must not exist yet
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        json: JsonArg,
    },
    /// 解密并完整验证一份备份，不动数据库 Decrypt and verify a backup to its end; nothing live is touched
    Verify {
        /// 备份文件 The backup
        file: PathBuf,
        /// 收件人私钥文件 The file with a recipient's secret key
        #[arg(long, value_name = "FILE")]
        identity: PathBuf,
        #[command(flatten)]
        json: JsonArg,
    },
    /// 生成收件人密钥 Make a recipient's key pair; the public half is printed
    Keygen {
        /// 私钥写到哪里（不得已存在） Where the secret half goes; it must not exist yet
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        json: JsonArg,
    },
}

/// What `evidence` understands.
#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// 导出一次查询的证据文件 Write the evidence file of one question
    Export {
        /// 查询编号 The question's id
        query: String,
        /// 输出文件 Where to write it
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        json: JsonArg,
    },
    /// 离线验证证据文件 Check an evidence file; needs only the root's fingerprint
    #[command(after_help = "例 Example:\n  sanku evidence verify evidence-019a….sanku --root 3f0c…")]
    Verify {
        /// 证据文件 The evidence file
        file: PathBuf,
        /// 根公告指纹（十六进制，默认取自配置） The root's fingerprint in hex (default: from the configuration)
        #[arg(long, value_name = "HEX")]
        root: Option<String>,
        /// 补充的新公告 Newer notes to judge with
        #[arg(long, value_name = "FILE")]
        notes: Vec<PathBuf>,
        /// 要求全部已见证 Demand that every run is witnessed
        #[arg(long)]
        witnessed: bool,
        #[command(flatten)]
        json: JsonArg,
    },
}

/// What `records` understands.
#[derive(Debug, Subcommand)]
pub(crate) enum RecordsCommand {
    /// 全部类别和字段 All categories and their fields
    Categories(JsonArg),
    /// 查看本库中一个人的数据（会记入日志） What this node holds about a person; the look is logged
    #[command(
        after_help = "例 Example:\n  printf '%s' NUMBER | sanku --config node.toml records show --identity - --purpose 复核"
    )]
    Show {
        /// 证件号码（`-` 从标准输入读取，避免留在历史里） Identity number (`-`: standard input)
        #[arg(long, value_name = "NUMBER")]
        identity: String,
        /// 用途 Why you look
        #[arg(long, value_name = "TEXT")]
        purpose: String,
        #[command(flatten)]
        json: JsonArg,
    },
}
