//! The supervisor against a simulated world, its transition matrix, and its rules one by one.
mod elsewhere;
mod ending;
mod explain;
mod graph;
mod invariants;
mod matrix;
mod policy;
mod random;
mod simulation;
mod stage;
mod units_at_random;
mod waits;
mod world;
