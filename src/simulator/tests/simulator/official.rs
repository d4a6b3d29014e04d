//! An official client, unchanged, over TLS: pydo.

use crate::bed::{Bed, TOKEN};
use std::process::Command;

/// Needs `python3` with `pydo` (`pip install pydo`); `PYDO_PYTHON` names another interpreter.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python3 with pydo"]
async fn pydo_works_against_it() {
    let python = std::env::var("PYDO_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there = Command::new(&python).args(["-c", "import pydo"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        println!("skipped: {python} cannot import pydo");
        return;
    }
    let bed = Bed::with(|config| config.tls_listen = Some("127.0.0.1:0".parse().unwrap())).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/simulator/official.py");
    let ran = tokio::process::Command::new(python)
        .args([script, bed.simulator.tls_url().unwrap().as_str(), TOKEN])
        .env("REQUESTS_CA_BUNDLE", bed.folder.path().join("state/ca.pem"))
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .await
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}\n{err}");
    bed.simulator.shutdown().await;
}
