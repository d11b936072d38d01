//! What the examples share: their protocol, who answers it, and how they say what they speak.

#![allow(dead_code, reason = "each example uses a part of it")]

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{StreamProtocol, identify, identity::PublicKey, swarm::DialError};
use libp2p_stream::IncomingStreams;
use meganet_transport::{
    Error,
    signalling::{HostsOnly, Through},
};

/// What is written to such a stream comes back.
pub const ECHO: StreamProtocol = StreamProtocol::new("/example/echo/1");

/// Answers [`ECHO`] in a task of its own.
pub fn answer(mut echoes: IncomingStreams) {
    tokio::spawn(async move {
        while let Some((peer, stream)) = echoes.next().await {
            println!("{peer} speaks");
            tokio::spawn(async move {
                let (reader, mut writer) = stream.split();
                let _ = futures::io::copy(reader, &mut writer).await;
                let _ = writer.close().await;
            });
        }
    });
}

/// For those who ask which protocols this peer speaks. Not behind `DirectOnly`, as other protocols are: js-libp2p asks on each
/// connection, relayed ones too, and one question is little for a circuit. The answer on a relayed connection names what is
/// spoken there, so nothing that is kept off it.
pub fn identify_as(key: PublicKey) -> Through<HostsOnly, identify::Behaviour> {
    Through::new(identify::Behaviour::new(identify::Config::new("/example/1".into(), key)))
}

/// Why a dial failed: this crate's transport says it of its own dials, libp2p's say it in other words.
pub fn why(error: &DialError) -> String {
    let DialError::Transport(of_addresses) = error else { return error.to_string() };
    let why = |(address, error)| match Error::within(error) {
        Some(error) => error.to_string(),
        None => format!("{address}: {error}"),
    };
    of_addresses.iter().map(|(address, error)| why((address, error))).collect::<Vec<_>>().join("; ")
}
