//! Tables, logs and databases, good and broken, from files to rows.

#[path = "tables/bad.rs"]
mod bad;
#[path = "tables/bench.rs"]
mod bench;
#[path = "tables/kinds.rs"]
mod kinds;
#[path = "tables/mysql.rs"]
mod mysql;
#[path = "tables/postgres.rs"]
mod postgres;
#[path = "tables/resume.rs"]
mod resume;
