//! Every format and shape, whole.

use import::{Error, Role, plan};
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use serde_json::json;

use crate::bench::{Bench, gz, jsonl, pairs, parquet, plain, query, roles, xlsx};

#[test]
fn lines_arrays_and_values_of_json_give_the_same_rows() {
    let bench = Bench::new();
    let lines = jsonl(40);
    let array = format!("[\n{}]\n", lines.trim_end().replace('\n', ",\n"));
    let spread = lines.replace("\", \"", "\",\n  \"").replace("\",\"", "\",\n  \"");
    let names = [
        bench.file("a.jsonl", &lines),
        bench.file("b.json", &array),
        bench.file("c.json", spread),
        bench.file("d.jsonl.gz", gz(lines.as_bytes())),
        bench.file("e.jsonl", lines.encode_utf16().fold(vec![0xFF, 0xFE], |bytes, unit| [bytes, unit.to_le_bytes().to_vec()].concat())),
    ];
    let imported = bench.import(&names.each_ref().map(String::as_str), &plain()).unwrap();
    let found = imported.pairs();
    assert_eq!(found.len(), 200);
    assert!(found.chunks(40).all(|part| part == pairs(40)), "{:?}", &found[..2]);
    assert_eq!(imported.account.all.fixed, 0);
    let lines: Vec<_> = imported.rows.chunks(40).map(|part| part[7]["source"]["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [8, 9, 15, 8, 8]);
    assert_eq!(imported.rows[7]["id"], "a.jsonl:8");
    let encodings: Vec<_> = imported.account.json["sources"].as_array().unwrap().iter().map(|s| s["found"]["encoding"].clone()).collect();
    assert_eq!(encodings[4], "UTF-16LE");
    assert_eq!(
        bench.names(),
        ["a.jsonl", "b.json", "c.json", "d.jsonl.gz", "e.jsonl", "out.import.json", "out.jsonl", "out.quarantine.jsonl"]
    );
}

#[test]
fn the_account_says_what_became_of_every_row_and_which_bytes_were_read() {
    let bench = Bench::new();
    let text = "{\"instruction\": \"a\", \"response\": \"b\"}\n\n{\"instruction\": \"a\", \"response\": \"\"}\nnot json\n\
                {\"messages\": [{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"user\", \"content\": \"y\"}, {\"role\": \"assistant\", \"content\": \"z\"}]}\n";
    let name = bench.file("a.jsonl", text);
    let imported = bench.import(&[&name], &plain()).unwrap();
    let json = &imported.account.json;
    assert_eq!(json["sources"][0]["sha256"], record::hash::sha256(text.as_bytes()));
    assert_eq!((&json["rows"], &json["kept"], &json["fixed"], &json["quarantined"]), (&json!(4), &json!(2), &json!(1), &json!(2)));
    assert_eq!(json["fixes"], json!({"turns_joined": 1}));
    let (sha256, bytes) = record::hash::sha256_file(&bench.path("out.jsonl")).unwrap();
    assert_eq!(json["outputs"][0], json!({"file": "out.jsonl", "rows": 2, "bytes": bytes, "sha256": sha256}));
    let whys = imported.whys();
    assert_eq!(whys[0], (3, "message 2: found an empty text of the assistant, expected one that says something".to_string()));
    assert_eq!((whys[1].0, &whys[1].1[..24]), (4, "not valid JSON at column"));
    assert_eq!(imported.quarantine[1]["raw"], "not json");
}

#[test]
fn a_table_in_the_encoding_of_an_old_export() {
    let bench = Bench::new();
    let (text, _, _) = encoding_rs::WINDOWS_1252.encode(
        "Ticket-Nr;Frage;Antwort;Bearbeiter;Datum;Kundennummer\r\n7;\"Wo ist; meine Bestellung?\nFür Köln\";\"Sie sagte \"\"bald\"\".\";Jürgen;1.3.2024 9:05;K1\r\n8;Geht die Rückgabe?;Natürlich, 30 Tage lang.;Anna;2.3.2024;K1\r\n",
    );
    let name = bench.file("tickets.csv", &text);
    let imported = bench.import(&[&name], &plain()).unwrap();
    assert_eq!(imported.pairs()[0], ("Wo ist; meine Bestellung?\nFür Köln".to_string(), "Sie sagte \"bald\".".to_string()));
    let row = &imported.rows[0];
    let ours = [&row["id"], &row["group"], &row["at"], &row["author"], &row["source"]["line"]];
    assert_eq!(ours, [&json!("7"), &json!("K1"), &json!("2024-03-01T09:05:00Z"), &json!("Jürgen"), &json!(2)]);
    assert_eq!(imported.rows[1]["source"]["line"], 4, "a row may go over several lines");
    let found = &imported.account.json["sources"][0];
    assert_eq!((&found["found"]["encoding"], &found["found"]["delimiter"]), (&json!("windows-1252"), &json!(";")));
    assert_eq!(found["roles"]["answer"], json!({"column": "Antwort", "by": "name"}));
    assert_eq!(imported.account.all.fixed, 0);
}

#[test]
fn roles_can_be_set_and_what_is_not_sure_is_asked() {
    let bench = Bench::new();
    let name = bench.file("t.tsv", "alpha\tbeta\tgamma\nFirst text of all here\tSecond text of all\tThird text of all\n");
    let error = bench.import(&[&name], &plain()).err().unwrap();
    assert!(matches!(error, Error::Roles { .. }), "{error}");
    assert_eq!(bench.names(), ["t.tsv"], "nothing is left behind");
    let imported = bench.import(&[&name], &roles(&[(Role::Question, "gamma"), (Role::Answer, "alpha")])).unwrap();
    assert_eq!(imported.pairs(), [("Third text of all".to_string(), "First text of all here".to_string())]);
    assert_eq!(imported.rows[0]["beta"], "Second text of all");
}

#[test]
fn texts_without_answers_and_texts_with_labels() {
    let bench = Bench::new();
    let texts = bench.file("a.txt", "Where is it?\n\nWhen will it come?\n");
    let labels = bench.file("b.csv", "text,label\nWhere is my card?,card_arrival\nI lost it.,lost_card\n");
    let imported = bench.import(&[&texts, &labels], &plain()).unwrap();
    assert_eq!((&imported.rows[1]["text"], &imported.rows[1]["source"]["line"]), (&json!("When will it come?"), &json!(3)));
    assert_eq!(imported.rows[2]["messages"][1]["content"], "card_arrival");
    assert_eq!(imported.rows[2]["label"], "card_arrival");
}

#[test]
fn a_workbook_is_read_sheet_by_sheet() {
    let bench = Bench::new();
    let first: &[&[&str]] =
        &[&["Question", "Answer", "Created"], &["Where is it, please?", "On its way.", "#45352.5"], &["Broken?", "=#REF!"]];
    let second: &[&[&str]] = &[&[], &["Frage", "Antwort"], &["Wie lange noch?", "Zwei Tage."]];
    let name = bench.file("book.xlsx", xlsx(&[("Tickets", first), ("Leer", &[]), ("Alt", second)]));
    let imported = bench.import(&[&name], &plain()).unwrap();
    assert_eq!(imported.pairs()[1], ("Wie lange noch?".to_string(), "Zwei Tage.".to_string()));
    assert_eq!(imported.rows[0]["at"], "2024-03-01T12:00:00Z");
    assert_eq!(imported.rows[1]["source"], json!({"file": format!("{name}#Alt"), "line": 3}));
    assert_eq!(imported.whys(), [(3, "found the error #REF! in column 2, expected a value; mend the formula".to_string())]);
    let one = plan(&[format!("{name}#Alt")], &plain()).unwrap();
    assert_eq!(one.sources.len(), 1);
    let error = plan(&[format!("{name}#Neu")], &plain()).err().unwrap().to_string();
    assert!(error.ends_with("found no sheet `Neu`, but [Tickets, Leer, Alt], expected the name of one of its sheets"), "{error}");
}

#[test]
fn parquet_is_read_in_every_usual_packing() {
    for packing in
        [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::GZIP(GzipLevel::default()), Compression::ZSTD(ZstdLevel::default())]
    {
        let bench = Bench::new();
        let name = bench.file("a.parquet", parquet(&pairs(500), packing));
        let imported = bench.import(&[&name], &plain()).unwrap();
        assert_eq!(imported.pairs(), pairs(500), "{packing:?}");
        assert_eq!(imported.rows[499]["id"], "a.parquet:500");
    }
}

/// A database of one table, and of a second one where asked.
fn sqlite(bench: &Bench, second: bool) -> String {
    let name = bench.path("help.db").display().to_string();
    let db = rusqlite::Connection::open(&name).unwrap();
    db.execute_batch("create table faq (id integer, question text, answer text, score real); begin").unwrap();
    for (n, (question, answer)) in pairs(300).into_iter().enumerate() {
        db.execute("insert into faq values (?, ?, ?, ?)", rusqlite::params![n as i64, question, answer, 0.5]).unwrap();
    }
    db.execute_batch("commit").unwrap();
    if second {
        db.execute_batch("create table other (x integer)").unwrap();
    }
    name
}

#[test]
fn sqlite_is_read_by_table_or_query_and_never_written() {
    let bench = Bench::new();
    let name = sqlite(&bench, false);
    let imported = bench.import(&[&name], &plain()).unwrap();
    assert_eq!(imported.pairs(), pairs(300));
    assert_eq!((&imported.rows[3]["id"], &imported.rows[3]["score"]), (&json!("3"), &json!(0.5)));

    let bench = Bench::new();
    let name = sqlite(&bench, true);
    let error = bench.import(&[&name], &plain()).err().unwrap().to_string();
    assert!(error.ends_with("which rows? it holds the tables [faq, other]"), "{error}");
    let imported = bench.import(&[&name], &query("select question, answer from faq where id < 10")).unwrap();
    assert_eq!(imported.pairs(), pairs(10));
    let ids: Vec<&str> = imported.rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert!(ids.iter().all(|id| id.starts_with("help.db:") && id.len() == 24), "{ids:?}");
    let before = std::fs::read(&name).unwrap();
    for sql in ["delete from faq", "create table y (z)", "select", "select * from nothing"] {
        let error = bench.import(&[&name], &query(sql)).err().unwrap();
        assert!(matches!(error, Error::Database { .. }), "{sql}: {error}");
    }
    assert_eq!(std::fs::read(&name).unwrap(), before);
}

#[test]
fn rows_of_one_name_get_names_of_their_own() {
    let bench = Bench::new();
    let text = "id,question,answer\n1,Where is it now?,Here.\n2,When is it coming?,Soon.\n";
    let names = [bench.file("a.csv", text), bench.file("b.csv", text)];
    let imported = bench.import(&[&names[0], &names[1]], &plain()).unwrap();
    let ids: Vec<&str> = imported.rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["1", "2", "1~2", "2~2"]);
    assert_eq!(imported.rows[2]["fixed"], json!([{"what": "id_repeated", "before": "1", "after": "1~2"}]));
}
