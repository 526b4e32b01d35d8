//! The two real binaries against real processes and sockets.

mod cli;
mod demo;
mod program;
mod supervision;
