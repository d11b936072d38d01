//! The command's side of the local socket.

use super::{CALLS_MAX, SocketError, ToClient, ToServer, frame, read_frame, read_hello, send_hello};
use meganet_node::api::{ApiError, Command, Event, Reply, decode};
use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    sync::{Semaphore, broadcast, mpsc, oneshot},
    task::JoinSet,
};

/// Events kept for a slow listener; older ones are lost to it.
const EVENTS_WAITING_MAX: usize = 64;
/// Frames waiting to be written.
const FRAMES_WAITING_MAX: usize = 16;

/// Who waits for which reply; `None` once the connection has ended.
type Waiting = Arc<Mutex<Option<HashMap<u32, oneshot::Sender<Result<Reply, ApiError>>>>>>;

/// A connection to the running node. Dropping it hangs up.
pub struct RemoteNode {
    frames: mpsc::Sender<Vec<u8>>,
    waiting: Waiting,
    events: broadcast::Sender<Event>,
    next_id: AtomicU32,
    places: Semaphore,
    _tasks: JoinSet<()>,
}

impl RemoteNode {
    /// Connects; `None` when nothing listens there.
    ///
    /// # Errors
    /// [`SocketError`]: something listens that this version cannot talk to.
    pub async fn connect(path: &Path) -> Result<Option<Self>, SocketError> {
        use std::io::ErrorKind::{ConnectionRefused, InvalidInput, NotFound};
        let mut stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            // A path too long to connect to is one no server could listen on.
            Err(error) if matches!(error.kind(), NotFound | ConnectionRefused | InvalidInput) => return Ok(None),
            Err(source) => return Err(SocketError::Connect { path: path.to_owned(), source }),
        };
        read_hello(&mut stream).await?;
        send_hello(&mut stream).await?;
        let (mut reader, mut writer) = stream.into_split();
        let (frames, mut queue) = mpsc::channel::<Vec<u8>>(FRAMES_WAITING_MAX);
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let (events, _) = broadcast::channel(EVENTS_WAITING_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(frame) = queue.recv().await {
                if writer.write_all(&frame).await.is_err() {
                    return;
                }
            }
        });
        let (calls, sink) = (waiting.clone(), events.clone());
        tasks.spawn(async move {
            while let Ok(Some(body)) = read_frame(&mut reader).await {
                match decode::<ToClient>(&body) {
                    Ok(ToClient::Reply { id, result }) => {
                        if let Some(done) = lock(&calls).as_mut().and_then(|calls| calls.remove(&id)) {
                            let _ = done.send(result);
                        }
                    }
                    Ok(ToClient::Event(event)) => {
                        let _ = sink.send(event);
                    }
                    Err(_) => break,
                }
            }
            // Dropping the senders tells every caller that the node is gone.
            *lock(&calls) = None;
        });
        Ok(Some(RemoteNode {
            frames,
            waiting,
            events,
            next_id: AtomicU32::new(1),
            places: Semaphore::new(CALLS_MAX),
            _tasks: tasks,
        }))
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// The node's own, or [`ApiError::Stopped`] when the connection ends first.
    pub async fn call(&self, command: Command) -> Result<Reply, ApiError> {
        let _place = self.places.acquire().await.map_err(|_| ApiError::Stopped)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let frame =
            frame(&ToServer::Call { id, command }).map_err(|error| ApiError::Refused { reason: error.to_string() })?;
        let (done, reply) = oneshot::channel();
        lock(&self.waiting).as_mut().ok_or(ApiError::Stopped)?.insert(id, done);
        self.frames.send(frame).await.map_err(|_| ApiError::Stopped)?;
        reply.await.map_err(|_| ApiError::Stopped)?
    }

    /// Asks for events; they come to the returned receiver.
    pub async fn events(&self) -> broadcast::Receiver<Event> {
        let receiver = self.events.subscribe();
        if let Ok(frame) = frame(&ToServer::Events) {
            let _ = self.frames.send(frame).await;
        }
        receiver
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
