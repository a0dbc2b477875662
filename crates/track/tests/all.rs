//! Trackers judged from outside: a server that dies, and foreign files read back by readers of their own.

#[path = "all/bench.rs"]
mod bench;
#[path = "all/board.rs"]
mod board;
mod fake;
#[path = "all/server.rs"]
mod server;
#[path = "all/wandb.rs"]
mod sync;
#[path = "all/wires.rs"]
mod wires;
