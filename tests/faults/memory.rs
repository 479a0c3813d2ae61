//! F44: a node whose memory is limited by its machine.

use std::path::PathBuf;

use crate::attacker::heap_up;
use crate::rig::{Rig, outcome};
use crate::status;

/// A control group of this machine, of either kind, until it is dropped.
struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let top = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(PathBuf::from);
        let top = top.into_iter().find(|top| top.join("cgroup.procs").exists());
        let group = top
            .expect("a hierarchy of control groups")
            .join(format!("sanku-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        Self(group)
    }

    /// From now on its processes have so many bytes, and no swap that makes more of it.
    fn limit(&self, bytes: u64) {
        let [old, new] = ["memory.limit_in_bytes", "memory.max"].map(|file| self.0.join(file));
        let file = if old.exists() { old } else { new };
        std::fs::write(file, bytes.to_string()).unwrap();
        let _ = std::fs::write(self.0.join("memory.swappiness"), "0");
        let _ = std::fs::write(self.0.join("memory.swap.max"), "0");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
#[ignore = "needs root: just faults"]
fn f44_a_node_with_little_memory_sheds_what_a_peer_heaps_up_and_lives() {
    let group = Group::new();
    let mut rig = Rig::start();
    rig.kill(421_000);
    let enter = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", group.0.display());
    let dress = rig.dress.entry(421_000).or_default();
    dress.before = ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec();
    rig.serve(421_000);
    let (code, _) = rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!(code, 0);
    let memory = |rig: &Rig| status(rig, 421_000)["process"]["memory_bytes"].as_u64().unwrap();
    let calm = memory(&rig);
    // Less than what it would take to hold everything: ten requests of 8 MiB.
    group.limit(calm + (60 << 20));
    let (held, refused) = heap_up(&rig, 10);
    assert!(rig.lives(421_000), "it was not killed for want of memory");
    println!(
        "F44: {refused} of ten were refused, {} KiB more memory",
        memory(&rig).saturating_sub(calm) >> 10
    );
    assert!(refused >= 4, "{refused}");
    let (code, result) = rig.ask(&rig.case("case.json", |case| case["budget_ms"] = 10_000.into()));
    assert_eq!(
        (code, outcome(&result, 421_000).as_str()),
        (0, "answered"),
        "{result:#}"
    );
    drop(held);
    rig.kill(421_000);
}
