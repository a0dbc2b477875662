//! A folder with sources, and what an import makes of them.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use import::{Account, Done, Error, Options, Out, Role, import, plan};
use serde_json::Value;
use tempfile::TempDir;

pub struct Bench {
    folder: TempDir,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a source; gives its name.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    pub fn out(&self) -> Out {
        Out::of(&self.path("out.jsonl"))
    }

    /// Imports to the end.
    pub fn import(&self, names: &[&str], options: &Options) -> Result<Imported, Error> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let done = import(plan(&names, options)?, &self.out(), false, &AtomicBool::new(false), &mut |_| {})?;
        let Done::Finished(account) = done else { panic!("nobody asked to stop") };
        let imported = Imported { rows: self.rows("out.jsonl"), quarantine: self.rows("out.quarantine.jsonl"), account: *account };
        let all = &imported.account.all;
        assert_eq!(all.rows, all.kept + all.quarantined, "every row is accounted for");
        assert_eq!((all.kept as usize, all.quarantined as usize), (imported.rows.len(), imported.quarantine.len()));
        Ok(imported)
    }

    pub fn rows(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The names in the folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub struct Imported {
    pub rows: Vec<Value>,
    pub quarantine: Vec<Value>,
    pub account: Account,
}

impl Imported {
    /// Question and answer of each row.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let said = |row: &Value, role: &str| {
            let messages = row["messages"].as_array().unwrap();
            messages.iter().find(|m| m["role"] == role).unwrap()["content"].as_str().unwrap().to_string()
        };
        self.rows.iter().map(|row| (said(row, "user"), said(row, "assistant"))).collect()
    }

    /// Line and reason of each row that was put aside.
    pub fn whys(&self) -> Vec<(u64, String)> {
        let line = |row: &Value| row["source"]["line"].as_u64().unwrap_or(0);
        self.quarantine.iter().map(|row| (line(row), row["why"].as_str().unwrap().to_string())).collect()
    }
}

pub fn plain() -> Options {
    Options::default()
}

pub fn roles(told: &[(Role, &str)]) -> Options {
    Options { roles: told.iter().map(|(role, column)| (*role, column.to_string())).collect(), ..Options::default() }
}

pub fn query(sql: &str) -> Options {
    Options { asking: import::Asking { query: Some(sql.to_string()), ..Default::default() }, ..Options::default() }
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// The smallest workbook: sheets of rows of texts; `=` before a cell makes it an error of a formula, `#` a date's number.
pub fn xlsx(sheets: &[(&str, &[&[&str]])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mut put = |name: &str, text: &str| {
        let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file(name, stored).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    };
    let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let related = "http://schemas.openxmlformats.org/package/2006/relationships";
    put(
        "_rels/.rels",
        &format!(
            "<Relationships xmlns=\"{related}\"><Relationship Id=\"r\" Type=\"{office}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
        ),
    );
    put("[Content_Types].xml", "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"/>");
    let list =
        |line: &dyn Fn(usize, &str) -> String| sheets.iter().enumerate().map(|(at, (name, _))| line(at + 1, name)).collect::<String>();
    let named = list(&|n, name| format!("<sheet name=\"{name}\" sheetId=\"{n}\" r:id=\"s{n}\"/>"));
    put("xl/workbook.xml", &format!("<workbook xmlns=\"{main}\" xmlns:r=\"{office}\"><sheets>{named}</sheets></workbook>"));
    let files = list(&|n, _| format!("<Relationship Id=\"s{n}\" Type=\"{office}/worksheet\" Target=\"worksheets/sheet{n}.xml\"/>"));
    put(
        "xl/_rels/workbook.xml.rels",
        &format!(
            "<Relationships xmlns=\"{related}\">{files}<Relationship Id=\"st\" Type=\"{office}/styles\" Target=\"styles.xml\"/></Relationships>"
        ),
    );
    put(
        "xl/styles.xml",
        &format!("<styleSheet xmlns=\"{main}\"><cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"22\"/></cellXfs></styleSheet>"),
    );
    for (at, (_, rows)) in sheets.iter().enumerate() {
        let mut data = String::new();
        for (line, row) in rows.iter().enumerate() {
            data += &format!("<row r=\"{}\">", line + 1);
            for (column, cell) in row.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
                let place = format!("{}{}", char::from(b'A' + column as u8), line + 1);
                data += &match (cell.strip_prefix('='), cell.strip_prefix('#')) {
                    (Some(error), _) => format!("<c r=\"{place}\" t=\"e\"><v>{error}</v></c>"),
                    (_, Some(number)) => format!("<c r=\"{place}\" s=\"1\"><v>{number}</v></c>"),
                    _ => format!("<c r=\"{place}\" t=\"inlineStr\"><is><t>{cell}</t></is></c>"),
                };
            }
            data += "</row>";
        }
        let sheet = format!("<worksheet xmlns=\"{main}\"><sheetData>{data}</sheetData></worksheet>");
        put(&format!("xl/worksheets/sheet{}.xml", at + 1), &sheet);
    }
    zip.finish().unwrap().into_inner()
}

/// A Parquet file of the columns `question` and `answer`.
pub fn parquet(pairs: &[(String, String)], packing: parquet::basic::Compression) -> Vec<u8> {
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    let schema = "message table { required binary question (UTF8); optional binary answer (UTF8); }";
    let schema = std::sync::Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder().set_compression(packing).set_dictionary_enabled(false).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, std::sync::Arc::new(properties)).unwrap();
    for part in pairs.chunks(200) {
        let mut group = writer.next_row_group().unwrap();
        for side in 0..2 {
            let mut column = group.next_column().unwrap().unwrap();
            let text = |pair: &(String, String)| if side == 0 { pair.0.clone() } else { pair.1.clone() };
            let texts: Vec<ByteArray> = part.iter().map(|pair| ByteArray::from(text(pair).into_bytes())).collect();
            let defined = vec![1; texts.len()];
            column.typed::<ByteArrayType>().write_batch(&texts, (side == 1).then_some(&defined[..]), None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

/// So many questions and answers.
pub fn pairs(count: usize) -> Vec<(String, String)> {
    (0..count).map(|n| (format!("Where is order {n}, please?"), format!("Order {n} is on its way to you."))).collect()
}

pub fn jsonl(count: usize) -> String {
    pairs(count).iter().map(|(q, a)| format!("{}\n", serde_json::json!({ "instruction": q, "response": a }))).collect()
}
