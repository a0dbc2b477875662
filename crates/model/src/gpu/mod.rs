//! Training on an NVIDIA GPU: the decoder of `decoder.rs` once more, over buffers of the device.

mod batch;
mod fill;
pub mod light;
mod pass;
mod room;
mod trained;
mod weights;
mod wide;

pub use fill::Source;
pub use weights::Hold;

use crate::decoder::{Limits, Scale};
use crate::{Dims, Error, MicroBatch, Places};
use batch::Packed;
use engine::cuda::{Arena, Buffer, Gpu, Named};
use engine::ops::adamw::gpu::Grads;
use engine::ops::rows::Spread;
use engine::ops::{adamw, attention, rope};
use pass::Pass;
use room::Room;
use std::sync::Arc;
use trained::Trained;
use weights::{ROWS, Weights};

/// A model and what is trained of it, on a GPU.
pub struct Engine {
    gpu: Arc<Gpu>,
    d: Dims,
    parts: Parts,
    table: rope::gpu::Table,
    rates: adamw::gpu::Rates,
    /// Operations a second of a large product.
    ceiling: f64,
    spread: Spread,
}

/// Everything that lies in the arena.
struct Parts {
    weights: Weights,
    trained: Trained,
    room: Room,
    batch: Buffer<u32>,
    long: u32,
    scale: Buffer<f32>, // (1): what every loss's gradient is multiplied by
    norm: Buffer<f32>,  // (2): the gradient's norm, and what clips it
    parts: Buffer<f64>, // sums of squares of its parts
}

impl Parts {
    fn take(arena: &mut Arena, d: &Dims, places: &Places, hold: Hold, limits: Limits) -> Parts {
        // Rows of 8-bit products are computed in sixteens.
        let limits = Limits { tokens: limits.tokens.next_multiple_of(ROWS), targets: limits.targets.next_multiple_of(ROWS), ..limits };
        Parts {
            weights: Weights::take(arena, d, places, hold, limits.tokens.max(limits.targets)),
            trained: Trained::take(arena, d, places),
            room: Room::take(arena, d, places, limits),
            batch: arena.take("micro-batch", "tokens, targets, and who sees whom", Packed::words(limits)),
            long: limits.positions as u32,
            scale: arena.take("norm of the gradient", "and its parts", 1),
            norm: arena.take("norm of the gradient", "and its parts", 2),
            parts: arena.take("norm of the gradient", "and its parts", adamw::gpu::parts(places.len())),
        }
    }
}

/// Refuses what does not run on a GPU yet.
///
/// # Errors
/// What it is, and what runs.
pub fn refuse(d: &Dims, places: &Places) -> Result<(), Error> {
    let refused = |what: &str, found: String, supported: &str| {
        Err(Error::Unsupported { what: format!("{what} on a GPU"), found, supported: supported.into() })
    };
    if let Some(e) = &d.experts {
        return refused("a model with experts", format!("{} of them", e.count), "models with one feed-forward block");
    }
    if places.is_model() || places.embed().is_some() || places.head().is_some() {
        return refused("training whole matrices", "full fine-tuning or modules_to_save".into(), "LoRA adapters");
    }
    if places.is_dora() {
        return refused("DoRA", "magnitudes".into(), "LoRA without magnitudes");
    }
    if places.dropout() > 0.0 {
        return refused("dropout", places.dropout().to_string(), "0");
    }
    if d.head_dim > attention::gpu::HEAD_MAX || d.hidden > engine::ops::rmsnorm::gpu::WIDTH_MAX {
        let found = format!("heads of {} and {} hidden", d.head_dim, d.hidden);
        return refused("a model of this width", found, "heads of up to 128, and up to 16,384 hidden");
    }
    Ok(())
}

/// Every buffer that training takes, by name; their bytes add up to the one allocation.
pub fn buffers(d: &Dims, places: &Places, hold: Hold, limits: Limits) -> Vec<Named> {
    let mut arena = Arena::counting();
    Parts::take(&mut arena, d, places, hold, limits);
    arena.named().to_vec()
}

impl Engine {
    /// Takes the memory and fills the weights; what is trained begins at `params`.
    ///
    /// # Errors
    /// A model or method that does not run there, too little memory, a damaged file.
    pub fn open(
        gpu: &Arc<Gpu>,
        d: &Dims,
        places: &Places,
        hold: Hold,
        limits: Limits,
        source: &Source,
        params: &[f32],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Engine, Error> {
        refuse(d, places)?;
        let bytes = buffers(d, places, hold, limits).iter().map(|b| b.bytes).sum();
        let ceiling = gpu.ceiling()?;
        let mut arena = Arena::new(gpu, bytes)?;
        let mut parts = Parts::take(&mut arena, d, places, hold, limits);
        parts.weights.fill(gpu, source, d, progress)?;
        let table = rope::gpu::Table::new(gpu, &d.table(limits.positions))?;
        let spread = parts.trained.spread(gpu, &mut parts.weights)?;
        let engine = Engine { gpu: gpu.clone(), d: d.clone(), parts, table, rates: adamw::gpu::Rates::new(gpu)?, ceiling, spread };
        let zeros = vec![0f32; params.len()];
        engine.set(params, &zeros, &zeros)?;
        gpu.wait()?;
        Ok(engine)
    }

    /// The device.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Seconds that a micro-batch takes at the speed of light.
    pub fn light(&self, places: &Places, b: &MicroBatch) -> f64 {
        light::operations(&self.d, places, b) / self.ceiling
    }

    /// Sets parameters and both moments.
    ///
    /// # Errors
    /// When a copy fails.
    pub fn set(&self, params: &[f32], m: &[f32], v: &[f32]) -> Result<(), Error> {
        let t = &self.parts.trained;
        for (to, from) in [(&t.params, params), (&t.m, m), (&t.v, v)] {
            to.write(from)?;
        }
        self.spread.run(&self.gpu);
        Ok(self.gpu.wait()?)
    }

    /// Copies parameters and both moments to the host.
    ///
    /// # Errors
    /// What failed on the device.
    pub fn get(&self, params: &mut [f32], m: &mut [f32], v: &mut [f32]) -> Result<(), Error> {
        let t = &self.parts.trained;
        for (from, to) in [(&t.params, params), (&t.m, m), (&t.v, v)] {
            from.read_into(to)?;
        }
        Ok(())
    }

    /// The gradient since [`Engine::clear`].
    ///
    /// # Errors
    /// What failed on the device.
    pub fn gradient(&self) -> Result<Vec<f32>, Error> {
        Ok(self.parts.trained.grads.read()?)
    }

    /// Forgets the gradient.
    pub fn clear(&mut self) {
        self.parts.trained.grads.fill_bytes(0);
    }

    fn pass(&self, batch: &MicroBatch, f: &mut dyn FnMut(&Pass)) -> Result<(), Error> {
        let p = &self.parts;
        let version = attention::gpu::version(self.gpu.about(), self.d.attention());
        let loaded = Packed::new(batch, &self.d, p.long, version).load(&p.batch)?;
        f(&Pass {
            gpu: &self.gpu,
            d: &self.d,
            weights: &p.weights,
            trained: &p.trained,
            room: &p.room,
            table: &self.table,
            batch: &loaded,
        });
        Ok(())
    }

    fn losses_of(&self, batch: &MicroBatch) -> Result<Vec<f64>, Error> {
        let losses = self.parts.room.losses.part(0..batch.targets.len()).read()?;
        Ok(losses.into_iter().map(f64::from).collect())
    }

    /// Forward alone: the loss of every target, times its count.
    ///
    /// # Errors
    /// What failed on the device.
    pub fn losses(&mut self, batch: &MicroBatch) -> Result<Vec<f64>, Error> {
        if batch.targets.is_empty() {
            return Ok(Vec::new());
        }
        self.pass(batch, &mut |s| {
            s.forward();
            s.losses();
        })?;
        self.losses_of(batch)
    }

    /// Forward and backward: adds to the gradient; the loss of every target, times its count.
    ///
    /// # Errors
    /// What failed on the device.
    pub fn losses_and_gradient(&mut self, batch: &MicroBatch, scale: Scale) -> Result<Vec<f64>, Error> {
        if batch.targets.is_empty() {
            return Ok(Vec::new());
        }
        self.parts.scale.write(&[scale.tokens as f32])?;
        self.pass(batch, &mut |s| {
            s.forward();
            s.losses_backward(&self.parts.scale);
            s.backward();
        })?;
        self.losses_of(batch)
    }

    /// As [`Engine::losses_and_gradient`], each loss's gradient multiplied by what `weigh` says once it has seen the losses.
    ///
    /// # Errors
    /// What failed on the device.
    pub fn weighed_gradient(&mut self, batch: &MicroBatch, weigh: &mut dyn FnMut(&[f64]) -> Vec<f64>) -> Result<(), Error> {
        if batch.targets.is_empty() {
            return Ok(());
        }
        let mut failed = None;
        self.parts.scale.write(&[1.0])?;
        self.pass(batch, &mut |s| {
            s.forward();
            s.losses();
            failed = self.losses_of(batch).and_then(|losses| Ok(s.batch.weigh(&weigh(&losses))?)).err();
            s.losses_backward(&self.parts.scale);
            s.backward();
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// The norm of the gradient, which is also what [`Engine::update`] clips to `most` by; 0 for not at all.
    ///
    /// # Errors
    /// What failed on the device.
    pub fn norm(&self, most: f64) -> Result<f64, Error> {
        let p = &self.parts;
        adamw::gpu::squares(&self.gpu, &p.parts, Grads::Wide(&p.trained.grads));
        adamw::gpu::norm(&self.gpu, &p.norm, &p.parts, if most > 0.0 { most as f32 } else { f32::INFINITY });
        Ok(f64::from(p.norm.read()?[0]))
    }

    /// Moves the parameters along the gradient, clipped as [`Engine::norm`] said; as `adamw::step` on the CPU.
    ///
    /// # Errors
    /// When a copy fails.
    pub fn update(&mut self, settings: &adamw::Settings, lr: f64, step: u64) -> Result<(), Error> {
        let (t, clip) = (&self.parts.trained, self.parts.norm.part(1..2));
        self.rates.set(settings, lr, step, 0)?;
        adamw::gpu::step(&self.gpu, &t.params, &t.m, &t.v, &t.grads, &self.rates, &clip);
        self.spread.run(&self.gpu);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{AdapterConfig, Targets};
    use crate::dims::tests::tiny;

    fn bytes(d: &Dims, places: &Places, hold: Hold, limits: Limits) -> usize {
        buffers(d, places, hold, limits).iter().map(|b| b.bytes).sum()
    }

    #[test]
    fn what_is_counted_is_what_a_step_needs() {
        let d = Dims { hidden: 256, heads: 4, kv_heads: 2, head_dim: 64, rotary: 64, intermediate: 512, layers: 4, vocab: 1000, ..tiny() };
        let places = Places::of_adapter(&d, &AdapterConfig::new(16, 32.0, Targets::AllLinear)).expect("places");
        let limits = Limits { tokens: 2048, targets: 100, positions: 512, ..Limits::NONE };
        let all = buffers(&d, &places, Hold::Bf16, limits);
        let of = |name: &str| all.iter().find(|b| b.name == name).map_or(0, |b| b.bytes);
        // qkv 512 x 256, o 256 x 256, gate and up 1,024 x 256, down 256 x 512, ranks 48, 16, 32, 16 around them.
        let layer = (512 + 48) * (256 + 48) + (256 + 16) * (256 + 16) + (1024 + 32) * (256 + 32) + (256 + 16) * (512 + 16);
        assert_eq!(of("weights"), 4 * layer * 2);
        assert_eq!(of("residual"), 4 * 2048 * 256 * 2);
        // The last layer's second half runs for supervised rows only; sixteen divides neither, so both are rounded up.
        assert_eq!(of("gate and up"), (3 * 2048 + 112) * (1024 + 32) * 2);
        assert_eq!(of("trained"), places.len() * 4);
    }

    #[test]
    fn quantised_weights_and_layers_computed_twice_take_less() {
        let d = Dims { hidden: 512, heads: 8, kv_heads: 2, head_dim: 64, rotary: 64, intermediate: 2048, layers: 8, vocab: 1000, ..tiny() };
        let places = Places::of_adapter(&d, &AdapterConfig::new(8, 8.0, Targets::AllLinear)).expect("places");
        let limits = Limits { tokens: 1024, targets: 1024, positions: 512, ..Limits::NONE };
        let [bf16, int8, nf4] = [Hold::Bf16, Hold::Int8, Hold::Nf4].map(|hold| bytes(&d, &places, hold, limits));
        assert!(bf16 > int8 && int8 > nf4, "{bf16} {int8} {nf4}");
        assert!(bytes(&d, &places, Hold::Bf16, Limits { recompute: 8, ..limits }) < bf16);
    }

    #[test]
    fn what_does_not_run_there_is_refused_with_what_does() {
        let d = tiny();
        let lora = |change: fn(&mut AdapterConfig)| {
            let mut config = AdapterConfig::new(2, 2.0, Targets::AllLinear);
            change(&mut config);
            refuse(&d, &Places::of_adapter(&d, &config).expect("places"))
        };
        assert!(lora(|_| {}).is_ok());
        assert!(lora(|c| c.use_dora = true).unwrap_err().to_string().starts_with("DoRA on a GPU is not supported"));
        assert!(lora(|c| c.lora_dropout = 0.1).unwrap_err().to_string().contains("found 0.1, supported 0"));
        let whole = refuse(&d, &Places::of_model(&d)).unwrap_err().to_string();
        assert!(whole.starts_with("training whole matrices on a GPU"), "{whole}");
        assert!(refuse(&Dims { head_dim: 256, ..d.clone() }, &Places::nothing(&d)).is_err());
    }
}
