//! A real MariaDB, where one is installed: read, refused, and gone in the middle.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use import::{Asking, Error, Login, Options, import, plan};
use serde_json::json;

use crate::bench::{Bench, plain};

struct Server {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

fn found(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let folders = path.into_iter().chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from));
    folders.flat_map(|folder| names.iter().map(move |name| folder.join(name))).find(|file| file.exists())
}

impl Server {
    fn start() -> Option<Server> {
        let (Some(server), Some(make)) = (found(&["mariadbd"]), found(&["mariadb-install-db"])) else {
            eprintln!("skipped: no MariaDB here (mariadbd and mariadb-install-db)");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("my").tempdir_in("/tmp").unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
        let user = format!("--user={}", user.trim());
        let data = format!("--datadir={}", path("data"));
        let made = Command::new(make)
            .args(["--no-defaults", &data, &user, "--auth-root-authentication-method=normal", "--skip-test-db"])
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let socket = format!("--socket={}", path("mysqld.sock"));
        let child = Command::new(server)
            .args(["--no-defaults", &data, &user, &socket, "--bind-address=127.0.0.1", "--skip-name-resolve"])
            .args([format!("--port={port}"), format!("--pid-file={}", path("pid")), format!("--log-error={}", path("log"))])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server { child, folder, port };
        let began = Instant::now();
        while !server.sql("select 1") {
            assert!(began.elapsed() < Duration::from_secs(90), "{}", std::fs::read_to_string(server.path("log")).unwrap_or_default());
            std::thread::sleep(Duration::from_millis(200));
        }
        Some(server)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn sql(&self, sql: &str) -> bool {
        let client = found(&["mariadb", "mysql"]).expect("the client comes with the server");
        let socket = format!("--socket={}", self.path("mysqld.sock"));
        let mut command = Command::new(client);
        command.args(["--no-defaults", &socket, "-u", "root", "--default-character-set=utf8mb4", "-e", sql]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn asked(sql: &str, password: Option<&str>) -> Options {
    let mysql = Login { user: None, password: password.map(str::to_string) };
    Options { asking: Asking { query: Some(sql.to_string()), mysql, ..Asking::default() }, ..Options::default() }
}

#[test]
fn mysql_is_read_refused_and_resumed() {
    let Some(server) = Server::start() else { return };
    let table = "create database support; use support; create table tickets as select seq as id, \
                 concat('Where is order ', seq, ', please? – ', repeat('ä', 40)) as question, \
                 concat('Order ', seq, ' is on its way.') as answer, cast('2024-03-01 12:00:00' as datetime) + interval seq minute as closed_at, \
                 concat('K', seq mod 7) as customer_id, seq / 4 as score, null as nothing from seq_1_to_20000";
    assert!(server.sql(table));
    assert!(
        server.sql(
            "create user anna identified by 'geh,e!m'; grant select on support.* to anna; create user empty; grant all on *.* to empty"
        )
    );
    let url = format!("mysql://empty@127.0.0.1:{}/support", server.port);

    let error = Bench::new().import(&[&url], &plain()).err().unwrap().to_string();
    assert!(error.ends_with("which rows? it holds the tables [tickets]"), "{error}");
    let bench = Bench::new();
    let imported = bench.import(&[&url], &asked("select * from tickets order by id limit 1700", None)).unwrap();
    assert_eq!(imported.rows.len(), 1700);
    let row = &imported.rows[1699];
    assert_eq!(imported.pairs()[1699].0, format!("Where is order 1700, please? – {}", "ä".repeat(40)));
    let ours = [&row["id"], &row["group"], &row["at"], &row["nothing"], &row["source"]["line"]];
    assert_eq!(ours, [&json!("1700"), &json!("K6"), &json!("2024-03-02T16:20:00Z"), &json!(null), &json!(1700)]);
    assert_eq!(row["source"]["file"], url);

    // By a password, over the network and over the socket.
    let anna = format!("mysql://anna@127.0.0.1:{}/support?sslmode=disable", server.port);
    let socket = format!("mysql://anna:geh%2Ce!m@localhost/support?host={}", server.path(""));
    for (url, password) in [(&anna, Some("geh,e!m")), (&socket, None)] {
        let bench = Bench::new();
        assert_eq!(bench.import(&[url], &asked("select question, answer from tickets limit 5", password)).unwrap().rows.len(), 5, "{url}");
        assert!(bench.names().iter().all(|name| !std::fs::read_to_string(bench.path(name)).unwrap().contains("geh")));
    }
    let wrong = plan(&[anna], &asked("select 1", Some("wrong?word"))).err().unwrap().to_string();
    assert!(wrong.contains("Access denied") && !wrong.contains("wrong?word"), "{wrong}");
    only_reading(&url);
    goes_away(&server, &url);
}

fn only_reading(url: &str) {
    for (sql, why) in [
        ("delete from tickets", "READ ONLY"),
        ("drop table tickets", "READ ONLY"),
        ("select 1; drop table tickets", "syntax"),
        ("select * from nothing", "doesn't exist"),
        ("commit", "gives no rows"),
    ] {
        let error = plan(&[url.to_string()], &asked(sql, None)).err().unwrap_or_else(|| panic!("{sql} was accepted")).to_string();
        assert!(error.contains(why), "{sql}: {error}");
    }
}

fn goes_away(server: &Server, url: &str) {
    let bench = Bench::new();
    // More than what fits into the buffers between us.
    let options = asked("select id, question, answer, repeat('x', 6000) as filler from tickets where id <= 6000", None);
    let names = [url.to_string()];
    let mut killed = false;
    let mut watch = |at: import::Progress| {
        if at.rows >= 500 && !killed {
            assert!(server.sql("set @who = (select id from information_schema.processlist where user = 'empty' limit 1); execute immediate concat('kill ', @who)"));
            killed = true;
        }
    };
    let error = import(plan(&names, &options).unwrap(), &bench.out(), false, &AtomicBool::new(false), &mut watch).unwrap_err();
    assert!(matches!(error, Error::Away { rows, .. } if rows >= 500), "{error}");
    assert!(!bench.path("out.jsonl").exists());
    let imported = bench.import(&[url], &options).unwrap();
    let mut ids: Vec<u32> = imported.rows.iter().map(|row| row["id"].as_str().unwrap().parse().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=6000).collect::<Vec<u32>>());
}
