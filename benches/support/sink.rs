//! The sink: a receiver that costs next to nothing, this program once more in a process of its own. One thread, no
//! parsing but for where a request ends; 204 with no header to everything, or 503 at first. It may note when what came,
//! and tells whoever asks on its port (`REPORT`).

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Process, free_port, unix_us, wait_for};

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// 204 to everything.
    Accepts,
    /// 503 to the first attempt of each event, 204 to the others.
    RefusesOnce,
    /// 204 to everything, and a note of each.
    Notes,
}

/// That an event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// What its payload has as `n` (see [`super::traffic`]): when it was pushed or due, Unix µs. It tells events apart.
    pub at_us: u64,
    /// When the whole request had been read, Unix µs.
    pub arrived_us: u64,
}

impl Note {
    /// From the push, or the due time, to the arrival, ms; below 0 when it came too early.
    pub fn after_ms(&self) -> f64 {
        (self.arrived_us as f64 - self.at_us as f64) / 1000.0
    }
}

/// A sink, as its owner sees it.
pub struct Sink {
    pub port: u16,
    lines: BufReader<ChildStdout>,
    process: Process,
}

impl Sink {
    /// Starts one that tells of the first request, and when so many were accepted.
    pub fn start(count: usize, manner: Manner) -> Self {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["sink", &port.to_string(), &count.to_string(), &format!("{manner:?}")]);
        let mut process = Process::start(command.stdout(Stdio::piped()));
        let lines = BufReader::new(process.0.stdout.take().unwrap());
        wait_for(port);
        Self { port, lines, process }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Waits for the first request.
    pub fn first(&mut self) {
        assert_eq!(self.line(), "first");
    }

    /// Waits until all were accepted: seconds from the first request to the last.
    pub fn done(&mut self) -> f64 {
        self.line().parse().unwrap()
    }

    /// How many requests were accepted so far.
    pub fn accepted(&self) -> usize {
        self.report().0
    }

    /// The first arrival of each event so far, of a sink that notes them.
    pub fn notes(&self) -> Vec<Note> {
        let mut notes = self.report().1;
        notes.sort_unstable();
        notes.dedup_by_key(|note| note.at_us);
        notes
    }

    fn report(&self) -> (usize, Vec<Note>) {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"REPORT\r\ncontent-length: 0\r\n\r\n").unwrap();
        let mut report = String::new();
        stream.read_to_string(&mut report).unwrap();
        let (accepted, notes) = report.split_once('\n').unwrap();
        let note = |line: &str| {
            let (at, arrived) = line.split_once(' ')?;
            Some(Note { at_us: at.parse().ok()?, arrived_us: arrived.parse().ok()? })
        };
        (accepted.parse().unwrap(), notes.lines().map(|line| note(line).expect("a note")).collect())
    }

    /// User and system time so far, seconds.
    pub fn cpu(&self) -> f64 {
        self.process.cpu()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the sink has ended");
        line.trim_end().to_owned()
    }
}

struct State {
    wanted: usize,
    refuses: bool,
    accepted: Cell<usize>,
    began: Cell<Option<Instant>>,
    refused: RefCell<HashSet<u64>>,
    notes: Option<RefCell<Vec<Note>>>,
}

/// Receives until it is killed.
pub fn serve(port: u16, wanted: usize, manner: &str) {
    let is = |other: Manner| manner == format!("{other:?}");
    let state = Rc::new(State {
        wanted,
        refuses: is(Manner::RefusesOnce),
        accepted: Cell::new(0),
        began: Cell::new(None),
        refused: RefCell::default(),
        notes: is(Manner::Notes).then(|| RefCell::new(Vec::with_capacity(wanted))),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(connection(stream, Rc::clone(&state)));
        }
    });
}

async fn connection(mut stream: TcpStream, state: Rc<State>) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::with_capacity(16 * 1024);
    while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
        while let Some((head, whole)) = request(&buffer) {
            let (head, body) = buffer[..whole].split_at(head);
            if head.starts_with(b"REPORT") {
                // Whoever asked reads to the end, and may have given up.
                let _ = stream.write_all(state.report().as_bytes()).await;
                return;
            }
            let reply = state.reply(head, body);
            buffer.drain(..whole);
            if stream.write_all(reply).await.is_err() {
                return;
            }
        }
    }
}

impl State {
    fn reply(&self, head: &[u8], body: &[u8]) -> &'static [u8] {
        if let Some(notes) = &self.notes {
            let arrived_us = unix_us();
            notes.borrow_mut().push(Note { at_us: number(body), arrived_us });
        }
        if self.began.get().is_none() {
            println!("first");
        }
        let began = self.began.get().unwrap_or_else(Instant::now);
        self.began.set(Some(began));
        if self.refuses {
            let mut hasher = DefaultHasher::new();
            value(head, b"webhook-id:").hash(&mut hasher);
            if self.refused.borrow_mut().insert(hasher.finish()) {
                return b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
            }
        }
        self.accepted.set(self.accepted.get() + 1);
        if self.accepted.get() == self.wanted {
            println!("{}", began.elapsed().as_secs_f64());
        }
        b"HTTP/1.1 204 No Content\r\n\r\n"
    }

    fn report(&self) -> String {
        let mut report = format!("{}\n", self.accepted.get());
        for note in self.notes.iter().flat_map(|notes| notes.borrow().clone()) {
            writeln!(report, "{} {}", note.at_us, note.arrived_us).expect("a text takes any text");
        }
        report
    }
}

/// Where the head of the request at the start ends, and the request, once it is whole.
fn request(buffer: &[u8]) -> Option<(usize, usize)> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let length = std::str::from_utf8(value(&buffer[..head], b"content-length:")?).ok()?;
    let whole = head + length.trim().parse::<usize>().ok()?;
    (buffer.len() >= whole).then_some((head, whole))
}

/// The value of a header, whose name all that are measured write in lower case.
fn value<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut lines = head.split(|byte| *byte == b'\n');
    lines.find_map(|line| line.strip_prefix(name))
}

/// The `n` of an event, which stands near its start.
fn number(body: &[u8]) -> u64 {
    let at = body.windows(4).position(|window| window == b"\"n\":").map_or(body.len(), |at| at + 4);
    let digits = body[at..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| 10 * number + u64::from(digit - b'0'))
}
