//! Plans from outside: what must hold for every plan, what the field reports, and the tables of the large models.

#[path = "all/field.rs"]
mod field;
#[path = "all/rules.rs"]
mod rules;
#[path = "all/tables.rs"]
mod tables;

use plan::{Ask, Gpu, Method, Plan, Recompute, States, builtin};

/// A question in short: rank 16, sequences of up to 2,048, as little computed twice as fits.
pub fn plan_of(model: &str, method: &str, gpu: &str, gpus: usize, tokens: usize) -> Plan {
    plan_with(model, method, gpu, gpus, tokens, Recompute::Auto)
}

/// As [`plan_of`], with a choice of what is computed twice.
pub fn plan_with(model: &str, method: &str, gpu: &str, gpus: usize, tokens: usize, recompute: Recompute) -> Plan {
    let (config, gpu) = (builtin(model).unwrap(), Gpu::named(gpu).unwrap());
    let method = Method::named(method).unwrap();
    let longest = 2048.min(tokens);
    plan::plan(&Ask { config: &config, method, gpu: &gpu, gpus, tokens, longest, rank: 16, states: States::Bf16, recompute }).unwrap()
}
