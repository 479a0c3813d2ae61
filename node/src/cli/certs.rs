//! What `sanku certs` understands.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What `certs` understands.
#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    /// 按对等端口的规则判定证书链（文档从标准输入读取） Judge a chain as the peer port would; the document comes on standard input
    #[command(
        after_help = "例 Examples:\n  sanku certs check --json < chain.json     一个文档 one document\n  sanku certs check --lines < chains.jsonl  每行一个 one a line\n\n退出码 Exit codes: 0 接受 accepted, 1 拒绝 refused, 2 文档不合格式 malformed (--lines: 0 全部已判定 every line was judged, 2 有的不合格式)"
    )]
    Check {
        /// 一个 JSON 文档 One JSON document
        #[arg(long, required_unless_present = "lines", conflicts_with = "lines")]
        json: bool,
        /// 每行一个 JSON 文档 One JSON document a line
        #[arg(long)]
        lines: bool,
    },
    /// 人员密钥 People's keys: made by themselves, on their own machines
    #[command(subcommand)]
    Person(PersonCommand),
    /// 根密钥仪式 The ceremony of the root: offline, with its custodians
    #[command(subcommand)]
    Root(RootCommand),
    /// 提出指令：第一个签名 Propose an order: the first of two signatures
    #[command(
        after_help = "例 Examples:\n  sanku certs order --as a1.key --reason 服务器失窃 --out suspend.order suspend 421003\n  sanku certs order --as m1.key --reason 新建 --out places.order place-open 421002 421003\n  sanku certs order --as a1.key --reason 新任 --out admit.order --people people.note admit system_administrator=VKEY"
    )]
    Order(OrderArgs),
    /// 批准指令：另一人的签名 Approve an order: another person's signature
    #[command(
        after_help = "例 Example:\n  sanku certs approve suspend.order --as a2.key\n\n所附人员公告在 ORDER.people.note The people note that follows stands in ORDER.people.note and is signed as well"
    )]
    Approve {
        /// 指令文件 The order
        order: PathBuf,
        #[command(flatten)]
        signer: Signer,
        /// 现行人员公告（人员指令须给出） The people note in force: for orders about people
        #[arg(long, value_name = "FILE")]
        people: Option<PathBuf>,
    },
    /// 执行指令：记入本节点日志，只执行一次 Carry an order out: an act of this node's log, once
    #[command(
        after_help = "例 Example:\n  sanku --config hubei/420000/node.toml certs execute suspend.order --dir hubei\n\n被打断后再次执行同一命令即可继续 If something came between, the same command goes on\n退出码 Exit codes: 0 已执行 executed, 1 未执行 not executed"
    )]
    Execute {
        /// 指令文件（所附人员公告在 ORDER.people.note） The order; the people note that follows stands in ORDER.people.note
        order: PathBuf,
        /// 发证机构目录 The directory of the authority
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// 输出 JSON Print JSON
        #[arg(long)]
        json: bool,
    },
    /// 列出已执行的指令及其签署人 List the orders that this node executed, and who signed them
    Audit {
        /// 输出 JSON Print JSON
        #[arg(long)]
        json: bool,
    },
    /// 查看并判定指令 Show an order, and judge it by notes
    #[command(
        after_help = "例 Example:\n  sanku certs show suspend.order --notes hubei/notes --root HEX\n\n退出码 Exit codes: 0 成立 approved, 1 不成立 not approved"
    )]
    Show {
        /// 指令文件 The order
        order: PathBuf,
        /// 公告目录 A directory with notes
        #[arg(long, value_name = "DIR")]
        notes: PathBuf,
        /// 根公告指纹 The root's fingerprint
        #[arg(long, value_name = "HEX")]
        root: String,
        /// 输出 JSON Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Whose key signs.
#[derive(Debug, Args)]
pub(crate) struct Signer {
    /// 签署人的密钥文件 The key file of whoever signs
    #[arg(long = "as", value_name = "KEYFILE")]
    pub(crate) key: PathBuf,
    /// 口令文件（0600；默认在终端输入） A file with the passphrase, mode 0600 (default: asked on the terminal)
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// What `certs person` understands.
#[derive(Debug, Subcommand)]
pub(crate) enum PersonCommand {
    /// 生成密钥 Make a key; the public half is printed, to be handed to whoever admits you
    #[command(
        after_help = "例 Example:\n  sanku certs person new --federation hubei.example --centre 420000 --id a1 --out a1.key"
    )]
    New {
        /// 联邦名 The federation
        #[arg(long, value_name = "NAME")]
        federation: String,
        /// 所在中心 The centre
        #[arg(long, value_name = "CODE")]
        centre: String,
        /// 人员代号（中心自定，不再复用） A pseudonym of the centre's own, never used again
        #[arg(long, value_name = "ID")]
        id: String,
        /// 密钥文件（不得已存在） Where the key goes; it must not exist yet
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
        /// 口令文件（0600；默认在终端输入） A file with the passphrase, mode 0600 (default: asked on the terminal)
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// 输出 JSON Print JSON
        #[arg(long)]
        json: bool,
    },
    /// 显示公钥，无需口令 Print whose key a file holds; needs no passphrase
    Show {
        /// 密钥文件 The key file
        file: PathBuf,
        /// 输出 JSON Print JSON
        #[arg(long)]
        json: bool,
    },
    /// 更换口令 Put a key under another passphrase
    Passphrase {
        /// 密钥文件 The key file
        file: PathBuf,
        /// 原口令文件 A file with the passphrase so far
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// 新口令文件 A file with the new passphrase
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
}

/// What `certs root` understands.
#[derive(Debug, Subcommand)]
pub(crate) enum RootCommand {
    /// 生成根密钥：三名保管人，任两人可打开 Make the root's keys under three custodians, any two of whom open them
    #[command(
        after_help = "例 Example:\n  sanku certs root new --federation hubei.example --out root --custodian chen --custodian li --custodian wang"
    )]
    New {
        /// 联邦名 The federation
        #[arg(long, value_name = "NAME")]
        federation: String,
        /// 目录（不得已有根密钥） The directory; it must not hold a root yet
        #[arg(long, short, value_name = "DIR")]
        out: PathBuf,
        /// 保管人，三名；可写 ID=口令文件 A custodian, three of them; ID=FILE reads the passphrase from a file
        #[arg(long, required = true, value_name = "ID[=FILE]")]
        custodian: Vec<String>,
        /// 输出 JSON Print JSON
        #[arg(long)]
        json: bool,
    },
    /// 移交：两名保管人交给三名 Two custodians hand the keys to three
    HandOver {
        /// 根密钥文件 The root's key file
        file: PathBuf,
        /// 现任保管人，两名 A custodian so far, two of them
        #[arg(long, required = true, value_name = "ID[=FILE]")]
        from: Vec<String>,
        /// 新任保管人，三名 A custodian from now on, three of them
        #[arg(long, required = true, value_name = "ID[=FILE]")]
        to: Vec<String>,
    },
    /// 签署一个中心的第一份人员公告 Sign a centre's first people note
    #[command(
        after_help = "例 Example:\n  sanku certs root people root/root.key --custodian chen --custodian li --centre 420000 \\\n    --person security_administrator=VKEY --person security_administrator=VKEY --out people-420000.note"
    )]
    People {
        /// 根密钥文件 The root's key file
        file: PathBuf,
        /// 保管人，两名 A custodian, two of them
        #[arg(long, required = true, value_name = "ID[=FILE]")]
        custodian: Vec<String>,
        /// 中心 The centre
        #[arg(long, value_name = "CODE")]
        centre: String,
        /// 人员：角色=公钥；至少两名安全管理员 A person; two security administrators at least
        #[arg(long, required = true, value_name = "ROLE=VKEY")]
        person: Vec<String>,
        /// 有效天数 For how many days
        #[arg(long, default_value_t = 730, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3660))]
        days: u32,
        /// 公告文件 Where the note goes
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
    },
}

/// What `certs order` understands.
#[derive(Debug, Args)]
pub(crate) struct OrderArgs {
    #[command(flatten)]
    pub(crate) signer: Signer,
    /// 事由 Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// 指令文件（不得已存在） Where the order goes; it must not exist yet
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// 执行者（默认签署人所在中心） Who executes it (default: the signer's centre)
    #[arg(long, value_name = "CODE")]
    pub(crate) executor: Option<String>,
    /// 有效天数 For how many days it may be executed
    #[arg(long, default_value_t = 7, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=90))]
    pub(crate) days: u32,
    /// 现行人员公告（人员指令须给出；结果写到 OUT.people.note）
    /// The people note in force: for orders about people; what follows is written to OUT.people.note
    #[arg(long, value_name = "FILE")]
    pub(crate) people: Option<PathBuf>,
    /// 指令内容 What is ordered
    #[command(subcommand)]
    pub(crate) act: ActCommand,
}

/// What may be ordered.
#[derive(Debug, Subcommand)]
pub(crate) enum ActCommand {
    /// 开放席位 Open places for nodes
    PlaceOpen {
        /// 区划代码 The codes
        #[arg(required = true)]
        codes: Vec<String>,
    },
    /// 确认入网 Confirm an enrolment
    Confirm {
        /// 节点 The node
        code: String,
        /// 申请的叶哈希 Leaf hash of its request
        request: String,
    },
    /// 增加人员：角色=公钥 Admit a person
    Admit {
        /// 角色=公钥 ROLE=VKEY
        person: String,
        /// 任职天数 For how many days
        #[arg(long, default_value_t = 730, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3660))]
        days_in_office: u32,
    },
    /// 撤销人员 Dismiss a person
    Dismiss {
        /// 人员代号 Who
        id: String,
    },
    /// 暂停节点 Suspend a node
    Suspend {
        /// 节点 The node
        code: String,
    },
    /// 恢复节点 Resume a node
    Resume {
        /// 节点 The node
        code: String,
    },
    /// 吊销节点、证书或密钥 Revoke a node, a certificate or a key
    Revoke {
        /// 节点 The node
        code: String,
        /// 只吊销此序列号的证书 Only the certificate with this serial
        #[arg(long, value_name = "SERIAL", conflicts_with = "key")]
        certificate: Option<String>,
        /// 只吊销此密钥（登记公告中的写法） Only this key, as the registry writes it
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
    /// 节点退出 Let a node leave
    Leave {
        /// 节点 The node
        code: String,
    },
    /// 久离返回 Let a node that was long away return
    Return {
        /// 节点 The node
        code: String,
        /// 申请的叶哈希 Leaf hash of its request
        request: String,
    },
    /// 更换日志编号 Give a node a new log number
    RenewLog {
        /// 节点 The node
        code: String,
        /// 新编号 The new number
        number: u32,
        /// 申请的叶哈希 Leaf hash of its request
        request: String,
    },
    /// 轮换发证机构 Rotate an authority
    Rotate {
        /// 哪个中心 Whose authority
        code: String,
        /// prepare、activate、retire、remove、take_back
        step: String,
        /// 申请的叶哈希（prepare） Leaf hash of the request (prepare)
        #[arg(long, value_name = "HASH")]
        request: Option<String>,
    },
    /// 应急放行：列表过期时限时继续 Break-glass: go on for a time while lists are stale; the executor is the node itself
    BreakGlass {
        /// 小时数 For how many hours
        #[arg(value_parser = clap::value_parser!(u32).range(1..=72))]
        hours: u32,
    },
}

impl CertsCommand {
    /// Whether a script reads.
    pub(crate) const fn as_json(&self) -> bool {
        match self {
            Self::Check { json, .. }
            | Self::Show { json, .. }
            | Self::Execute { json, .. }
            | Self::Audit { json }
            | Self::Person(PersonCommand::New { json, .. } | PersonCommand::Show { json, .. })
            | Self::Root(RootCommand::New { json, .. }) => *json,
            _ => false,
        }
    }
}
