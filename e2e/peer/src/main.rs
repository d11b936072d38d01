//! The test peer as a process: options as JSON in its argument; `{"event":"ready",…}` when it runs; then one call a line,
//! `{"id":1,"call":"dial","args":[…]}`, and one answer a line, `{"id":1,"result":…}` or `{"id":1,"error":…}`.

#![allow(clippy::indexing_slicing, reason = "a JSON value without the field is null")]

#[cfg(target_arch = "wasm32")]
fn main() {}

#[cfg(not(target_arch = "wasm32"))]
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    use meganet_test_peer::calls;
    use serde_json::{Value, json};

    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let options = std::env::args().nth(1).map_or(Ok(Value::Null), |text| serde_json::from_str(&text))?;
    let (peer, mut about) = calls::start(options).await?;
    // Listeners say their addresses a moment later.
    while about["addresses"].as_array().is_none_or(Vec::is_empty) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        about = calls::about(&peer).await?;
    }
    about["event"] = json!("ready");
    println!("{about}");
    let (sender, mut lines) = tokio::sync::mpsc::channel(64);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        let command: Value = serde_json::from_str(&line)?;
        let peer = peer.clone();
        tokio::spawn(async move {
            let name = command["call"].as_str().unwrap_or_default().to_owned();
            let given = command["args"].as_array().cloned().unwrap_or_default();
            let answer = match calls::call(&peer, &name, &given).await {
                Ok(result) => json!({ "id": command["id"], "result": result }),
                Err(error) => json!({ "id": command["id"], "error": format!("{error:#}") }),
            };
            println!("{answer}");
        });
    }
    Ok(())
}
