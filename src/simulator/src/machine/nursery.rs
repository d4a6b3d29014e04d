//! Where agents are started, so that they die with the simulator.
//!
//! `setpriv --pdeathsig` has the kernel kill a process when the *thread* that started it ends. tokio's threads come and go; this one
//! lives exactly as long as the simulator does, and ends with it, however that ends.

use std::{io, process::Stdio, sync::mpsc};
use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

struct Birth {
    command: Command,
    runtime: Handle,
    child: oneshot::Sender<io::Result<Child>>,
}

/// The thread that starts processes. It ends with the last clone, and so do its processes.
#[derive(Clone, Debug)]
pub(super) struct Nursery(mpsc::Sender<Birth>);

impl Nursery {
    pub(super) fn start() -> Self {
        let (sender, receiver) = mpsc::channel::<Birth>();
        std::thread::spawn(move || {
            while let Ok(mut birth) = receiver.recv() {
                let entered = birth.runtime.enter();
                let child = birth.command.spawn();
                drop(entered);
                // Whoever asked may have given up; the child is killed when it is dropped.
                let _ = birth.child.send(child);
            }
        });
        Self(sender)
    }

    /// A command that dies with the simulator, in a process group of its own: Ctrl-C at a terminal is for the simulator.
    pub(super) fn command(program: &std::path::Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command.env_clear().process_group(0).kill_on_drop(true).stdin(Stdio::null());
        command
    }

    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (sender, receiver) = oneshot::channel();
        let birth = Birth {
            command,
            runtime: Handle::current(),
            child: sender,
        };
        let gone = || io::Error::other("the simulator's nursery has ended");
        self.0.send(birth).map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }
}
