//! The hospital room.
