//! End to end: the binary as its users run it, in a folder of its own, against real Kafka and real PostgreSQL.
//!
//! `tests/run` builds the binaries and names them in `WARDSTREAM_BIN`; without the feature `live` nothing here runs.

pub mod stand;
