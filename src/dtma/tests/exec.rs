//! The `exec` shim outside of containers, and what the binary needs to run: nothing.

#![allow(clippy::unwrap_used)] // clippy takes only functions marked `#[test]` for tests

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

const DTMA: &str = env!("CARGO_BIN_EXE_dtma");

fn exec(words: &[&str]) -> Command {
    let mut command = Command::new(DTMA);
    command.args(["exec", "--"]).args(words).stdin(std::process::Stdio::null());
    command
}

#[test]
fn the_binary_is_static() {
    let output = Command::new("ldd").arg(DTMA).output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        said.contains("not a dynamic executable") || said.contains("statically linked"),
        "{said}"
    );
    // No dynamic loader is asked for: what ldd calls static, the kernel runs alone.
    let elf = fs::read(DTMA).unwrap();
    assert!(!has_interpreter(&elf));
}

/// Whether the ELF file has a `PT_INTERP` program header.
fn has_interpreter(elf: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        elf[at..at + size]
            .iter()
            .rev()
            .fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|index| number(table + index * size, 4) == 3)
}

#[test]
fn the_tool_gets_arguments_environment_and_process_id_and_its_exit_code_is_ours() {
    let script = r#"[ "$0" = zero ] && [ "$1" = --help ] && [ "$ONE" = 1 ] && echo $$; exit 7"#;
    let mut command = exec(&["/bin/sh", "-c", script, "zero", "--help"]);
    let child = command.env("ONE", "1").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let id = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim(),
        id.to_string(),
        "replaced, not forked"
    );
}

#[test]
fn the_tool_starts_with_the_signals_of_whoever_started_us() {
    let words = ["/bin/grep", "^Sig[IB]", "/proc/self/status"];
    let directly = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let through = exec(&words).output().unwrap();
    assert_eq!(
        String::from_utf8(through.stdout).unwrap(),
        String::from_utf8(directly.stdout).unwrap()
    );
}

#[test]
fn what_cannot_be_started_is_told_as_a_shell_tells_it() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "not a program").unwrap();
    let script = folder.path().join("toolplane-test-script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("/usr/bin:{}", folder.path().display());
    for (program, code, words) in [
        ("/no/such/tool", 127, "not found"),
        ("no-such-tool-in-path", 127, "not found"),
        (plain.to_str().unwrap(), 126, "permission denied"),
        (script.to_str().unwrap(), 126, "interpreter"),
        ("toolplane-test-script", 126, "interpreter"),
    ] {
        let output = exec(&[program]).env("PATH", &path).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{program}: {said}");
        assert!(
            said.starts_with(&format!("dtma exec: {program}: ")) && said.contains(words),
            "{said}"
        );
    }
}

#[test]
fn nothing_to_execute_is_a_usage_error() {
    assert_eq!(exec(&[]).output().unwrap().status.code(), Some(2));
}

#[test]
fn help_teaches() {
    for (command, words) in [
        (vec!["--help"], vec!["run", "purge", "exec"]),
        (
            vec!["run", "--help"],
            vec!["DTMA_CONFIG", "/etc/toolplane/agent.json", "DTMA_LOG", "30000", "SIGTERM"],
        ),
        (vec!["purge", "--help"], vec!["io.toolplane.droplet", "DOCKER_HOST"]),
        (vec!["exec", "--help"], vec!["127", "126"]),
    ] {
        let output = Command::new(DTMA).args(&command).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        for word in words {
            assert!(said.contains(word), "{command:?} lacks {word}:\n{said}");
        }
    }
}
