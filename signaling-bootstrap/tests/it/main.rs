//! The real program on real sockets: what it serves, what it refuses, how it starts and stops.

mod files;
mod hosts;
mod lifecycle;
mod limits;
mod peer_list;
mod support;
