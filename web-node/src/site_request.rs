//! What a site's service worker may ask of the app: to read the site's own files, nothing else.
//!
//! A request is `{id, op: "read", path, offset, max, sequence}`; the address is the app's knowledge, not the request's, so a
//! site cannot name another. `sequence` is the version to read, a decimal number as text (a JavaScript number does not hold
//! every u64); without it the version that the app shows is meant. An answer is
//! `{id, ok: true, sequence, path, mediaType, size, offset, bytes}` or `{id, ok: false, code, message}`; while the node works
//! on it, `{id, pending: true}` comes every [`PENDING_INTERVAL_MS`].

use meganet_node::api::{ApiError, READ_MAX_BYTES};

/// Requests of one site that may wait for the node.
pub const SITE_IN_FLIGHT_MAX: usize = 64;
/// Requests one site may send at once.
pub const SITE_BURST_MAX: u32 = 512;
/// Requests one site may send a second, after the burst.
pub const SITE_RATE_PER_S: u32 = 256;
/// How often a site hears that its request is still worked on. Its side gives up after 10 s of silence.
pub const PENDING_INTERVAL_MS: u64 = 2_000;
/// Digits of the largest sequence number.
pub const SEQUENCE_MAX_DIGITS: usize = 20;
/// Bytes of a request path: the longest manifest path, each byte percent-encoded, and some query.
pub const REQUEST_PATH_MAX_BYTES: usize = 4_096;

/// A request that passed its checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRequest {
    pub id: u32,
    pub path: String,
    pub offset: u64,
    pub max_bytes: u32,
    /// The version to read; `None`: the one that is shown.
    pub sequence: Option<u64>,
}

/// A request as it came: every field may be missing or of another type.
#[derive(Debug, Clone, Default)]
pub struct RawRequest {
    pub id: Option<f64>,
    pub op: Option<String>,
    pub path: Option<String>,
    pub offset: Option<f64>,
    pub max: Option<f64>,
    /// Empty when there is something that is no text of a sequence's length: then no version is read, instead of any.
    pub sequence: Option<String>,
}

/// Why a request is not answered with content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Without a usable id there is nobody to answer.
    #[error("the request has no usable id")]
    NoId,
    #[error("only “read” is offered")]
    Operation,
    #[error("the path is missing or longer than {REQUEST_PATH_MAX_BYTES} bytes")]
    Path,
    #[error("offset and max must be whole numbers, max at least 1")]
    Range,
    #[error("sequence must be a version's number, as text")]
    Sequence,
    #[error("too many requests at once")]
    Busy,
    #[error("too many requests a second")]
    Rate,
}

impl RequestError {
    /// The code the site's side sees.
    pub fn code(&self) -> &'static str {
        match self {
            RequestError::Busy => "busy",
            RequestError::Rate => "rate-limited",
            _ => "bad-request",
        }
    }
}

impl RawRequest {
    /// The id, when an answer can name it.
    pub fn usable_id(&self) -> Option<u32> {
        whole(self.id?, f64::from(u32::MAX)).map(|id| id as u32)
    }

    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(self) -> Result<ReadRequest, RequestError> {
        let id = self.usable_id().ok_or(RequestError::NoId)?;
        if self.op.as_deref() != Some("read") {
            return Err(RequestError::Operation);
        }
        let path = self.path.filter(|path| path.len() <= REQUEST_PATH_MAX_BYTES).ok_or(RequestError::Path)?;
        let offset = whole(self.offset.unwrap_or(0.0), MAX_SAFE_INTEGER).ok_or(RequestError::Range)?;
        let max = whole(self.max.unwrap_or(f64::from(READ_MAX_BYTES)), MAX_SAFE_INTEGER)
            .filter(|max| *max >= 1)
            .ok_or(RequestError::Range)?;
        let sequence = self.sequence.as_deref().map(decimal).transpose()?;
        Ok(ReadRequest { id, path, offset, max_bytes: max.min(u64::from(READ_MAX_BYTES)) as u32, sequence })
    }
}

/// The largest whole number a JavaScript number holds exactly.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// A number as this program writes it: digits alone.
fn decimal(text: &str) -> Result<u64, RequestError> {
    let digits = text.len() <= SEQUENCE_MAX_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(RequestError::Sequence)
}

fn whole(number: f64, max: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..=max).contains(&number)).then_some(number as u64)
}

/// A short stable name of an error, for sites, tests and the interface.
pub fn error_code(error: &ApiError) -> &'static str {
    match error {
        ApiError::NotFound { .. } => "not-found",
        ApiError::NobodyServes { .. } => "nobody-serves",
        ApiError::NoSuchPath { .. } => "no-such-path",
        ApiError::VersionChanged { .. } => "version-changed",
        ApiError::Offline => "offline",
        ApiError::TooLarge { .. } => "too-large",
        ApiError::Refused { .. } => "refused",
        ApiError::Storage { .. } => "storage",
        ApiError::Busy => "busy",
        ApiError::Stopped => "stopped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> RawRequest {
        RawRequest {
            id: Some(3.0),
            op: Some("read".into()),
            path: Some("a/b.html".into()),
            offset: Some(10.0),
            max: Some(100.0),
            sequence: Some("18446744073709551615".into()),
        }
    }

    #[test]
    fn a_whole_request_passes() {
        let request = raw().check();
        assert_eq!(
            request,
            Ok(ReadRequest { id: 3, path: "a/b.html".into(), offset: 10, max_bytes: 100, sequence: Some(u64::MAX) })
        );
        let any = RawRequest { sequence: None, ..raw() }.check();
        assert_eq!(any.map(|request| request.sequence), Ok(None));
    }

    #[test]
    fn max_is_cut_to_what_the_node_returns() {
        let request = RawRequest { max: Some(1e12), ..raw() }.check();
        assert_eq!(request.map(|request| request.max_bytes), Ok(READ_MAX_BYTES));
    }

    #[test]
    fn case_69_forged_fields_are_refused() {
        for id in [None, Some(-1.0), Some(0.5), Some(f64::NAN), Some(f64::INFINITY), Some(4_294_967_296.0)] {
            assert_eq!(RawRequest { id, ..raw() }.check(), Err(RequestError::NoId), "{id:?}");
        }
        for op in [None, Some("publish"), Some("Read"), Some("__proto__")] {
            let op = op.map(str::to_owned);
            assert_eq!(RawRequest { op: op.clone(), ..raw() }.check(), Err(RequestError::Operation), "{op:?}");
        }
        let long = Some("x".repeat(REQUEST_PATH_MAX_BYTES + 1));
        assert_eq!(RawRequest { path: None, ..raw() }.check(), Err(RequestError::Path));
        assert_eq!(RawRequest { path: long, ..raw() }.check(), Err(RequestError::Path));
        for number in [-1.0, 0.5, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(RawRequest { offset: Some(number), ..raw() }.check(), Err(RequestError::Range), "{number}");
            assert_eq!(RawRequest { max: Some(number), ..raw() }.check(), Err(RequestError::Range), "{number}");
        }
        for sequence in ["", "x", "+1", "-1", "1.5", " 1", "18446744073709551616", "000000000000000000001"] {
            let request = RawRequest { sequence: Some(sequence.into()), ..raw() };
            assert_eq!(request.check(), Err(RequestError::Sequence), "{sequence:?}");
        }
        assert_eq!(RawRequest { max: Some(0.0), ..raw() }.check(), Err(RequestError::Range));
    }
}
