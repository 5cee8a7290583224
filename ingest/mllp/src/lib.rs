//! A listener for MLLP: frames become records of a raw topic.
