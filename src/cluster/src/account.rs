//! Whom PostgreSQL runs as.

use crate::Error;
use nix::unistd::{Gid, Uid, User};
use std::{ffi::OsStr, process::Command};

/// The account of `initdb` and `postgres`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// Ourselves: we are not root.
    Own,
    /// Somebody without privileges, because PostgreSQL refuses to run as root.
    Other { uid: Uid, gid: Gid },
}

impl Account {
    pub(crate) fn choose() -> Result<Self, Error> {
        if !Uid::effective().is_root() {
            return Ok(Self::Own);
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self::Other {
                uid: user.uid,
                gid: user.gid,
            })
            .ok_or(Error::NoAccount)
    }

    /// A command that runs `program` under this account and gets `signal` when the thread that spawned it ends.
    ///
    /// `setpriv` sets the death signal last, after the change of account would have cleared it.
    pub(crate) fn command(self, program: &OsStr, signal: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", signal]);
        if let Self::Other { uid, gid } = self {
            command
                .arg(format!("--reuid={uid}"))
                .arg(format!("--regid={gid}"))
                .arg("--clear-groups");
        }
        command.arg("--").arg(program);
        command
    }

    /// The ids that the data directory must belong to, when they are not ours already.
    pub(crate) fn ids(self) -> Option<(Uid, Gid)> {
        match self {
            Self::Own => None,
            Self::Other { uid, gid } => Some((uid, gid)),
        }
    }
}
