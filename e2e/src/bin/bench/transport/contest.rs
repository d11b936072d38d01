//! Who moves what, and under what name it is reported.

use meganet_e2e::raw_channel::MESSAGE_BYTES;

const MIB: u64 = 1024 * 1024;

/// Whose channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Bare,
    Ours,
    Js,
}

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    TabToTab,
    NativeToTab,
    TabToNative,
}

/// One competitor in one discipline.
#[derive(Debug, Clone, Copy)]
pub struct Contest {
    pub who: Who,
    pub way: Way,
    pub suffix: &'static str,
    pub message_bytes: u64,
    /// Peers at the other end of one tab.
    pub peers: usize,
    /// Bytes of each of them.
    pub bytes: u64,
    pub is_delayed: bool,
}

/// In this order neighbours are those who are compared.
const COMPETITORS: [(Who, Way); 7] = [
    (Who::Bare, Way::TabToTab),
    (Who::Ours, Way::TabToTab),
    (Who::Js, Way::TabToTab),
    (Who::Bare, Way::NativeToTab),
    (Who::Ours, Way::NativeToTab),
    (Who::Bare, Way::TabToNative),
    (Who::Ours, Way::TabToNative),
];

impl Contest {
    pub fn all() -> Vec<Self> {
        let plain = |who, way| Self {
            who,
            way,
            suffix: "",
            message_bytes: MESSAGE_BYTES,
            peers: 1,
            bytes: 32 * MIB,
            is_delayed: false,
        };
        let disciplines: [fn(Self) -> Self; 4] = [
            |plain| plain,
            |plain| Self { suffix: "_1k", message_bytes: 1_024, bytes: 16 * MIB, ..plain },
            |plain| Self { suffix: "_x4", peers: 4, bytes: 16 * MIB, ..plain },
            // Ours and js-libp2p's end when the sender is told so, two round trips after a bare channel's: at 18 MB/s 8 MiB would
            // take only four times as long.
            |plain| Self {
                suffix: "_rtt50",
                is_delayed: true,
                bytes: if plain.way == Way::TabToNative { 64 * MIB } else { 8 * MIB },
                ..plain
            },
        ];
        disciplines
            .into_iter()
            .flat_map(|discipline| COMPETITORS.map(|(who, way)| discipline(plain(who, way))))
            .collect()
    }

    pub fn is_plain(&self) -> bool {
        self.suffix.is_empty()
    }

    /// The field's name.
    pub fn name(&self) -> String {
        let way = match self.way {
            Way::TabToTab => "tab_tab",
            Way::NativeToTab => "native_to_tab",
            Way::TabToNative => "tab_to_native",
        };
        let who = match (self.who, self.way) {
            (Who::Bare, Way::TabToTab) => "raw",
            (Who::Bare, _) => "backend",
            (Who::Ours, _) => "ours",
            (Who::Js, _) => "js_libp2p",
        };
        format!("{who}_{way}{}", self.suffix)
    }
}
