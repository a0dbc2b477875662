//! The frozen weights of a decoder, loaded once, in the form the products read.

use crate::modules::{self, EMBED, HEAD, LAST_NORM, linears, on_disk, shape};
use crate::{Adapter, Dims, Error};
use engine::{Cx, Weight};
pub use formats::bnb::Scheme;
use formats::{Coded, Dtype};
use std::sync::Arc;

/// One decoder block. What is trained instead of frozen is missing here: it lies among the trained parameters.
#[derive(Default)]
pub struct Layer {
    /// Weights of the norms, in the order of [`modules::norm`]; empty when trained.
    pub norms: Vec<Vec<f32>>,
    /// The linear layers by number.
    pub linears: Vec<Option<Weight>>,
    /// Their biases, empty where there is none.
    pub biases: Vec<Vec<f32>>,
    /// The router (experts, hidden); empty without experts.
    pub router: Vec<f32>,
}

/// All frozen weights.
pub struct Weights {
    /// Sizes.
    pub dims: Dims,
    /// embed_tokens (vocab, hidden); also the head when tied.
    pub embed: Option<Weight>,
    /// lm_head (vocab, hidden), when it is its own.
    pub head: Option<Weight>,
    /// norm (hidden)
    pub norm: Vec<f32>,
    /// Blocks in order.
    pub layers: Vec<Layer>,
}

/// How the matrices are held. Norms and biases are float32 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// float32.
    F32,
    /// Rounded to bfloat16, and so is what they are multiplied by.
    Bf16,
    /// Linear layers quantised so, the embedding and the head as they lie on disk; decoded at each product.
    Quantised(Scheme),
    /// As they lie on disk; decoded at each product.
    Stored,
}

impl Weights {
    /// Reads and packs every weight; `progress(done, of)` counts tensors.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or is damaged.
    pub fn load(
        cx: &Cx,
        files: &formats::Weights,
        dims: &Dims,
        hold: Hold,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Weights, Error> {
        let groups = modules::groups(dims);
        let total = dims.layers * groups + 2;
        let mut loader = Loader { cx, files, hold, scratch: Vec::new() };
        let embed = loader.table(&format!("{EMBED}.weight"), (dims.vocab, dims.hidden))?;
        let head = if dims.tied { None } else { Some(loader.table(&format!("{HEAD}.weight"), (dims.vocab, dims.hidden))?) };
        let mut layers = Vec::with_capacity(dims.layers);
        for l in 0..dims.layers {
            layers.push(loader.layer(dims, l, &mut |g| progress(1 + l * groups + g, total))?);
        }
        let norm = loader.vector(&format!("{LAST_NORM}.weight"), dims.hidden)?;
        progress(total, total);
        Ok(Weights { dims: dims.clone(), embed: Some(embed), head, norm, layers })
    }

    /// Nothing frozen: every weight is trained.
    pub fn none(dims: &Dims) -> Weights {
        let layers = (0..dims.layers).map(|_| Layer::default()).collect();
        Weights { dims: dims.clone(), embed: None, head: None, norm: Vec::new(), layers }
    }

    /// A fully trained model, packed for answering.
    pub fn of_trained(cx: &Cx, trained: &Adapter) -> Weights {
        let (p, d) = (&trained.places, trained.places.dims());
        let matrix =
            |at: Option<usize>, (outputs, inputs)| at.map(|at| Weight::pack(cx, trained.part(at, outputs * inputs), outputs, inputs));
        let vector = |at: Option<usize>, n: usize| at.map_or(Vec::new(), |at| trained.part(at, n).to_vec());
        let layer = |l: usize| Layer {
            norms: (0..modules::norms(d)).map(|which| vector(p.norm(l, which), modules::norm_width(d, which))).collect(),
            linears: (0..linears(d)).map(|i| matrix(p.slot(l, i).weight, shape(d, i))).collect(),
            biases: (0..linears(d)).map(|i| vector(p.slot(l, i).bias, shape(d, i).0)).collect(),
            router: vector(p.router(l), d.blocks() * d.hidden),
        };
        Weights {
            embed: matrix(p.embed(), (d.vocab, d.hidden)),
            head: if d.tied { None } else { matrix(p.head(), (d.vocab, d.hidden)) },
            norm: vector(p.last_norm(), d.hidden),
            layers: (0..d.layers).map(layer).collect(),
            dims: d.clone(),
        }
    }

    /// The head's weight, if it is frozen.
    pub fn head(&self) -> Option<&Weight> {
        if self.dims.tied { self.embed.as_ref() } else { self.head.as_ref() }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let matrices = self.layers.iter().flat_map(|l| &l.linears).chain([&self.embed, &self.head]).flatten();
        let vectors = self.layers.iter().flat_map(|l| l.norms.iter().chain(&l.biases).chain([&l.router])).chain([&self.norm]);
        matrices.map(Weight::bytes).sum::<usize>() + vectors.map(|v| v.len() * size_of::<f32>()).sum::<usize>()
    }
}

/// Reads tensors and packs them.
struct Loader<'a> {
    cx: &'a Cx,
    files: &'a formats::Weights,
    hold: Hold,
    scratch: Vec<f32>,
}

impl Loader<'_> {
    fn vector(&self, name: &str, n: usize) -> Result<Vec<f32>, Error> {
        let mut out = vec![0f32; n];
        self.files.load_f32(name, &[n], &mut out)?;
        Ok(out)
    }

    /// The embedding or the head, which are never quantised anew.
    fn table(&mut self, name: &str, (outputs, inputs): (usize, usize)) -> Result<Weight, Error> {
        if let Hold::Quantised(_) | Hold::Stored = self.hold {
            let coded = self.files.coded(name, &[outputs, inputs])?;
            self.files.release();
            return Ok(Weight::coded(Box::new(Rows { coded: Arc::new(coded), from: 0, outputs })));
        }
        self.read(name, outputs, inputs)?;
        self.files.release();
        Ok(self.pack(0, outputs, inputs))
    }

    /// A projection that stays coded.
    fn coded(&self, name: &str, rows: usize, inputs: usize) -> Result<Option<Arc<Coded>>, Error> {
        Ok(match self.hold {
            Hold::F32 | Hold::Bf16 => None,
            Hold::Stored => Some(Arc::new(self.files.coded(name, &[rows, inputs])?)),
            Hold::Quantised(scheme) => Some(Arc::new(self.files.quantised(name, (rows, inputs), scheme, Dtype::F32)?)),
        })
    }

    fn read(&mut self, name: &str, outputs: usize, inputs: usize) -> Result<(), Error> {
        self.scratch.resize(outputs * inputs, 0.0);
        Ok(self.files.load_f32(name, &[outputs, inputs], &mut self.scratch)?)
    }

    /// Packs rows `from..from + outputs` of what was read.
    fn pack(&self, from: usize, outputs: usize, inputs: usize) -> Weight {
        let rows = &self.scratch[from * inputs..(from + outputs) * inputs];
        match self.hold {
            Hold::Bf16 => Weight::pack_rounded(self.cx, rows, outputs, inputs),
            _ => Weight::pack(self.cx, rows, outputs, inputs),
        }
    }

    fn layer(&mut self, d: &Dims, l: usize, progress: &mut dyn FnMut(usize)) -> Result<Layer, Error> {
        let mut layer = Layer { biases: vec![Vec::new(); linears(d)], ..Layer::default() };
        for which in 0..modules::norms(d) {
            layer.norms.push(self.vector(&modules::norm(l, which), modules::norm_width(d, which))?);
        }
        if let Some(e) = &d.experts {
            self.read(&modules::router(l), e.count, d.hidden)?;
            layer.router = self.scratch.clone();
        }
        for group in 0..modules::groups(d) {
            for module in on_disk(d, l, group) {
                self.module(d, &module, &mut layer)?;
            }
            progress(group);
        }
        Ok(layer)
    }

    /// One projection on disk, cut into its linear layers.
    fn module(&mut self, d: &Dims, module: &modules::Module, layer: &mut Layer) -> Result<(), Error> {
        let inputs = shape(d, module.linears.start).1;
        let rows: usize = module.linears.clone().map(|i| shape(d, i).0).sum();
        let name = format!("{}.weight", module.name);
        let coded = self.coded(&name, rows, inputs)?;
        if coded.is_none() {
            self.read(&name, rows, inputs)?;
        }
        self.files.release();
        let bias =
            if modules::has_bias(d, module.linears.start) { self.vector(&format!("{}.bias", module.name), rows)? } else { Vec::new() };
        let mut from = 0;
        for i in module.linears.clone() {
            let outputs = shape(d, i).0;
            layer.linears.push(Some(match &coded {
                Some(coded) => Weight::coded(Box::new(Rows { coded: coded.clone(), from, outputs })),
                None => self.pack(from, outputs, inputs),
            }));
            if !bias.is_empty() {
                layer.biases[i] = bias[from..from + outputs].to_vec();
            }
            from += outputs;
        }
        Ok(())
    }
}

/// Rows of a tensor as it lies on disk: all of it, or one part of a fused projection.
struct Rows {
    coded: Arc<Coded>,
    from: usize,
    outputs: usize,
}

impl engine::Coded for Rows {
    fn outputs(&self) -> usize {
        self.outputs
    }

    fn inputs(&self) -> usize {
        self.coded.inputs()
    }

    fn decode(&self, row: usize, from: usize, out: &mut [f32]) {
        self.coded.decode(self.from + row, from, out);
    }

    fn align(&self) -> usize {
        self.coded.align()
    }

    /// Its share of the whole tensor's.
    fn bytes(&self) -> usize {
        self.coded.bytes() * self.outputs / self.coded.outputs()
    }
}
