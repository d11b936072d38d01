//! A site that is being opened, was not opened, or cannot be shown.

use crate::{
    state::{Action, BridgeState, Outcome, Visit},
    steps::{self, Line, Mark},
    view::{
        chip::RetryButton,
        context::{Context, use_app},
        error_card::ErrorCard,
        key_mark::KeyMark,
    },
    words::{self, Explained},
};
use meganet_core::address::Link;
use meganet_node::{api::ApiError, platform};
use yew::prelude::*;

#[function_component(Opening)]
pub fn opening() -> Html {
    let context = use_app();
    let Some(visit) = &context.state.visit else { return Html::default() };
    let shown = match (&visit.outcome, &visit.bridge) {
        (Outcome::Cancelled, _) => cancelled(&context, visit),
        (Outcome::Failed(error), _) => failed(&context, visit, error),
        (Outcome::Open(_), BridgeState::Failed { code, message }) => {
            explained(&context, words::of_frame(code, message), Html::default())
        }
        _ => working(&context, visit),
    };
    html! { <div class="page narrow">{ shown }</div> }
}

fn working(context: &Context, visit: &Visit) -> Html {
    let lines = steps::lines(&context.state, visit);
    let address = visit.link.address;
    let stage = lines.iter().position(|line| line.mark == Mark::Now).unwrap_or(lines.len());
    html! {
        <section class="opening" data-testid="progress" data-stage={stage.to_string()} aria-labelledby="opening-title">
            <div class="opening-head">
                <KeyMark {address} />
                <h1 id="opening-title">{ "Opening " }<code>{ address.short() }</code></h1>
            </div>
            <p class="visually-hidden" aria-live="polite">{ steps::waiting_for(&lines) }</p>
            <ol class="steps">{ for lines.iter().map(line) }</ol>
            <div class="actions">
                <button type="button" class="button quiet" data-testid="cancel" onclick={context.on(|| Action::Cancel)}>{ "Cancel" }</button>
            </div>
        </section>
    }
}

fn line(line: &Line) -> Html {
    let (class, mark) = match line.mark {
        Mark::Done => ("done", "Done: "),
        Mark::Now => ("now", "Now: "),
        Mark::Waiting => ("waiting", "Later: "),
    };
    html! {
        <li class={class} aria-current={(line.mark == Mark::Now).then_some("step")}>
            <span class="step-mark" aria-hidden="true"></span>
            <span class="step-name"><span class="visually-hidden">{ mark }</span>{ line.name }</span>
            if let Some(took) = steps::took(line) {
                <span class="step-took">{ took }</span>
            }
            if let Some(detail) = &line.detail {
                <span class="step-detail"><bdi>{ detail }</bdi></span>
            }
        </li>
    }
}

fn cancelled(context: &Context, visit: &Visit) -> Html {
    html! {
        <section class="card" data-testid="cancelled">
            <h1>{ "Stopped opening " }<code>{ visit.link.address.short() }</code></h1>
            <p class="soft">{ "What had already arrived is kept, so that another try is faster." }</p>
            <div class="actions">
                { again(context) }
                <a class="button quiet" href="#/">{ "Home" }</a>
            </div>
        </section>
    }
}

fn failed(context: &Context, visit: &Visit, error: &ApiError) -> Html {
    let more = match error {
        ApiError::Offline => html! { <RetryButton /> },
        ApiError::NoSuchPath { .. } => {
            let start = crate::route::hash(&Link { address: visit.link.address, path: String::new() });
            html! { <a class="button quiet" href={start}>{ "Start page of the site" }</a> }
        }
        _ => Html::default(),
    };
    explained(context, words::of_api(error), more)
}

fn explained(context: &Context, explained: Explained, more: Html) -> Html {
    html! { <ErrorCard {explained}>{ again(context) }{ more }</ErrorCard> }
}

fn again(context: &Context) -> Html {
    let onclick = context.on(|| Action::Again { now_ms: platform::monotonic_ms() });
    html! { <button type="button" class="button" {onclick}>{ "Try again" }</button> }
}
