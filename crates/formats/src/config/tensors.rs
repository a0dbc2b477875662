//! Which tensors a model has, by Hugging Face name.

use super::ModelConfig;

pub(super) fn of(c: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let mut all = vec![("model.embed_tokens.weight".to_string(), vec![c.vocab, c.hidden])];
    for layer in 0..c.layers {
        block(c, &mut |name, shape| all.push((format!("model.layers.{layer}.{name}"), shape)));
    }
    all.push(("model.norm.weight".to_string(), vec![c.hidden]));
    if !c.tied_embeddings {
        all.push(("lm_head.weight".to_string(), vec![c.vocab, c.hidden]));
    }
    all
}

fn block(c: &ModelConfig, add: &mut dyn FnMut(String, Vec<usize>)) {
    let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    add("input_layernorm.weight".into(), vec![c.hidden]);
    let qkv: &[(&str, usize)] = match c.fused_projections {
        true => &[("qkv_proj", q + 2 * kv)],
        false => &[("q_proj", q), ("k_proj", kv), ("v_proj", kv)],
    };
    for (name, rows) in qkv {
        linear(add, &format!("self_attn.{name}"), [*rows, c.hidden], c.qkv_bias);
    }
    if c.qk_norm {
        add("self_attn.q_norm.weight".into(), vec![c.head_dim]);
        add("self_attn.k_norm.weight".into(), vec![c.head_dim]);
    }
    linear(add, "self_attn.o_proj", [c.hidden, q], c.o_bias);
    match &c.experts {
        Some(experts) => {
            add("block_sparse_moe.gate.weight".into(), vec![experts.count, c.hidden]);
            for expert in 0..experts.count {
                for (name, shape) in
                    [("w1", [c.intermediate, c.hidden]), ("w2", [c.hidden, c.intermediate]), ("w3", [c.intermediate, c.hidden])]
                {
                    linear(add, &format!("block_sparse_moe.experts.{expert}.{name}"), shape, false);
                }
            }
        }
        None if c.fused_projections => linear(add, "mlp.gate_up_proj", [2 * c.intermediate, c.hidden], c.mlp_bias),
        None => ["mlp.gate_proj", "mlp.up_proj"].iter().for_each(|n| linear(add, n, [c.intermediate, c.hidden], c.mlp_bias)),
    }
    if c.experts.is_none() {
        linear(add, "mlp.down_proj", [c.hidden, c.intermediate], c.mlp_bias);
    }
    add("post_attention_layernorm.weight".into(), vec![c.hidden]);
}

fn linear(add: &mut dyn FnMut(String, Vec<usize>), name: &str, shape: [usize; 2], bias: bool) {
    add(format!("{name}.weight"), shape.to_vec());
    if bias {
        add(format!("{name}.bias"), vec![shape[0]]);
    }
}
