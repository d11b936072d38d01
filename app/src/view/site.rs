//! An open site: its frame, and the panel beside it.

use crate::{
    format::plain,
    route,
    state::Action,
    view::{context::use_app, panel::Panel},
};
use meganet_node::platform;
use meganet_web_node::{Bridge, timings};
use yew::prelude::*;

/// No pop-ups, no top-level navigation. `allow-same-origin` gives the site its own origin, which is never the app's.
const SANDBOX: &str = "allow-scripts allow-same-origin allow-forms allow-modals allow-downloads";

#[function_component(Site)]
pub fn site() -> Html {
    let context = use_app();
    let state = &context.state;
    let Some(visit) = &state.visit else { return Html::default() };
    let Some(origin) = Bridge::site_origin(visit.link.address) else { return Html::default() };
    let title = visit.site().map(|site| plain(&site.title, 80)).filter(|title| !title.is_empty());
    let title = format!("Site: {}", title.unwrap_or_else(|| visit.link.address.short()));
    let src = format!("{origin}{}", route::site_path(&visit.link));
    let onload = {
        let (number, context) = (visit.number, context.clone());
        Callback::from(move |_: Event| {
            timings::mark(|timings| &mut timings.loaded_ms);
            context.dispatch(Action::Painted { visit: number, now_ms: platform::monotonic_ms() });
        })
    };
    html! {
        <div class={classes!("site", state.panel_open.then_some("with-panel"))}>
            if visit.painted_ms.is_none() {
                <progress class="loading" aria-label="The page is loading" />
            }
            <iframe class="site-frame" data-testid="site-frame" {title} sandbox={SANDBOX} referrerpolicy="no-referrer" {src} {onload} />
            if state.panel_open {
                <Panel />
            }
        </div>
    }
}
