//! The opening screen's lines: every stage, whether it is over, and what the present one waits for.

use crate::{
    format::{bytes, count, duration},
    phase::{self, Shown},
    state::{BridgeState, State, Step, Visit},
};
use meganet_node::api::{SiteInfo, Stage};

/// How far a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Done,
    Now,
    Waiting,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub mark: Mark,
    pub name: &'static str,
    /// What is being waited for, or what was found.
    pub detail: Option<String>,
    /// When it was over, from the visit's beginning.
    pub at_ms: Option<u64>,
}

/// The lines of a visit, in order.
pub fn lines(state: &State, visit: &Visit) -> Vec<Line> {
    let joined = Shown::of(&state.seat, state.status.as_ref(), &state.contact) == Shown::Joined;
    let current = visit.stage.as_ref().map(Step::of);
    let opened = visit.site().is_some();
    let mut lines = vec![join_line(state, joined || current.is_some() || opened)];
    for (step, name) in [
        (Step::Head, "Find the newest version"),
        (Step::Providers, "Find who serves it"),
        (Step::Manifest, "Fetch the list of its files"),
        (Step::Chunks, "Fetch the first page"),
    ] {
        let mark = match current {
            // The node opens a site with its list of files; its first page may still be on the way.
            _ if step == Step::Chunks && opened => first_page(visit),
            _ if opened => Mark::Done,
            Some(Step::Ready) if step == Step::Chunks => Mark::Now,
            Some(current) if current > step => Mark::Done,
            Some(current) if current == step => Mark::Now,
            // Before the node reports anything it looks into its own storage.
            None if step == Step::Head => Mark::Now,
            _ => Mark::Waiting,
        };
        let detail = (mark == Mark::Now).then(|| stage_detail(visit.stage.as_ref()));
        let at_ms = match (step, visit.site()) {
            (Step::Chunks, site) => site.and_then(|site| site.timings.starter_ms),
            _ => visit.progress.iter().find(|reached| reached.step > step).map(|reached| reached.at_ms),
        };
        lines.push(Line { mark, name, detail, at_ms: at_ms.filter(|_| mark == Mark::Done) });
    }
    lines.push(frame_line(visit));
    lines
}

/// Whether the first page of an open site is here: its first pieces came, or all of it was kept.
fn first_page(visit: &Visit) -> Mark {
    let here = |site: &SiteInfo| site.timings.starter_ms.is_some() || site.held_chunks >= site.chunks;
    if visit.site().is_some_and(here) { Mark::Done } else { Mark::Now }
}

/// The present wait in one sentence, for screen readers and the heading's second line.
pub fn waiting_for(lines: &[Line]) -> String {
    match lines.iter().find(|line| line.mark == Mark::Now) {
        Some(Line { name, detail: Some(detail), .. }) => format!("{name}: {detail}"),
        Some(line) => line.name.to_owned(),
        None => "Showing the site".to_owned(),
    }
}

fn join_line(state: &State, done: bool) -> Line {
    let name = "Join the swarm";
    if done {
        let peers = state.status.as_ref().map_or(0, |status| status.peers.len() as u64);
        let detail = (peers > 0).then(|| format!("through {}", count(peers, "peer", "peers")));
        return Line { mark: Mark::Done, name, detail, at_ms: None };
    }
    let detail = phase::sentence(&state.seat, state.status.as_ref(), &state.contact, state.waited_ms());
    Line { mark: Mark::Now, name, detail: Some(detail), at_ms: None }
}

fn stage_detail(stage: Option<&Stage>) -> String {
    match stage {
        None => "looking into what is kept here".into(),
        Some(Stage::FindingHead { asked }) => format!("{} asked", count((*asked).into(), "peer", "peers")),
        Some(Stage::FindingProviders { found }) => format!("{} found", count((*found).into(), "peer", "peers")),
        Some(Stage::FetchingManifest) => "waiting for the first peer to deliver it".into(),
        Some(Stage::FetchingChunks { done, total, bytes: received }) => {
            format!("{done} of {}, {}", count((*total).into(), "piece", "pieces"), bytes(*received))
        }
        Some(Stage::Ready) => "waiting for its first piece".into(),
    }
}

fn frame_line(visit: &Visit) -> Line {
    let mark = match visit.bridge {
        BridgeState::Ready => Mark::Done,
        _ if visit.site().is_some() => Mark::Now,
        _ => Mark::Waiting,
    };
    let detail = (mark == Mark::Now).then(|| "waiting for its service worker".to_owned());
    Line { mark, name: "Start the site's own frame", detail, at_ms: None }
}

/// When a line was over, in words.
pub fn took(line: &Line) -> Option<String> {
    line.at_ms.map(|at_ms| format!("after {}", duration(at_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        route::Route,
        state::{Action, State},
    };
    use meganet_core::{address::Link, keys::SiteKey};
    use meganet_node::api::{Event, Progress, Timings};
    use meganet_web_node::state::Update;
    use yew::Reducible;

    fn state(stage: Option<Stage>) -> State {
        let address = SiteKey::from_seed([1; 32]).address();
        let link = Link { address, path: String::new() };
        let state = State::new(Route::Site(link), None, false, 0);
        let Some(stage) = stage else { return state };
        let update = Box::new(Update::Event(Event::Progress(Progress { address, stage, elapsed_ms: 0 })));
        std::rc::Rc::unwrap_or_clone(std::rc::Rc::new(state).reduce(Action::Heard { update, now_ms: 40 }))
    }

    fn marks(state: &State) -> Vec<Mark> {
        lines(state, state.visit.as_ref().unwrap()).into_iter().map(|line| line.mark).collect()
    }

    #[test]
    fn before_anything_both_the_swarm_and_the_own_storage_are_waited_for() {
        use Mark::{Now, Waiting};
        assert_eq!(marks(&state(None)), [Now, Now, Waiting, Waiting, Waiting, Waiting]);
    }

    #[test]
    fn a_stage_ends_those_before_it() {
        use Mark::{Done, Now, Waiting};
        let state = state(Some(Stage::FetchingManifest));
        assert_eq!(marks(&state), [Done, Done, Done, Now, Waiting, Waiting]);
        let lines = lines(&state, state.visit.as_ref().unwrap());
        assert!(waiting_for(&lines).starts_with("Fetch the list of its files"));
        assert_eq!(lines[2].at_ms, Some(40));
    }

    #[test]
    fn the_first_page_is_done_when_its_first_pieces_are_here_not_before() {
        let opened = |site: SiteInfo| {
            let state = state(Some(Stage::Ready));
            let visit = state.visit.as_ref().unwrap().number;
            let action = Action::Opened { visit, result: Ok(Box::new(site)) };
            let state = std::rc::Rc::unwrap_or_clone(std::rc::Rc::new(state).reduce(action));
            lines(&state, state.visit.as_ref().unwrap()).remove(4)
        };
        let site = SiteInfo { chunks: 3, held_chunks: 1, ..crate::words::tests::site() };
        assert_eq!((opened(site.clone()).mark, opened(site.clone()).at_ms), (Mark::Now, None));
        let timings = Timings { starter_ms: Some(70), ..site.timings };
        let fetched = opened(SiteInfo { timings, ..site.clone() });
        assert_eq!((fetched.mark, fetched.at_ms), (Mark::Done, Some(70)));
        assert_eq!(opened(SiteInfo { held_chunks: 3, ..site }).mark, Mark::Done, "all of it was kept");
    }
}
