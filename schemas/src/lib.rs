//! The schemas room.
