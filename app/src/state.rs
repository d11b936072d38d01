//! All that the interface knows, and the one function that changes it.

use crate::route::Route;
use meganet_core::address::{Address, Link, LinkError};
use meganet_node::api::{ApiError, Contribution, Event, SiteInfo, Stage, Status};
use meganet_web_node::{
    frames::Snapshot,
    state::{Contact, Seat, StorageProblem, Update},
};
use std::rc::Rc;
use yew::Reducible;

/// See the module's text.
#[derive(Debug, Clone)]
pub struct State {
    pub route: Route,
    pub status: Option<Status>,
    pub contact: Contact,
    /// When `contact` came, on the clock of [`Action::Tick`].
    pub contact_at_ms: u64,
    pub storage: Option<StorageProblem>,
    /// What the node said last of something that went wrong by itself.
    pub problem: Option<String>,
    pub seat: Seat,
    /// What the user chose; `None` before the first choice.
    pub consent: Option<Contribution>,
    /// Sites kept here; `None` until they are known.
    pub kept: Option<Rc<Vec<SiteInfo>>>,
    pub visit: Option<Visit>,
    /// What was typed and is no link.
    pub entry_error: Option<LinkError>,
    pub panel_open: bool,
    pub now_ms: u64,
    /// Counts visits, so that the answer to an earlier one is known as such.
    visits: u32,
}

/// The site that is being opened or shown.
#[derive(Debug, Clone)]
pub struct Visit {
    pub number: u32,
    pub link: Link,
    /// Counts the pages that were asked for. The frame moves by itself as well, unseen: to ask for the page that the bar still
    /// names is a request like any other.
    pub asked: u32,
    pub started_ms: u64,
    pub stage: Option<Stage>,
    pub progress: Vec<Reached>,
    pub outcome: Outcome,
    pub bridge: BridgeState,
    /// The frame's first document has loaded, this long after the visit began.
    pub painted_ms: Option<u64>,
    /// A newer version than the one shown.
    pub newer: Option<u64>,
    /// A whole download under way: chunks done and in all, bytes.
    pub fetching: Option<(u32, u32, u64)>,
    /// Why the last command of the panel did not work.
    pub trouble: Option<ApiError>,
}

/// A stage that was reached, and when (milliseconds of the visit).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    pub step: Step,
    pub at_ms: u64,
}

/// What opening a site waits for, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Head,
    Providers,
    Manifest,
    Chunks,
    Ready,
}

impl Step {
    /// The step a stage of the node belongs to.
    pub fn of(stage: &Stage) -> Self {
        match stage {
            Stage::FindingHead { .. } => Step::Head,
            Stage::FindingProviders { .. } => Step::Providers,
            Stage::FetchingManifest => Step::Manifest,
            Stage::FetchingChunks { .. } => Step::Chunks,
            Stage::Ready => Step::Ready,
        }
    }
}

#[derive(Debug, Clone)]
pub enum Outcome {
    Working,
    Cancelled,
    Failed(ApiError),
    Open(Box<SiteInfo>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BridgeState {
    Waiting,
    Ready,
    Failed { code: String, message: String },
}

impl Visit {
    fn new(number: u32, link: Link, now_ms: u64) -> Self {
        Self {
            number,
            link,
            asked: 0,
            started_ms: now_ms,
            stage: None,
            progress: Vec::new(),
            outcome: Outcome::Working,
            bridge: BridgeState::Waiting,
            painted_ms: None,
            newer: None,
            fetching: None,
            trouble: None,
        }
    }

    /// The site, once it is open.
    pub fn site(&self) -> Option<&SiteInfo> {
        match &self.outcome {
            Outcome::Open(site) => Some(site),
            _ => None,
        }
    }

    /// Whether the visible frame may load.
    pub fn can_show(&self) -> bool {
        self.site().is_some() && self.bridge == BridgeState::Ready
    }

    fn reach(&mut self, stage: Stage, now_ms: u64) {
        let step = Step::of(&stage);
        if self.progress.last().is_none_or(|last| last.step < step) {
            self.progress.push(Reached { step, at_ms: now_ms.saturating_sub(self.started_ms) });
        }
        self.stage = Some(stage);
    }
}

/// Everything that can happen. Times are milliseconds of one monotonic clock.
pub enum Action {
    /// The page's fragment changed.
    Go {
        route: Route,
        now_ms: u64,
    },
    /// Begin the current visit again.
    Again {
        now_ms: u64,
    },
    Cancel,
    Mistyped(LinkError),
    Typing,
    Snapshot {
        snapshot: Box<Snapshot>,
        now_ms: u64,
    },
    Heard {
        update: Box<Update>,
        now_ms: u64,
    },
    Chose(Contribution),
    Kept(Vec<SiteInfo>),
    Opened {
        visit: u32,
        result: Result<Box<SiteInfo>, ApiError>,
    },
    Refreshed {
        visit: u32,
        site: Box<SiteInfo>,
    },
    Bridge {
        visit: u32,
        state: BridgeState,
    },
    Painted {
        visit: u32,
        now_ms: u64,
    },
    Fetching {
        visit: u32,
        on: bool,
    },
    Trouble {
        visit: u32,
        error: ApiError,
    },
    /// The user has read the node's problem.
    ProblemRead,
    TogglePanel,
    Tick {
        now_ms: u64,
    },
}

impl State {
    /// The state before anything happened.
    pub fn new(route: Route, consent: Option<Contribution>, panel_open: bool, now_ms: u64) -> Self {
        let blank = Self {
            route: Route::Home,
            status: None,
            contact: Contact::default(),
            contact_at_ms: now_ms,
            storage: None,
            problem: None,
            seat: Seat::Starting,
            consent,
            kept: None,
            visit: None,
            entry_error: None,
            panel_open,
            now_ms,
            visits: 0,
        };
        blank.apply(Action::Go { route, now_ms })
    }

    /// How much of the wait for the next attempt is over.
    pub fn waited_ms(&self) -> u64 {
        self.now_ms.saturating_sub(self.contact_at_ms)
    }

    /// The address of the current visit.
    pub fn address(&self) -> Option<Address> {
        self.visit.as_ref().map(|visit| visit.link.address)
    }

    fn apply(mut self, action: Action) -> Self {
        match action {
            Action::Go { route, now_ms } => self.go(route, now_ms),
            Action::Again { now_ms } => {
                if let Some(link) = self.visit.as_ref().map(|visit| visit.link.clone()) {
                    self.begin(link, now_ms);
                }
            }
            Action::Cancel => self.with_working(|visit| visit.outcome = Outcome::Cancelled),
            Action::Mistyped(error) => self.entry_error = Some(error),
            Action::Typing => self.entry_error = None,
            Action::Snapshot { snapshot, now_ms } => {
                self.status = snapshot.status;
                self.contact = snapshot.contact;
                self.contact_at_ms = now_ms;
                self.storage = snapshot.storage;
                self.seat = snapshot.seat;
            }
            Action::Heard { update, now_ms } => self.hear(*update, now_ms),
            Action::Chose(contribution) => self.consent = Some(contribution),
            Action::Kept(sites) => self.kept = Some(Rc::new(sites)),
            Action::Opened { visit, result } => self.with_visit(visit, |visit| {
                // A cancelled visit stays cancelled.
                if matches!(visit.outcome, Outcome::Working) {
                    visit.outcome = match result {
                        Ok(site) => Outcome::Open(site),
                        Err(error) => Outcome::Failed(error),
                    };
                }
            }),
            Action::Refreshed { visit, site } => self.with_visit(visit, |visit| {
                if let Outcome::Open(shown) = &mut visit.outcome {
                    // What is in the frame stays what it is until the user reloads it.
                    visit.newer = visit.newer.or((site.sequence > shown.sequence).then_some(site.sequence));
                    if site.sequence == shown.sequence {
                        *shown = site;
                    }
                }
            }),
            Action::Bridge { visit, state } => self.with_visit(visit, |visit| {
                // A worker that ran once is started again by the browser; a late time-out is none.
                if visit.bridge != BridgeState::Ready {
                    visit.bridge = state;
                }
            }),
            Action::Painted { visit, now_ms } => self.with_visit(visit, |visit| {
                visit.painted_ms.get_or_insert(now_ms.saturating_sub(visit.started_ms));
            }),
            Action::Fetching { visit, on } => self.with_visit(visit, |visit| {
                visit.fetching = on.then_some((0, 0, 0));
                visit.trouble = None;
            }),
            Action::Trouble { visit, error } => self.with_visit(visit, |visit| visit.trouble = Some(error)),
            Action::ProblemRead => self.problem = None,
            Action::TogglePanel => self.panel_open = !self.panel_open,
            Action::Tick { now_ms } => self.now_ms = now_ms,
        }
        self
    }

    fn go(&mut self, route: Route, now_ms: u64) {
        self.now_ms = now_ms;
        self.entry_error = None;
        match &route {
            Route::Site(link) => match &mut self.visit {
                // Another page of the site that is open: only the frame moves.
                Some(visit) if visit.link.address == link.address && visit.site().is_some() => {
                    visit.link = link.clone();
                    visit.asked = visit.asked.wrapping_add(1);
                }
                _ => self.begin(link.clone(), now_ms),
            },
            Route::Home | Route::Bad { .. } => self.visit = None,
        }
        self.route = route;
    }

    fn begin(&mut self, link: Link, now_ms: u64) {
        self.visits = self.visits.wrapping_add(1);
        self.now_ms = now_ms;
        self.visit = Some(Visit::new(self.visits, link, now_ms));
    }

    fn hear(&mut self, update: Update, now_ms: u64) {
        match update {
            Update::Contact(contact) => {
                self.contact = contact;
                self.contact_at_ms = now_ms;
                self.now_ms = now_ms;
            }
            Update::Storage(problem) => self.storage = problem,
            Update::Seat(seat) => self.seat = seat,
            Update::Event(Event::Status(status)) => {
                // The choice may have been made in another tab.
                if self.consent.is_some() || status.contribution == Contribution::On {
                    self.consent = Some(status.contribution);
                }
                self.status = Some(status);
            }
            Update::Event(Event::Progress(progress)) => {
                let Some(visit) = self.visit.as_mut().filter(|visit| visit.link.address == progress.address) else {
                    return;
                };
                match (&mut visit.fetching, &progress.stage) {
                    (Some(fetching), Stage::FetchingChunks { done, total, bytes }) => {
                        *fetching = (*done, *total, *bytes)
                    }
                    _ if matches!(visit.outcome, Outcome::Working) => visit.reach(progress.stage, now_ms),
                    _ => {}
                }
            }
            Update::Event(Event::SiteUpdated { address, sequence }) => {
                if let Some(visit) = self.visit.as_mut().filter(|visit| visit.link.address == address)
                    && visit.site().is_some_and(|site| site.sequence < sequence)
                {
                    visit.newer = Some(sequence);
                }
            }
            Update::Event(Event::Problem { message }) => self.problem = Some(message),
        }
    }

    fn with_visit(&mut self, number: u32, change: impl FnOnce(&mut Visit)) {
        if let Some(visit) = self.visit.as_mut().filter(|visit| visit.number == number) {
            change(visit);
        }
    }

    fn with_working(&mut self, change: impl FnOnce(&mut Visit)) {
        if let Some(visit) = self.visit.as_mut().filter(|visit| !matches!(visit.outcome, Outcome::Cancelled)) {
            change(visit);
        }
    }
}

impl Reducible for State {
    type Action = Action;

    fn reduce(self: Rc<Self>, action: Action) -> Rc<Self> {
        Rc::new(Rc::unwrap_or_clone(self).apply(action))
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
