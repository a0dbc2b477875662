//! Prints what a model makes of a text: its token ids, and the log-probability of each after those before it.
//!
//!     cargo run --release -p export --example logprobs -- MODEL TEXT.txt
//!
//! MODEL is a Hugging Face folder or a GGUF file, computed in float32 from its dequantised weights. One JSON object:
//! `{"ids": [...], "logprobs": [...]}`, one log-probability (natural logarithm) fewer than ids. `oracle/llama_cpp.py`
//! compares it with llama.cpp's.

use engine::Cx;
use model::batch::{Rules, Sequence, Sharing};
use model::decoder;
use model::weights::Hold;
use model::{Adapter, Folder, Limits, MicroBatch, Room, Weights};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, text] = args.as_slice() else { return Err("expected two arguments: MODEL TEXT.txt".into()) };
    let cx = Cx::new(0)?;
    let folder = Folder::open(Path::new(path))?;
    let weights = Weights::load(&cx, &folder.files, &folder.dims, Hold::F32, &mut |_, _| {})?;
    let none = Adapter::none(&folder.dims);
    let ids = folder.chat.tokenizer.encode(&std::fs::read_to_string(text)?)?;
    let learned = vec![true; ids.len()];
    let rules = Rules { sharing: Sharing::None, long_from: folder.dims.long_from() };
    let batch = MicroBatch::new(&[Sequence { ids: &ids, learned: &learned }], rules);
    let mut room = Room::new(&folder.dims, &none.places, Limits::of([&batch]));
    let logits = decoder::logits(&cx, &weights, &none, &mut room, &batch);
    let after = logits.chunks_exact(folder.dims.vocab).zip(&ids[1..]);
    let logprobs: Vec<f64> = after.map(|(row, next)| f64::from(row[*next as usize]) - log_sum(row)).collect();
    println!("{}", serde_json::json!({ "ids": ids, "logprobs": logprobs }));
    Ok(())
}

fn log_sum(row: &[f32]) -> f64 {
    let most = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    most + row.iter().map(|x| (f64::from(*x) - most).exp()).sum::<f64>().ln()
}
