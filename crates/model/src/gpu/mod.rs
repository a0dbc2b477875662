//! Training and answering on an NVIDIA GPU: the decoder of `decoder.rs` once more, over buffers of the device.

mod answer;
mod balance;
mod batch;
mod dora;
mod drops;
mod experts;
mod fill;
mod gradient;
pub mod light;
mod pass;
mod refuse;
mod room;
mod trained;
mod weights;
mod whole;
mod wide;

pub use answer::{Answerer, Steps, With, buffers_to_answer, hold_to_answer, refuse_to_answer};
pub use fill::Source;
pub use refuse::refuse;
pub use weights::Hold;

use crate::decoder::{Limits, Scale};
use crate::{Dims, Error, MicroBatch, Places};
use balance::Balance;
use batch::Packed;
use dora::Dora;
use drops::Drops;
use engine::cuda::staging::Staging;
use engine::cuda::{Arena, Buffer, Gpu, Named};
use engine::ops::adamw::gpu::Grads;
use engine::ops::rows::Spread;
use engine::ops::{adamw, attention, cross_entropy, rope};
use pass::Pass;
use room::Room;
use std::cell::RefCell;
use std::sync::Arc;
use trained::Trained;
use weights::{ROWS, Weights};
use whole::Whole;

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
    /// By which micro-batches are copied.
    staging: RefCell<Staging>,
}

/// Everything that lies in the arena.
struct Parts {
    weights: Weights,
    trained: Trained,
    whole: Whole,
    drops: Drops,
    dora: Dora,
    room: Room,
    batch: Buffer<u32>,
    long: u32,
    scale: Buffer<f32>, // (1): what every loss's gradient is multiplied by
    norm: Buffer<f32>,  // (2): the gradient's norm, and what clips it
    parts: Buffer<f64>, // sums of squares of its parts
    loss: Buffer<f64>,  // (1): all losses since the gradient was cleared, each times its count
}

impl Parts {
    fn take(arena: &mut Arena, d: &Dims, places: &Places, hold: Hold, limits: Limits) -> Parts {
        // Rows of 8-bit products are computed in sixteens.
        let limits = Limits { tokens: limits.tokens.next_multiple_of(ROWS), targets: limits.targets.next_multiple_of(ROWS), ..limits };
        let weights = Weights::take(arena, d, places, hold, limits.tokens.max(limits.targets));
        let trained = Trained::take(arena, d, places);
        let room = Room::take(arena, d, places, limits);
        let whole = Whole::take(arena, d, places, &room, &weights, &trained);
        let sums = adamw::gpu::parts(trained.grads.len()) + whole.parts();
        Parts {
            weights,
            trained,
            whole,
            drops: Drops::take(arena, d, places, limits),
            dora: Dora::take(arena, d, places, limits),
            room,
            batch: arena.take("micro-batch", "tokens, targets, and who sees whom", Packed::words(limits)),
            long: limits.positions as u32,
            scale: arena.take("norm of the gradient", "and its parts", 1),
            norm: arena.take("norm of the gradient", "and its parts", 2),
            parts: arena.take("norm of the gradient", "and its parts", sums),
            loss: arena.take("losses", "one a supervised row", 1),
        }
    }
}

/// Every buffer that training takes, by name; their bytes add up to the one allocation.
pub fn buffers(d: &Dims, places: &Places, hold: Hold, limits: Limits) -> Vec<Named> {
    let mut arena = Arena::counting();
    Parts::take(&mut arena, d, places, hold, limits);
    arena.named().to_vec()
}

impl Engine {
    /// Takes the memory and fills the weights; what is trained begins at `params`. Where that is every weight, `source` is read
    /// only if there are none.
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
        refuse(d, places, hold)?;
        let bytes = buffers(d, places, hold, limits).iter().map(|b| b.bytes).sum();
        let ceiling = gpu.ceiling()?;
        let mut arena = Arena::new(gpu, bytes)?;
        let mut parts = Parts::take(&mut arena, d, places, hold, limits);
        // Weights that are all trained are all in `params`.
        if !places.is_model() || params.is_empty() {
            parts.weights.fill(gpu, source, d, progress)?;
        }
        parts.whole.open(gpu, limits.tokens)?;
        let table = rope::gpu::Table::new(gpu, &d.table(limits.positions))?;
        let spread = parts.trained.spread(gpu, &mut parts.weights, parts.whole.entries())?;
        parts.dora.begin(gpu, &parts.weights)?;
        let (rates, staging) = (adamw::gpu::Rates::new(gpu)?, Staging::new(gpu, 4 * Packed::words(limits))?);
        let engine = Engine { gpu: gpu.clone(), d: d.clone(), parts, table, rates, ceiling, spread, staging: RefCell::new(staging) };
        engine.parts.trained.shares.clear();
        engine.start(params)?;
        Ok(engine)
    }

    /// Begins with `params` and no moments.
    fn start(&self, params: &[f32]) -> Result<(), Error> {
        if !self.parts.whole.is_model() {
            let zeros = vec![0f32; params.len()];
            return self.set(params, &zeros, &zeros);
        }
        self.parts.whole.start(params)?;
        self.spread();
        Ok(self.gpu.wait()?)
    }

    /// Brings what is trained, as it is now, to where products read it.
    fn spread(&self) {
        self.parts.weights.forget();
        self.spread.run(&self.gpu);
        self.parts.whole.narrow_tables(&self.gpu);
        self.parts.dora.measure(&self.gpu, &self.parts.weights, &self.parts.trained.params);
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
        if self.parts.whole.is_model() {
            self.parts.whole.set([params, m, v])?;
        } else {
            for (to, from) in [(&t.params, params), (&t.m, m), (&t.v, v)] {
                to.write(from)?;
            }
        }
        self.spread();
        Ok(self.gpu.wait()?)
    }

    /// Copies parameters and both moments to the host.
    ///
    /// # Errors
    /// What failed on the device.
    pub fn get(&self, params: &mut [f32], m: &mut [f32], v: &mut [f32]) -> Result<(), Error> {
        let t = &self.parts.trained;
        if self.parts.whole.is_model() {
            return self.parts.whole.get([params, m, v]);
        }
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
        if self.parts.whole.is_model() { self.parts.whole.gradient() } else { Ok(self.parts.trained.grads.read()?) }
    }

    /// Forgets the gradient and [`Engine::loss`].
    pub fn clear(&mut self) {
        self.parts.trained.grads.fill_bytes(0);
        self.parts.loss.fill_bytes(0);
        self.parts.whole.clear();
    }

    /// The sum of all losses, each times its count, of [`Engine::submit`] since [`Engine::clear`].
    ///
    /// # Errors
    /// What failed on the device.
    pub fn loss(&self) -> Result<f64, Error> {
        Ok(self.parts.loss.read()?[0])
    }

    fn pass(&self, batch: &MicroBatch, f: &mut dyn FnMut(&Pass)) -> Result<(), Error> {
        let p = &self.parts;
        let version = attention::gpu::version(self.gpu.about(), self.d.attention());
        p.drops.draw(batch)?;
        let loaded = Packed::new(batch, &self.d, p.long, version).load(&mut self.staging.borrow_mut(), &p.batch)?;
        f(&Pass {
            gpu: &self.gpu,
            d: &self.d,
            weights: &p.weights,
            trained: &p.trained,
            whole: &p.whole,
            drops: &p.drops,
            dora: &p.dora,
            room: &p.room,
            table: &self.table,
            batch: &loaded,
            examples: &batch.rows,
        });
        Ok(())
    }

    fn losses_of(&self, batch: &MicroBatch) -> Result<Vec<f64>, Error> {
        let losses = self.parts.room.losses.part(0..batch.targets.len()).read()?;
        Ok(losses.into_iter().map(f64::from).collect())
    }

    /// Forward alone: the loss of every target, times its count. In full fine-tuning the gradient may lie where this writes:
    /// [`Engine::update`] comes first.
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

    /// Asks for forward and backward, which add to the gradient and to [`Engine::loss`]; does not wait for them.
    ///
    /// # Errors
    /// When a copy fails; what fails later is told by the next call that waits.
    pub fn submit(&mut self, batch: &MicroBatch, scale: Scale) -> Result<(), Error> {
        if batch.targets.is_empty() {
            self.balances().for_each(|b| b.borrow_mut().forget());
            return Ok(());
        }
        self.parts.scale.write(&[scale.tokens as f32])?;
        self.parts.whole.begin(&batch.tokens, self.d.vocab)?;
        self.pass(batch, &mut |s| {
            s.forward();
            s.losses_backward(&self.parts.scale);
            cross_entropy::gpu::sum(s.gpu, &self.parts.loss, &s.room.losses.part(0..batch.targets.len()));
            s.backward(scale.examples);
        })
    }

    /// Load-balancing loss of the experts in the last [`Engine::submit`], its coefficient included: the sum over the
    /// examples.
    pub fn balance(&self) -> f64 {
        self.balances().map(|b| b.borrow().loss()).sum()
    }

    /// The one load-balancing loss, where it is asked for.
    fn balances(&self) -> impl Iterator<Item = &RefCell<Balance>> {
        self.parts.room.experts.iter().flat_map(|e| &e.balance)
    }

    /// As [`Engine::submit`], each loss's gradient multiplied by what `weigh` says once it has seen the losses;
    /// the load-balancing loss has no part in it.
    ///
    /// # Errors
    /// What failed on the device.
    pub fn weighed_gradient(&mut self, batch: &MicroBatch, weigh: &mut dyn FnMut(&[f64]) -> Vec<f64>) -> Result<(), Error> {
        if batch.targets.is_empty() {
            return Ok(());
        }
        let mut failed = None;
        self.parts.scale.write(&[1.0])?;
        self.parts.whole.begin(&batch.tokens, self.d.vocab)?;
        self.pass(batch, &mut |s| {
            s.forward();
            s.losses();
            failed = self.losses_of(batch).and_then(|losses| Ok(s.batch.weigh(&weigh(&losses))?)).err();
            s.losses_backward(&self.parts.scale);
            s.backward(0.0);
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// The norm of the gradient, which is also what [`Engine::update`] clips to `most` by; 0 for not at all.
    ///
    /// # Errors
    /// What failed on the device.
    pub fn norm(&self, most: f64) -> Result<f64, Error> {
        let p = &self.parts;
        let own = adamw::gpu::parts(p.trained.grads.len());
        adamw::gpu::squares(&self.gpu, &p.parts.part(0..own), Grads::Wide(&p.trained.grads));
        p.whole.squares(&self.gpu, &p.parts.part(own..p.parts.len()));
        adamw::gpu::norm(&self.gpu, &p.norm, &p.parts, if most > 0.0 { most as f32 } else { f32::INFINITY });
        Ok(f64::from(p.norm.read()?[0]))
    }

    /// Moves the parameters along the gradient, clipped as [`Engine::norm`] said; as `adamw::step` on the CPU. What is rounded
    /// at random is a function of `seed`, the step and the element.
    ///
    /// # Errors
    /// When a copy fails.
    pub fn update(&mut self, settings: &adamw::Settings, lr: f64, step: u64, seed: u64) -> Result<(), Error> {
        let (t, clip) = (&self.parts.trained, self.parts.norm.part(1..2));
        self.rates.set(settings, lr, step, seed)?;
        adamw::gpu::step(&self.gpu, &t.params, &t.m, &t.v, &t.grads, &self.rates, &clip);
        self.parts.whole.step(&self.gpu, &self.rates, &clip);
        self.spread();
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
    fn full_fine_tuning_takes_ten_bytes_a_parameter_or_six_where_nothing_is_added_up() {
        let d = Dims { hidden: 256, heads: 4, kv_heads: 2, head_dim: 64, rotary: 64, intermediate: 512, layers: 4, vocab: 1000, ..tiny() };
        for d in [d.clone(), Dims { tied: true, qkv_bias: true, qk_norm: true, ..d }] {
            let places = Places::of_model(&d);
            let limits = Limits { tokens: 512, targets: 512, positions: 512, ..Limits::NONE };
            let all = buffers(&d, &places, Hold::Bf16, Limits { micro_batches: 2, ..limits });
            let size = |all: &[Named], name: &str| all.iter().find(|b| b.name == name).map_or(0, |b| b.bytes);
            let of = |name: &str| size(&all, name);
            let few = of("norms") / 4 + of("biases as they are trained") / 4;
            let matrices = places.len() - few;
            assert!(few > 0 && few < places.len() / 100, "{few}");
            assert_eq!(of("weights") + of("embedding and head"), 2 * matrices);
            assert_eq!(of("weights' moments"), 4 * matrices);
            assert_eq!(of("moments of norms and biases"), 8 * few);
            let head = 256 * 1000;
            assert_eq!(of("weights' gradient"), 4 * (matrices - head));
            assert_eq!(of("gradient of head, norms, biases"), 4 * (few + head));
            // Where every step is one micro-batch, the head alone is added to in parts, and the gradient of a layer lies over
            // what the one above kept, as far as that reaches.
            let one = buffers(&d, &places, Hold::Bf16, limits);
            let layer = 2 * ((512 + 256) * 256 + (1024 + 512) * 256);
            let kept = |tokens: usize| {
                let heads = if d.qk_norm { 6 * 64 * 2 + 6 * 4 } else { 0 };
                tokens * (256 * 2 + 4 + 512 * 2 + heads + 256 * 2 + 4 * 4 + 256 * 2 + 4 + 1024 * 2)
            };
            assert!(kept(512) > layer && kept(64) < layer);
            let embed = if d.tied { 0 } else { 2 * head };
            assert_eq!(size(&one, "weights' gradient"), embed + layer);
            assert_eq!(size(&one, "gradient of head, norms, biases"), 4 * (few + head));
            let few_tokens = Limits { tokens: 64, targets: 64, ..limits };
            assert_eq!(size(&buffers(&d, &places, Hold::Bf16, few_tokens), "weights' gradient"), embed + layer + 3 * (layer - kept(64)));
            // Two layers computed again share a place, in which no gradient lies.
            let again = Limits { recompute: 2, ..limits };
            assert_eq!(size(&buffers(&d, &places, Hold::Bf16, again), "weights' gradient"), embed + 2 * layer);
            assert_eq!(bytes(&d, &places, Hold::Bf16, Limits { micro_batches: 9, ..limits }), all.iter().map(|b| b.bytes).sum::<usize>());
            assert_eq!((of("trained"), of("moments"), of("gradient")), (0, 0, 0));
        }
    }

    #[test]
    fn dropout_takes_one_input_and_a_key_a_row() {
        let d = Dims { hidden: 256, heads: 4, kv_heads: 2, head_dim: 64, rotary: 64, intermediate: 512, layers: 4, vocab: 1000, ..tiny() };
        let of = |share: f64| {
            let config = AdapterConfig { lora_dropout: share, ..AdapterConfig::new(16, 32.0, Targets::AllLinear) };
            let places = Places::of_adapter(&d, &config).expect("places");
            buffers(&d, &places, Hold::Bf16, Limits { tokens: 2048, targets: 512, positions: 512, ..Limits::NONE })
        };
        let bytes = |all: &[Named], name: &str| all.iter().find(|b| b.name == name).map_or(0, |b| b.bytes);
        let [with, without] = [of(0.1), of(0.0)];
        assert_eq!((bytes(&with, "dropped"), bytes(&with, "masks")), (2048 * 512 * 2, (2048 + 512) * 8 + 256));
        assert_eq!((bytes(&without, "dropped"), bytes(&without, "masks")), (0, 0));
    }

    #[test]
    fn a_table_that_is_trained_alone_is_no_longer_tied() {
        let d = Dims { tied: true, ..tiny() };
        let of = |places: &Places| {
            let all = buffers(&d, places, Hold::Bf16, Limits { tokens: 64, targets: 64, positions: 64, ..Limits::NONE });
            all.iter().find(|b| b.name == "embedding and head").map_or(0, |b| b.bytes)
        };
        let lora = |saved: &[&str]| {
            let mut config = AdapterConfig::new(2, 2.0, Targets::AllLinear);
            config.modules_to_save = saved.iter().map(|name| name.to_string()).collect();
            Places::of_adapter(&d, &config).expect("places")
        };
        let table = (d.vocab * d.hidden * 2).next_multiple_of(256);
        assert_eq!([of(&lora(&[])), of(&Places::of_model(&d))], [table; 2]);
        assert_eq!([of(&lora(&["lm_head"])), of(&lora(&["embed_tokens"]))], [2 * table; 2]);
    }

    #[test]
    fn magnitudes_take_outputs_and_a_gradient_of_the_residual_stream() {
        let d = Dims { hidden: 256, heads: 4, kv_heads: 2, head_dim: 64, rotary: 64, intermediate: 512, layers: 4, vocab: 1000, ..tiny() };
        let config = AdapterConfig { use_dora: true, ..AdapterConfig::new(16, 32.0, Targets::AllLinear) };
        let places = Places::of_adapter(&d, &config).expect("places");
        let all = buffers(&d, &places, Hold::Bf16, Limits { tokens: 2048, targets: 512, positions: 512, ..Limits::NONE });
        let of = |name: &str| all.iter().find(|b| b.name == name).map_or(0, |b| b.bytes);
        assert_eq!((of("unscaled"), of("scaled")), (2048 * 256 * 2, 2048 * (256 + 16) * 2));
        // Of qkv, o, gate and up, down; then P of gate and up and G of q, k and v's 48 ranks.
        let outputs = 512 + 256 + 1024 + 256;
        assert_eq!(of("lengths"), 4 * 3 * outputs * 4 + 1024 * 32 * 4 + 48 * 48 * 4);
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
    fn experts_are_counted_with_the_rows_that_they_may_get() {
        let experts = Some(formats::config::Experts { count: 8, per_token: 2, aux_coef: 0.0 });
        let d = Dims { hidden: 256, heads: 4, kv_heads: 2, head_dim: 64, rotary: 64, intermediate: 512, layers: 2, experts, ..tiny() };
        let places = Places::of_adapter(&d, &AdapterConfig::new(16, 32.0, Targets::AllLinear)).expect("places");
        let limits = Limits { tokens: 1024, targets: 96, positions: 512, ..Limits::NONE };
        let of = |hold: Hold, limits: Limits, name: &str| {
            buffers(&d, &places, hold, limits).iter().find(|b| b.name == name).map_or(0, |b| b.bytes)
        };
        // Experts have no adapter, so nothing lies around them: gate and up 1,024 x 256, down 256 x 512 of each.
        let layer = (512 + 48) * (256 + 48) + (256 + 16) * (256 + 16) + 8 * (1024 * 256 + 256 * 512);
        assert_eq!(of(Hold::Bf16, limits, "weights"), 2 * layer * 2);
        assert_eq!(of(Hold::Bf16, limits, "router"), 2 * 8 * 256 * 4);
        // Two of eight for each row, and up to 63 rows of zeros for each expert, in steps of 64.
        let [most, few] = [(2 * 1024 + 8 * 63) / 64 * 64, (2 * 96 + 8 * 63) / 64 * 64];
        assert_eq!(of(Hold::Bf16, limits, "gate and up"), (most + few) * 1024 * 2);
        assert_eq!(of(Hold::Bf16, limits, "silu(gate)*up"), most * 512 * 2);
        assert_eq!(of(Hold::Bf16, limits, "expert inputs"), most * 256 * 2);
        // The load-balancing loss looks at every row of the last layer too.
        assert_eq!(of(Hold::Bf16, Limits { balance: 0.01, ..limits }, "gate and up"), 2 * most * 1024 * 2);
        // One expert at a time is decoded, and none is larger than gate and up.
        assert_eq!(of(Hold::Nf4, limits, "decoded weight"), 1024 * 256 * 2);
        assert!(refuse(&d, &places, Hold::Bf16).is_ok());
        let whole = refuse(&d, &Places::of_model(&d), Hold::Bf16).unwrap_err().to_string();
        assert!(whole.contains("found 8 of them, supported LoRA without dropout"), "{whole}");
    }
}
