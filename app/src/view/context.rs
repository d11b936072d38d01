//! What every component reaches: the state, the way to change it, and the client.

use crate::state::{Action, State};
use meganet_node::{api::Command, platform};
use meganet_web_node::Client;
use std::rc::Rc;
use yew::prelude::*;

/// Handed down as a context.
#[derive(Clone)]
pub struct Context {
    /// As it was when this was drawn. A reducer's own handle would show the newest state behind the back of whoever
    /// compares two of them.
    pub state: Rc<State>,
    pub dispatcher: UseReducerDispatcher<State>,
    pub client: Client,
}

impl PartialEq for Context {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.state, &other.state)
    }
}

impl Context {
    /// Changes the state.
    pub fn dispatch(&self, action: Action) {
        self.dispatcher.dispatch(action);
    }

    /// A callback that changes the state, the same way each time.
    pub fn on<E: 'static>(&self, action: impl Fn() -> Action + 'static) -> Callback<E> {
        let dispatcher = self.dispatcher.clone();
        Callback::from(move |_| dispatcher.dispatch(action()))
    }

    /// Runs a command of the panel in the background; a failure is shown there. `on_done` comes after a success.
    pub fn run(&self, visit: u32, command: Command, on_done: impl FnOnce() + 'static) {
        let (client, dispatcher) = (self.client.clone(), self.dispatcher.clone());
        platform::spawn(async move {
            match client.call(command).await {
                Ok(_) => on_done(),
                Err(error) => dispatcher.dispatch(Action::Trouble { visit, error }),
            }
        });
    }
}

/// The context of a component below the app.
#[hook]
#[expect(clippy::expect_used, reason = "a component outside the app is a mistake in this crate that shows at once")]
pub fn use_app() -> Context {
    use_context::<Context>().expect("every component is drawn below the app")
}
