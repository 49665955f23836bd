//! The receiver: this program once more, in a process of its own. The path says how it answers, and it notes when
//! which event came: the ids of events are `<instance>/<number>/<Unix µs of the push>`.
//!
//! - `/after/<ms>`: 204 after so long · `/status/<code>`: that, at once · `/hang`: never
//! - `/switch`: 204 after 5 ms while it is up; while it is down, what it was told
//!
//! It takes orders on its standard input (`up`, `down 503|hang|drop`, `count`, `report`) and ends with it.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Process, free_port, unix_us, wait_for};

const UP: Duration = Duration::from_millis(5);

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The first part of its event's id.
    pub instance: String,
    pub number: usize,
    pub pushed_us: u64,
    pub arrived_us: u64,
    /// Whether it was, or is to be, answered with success.
    pub taken: bool,
}

impl Arrival {
    /// From the push to the arrival, ms.
    pub fn latency_ms(&self) -> f64 {
        self.arrived_us.saturating_sub(self.pushed_us) as f64 / 1000.0
    }

    fn parse(line: &str) -> Option<Self> {
        let (id, rest) = line.split_once(' ')?;
        let (arrived, taken) = rest.split_once(' ')?;
        let mut id = id.rsplitn(3, '/');
        let (pushed, number, instance) = (id.next()?, id.next()?, id.next()?);
        Some(Self {
            instance: instance.to_owned(),
            number: number.parse().ok()?,
            pushed_us: pushed.parse().ok()?,
            arrived_us: arrived.parse().ok()?,
            taken: taken == "1",
        })
    }
}

/// The receiver's owner.
pub struct Receiver {
    pub port: u16,
    orders: ChildStdin,
    replies: BufReader<ChildStdout>,
    _process: Process,
}

impl Receiver {
    pub fn start() -> Self {
        let port = free_port();
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        command.args(["receive", &port.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command);
        let child: &mut Child = &mut process.0;
        let orders = child.stdin.take().unwrap();
        let replies = BufReader::new(child.stdout.take().unwrap());
        wait_for(port);
        Self { port, orders, replies, _process: process }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What answers as `/switch` does is up, or down: `503`, `hang` or `drop`.
    pub fn set_down(&mut self, how: Option<&str>) {
        match how {
            Some(how) => self.order(&format!("down {how}")),
            None => self.order("up"),
        };
    }

    /// How many different events were answered with success.
    pub fn taken(&mut self) -> usize {
        self.order("count")[0].parse().unwrap()
    }

    /// Everything that came.
    pub fn report(&mut self) -> Vec<Arrival> {
        self.order("report").iter().filter_map(|line| Arrival::parse(line)).collect()
    }

    fn order(&mut self, order: &str) -> Vec<String> {
        writeln!(self.orders, "{order}").unwrap();
        self.orders.flush().unwrap();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.replies.read_line(&mut line).unwrap() > 0, "the receiver has ended");
            match line.trim_end() {
                "." => return lines,
                line => lines.push(line.to_owned()),
            }
        }
    }
}

#[derive(Default)]
struct State {
    down: Option<String>,
    came: Vec<String>,
    taken: HashSet<String>,
}

type Shared = Arc<Mutex<State>>;

/// Receives until standard input ends.
pub fn serve(port: u16) {
    let state = Shared::default();
    let shared = Arc::clone(&state);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&shared)));
            }
        });
    });
    for order in std::io::stdin().lines().map_while(Result::ok) {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match order.split_once(' ') {
            Some(("down", how)) => state.down = Some(how.to_owned()),
            _ if order == "up" => state.down = None,
            _ if order == "count" => println!("{}", state.taken.len()),
            _ => state.came.iter().for_each(|line| println!("{line}")),
        }
        println!(".");
    }
}

enum Answer {
    Status(u16, Duration),
    Hang,
    Drop,
}

fn answer(path: &str, down: Option<&str>) -> Answer {
    let mut parts = path.trim_start_matches('/').split('/');
    let (what, value) = (parts.next().unwrap_or_default(), parts.next().and_then(|text| text.parse().ok()));
    match (what, value) {
        ("after", Some(ms)) => Answer::Status(204, Duration::from_millis(ms)),
        ("status", Some(code)) => Answer::Status(u16::try_from(code).unwrap_or(500), Duration::ZERO),
        ("switch", _) => match down {
            None => Answer::Status(204, UP),
            Some("hang") => Answer::Hang,
            Some("drop") => Answer::Drop,
            Some(_) => Answer::Status(503, UP),
        },
        _ => Answer::Hang,
    }
}

async fn connection(mut stream: TcpStream, state: Shared) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(64 * 1024);
    while let Some((path, id)) = request(&mut stream, &mut buffer).await {
        let now = unix_us();
        let answer = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = answer(&path, state.down.as_deref());
            let taken = matches!(answer, Answer::Status(200..300, _));
            state.came.push(format!("{id} {now} {}", u8::from(taken)));
            if taken {
                state.taken.insert(id);
            }
            answer
        };
        match answer {
            Answer::Status(status, after) => {
                tokio::time::sleep(after).await;
                let length = if status == 204 { "" } else { "content-length: 0\r\n" };
                let reply = format!("HTTP/1.1 {status} As asked\r\n{length}\r\n");
                if stream.write_all(reply.as_bytes()).await.is_err() {
                    return;
                }
            }
            // The client closes it, in the end.
            Answer::Hang => {
                let _ = stream.read(&mut [0]).await;
                return;
            }
            Answer::Drop => return,
        }
    }
}

/// The path of the next request and its event's id. The body is read and thrown away: it may be large.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, String)> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let path = head.split(' ').nth(1)?.to_owned();
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let length: usize = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let id = field("webhook-id").unwrap_or_default();
    buffer.drain(..end);
    let mut left = length;
    loop {
        let here = left.min(buffer.len());
        buffer.drain(..here);
        left -= here;
        if left == 0 {
            return Some((path, id));
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
