//! The tensors of the merged model, one at a time, by Hugging Face name.

use crate::Error;
use crate::prove::Tuned;
use model::weights::module;
use std::collections::BTreeMap;

/// A base with an adapter, read as the one model that they make.
pub(crate) struct Source<'a> {
    tuned: &'a Tuned<'a>,
    /// Layer and number of every linear layer.
    linears: BTreeMap<String, (usize, usize)>,
}

impl<'a> Source<'a> {
    pub fn new(tuned: &'a Tuned<'a>) -> Source<'a> {
        let layers = 0..tuned.base.dims.layers;
        let linears = layers.flat_map(|l| (0..7).map(move |i| (format!("{}.weight", module(l, i)), (l, i)))).collect();
        Source { tuned, linears }
    }

    /// Fills `values` with the merged tensor.
    pub fn read(&self, name: &str, shape: &[usize], values: &mut Vec<f32>) -> Result<(), Error> {
        values.resize(shape.iter().product(), 0.0);
        self.tuned.base.files.load_f32(name, shape, values)?;
        if let Some(&(layer, i)) = self.linears.get(name) {
            self.tuned.adapter.merge_into(self.tuned.cx, layer, i, values);
        }
        Ok(())
    }
}
