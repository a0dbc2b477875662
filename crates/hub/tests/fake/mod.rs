//! A hub of one repository, `org/tiny`, on a port of this machine.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::Digest;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong with a file, or with the `list`. Faults of a file queue up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Closes the connection after so many bytes of the body, so many times.
    Drop { after: usize, times: u32 },
    /// Answers with a status, so many times.
    Status { status: u16, times: u32 },
    /// Gives the whole file whatever part was asked for.
    NoRanges,
    /// Gives one wrong byte.
    Corrupt,
    /// Gives one byte more than the list says.
    TooLong,
    /// Sends the asker to another host.
    Elsewhere,
    /// The list has neither sizes nor checksums.
    NamesOnly,
}

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
}

#[derive(Default)]
struct State {
    /// Name and content, in the order of the list.
    files: Vec<(String, Vec<u8>)>,
    faults: HashMap<String, Vec<Fault>>,
    requests: Vec<Request>,
    token: Option<String>,
}

pub struct Fake {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Fake {
    pub fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { files: files(), ..State::default() }));
        let shared = Arc::clone(&state);
        // The thread ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that went away is part of the game.
                let _ = serve(stream, address, &shared);
            }
        });
        Fake { address, state }
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn fault(&self, file: &str, fault: Fault) {
        self.state.lock().unwrap().faults.entry(file.to_string()).or_default().push(fault);
    }

    pub fn heal(&self) {
        self.state.lock().unwrap().faults.clear();
    }

    pub fn require_token(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.to_string());
    }

    pub fn remove(&self, file: &str) {
        self.state.lock().unwrap().files.retain(|(name, _)| name != file);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    pub fn bytes(&self, file: &str) -> Vec<u8> {
        let state = self.state.lock().unwrap();
        state.files.iter().find(|(name, _)| name == file).unwrap().1.clone()
    }
}

fn files() -> Vec<(String, Vec<u8>)> {
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let index = format!("{{\"weight_map\":{{\"a\":\"{one}\",\"b\":\"{two}\",\"c\":\"{one}\"}}}}");
    let noise = |length: u32, seed: u32| (0..length).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed as u8).collect();
    vec![
        ("README.md".into(), b"# tiny".to_vec()),
        ("config.json".into(), b"{\"model_type\":\"llama\"}".to_vec()),
        ("model.safetensors.index.json".into(), index.into_bytes()),
        (one.into(), noise(200_000, 1)),
        (two.into(), noise(150_000, 2)),
        ("onnx/model.onnx".into(), noise(10, 3)),
        ("pytorch_model.bin".into(), noise(10, 4)),
        ("tokenizer.json".into(), b"{\"version\":\"1.0\"}".to_vec()),
        ("tokenizer_config.json".into(), b"{}".to_vec()),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_lfs(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

fn etag(name: &str, bytes: &[u8]) -> String {
    if is_lfs(name) {
        return hex(&sha2::Sha256::digest(bytes));
    }
    let mut sum = sha1::Sha1::new();
    sum.update(format!("blob {}\0", bytes.len()));
    sum.update(bytes);
    hex(&sum.finalize())
}

fn serve(mut stream: TcpStream, address: SocketAddr, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let mut request = Request { method: method.into(), path: path.into(), range: None, token: None };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "range" => request.range = Some(value.trim().to_string()),
                "authorization" => request.token = Some(value.trim().to_string()),
                _ => {}
            }
        }
    }
    let mut state = state.lock().unwrap();
    state.requests.push(request.clone());
    let answer = state.answer(&request, address);
    drop(state);
    stream.write_all(&answer)
}

fn plain(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

impl State {
    /// The fault of this request, if there is one; those with a count wear off.
    fn next_fault(&mut self, file: &str) -> Option<Fault> {
        let queue = self.faults.get_mut(file)?;
        let fault = *queue.first()?;
        match &mut queue[0] {
            Fault::Drop { times, .. } | Fault::Status { times, .. } => {
                *times -= 1;
                if *times == 0 {
                    queue.remove(0);
                }
            }
            _ => {}
        }
        Some(fault)
    }

    fn answer(&mut self, request: &Request, address: SocketAddr) -> Vec<u8> {
        let path = request.path.split('?').next().unwrap_or("");
        if let Some(name) = path.strip_prefix("/store/") {
            return self.file(name, request, address, true);
        }
        let wanted = self.token.as_ref().map(|token| format!("Bearer {token}"));
        if wanted.is_some() && request.token != wanted {
            return plain(401, "x-error-message: Access denied\r\n", b"");
        }
        if path == "/api/models/org/tiny/revision/main" {
            return self.list();
        }
        match path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/")) {
            Some(name) => self.file(name, request, address, false),
            None => plain(404, "x-error-message: Repository not found\r\n", b""),
        }
    }

    fn list(&mut self) -> Vec<u8> {
        let fault = self.next_fault("list");
        if let Some(Fault::Status { status, .. }) = fault {
            return plain(status, "", b"");
        }
        let one = |(name, bytes): &(String, Vec<u8>)| match (fault, is_lfs(name)) {
            (Some(Fault::NamesOnly), _) => serde_json::json!({ "rfilename": name }),
            (_, true) => serde_json::json!({
                "rfilename": name, "size": bytes.len(), "blobId": "f".repeat(40),
                "lfs": { "sha256": etag(name, bytes), "size": bytes.len(), "pointerSize": 134 }
            }),
            (_, false) => serde_json::json!({ "rfilename": name, "size": bytes.len(), "blobId": etag(name, bytes) }),
        };
        let siblings: Vec<_> = self.files.iter().map(one).collect();
        plain(200, "", serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string().as_bytes())
    }

    fn file(&mut self, name: &str, request: &Request, address: SocketAddr, stored: bool) -> Vec<u8> {
        let Some((_, bytes)) = self.files.iter().find(|(known, _)| known == name).cloned() else {
            return plain(404, "x-error-message: Entry not found\r\n", b"");
        };
        let linked = format!("x-linked-etag: \"{}\"\r\nx-linked-size: {}\r\n", etag(name, &bytes), bytes.len());
        if request.method == "HEAD" {
            let headers = if is_lfs(name) {
                format!("HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: /store/{name}\r\nContent-Length: 0\r\n{linked}\r\n")
            } else {
                let tag = etag(name, &bytes);
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"{tag}\"\r\nContent-Length: {}\r\n\r\n", bytes.len())
            };
            return headers.into_bytes();
        }
        let fault = self.next_fault(name);
        match fault {
            Some(Fault::Status { status, .. }) => return plain(status, "", b""),
            Some(Fault::Elsewhere) if !stored => {
                let location = format!("Location: http://localhost:{}/store/{name}\r\n{linked}", address.port());
                return plain(302, &location, b"");
            }
            _ => {}
        }
        let mut bytes = bytes;
        match fault {
            Some(Fault::Corrupt) => bytes[3] ^= 1,
            Some(Fault::TooLong) => bytes.push(0),
            _ => {}
        }
        let from = request.range.as_ref().and_then(|range| range.strip_prefix("bytes=")?.trim_end_matches('-').parse::<usize>().ok());
        let mut out = match from.filter(|_| fault != Some(Fault::NoRanges)) {
            Some(from) => {
                let range = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
                plain(206, &range, &bytes[from..])
            }
            None => plain(200, "", &bytes),
        };
        if let Some(Fault::Drop { after, .. }) = fault {
            let body = bytes.len() - from.unwrap_or(0);
            out.truncate(out.len() - body + after);
        }
        out
    }
}
