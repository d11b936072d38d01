//! The whole: one reducer, the effects that follow from it, and what is drawn for each route.

use crate::{
    phase::Shown,
    route::Route,
    state::{Action, Outcome, State},
    view::{
        banners::Banners, bar::Bar, bridge_frame::BridgeFrame, context::Context, effects, error_card::ErrorCard,
        home::Home, opening::Opening, settings, site::Site,
    },
    words,
};
use meganet_node::{api::ApiError, platform};
use meganet_web_node::{Client, Listener};
use std::rc::Rc;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct AppProps {
    pub client: Client,
}

#[function_component(App)]
pub fn app(props: &AppProps) -> Html {
    let reducer = use_reducer(|| {
        let now_ms = platform::monotonic_ms();
        State::new(effects::read_route(), settings::consent(), settings::panel_open(), now_ms)
    });
    let state = Rc::new(State::clone(&reducer));
    let context = Context { state: state.clone(), dispatcher: reducer.dispatcher(), client: props.client.clone() };
    use_listening(&context);
    use_visit(&context);
    use_clock(&context);
    use_title(&state);

    let main = match (&state.route, &state.visit) {
        (Route::Bad { error, .. }, _) => html! {
            <div class="page"><ErrorCard explained={words::of_link(error)} /></div>
        },
        (Route::Site(_), Some(visit)) if visit.can_show() => html! { <Site key={visit.number} /> },
        (Route::Site(_), Some(_)) => html! { <Opening /> },
        _ => html! { <Home /> },
    };
    let bridge = state.visit.as_ref().filter(|visit| !matches!(visit.outcome, Outcome::Cancelled)).map(|visit| {
        let sequence = visit.site().map(|site| site.sequence);
        html! { <BridgeFrame key={visit.number} visit={visit.number} address={visit.link.address.to_string()} {sequence} /> }
    });
    html! {
        <ContextProvider<Context> {context}>
            <a class="skip" href="#main-content" onclick={Callback::from(skip_to_main)}>{ "Skip to the content" }</a>
            <Bar />
            <Banners />
            <main id="main-content" tabindex="-1">{ main }</main>
            { for bridge }
        </ContextProvider<Context>>
    }
}

/// The skip link must not change the fragment: the fragment is the route.
fn skip_to_main(event: MouseEvent) {
    use wasm_bindgen::JsCast;
    event.prevent_default();
    let main =
        web_sys::window().and_then(|window| window.document()).and_then(|page| page.get_element_by_id("main-content"));
    if let Some(main) = main.and_then(|main| main.dyn_into::<web_sys::HtmlElement>().ok()) {
        let _ = main.focus();
    }
}

/// Follows the client and the page's fragment.
#[hook]
fn use_listening(context: &Context) {
    let (client, dispatcher) = (context.client.clone(), context.dispatcher.clone());
    use_effect_with((), move |()| {
        let heard = dispatcher.clone();
        let subscription = client.subscribe(move |update| {
            heard.dispatch(Action::Heard { update: Box::new(update.clone()), now_ms: platform::monotonic_ms() });
        });
        let figures = effects::refresh_status(client.clone(), dispatcher.clone());
        let now_ms = platform::monotonic_ms();
        dispatcher.dispatch(Action::Snapshot { snapshot: Box::new(client.snapshot()), now_ms });
        let moved = web_sys::window().map(|window| {
            Listener::new(&window, "hashchange", move |_| {
                dispatcher.dispatch(Action::Go { route: effects::read_route(), now_ms: platform::monotonic_ms() });
            })
        });
        move || drop((subscription, moved, figures))
    });
}

/// Opens each visit's site, refreshes it while it is open, and lists what is kept while at home.
#[hook]
fn use_visit(context: &Context) {
    let state = &context.state;
    let visit = state.visit.as_ref();
    let (client, dispatcher) = (context.client.clone(), context.dispatcher.clone());

    let opening = visit.filter(|visit| !matches!(visit.outcome, Outcome::Cancelled));
    use_effect_with(opening.map(|visit| (visit.number, visit.link.address)), {
        let (client, dispatcher) = (client.clone(), dispatcher.clone());
        move |visit| {
            let going = visit.map(|(number, address)| effects::open_site(client, dispatcher, number, address));
            move || drop(going)
        }
    });
    use_effect_with(visit.filter(|visit| visit.site().is_some()).map(|visit| (visit.number, visit.link.address)), {
        let (client, dispatcher) = (client.clone(), dispatcher.clone());
        move |visit| {
            let going = visit.map(|(number, address)| effects::refresh_site(client, dispatcher, number, address));
            move || drop(going)
        }
    });

    let stored = state.status.as_ref().map(|status| (status.sites, status.stored_chunks));
    use_effect_with((state.route == Route::Home, stored), {
        let (client, dispatcher) = (client.clone(), dispatcher.clone());
        move |(home, _)| {
            if *home {
                effects::list_kept(client, dispatcher);
            }
        }
    });

    // A visit that failed because nobody could be reached begins again once somebody can.
    let joined = Shown::of(&state.seat, state.status.as_ref(), &state.contact) == Shown::Joined;
    let offline = visit.is_some_and(|visit| matches!(visit.outcome, Outcome::Failed(ApiError::Offline)));
    use_effect_with(joined && offline, move |again| {
        if *again {
            dispatcher.dispatch(Action::Again { now_ms: platform::monotonic_ms() });
        }
    });
}

/// Counts seconds while something on the page counts them.
#[hook]
fn use_clock(context: &Context) {
    let state = &context.state;
    let shown = Shown::of(&state.seat, state.status.as_ref(), &state.contact);
    let opening = state.visit.as_ref().is_some_and(|visit| matches!(visit.outcome, Outcome::Working));
    let dispatcher = context.dispatcher.clone();
    use_effect_with(opening || matches!(shown, Shown::Joining | Shown::Offline), move |counting| {
        let going = counting.then(|| effects::tick(dispatcher));
        move || drop(going)
    });
}

/// Names the browser's tab after the site.
#[hook]
fn use_title(state: &State) {
    let site = state.visit.as_ref().and_then(|visit| visit.site());
    let title = site.map(|site| crate::format::plain(&site.title, 80)).filter(|title| !title.is_empty());
    use_effect_with(title, |title| {
        if let Some(page) = web_sys::window().and_then(|window| window.document()) {
            page.set_title(&title.as_ref().map_or_else(|| "MegaNet".into(), |title| format!("{title} – MegaNet")));
        }
    });
}
