//! The binary from outside: what it prints, how it ends, what it leaves, on a model of 100 KB.

#[path = "all/bench.rs"]
mod bench;
#[path = "all/check.rs"]
mod check;
#[path = "all/costs.rs"]
mod costs;
#[path = "all/course.rs"]
mod course;
#[path = "all/datasets.rs"]
mod datasets;
#[path = "all/faults.rs"]
mod faults;
#[path = "all/help.rs"]
mod help;
#[path = "all/imports.rs"]
mod imports;
#[path = "all/methods.rs"]
mod methods;
#[path = "all/models.rs"]
mod models;
#[path = "all/path.rs"]
mod path;
#[path = "all/plans.rs"]
mod plans;
#[path = "all/stops.rs"]
mod stops;
#[path = "all/sweep.rs"]
mod sweep;
#[path = "all/trackers.rs"]
mod trackers;
