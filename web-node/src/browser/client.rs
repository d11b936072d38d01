//! What the interface holds: one client, wherever the node runs.
//!
//! The tab that gets the lock runs the node; every other tab sends its commands to that tab, and takes over when it
//! closes. Callers notice none of this: a command that was waiting when the leader changed is sent again.

use crate::{
    browser::{
        broadcast::Broadcast,
        contact,
        identity::{self, IdentityError},
        lifecycle, lock, panic,
        proxy::Proxy,
        serve::Tabs,
        signal::Signal,
        storage, timings,
    },
    frames::{Frame, HALL_CHANNEL, LEADER_LOCK, Snapshot},
    state::{Contact, Seat, StorageProblem, Update},
};
use futures::{StreamExt, future::select};
use meganet_node::{
    Node, NodeHandle,
    api::{ApiError, Command, Contribution, Event, Phase, Reply, Status},
    config::NodeConfig,
    platform::{self, RandomError},
    store::Store,
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

/// Calls of this tab that may wait at once.
const CALLS_MAX: usize = 256;
/// Listeners at most.
const LISTENERS_MAX: usize = 64;
/// How long a follower waits for a leader's greeting before it greets again.
const GREETING_INTERVAL_MS: u64 = 2_000;

/// The one way to the node. Cheap to clone; clones are equal.
#[derive(Clone)]
pub struct Client(Rc<Inner>);

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

enum Place {
    Starting,
    Here(NodeHandle),
    OtherTab(Rc<Proxy>),
    Failed,
}

type Heard = Rc<dyn Fn(&Update)>;

struct Inner {
    tab: u64,
    /// Differs for every leader that ever was.
    term: Cell<Option<u64>>,
    place: RefCell<Place>,
    place_changed: Signal,
    phase_changed: Signal,
    retry_wanted: Signal,
    snapshot: RefCell<Snapshot>,
    retry_at_ms: Cell<Option<u64>>,
    contribution: Cell<Contribution>,
    /// On the page's clock.
    node_started_ms: Cell<Option<f64>>,
    calls: Cell<usize>,
    listeners: RefCell<Vec<(u32, Heard)>>,
    next_listener: Cell<u32>,
    hall: RefCell<Option<Rc<Broadcast>>>,
    tabs: Tabs,
}

/// Hears updates until dropped.
pub struct Subscription {
    client: Client,
    id: u32,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.client.0.listeners.borrow_mut().retain(|(id, _)| *id != self.id);
    }
}

impl Client {
    /// Starts a node in this tab or finds the one in another. `contribution` is what the user agreed to earlier; a node
    /// that starts here begins with it.
    pub fn start(contribution: Contribution) -> Self {
        timings::mark(|timings| &mut timings.started_ms);
        let client = Self(Rc::new(Inner {
            // Without randomness no key can be made either, which is reported when the node starts.
            tab: platform::random_bytes::<8>().map_or(0, u64::from_le_bytes),
            term: Cell::default(),
            place: RefCell::new(Place::Starting),
            place_changed: Signal::default(),
            phase_changed: Signal::default(),
            retry_wanted: Signal::default(),
            snapshot: RefCell::default(),
            retry_at_ms: Cell::default(),
            contribution: Cell::new(contribution),
            node_started_ms: Cell::default(),
            calls: Cell::default(),
            listeners: RefCell::default(),
            next_listener: Cell::default(),
            hall: RefCell::default(),
            tabs: Tabs::default(),
        }));
        lifecycle::watch(&client);
        platform::spawn(client.clone().run());
        client
    }

    /// Carries out a command, wherever the node runs; waits for the node to start.
    ///
    /// # Errors
    /// The node's own, [`ApiError::Busy`] when too many calls wait, [`ApiError::Stopped`] when there is no node.
    pub async fn call(&self, command: Command) -> Result<Reply, ApiError> {
        if panic::is_poisoned() {
            return Err(ApiError::Stopped);
        }
        if self.0.calls.get() >= CALLS_MAX {
            return Err(ApiError::Busy);
        }
        let _counted = Counted::one(&self.0);
        if let Command::SetContribution { contribution } = &command {
            self.0.contribution.set(*contribution);
        }
        loop {
            enum Way {
                Wait,
                Here(NodeHandle),
                Other(Rc<Proxy>, Rc<Broadcast>),
            }
            let way = match (&*self.0.place.borrow(), &*self.0.hall.borrow()) {
                (Place::Failed, _) => return Err(ApiError::Stopped),
                (Place::Here(node), _) => Way::Here(node.clone()),
                (Place::OtherTab(proxy), Some(hall)) => Way::Other(proxy.clone(), hall.clone()),
                _ => Way::Wait,
            };
            match way {
                Way::Wait => self.0.place_changed.wait().await,
                Way::Here(node) => return node.call(command).await,
                Way::Other(proxy, hall) => {
                    if let Ok(result) = proxy.call(&hall, command.clone()).await {
                        return result;
                    }
                }
            }
        }
    }

    /// Calls `listener` with every update from now on. At most 64 listen; a further one hears nothing.
    pub fn subscribe(&self, listener: impl Fn(&Update) + 'static) -> Subscription {
        let id = self.0.next_listener.get();
        self.0.next_listener.set(id.wrapping_add(1));
        let mut listeners = self.0.listeners.borrow_mut();
        if listeners.len() < LISTENERS_MAX {
            listeners.push((id, Rc::new(listener)));
        }
        Subscription { client: self.clone(), id }
    }

    /// What the listeners heard last, for one that comes late.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.0.snapshot.borrow().clone();
        let now = platform::monotonic_ms();
        snapshot.contact.retry_in_ms = self.0.retry_at_ms.get().map(|at| at.saturating_sub(now));
        snapshot
    }

    /// Tries first contact at once, here or in the tab that runs the node.
    pub fn retry_now(&self) {
        let node = match &*self.0.place.borrow() {
            Place::Here(node) => node.clone(),
            _ => return self.send(&Frame::RetryNow),
        };
        self.0.retry_wanted.fire();
        platform::spawn(async move {
            // A node that cannot take the command now has its own timer.
            let _ = node.call(Command::RetryNow).await;
        });
    }

    /// The page is about to go: its node, if it has one, says goodbye to its peers. Other tabs are not told, so that they ask again
    /// whoever leads next. Whether there was a node.
    pub fn leave(&self) -> bool {
        let Place::Here(node) = &*self.0.place.borrow() else { return false };
        self.0.term.set(None);
        let node = node.clone();
        platform::spawn(async move {
            let _ = node.call(Command::Shutdown).await;
        });
        true
    }

    /// Whether this tab leads, and answers the others.
    pub(crate) fn leads(&self) -> bool {
        self.0.term.get().is_some()
    }

    /// Whether the node runs in this tab.
    pub fn runs_here(&self) -> bool {
        matches!(&*self.0.place.borrow(), Place::Here(_))
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.0.snapshot.borrow().status.as_ref().is_some_and(|status| status.phase == Phase::Joined)
    }

    pub(crate) fn contact(&self) -> Contact {
        self.0.snapshot.borrow().contact.clone()
    }

    pub(crate) fn set_contact(&self, contact: Contact) {
        self.emit(Update::Contact(contact));
    }

    pub(crate) fn phase_changed(&self) -> &Signal {
        &self.0.phase_changed
    }

    pub(crate) fn retry_wanted(&self) -> &Signal {
        &self.0.retry_wanted
    }

    async fn run(self) {
        let hearing = self.clone();
        let hall = Broadcast::open(HALL_CHANNEL, move |frame| hearing.hear(frame));
        *self.0.hall.borrow_mut() = hall.map(Rc::new);
        let held = match lock::try_hold(LEADER_LOCK).await {
            Ok(Some(held)) => Some(held),
            Ok(None) => {
                self.follow();
                lock::hold(LEADER_LOCK).await.ok()
            }
            // Without locks every tab is a node of its own; storage is still shared and each write is whole.
            Err(lock::NoLocks) => None,
        };
        if let Some(held) = held {
            panic::keep_lock(held);
        }
        let reason = self.lead().await;
        // No leader any more: another tab may run a node, and this one answers nobody.
        self.0.term.set(None);
        self.set_place(Place::Failed, Seat::Failed { reason });
        panic::release_lock();
    }

    fn follow(&self) {
        let proxy = Rc::new(Proxy::new(self.0.tab));
        self.set_place(Place::OtherTab(proxy), Seat::OtherTab);
        let client = self.clone();
        platform::spawn(async move {
            loop {
                let unheard = match &*client.0.place.borrow() {
                    Place::OtherTab(proxy) => !proxy.has_leader(),
                    _ => return,
                };
                if unheard {
                    client.send(&Frame::Hello { tab: client.0.tab });
                }
                platform::sleep(Duration::from_millis(GREETING_INTERVAL_MS)).await;
            }
        });
    }

    /// Runs the node, and gives why it ended.
    async fn lead(&self) -> String {
        match self.lead_until_stopped().await {
            Ok(()) => "it was stopped".into(),
            Err(reason) => reason,
        }
    }

    async fn lead_until_stopped(&self) -> Result<(), String> {
        self.0
            .term
            .set(Some(platform::random_bytes::<8>().map(u64::from_le_bytes).map_err(|error| error.to_string())?));
        self.set_place(Place::Starting, Seat::Starting);
        let (seed, store) = self.open_storage().await.map_err(|error| error.to_string())?;
        let mut config = NodeConfig::tab(seed);
        // The user may have changed their mind in the tab that led before this one.
        let heard = self.0.snapshot.borrow().status.as_ref().map(|status| status.contribution);
        config.contribute = heard.unwrap_or(self.0.contribution.get()) == Contribution::On;
        self.0.node_started_ms.set(Some(timings::now_ms()));
        let node = Node::start(config, store.clone()).await.map_err(|error| error.to_string())?;
        timings::mark(|timings| &mut timings.node_ms);
        let mut events = node.events();
        self.set_place(Place::Here(node.clone()), Seat::Here);
        self.greet();
        if let Ok(Reply::Status(status)) = node.call(Command::Status).await {
            self.emit(Update::Event(Event::Status(status)));
        }
        let contact = Box::pin(contact::keep(self.clone(), node, store));
        let hearing = Box::pin(async {
            while let Some(event) = events.next().await {
                let stopped = matches!(&event, Event::Status(status) if status.phase == Phase::Stopped);
                self.emit(Update::Event(event));
                if stopped {
                    break;
                }
            }
        });
        // First contact ends with the node it is made for.
        select(hearing, contact).await;
        Ok(())
    }

    /// The node's key, and where it keeps things: storage that opens and then fails is worth no more than none.
    async fn open_storage(&self) -> Result<([u8; 32], Arc<dyn Store>), RandomError> {
        let teller = self.clone();
        let tell = move |problem| teller.emit(Update::Storage(Some(problem)));
        let mut opened = storage::open(tell).await;
        let seed = match identity::load_or_make(&*opened.store).await {
            Ok(seed) => seed,
            Err(IdentityError::Random(error)) => return Err(error),
            Err(IdentityError::Store(error)) => {
                opened = storage::Opened::in_memory(StorageProblem::Failed { reason: error.to_string() });
                identity::make()?
            }
        };
        self.emit(Update::Storage(opened.problem));
        Ok((seed, opened.store))
    }

    fn set_place(&self, place: Place, seat: Seat) {
        let before = self.0.place.replace(place);
        if let Place::OtherTab(proxy) = before {
            proxy.give_up();
        }
        self.emit(Update::Seat(seat));
        self.0.place_changed.fire();
    }

    /// Takes an update in, tells this tab's listeners, and the other tabs when this one leads.
    fn emit(&self, update: Update) {
        let joined = self.is_joined();
        {
            let mut snapshot = self.0.snapshot.borrow_mut();
            match &update {
                Update::Event(Event::Status(status)) => {
                    if let Some(at) = joined_at(status, self.0.node_started_ms.get()) {
                        timings::mark_at(|timings| &mut timings.joined_ms, at);
                    }
                    snapshot.status = Some(status.clone());
                }
                Update::Event(Event::Progress(progress)) => timings::mark_stage(&progress.stage),
                Update::Event(_) => {}
                Update::Contact(contact) => {
                    let at = contact.retry_in_ms.map(|wait| platform::monotonic_ms().saturating_add(wait));
                    self.0.retry_at_ms.set(at);
                    snapshot.contact = contact.clone();
                }
                Update::Storage(problem) => snapshot.storage = problem.clone(),
                Update::Seat(seat) => snapshot.seat = seat.clone(),
            }
        }
        if joined != self.is_joined() {
            self.0.phase_changed.fire();
        }
        // A listener may subscribe or unsubscribe while it is called.
        let listeners: Vec<Heard> = self.0.listeners.borrow().iter().map(|(_, listener)| listener.clone()).collect();
        for listener in listeners {
            listener(&update);
        }
        if self.leads() && !matches!(update, Update::Seat(_)) {
            self.send(&Frame::Update(update));
        }
    }

    fn greet(&self) {
        if let Some(term) = self.0.term.get() {
            self.send(&Frame::Leader { term, snapshot: self.snapshot() });
        }
    }

    fn send(&self, frame: &Frame) {
        if let Some(hall) = &*self.0.hall.borrow() {
            hall.send(frame);
        }
    }

    fn hear(&self, frame: Frame) {
        if panic::is_poisoned() {
            return;
        }
        let leads = self.leads();
        match frame {
            Frame::Hello { .. } => self.greet(),
            Frame::Call { tab, id, command } if leads => self.0.tabs.serve(self, tab, id, command),
            Frame::RetryNow if leads && self.runs_here() => self.retry_now(),
            Frame::Leader { term, snapshot } if !leads => {
                if let Place::OtherTab(proxy) = &*self.0.place.borrow() {
                    proxy.heard(term);
                }
                if let Some(status) = snapshot.status {
                    self.emit(Update::Event(Event::Status(status)));
                }
                self.emit(Update::Contact(snapshot.contact));
                self.emit(Update::Storage(snapshot.storage));
            }
            Frame::Update(update) if !leads => self.emit(update),
            _ => {}
        }
    }
}

/// When the node joined, on the page's clock: exact where it runs, elsewhere when it was heard of.
fn joined_at(status: &Status, node_started_ms: Option<f64>) -> Option<f64> {
    match (node_started_ms, status.joined_ms) {
        (Some(started), Some(after)) => Some(started + after as f64),
        _ => (status.phase == Phase::Joined).then(timings::now_ms),
    }
}

/// Counts one call for as long as it waits.
struct Counted(Rc<Inner>);

impl Counted {
    fn one(inner: &Rc<Inner>) -> Self {
        inner.calls.set(inner.calls.get() + 1);
        Self(inner.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.calls.set(self.0.calls.get() - 1);
    }
}
