//! What left each node, held against its log: G3 and G4 are checked at the moment when a run leaves, and again at the end.

use std::collections::BTreeMap;
use std::sync::Mutex;

use sanku_federation_protocol::stream::{Event, Reader};
use sanku_store::Store;
use sanku_tlog::{Checkpoint, Frontier, Hash, leaf_hash};
use sanku_values::DivisionCode;

use crate::network::held;

/// The log as one node has shown it: roots by their sizes, leaves by their places.
#[derive(Debug, Default)]
struct Shown {
    roots: BTreeMap<u64, Hash>,
    leaves: BTreeMap<u64, Hash>,
}

/// What every node has shown of its log.
#[derive(Default)]
pub struct Ledger {
    /// Each node's database, past whatever its process suffers.
    stores: Mutex<BTreeMap<DivisionCode, Store>>,
    shown: Mutex<BTreeMap<DivisionCode, Shown>>,
    broken: Mutex<Option<String>>,
}

impl Ledger {
    /// From now on what leaves this node is held against this database.
    pub(super) fn watch(&self, node: DivisionCode, store: Store) {
        held(&self.stores).insert(node, store);
    }

    /// A node's database, past whatever its process suffers.
    ///
    /// # Errors
    /// If nobody watches it.
    pub(super) fn store(&self, node: DivisionCode) -> Result<Store, String> {
        let stores = held(&self.stores);
        stores
            .get(&node)
            .cloned()
            .ok_or_else(|| format!("nobody watches {node}"))
    }

    /// Bytes leave a node: every run of its own in them stands in its log by now.
    pub(super) async fn leaves(&self, node: DivisionCode, bytes: &[u8]) {
        let Ok(store) = self.store(node) else { return };
        let mut reader = Reader::new();
        reader.push(bytes);
        while let Ok(Some(event)) = reader.next_event() {
            let Event::Run(run) = event else { continue };
            if run.origin.node != node {
                continue;
            }
            let leaves: Vec<_> = run.statements.iter().map(|statement| statement.leaf).collect();
            let stored = store.entries(run.first, leaves.len() as u64).await.unwrap_or_default();
            if !stored.iter().map(|line| leaf_hash(line)).eq(leaves.iter().copied()) {
                self.breaks(format!("G4: {node} sent what its log does not hold at {}", run.first));
            }
            let Ok(checkpoint) = Checkpoint::parse(run.checkpoint.text()) else {
                self.breaks(format!("G3: {node} sent a checkpoint that is none"));
                continue;
            };
            let mut shown = held(&self.shown);
            let of_node = shown.entry(node).or_default();
            let before = of_node.roots.insert(checkpoint.size, checkpoint.root);
            let forked = before.is_some_and(|before| before != checkpoint.root);
            of_node.leaves.extend((run.first..).zip(leaves));
            drop(shown);
            if forked {
                self.breaks(format!("G3: {node} signed two logs of {}", checkpoint.size));
            }
        }
    }

    fn breaks(&self, why: String) {
        held(&self.broken).get_or_insert(why);
    }

    /// The first promise that was broken when something left a node.
    ///
    /// # Errors
    /// That one.
    pub(super) fn holds(&self) -> Result<(), String> {
        held(&self.broken).clone().map_or(Ok(()), Err)
    }

    /// At the end: every log holds from its first entry on, and is the one of which each node ever showed a piece.
    ///
    /// # Errors
    /// The first that does not.
    pub(super) async fn holds_in_the_end(&self) -> Result<(), String> {
        let stores = held(&self.stores).clone();
        for (node, store) in stores {
            let verified = store.verify(|_, _| ()).await;
            let size = verified
                .map_err(|error| format!("G3: the log of {node}: {error}"))?
                .size;
            let lines = store.entries(0, size).await.map_err(|error| error.to_string())?;
            let mut roots = BTreeMap::new();
            let mut frontier = Frontier::load::<String>(0, &mut |_, _| Err("an empty log has no hashes".to_owned()))?;
            for line in &lines {
                frontier.push(leaf_hash(line), |_, _, _| ());
                roots.insert(frontier.size(), frontier.root());
            }
            let shown = held(&self.shown);
            let Some(shown) = shown.get(&node) else { continue };
            for (size, root) in &shown.roots {
                if roots.get(size) != Some(root) {
                    return Err(format!("G3: {node} showed a log of {size} entries that is not its own"));
                }
            }
            for (index, leaf) in &shown.leaves {
                let line = usize::try_from(*index).ok().and_then(|index| lines.get(index));
                if line.map(|line| leaf_hash(line)) != Some(*leaf) {
                    return Err(format!("G3: {node} lost entry {index}, which it had shown"));
                }
            }
        }
        Ok(())
    }
}
