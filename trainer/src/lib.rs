//! The trainer room.
