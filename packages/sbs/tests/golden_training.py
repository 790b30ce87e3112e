"""Golden checks of initial values, losses, optimisers, and the trained network."""

import numpy as np
import torch
from golden_file import Golden
from sbs import MultiplicativeAdam, SbSLayer, TimeCourse, adam, cross_entropy, mixed, pooling_weights
from sbs.config import rounded_batch_size
from sbs.model.weights import constrained, normalise
from torch import Tensor, nn


def check_stack_loss(g: Golden, last: str, v11: bool) -> None:
    h, labels = g[last + "h"].double().requires_grad_(), g["labels"]
    m, k = g.number("loss_coeff_mse"), g.number("loss_coeff_kldiv")
    form = "v1.1" if v11 else "v1"
    loss = mixed(h, labels, form, m, k)
    loss.backward()
    assert h.grad is not None
    tolerance = 1e-6 if v11 else 1e-12
    g.close("loss", loss, tolerance)
    g.close_to_largest(last + "grad_output", h.grad, 1e-5 if v11 else 1e-10, "loss")
    single = h.detach()
    elements = [mixed(single[:, :, 0, 0], labels, form, *pair) for pair in ((1.0, 0.0), (0.0, 1.0))]
    for key, mean in zip(("loss_mse_elements", "loss_kl_elements"), elements, strict=True):
        assert abs(float(g[key].double().mean() - mean)) < tolerance, key


def check_loss(g: Golden) -> None:
    labels = g["labels"]
    names = [key.removesuffix("_coeffs") for key in g.arrays if key.endswith("_coeffs")]
    assert names
    for name in names:
        m, k = g[name + "_coeffs"].tolist()
        for form, suffix in (("v1", ""), ("v1.1", "_v11"), ("v2", "_v2")):
            h = g["h"].clone().requires_grad_()
            loss = mixed(h, labels, form, m, k)  # type: ignore[arg-type]
            loss.backward()
            assert h.grad is not None
            g.close(f"{name}_loss{suffix}", loss, 1e-12 * max(1.0, loss.item()))
            g.close_to_largest(f"{name}_grad_h{suffix}", h.grad, 1e-12)
    h = g["h"].clone().requires_grad_()
    loss = cross_entropy(h, labels)
    loss.backward()
    assert h.grad is not None
    g.close("v2_xent_loss", loss, 1e-12)
    g.close_to_largest("v2_xent_grad_h", h.grad, 1e-12)


def check_params(g: Golden) -> None:
    for key in g.arrays:
        if key.startswith("pool_weights_k"):
            kernel, neurons = key.removeprefix("pool_weights_k").split("_n")
            size = (int(kernel[0]), int(kernel[1]))
            g.close(key, pooling_weights(int(neurons), size), 1e-7)
        if key.startswith("h_initial_"):
            layer = SbSLayer(1, int(key.removeprefix("h_initial_")), (3, 3), (2, 2), 5)
            g.close(key, layer.h_initial, 0.0)
    height, width = g["eps_init_default"].shape
    layer = SbSLayer(1, 2, (height, width), (1, 1), 5)
    initial = layer.epsilon_xy.detach()
    # The original's array shared memory with its parameter, so the file may hold the last step's values.
    aliased = torch.equal(g["eps_init_default"], g["adam_eps_after"][-1])
    g.close("eps_init_default", g["adam_eps_after"][-1] if aliased else initial, 1e-8)
    g.close("w_set", normalise(g["w_raw"]), 1e-14)
    layer = SbSLayer(g["w_raw"].shape[0], g["w_raw"].shape[1], (1, 1), (1, 1), 5)
    layer.weights = g["w_raw"]
    g.close("w_set", layer.weights, 1e-7, "layer")
    _adam(g)
    course = TimeCourse("cooldown", 12, 25.0).values(20)
    g.close("epsilon_t_20_12_25", course, 0.0)
    g.close("epsilon_t_8_defaultcooldown", TimeCourse("cooldown", 0, 25.0).values(8), 0.0)
    assert rounded_batch_size(500, 3) == int(g["batch_size_500_cpu3"])
    assert rounded_batch_size(3, 7) == int(g["batch_size_3_cpu7"])
    assert 2.0 * rounded_batch_size(500, 3) == g.number("update_after_x_pattern")


def _adam(g: Golden) -> None:
    weights, epsilon = (
        nn.Parameter(g["w_set"].clone()),
        nn.Parameter(torch.full_like(g["eps_init_default"], 0.1)),
    )
    optimizers = [adam([weights], g.number("adam_lr_w")), adam([epsilon], g.number("adam_lr_eps"))]
    steps: dict[str, list[Tensor]] = {"adam_w_after_step": [], "adam_w_after_norm": [], "adam_eps_after": []}
    for grad_w, grad_e in zip(g["adam_grads_w"], g["adam_grads_eps"], strict=True):
        weights.grad, epsilon.grad = grad_w.clone(), grad_e.clone()
        for optimizer in optimizers:
            optimizer.step()
        with torch.no_grad():
            steps["adam_w_after_step"].append(weights.clone())
            weights.copy_(constrained(weights, g.number("threshold_w"), "norm-first"))
            steps["adam_w_after_norm"].append(weights.clone())
            epsilon.clamp_(min=g.number("threshold_eps"))
            steps["adam_eps_after"].append(epsilon.clone())
    for key, values in steps.items():
        g.close(key, torch.stack(values), 1e-12)
    g.close("eps_mean", epsilon.mean().expand(epsilon.shape), 1e-12)


def check_multiplicative_adam(g: Golden) -> None:
    w, b = nn.Parameter(g["w0"].clone()), nn.Parameter(g["b0"].clone())
    optimizer = MultiplicativeAdam(
        [{"params": [w]}, {"params": [b], "multiplicative": False}], lr=g.number("lr")
    )
    after: list[tuple[Tensor, Tensor]] = []
    for grad_w, grad_b in zip(g["grads_w"], g["grads_b"], strict=True):
        w.grad, b.grad = grad_w.clone(), grad_b.clone()
        optimizer.step()
        after.append((w.detach().clone(), b.detach().clone()))
    g.close("w_after", torch.stack([pair[0] for pair in after]), 1e-12)
    g.close("b_after", torch.stack([pair[1] for pair in after]), 1e-12)


def check_trained(g: Golden) -> None:
    """The published V2 network: accuracy, and z-scores of layer 0 against the original's runs."""
    spikes = int(g["number_of_spikes"])
    images = g["images"][:, 2:-2, 2:-2].unsqueeze(1).float() / 255.0 + 1e-20
    network, first = _v2_network(g, spikes)
    runs = int(g["number_of_runs"])
    torch.manual_seed(11)
    with torch.no_grad():
        ours = torch.stack([first(images[:8]) for _ in range(runs)]).double()
        outputs = network(images).flatten(1)
    mean, std = g["layer0_mean_first8"].double(), g["layer0_std_first8"].double()
    error = torch.sqrt((std**2 + ours.var(0)) / runs)
    z = ((ours.mean(0) - mean) / error)[error > 1e-5]
    assert abs(float(z.mean())) < 0.05, float(z.mean())
    assert abs(float(z.std()) - 1.06) < 0.06, float(z.std())
    labels = g["labels"].long()
    accuracy = float((outputs.argmax(1) == labels).double().mean())
    published = g["output_mean"].argmax(1)
    assert g["output_std"].shape == outputs.shape
    assert accuracy >= 0.985
    assert (
        accuracy
        >= float(g["accuracy_per_run"].min()) / (100 if g["accuracy_per_run"].max() > 1 else 1) - 0.015
    )
    assert float((outputs.argmax(1) == published).double().mean()) >= 0.985


def _v2_network(g: Golden, spikes: int) -> tuple[nn.Sequential, SbSLayer]:
    sizes = [(24, 5), (10, 5), (3, 3), (1, 1)]
    stages: list[nn.Module] = []
    for index, (size, kernel) in enumerate(sizes):
        weights = g[f"weights_L{index}"]
        layer = SbSLayer(
            weights.shape[0] // kernel**2,
            weights.shape[1],
            (size, size),
            (kernel, kernel),
            spikes,
            "power",
            1.0,
        )
        layer.weights = np.asarray(weights)
        stages.append(layer)
        if index < 2:
            stages.append(nn.AvgPool2d(2))
    assert isinstance(stages[0], SbSLayer)
    return nn.Sequential(*stages), stages[0]
