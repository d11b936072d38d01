//! The node's state in the bar, and behind it what the node does.

use crate::{
    format::{bytes, count, plain, short_peer},
    phase::{self, Shown},
    view::context::use_app,
};
use meganet_node::api::{Contribution, Phase, Status};
use meganet_web_node::state::Seat;
use wasm_bindgen::JsCast;
use web_sys::{Element, Node};
use yew::prelude::*;

/// Peers listed at most; the count is of all.
const PEERS_LISTED_MAX: usize = 12;

#[function_component(Chip)]
pub fn chip() -> Html {
    let context = use_app();
    let state = &context.state;
    let shown = Shown::of(&state.seat, state.status.as_ref(), &state.contact);
    let peers = state.status.as_ref().map_or(0, |status| status.peers.len() as u64);
    let seat = match state.seat {
        Seat::Starting => "starting",
        Seat::Here => "here",
        Seat::OtherTab => "other-tab",
        Seat::Failed { .. } => "failed",
    };
    let sentence = phase::sentence(&state.seat, state.status.as_ref(), &state.contact, state.waited_ms());
    let details = use_node_ref();
    let close = {
        let details = details.clone();
        move || details.cast::<Element>().map(|details| details.remove_attribute("open"))
    };
    let onkeydown = {
        let close = close.clone();
        Callback::from(move |event: KeyboardEvent| {
            if event.key() == "Escape" {
                close();
            }
        })
    };
    let onfocusout = {
        let details = details.clone();
        Callback::from(move |event: FocusEvent| {
            let next = event.related_target().and_then(|next| next.dyn_into::<Node>().ok());
            if !details.get().is_some_and(|details| details.contains(next.as_ref())) {
                close();
            }
        })
    };
    html! {
        <details ref={details} class="chip" {onkeydown} {onfocusout}>
            <summary data-testid="status" data-phase={shown.name()} data-seat={seat} data-peers={peers.to_string()}>
                <span class="dot" aria-hidden="true"></span>
                <span class="chip-label">{ shown.label() }</span>
                if shown == Shown::Joined {
                    <span class="chip-count">{ count(peers, "peer", "peers") }</span>
                }
                if shown == Shown::Offline {
                    <span class="chip-count">{ phase::short_reason(&state.contact) }</span>
                }
            </summary>
            <div class="popover card" tabindex="-1">
                <h2>{ "Your node" }</h2>
                <p>{ sentence }</p>
                if seat == "other-tab" {
                    <p class="soft">{ "It runs in another tab of this browser. When that tab closes, this one takes over." }</p>
                }
                if shown == Shown::Offline {
                    { for state.status.as_ref().and_then(node_reason).map(|reason| html! { <p class="soft small"><bdi>{ reason }</bdi></p> }) }
                    <p><RetryButton /></p>
                }
                { for state.status.as_ref().map(figures) }
            </div>
        </details>
    }
}

/// What the node itself says about being offline: for those who want to know exactly.
fn node_reason(status: &Status) -> Option<String> {
    match &status.phase {
        Phase::Offline { reason, .. } if !reason.is_empty() => Some(plain(reason, 300)),
        _ => None,
    }
}

fn figures(status: &Status) -> Html {
    let sharing = match status.contribution {
        Contribution::On => "Shares what you read",
        Contribution::Off => "Only reads",
    };
    let peers = status.peers.iter().take(PEERS_LISTED_MAX).map(|peer| {
        let rtt = peer.rtt_ms.map_or_else(|| "–".into(), |rtt| crate::format::duration(rtt.into()));
        let agent = plain(&peer.agent, 40);
        html! { <tr><td><code>{ short_peer(&peer.peer_id) }</code></td><td><bdi>{ agent }</bdi></td><td class="number">{ rtt }</td></tr> }
    });
    html! {
        <>
            <dl class="figures">
                <dt>{ "Sharing" }</dt><dd>{ sharing }</dd>
                <dt>{ "Kept" }</dt><dd>{ format!("{}, {}", bytes(status.stored_bytes), count(status.sites, "site", "sites")) }</dd>
                <dt>{ "Received" }</dt><dd>{ bytes(status.received_bytes) }</dd>
                <dt>{ "Sent" }</dt><dd>{ bytes(status.sent_bytes) }</dd>
                <dt>{ "Peer id" }</dt><dd><code>{ short_peer(&status.peer_id) }</code></dd>
            </dl>
            if !status.peers.is_empty() {
                <table class="peers">
                    <caption class="visually-hidden">{ "Connected peers" }</caption>
                    <thead><tr><th scope="col">{ "Peer" }</th><th scope="col">{ "Program" }</th><th scope="col" class="number">{ "Delay" }</th></tr></thead>
                    <tbody>{ for peers }</tbody>
                </table>
            }
        </>
    }
}

/// Ends the wait for the next attempt.
#[function_component(RetryButton)]
pub fn retry_button() -> Html {
    let context = use_app();
    let onclick = Callback::from(move |_: MouseEvent| context.client.retry_now());
    html! { <button type="button" class="button quiet" data-testid="try-now" {onclick}>{ "Try now" }</button> }
}
