//! `meganet`: the native peer, as a daemon and as commands.
//!
//! * [`cli`] – the command line; [`output`] – what it prints; [`error`] – how it fails
//! * [`daemon`] – `meganet peer`; [`socket`] – how commands reach it; [`client`] – a running node or a short-lived one
//! * [`publish`], [`get`], [`show`] – the other commands
//! * [`store`] – chunks and sites on disk; [`data_dir`], [`secrets`], [`sealed_key`] – where state and keys are
//! * [`site_keys`] – which key signs for a folder
//! * [`folder`] – folders entered without following links; [`bootstrap`] – first contact; [`text`] – safe to print

pub mod bootstrap;
pub mod cli;
pub mod client;
pub mod daemon;
pub mod data_dir;
pub mod error;
pub mod folder;
pub mod get;
pub mod output;
pub mod publish;
pub mod sealed_key;
pub mod secrets;
pub mod show;
pub mod site_keys;
pub mod socket;
pub mod store;
pub mod text;
