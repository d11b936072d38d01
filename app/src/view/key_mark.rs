//! A small picture of a key: sites that look alike in words do not look alike here.

use meganet_core::address::Address;
use yew::prelude::*;

/// Cells in each direction; the right half mirrors the left.
const SIDE: usize = 5;
/// Colours in the style sheet, `.hue-0` and up.
const HUES: u8 = 8;

#[derive(Properties, PartialEq)]
pub struct KeyMarkProps {
    pub address: Address,
}

/// Decoration only: the key itself stands beside it.
#[function_component(KeyMark)]
pub fn key_mark(props: &KeyMarkProps) -> Html {
    let key = props.address.public_key();
    let cells = (0..SIDE * SIDE).filter(|cell| {
        let (row, column) = (cell / SIDE, cell % SIDE);
        let mirrored = row * SIDE.div_ceil(2) + column.min(SIDE - 1 - column);
        key.get(mirrored).is_some_and(|byte| byte & 1 == 1)
    });
    let cells = cells.map(|cell| {
        html! { <rect x={(cell % SIDE).to_string()} y={(cell / SIDE).to_string()} width="1" height="1" /> }
    });
    html! {
        <svg class={classes!("key-mark", format!("hue-{}", key.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) % HUES))} viewBox="-1 -1 7 7" aria-hidden="true" focusable="false">
            { for cells }
        </svg>
    }
}
