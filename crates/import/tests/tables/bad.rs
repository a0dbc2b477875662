//! Sources that are cut, damaged, mixed or far too large: each row is put aside, or one error says what is wrong.

use std::io::Write;

use import::{Error, plan};
use parquet::basic::Compression;
use serde_json::json;

use crate::bench::{Bench, gz, jsonl, pairs, parquet, plain, xlsx};

#[test]
fn a_half_written_gz_gives_what_came_before_and_says_where_it_ends() {
    let bench = Bench::new();
    // Random enough to be unpacked over many blocks.
    let whole = gz(jsonl(5000).as_bytes());
    let cut = bench.file("logs.jsonl.gz", &whole[..whole.len() / 2]);
    let other = bench.file("other.jsonl", jsonl(3));
    let imported = bench.import(&[&cut, &other], &plain()).unwrap();
    let kept = imported.account.sources[0].1.kept as usize;
    assert!((1000..4000).contains(&kept), "{kept}");
    assert_eq!(imported.pairs()[..kept], pairs(kept), "all rows before the cut");
    assert_eq!(imported.pairs()[kept..], pairs(3), "the other source is read");
    let why = imported.account.sources[0].1.cut.clone().unwrap();
    assert!(why.contains("cut or damaged") && why.contains(&format!("from line {} on", kept + 1)), "{why}");
    assert_eq!(imported.whys(), [(kept as u64 + 1, why)]);
    assert_eq!(imported.account.sources[1].1.cut, None);
}

#[test]
fn a_stray_quote_costs_its_own_row() {
    let bench = Bench::new();
    let text = "id,question,answer\n\
                1,\"Where is it?\",\"Here,\nor there.\"\n\
                2,\"Never closed,Nothing\n\
                3,\"What is \"soon\"?\",Tomorrow.\n\
                4,Is 5\" enough?,\"Yes.\"\n\
                5,one,two,three\n\
                6,\"one\",two,,\n\
                7,\"Last one?\",\"Last.\"\n";
    let name = bench.file("t.csv", text);
    let imported = bench.import(&[&name], &plain()).unwrap();
    let ids: Vec<&str> = imported.rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["1", "3", "4", "6", "7"]);
    assert_eq!(imported.pairs()[0].1, "Here,\nor there.");
    assert_eq!((imported.pairs()[1].0.as_str(), &imported.rows[1]["fixed"][0]["what"]), ("What is \"soon\"?", &json!("quote")));
    assert_eq!((imported.pairs()[2].0.as_str(), &imported.rows[2]["fixed"]), ("Is 5\" enough?", &json!(null)));
    assert_eq!(imported.rows[3]["fixed"][0]["what"], "empty_cells");
    let whys = imported.whys();
    assert_eq!((whys[0].0, whys[1].0), (4, 7));
    assert!(whys[0].1.starts_with("a quote is opened and not closed"), "{}", whys[0].1);
    assert!(whys[1].1.starts_with("found 4 cells, expected 3"), "{}", whys[1].1);
    assert_eq!(imported.quarantine[0]["raw"], "2,\"Never closed,Nothing");
}

#[test]
fn encodings_that_are_mixed_within_a_file_are_told_line_by_line() {
    let bench = Bench::new();
    let mut bytes = "question;answer\nGrüße aus Köln und Umgebung;schön, danke für alles\n".as_bytes().to_vec();
    bytes.extend("Was heißt öffnen auf Englisch?;Es heißt open, nicht überall\n".bytes());
    bytes.extend(b"Gr\xFC\xDFe aus M\xFCnchen und D\xFCsseldorf;sch\xF6n\n");
    let name = bench.file("t.csv", &bytes);
    let imported = bench.import(&[&name], &plain()).unwrap();
    assert_eq!(imported.pairs()[2], ("Grüße aus München und Düsseldorf".to_string(), "schön".to_string()));
    assert_eq!(imported.rows[2]["fixed"], json!([{"what": "encoding", "before": "windows-1252", "after": "UTF-8"}]));
    assert_eq!((imported.account.all.fixed, imported.account.all.kept), (1, 3));
}

#[test]
fn a_line_of_200_megabytes_is_put_aside_without_being_held() {
    let bench = Bench::new();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(jsonl(2).as_bytes()).unwrap();
    let filler = vec![b'x'; 1 << 20];
    for _ in 0..200 {
        packed.write_all(&filler).unwrap();
    }
    packed.write_all(b"\n").unwrap();
    packed.write_all(jsonl(1).as_bytes()).unwrap();
    let name = bench.file("a.jsonl.gz", packed.finish().unwrap());
    let imported = bench.import(&[&name], &plain()).unwrap();
    assert_eq!(imported.rows.len(), 3);
    assert_eq!(imported.rows[2]["source"]["line"], 4);
    let why = "found a row of 209715200 bytes, expected at most 33554432; is a line's end missing, or a file inside of it?";
    assert_eq!(imported.whys(), [(3, why.to_string())]);
    assert!(imported.quarantine[0]["raw"].as_str().unwrap().chars().count() <= 401);
}

#[test]
fn a_broken_element_of_an_array_costs_itself_and_a_cut_array_is_told() {
    let bench = Bench::new();
    let row = |q: &str| format!("{{\"instruction\": \"{q} ] }}\", \"response\": \"a\"}}");
    let text = format!("[\n{},\n{{\"instruction\": nothing}},\n42,\n{},\n{{\"instruction\": \"cut", row("one"), row("two"));
    let name = bench.file("a.json", text);
    let imported = bench.import(&[&name], &plain()).unwrap();
    assert_eq!(imported.pairs().iter().map(|pair| pair.0.as_str()).collect::<Vec<_>>(), ["one ] }", "two ] }"]);
    let whys = imported.whys();
    assert!(whys[0].1.starts_with("not valid JSON") && whys[0].0 == 3, "{whys:?}");
    assert_eq!(whys[1], (4, "found a number, expected an object".to_string()));
    assert!(whys[2].1.starts_with("the file ends in the middle of its JSON, within the value that begins on line 6"), "{whys:?}");
    assert!(imported.account.all.cut.is_none() && imported.account.sources[0].1.cut.is_some());
}

fn refused(name: &str) -> String {
    let error = plan(&[name.to_string()], &plain()).err().expect("a fault");
    assert!(matches!(error, Error::Unreadable { .. } | Error::Io { .. }), "{error:?}");
    error.to_string()
}

#[test]
fn workbooks_with_a_password_or_damage_are_refused_before_anything_is_written() {
    let bench = Bench::new();
    // What Office writes around an encrypted workbook, and an old .xls alike.
    let mut container = vec![0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];
    container.resize(2048, 0);
    let error = refused(&bench.file("a.xlsx", container));
    assert!(error.contains("found a workbook with a password"), "{error}");
    let rows: Vec<[&str; 2]> = vec![["Question", "Answer"], ["Where is it now?", "Here it is."]];
    let rows: Vec<&[&str]> = rows.iter().map(|row| &row[..]).collect();
    let whole = xlsx(&[("S", &rows)]);
    let error = refused(&bench.file("b.xlsx", &whole[..whole.len() / 2]));
    assert!(error.contains("found a damaged one"), "{error}");
    assert_eq!(bench.names(), ["a.xlsx", "b.xlsx"]);
    // The sheet itself is broken: what came before is kept.
    let text = String::from_utf8_lossy(&whole).into_owned();
    let at = text.find("</sheetData>").unwrap();
    let mut broken = whole.clone();
    broken[at..at + 12].copy_from_slice(b"<row r=\"x<>>");
    let name = bench.file("c.xlsx", &broken);
    match bench.import(&[&name], &plain()) {
        Ok(imported) => assert!(imported.account.sources[0].1.cut.is_some() && imported.rows.len() <= 1),
        Err(error) => assert!(matches!(error, Error::Unreadable { .. } | Error::Cut { .. }), "{error}"),
    }
}

#[test]
fn parquet_with_a_cut_footer_is_refused_and_with_a_damaged_page_read_up_to_it() {
    let bench = Bench::new();
    let whole = parquet(&pairs(1000), Compression::SNAPPY);
    let error = refused(&bench.file("a.parquet", &whole[..whole.len() - 20]));
    assert!(error.contains("found a cut or damaged file") && error.contains("table of contents"), "{error}");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 400].fill(0xFF);
    let name = bench.file("b.parquet", &damaged);
    let imported = bench.import(&[&name], &plain()).unwrap();
    let kept = imported.rows.len();
    assert!((200..1000).contains(&kept), "{kept}");
    assert_eq!(imported.pairs()[..200], pairs(200));
    assert!(imported.account.sources[0].1.cut.is_some(), "{:?}", imported.whys());
}

#[test]
fn a_damaged_database_gives_what_can_be_read_and_a_file_of_no_kind_is_named() {
    let bench = Bench::new();
    let name = bench.path("a.db").display().to_string();
    let db = rusqlite::Connection::open(&name).unwrap();
    db.execute_batch("create table faq (question text, answer text); begin").unwrap();
    for (question, answer) in pairs(2000) {
        db.execute("insert into faq values (?, ?)", [question, answer]).unwrap();
    }
    db.execute_batch("commit").unwrap();
    drop(db);
    let mut bytes = std::fs::read(&name).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 8192].fill(0xFF);
    std::fs::write(&name, bytes).unwrap();
    let imported = bench.import(&[&name], &plain()).unwrap();
    let kept = imported.rows.len();
    assert!((500..1500).contains(&kept), "{kept}");
    assert_eq!(imported.pairs(), pairs(kept));
    assert!(imported.account.sources[0].1.cut.as_ref().unwrap().contains("the file is damaged"));

    assert!(refused(&bench.file("x.bin", [1, 2, 3])).contains("found a file of an unknown kind (`.bin`), expected one of .jsonl"));
    assert!(refused(&bench.file("x.csv", "")).contains("found an empty file, expected rows"));
    assert!(refused(&bench.path("none.csv").display().to_string()).contains("cannot open"));
}

#[test]
fn an_output_that_no_import_made_is_left_alone() {
    let bench = Bench::new();
    let name = bench.file("a.jsonl", jsonl(2));
    bench.file("out.jsonl", "mine\n");
    let error = bench.import(&[&name], &plain()).err().unwrap();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert_eq!(std::fs::read(bench.path("out.jsonl")).unwrap(), b"mine\n");
    std::fs::remove_file(bench.path("out.jsonl")).unwrap();
    bench.import(&[&name], &plain()).unwrap();
    let first = std::fs::read(bench.path("out.jsonl")).unwrap();
    bench.import(&[&name], &plain()).unwrap();
    assert_eq!(std::fs::read(bench.path("out.jsonl")).unwrap(), first, "an import may be made again");
}
