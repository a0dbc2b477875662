//! What to change when a plan does not fit: each change alone makes it fit.

use crate::ask::Tuning;
use crate::{Ask, Error, GPUS, Gpu, Method, Recompute, plan};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// So many tokens a micro-batch.
    Tokens(usize),
    /// Another method.
    Method(Method),
    /// So many GPUs of the same kind.
    Gpus(usize),
    /// Another GPU.
    Gpu(String),
    /// Leave to the plan what is computed twice.
    Recompute,
}

/// The changes that help, the smallest first; empty if it fits.
///
/// # Errors
/// As [`plan`].
pub fn changes(ask: &Ask) -> Result<Vec<Change>, Error> {
    let now = plan(ask)?;
    let mut all = Vec::new();
    if now.fits {
        return Ok(all);
    }
    if ask.recompute == Recompute::None && plan(&Ask { recompute: Recompute::Auto, ..*ask })?.fits {
        all.push(Change::Recompute);
    }
    if now.max_tokens > 0 {
        all.push(Change::Tokens(now.max_tokens));
    }
    let lighter = match ask.method.recipe(ask.rank, ask.states).tuning {
        Tuning::Full => vec![Method::Lora, Method::Qlora],
        _ if ask.method.storage().is_packed() => vec![],
        _ => vec![Method::Qlora],
    };
    for method in lighter {
        if plan(&Ask { method, ..*ask })?.fits {
            all.push(Change::Method(method));
            break;
        }
    }
    for gpus in [2, 4, 8, 16, 32, 64].into_iter().filter(|n| *n > ask.gpus) {
        if plan(&Ask { gpus, ..*ask })?.fits {
            all.push(Change::Gpus(gpus));
            break;
        }
    }
    let mut larger: Vec<Gpu> = GPUS.iter().filter_map(|n| Gpu::named(n).ok()).filter(|g| g.bytes > ask.gpu.bytes).collect();
    larger.sort_by_key(|g| g.bytes);
    for gpu in larger {
        if plan(&Ask { gpu: &gpu, ..*ask })?.fits {
            all.push(Change::Gpu(gpu.name));
            break;
        }
    }
    Ok(all)
}
