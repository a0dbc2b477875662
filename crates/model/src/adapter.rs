//! What is trained: a LoRA or DoRA adapter beside frozen weights, or in full fine-tuning the weights themselves.

use crate::modules::{groups, inputs, linears, members, on_disk, shape};
use crate::places::{Places, target_names};
use crate::random::{self, Stream};
use crate::{Dims, Error, Weights};
use engine::cuda::bf16;
use engine::{Cx, Mat};
use formats::Dtype;
use formats::bnb::Scheme;

pub use formats::adapter::WEIGHTS_FILE;
pub use formats::adapter::{AdapterConfig, Targets};
use formats::safetensors;
use std::collections::BTreeMap;
use std::path::Path;

/// The name of a fully trained model's weights in its folder.
const MODEL_FILE: &str = "model.safetensors";

/// Trained parameters: the adapter's configuration, the layout and the values.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// As PEFT spells it; meaningless in full fine-tuning.
    pub config: AdapterConfig,
    /// Where each matrix lies in `params`.
    pub places: Places,
    /// All values.
    pub params: Vec<f32>,
}

impl Adapter {
    /// A fresh adapter: A uniform in ±1/sqrt(inputs) (PEFT's Kaiming rule with a = sqrt 5), B zero.
    ///
    /// Magnitudes and saved modules begin as the base has them: [`Adapter::begin_at`] fills them in.
    ///
    /// # Errors
    /// As [`Places::of_adapter`], and settings that we do not run.
    pub fn new(dims: &Dims, config: AdapterConfig, seed: u64) -> Result<Adapter, Error> {
        refuse(&config, "the adapter")?;
        let places = Places::of_adapter(dims, &config)?;
        let mut params = vec![0f32; places.len()];
        for layer in 0..dims.layers {
            for i in 0..linears(dims) {
                let (s, inputs) = (places.slot(layer, i), shape(dims, i).1);
                let stream = Stream::Adapter((layer * linears(dims) + i) as u32);
                let bound = 1.0 / (inputs as f64).sqrt();
                for (j, p) in params[s.a..s.a + s.rank * inputs].iter_mut().enumerate() {
                    *p = ((2.0 * random::uniform(seed, stream, j as u64) - 1.0) * bound) as f32;
                }
            }
        }
        Ok(Adapter { config, places, params })
    }

    /// No adapter at all: the base model.
    pub fn none(dims: &Dims) -> Adapter {
        let config = AdapterConfig::new(0, 0.0, Targets::List(Vec::new()));
        Adapter { config, places: Places::nothing(dims), params: Vec::new() }
    }

    /// Every weight of the model, read from its files: full fine-tuning.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or is damaged.
    pub fn of_model(dims: &Dims, files: &formats::Weights, progress: &mut dyn FnMut(usize, usize)) -> Result<Adapter, Error> {
        let places = Places::of_model(dims);
        let mut params = vec![0f32; places.len()];
        let all = places.tensors();
        for (done, t) in all.iter().enumerate() {
            let mut values = vec![0f32; t.shape.iter().product()];
            files.load_f32(&t.name, &t.shape, &mut values)?;
            files.release();
            t.write(&values, &mut params);
            progress(done + 1, all.len());
        }
        Ok(Adapter { config: AdapterConfig::new(0, 0.0, Targets::List(Vec::new())), places, params })
    }

    /// Fills in what a fresh adapter takes from its base: whole modules from its files, and DoRA's magnitudes, the lengths
    /// of the rows of W as it is held.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or is damaged.
    pub fn begin_at(&mut self, files: &formats::Weights, weights: &Weights) -> Result<(), Error> {
        self.begin_tables(files)?;
        for (l, layer) in weights.layers.iter().enumerate().filter(|_| self.places.is_dora()) {
            for (i, w) in layer.linears.iter().enumerate() {
                let (Some(at), Some(w)) = (self.places.slot(l, i).magnitude, w) else { continue };
                let (outputs, inputs) = w.shape();
                let mut row = vec![0f32; inputs];
                for (j, p) in self.params[at..at + outputs].iter_mut().enumerate() {
                    w.row(j, &mut row);
                    *p = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt() as f32;
                }
            }
        }
        Ok(())
    }

    /// As [`Adapter::begin_at`] for a base that lies on a GPU: in bfloat16, or quantised by `scheme`.
    ///
    /// # Errors
    /// As [`Adapter::begin_at`].
    pub fn begin_at_files(&mut self, files: &formats::Weights, scheme: Option<Scheme>) -> Result<(), Error> {
        self.begin_tables(files)?;
        let d = self.places.dims().clone();
        let all = (0..d.layers).flat_map(|l| (0..groups(&d)).map(move |g| (l, g))).filter(|_| self.places.is_dora());
        for (l, m) in all.flat_map(|(l, g)| on_disk(&d, l, g).into_iter().map(move |m| (l, m))).collect::<Vec<_>>() {
            let Some(at) = self.places.slot(l, m.linears.start).magnitude else { continue };
            let (rows, inputs) = (m.linears.clone().map(|i| shape(&d, i).0).sum(), shape(&d, m.linears.start).1);
            let (name, lengths) = (format!("{}.weight", m.name), &mut self.params[at..at + rows]);
            let length = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt() as f32;
            if let Some(scheme) = scheme {
                let coded = files.quantised(&name, (rows, inputs), scheme, Dtype::F32)?;
                let mut row = vec![0f32; inputs];
                for (j, p) in lengths.iter_mut().enumerate() {
                    coded.decode(j, 0, &mut row);
                    *p = length(&row);
                }
            } else {
                let mut w = vec![0f32; rows * inputs];
                files.load_f32(&name, &[rows, inputs], &mut w)?;
                w.iter_mut().for_each(|v| *v = bf16::from_f32(*v).to_f32());
                lengths.iter_mut().zip(w.chunks(inputs)).for_each(|(p, row)| *p = length(row));
            }
            files.release();
        }
        Ok(())
    }

    /// Whole modules as the base has them.
    fn begin_tables(&mut self, files: &formats::Weights) -> Result<(), Error> {
        use crate::modules::{EMBED, HEAD};
        let d = self.places.dims().clone();
        let head = if d.tied { EMBED } else { HEAD };
        for (at, name) in [(self.places.embed(), EMBED), (self.places.head(), head)] {
            let Some(at) = at else { continue };
            files.load_f32(&format!("{name}.weight"), &[d.vocab, d.hidden], &mut self.params[at..at + d.vocab * d.hidden])?;
        }
        Ok(())
    }

    /// Reads a PEFT adapter folder for a model of these sizes, or the weights of a fully trained model.
    ///
    /// # Errors
    /// Settings that we do not run, a tensor that is missing, left over, of another shape or not finite.
    pub fn load(dims: &Dims, folder: &Path) -> Result<Adapter, Error> {
        let whole = folder.join(MODEL_FILE);
        if whole.is_file() {
            let places = Places::of_model(dims);
            let params = read_flat(&whole, &places)?;
            return Ok(Adapter { config: AdapterConfig::new(0, 0.0, Targets::List(Vec::new())), places, params });
        }
        let config = AdapterConfig::read(&folder.join("adapter_config.json"))?;
        refuse(&config, &folder.join("adapter_config.json").display().to_string())?;
        let path = folder.join(WEIGHTS_FILE);
        let places = Places::of_adapter(dims, &config)?;
        let params = read_flat(&path, &places)?;
        let file = safetensors::File::open(&path)?;
        let known: std::collections::HashSet<&str> = places.tensors().iter().map(|t| t.name.as_str()).collect();
        if let Some(extra) = file.names().find(|n| !known.contains(n)) {
            return Err(Error::WrongAdapter {
                path: path.clone(),
                what: extra.into(),
                found: "a tensor that no layer of this base takes".into(),
                expected: format!("{} tensors of its target layers only", known.len()),
            });
        }
        if params.iter().any(|p| !p.is_finite()) {
            return Err(Error::NotFinite { what: path.display().to_string() });
        }
        Ok(Adapter { config, places, params })
    }

    /// Where its values lie in a folder: `adapter_model.safetensors`, or `model.safetensors` of a fully trained model.
    pub fn file(&self) -> &'static str {
        if self.places.is_model() { MODEL_FILE } else { WEIGHTS_FILE }
    }

    /// Writes `adapter_config.json` and `adapter_model.safetensors` into an existing folder, or `model.safetensors` of a
    /// fully trained model.
    ///
    /// # Errors
    /// When a file cannot be written, or a value is not finite.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        if self.params.iter().any(|p| !p.is_finite()) {
            return Err(Error::NotFinite { what: "the adapter".into() });
        }
        if self.places.is_model() {
            return write_flat(&folder.join(MODEL_FILE), &self.places, &self.params);
        }
        let mut config = self.config.clone();
        if config.target_modules == Targets::AllLinear {
            // Spelled out, as PEFT does: servers that read only lists find them.
            let d = self.places.dims();
            let experts = if d.experts.is_some() { 4 } else { usize::MAX };
            config.target_modules = Targets::List(target_names(d).into_iter().take(experts).map(str::to_string).collect());
        }
        config.write(&folder.join("adapter_config.json"))?;
        write_flat(&folder.join(WEIGHTS_FILE), &self.places, &self.params)
    }

    /// Adds `scale * B·A` of a linear layer to its row-major (outputs, inputs) weight; with DoRA, scales its rows to their magnitudes.
    pub fn merge_into(&self, cx: &Cx, layer: usize, i: usize, weight: &mut [f32]) {
        use engine::cpu::gemm::{Rhs, Term, Write, product};
        let s = self.places.slot(layer, i);
        if s.rank == 0 {
            return;
        }
        let (outputs, inputs) = shape(self.places.dims(), i);
        let a = Mat::new(&self.params[s.a..s.a + s.rank * inputs], s.rank, inputs);
        let scaled: Vec<f32> = self.params[s.b..s.b + s.rank * outputs].iter().map(|b| b * s.scale).collect();
        product(cx, weight, inputs, Write::Add, &[Term { a: Mat::new(&scaled, outputs, s.rank), b: Rhs::Mat(a.t()) }]);
        let Some(at) = s.magnitude else { return };
        for (row, m) in weight.chunks_exact_mut(inputs).zip(&self.params[at..at + outputs]) {
            let norm = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            row.iter_mut().for_each(|v| *v = (f64::from(*v) * f64::from(*m) / norm) as f32);
        }
    }

    /// A of a group's updates (ranks, inputs).
    pub(crate) fn a(&self, layer: usize, group: usize) -> &[f32] {
        let ranks = self.places.ranks(layer, group);
        let first = members(group).map(|i| self.places.slot(layer, i)).find(|s| s.rank > 0);
        first.map_or(&[], |s| &self.params[s.a..s.a + ranks * inputs(self.places.dims(), group)])
    }

    /// `len` parameters from `at`.
    pub(crate) fn part(&self, at: usize, len: usize) -> &[f32] {
        &self.params[at..at + len]
    }
}

/// Refuses settings that change the result and that we do not compute.
fn refuse(config: &AdapterConfig, what: &str) -> Result<(), Error> {
    let mut refused = config.unsupported();
    if config.use_dora && config.lora_dropout > 0.0 {
        refused.push("use_dora with lora_dropout above 0, for which the paper states no rule".into());
    }
    if config.use_dora && !config.target_parameters.is_empty() {
        refused.push("use_dora on experts, which PEFT cannot load".into());
    }
    match refused.into_iter().next() {
        None => Ok(()),
        Some(found) => Err(Error::Unsupported {
            what: format!("a setting of {what}"),
            found,
            supported: "LoRA, rsLoRA and DoRA on linear layers without biases of their own".into(),
        }),
    }
}

/// Writes a flat vector laid out by `places` under the names that files have.
///
/// # Errors
/// When the file cannot be written.
pub fn write_flat(path: &Path, places: &Places, flat: &[f32]) -> Result<(), Error> {
    let tensors = places.tensors();
    let entry = |t: &crate::places::Trained| safetensors::Entry { name: t.name.clone(), dtype: Dtype::F32, shape: t.shape.clone() };
    let entries: Vec<safetensors::Entry> = tensors.iter().map(entry).collect();
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    let mut writer = safetensors::Writer::create(path, &entries, &metadata)?;
    for t in tensors {
        writer.put_f32(&t.name, &t.read(flat))?;
    }
    writer.finish()?;
    Ok(())
}

/// Reads what [`write_flat`] wrote.
///
/// # Errors
/// A tensor that is missing or of another shape.
pub fn read_flat(path: &Path, places: &Places) -> Result<Vec<f32>, Error> {
    let file = safetensors::File::open(path)?;
    let mut flat = vec![0f32; places.len()];
    for t in places.tensors() {
        let wrong = |found: String| Error::WrongAdapter {
            path: path.into(),
            what: t.name.clone(),
            found,
            expected: format!("shape {:?}", t.shape),
        };
        let stored = file.tensor(&t.name).ok_or_else(|| wrong("no such tensor".into()))?;
        if stored.shape != t.shape {
            return Err(wrong(format!("shape {:?}", stored.shape)));
        }
        let mut values = vec![0f32; t.shape.iter().product()];
        stored.read_f32(&mut values)?;
        t.write(&values, &mut flat);
    }
    Ok(flat)
}
