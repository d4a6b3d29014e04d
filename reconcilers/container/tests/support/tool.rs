//! A tool as the tests need it, with nothing but the standard library and Tokio's signals: it serves, crashes, hogs memory or
//! does not want to stop, and it is the `exec` shim of its own container.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["exec", "--", program, ref arguments @ ..] => {
            eprintln!("exec {program}: {}", Command::new(program).args(arguments).exec());
            ExitCode::from(127)
        }
        ["serve"] => serve(),
        ["serve-late", milliseconds] => {
            thread::sleep(Duration::from_millis(milliseconds.parse().unwrap_or(0)));
            serve()
        }
        ["crash", code] => {
            println!("first words");
            eprintln!("the disk is on fire");
            ExitCode::from(code.parse().unwrap_or(1))
        }
        ["hog"] => hog(),
        ["stubborn"] => stubborn(),
        _ => {
            eprintln!("no such mode: {arguments:?}");
            ExitCode::from(2)
        }
    }
}

/// Answers every request on port 8080.
fn serve() -> ExitCode {
    let Ok(listener) = TcpListener::bind("0.0.0.0:8080") else {
        return ExitCode::from(3);
    };
    println!("listening");
    for stream in listener.incoming().flatten() {
        thread::spawn(move || drop(answer(&stream)));
    }
    ExitCode::SUCCESS
}

fn answer(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    let mut length = 0;
    for line in reader.by_ref().lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        head.push(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body);
    let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let (status, text) = match path {
        "/" => ("200 OK", "ok".to_owned()),
        "/facts" => ("200 OK", facts()),
        // A server of before the 2026-07-28 revision of MCP.
        "/mcp" if body.contains("\"initialize\"") => (
            "200 OK",
            r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}"#.to_owned(),
        ),
        "/mcp" => (
            "200 OK",
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no such method"}}"#.to_owned(),
        ),
        _ => ("404 Not Found", "no".to_owned()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    )
}

/// What the kernel and the file system say about this process.
fn facts() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let wanted = ["CapEff", "CapBnd", "NoNewPrivs", "Seccomp"];
    let mut facts: Vec<String> = status
        .lines()
        .filter(|line| wanted.iter().any(|name| line.split(':').next() == Some(name)))
        .map(|line| line.replace(char::is_whitespace, ""))
        .collect();
    let writable = |path: &str| fs::write(path, "x").is_ok();
    facts.push(format!("WritableRoot:{}", writable("/probe")));
    facts.push(format!("WritableShim:{}", writable("/.toolplane/exec")));
    facts.push(format!("WritableTmp:{}", writable("/tmp/probe")));
    let init = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    facts.push(format!("Init:{}", init.trim()));
    facts.push(format!("Greeting:{}", env::var("GREETING").unwrap_or_default()));
    facts.join("\n")
}

/// Fills memory until the kernel ends it.
fn hog() -> ExitCode {
    let mut kept = Vec::new();
    loop {
        kept.push(vec![1u8; 1 << 20]);
        if kept.len() > 1 << 12 {
            return ExitCode::SUCCESS;
        }
    }
}

/// Takes no notice of SIGTERM.
fn stubborn() -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::from(3);
    };
    runtime.block_on(async {
        let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        let _deaf = terminate.ok();
        tokio::task::spawn_blocking(serve).await.unwrap_or(ExitCode::from(3))
    })
}
