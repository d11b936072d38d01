//! The button that lets a site go. It asks once more for a site that was meant to stay.

use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct ForgetProps {
    pub title: String,
    #[prop_or("forget")]
    pub testid: &'static str,
    /// Whether a second press is needed.
    pub asks: bool,
    pub onforget: Callback<()>,
}

#[function_component(Forget)]
pub fn forget(props: &ForgetProps) -> Html {
    let armed = use_state(|| false);
    let onclick = {
        let (armed, asks, onforget) = (armed.clone(), props.asks, props.onforget.clone());
        Callback::from(move |_: MouseEvent| {
            if asks && !*armed {
                armed.set(true);
            } else {
                onforget.emit(());
            }
        })
    };
    let onblur = {
        let armed = armed.setter();
        Callback::from(move |_: FocusEvent| armed.set(false))
    };
    let (class, text) = match *armed {
        true => ("button small danger", "Forget for sure"),
        false => ("button quiet small", "Forget"),
    };
    html! {
        <button type="button" {class} data-testid={props.testid} aria-label={format!("{text}: {}", props.title)} {onclick} {onblur}>
            { text }
        </button>
    }
}
