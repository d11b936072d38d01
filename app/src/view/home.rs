//! Home: what MegaNet is, how joining goes, and the sites kept here.

use crate::{
    format::{ago, plain},
    phase::{self, Shown},
    view::{
        chip::RetryButton,
        consent::Consent,
        context::{Context, use_app},
        effects,
        forget::Forget,
        key_mark::KeyMark,
    },
    words,
};
use meganet_core::address::{Address, Link};
use meganet_node::{
    api::{Command, SiteInfo},
    platform,
};
use yew::prelude::*;

#[function_component(Home)]
pub fn home() -> Html {
    let context = use_app();
    let asking = context.state.consent.is_none();
    html! {
        <div class="page home">
            <section class="intro">
                <h1>{ "A web carried by its readers" }</h1>
                <p class="lead">
                    { "MegaNet has no servers behind its sites: this tab is a node that finds them by their keys and fetches them from other peers. " }
                    { "Every page is checked against its author's key before you see it, and what you keep opens without any network." }
                </p>
                <JoinState />
            </section>
            if asking {
                <Consent />
            }
            <Kept />
            if !asking {
                <Consent />
            }
        </div>
    }
}

#[function_component(JoinState)]
fn join_state() -> Html {
    let context = use_app();
    let state = &context.state;
    let shown = Shown::of(&state.seat, state.status.as_ref(), &state.contact);
    let sentence = phase::sentence(&state.seat, state.status.as_ref(), &state.contact, state.waited_ms());
    // A countdown that is read out every second helps nobody: only the state itself is announced.
    html! {
        <div class="join" data-phase={shown.name()}>
            <span class="dot" aria-hidden="true"></span>
            <p data-testid="join-state">{ sentence }</p>
            <p class="visually-hidden" aria-live="polite">{ shown.label() }</p>
            if shown == Shown::Offline {
                <RetryButton />
            }
        </div>
    }
}

#[function_component(Kept)]
fn kept() -> Html {
    let context = use_app();
    let list = match &context.state.kept {
        None => html! { <p class="soft">{ "Reading what is kept here…" }</p> },
        Some(sites) if sites.is_empty() => html! {
            <p class="empty">{ "None yet. Paste an address or a link into the box above to open your first site; what you read of it stays here." }</p>
        },
        Some(sites) => html! { <ul class="sites">{ for sites.iter().map(|site| entry(&context, site)) }</ul> },
    };
    html! {
        <section class="kept" data-testid="kept-sites" aria-labelledby="kept-title">
            <h2 id="kept-title">{ "Sites kept here" }</h2>
            { list }
        </section>
    }
}

fn entry(context: &Context, site: &SiteInfo) -> Html {
    let address = site.address;
    let title = match plain(&site.title, 80) {
        title if title.is_empty() => "Site without a title".to_owned(),
        title => title,
    };
    let complete = site.held_chunks >= site.chunks;
    let held = words::held(site);
    let confirmed = site.confirmed_ms.map(|then| format!("last seen {}", ago(then, platform::unix_ms())));
    let hash = crate::route::hash(&Link { address, path: String::new() });
    let forget = {
        let context = context.clone();
        Callback::from(move |()| forget(&context, address))
    };
    html! {
        <li class="kept-site" key={address.to_string()} data-testid="kept-site" data-address={address.to_string()}>
            <a class="kept-link" href={hash}>
                <KeyMark {address} />
                <span class="kept-title"><bdi>{ &title }</bdi></span>
                <code class="kept-key">{ address.short() }</code>
                <span class="kept-held">{ held }</span>
                <span class="kept-version">
                    { format!("version {}", site.sequence) }
                    { for confirmed.map(|confirmed| format!(", {confirmed}")) }
                    if site.pinned { { ", kept for good" } }
                    if site.own { { ", yours" } }
                </span>
            </a>
            if !complete {
                <progress value={site.held_chunks.to_string()} max={site.chunks.to_string()} aria-label={format!("Part of {title} that is kept here")} />
            }
            <Forget {title} asks={site.pinned || site.own} onforget={forget} />
        </li>
    }
}

fn forget(context: &Context, address: Address) {
    let (client, dispatcher) = (context.client.clone(), context.dispatcher.clone());
    platform::spawn(async move {
        // When it fails the site stays in the list, which says so.
        let _ = client.call(Command::Forget { address }).await;
        effects::list_kept(client, dispatcher);
    });
}
