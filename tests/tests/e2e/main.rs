//! The two real binaries against real processes and sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod beats;
mod caring;
mod cli;
mod demo;
mod disks;
mod explaining;
mod grpc;
mod launching;
mod limits;
mod logs;
mod monitoring;
mod newcomer;
mod notifying;
mod operating;
mod program;
mod readiness;
mod receiving;
mod registering;
mod reloading;
mod remembering;
mod schema;
mod servers;
mod shop;
mod starving;
mod supervision;
mod surviving;
mod systemd;
mod telling;
mod tls;
mod trees;
