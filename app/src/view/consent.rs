//! Whether this tab helps others: asked once, changeable always, off until answered.

use crate::{
    state::Action,
    view::{context::use_app, settings},
};
use meganet_node::{
    api::{Command, Contribution},
    platform,
};
use yew::prelude::*;

#[function_component(Consent)]
pub fn consent() -> Html {
    let context = use_app();
    let choose = |contribution: Contribution| {
        let context = context.clone();
        Callback::from(move |_: MouseEvent| {
            settings::set_consent(contribution);
            context.dispatch(Action::Chose(contribution));
            if contribution == Contribution::On {
                meganet_web_node::ask_to_persist();
            }
            let client = context.client.clone();
            platform::spawn(async move {
                // The choice is remembered: a node that cannot hear it now starts with it.
                let _ = client.call(Command::SetContribution { contribution }).await;
            });
        })
    };
    let chosen = context.state.consent;
    let pressed = |contribution| if chosen == Some(contribution) { "true" } else { "false" };
    let (title, share_class) = match chosen {
        None => ("Help others?", "button"),
        Some(_) => ("Helping others", "button choice"),
    };
    html! {
        <section class={classes!("card", "consent", chosen.is_none().then_some("asking"))} data-testid="consent" aria-labelledby="consent-title">
            <h2 id="consent-title">{ title }</h2>
            <p>{ "If you share, peers can fetch from this tab the encrypted pieces of sites you have opened, while this page is open." }</p>
            <p class="soft">{ "Those peers can then see that you hold these sites. If you only read, nothing is announced or served." }</p>
            <div class="actions" role="group" aria-labelledby="consent-title">
                <button type="button" class={share_class} data-testid="consent-share" aria-pressed={pressed(Contribution::On)} onclick={choose(Contribution::On)}>
                    { "Share what I read" }
                </button>
                <button type="button" class="button choice" data-testid="consent-read" aria-pressed={pressed(Contribution::Off)} onclick={choose(Contribution::Off)}>
                    { "Only read" }
                </button>
            </div>
            if chosen.is_none() {
                <p class="soft small">{ "Until you choose, this tab only reads." }</p>
            }
        </section>
    }
}
