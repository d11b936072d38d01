//! What test peers say to each other; `e2e/js-peer/protocols.js` is the other implementation.
//!
//! - `/meganet/test/echo/1`: the answerer sends back what comes, then closes.
//! - `/meganet/test/transfer/1`: one byte direction (0: to the opener, 1: to the answerer) and a length, u64 big-endian. To the
//!   answerer: the opener sends so many bytes and half-closes, the answerer replies with the count it read, u64 big-endian. To
//!   the opener: it half-closes at once and the answerer sends so many bytes.

use crate::platform::Instant;
use anyhow::{Result, bail, ensure};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{PeerId, StreamProtocol};

pub(crate) const ECHO: StreamProtocol = StreamProtocol::new("/meganet/test/echo/1");
pub(crate) const TRANSFER: StreamProtocol = StreamProtocol::new("/meganet/test/transfer/1");
pub(crate) const PING: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");

const TO_OPENER: u8 = 0;
const TO_ANSWERER: u8 = 1;
/// Bytes handed to a stream at once unless the caller says otherwise.
pub(crate) const PIECE_BYTES: usize = 64 * 1024;
/// Bytes read from a stream at once.
const READ_BYTES: usize = 256 * 1024;
/// Bytes that an opener may ask for.
const TRANSFER_MAX_BYTES: u64 = 1 << 32;

/// Anything that carries a protocol.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// Pseudo-random bytes (xorshift32), which nothing on the way can compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x6d65_6761_u32;
    let mut all = Vec::with_capacity(bytes + 4);
    while all.len() < bytes {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        all.extend(state.to_le_bytes());
    }
    all.truncate(bytes);
    all
}

pub(crate) async fn open_ping(mut stream: impl Duplex) -> Result<f64> {
    let sent = noise(32);
    let started = Instant::now();
    stream.write_all(&sent).await?;
    stream.flush().await?;
    let mut back = vec![0; sent.len()];
    stream.read_exact(&mut back).await?;
    let elapsed = started.elapsed();
    ensure!(back == sent, "ping came back changed");
    stream.close().await?;
    Ok(elapsed.as_secs_f64() * 1_000.0)
}

pub(crate) async fn open_echo(stream: impl Duplex, bytes: usize) -> Result<()> {
    let sent = noise(bytes);
    let (mut reader, mut writer) = stream.split();
    let writing = async {
        for piece in sent.chunks(PIECE_BYTES) {
            writer.write_all(piece).await?;
        }
        writer.close().await
    };
    let mut back = Vec::with_capacity(bytes);
    let (written, read) = futures::join!(writing, reader.read_to_end(&mut back));
    written?;
    read?;
    ensure!(back == sent, "{} of {bytes} bytes came back, or others", back.len());
    Ok(())
}

pub(crate) async fn answer_echo(stream: impl Duplex) -> Result<()> {
    let (mut reader, mut writer) = stream.split();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = reader.read(&mut buffer).await?;
        if read == 0 {
            return Ok(writer.close().await?);
        }
        writer.write_all(buffer.get(..read).unwrap_or_default()).await?;
        writer.flush().await?;
    }
}

async fn head(stream: &mut (impl AsyncWrite + Unpin), direction: u8, bytes: u64) -> Result<()> {
    let mut head = vec![direction];
    head.extend(bytes.to_be_bytes());
    Ok(stream.write_all(&head).await?)
}

async fn fill(stream: &mut (impl AsyncWrite + Unpin), bytes: u64, piece_bytes: usize) -> Result<()> {
    let piece = noise(piece_bytes.max(1));
    let mut left = bytes;
    while left > 0 {
        let len = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        stream.write_all(piece.get(..len).unwrap_or_default()).await?;
        left -= len as u64;
    }
    Ok(())
}

async fn count(stream: &mut (impl AsyncRead + Unpin)) -> Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(bytes),
            read => bytes += read as u64,
        }
    }
}

/// Sends `bytes`; the time ends when the answerer's count has come, ms.
pub(crate) async fn open_send(stream: impl Duplex, bytes: u64, piece_bytes: usize) -> Result<f64> {
    let (mut reader, mut writer) = stream.split();
    let started = Instant::now();
    let writing = async {
        head(&mut writer, TO_ANSWERER, bytes).await?;
        fill(&mut writer, bytes, piece_bytes).await?;
        anyhow::Ok(writer.close().await?)
    };
    let reading = async {
        let mut counted = [0; 8];
        reader.read_exact(&mut counted).await?;
        anyhow::Ok((u64::from_be_bytes(counted), started.elapsed()))
    };
    let (written, counted) = futures::join!(writing, reading);
    written?;
    let (counted, elapsed) = counted?;
    ensure!(counted == bytes, "sent {bytes} bytes, the answerer counted {counted}");
    Ok(elapsed.as_secs_f64() * 1_000.0)
}

/// Asks for `bytes` and reads them; ms.
pub(crate) async fn open_receive(stream: impl Duplex, bytes: u64) -> Result<f64> {
    let (mut reader, mut writer) = stream.split();
    let started = Instant::now();
    let asking = async {
        head(&mut writer, TO_OPENER, bytes).await?;
        anyhow::Ok(writer.close().await?)
    };
    let (asked, counted) = futures::join!(asking, count(&mut reader));
    asked?;
    let counted = counted?;
    ensure!(counted == bytes, "asked for {bytes} bytes, {counted} came");
    Ok(started.elapsed().as_secs_f64() * 1_000.0)
}

pub(crate) async fn answer_transfer(mut stream: impl Duplex) -> Result<()> {
    let (mut direction, mut length) = ([0], [0; 8]);
    stream.read_exact(&mut direction).await?;
    stream.read_exact(&mut length).await?;
    let length = u64::from_be_bytes(length);
    ensure!(length <= TRANSFER_MAX_BYTES, "{length} bytes asked for");
    match direction {
        [TO_ANSWERER] => {
            let counted = count(&mut stream).await?;
            stream.write_all(&counted.to_be_bytes()).await?;
        }
        [TO_OPENER] => fill(&mut stream, length, PIECE_BYTES).await?,
        [other] => bail!("no such direction: {other}"),
    }
    Ok(stream.close().await?)
}

/// Opens streams, and writes to, half-closes, resets and drops those that are open in a random order.
pub(crate) async fn churn(mut streams: libp2p_stream::Control, peer: PeerId, total: usize, seed: u64) -> Result<()> {
    const HELD_MAX: usize = 24;
    let mut random = seed.max(1);
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % bound.max(1) as u64) as usize
    };
    let (mut opened, mut held) = (0, Vec::new());
    while opened < total || !held.is_empty() {
        if opened < total && held.len() < HELD_MAX && below(2) == 0 {
            held.push(streams.open_stream(peer, ECHO).await?);
            opened += 1;
        }
        let place = below(held.len());
        let Some(stream) = held.get_mut(place) else { continue };
        // Whether the other end has ended it before does not matter here.
        match below(6) {
            0 => drop(held.swap_remove(place)),
            1 => _ = stream.close().await,
            _ => _ = stream.write_all(&[7; 300]).await,
        }
    }
    Ok(())
}

/// Writes the same again and again until the other end has enough of it; how often the stream took it whole.
pub(crate) async fn rave(mut stream: impl Duplex, bytes: &[u8], times: usize) -> Result<usize> {
    let all = bytes.repeat(times);
    let mut written = 0;
    while let Some(rest) = all.get(written..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest).await {
            Ok(taken) if taken > 0 => written += taken,
            // Being cut off is what is wanted.
            _ => break,
        }
    }
    let _ = stream.flush().await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    Ok(written / bytes.len().max(1))
}
