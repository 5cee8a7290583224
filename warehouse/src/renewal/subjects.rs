//! Which identities belong together: a person, their stays, notes and claims, and whoever they were merged with are one *subject*.
//!
//! A set of identities by hash, joined pair by pair (union-find). Two texts of one hash join two subjects: then more is computed anew than
//! was needed, and nothing is wrong.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::hash_utils::QualityRandomState;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use schemas::Table;

/// What is hashed already is not hashed again.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |all, byte| all.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type ByHash = BuildHasherDefault<Hashed>;

fn hash(identity: &str) -> u64 {
    QualityRandomState::with_seed(0).hash_one(identity)
}

/// One identity.
struct Node {
    identity: u64,
    parent: u32,
    /// Another of the subject: all of it stand in a ring.
    next: u32,
    /// Of a root: the facts and notes of the subject.
    rows: u32,
}

/// All subjects of a warehouse.
pub struct Subjects {
    known: HashMap<u64, u32, ByHash>,
    nodes: Vec<Node>,
    /// Facts and notes of all.
    rows: u64,
    /// Every row of these versions is in it.
    upto: BTreeMap<Table, u64>,
    reservation: MemoryReservation,
}

impl Subjects {
    /// None yet; their memory is counted in the runtime's.
    pub fn new(runtime: &RuntimeEnv) -> Self {
        let reservation = MemoryConsumer::new("subjects").register(&runtime.memory_pool);
        Self { known: HashMap::default(), nodes: Vec::new(), rows: 0, upto: BTreeMap::new(), reservation }
    }

    /// Whether every row of these versions is in it.
    pub fn hold(&self, versions: &BTreeMap<Table, u64>) -> bool {
        versions.iter().all(|(table, version)| self.upto.get(table).is_some_and(|upto| upto >= version))
    }

    /// Says that every row of these versions is in it.
    pub fn have_come_to(&mut self, versions: &BTreeMap<Table, u64>) {
        for (table, version) in versions {
            let upto = self.upto.entry(*table).or_insert(*version);
            *upto = (*upto).max(*version);
        }
    }

    /// Joins what stands in one row of the batch, whose columns are identities or NULL; returns the hashes of those that were named.
    ///
    /// # Errors
    /// Where a column is no text, or memory has run out.
    pub fn join(&mut self, links: &RecordBatch) -> Result<HashSet<u64>> {
        let columns = links.columns().iter().map(|column| cast(column, &DataType::Utf8View)).collect::<std::result::Result<Vec<_>, _>>()?;
        let columns: Vec<_> = columns.iter().map(|column| column.as_string_view()).collect();
        let mut named = HashSet::new();
        for row in 0..links.num_rows() {
            let mut first = None;
            for column in columns.iter().filter(|column| column.is_valid(row)) {
                let identity = hash(column.value(row));
                named.insert(identity);
                let node = self.node(identity);
                first = Some(match first {
                    Some(first) => self.united(first, node),
                    None => self.root(node),
                });
            }
            if let Some(root) = first.and_then(|root| self.nodes.get_mut(root as usize)) {
                root.rows += 1;
                self.rows += 1;
            }
        }
        self.reservation.try_resize(self.known.capacity() * 17 + self.nodes.capacity() * size_of::<Node>())?;
        Ok(named)
    }

    fn node(&mut self, identity: u64) -> u32 {
        *self.known.entry(identity).or_insert_with(|| {
            // So many identities do not fit into the memory of any machine.
            let node = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
            self.nodes.push(Node { identity, parent: node, next: node, rows: 0 });
            node
        })
    }

    fn parent(&self, node: u32) -> u32 {
        self.nodes.get(node as usize).map_or(node, |of| of.parent)
    }

    fn root(&mut self, mut node: u32) -> u32 {
        while self.parent(node) != node {
            let above = self.parent(self.parent(node));
            if let Some(of) = self.nodes.get_mut(node as usize) {
                of.parent = above;
            }
            node = above;
        }
        node
    }

    /// The root of both: that of the larger, so that paths stay short.
    fn united(&mut self, one: u32, other: u32) -> u32 {
        let (one, other) = (self.root(one), self.root(other));
        let Ok([of_one, of_other]) = self.nodes.get_disjoint_mut([one as usize, other as usize]) else { return one };
        let (above, of_above, of_below) = if of_one.rows >= of_other.rows { (one, of_one, of_other) } else { (other, of_other, of_one) };
        of_above.rows += of_below.rows;
        of_below.parent = above;
        // Two rings become one where two of their nodes change places.
        std::mem::swap(&mut of_above.next, &mut of_below.next);
        above
    }

    /// All identities of the subjects that these belong to, and which part of all rows is theirs.
    pub fn of(&mut self, named: &HashSet<u64>) -> (Scope, f64) {
        let nodes: Vec<u32> = named.iter().filter_map(|identity| self.known.get(identity).copied()).collect();
        let roots: HashSet<u32> = nodes.into_iter().map(|node| self.root(node)).collect();
        let (mut theirs, mut rows) = (HashSet::<u64, ByHash>::default(), 0);
        for root in roots {
            let mut node = root;
            while let Some(of) = self.nodes.get(node as usize) {
                theirs.insert(of.identity);
                rows += u64::from(of.rows) * u64::from(node == root);
                node = of.next;
                if node == root {
                    break;
                }
            }
        }
        (Scope(Arc::new(theirs)), rows as f64 / (self.rows as f64).max(1.0))
    }
}

/// Identities of some subjects, all of each.
#[derive(Clone)]
pub struct Scope(Arc<HashSet<u64, ByHash>>);

impl Scope {
    /// Which of the column's identities are in it; NULL is not.
    ///
    /// # Errors
    /// Where the column is no text.
    pub fn holds(&self, column: &dyn datafusion::arrow::array::Array) -> Result<BooleanArray> {
        let texts = cast(column, &DataType::Utf8View)?;
        let texts = texts.as_string_view();
        Ok(texts.iter().map(|identity| Some(identity.is_some_and(|identity| self.0.contains(&hash(identity))))).collect())
    }

    /// `in_scope(identity)`.
    pub fn function(&self) -> ScalarUDF {
        let scope = self.clone();
        let body = move |values: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(values)?;
            let [identities] = arrays.as_slice() else { return datafusion::common::exec_err!("in_scope(identity)") };
            Ok(ColumnarValue::Array(Arc::new(scope.holds(identities)?)))
        };
        create_udf("in_scope", vec![DataType::Utf8View], DataType::Boolean, Volatility::Immutable, Arc::new(body))
    }
}
