//! Files of the built app and of the site frame, with their media types, validators and cache rules.

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header},
};
use std::path::{Path, PathBuf};
use tower_http::services::ServeDir;

/// Hexadecimal digits from which a part of a file name counts as a content hash.
const HASH_MIN_DIGITS: usize = 8;
const PATH_MAX_BYTES: usize = 512;

const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// What is served from the folder that `cargo xtask build` makes: `app/` and `site/`.
#[derive(Debug, Clone)]
pub struct Files {
    app: ServeDir,
    site: ServeDir,
}

/// The folder is not a built app.
#[derive(Debug, thiserror::Error)]
#[error("{} is missing: build the app with `cargo xtask build` and name its folder with --app-dir. Nothing was started", .missing.display())]
pub struct NotBuilt {
    missing: PathBuf,
}

impl Files {
    /// Checks that the folder holds what every visit needs.
    ///
    /// # Errors
    /// [`NotBuilt`] names the first missing file.
    pub fn open(dist: &Path) -> Result<Self, NotBuilt> {
        for needed in ["app/index.html", "site/boot.html", "site/bridge.html", "site/sw.js"] {
            let missing = dist.join(needed);
            if !missing.is_file() {
                return Err(NotBuilt { missing });
            }
        }
        Ok(Self { app: folder(&dist.join("app")), site: folder(&dist.join("site")) })
    }

    /// A file of the app; `None` when there is none.
    pub async fn app(&self, request: Request<Body>) -> Option<Response<Body>> {
        let path = if request.uri().path() == "/" { "/index.html" } else { request.uri().path() }.to_owned();
        serve(&self.app, &path, request).await
    }

    /// A file of the site frame, by its name in `site/`.
    pub async fn site(&self, name: &str, request: Request<Body>) -> Option<Response<Body>> {
        serve(&self.site, &format!("/{name}"), request).await
    }
}

fn folder(path: &Path) -> ServeDir {
    // Directories are not served, so their redirects, which repeat the request's path, never happen.
    ServeDir::new(path)
        .append_index_html_on_directories(false)
        .ignore_multi_range_requests(true)
        .precompressed_br()
        .precompressed_gzip()
}

async fn serve(folder: &ServeDir, path: &str, request: Request<Body>) -> Option<Response<Body>> {
    if !is_plain_path(path) {
        return None;
    }
    let (parts, _) = request.into_parts();
    let mut plain = Request::new(Body::empty());
    *plain.method_mut() = if parts.method == Method::HEAD { Method::HEAD } else { Method::GET };
    *plain.uri_mut() = path.parse::<Uri>().ok()?;
    *plain.headers_mut() = parts.headers;
    let response = match folder.clone().try_call(plain).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(path, %error, "a file could not be read");
            }
            return None;
        }
    };
    if response.status() == StatusCode::NOT_FOUND {
        return None;
    }
    Some(finish(path, response))
}

fn finish(path: &str, mut response: Response<Body>) -> Response<Body> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let cache = if is_hashed(name) { IMMUTABLE } else { REVALIDATE };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, cache);
    // The text files are ours, and are UTF-8.
    let charset = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .filter(|value| value.starts_with("text/") && !value.contains(';'))
        .and_then(|value| HeaderValue::try_from(format!("{value}; charset=utf-8")).ok());
    if let Some(value) = charset {
        headers.insert(header::CONTENT_TYPE, value);
    }
    response
}

/// Names of built files need no more than this; everything else, encoded or dotted, names nothing.
fn is_plain_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    path.len() <= PATH_MAX_BYTES
        && path.strip_prefix('/').is_some_and(|rest| {
            rest.split('/')
                .all(|segment| !segment.is_empty() && !segment.starts_with('.') && segment.bytes().all(plain))
        })
}

/// Whether a file name carries a hash of its content: `app-1f3a99c2.js`, `app-1f3a99c2_bg.wasm`.
fn is_hashed(name: &str) -> bool {
    name.split(['.', '_'])
        .next()
        .and_then(|stem| stem.rsplit_once('-'))
        .is_some_and(|(_, hash)| hash.len() >= HASH_MIN_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_a_hash_never_change() {
        for name in ["app-1f3a99c2.js", "app-1f3a99c21f3a99c2_bg.wasm", "a-b-0123456789abcdef.css"] {
            assert!(is_hashed(name), "{name}");
        }
        for name in
            ["index.html", "sw.js", "app.js", "app-short12.js", "app-abc.js", "1f3a99c2.js", "site-frame.js", ""]
        {
            assert!(!is_hashed(name), "{name}");
        }
    }

    #[test]
    fn paths_that_could_leave_the_folder_name_nothing() {
        for path in ["/index.html", "/a/b-c_d.e.js"] {
            assert!(is_plain_path(path), "{path}");
        }
        for path in [
            "",
            "/",
            "index.html",
            "//x",
            "/../x",
            "/..",
            "/a/../b",
            "/.git/config",
            "/%2e%2e/x",
            "/a%2fb",
            "/a\\b",
            "/a//b",
            "/a/",
            "/ä",
            "/a:b",
            "/x y",
        ] {
            assert!(!is_plain_path(path), "{path}");
        }
        assert!(!is_plain_path(&format!("/{}", "a".repeat(PATH_MAX_BYTES))));
    }
}
