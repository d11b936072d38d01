//! From source files to what the server hands out: content-hashed names, placeholders, the list for the offline cache.
//!
//! Scripts and styles are renamed `name-HASH.ext` so that they may be cached for ever; pages, icons and the service worker
//! keep their names. In text files `{{NAME_EXT}}` (`{{STYLE_CSS}}`, `{{BOOT_JS}}`, `{{APP_JS}}`, `{{APP_WASM}}`) becomes the
//! served name of that file, and `{{VERSION}}` the hash of the whole bundle. A placeholder nobody fills is an error.

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::Files;
use super::wasm::{GENERATED_JS, GENERATED_WASM};

/// Hex digits of a content hash in a file name.
const HASH_DIGITS: usize = 16;
/// Names that a browser asks for by themselves.
const KEEPS_ITS_NAME: [&str; 1] = ["sw.js"];
/// Endings of the files placeholders are filled in.
const TEXT: [&str; 6] = [".html", ".js", ".css", ".svg", ".webmanifest", ".json"];
/// What the service worker stores so that the app opens without a network.
const PRECACHE: &str = "precache.json";

/// A finished bundle.
pub struct Bundle {
    /// Hash over all files.
    pub version: String,
    pub files: Files,
}

/// Names to fill in, as `{{NAME}}`.
type Names = Vec<(String, String)>;

/// Joins what wasm-bindgen generated with the app's static files.
pub fn app(mut generated: Files, mut statics: Files) -> Result<Bundle> {
    let mut names = Names::new();
    let mut files = Files::new();

    let wasm = generated.remove(GENERATED_WASM).context("wasm-bindgen wrote no module")?;
    let wasm_name = hashed_name("app.wasm", &wasm);
    let js = generated.remove(GENERATED_JS).context("wasm-bindgen wrote no loader")?;
    let js = String::from_utf8(js).context("the loader is not text")?.replace(GENERATED_WASM, &wasm_name);
    let js_name = hashed_name("app.js", js.as_bytes());
    names.push(("APP_WASM".to_owned(), wasm_name.clone()));
    names.push(("APP_JS".to_owned(), js_name.clone()));
    files.insert(wasm_name, wasm);
    files.insert(js_name, js.into_bytes());
    files.extend(generated);

    // Styles before scripts before the rest: each may name those before it.
    for ending in [".css", ".js"] {
        let renamed: Vec<String> =
            statics.keys().filter(|name| name.ends_with(ending) && is_renamed(name)).cloned().collect();
        for name in renamed {
            let content = statics.remove(&name).unwrap_or_default();
            let content = fill(&name, content, &names)?;
            let served = hashed_name(&name, &content);
            names.push((placeholder(&name), served.clone()));
            if let Some((stem, _)) = name.rsplit_once('.') {
                names.push((placeholder(stem), served.clone()));
            }
            files.insert(served, content);
        }
    }
    let version = version(&files, &statics);
    names.push(("VERSION".to_owned(), version.clone()));
    for (name, content) in statics {
        let content = fill(&name, content, &names)?;
        files.insert(name, content);
    }
    let listed: Vec<&String> = files.keys().filter(|name| !KEEPS_ITS_NAME.contains(&name.as_str())).collect();
    let precache = format!("{:#}\n", json!({ "version": version, "files": listed }));
    files.insert(PRECACHE.to_owned(), precache.into_bytes());
    Ok(Bundle { version, files })
}

/// A site's origin serves these under the names they have here.
pub fn site(frame: Files) -> Result<Files> {
    let names = vec![("VERSION".to_owned(), version(&Files::new(), &frame))];
    frame.into_iter().map(|(name, content)| Ok((name.clone(), fill(&name, content, &names)?))).collect()
}

fn is_renamed(name: &str) -> bool {
    !KEEPS_ITS_NAME.contains(&name) && !name.contains('/')
}

fn hash(content: &[u8]) -> String {
    let mut text = blake3::hash(content).to_hex().to_string();
    text.truncate(HASH_DIGITS);
    text
}

fn hashed_name(name: &str, content: &[u8]) -> String {
    match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}-{}.{extension}", hash(content)),
        None => format!("{name}-{}", hash(content)),
    }
}

/// `style.css` → `STYLE_CSS`.
fn placeholder(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' }).collect()
}

fn version(done: &Files, unfilled: &Files) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, content) in done.iter().chain(unfilled) {
        hasher.update(name.as_bytes()).update(blake3::hash(content).as_bytes());
    }
    let mut text = hasher.finalize().to_hex().to_string();
    text.truncate(HASH_DIGITS);
    text
}

fn fill(name: &str, content: Vec<u8>, names: &Names) -> Result<Vec<u8>> {
    if !TEXT.iter().any(|ending| name.ends_with(ending)) {
        return Ok(content);
    }
    let text = String::from_utf8(content).with_context(|| format!("{name} is not UTF-8 text"))?;
    let mut filled = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find("{{") {
        let (before, from) = rest.split_at(start);
        filled.push_str(before);
        let key = from[2..].split("}}").next().unwrap_or_default();
        let is_placeholder =
            !key.is_empty() && key.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        if !is_placeholder || !from[2 + key.len()..].starts_with("}}") {
            filled.push_str("{{");
            rest = &from[2..];
            continue;
        }
        let Some((_, value)) = names.iter().find(|(known, _)| known == key) else {
            let known: Vec<_> = names.iter().map(|(known, _)| known.as_str()).collect();
            bail!("{name}: nothing fills {{{{{key}}}}}; known here: {}", known.join(", "));
        };
        filled.push_str(value);
        rest = &from[2 + key.len() + 2..];
    }
    filled.push_str(rest);
    Ok(filled.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec())).collect()
    }

    fn generated() -> Files {
        files(&[(GENERATED_WASM, "\0asm"), (GENERATED_JS, "fetch('app_bg.wasm')")])
    }

    fn text<'a>(bundle: &'a Bundle, prefix: &str, ending: &str) -> (&'a str, &'a str) {
        let (name, content) = bundle
            .files
            .iter()
            .find(|(name, _)| name.starts_with(prefix) && name.ends_with(ending))
            .expect("such a file");
        (name, std::str::from_utf8(content).expect("text"))
    }

    #[test]
    fn pages_name_the_files_that_are_there() {
        let statics = files(&[
            ("index.html", "<link href={{STYLE}}><script src={{BOOT_JS}}></script>"),
            ("boot.js", "import('./{{APP_JS}}')"),
            ("style.css", "a{}"),
            ("sw.js", "const version = '{{VERSION}}'; `${{a: 1}}`"),
        ]);
        let bundle = app(generated(), statics).expect("a bundle");
        let (wasm, _) = text(&bundle, "app-", ".wasm");
        let (app, loader) = text(&bundle, "app-", ".js");
        let (boot, boot_text) = text(&bundle, "boot-", ".js");
        let (style, _) = text(&bundle, "style-", ".css");
        let (_, page) = text(&bundle, "index", ".html");
        let (_, worker) = text(&bundle, "sw", ".js");
        assert_eq!(loader, format!("fetch('{wasm}')"));
        assert_eq!(boot_text, format!("import('./{app}')"));
        assert_eq!(page, format!("<link href={style}><script src={boot}></script>"));
        assert_eq!(worker, format!("const version = '{}'; `${{{{a: 1}}}}`", bundle.version));
    }

    #[test]
    fn the_precache_lists_everything_but_the_worker_and_itself() {
        let bundle = app(generated(), files(&[("index.html", "x"), ("sw.js", "y")])).expect("a bundle");
        let (_, list) = text(&bundle, "precache", ".json");
        let list: serde_json::Value = serde_json::from_str(list).expect("JSON");
        let listed: Vec<_> = list["files"].as_array().expect("a list").iter().filter_map(|it| it.as_str()).collect();
        assert_eq!(list["version"], bundle.version.as_str());
        assert_eq!(listed.len(), bundle.files.len() - 2, "{listed:?}");
        assert!(listed.iter().all(|name| bundle.files.contains_key(*name)));
        assert!(!listed.contains(&"sw.js") && !listed.contains(&PRECACHE));
    }

    #[test]
    fn any_change_gives_another_version_and_name() {
        let one = app(generated(), files(&[("index.html", "x"), ("style.css", "a")])).expect("a bundle");
        let page = app(generated(), files(&[("index.html", "y"), ("style.css", "a")])).expect("a bundle");
        let style = app(generated(), files(&[("index.html", "x"), ("style.css", "b")])).expect("a bundle");
        assert_ne!(one.version, page.version);
        assert_ne!(one.version, style.version);
        assert_ne!(text(&one, "style-", ".css").0, text(&style, "style-", ".css").0);
    }

    #[test]
    fn a_placeholder_nobody_fills_is_an_error() {
        let error = app(generated(), files(&[("index.html", "{{STILE}}")])).err().expect("an error");
        assert!(error.to_string().contains("index.html: nothing fills {{STILE}}"), "{error}");
    }
}
