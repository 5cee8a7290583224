//! Which identities belong together: a person, their stays, notes and claims, and whoever they were merged with are one *subject*.
//!
//! A set of identities by hash, joined pair by pair (union-find). Two texts of one hash join two subjects: then more is computed anew than
//! was needed, and nothing is wrong.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash as _, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
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
    let mut hasher = DefaultHasher::new();
    identity.hash(&mut hasher);
    hasher.finish()
}

/// All subjects of a warehouse.
pub struct Subjects {
    known: HashMap<u64, u32, ByHash>,
    parents: Vec<u32>,
    /// Facts and notes of each, with its root.
    rows: Vec<u32>,
    /// Every row of these versions is in it.
    upto: BTreeMap<Table, u64>,
    reservation: MemoryReservation,
}

impl Subjects {
    /// None yet; their memory is counted in the runtime's.
    pub fn new(runtime: &RuntimeEnv) -> Self {
        let reservation = MemoryConsumer::new("subjects").register(&runtime.memory_pool);
        Self { known: HashMap::default(), parents: Vec::new(), rows: Vec::new(), upto: BTreeMap::new(), reservation }
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
            if let Some(rows) = first.and_then(|root| self.rows.get_mut(root as usize)) {
                *rows += 1;
            }
        }
        self.reservation.try_resize(self.known.capacity() * 17 + self.parents.capacity() * 8)?;
        Ok(named)
    }

    fn node(&mut self, identity: u64) -> u32 {
        *self.known.entry(identity).or_insert_with(|| {
            // So many identities do not fit into the memory of any machine.
            let node = u32::try_from(self.parents.len()).unwrap_or(u32::MAX);
            self.parents.push(node);
            self.rows.push(0);
            node
        })
    }

    fn parent(&self, node: u32) -> u32 {
        self.parents.get(node as usize).copied().unwrap_or(node)
    }

    fn root(&mut self, mut node: u32) -> u32 {
        while self.parent(node) != node {
            let above = self.parent(self.parent(node));
            if let Some(parent) = self.parents.get_mut(node as usize) {
                *parent = above;
            }
            node = above;
        }
        node
    }

    /// The root of both: that of the larger, so that paths stay short.
    fn united(&mut self, one: u32, other: u32) -> u32 {
        let (one, other) = (self.root(one), self.root(other));
        if one == other {
            return one;
        }
        let rows = |node: u32| self.rows.get(node as usize).copied().unwrap_or(0);
        let (above, below, sum) =
            if rows(one) >= rows(other) { (one, other, rows(one) + rows(other)) } else { (other, one, rows(one) + rows(other)) };
        if let (Some(parent), Some(rows)) = (self.parents.get_mut(below as usize), self.rows.get_mut(above as usize)) {
            (*parent, *rows) = (above, sum);
        }
        above
    }

    /// All identities of the subjects that these belong to, and which part of all rows is theirs.
    pub fn of(&mut self, named: &HashSet<u64>) -> (Scope, f64) {
        let roots: HashSet<u32> =
            named.iter().filter_map(|identity| self.known.get(identity).copied()).map(|node| self.above(node)).collect();
        let theirs: HashSet<u64, ByHash> =
            self.known.iter().filter(|(_, node)| roots.contains(&self.above(**node))).map(|(identity, _)| *identity).collect();
        let rows = |node: u32| f64::from(self.rows.get(node as usize).copied().unwrap_or(0));
        let all: f64 = (0..).zip(&self.parents).filter(|(node, parent)| node == *parent).map(|(node, _)| rows(node)).sum();
        let share = roots.iter().map(|root| rows(*root)).sum::<f64>() / all.max(1.0);
        (Scope(Arc::new(theirs)), share)
    }

    /// The root, without making the path shorter.
    fn above(&self, mut node: u32) -> u32 {
        while self.parent(node) != node {
            node = self.parent(node);
        }
        node
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
