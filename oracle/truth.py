"""What transformers and PEFT say about a model: logits, loss and the gradient of every trained tensor, in float64.

transformers computes norms, softmax, rotary angles and the router in float32 whatever the model's type. `float64` widens
those too: while it lasts, `torch.float32` and `.float()` mean float64. That this reaches every operation is not assumed:
`judged` compares the gradients with finite differences, which a single float32 in between would spoil, and all numbers with
those of the same model in plain float32. Seed 13 for the directions of the differences. torch 2.15.0, transformers 5.23.0, peft 0.21.2.
"""
import contextlib
import unittest.mock
import torch
from peft import PeftModel
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

import families


@contextlib.contextmanager
def float64():
    with unittest.mock.patch.multiple(torch, float32=torch.float64, float=torch.float64), \
         unittest.mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        yield


def opened(family, weights, adapter, dtype):
    """The model with these weights and, if given, the adapter folder on it. Without one, every parameter is trained."""
    with float64() if dtype == torch.float64 else contextlib.nullcontext():
        model = families.model(family, dtype)  # makes its rotary tables; files are read outside, where float32 means itself
    missing, unexpected = model.load_state_dict({k: v.to(dtype) for k, v in weights.items()}, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    if adapter:
        model = PeftModel.from_pretrained(model, str(adapter), is_trainable=True).to(dtype)
    return model.eval()


def rows(model, ids, learned):
    """Logits of the positions that predict a supervised token, in float32 at least, and those tokens."""
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1].float()
    picked = torch.tensor(learned[1:])
    return logits[picked], torch.tensor(ids[1:])[picked]


def supervised(model, batch, aux=0.0):
    """Mean cross-entropy over all supervised tokens, one example at a time: nothing is padded, and longrope picks its factors
    by the length of the example alone. With `aux`, plus aux times the mean over examples of transformers' load balancing loss;
    an example's last token predicts nothing and is not counted there."""
    logits, want = zip(*(rows(model, e["ids"], e["learned"]) for e in batch["examples"]))
    logits, want = torch.cat(logits), torch.cat(want)
    loss = torch.nn.functional.cross_entropy(logits, want)
    out = {"logits": logits}
    if aux:
        parts = []
        for e in batch["examples"]:
            routed = model(input_ids=torch.tensor([e["ids"][:-1]]), use_cache=False, output_router_logits=True).router_logits
            parts.append(load_balancing_loss_func(routed, num_experts=4, top_k=2))
        out["aux"] = torch.stack(parts).mean().reshape(1)
        loss = loss + aux * out["aux"][0]
    return loss, out


def log_probability(model, prompt, answer):
    logits, want = rows(model, prompt + answer, [False] * len(prompt) + [True] * len(answer))
    return logits.log_softmax(-1).gather(1, want[:, None]).sum()


def preference(model, batch, beta=0.1):
    """DPO's sigmoid loss, mean over pairs; the reference is the model with its adapter switched off. Log-probabilities are
    sums over the tokens of an answer: columns policy chosen, policy rejected, reference chosen, reference rejected."""
    answers = [(p["prompt"], p[side]) for p in batch["pairs"] for side in ("chosen", "rejected")]
    policy = torch.stack([log_probability(model, *a) for a in answers]).reshape(-1, 2)
    with torch.no_grad(), model.disable_adapter():
        reference = torch.stack([log_probability(model, *a) for a in answers]).reshape(-1, 2)
    margin = (policy - reference) @ torch.tensor([1.0, -1.0], dtype=policy.dtype)
    loss = -torch.nn.functional.logsigmoid(beta * margin).mean()
    return loss, {"logps": torch.cat([policy, reference], dim=1)}


def asked(model, objective, batch):
    """Loss, further outputs, and gradients by tensor name as PEFT stores it or, without an adapter, as the parameter is called."""
    loss, out = objective(model, batch)
    loss.backward()
    trained = {n.replace(".default", "").replace(".modules_to_save", ""): p for n, p in model.named_parameters() if p.requires_grad}
    assert trained and all(p.grad is not None for p in trained.values()), [n for n, p in trained.items() if p.grad is None]
    grads = {n: p.grad.detach() for n, p in trained.items()}
    return loss.detach(), {k: v.detach() for k, v in out.items()}, grads


def stored(family, adapter, grads):
    """Gradients under the names that tensors have in files: PEFT holds magnitudes as `.weight` of a module and saves them without."""
    if adapter is None:
        return families.stored_names(family, grads)
    return {n.removesuffix(".weight") if n.endswith("magnitude_vector.weight") else n: g for n, g in grads.items()}


def far(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def judged(family, weights, adapter, objective, batch, constants=False):
    """The truth in float64, after it stood two tests; `constants` says that something is held constant in the backward pass
    (DoRA's norm), which finite differences cannot know. Returns float32 tensors and the loss in float64."""
    model = opened(family, weights, adapter, torch.float64)
    with float64():
        loss, out, grads = asked(model, objective, batch)
        if not constants:
            g = torch.Generator().manual_seed(13)
            trained = [p for p in model.parameters() if p.requires_grad]
            steps = [torch.randn(p.shape, generator=g, dtype=torch.float64) for p in trained]
            slope = sum((p.grad * s).sum() for p, s in zip(trained, steps)).item()
            shift = lambda by: [p.data.add_(s, alpha=by) for p, s in zip(trained, steps)]
            with torch.no_grad():
                shift(1e-6); up = objective(model, batch)[0].item()
                shift(-2e-6); down = objective(model, batch)[0].item()
            error = abs((up - down) / 2e-6 - slope) / sum(p.grad.square().sum() for p in trained).sqrt().item()
            assert error < 1e-7, f"finite differences: {error:e}"
    plain, plain_out, plain_grads = asked(opened(family, weights, adapter, torch.float32), objective, batch)
    errors = {n: far(plain_grads[n], g) for n, g in grads.items()} | {n: far(plain_out[n], v) for n, v in out.items()}
    worst = max(errors, key=errors.get)
    assert errors[worst] < 2e-5 and far(plain, loss) < 1e-6, (worst, errors[worst])
    tensors = {n: v.to(torch.float32).contiguous() for n, v in out.items()} | {"loss": loss.reshape(1)}
    return tensors, grads, errors[worst]
