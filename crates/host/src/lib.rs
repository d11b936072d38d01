//! What the programs that run on a machine of one's own share.
//!
//! * [`files`] – files for this user alone; [`lock`] – one process for a directory
//! * [`limits`] – what the system lets a process have
//! * [`listen`] – whether addresses can be listened on; [`text`] – safe to print; [`tls`] – certificates from files

pub mod files;
pub mod limits;
pub mod listen;
pub mod lock;
pub mod text;
pub mod tls;
