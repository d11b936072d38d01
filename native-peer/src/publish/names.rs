//! Names that not every system can keep: whoever fetches the site there could not write its files.

/// What Windows takes for a part of its own syntax. (`/` parts names, and [`meganet_core::path`] refuses `\\`.)
const RESERVED: [char; 7] = ['<', '>', ':', '"', '|', '?', '*'];
/// Devices of Windows, in any case and with any extension; those with a number have one of [`DIGITS`].
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
const NUMBERED_DEVICES: [&str; 2] = ["com", "lpt"];
const DIGITS: [char; 13] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '¹', '²', '³'];

/// Why a path cannot be kept everywhere, if it cannot.
pub fn not_everywhere(path: &str) -> Option<&'static str> {
    path.split('/').find_map(|name| {
        if name.contains(RESERVED) {
            Some("Windows keeps no name with one of < > : \" | ? * in it")
        } else if name.ends_with(['.', ' ']) {
            Some("Windows keeps no name with a dot or a space at its end")
        } else if is_device(name) {
            Some("it is the name of a device on Windows")
        } else {
            None
        }
    })
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end_matches(' ').to_ascii_lowercase();
    let is_numbered = |device: &str| {
        let mut rest = stem.strip_prefix(device).unwrap_or_default().chars();
        rest.next().is_some_and(|digit| DIGITS.contains(&digit)) && rest.next().is_none()
    };
    DEVICES.contains(&stem.as_str()) || NUMBERED_DEVICES.into_iter().any(is_numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_windows_cannot_keep_are_known() {
        for name in [
            "CON",
            "con.txt",
            "Aux.tar.gz",
            "nul .txt",
            "COM1",
            "lpt0.html",
            "com³",
            "CONOUT$",
            "a.",
            "a ",
            "a?b",
            "a*b",
            "a<b",
            "a>b",
            "a:b",
            "a\"b",
            "a|b",
        ] {
            for path in [name.to_owned(), format!("sub/{name}"), format!("{name}/index.html")] {
                assert!(not_everywhere(&path).is_some(), "{path}");
            }
        }
    }

    #[test]
    fn names_that_only_look_like_them_are_kept() {
        for name in
            ["console.js", "com.html", "com10", "lpt", "auxiliary", ".con", "a.con", "a b.txt", ".htaccess", "é"]
        {
            assert_eq!(not_everywhere(name), None, "{name}");
        }
    }
}
