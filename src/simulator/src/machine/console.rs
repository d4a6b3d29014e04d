//! A machine's console: what its boot and its agent say. A file while the machine lives, and its end afterwards.

use jiff::Timestamp;
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How much of its end is shown and kept.
const SHOWN: u64 = 64 * 1024;

#[derive(Clone, Debug)]
pub(super) struct Console(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: Option<String>,
    agent: Option<u32>,
}

impl Console {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Arc::new(Inner {
            path,
            state: Mutex::default(),
        }))
    }

    /// Writes a line. The console is for people: that it cannot be written is no reason for a droplet not to boot.
    pub(super) fn line(&self, text: &str) {
        let now = Timestamp::now();
        if let Some(mut file) = self.append() {
            let _ = writeln!(file, "{now:.3} simulator: {text}");
        }
        tracing::debug!(console = %self.0.path.display(), text);
    }

    /// The file, for a process to write to.
    pub(super) fn append(&self) -> Option<File> {
        if self.lock().kept.is_some() {
            return None;
        }
        if let Some(parent) = self.0.path.parent() {
            let _ = std::fs::create_dir_all(parent);
        }
        OpenOptions::new().create(true).append(true).open(&self.0.path).ok()
    }

    /// The end of what was written.
    pub(super) fn read(&self) -> String {
        let kept = self.lock().kept.clone();
        kept.unwrap_or_else(|| self.end().unwrap_or_default())
    }

    /// Keeps the end of what was written, because the file is about to go.
    pub(super) fn keep(&self) {
        let end = self.end().unwrap_or_default();
        let mut state = self.lock();
        state.agent = None;
        state.kept.get_or_insert(end);
    }

    /// The agent's process id, while it runs.
    pub(super) fn agent(&self) -> Option<u32> {
        self.lock().agent
    }

    pub(super) fn agent_is(&self, pid: Option<u32>) {
        self.lock().agent = pid;
    }

    fn end(&self) -> Option<String> {
        let mut file = File::open(&self.0.path).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(SHOWN))).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
