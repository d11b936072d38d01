//! The interface, drawn with Yew.

mod app;
mod banners;
mod bar;
mod bridge_frame;
mod chip;
mod consent;
mod context;
mod effects;
mod error_card;
mod forget;
mod home;
mod key_mark;
mod opening;
mod panel;
mod settings;
mod site;

use meganet_web_node::{Client, js_api, panic};

/// Starts the node's client and draws the interface into `#app`.
pub fn run() {
    yew::set_custom_panic_hook(Box::new(panic::hook));
    let client = Client::start(settings::consent().unwrap_or_default());
    js_api::publish(&client);
    let root = web_sys::window().and_then(|window| window.document()).and_then(|page| page.get_element_by_id("app"));
    if let Some(root) = root {
        yew::Renderer::<app::App>::with_root_and_props(root, app::AppProps { client }).render();
    }
}
