//! The maps room.
