//! Takes off what a record is wrapped in before it is mapped.
