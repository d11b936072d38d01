//! The dialling end of a `webrtc-direct` connection's Noise handshake, apart from the data channel that carries it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use bytes::Bytes;
use futures::{AsyncRead, AsyncWrite, FutureExt, TryStreamExt, channel::mpsc as channel, future::BoxFuture};
use libp2p::{
    core::{UpgradeInfo, upgrade::InboundConnectionUpgrade},
    identity::Keypair,
    noise,
};
use meganet_transport::proto::{
    fingerprint::{Fingerprint, noise_prologue},
    frame::{Decoder, Flag, Frame},
};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// A handshake is three messages.
const WAITING_MAX: usize = 64;

/// A handshake: what comes on its channel is put in, what goes out is taken from it.
pub struct Handshake {
    decoder: Decoder,
    incoming: channel::Sender<io::Result<Bytes>>,
    outgoing: mpsc::Receiver<Bytes>,
    /// The other end's half of the stream has ended.
    has_fin: bool,
    done: Option<BoxFuture<'static, ()>>,
}

impl Handshake {
    /// Of this identity, with these certificates.
    pub fn new(identity: &Keypair, client: Fingerprint, server: Fingerprint) -> Self {
        let (incoming, reader) = channel::channel::<io::Result<Bytes>>(WAITING_MAX);
        let (writer, outgoing) = mpsc::channel(WAITING_MAX);
        let pipe = Pipe { reader: reader.into_async_read(), writer };
        let noise = noise::Config::new(identity).unwrap().with_prologue(noise_prologue(client, server));
        // Whoever was dialled speaks first.
        let done = async move {
            let info = noise.protocol_info().next().unwrap();
            noise.upgrade_inbound(pipe, info).await.map(drop).unwrap();
        };
        Self { decoder: Decoder::default(), incoming, outgoing, has_fin: false, done: Some(done.boxed()) }
    }

    /// Takes in a message of the channel.
    pub fn take_in(&mut self, message: Vec<u8>) {
        self.decoder.push(message.into());
        while let Some(Frame { flag, data }) = self.decoder.next_frame().unwrap() {
            self.has_fin |= flag == Some(Flag::Fin);
            if !data.is_empty() {
                // What comes after the handshake is for nobody.
                let _ = self.incoming.try_send(Ok(data));
            }
        }
    }

    /// The next frame to send.
    pub fn next_frame(&mut self) -> Option<Vec<u8>> {
        match self.outgoing.try_recv() {
            Ok(data) => Some(Frame::data(data).encode()),
            // Otherwise the other end would wait for it before it goes on.
            Err(_) => std::mem::take(&mut self.has_fin).then(|| Frame::flag(Flag::FinAck).encode()),
        }
    }

    /// Waits for its end; once it has come, for ever.
    pub async fn done(&mut self) {
        match &mut self.done {
            Some(done) => done.await,
            None => std::future::pending().await,
        }
        self.done = None;
    }
}

struct Pipe<R> {
    reader: R,
    writer: mpsc::Sender<Bytes>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Pipe<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}

impl<R: Unpin> AsyncWrite for Pipe<R> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = self.writer.try_send(Bytes::copy_from_slice(bytes));
        Poll::Ready(sent.map(|()| bytes.len()).map_err(|error| io::Error::other(error.to_string())))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
