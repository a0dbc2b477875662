//! A real PostgreSQL, where one is installed: read, refused, and gone in the middle.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;

use import::{Asking, Error, Login, Options, import, plan};
use serde_json::json;

use crate::bench::{Bench, plain};

/// A server in a folder of its own, which only its socket and one port of this machine reach.
struct Server {
    bin: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
}

/// `POSTGRES_BIN`, the path, or where Debian puts it.
fn bin() -> Option<PathBuf> {
    let named = std::env::var_os("POSTGRES_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let both = |folder: &PathBuf| ["initdb", "postgres", "pg_ctl"].iter().all(|name| folder.join(name).exists());
    named.into_iter().chain(debian).chain(path).find(both)
}

impl Server {
    fn start() -> Option<Server> {
        let Some(bin) = bin() else {
            eprintln!("skipped: no PostgreSQL here (initdb and postgres in POSTGRES_BIN, PATH or /usr/lib/postgresql)");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Server { bin, folder, port };
        if is_root() {
            // The server refuses to run as root.
            assert!(Command::new("chown").args(["postgres"]).arg(server.folder.path()).status().unwrap().success());
        }
        let data = server.path("data");
        server.run("initdb", &["-D", &data, "-U", "boss", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"]);
        server.begin();
        Some(server)
    }

    fn begin(&self) {
        let options =
            format!("-c port={} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c fsync=off", self.port, self.path(""));
        self.run("pg_ctl", &["-D", &self.path("data"), "-w", "-t", "60", "-l", &self.path("log"), "-o", &options, "start"]);
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn run(&self, program: &str, args: &[&str]) {
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(self.bin.join(program));
            command
        } else {
            Command::new(self.bin.join(program))
        };
        // A pipe would stay open as long as the server runs.
        let status = command.args(args).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "{program} {args:?}: {}", std::fs::read_to_string(self.path("log")).unwrap_or_default());
    }

    fn sql(&self, sql: &str) {
        let psql = [self.bin.join("psql"), PathBuf::from("psql")].into_iter().find(|p| p.exists()).unwrap_or_else(|| PathBuf::from("psql"));
        let mut command = Command::new(psql);
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-U",
            "boss",
            "-d",
            "postgres",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
        ]);
        assert!(command.status().unwrap().success(), "{sql}");
    }

    fn url(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres", self.port)
    }

    fn restrict(&self) {
        let rules = "local all all trust\nhost all boss 127.0.0.1/32 trust\nhost all anna 127.0.0.1/32 scram-sha-256\nhost all otto 127.0.0.1/32 md5\n";
        write_as_server(&self.path("data/pg_hba.conf"), rules);
        self.sql("select pg_reload_conf()");
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.run("pg_ctl", &["-D", &self.path("data"), "-m", "immediate", "-w", "stop"]);
        }));
        drop(stopped);
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.starts_with(b"0\n"))
}

fn write_as_server(path: &str, text: &str) {
    std::fs::write(Path::new(path), text).unwrap();
}

fn asked(sql: &str, password: Option<&str>) -> Options {
    let login = Login { user: None, password: password.map(str::to_string) };
    Options { asking: Asking { query: Some(sql.to_string()), postgres: login, ..Asking::default() }, ..Options::default() }
}

const TABLE: &str = "create table tickets as select n as id, 'Where is order ' || n || ', please?' as question, \
                     'Order ' || n || ' is on its way.' as answer, timestamptz '2024-03-01 12:00+00' + n * interval '1 hour' as closed_at, \
                     'K' || n % 7 as customer_id, n % 2 = 0 as urgent, n / 4.0 as score, json_build_object('n', n) as extra, \
                     null::text as nothing from generate_series(1, 20000) n";

#[test]
fn postgres_is_read_refused_and_resumed() {
    let Some(server) = Server::start() else { return };
    server.sql(TABLE);
    server.sql("create role anna login password 'geh,e!m'; create role otto login password 'x'; grant select on tickets to anna, otto");
    rows_and_types(&server);
    only_reading(&server);
    passwords(&server);
    goes_away(&server);
}

fn rows_and_types(server: &Server) {
    let bench = Bench::new();
    let url = server.url("boss");
    let error = bench.import(&[&url], &plain()).err().unwrap().to_string();
    assert!(error.ends_with("which rows? it holds the tables [public.tickets]"), "{error}");
    let imported = bench.import(&[&url], &asked("select * from tickets order by id limit 1700", None)).unwrap();
    assert_eq!(imported.rows.len(), 1700);
    let row = &imported.rows[1699];
    assert_eq!(imported.pairs()[1699], ("Where is order 1700, please?".to_string(), "Order 1700 is on its way.".to_string()));
    let ours = [&row["id"], &row["group"], &row["urgent"], &row["extra"], &row["nothing"], &row["source"]["line"]];
    assert_eq!(ours, [&json!("1700"), &json!("K6"), &json!(true), &json!({"n": 1700}), &json!(null), &json!(1700)]);
    assert_eq!(row["at"].as_str().unwrap().len(), "2024-03-01T12:00:00+00:00".len());
    assert_eq!(row["source"]["file"], server.url("boss"));
    // Over the socket as well.
    let socket = format!("postgres:///postgres?host={}&port={}", server.path(""), server.port);
    let login = Login { user: Some("boss".into()), password: None };
    let options = Options {
        asking: Asking { query: Some("select question, answer from tickets".into()), postgres: login, ..Asking::default() },
        ..Options::default()
    };
    assert_eq!(Bench::new().import(&[&socket], &options).unwrap().rows.len(), 20_000);
}

fn only_reading(server: &Server) {
    for (sql, why) in [
        ("delete from tickets returning id", "read-only transaction"),
        ("select 1; drop table tickets", "multiple commands"),
        ("select * from nothing", "does not exist"),
        ("commit", "gives no rows"),
    ] {
        let error = plan(&[server.url("boss")], &asked(sql, None)).err();
        let error = match error {
            Some(error) => error.to_string(),
            // Refused when the first rows are asked for.
            None => panic!("{sql} was accepted"),
        };
        assert!(error.contains(why), "{sql}: {error}");
    }
    let bench = Bench::new();
    let left = bench.import(&[&server.url("boss")], &asked("select question, answer from tickets", None)).unwrap();
    assert_eq!(left.rows.len(), 20_000, "nothing was deleted");
}

fn passwords(server: &Server) {
    server.restrict();
    let sql = "select question, answer from tickets limit 5";
    let port = server.port;
    for (url, password) in [
        (format!("postgres://anna:geh,e!m@127.0.0.1:{port}/postgres"), None),
        (format!("postgres://anna@127.0.0.1:{port}/postgres?sslmode=disable"), Some("geh,e!m")),
        (format!("postgres://otto@127.0.0.1:{port}/postgres"), Some("x")),
    ] {
        let bench = Bench::new();
        assert_eq!(bench.import(&[&url], &asked(sql, password)).unwrap().rows.len(), 5, "{url}");
        for name in bench.names() {
            assert!(!std::fs::read_to_string(bench.path(&name)).unwrap().contains("geh,e!m"), "a password in {name}");
        }
    }
    let refused = |password: Option<&str>| plan(&[server.url("anna")], &asked(sql, password)).err().unwrap().to_string();
    assert!(refused(None).contains("asks for a password, and none was given"), "{}", refused(None));
    let wrong = refused(Some("wrong?word"));
    assert!(wrong.contains("password authentication failed") && !wrong.contains("wrong?word"), "{wrong}");
    let nobody = plan(&["postgres://me@127.0.0.1:1/x".to_string()], &asked(sql, None)).err().unwrap();
    assert!(matches!(nobody, Error::Away { rows: 0, .. }), "{nobody}");
    let plain_server = plan(&[format!("{}?sslmode=require", server.url("boss"))], &asked(sql, None)).err().unwrap().to_string();
    assert!(plain_server.contains("without TLS"), "{plain_server}");
}

/// Killed at every second visit, the import comes to its end with every row once.
fn goes_away(server: &Server) {
    let bench = Bench::new();
    let options = asked("select id, question, answer from tickets", None);
    let names = [server.url("boss")];
    for visit in 1..=2 {
        let mut killed = false;
        let mut watch = |at: import::Progress| {
            if at.rows >= 3000 * visit && !killed {
                server.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tunesmith'");
                killed = true;
            }
        };
        let error = import(plan(&names, &options).unwrap(), &bench.out(), false, &AtomicBool::new(false), &mut watch).unwrap_err();
        assert!(matches!(error, Error::Away { rows, .. } if rows >= 3000), "{error}");
        assert!(!bench.path("out.jsonl").exists() && bench.path("out.jsonl.part").metadata().unwrap().len() > 100_000);
    }
    // Rows that moved within the table come in another order.
    server.sql("update tickets set score = 0 where id < 5000");
    let imported = bench.import(&[&names[0]], &options).unwrap();
    let mut ids: Vec<u32> = imported.rows.iter().map(|row| row["id"].as_str().unwrap().parse().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=20_000).collect::<Vec<u32>>());
}
