//! The hidden frame of a site's origin that connects the site's service worker to the node.

use crate::{
    state::{Action, BridgeState},
    view::{context::use_app, effects::Going},
};
use meganet_core::address::Address;
use meganet_node::platform;
use meganet_web_node::{Bridge, BridgeEvent, ShownVersion};
use std::time::Duration;
use web_sys::HtmlIFrameElement;
use yew::prelude::*;

/// How long the frame may take to say that its worker is active.
const BRIDGE_TIMEOUT_MS: u64 = 20_000;
/// The bridge's page on the site's origin.
const BRIDGE_PATH: &str = "/.meganet/bridge.html";

/// Scripts and its own origin, nothing else.
const SANDBOX: &str = "allow-scripts allow-same-origin";

#[derive(Properties, PartialEq)]
pub struct BridgeFrameProps {
    pub visit: u32,
    /// The site's address in full.
    pub address: String,
    /// The version that is shown, once it is known.
    pub sequence: Option<u64>,
}

#[function_component(BridgeFrame)]
pub fn bridge_frame(props: &BridgeFrameProps) -> Html {
    let context = use_app();
    let frame = use_node_ref();
    let shown = use_memo((), |()| ShownVersion::default());
    // Before the visible frame, which is drawn together with this, can ask for anything.
    shown.set(props.sequence);
    use_effect_with(props.visit, {
        let (frame, address, visit) = (frame.clone(), props.address.parse::<Address>().ok(), props.visit);
        let (client, dispatcher) = (context.client, context.dispatcher.clone());
        let shown = ShownVersion::clone(&shown);
        move |_| {
            let report = dispatcher.clone();
            let bridge = frame.cast::<HtmlIFrameElement>().zip(address).and_then(|(frame, address)| {
                let bridge = Bridge::open(client, address, shown, frame.clone(), move |event| {
                    let state = match event {
                        BridgeEvent::Ready => BridgeState::Ready,
                        BridgeEvent::Failed { code, message } => BridgeState::Failed { code, message },
                    };
                    report.dispatch(Action::Bridge { visit, state });
                });
                // Only now: a frame that is in the browser's cache speaks before effects run, and it speaks once.
                let _ = frame.set_attribute("sandbox", SANDBOX);
                frame.set_src(&format!("{}{BRIDGE_PATH}", Bridge::site_origin(address)?));
                bridge
            });
            let waiting = Going::run(move |going| async move {
                platform::sleep(Duration::from_millis(BRIDGE_TIMEOUT_MS)).await;
                if going.get() {
                    let state = BridgeState::Failed { code: "timeout".into(), message: String::new() };
                    dispatcher.dispatch(Action::Bridge { visit, state });
                }
            });
            move || drop((bridge, waiting))
        }
    });
    html! {
        <iframe ref={frame} class="bridge" data-testid="bridge-frame" title="Connection of the site to MegaNet"
            aria-hidden="true" tabindex="-1" />
    }
}
