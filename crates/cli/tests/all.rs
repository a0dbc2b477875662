//! The binary from outside: what it prints, how it ends, what it leaves, on a model of 100 KB.

#[path = "all/bench.rs"]
mod bench;
#[path = "all/course.rs"]
mod course;
#[path = "all/faults.rs"]
mod faults;
#[path = "all/help.rs"]
mod help;
#[path = "all/models.rs"]
mod models;
#[path = "all/path.rs"]
mod path;
#[path = "all/plans.rs"]
mod plans;
#[path = "all/stops.rs"]
mod stops;
