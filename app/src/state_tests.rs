//! What the reducer promises: late answers change nothing, a visit ends in one way, what is shown stays what it is.

use super::*;
use meganet_core::keys::SiteKey;
use meganet_node::api::Progress;

fn address(seed: u8) -> Address {
    SiteKey::from_seed([seed; 32]).address()
}

fn link(seed: u8, path: &str) -> Link {
    Link { address: address(seed), path: path.into() }
}

fn site(seed: u8, sequence: u64) -> Box<SiteInfo> {
    Box::new(SiteInfo {
        address: address(seed),
        sequence,
        files: Some(1),
        held_bytes: Some(1),
        ..crate::words::tests::site()
    })
}

fn visiting(seed: u8) -> State {
    State::new(Route::Site(link(seed, "")), None, false, 1_000)
}

fn number(state: &State) -> u32 {
    state.visit.as_ref().map(|visit| visit.number).unwrap()
}

fn opened(state: State, seed: u8, sequence: u64) -> State {
    let visit = number(&state);
    state.apply(Action::Opened { visit, result: Ok(site(seed, sequence)) })
}

#[test]
fn an_answer_to_an_earlier_visit_changes_nothing() {
    let state = visiting(1);
    let earlier = number(&state);
    let state = state.apply(Action::Go { route: Route::Site(link(2, "")), now_ms: 2_000 });
    let state = state.apply(Action::Opened { visit: earlier, result: Ok(site(1, 1)) });
    assert!(matches!(state.visit.unwrap().outcome, Outcome::Working));
}

#[test]
fn a_cancelled_visit_stays_cancelled_until_it_begins_again() {
    let state = opened(visiting(1).apply(Action::Cancel), 1, 1);
    assert!(matches!(state.visit.as_ref().unwrap().outcome, Outcome::Cancelled));
    let before = number(&state);
    let state = state.apply(Action::Again { now_ms: 5_000 });
    assert_ne!(number(&state), before);
    assert!(matches!(state.visit.unwrap().outcome, Outcome::Working));
}

#[test]
fn another_page_of_an_open_site_keeps_its_bridge() {
    let state = opened(visiting(1), 1, 1);
    let before = number(&state);
    let state = state.apply(Action::Bridge { visit: before, state: BridgeState::Ready });
    let state = state.apply(Action::Go { route: Route::Site(link(1, "b.html")), now_ms: 3_000 });
    let visit = state.visit.unwrap();
    assert_eq!((visit.number, visit.link.path.as_str(), visit.can_show()), (before, "b.html", true));
}

#[test]
fn asking_for_the_page_that_the_bar_names_is_a_request() {
    let state = opened(visiting(1), 1, 1);
    let before = state.visit.as_ref().unwrap().asked;
    let state = state.apply(Action::Go { route: Route::Site(link(1, "")), now_ms: 3_000 });
    assert_ne!(state.visit.unwrap().asked, before, "a click inside the frame may have led elsewhere");
}

#[test]
fn the_frame_waits_for_site_and_bridge() {
    let state = opened(visiting(1), 1, 1);
    assert!(!state.visit.as_ref().unwrap().can_show());
    let visit = number(&state);
    let failed = BridgeState::Failed { code: "timeout".into(), message: String::new() };
    let state = state.apply(Action::Bridge { visit, state: BridgeState::Ready });
    let state = state.apply(Action::Bridge { visit, state: failed });
    assert!(state.visit.unwrap().can_show(), "a time-out that comes after the bridge is none");
}

#[test]
fn a_newer_version_is_offered_not_swapped_in() {
    let state = opened(visiting(1), 1, 4);
    let visit = number(&state);
    let state = state.apply(Action::Refreshed { visit, site: site(1, 5) });
    let shown = state.visit.unwrap();
    assert_eq!((shown.site().unwrap().sequence, shown.newer), (4, Some(5)));
}

#[test]
fn stages_are_noted_once_and_in_order() {
    let heard = |state: State, stage, now_ms| {
        let progress = Progress { address: address(1), stage, elapsed_ms: 0 };
        state.apply(Action::Heard { update: Box::new(Update::Event(Event::Progress(progress))), now_ms })
    };
    let state = heard(visiting(1), Stage::FindingHead { asked: 1 }, 1_010);
    let state = heard(state, Stage::FindingHead { asked: 2 }, 1_020);
    let state = heard(state, Stage::FetchingManifest, 1_100);
    let state = heard(state, Stage::FindingProviders { found: 1 }, 1_110);
    let steps: Vec<_> =
        state.visit.unwrap().progress.into_iter().map(|reached| (reached.step, reached.at_ms)).collect();
    assert_eq!(steps, [(Step::Head, 10), (Step::Manifest, 100)]);
}

#[test]
fn progress_of_another_site_is_not_this_ones() {
    let progress = Progress { address: address(2), stage: Stage::FetchingManifest, elapsed_ms: 0 };
    let update = Box::new(Update::Event(Event::Progress(progress)));
    assert!(visiting(1).apply(Action::Heard { update, now_ms: 1_010 }).visit.unwrap().stage.is_none());
}

#[test]
fn what_the_node_says_went_wrong_is_kept_until_it_is_read() {
    let said = |state: State, message: &str| {
        let update = Box::new(Update::Event(Event::Problem { message: message.into() }));
        state.apply(Action::Heard { update, now_ms: 1_010 })
    };
    let state = said(said(visiting(1), "first"), "second");
    assert_eq!(state.problem.as_deref(), Some("second"));
    assert!(state.apply(Action::ProblemRead).problem.is_none());
}

#[test]
fn home_ends_the_visit_and_typing_clears_the_error() {
    let state = visiting(1).apply(Action::Mistyped(LinkError::Empty)).apply(Action::Typing);
    assert!(state.entry_error.is_none());
    assert!(state.apply(Action::Go { route: Route::Home, now_ms: 9 }).visit.is_none());
}
