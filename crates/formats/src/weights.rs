//! One view over a model's tensors, by Hugging Face names, wherever they lie.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bnb::{Companions, Int8, Nf4, Scheme};
use crate::error::brief;
use crate::fields::read_object;
use crate::gguf::names::{Heads, Target, hugging_face};
use crate::{Coded, Dtype, Error, Tensor, gguf, safetensors};

/// How the rows of a stored tensor are ordered against the Hugging Face layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// As in Hugging Face.
    Plain,
    /// In each of `heads` heads, row 2j is row j and row 2j+1 is row j + half of the Hugging Face layout: rotated
    /// pairs lie side by side (GGUF files of architecture llama, query and key).
    Paired { heads: usize },
}

impl RowOrder {
    /// Where a row of the Hugging Face layout lies among `rows` stored ones.
    pub fn stored_row(self, row: usize, rows: usize) -> usize {
        match self {
            RowOrder::Plain => row,
            RowOrder::Paired { heads } => {
                let (dim, half) = (rows / heads, rows / heads / 2);
                let (head, within) = (row / dim, row % dim);
                head * dim + within % half * 2 + within / half
            }
        }
    }

    /// Brings a tensor of `rows` rows from the Hugging Face layout into the stored one.
    pub fn store(self, rows: usize, values: &mut [f32]) {
        self.in_each_head(rows, values, |stored, plain| (stored, plain));
    }

    /// Copies rows within each head: of the two places of a row, `places(stored, plain)` says to which and from which. A copy of one head is all the
    /// room that this needs.
    fn in_each_head(self, rows: usize, values: &mut [f32], places: impl Fn(usize, usize) -> (usize, usize)) {
        let RowOrder::Paired { heads } = self else { return };
        if values.is_empty() {
            return;
        }
        let (dim, width) = (rows / heads, values.len() / rows);
        let one_head = RowOrder::Paired { heads: 1 };
        let mut copy = vec![0f32; dim * width];
        for head in values.chunks_exact_mut(dim * width) {
            copy.copy_from_slice(head);
            for row in 0..dim {
                let (to, from) = places(one_head.stored_row(row, dim), row);
                head[to * width..][..width].copy_from_slice(&copy[from * width..][..width]);
            }
        }
    }
}

/// A tensor as stored, and the order of its rows.
#[derive(Clone, Debug)]
pub struct Stored<'a> {
    pub tensor: Tensor<'a>,
    pub order: RowOrder,
}

impl Stored<'_> {
    /// Decodes all elements into the Hugging Face layout.
    ///
    /// # Errors
    /// `Buffer` if `out` has not exactly as many places as the tensor elements.
    pub fn read_f32(&self, out: &mut [f32]) -> Result<(), Error> {
        self.tensor.read_f32(out)?;
        let rows = stored_rows(&self.tensor.shape);
        self.order.in_each_head(rows, out, |stored, plain| (plain, stored));
        Ok(())
    }
}

/// A bias is a vector whose elements are the rows.
fn stored_rows(shape: &[usize]) -> usize {
    match shape {
        [rows] => *rows,
        [outer @ .., _] => outer.iter().product(),
        [] => 1,
    }
}

/// Where the tokenizer of a model is to be read from.
#[derive(Debug)]
pub enum TokenizerSource<'a> {
    /// A folder with tokenizer.json and its companions.
    Folder(&'a Path),
    /// The vocabulary inside the GGUF file.
    Gguf(&'a gguf::File),
}

/// A part of a tensor: rows of equal parts along the outer dimensions.
#[derive(Clone, Debug)]
struct Part {
    index: usize,
    of: usize,
    shape: Vec<usize>,
}

#[derive(Debug)]
struct Place {
    /// Index into the files of a safetensors model; 0 for GGUF.
    file: usize,
    stored_name: String,
    order: RowOrder,
    part: Option<Part>,
}

#[derive(Debug)]
enum Files {
    Safetensors(Vec<safetensors::File>),
    Gguf(Box<gguf::File>),
}

/// The tensors of a model: a safetensors folder, whole or in shards, or a GGUF file.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    files: Files,
    places: BTreeMap<String, Place>,
    /// Which of them bitsandbytes has quantised.
    quantised: BTreeMap<String, Scheme>,
    /// The tensors that belong to those.
    companions: BTreeMap<String, Place>,
}

impl Weights {
    /// Opens a model folder or a .gguf file.
    ///
    /// # Errors
    /// `NoModel` if there are no weights we read, `MissingFile` and `MissingTensor` for what an index promises and
    /// the folder lacks, and the faults of the files themselves.
    pub fn open(path: &Path) -> Result<Weights, Error> {
        let index = path.join("model.safetensors.index.json");
        let single = path.join("model.safetensors");
        if path.is_dir() && single.exists() {
            return Weights::single(path, &single);
        }
        if path.is_dir() && index.exists() {
            return Weights::sharded(path, &index);
        }
        Weights::gguf(path, gguf::File::open(&find_gguf(path)?)?)
    }

    fn single(path: &Path, file: &Path) -> Result<Weights, Error> {
        let file = safetensors::File::open(file)?;
        let mut places = BTreeMap::new();
        for name in file.names() {
            add_safetensors(&mut places, &file, 0, name)?;
        }
        Weights::of_safetensors(path, vec![file], places)
    }

    /// Sets quantised weights apart from the tensors that describe them.
    fn of_safetensors(path: &Path, files: Vec<safetensors::File>, mut places: BTreeMap<String, Place>) -> Result<Weights, Error> {
        let found = Companions::among(path, &places)?;
        let companions = found.names.iter().filter_map(|name| places.remove_entry(name)).collect();
        if let Some(name) = found.weights.keys().find(|name| !places.contains_key(*name)) {
            return Err(Error::MissingTensor { path: path.to_path_buf(), tensor: brief(name) });
        }
        Ok(Weights { path: path.to_path_buf(), files: Files::Safetensors(files), places, quantised: found.weights, companions })
    }

    fn sharded(path: &Path, index: &Path) -> Result<Weights, Error> {
        let object = read_object(index)?;
        let expected = "an object of tensor names to file names";
        let Some(Value::Object(map)) = object.get("weight_map") else {
            return Err(Error::field(index, "weight_map", "nothing usable", expected));
        };
        let mut files: Vec<safetensors::File> = Vec::new();
        let mut opened: BTreeMap<&str, usize> = BTreeMap::new();
        let mut places = BTreeMap::new();
        for (name, shard) in map {
            let field = || format!("weight_map.{}", brief(name));
            let plain = shard.as_str().filter(|s| !s.is_empty() && !s.contains(['/', '\\']) && *s != "..");
            let Some(shard) = plain else {
                return Err(Error::field(index, field(), brief(&shard.to_string()), "the name of a file beside it"));
            };
            let number = match opened.get(shard) {
                Some(number) => *number,
                None => {
                    let file = path.join(shard);
                    if !file.exists() {
                        return Err(Error::MissingFile { path: file, named_by: index.to_path_buf() });
                    }
                    files.push(safetensors::File::open(&file)?);
                    opened.insert(shard, files.len() - 1);
                    files.len() - 1
                }
            };
            if files[number].tensor(name).is_none() {
                return Err(Error::MissingTensor { path: files[number].path().to_path_buf(), tensor: brief(name) });
            }
            add_safetensors(&mut places, &files[number], number, name)?;
        }
        Weights::of_safetensors(path, files, places)
    }

    fn gguf(path: &Path, file: gguf::File) -> Result<Weights, Error> {
        let architecture = file.string("general.architecture")?.unwrap_or_default();
        let mut places = BTreeMap::new();
        for name in file.names() {
            let Some((target, heads)) = hugging_face(name, architecture) else { continue };
            let Some(tensor) = file.tensor(name) else { continue };
            let order = row_order(&file, &tensor, heads)?;
            let place = |part| Place { file: 0, stored_name: name.to_string(), order, part };
            match target {
                Target::Whole(hf) => {
                    places.insert(hf, place(None));
                }
                Target::Experts { before, after } => {
                    for (index, part) in parts(file.path(), &tensor)?.into_iter().enumerate() {
                        places.insert(format!("{before}{index}{after}"), place(Some(part)));
                    }
                }
            }
        }
        let (quantised, companions) = (BTreeMap::new(), BTreeMap::new());
        Ok(Weights { path: path.to_path_buf(), files: Files::Gguf(Box::new(file)), places, quantised, companions })
    }

    /// The path it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a tensor of this Hugging Face name is there.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The Hugging Face names of all tensors, sorted. Experts count as one tensor each.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// How bitsandbytes has quantised a tensor, if it has.
    pub fn scheme(&self, name: &str) -> Option<Scheme> {
        self.quantised.get(name).copied()
    }

    /// A tensor as stored, by its Hugging Face name.
    ///
    /// # Errors
    /// `MissingTensor`; `StoredType` for one that bitsandbytes has quantised: that is more than one tensor, see
    /// [`Weights::coded`].
    pub fn tensor(&self, name: &str) -> Result<Stored<'_>, Error> {
        if let Some(scheme) = self.scheme(name) {
            let (path, tensor, found) = (self.file_of(name), name.to_string(), format!("bitsandbytes {}", scheme.name()));
            return Err(Error::StoredType { path, tensor, found, supported: "types of one tensor".to_string() });
        }
        let missing = || Error::MissingTensor { path: self.path.clone(), tensor: name.to_string() };
        let place = self.places.get(name).ok_or_else(missing)?;
        let mut tensor = self.stored(place).ok_or_else(missing)?;
        if let Some(part) = &place.part {
            let size = tensor.bytes.len() / part.of;
            tensor.bytes = &tensor.bytes[part.index * size..(part.index + 1) * size];
            tensor.shape = part.shape.clone();
        }
        Ok(Stored { tensor, order: place.order })
    }

    /// The whole tensor at a place.
    fn stored(&self, place: &Place) -> Option<Tensor<'_>> {
        match &self.files {
            Files::Safetensors(files) => files[place.file].tensor(&place.stored_name),
            Files::Gguf(file) => file.tensor(&place.stored_name),
        }
    }

    /// A tensor in memory of its own, coded as it is stored: blocks of GGUF, NF4 and int8 of bitsandbytes, or plain.
    ///
    /// # Errors
    /// `MissingTensor` for it or one of its companions, `Malformed` where companions contradict each other, `Shape`.
    pub fn coded(&self, name: &str, expected_shape: &[usize]) -> Result<Coded, Error> {
        let get = |name: &str| self.stored(self.companions.get(name).or_else(|| self.places.get(name))?);
        let coded = match self.scheme(name) {
            Some(Scheme::Nf4 { .. }) => Coded::from(Nf4::read(&self.file_of(name), name, &get)?),
            Some(Scheme::Int8) => Coded::from(Int8::read(&self.file_of(name), name, &get)?),
            None => {
                let stored = self.tensor(name)?;
                self.check_shape(name, &stored.tensor.shape, expected_shape)?;
                Coded::of(&stored)?
            }
        };
        self.check_shape(name, coded.shape(), expected_shape)?;
        Ok(coded)
    }

    /// A matrix quantised while it is read, a few rows at a time. One that is stored in this scheme already stays as it is.
    ///
    /// `dtype` is the type that the values count as, see [`Coded::quantised`].
    ///
    /// # Errors
    /// As [`Weights::coded`]; `Range` for a value that is not finite.
    pub fn quantised(&self, name: &str, (rows, width): (usize, usize), scheme: Scheme, dtype: Dtype) -> Result<Coded, Error> {
        if self.scheme(name) == Some(scheme) {
            return self.coded(name, &[rows, width]);
        }
        if self.scheme(name).is_some() {
            let source = self.coded(name, &[rows, width])?;
            return Coded::quantised(name, (rows, width), scheme, dtype, &mut |first, out| {
                out.chunks_mut(width.max(1)).enumerate().for_each(|(i, line)| source.decode(first + i, 0, line));
                Ok(())
            });
        }
        let stored = self.tensor(name)?;
        self.check_shape(name, &stored.tensor.shape, &[rows, width])?;
        Coded::quantised(name, (rows, width), scheme, dtype, &mut |first, out| {
            let mut lines = out.chunks_mut(width.max(1)).enumerate();
            lines.try_for_each(|(i, line)| stored.tensor.read_rows_f32(stored.order.stored_row(first + i, rows), 1, line))
        })
    }

    /// Checks a tensor's shape and decodes it into the Hugging Face layout.
    ///
    /// # Errors
    /// `MissingTensor`; `Shape` with what was found and expected; `Buffer` if `out` has another size.
    pub fn load_f32(&self, name: &str, expected_shape: &[usize], out: &mut [f32]) -> Result<(), Error> {
        if self.scheme(name).is_some() {
            let coded = self.coded(name, expected_shape)?;
            let (found, expected) = (out.len(), coded.outputs() * coded.inputs());
            if found != expected {
                return Err(Error::Buffer { tensor: name.to_string(), what: "the length of the output", found, expected });
            }
            let lines = out.chunks_mut(coded.inputs().max(1)).enumerate();
            lines.for_each(|(row, line)| coded.decode(row, 0, line));
            return Ok(());
        }
        let stored = self.tensor(name)?;
        self.check_shape(name, &stored.tensor.shape, expected_shape)?;
        stored.read_f32(out)
    }

    /// Gives the pages of the files that were read back to the system: what was decoded lies in memory once already.
    pub fn release(&self) {
        match &self.files {
            Files::Safetensors(files) => files.iter().for_each(safetensors::File::release),
            Files::Gguf(file) => file.release(),
        }
    }

    fn check_shape(&self, name: &str, found: &[usize], expected: &[usize]) -> Result<(), Error> {
        if found == expected {
            return Ok(());
        }
        let (path, tensor) = (self.file_of(name), name.to_string());
        Err(Error::Shape { path, tensor, found: found.to_vec(), expected: expected.to_vec() })
    }

    /// The file that holds a tensor; the model's path for a name that is not there.
    pub fn file_of(&self, name: &str) -> PathBuf {
        match (&self.files, self.places.get(name)) {
            (Files::Gguf(file), _) => file.path().to_path_buf(),
            (Files::Safetensors(files), Some(place)) => files[place.file].path().to_path_buf(),
            _ => self.path.clone(),
        }
    }

    /// The GGUF file, if that is what the model is.
    pub fn gguf_file(&self) -> Option<&gguf::File> {
        match &self.files {
            Files::Gguf(file) => Some(file),
            Files::Safetensors(_) => None,
        }
    }

    /// Where the tokenizer is: the folder, unless the model is a GGUF file without a tokenizer.json beside it in the
    /// folder that was opened.
    pub fn tokenizer_source(&self) -> TokenizerSource<'_> {
        match &self.files {
            Files::Gguf(file) if !self.path.join("tokenizer.json").exists() => TokenizerSource::Gguf(file),
            _ => TokenizerSource::Folder(&self.path),
        }
    }
}

/// The GGUF file that a path means: itself, or the only one in a folder.
pub(crate) fn find_gguf(path: &Path) -> Result<PathBuf, Error> {
    if !path.is_dir() {
        // A path that does not exist gets the system's own words when it is opened.
        let is_gguf = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
        if is_gguf || !path.exists() {
            return Ok(path.to_path_buf());
        }
        let expected = "a model folder or a .gguf file".to_string();
        return Err(Error::NoModel { path: path.to_path_buf(), found: "another file".to_string(), expected });
    }
    let entries = fs::read_dir(path).map_err(|e| Error::io(path, "list", e))?;
    let names: BTreeSet<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    let of = |ending: &str| names.iter().filter(|n| n.ends_with(ending)).cloned().collect::<Vec<_>>();
    let found = match of(".gguf").as_slice() {
        [one] => return Ok(path.join(one)),
        [] if !of(".bin").is_empty() => format!("weights that are Python pickles ({})", brief(&of(".bin").join(", "))),
        [] => "no weights".to_string(),
        many => format!("{} GGUF files ({})", many.len(), brief(&many.join(", "))),
    };
    let expected = "model.safetensors, model.safetensors.index.json or one .gguf file".to_string();
    Err(Error::NoModel { path: path.to_path_buf(), found, expected })
}

/// Adds a safetensors tensor under its name; fused experts (transformers 5) also under the name of each part.
fn add_safetensors(places: &mut BTreeMap<String, Place>, file: &safetensors::File, number: usize, name: &str) -> Result<(), Error> {
    let place = |part| Place { file: number, stored_name: name.to_string(), order: RowOrder::Plain, part };
    let layer = |ending: &str| {
        let layer = name.strip_suffix(ending)?.strip_prefix("model.layers.")?;
        layer.bytes().all(|b| b.is_ascii_digit()).then(|| format!("model.layers.{layer}.block_sparse_moe"))
    };
    let Some(tensor) = file.tensor(name) else { return Ok(()) };
    if let Some(moe) = layer(".mlp.gate.weight") {
        places.insert(format!("{moe}.gate.weight"), place(None));
    } else if let Some(moe) = layer(".mlp.experts.gate_up_proj") {
        // An expert's rows are gate first, then up.
        for (expert, part) in parts(file.path(), &tensor)?.into_iter().enumerate() {
            let half = |which: usize| {
                let mut shape = part.shape.clone();
                shape[0] /= 2;
                place(Some(Part { index: part.index * 2 + which, of: part.of * 2, shape }))
            };
            if part.shape[0] % 2 == 1 {
                let found = format!("{} rows for gate and up", part.shape[0]);
                return Err(Error::malformed(file.path(), format!("tensor `{name}`"), found, "an even number"));
            }
            places.insert(format!("{moe}.experts.{expert}.w1.weight"), half(0));
            places.insert(format!("{moe}.experts.{expert}.w3.weight"), half(1));
        }
    } else if let Some(moe) = layer(".mlp.experts.down_proj") {
        for (expert, part) in parts(file.path(), &tensor)?.into_iter().enumerate() {
            places.insert(format!("{moe}.experts.{expert}.w2.weight"), place(Some(part)));
        }
    } else {
        places.insert(name.to_string(), place(None));
    }
    Ok(())
}

/// Cuts a three-dimensional stack into its matrices.
fn parts(path: &Path, tensor: &Tensor<'_>) -> Result<Vec<Part>, Error> {
    /// More experts than any model has; a header that claims more would only cost memory.
    const MOST: usize = 4096;
    match tensor.shape.as_slice() {
        &[of, rows, width] if (1..=MOST).contains(&of) => Ok((0..of).map(|index| Part { index, of, shape: vec![rows, width] }).collect()),
        other => {
            let found = format!("shape {other:?}");
            let part = format!("tensor `{}`", brief(tensor.name));
            Err(Error::malformed(path, part, found, "a stack of up to 4096 matrices"))
        }
    }
}

fn row_order(file: &gguf::File, tensor: &Tensor<'_>, heads: Heads) -> Result<RowOrder, Error> {
    let queries = "llama.attention.head_count";
    let number = |key: &str| -> Result<Option<u64>, Error> {
        match file.get(key) {
            // One number for each layer; the configuration refuses layers that differ.
            Some(gguf::Value::Array(_)) => Ok(file.numbers(key)?.and_then(|l| l.first().map(|x| *x as u64))),
            _ => file.unsigned(key),
        }
    };
    let count = match heads {
        Heads::None => return Ok(RowOrder::Plain),
        Heads::Query => number(queries)?,
        Heads::Key => match number("llama.attention.head_count_kv")? {
            Some(n) => Some(n),
            None => number(queries)?,
        },
    };
    let rows = tensor.shape.first().copied().unwrap_or(0);
    match count.and_then(|n| usize::try_from(n).ok()) {
        Some(heads) if heads > 0 && rows > 0 && rows % heads == 0 && (rows / heads) % 2 == 0 => Ok(RowOrder::Paired { heads }),
        _ => {
            let part = format!("tensor `{}`", brief(tensor.name));
            let found = format!("{rows} rows");
            let expected = count.map_or("llama.attention.head_count in the metadata".to_string(), |n| {
                format!("an even number of rows for each of {n} heads")
            });
            Err(Error::malformed(file.path(), part, found, expected))
        }
    }
}
