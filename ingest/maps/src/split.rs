//! Cuts a file into records, and tells what a record is.
