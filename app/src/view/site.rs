//! An open site: its frame, and the panel beside it.

use crate::{
    format::plain,
    route,
    state::Action,
    view::{context::use_app, panel::Panel},
};
use meganet_node::platform;
use meganet_web_node::{Bridge, timings};
use web_sys::HtmlIFrameElement;
use yew::prelude::*;

/// No pop-ups, no top-level navigation. `allow-same-origin` gives the site its own origin, which is never the app's.
const SANDBOX: &str = "allow-scripts allow-same-origin allow-forms allow-modals allow-downloads";

#[function_component(Site)]
pub fn site() -> Html {
    let context = use_app();
    let state = &context.state;
    let frame = use_node_ref();
    let place = state.visit.as_ref().and_then(|visit| {
        let origin = Bridge::site_origin(visit.link.address)?;
        Some((visit.asked, format!("{origin}{}", route::site_path(&visit.link))))
    });
    let shown = use_mut_ref(|| None::<String>);
    use_effect_with(place.clone(), {
        let frame = frame.clone();
        move |place| {
            let Some((_, src)) = place else { return };
            let before = shown.replace(Some(src.clone()));
            // Asked for again, and so not drawn anew: set once more, it brings the frame back from where the site's own
            // links led it.
            if before.as_ref() == Some(src)
                && let Some(frame) = frame.cast::<HtmlIFrameElement>()
            {
                frame.set_src(src);
            }
        }
    });
    let (Some(visit), Some((_, src))) = (&state.visit, place) else { return Html::default() };
    let title = visit.site().map(|site| plain(&site.title, 80)).filter(|title| !title.is_empty());
    let title = format!("Site: {}", title.unwrap_or_else(|| visit.link.address.short()));
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
            <iframe ref={frame} class="site-frame" data-testid="site-frame" {title} sandbox={SANDBOX} referrerpolicy="no-referrer" {src} {onload} />
            if state.panel_open {
                <Panel />
            }
        </div>
    }
}
