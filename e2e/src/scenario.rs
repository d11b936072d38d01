//! One test's frame: its directory, its time limit, and logs and screenshots when it fails.

use crate::{
    browser::{Browser, Options},
    places,
    process::tail,
    swarm::Swarm,
};
use anyhow::{Context, Result};
use futures::FutureExt;
use std::{
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

/// Bounds a scenario that hangs in a way no single wait notices.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// Scenarios that measure run while no other does.
static MACHINE: RwLock<()> = RwLock::new(());

/// While this is held no scenario runs that measures: for a test whose scenario runs in another process.
pub fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// What a test body gets.
pub struct Scenario {
    name: &'static str,
    // Before the directory: a browser that still writes its profile would keep that from being removed.
    browsers: Vec<(String, Rc<Browser>)>,
    dir: tempfile::TempDir,
}

/// Runs one scenario to its end. When it fails, its logs, consoles and screenshots go to `target/e2e-failures/NAME` and
/// the ends of the logs are printed.
///
/// # Panics
/// When the body returns an error, panics, or takes longer than ten minutes: this is a test's outermost call.
pub fn run(name: &'static str, body: impl AsyncFnOnce(&mut Scenario) -> Result<()>) {
    let _shared = shared();
    run_now(name, body);
}

/// The same for one that has the product measure something, which the load of other scenarios would change.
///
/// # Panics
/// As [`run`] does.
pub fn run_alone(name: &'static str, body: impl AsyncFnOnce(&mut Scenario) -> Result<()>) {
    let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    run_now(name, body);
}

fn run_now(name: &'static str, body: impl AsyncFnOnce(&mut Scenario) -> Result<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let failure = runtime.block_on(async {
        let mut scenario = match Scenario::new(name) {
            Ok(scenario) => scenario,
            Err(error) => return Some(format!("{error:#}")),
        };
        let guarded = AssertUnwindSafe(body(&mut scenario)).catch_unwind();
        let failure = match tokio::time::timeout(TIME_LIMIT, guarded).await {
            Ok(Ok(Ok(()))) => return None,
            Ok(Ok(Err(error))) => format!("{error:#}"),
            Ok(Err(panic)) => panic_text(panic.as_ref()),
            Err(_) => format!("not finished within {} s", TIME_LIMIT.as_secs()),
        };
        let evidence = match scenario.keep_evidence().await {
            Ok(dir) => format!("evidence in {}", dir.display()),
            Err(error) => format!("no evidence could be kept: {error:#}"),
        };
        Some(format!("{failure}\n{evidence}"))
    });
    if let Some(failure) = failure {
        panic!("scenario {name} failed: {failure}");
    }
}

impl Scenario {
    fn new(name: &'static str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix(&format!("meganet-{name}-")).tempdir()?;
        Ok(Self { name, browsers: Vec::new(), dir })
    }

    /// A directory that is gone after the test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A bootstrap that serves the built app.
    pub async fn swarm(&self) -> Result<Swarm> {
        Swarm::start(self.dir()).await
    }

    /// A bootstrap for native peers alone.
    pub async fn swarm_without_app(&self) -> Result<Swarm> {
        Swarm::without_app(self.dir()).await
    }

    /// A browser with a fresh profile.
    pub async fn browser(&mut self, name: &str) -> Result<Rc<Browser>> {
        self.browser_with(name, Options::default()).await
    }

    /// A browser started with these options.
    pub async fn browser_with(&mut self, name: &str, options: Options) -> Result<Rc<Browser>> {
        let browser = Rc::new(Browser::start(self.dir.path(), name, options).await?);
        self.browsers.push((name.to_owned(), browser.clone()));
        Ok(browser)
    }

    /// Quits a browser that this scenario started, so that its profile can be opened again.
    pub async fn quit(&mut self, browser: Rc<Browser>) -> Result<()> {
        self.browsers.retain(|(_, other)| !Rc::ptr_eq(other, &browser));
        Rc::into_inner(browser).context("the browser is still in use")?.quit().await
    }

    async fn keep_evidence(&self) -> Result<PathBuf> {
        let kept = places::results("e2e-failures")?.join(self.name);
        if kept.exists() {
            std::fs::remove_dir_all(&kept)?;
        }
        std::fs::create_dir_all(&kept)?;
        for (name, browser) in &self.browsers {
            // A browser that hangs or has gone leaves no picture; the rest is still worth keeping.
            let _ = browser.screenshot(&kept.join(format!("{name}.png"))).await;
            let console = browser.console().await.unwrap_or_default().join("\n");
            std::fs::write(kept.join(format!("{name}-console.err")), console)?;
        }
        for entry in std::fs::read_dir(self.dir())? {
            let path = entry?.path();
            let is_log = path.extension().is_some_and(|extension| extension == "out" || extension == "err");
            if let (true, Some(name)) = (is_log, path.file_name()) {
                std::fs::copy(&path, kept.join(name))?;
            }
        }
        for entry in std::fs::read_dir(&kept)? {
            let path = entry?.path();
            let text =
                if path.extension().is_some_and(|extension| extension == "err") { tail(&path) } else { continue };
            if !text.trim().is_empty() {
                eprintln!("--- end of {} ---\n{text}", path.display());
            }
        }
        Ok(kept)
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("panicked").to_owned()
}
