//! `meganet-bootstrap`: first contact for tabs, and the web server of the app.
//!
//! It does three things and keeps no database: it serves the app's files and the pages of site origins over HTTP
//! ([`http`], [`files`], [`host`], [`headers`]), it serves a signed list of peers to dial ([`peers`]), and it runs a
//! node as a relay for signalling and a server of the DHT ([`p2p`]). Its only state is its identity ([`identity`]).
//! Everything here does I/O; every limit is a named constant beside the code it holds.

pub mod args;
pub mod files;
pub mod headers;
pub mod host;
pub mod http;
pub mod identity;
pub mod p2p;
pub mod peers;
pub mod server;
