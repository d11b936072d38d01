//! Notices that concern everything: storage, connections that are used up, a strange list of peers, a newer version, two heads
//! with one number.

use crate::{
    format::plain,
    state::Action,
    view::{chip::RetryButton, context::use_app},
    words::{self, sentence},
};
use meganet_node::platform;
use meganet_web_node::state::ContactProblem;
use yew::prelude::*;

#[function_component(Banners)]
pub fn banners() -> Html {
    let context = use_app();
    let state = &context.state;
    let memory = state.storage.as_ref().map(|problem| {
        html! {
            <div class="banner" role="status" data-testid="banner-memory">
                <strong>{ words::not_kept(problem) }</strong>
                <span><bdi>{ sentence(&problem.to_string()) }</bdi></span>
                <span class="soft">{ "Sites open as usual." }</span>
            </div>
        }
    });
    let is_spent = state.status.as_ref().is_some_and(|status| status.connections_spent);
    let connections = is_spent.then(|| {
        let [what, next] = words::connections_spent(&state.seat);
        html! {
            <div class="banner" role="status" data-testid="banner-connections">
                <strong>{ what }</strong>
                <span>{ next }</span>
            </div>
        }
    });
    let problem = state.problem.as_ref().map(|message| {
        html! {
            <div class="banner" role="status" data-testid="banner-problem">
                <strong>{ "Something did not work." }</strong>
                <span><bdi>{ sentence(&plain(message, 300)) }</bdi></span>
                <button type="button" class="button quiet" onclick={context.on(|| Action::ProblemRead)}>{ "Close" }</button>
            </div>
        }
    });
    // A server that is merely away is told with the node's state; one that answers nonsense is worth a notice.
    let strange = state.contact.problem.as_ref().filter(|problem| {
        use ContactProblem::{Empty, Expired, Malformed, TooLarge};
        matches!(problem, Malformed { .. } | Expired | TooLarge { .. } | Empty)
    });
    let contact = strange.map(|problem| {
        html! {
            <div class="banner" role="status" data-testid="banner-contact" data-code={problem.code()}>
                <strong>{ "This page's server gave no usable list of peers." }</strong>
                <span><bdi>{ sentence(&problem.to_string()) }</bdi></span>
                <span class="soft">{ words::instead_of_list(&state.contact) }</span>
                <RetryButton />
            </div>
        }
    });
    let visit = state.visit.as_ref();
    let newer = visit.and_then(|visit| visit.newer).map(|sequence| {
        let onclick = context.on(|| Action::Again { now_ms: platform::monotonic_ms() });
        html! {
            <div class="banner good" role="status" data-testid="banner-update">
                <strong>{ format!("Version {sequence} of this site is out.") }</strong>
                <button type="button" class="button quiet" {onclick}>{ "Show it" }</button>
            </div>
        }
    });
    let conflicting = visit.and_then(|visit| visit.site()).filter(|site| site.conflicting).map(|site| {
        html! {
            <div class="banner bad" role="alert" data-testid="banner-conflict">
                <strong>{ "This site's author signed two different versions with one number." }</strong>
                <span>{ format!("The version {} that was seen first is shown; both are kept as proof. The author's key may be stolen.", site.sequence) }</span>
            </div>
        }
    });
    html! { <>{ for memory }{ for connections }{ for problem }{ for contact }{ for newer }{ for conflicting }</> }
}
