//! The `exec` shim: the entrypoint of every container.
//!
//! Owns: becoming the tool. Must not: need anything but the kernel; images may be empty. Promises: the tool keeps process id,
//! environment and open files; when it cannot be started, the exit code says why as a shell's does.

use crate::config::ExecArguments;
use std::{
    ffi::OsStr,
    io::{self, ErrorKind},
    os::unix::process::CommandExt,
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
    let (code, message) = explain(&program, &error);
    eprintln!("dtma exec: {message}");
    ExitCode::from(code)
}

fn explain(program: &OsStr, error: &io::Error) -> (u8, String) {
    let program = program.to_string_lossy();
    match error.kind() {
        // Also what the kernel says of a program whose interpreter or dynamic loader is not in the image.
        ErrorKind::NotFound => (NOT_FOUND, format!("{program}: not found, or the loader it needs is not")),
        ErrorKind::PermissionDenied => (NOT_EXECUTABLE, format!("{program}: permission denied")),
        _ => (NOT_EXECUTABLE, format!("{program}: {error}")),
    }
}
