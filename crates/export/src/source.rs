//! The tensors of the merged model, one at a time, by Hugging Face name.

use crate::Error;
use crate::prove::Tuned;
use formats::adapter::{Part, tensor_name};
use formats::{Dtype, ModelConfig};
use model::modules::{self, EMBED, HEAD, Module};
use model::places::Trained;
use model::weights::Hold;
use std::collections::BTreeMap;

/// A base with what was trained, read as the one model that they make.
pub(crate) struct Source<'a> {
    tuned: &'a Tuned<'a>,
    /// Layer and linear layers of every projection on disk, by the name of its weight.
    projections: BTreeMap<String, (usize, Module)>,
    /// What was trained whole.
    trained: BTreeMap<String, &'a Trained>,
}

impl<'a> Source<'a> {
    pub fn new(tuned: &'a Tuned<'a>) -> Source<'a> {
        let d = &tuned.base.dims;
        let groups = (0..d.layers).flat_map(|l| (0..modules::groups(d)).map(move |g| (l, g)));
        let on_disk = groups.flat_map(|(l, g)| modules::on_disk(d, l, g).into_iter().map(move |m| (format!("{}.weight", m.name), (l, m))));
        let all = tuned.adapter.places.tensors();
        let trained = match tuned.adapter.places.is_model() {
            true => all.iter().map(|t| (t.name.clone(), t)).collect(),
            false => saved(tuned).collect(),
        };
        Source { tuned, projections: on_disk.collect(), trained }
    }

    /// Fills `values` with the merged tensor.
    pub fn read(&self, name: &str, shape: &[usize], values: &mut Vec<f32>) -> Result<(), Error> {
        let adapter = self.tuned.adapter;
        if let Some(trained) = self.trained.get(name) {
            *values = trained.read(&adapter.params).into_owned();
            return Ok(());
        }
        values.resize(shape.iter().product(), 0.0);
        self.read_base(name, shape, values)?;
        let Some((layer, module)) = self.projections.get(name) else { return Ok(()) };
        let mut rest = &mut values[..];
        for i in module.linears.clone() {
            let (outputs, inputs) = modules::shape(&self.tuned.base.dims, i);
            let (part, after) = rest.split_at_mut(outputs * inputs);
            adapter.merge_into(self.tuned.cx, *layer, i, part);
            rest = after;
        }
        Ok(())
    }

    /// The base's values as training saw them: a projection that was quantised for it is decoded again.
    fn read_base(&self, name: &str, shape: &[usize], values: &mut [f32]) -> Result<(), Error> {
        let base = self.tuned.base;
        match (self.tuned.hold, shape) {
            (Hold::Quantised(scheme), &[rows, width]) if self.projections.contains_key(name) => {
                let coded = base.files.quantised(name, (rows, width), scheme, Dtype::F32)?;
                values.chunks_mut(width.max(1)).enumerate().for_each(|(row, line)| coded.decode(row, 0, line));
            }
            _ => {
                // A head that becomes its own was the embedding.
                let stored = if name == weight(HEAD) && base.dims.tied { weight(EMBED) } else { name.to_string() };
                base.files.load_f32(&stored, shape, values)?;
            }
        }
        Ok(())
    }
}

fn weight(module: &str) -> String {
    format!("{module}.weight")
}

/// The modules that an adapter trained whole (`modules_to_save`), by the names of their weights.
fn saved<'a>(tuned: &Tuned<'a>) -> impl Iterator<Item = (String, &'a Trained)> {
    let all = tuned.adapter.places.tensors();
    [EMBED, HEAD].into_iter().filter_map(move |m| Some((weight(m), all.iter().find(|t| t.name == tensor_name(m, Part::Saved))?)))
}

/// The merged model's configuration: embedding and head part where one of them was trained without the other.
pub(crate) fn config(tuned: &Tuned) -> ModelConfig {
    let mut config = tuned.base.config.clone();
    config.tied_embeddings &= tuned.adapter.places.is_model() || saved(tuned).next().is_none();
    config
}
