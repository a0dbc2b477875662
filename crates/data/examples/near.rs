//! Near pairs of a file of texts, for measuring: `near FILE [least] [contained]` prints a pair a line, and its times to standard error.

use data::near::{Options, clusters, pairs};
use std::io::Write;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let path = words.first().ok_or("usage: near FILE [least [contained, or - for none]]")?;
    let number = |at: usize, usual: f32| words.get(at).map_or(Ok(usual), |word| word.parse());
    let contained = if words.get(2).is_some_and(|word| word == "-") { None } else { Some(number(2, 0.85)?) };
    let options = Options { least: number(1, 0.5)?, contained, ..Options::default() };

    let began = Instant::now();
    let mut ids = Vec::new();
    let mut texts = Vec::new();
    for line in std::io::BufRead::lines(std::io::BufReader::new(std::fs::File::open(path)?)) {
        let row: serde_json::Value = serde_json::from_str(&line?)?;
        ids.push(row["id"].to_string());
        texts.push(row["text"].as_str().ok_or("a row without `text`")?.to_string());
    }
    let read = began.elapsed();

    let began = Instant::now();
    let found = pairs(&texts, &options);
    let paired = began.elapsed();
    let groups = clusters(&texts, &found, &options);
    let seconds = began.elapsed();

    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for pair in &found {
        writeln!(out, "{}\t{}\t{:.4}\t{:.4}", ids[pair.a as usize], ids[pair.b as usize], pair.jaccard, pair.contained)?;
    }
    let facts = serde_json::json!({
        "documents": texts.len(), "read": read.as_secs_f64(), "pairs": paired.as_secs_f64(), "all": seconds.as_secs_f64(),
        "found": found.len(), "clusters": groups.len(), "threads": rayon::current_num_threads(),
    });
    eprintln!("{facts}");
    Ok(())
}
