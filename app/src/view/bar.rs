//! The bar that is always there: home, the shown site's key, the address box, the node's state.

use crate::{
    state::Action,
    view::{chip::Chip, context::use_app, effects, key_mark::KeyMark, settings},
    words,
};
use meganet_core::address::Link;
use meganet_node::platform;
use web_sys::HtmlInputElement;
use yew::prelude::*;

#[function_component(Bar)]
pub fn bar() -> Html {
    let context = use_app();
    let state = &context.state;
    let place = state.visit.as_ref().map(|visit| crate::route::hash(&visit.link).trim_start_matches("#/").to_owned());
    let text = use_state(String::new);
    // What was typed gives way to where the user went.
    use_effect_with(place, {
        let setter = text.setter();
        move |place| setter.set(place.clone().unwrap_or_default())
    });

    let oninput = {
        let (context, setter) = (context.clone(), text.setter());
        Callback::from(move |event: InputEvent| {
            setter.set(event.target_unchecked_into::<HtmlInputElement>().value());
            if context.state.entry_error.is_some() {
                context.dispatch(Action::Typing);
            }
        })
    };
    let onsubmit = {
        let (context, text) = (context.clone(), text.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            match text.parse::<Link>() {
                // The fragment does not change, so nothing else would open it again.
                Ok(link) if context.state.visit.as_ref().is_some_and(|visit| visit.link == link) => {
                    context.dispatch(Action::Again { now_ms: platform::monotonic_ms() });
                }
                Ok(link) => effects::go_to(&link),
                Err(error) => context.dispatch(Action::Mistyped(error)),
            }
        })
    };
    let onfocus = Callback::from(|event: FocusEvent| event.target_unchecked_into::<HtmlInputElement>().select());
    let explained = state.entry_error.as_ref().map(words::of_link);
    let invalid = explained.is_some().then_some("true");
    html! {
        <header class="bar">
            <a class="brand" href="#/" aria-label="MegaNet, home">
                <svg viewBox="0 0 32 32" aria-hidden="true" focusable="false">
                    <path d="M8 24V9l8 8 8-8v15" /><circle cx="8" cy="24" r="3" /><circle cx="24" cy="24" r="3" />
                    <circle cx="8" cy="9" r="3" /><circle cx="24" cy="9" r="3" /><circle cx="16" cy="17" r="3" />
                </svg>
                <span class="brand-name">{ "MegaNet" }</span>
            </a>
            if let Some(address) = state.address() {
                <span class="site-key" data-testid="site-key" title={format!("The key of this site: {address}")}>
                    <KeyMark {address} />
                    <span class="visually-hidden">{ "Key of this site: " }</span>
                    <code>{ address.short() }</code>
                </span>
            }
            <form class="address" role="search" {onsubmit}>
                <label class="visually-hidden" for="address">{ "Address of a site, or a link to it" }</label>
                <input id="address" data-testid="address-input" type="text" inputmode="url" autocomplete="off" autocapitalize="off"
                    spellcheck="false" placeholder="Address or link of a site" value={(*text).clone()} aria-invalid={invalid}
                    aria-describedby={invalid.map(|_| "address-error")} {oninput} {onfocus} />
                <button type="submit" class="button" data-testid="open-button">{ "Open" }</button>
            </form>
            <Chip />
            if state.visit.as_ref().is_some_and(|visit| visit.can_show()) {
                <PanelToggle />
            }
            if let Some(explained) = explained {
                <div id="address-error" class="entry-error" role="alert" data-testid="error" data-code={explained.code} data-reason={explained.reason}>
                    <strong>{ explained.title }</strong>
                    <span>{ explained.what }</span>
                    <span class="soft">{ explained.safe }</span>
                </div>
            }
        </header>
    }
}

#[function_component(PanelToggle)]
fn panel_toggle() -> Html {
    let context = use_app();
    let open = context.state.panel_open;
    let onclick = Callback::from(move |_: MouseEvent| {
        settings::set_panel_open(!open);
        context.dispatch(Action::TogglePanel);
    });
    html! {
        <button type="button" class="button quiet panel-toggle" data-testid="panel-toggle" aria-expanded={open.to_string()}
            aria-controls="panel" {onclick}>
            <svg viewBox="0 0 20 20" aria-hidden="true" focusable="false"><rect x="2" y="3" width="16" height="14" rx="2" /><path d="M12.5 3v14" /></svg>
            <span class="visually-hidden">{ "About this site" }</span>
        </button>
    }
}
