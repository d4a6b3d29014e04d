//! A tiny tool for tests: an HTTP server with nothing but the standard library, static, for images FROM scratch.
//!
//! `GET /hello` answers the environment variable `GREETING`; `/headers` what it was sent; `/stream` one chunk, then a second one
//! when `/release` was called; `/body` the length of what was posted.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Condvar, Mutex},
    thread,
};

/// Whether the second half of `/stream` may go out.
static RELEASED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

fn main() -> std::io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    println!("listening");
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || serve(&stream));
    }
    Ok(())
}

fn serve(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let path = head.split(' ').nth(1).unwrap_or_default();
    match path {
        "/headers" => answer(stream, &head),
        "/body" => {
            let length = body_length(&head, &mut reader)?;
            answer(stream, &length.to_string())
        }
        "/release" => {
            *RELEASED.0.lock().expect("no thread panics") = true;
            RELEASED.1.notify_all();
            answer(stream, "released")
        }
        "/stream" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n5\r\nfirst\r\n")?;
            let mut released = RELEASED.0.lock().expect("no thread panics");
            while !*released {
                released = RELEASED.1.wait(released).expect("no thread panics");
            }
            stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n")
        }
        _ => answer(stream, &env::var("GREETING").unwrap_or_default()),
    }
}

fn body_length(head: &str, reader: &mut impl BufRead) -> std::io::Result<usize> {
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(body.len())
}

fn answer(mut stream: &TcpStream, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}
