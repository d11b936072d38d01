//! What is known of the open site, and what can be done with it.

use crate::{
    format::{ago, bytes, count, duration, plain, short_peer},
    route::{self, Route},
    state::{Action, Visit},
    view::{
        context::{Context, use_app},
        effects,
        forget::Forget,
        key_mark::KeyMark,
        settings,
    },
    words,
};
use meganet_core::address::{Address, Link};
use meganet_node::{
    api::{ApiError, Command, FileInfo, Reply, SiteInfo},
    platform,
};
use yew::prelude::*;

/// Files listed at most; the count is of all.
const FILES_LISTED_MAX: usize = 500;
/// Sources listed at most.
const SOURCES_LISTED_MAX: usize = 8;

#[function_component(Panel)]
pub fn panel() -> Html {
    let context = use_app();
    let Some(visit) = &context.state.visit else { return Html::default() };
    let Some(site) = visit.site() else { return Html::default() };
    let close = {
        let context = context.clone();
        Callback::from(move |_: MouseEvent| {
            settings::set_panel_open(false);
            context.dispatch(Action::TogglePanel);
        })
    };
    html! {
        <aside id="panel" class="panel" data-testid="panel" aria-labelledby="panel-title">
            <div class="panel-head">
                <KeyMark address={site.address} />
                <h2 id="panel-title"><bdi>{ title(site) }</bdi></h2>
                <button type="button" class="button quiet small" onclick={close}>{ "Close" }</button>
            </div>
            { address(site) }
            { actions(&context, visit, site) }
            { for visit.trouble.as_ref().map(|error| trouble_of(&context, visit, error)) }
            { figures(visit, site) }
            { sources(site) }
            <Files key={site.sequence} site={site.address.to_string()} summary={files_of(site)} />
        </aside>
    }
}

fn title(site: &SiteInfo) -> String {
    match plain(&site.title, 80) {
        title if title.is_empty() => "Site without a title".to_owned(),
        title => title,
    }
}

/// Not known of a site that is not open.
fn files_of(site: &SiteInfo) -> String {
    site.files.map_or_else(|| "Files".to_owned(), |files| count(files.into(), "file", "files"))
}

fn address(site: &SiteInfo) -> Html {
    let text = site.address.to_string();
    let copied = text.clone();
    let copy = Callback::from(move |_: MouseEvent| {
        if let Some(window) = web_sys::window() {
            // A browser that refuses leaves the address on screen to be selected.
            let _ = window.navigator().clipboard().write_text(&copied);
        }
    });
    html! {
        <div class="panel-address">
            <code data-testid="panel-address">{ text }</code>
            <button type="button" class="button quiet small" onclick={copy}>{ "Copy address" }</button>
        </div>
    }
}

fn actions(context: &Context, visit: &Visit, site: &SiteInfo) -> Html {
    let (number, address, pinned) = (visit.number, site.address, site.pinned);
    let refreshed = move |context: &Context| {
        let (client, dispatcher) = (context.client.clone(), context.dispatcher.clone());
        move || effects::refresh_once(client, dispatcher, number, address)
    };
    let keep = {
        let context = context.clone();
        Callback::from(move |_: MouseEvent| {
            meganet_web_node::ask_to_persist();
            context.run(number, Command::Pin { address, pinned: !pinned }, refreshed(&context));
        })
    };
    let forget = {
        let context = context.clone();
        Callback::from(move |()| context.run(number, Command::Forget { address }, go_home))
    };
    let complete = site.held_chunks >= site.chunks;
    html! {
        <>
            <div class="actions">
                <button type="button" class="button choice" data-testid="panel-keep" aria-pressed={pinned.to_string()} onclick={keep}>
                    { if pinned { "Kept for good" } else { "Keep for good" } }
                </button>
                if !complete {
                    { fetch_all(context, visit, site) }
                }
                <Forget title={title(site)} testid="panel-forget" asks={site.pinned || site.own} onforget={forget} />
            </div>
            { for visit.fetching.map(|(done, total, received)| html! {
                <div class="fetching" aria-live="polite">
                    <progress value={done.to_string()} max={total.max(1).to_string()} aria-label="Download of the whole site" />
                    <p class="soft small">{ format!("{done} of {}, {}", count(total.into(), "piece", "pieces"), bytes(received)) }</p>
                </div>
            }) }
        </>
    }
}

fn go_home() {
    if let Some(window) = web_sys::window() {
        let _ = window.location().set_hash("#/");
    }
}

fn fetch_all(context: &Context, visit: &Visit, site: &SiteInfo) -> Html {
    let label = format!("Fetch all {}", bytes(site.total_bytes));
    let onclick = fetching(context, visit.number, site.address, false);
    html! {
        <button type="button" class="button quiet" data-testid="panel-fetch-all" disabled={visit.fetching.is_some()} {onclick}>{ label }</button>
    }
}

/// Fetches the whole site. Without `allow_large` a large one is refused, which asks the user.
fn fetching(context: &Context, visit: u32, address: Address, allow_large: bool) -> Callback<MouseEvent> {
    let context = context.clone();
    Callback::from(move |_| {
        let (client, dispatcher) = (context.client.clone(), context.dispatcher.clone());
        dispatcher.dispatch(Action::Fetching { visit, on: true });
        platform::spawn(async move {
            let result = client.call(Command::FetchAll { address, allow_large }).await;
            dispatcher.dispatch(Action::Fetching { visit, on: false });
            if let Err(error) = result {
                dispatcher.dispatch(Action::Trouble { visit, error });
            }
            effects::refresh_once(client, dispatcher, visit, address);
        });
    })
}

fn trouble_of(context: &Context, visit: &Visit, error: &ApiError) -> Html {
    let anyway = match error {
        ApiError::TooLarge { size_bytes, .. } => {
            let onclick = fetching(context, visit.number, visit.link.address, true);
            html! {
                <button type="button" class="button small" data-testid="panel-fetch-large" {onclick}>
                    { format!("Fetch all {} all the same", bytes(*size_bytes)) }
                </button>
            }
        }
        _ => Html::default(),
    };
    html! { <>{ trouble(error) }{ anyway }</> }
}

fn trouble(error: &ApiError) -> Html {
    let explained = words::of_api(error);
    html! {
        <p class="trouble" role="alert" data-testid="error" data-code={explained.code}>
            <strong>{ explained.title }</strong>{ ". " }<bdi>{ explained.what }</bdi>{ " " }{ explained.next }
        </p>
    }
}

fn figures(visit: &Visit, site: &SiteInfo) -> Html {
    let now = platform::unix_ms();
    let confirmed = words::confirmed(site, now);
    let after = |name, ms: Option<u64>| ms.map(|ms| format!("{name} {}", duration(ms)));
    let timings: Vec<String> = [
        after("version", site.timings.head_ms),
        after("file list", site.timings.manifest_ms),
        after("first pieces", site.timings.starter_ms),
        after("page loaded", visit.painted_ms),
    ]
    .into_iter()
    .flatten()
    .collect();
    html! {
        <dl class="figures">
            <dt>{ "Version" }</dt>
            <dd><span data-testid="panel-sequence">{ site.sequence.to_string() }</span>{ format!(", signed {}", ago(site.time_ms, now)) }<br /><span class="soft">{ confirmed }</span></dd>
            <dt>{ "Size" }</dt><dd data-testid="panel-size" data-bytes={site.total_bytes.to_string()}>{ bytes(site.total_bytes) }</dd>
            <dt>{ "Files" }</dt><dd data-testid="panel-files" data-count={site.files.map(|files| files.to_string())}>{ files_of(site) }</dd>
            <dt>{ "Kept here" }</dt>
            <dd data-testid="panel-held" data-held={site.held_chunks.to_string()} data-chunks={site.chunks.to_string()}>
                { format!("{} of {}", site.held_chunks, count(site.chunks.into(), "piece", "pieces")) }
                { for site.held_bytes.map(|held| format!(", {}", bytes(held))) }
                <progress value={site.held_chunks.to_string()} max={site.chunks.max(1).to_string()} aria-label="Part of the site that is kept here" />
            </dd>
            <dt>{ "Held by" }</dt>
            <dd data-testid="panel-holders" data-count={site.holders.to_string()}>{ count(site.holders.into(), "other peer", "other peers") }</dd>
            <dt>{ "Opened in" }</dt><dd data-testid="panel-timings">{ if timings.is_empty() { "–".to_owned() } else { timings.join(", ") } }</dd>
        </dl>
    }
}

fn sources(site: &SiteInfo) -> Html {
    let lines = site.sources.iter().take(SOURCES_LISTED_MAX).map(|source| {
        html! { <li data-peer={plain(&source.peer_id, 80)} data-bytes={source.bytes.to_string()}><code>{ short_peer(&source.peer_id) }</code><span class="number">{ bytes(source.bytes) }</span></li> }
    });
    html! {
        <section aria-labelledby="sources-title">
            <h3 id="sources-title">{ "Came from" }</h3>
            <ul class="sources" data-testid="panel-sources">
                { for lines }
                if site.sources.is_empty() {
                    <li class="soft">{ "What was kept here: nobody was asked in this session." }</li>
                }
            </ul>
        </section>
    }
}

#[derive(Properties, PartialEq)]
struct FilesProps {
    site: String,
    summary: String,
}

/// The files, asked for when the list is opened.
#[function_component(Files)]
fn files(props: &FilesProps) -> Html {
    let context = use_app();
    let files = use_state(|| None::<Result<Vec<FileInfo>, ApiError>>);
    let ontoggle = {
        let (files, address, context) = (files.clone(), props.site.parse().ok(), context.clone());
        Callback::from(move |_: Event| {
            let (Some(address), None) = (address, &*files) else { return };
            let (client, setter) = (context.client.clone(), files.setter());
            platform::spawn(async move {
                match client.call(Command::Files { address }).await {
                    Ok(Reply::Files(list)) => setter.set(Some(Ok(list.files))),
                    Ok(_) => {}
                    Err(error) => setter.set(Some(Err(error))),
                }
            });
        })
    };
    let list = match &*files {
        None => html! { <p class="soft">{ "Reading the list…" }</p> },
        Some(Err(error)) => trouble(error),
        Some(Ok(files)) => html! {
            <>
                <ul class="files">{ for files.iter().take(FILES_LISTED_MAX).map(|file| file_line(&context, &props.site, file)) }</ul>
                if files.len() > FILES_LISTED_MAX {
                    <p class="soft">{ format!("And {}.", count((files.len() - FILES_LISTED_MAX) as u64, "more file", "more files")) }</p>
                }
            </>
        },
    };
    html! {
        <details class="file-list" {ontoggle}>
            <summary>{ &props.summary }</summary>
            { list }
        </details>
    }
}

fn file_line(context: &Context, site: &str, file: &FileInfo) -> Html {
    let link = site.parse().ok().map(|address| Link { address, path: file.path.clone() });
    // The fragment does not change, so nothing else would bring the frame back to it.
    let is_named = link.is_some() && context.state.visit.as_ref().map(|visit| &visit.link) == link.as_ref();
    let onclick = link.clone().filter(|_| is_named).map(|link| {
        context.on(move || Action::Go { route: Route::Site(link.clone()), now_ms: platform::monotonic_ms() })
    });
    html! { <li><a href={link.as_ref().map(route::hash)} {onclick}><bdi>{ plain(&file.path, 512) }</bdi></a><span class="number">{ bytes(file.size) }</span></li> }
}
