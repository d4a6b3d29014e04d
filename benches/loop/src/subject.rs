//! A process that is measured: ours or the peer's controller. Both speak the same few lines on standard input and output.

use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::HashMap,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};
use uuid::Uuid;

/// Bounds a hang.
const DEADLINE: Duration = Duration::from_mins(5);

/// A running process that has reconciled every row once.
pub(crate) struct Subject {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// From the process's start until every row was reconciled once.
    pub(crate) cold_start: Duration,
}

impl Subject {
    /// Starts it and waits until every row was reconciled once.
    pub(crate) async fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let began = Instant::now();
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let input = child.stdin.take().context("standard input is piped")?;
        let mut output = BufReader::new(child.stdout.take().context("standard output is piped")?).lines();
        let line = timeout(DEADLINE, output.next_line()).await.context("it never was ready")??;
        let cold_start = began.elapsed();
        ensure!(
            line.as_deref() == Some("ready"),
            "{command:?} said {line:?} where it should say that it is ready"
        );
        Ok(Self {
            child,
            input,
            output,
            cold_start,
        })
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let pid = self.child.id().context("it runs")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .context("VmRSS in kB")?
            .trim()
            .parse()?;
        Ok(kib * 1024)
    }

    /// When the first reconcile of each row began, of those that began since it was ready, in nanoseconds since 1970.
    pub(crate) async fn begun(&mut self) -> Result<HashMap<Uuid, u128>> {
        self.input.write_all(b"dump\n").await?;
        let mut begun = HashMap::new();
        loop {
            let line = timeout(DEADLINE, self.output.next_line())
                .await??
                .context("it ended too early")?;
            match line.split_once(' ').context("two words")? {
                ("end", "0") => return Ok(begun),
                ("end", unexpected) => bail!("{unexpected} passes found something to do, where there is nothing"),
                (id, at) => {
                    begun.entry(id.parse()?).or_insert(at.parse()?);
                }
            }
        }
    }

    /// Reconciles a second, from now on, when each asks to be called again at once.
    pub(crate) async fn rate(&mut self, warm_up: Duration, measured: Duration) -> Result<f64> {
        self.input.write_all(b"spin\n").await?;
        sleep(warm_up).await;
        let (before, began) = self.count().await?;
        sleep(measured).await;
        let (after, ended) = self.count().await?;
        ensure!(after > before, "nothing was reconciled");
        #[allow(clippy::cast_precision_loss)] // far below 2^53
        Ok((after - before) as f64 / Duration::from_nanos(ended - began).as_secs_f64())
    }

    /// How many reconciles there were since `spin`, and when that was, in nanoseconds since 1970.
    async fn count(&mut self) -> Result<(u64, u64)> {
        self.input.write_all(b"count\n").await?;
        let line = timeout(DEADLINE, self.output.next_line()).await??;
        let line = line.context("it ended too early")?;
        let (count, at) = line.split_once(' ').context("two words")?;
        Ok((count.parse()?, at.parse()?))
    }

    /// Lets it leave in order, and checks that no pass found anything to do.
    pub(crate) async fn leave(mut self) -> Result<()> {
        self.begun().await?;
        drop(self.input);
        let status = timeout(DEADLINE, self.child.wait()).await.context("it does not leave")??;
        ensure!(status.success(), "it left with {status}");
        Ok(())
    }
}
