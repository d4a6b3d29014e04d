//! The `exec` shim: the entrypoint of every container.
//!
//! Owns: becoming the tool. Must not: need anything but the kernel; images may be empty. Promises: the tool keeps process id,
//! environment and open files; when it cannot be started, the exit code says why as a shell's does.

use crate::config::ExecArguments;
use std::{
    env,
    ffi::OsStr,
    io::{self, ErrorKind},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

/// The program was not found.
const NOT_FOUND: u8 = 127;

/// The program is there and cannot be executed.
const NOT_EXECUTABLE: u8 = 126;

/// Replaces this process. Returns only when that failed.
pub(crate) fn replace(arguments: ExecArguments) -> ExitCode {
    let mut words = arguments.command.into_iter();
    // The command line requires at least one.
    let program = words.next().unwrap_or_default();
    let error = Command::new(&program).args(words).exec();
    let (code, why) = explain(&program, &error);
    eprintln!("dtma exec: {}: {why}", program.display());
    ExitCode::from(code)
}

fn explain(program: &OsStr, error: &io::Error) -> (u8, String) {
    match error.kind() {
        // The kernel says the same of a program that is not there and of one whose interpreter is not, and the C library of one that
        // is no program at all where there is no shell to try.
        ErrorKind::NotFound if exists(program) => {
            let why = "it is there, but not for this machine, or the loader or interpreter it asks for is not";
            (NOT_EXECUTABLE, why.to_owned())
        }
        ErrorKind::NotFound => (NOT_FOUND, "not found".to_owned()),
        ErrorKind::PermissionDenied => (NOT_EXECUTABLE, "permission denied".to_owned()),
        _ => (NOT_EXECUTABLE, error.to_string()),
    }
}

/// Whether there is such a file: in `PATH`, unless the name contains a slash.
fn exists(program: &OsStr) -> bool {
    if program.as_encoded_bytes().contains(&b'/') {
        return Path::new(program).exists();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).exists())
}
