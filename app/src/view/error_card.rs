//! An error that says what happened, what is safe and what to do next.

use crate::words::Explained;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct ErrorCardProps {
    pub explained: Explained,
    /// Buttons and links.
    #[prop_or_default]
    pub children: Html,
}

#[function_component(ErrorCard)]
pub fn error_card(props: &ErrorCardProps) -> Html {
    let Explained { code, reason, title, what, safe, next } = &props.explained;
    html! {
        <section class="card error" role="alert" data-testid="error" data-code={*code} data-reason={*reason}>
            <h1>{ *title }</h1>
            <p><bdi>{ what }</bdi></p>
            <p>{ *next }</p>
            <p class="soft">{ *safe }</p>
            <div class="actions">
                { props.children.clone() }
                <a class="button quiet" href="#/">{ "Home" }</a>
            </div>
        </section>
    }
}
