//! Folds: a state that a function makes of the events of a query, one after the other.

pub mod evolve;
