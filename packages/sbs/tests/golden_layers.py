"""Golden checks of one layer: cumulative distribution, spikes, h, gradients."""

from dataclasses import replace

import torch
from golden_file import Golden, geometry_of, maps, rows
from sbs.engines import kernel, reference
from sbs.engines.kernel import Call
from sbs.model.weights import pooling_weights
from sbs.rules.backward import Request, backward_rule
from torch import Tensor

H = 1e-6


def is_pooling(weights: Tensor, channels: int, kernel_size: tuple[int, int]) -> bool:
    wanted = pooling_weights(channels, kernel_size).to(weights.dtype)
    return tuple(weights.shape) == tuple(wanted.shape) and bool((weights - wanted).abs().max() < 1e-6)


def forward(
    g: Golden,
    image: Tensor,
    epsilon_t: Tensor,
    prefix: str = "",
    h_key: str = "h",
    spikes_key: str = "spikes",
) -> None:
    """Check cdf and spikes exactly and h to 1e-6, for kernel and reference, from uniforms and from spikes."""
    geometry, weights = geometry_of(g, prefix), g[prefix + "weights"]
    size = (image.shape[2], image.shape[3])
    grid = geometry.output_size(size)
    uniform, spikes = g[prefix + "uniform"], g[prefix + spikes_key]
    neurons = weights.shape[1]
    h_initial = (
        g[prefix + "h_initial"] if prefix + "h_initial" in g else torch.full((neurons,), 1.0 / neurons)
    )
    epsilon_xy = g[prefix + "epsilon_xy"] if prefix + "epsilon_xy" in g else torch.ones(grid)
    single = image.to(torch.float32)
    if prefix + "cdf" in g:
        g.close(prefix + "cdf", maps(reference.cumulative(geometry.patches(single)), len(image), grid), 0.0)
    call = Call(
        geometry,
        epsilon_t,
        g.number("epsilon_0"),
        h_initial,
        forgetting_offset=g.number("forgetting_offset") if "forgetting_offset" in g else 0.0,
        one_hot=is_pooling(weights, image.shape[1], geometry.kernel),
    )
    assert kernel.kernel_available(), "the golden checks need the compiled kernel"
    for engine, isas in (("kernel", ("avx512", "avx2", "portable")), ("reference", ("auto",))):
        for isa in isas:
            if engine == "kernel" and not kernel.has_instructions(isa):
                continue
            for rule in ("lower", "upper"):
                drawn = replace(call, uniform=uniform, rule=rule, engine=engine, isa=isa, keep_spikes=True)
                h, found = kernel.infer(single, weights.float(), epsilon_xy.float(), drawn)
                assert found is not None
                g.close(prefix + spikes_key, found, 0.0, f"{engine} {isa} {rule}")
                g.close(prefix + h_key, h.permute(0, 3, 1, 2), H, f"{engine} {isa} {rule}")
                if rule == "lower":
                    plain, _ = kernel.infer(
                        single, weights.float(), epsilon_xy.float(), replace(drawn, keep_spikes=False)
                    )
                    assert torch.equal(plain, h) or float((plain - h).abs().max()) < 1e-7
            given = replace(call, spikes=spikes, engine=engine, isa=isa)
            h, _ = kernel.infer(single, weights.float(), epsilon_xy.float(), given)
            g.close(prefix + h_key, h.permute(0, 3, 1, 2), H, f"{engine} {isa} spikes")


def fallback(g: Golden, epsilon_t: Tensor, prefix: str = "", samples_h: str = "h") -> None:
    """Check the stored output of the original's slow path, in which a spike without likelihood still shrinks h."""
    key = prefix + ("h_python_fallback" if samples_h == "h" else samples_h)
    g.close(key, _plain(g, epsilon_t, prefix, skip=False), 2e-5)


def truth(g: Golden, epsilon_t: Tensor) -> None:
    """Check the stored float64 recursion against ours."""
    g.close("h_float64", _plain(g, epsilon_t, "", skip=True), 1e-6)


def _plain(g: Golden, epsilon_t: Tensor, prefix: str, skip: bool) -> Tensor:
    spikes, weights = g[prefix + "spikes"], g[prefix + "weights"].double()
    samples, count, columns, lines = spikes.shape
    trains = rows(spikes).long()
    step = g[prefix + "epsilon_xy"].double().reshape(-1).repeat(samples).unsqueeze(1) * g.number("epsilon_0")
    h = g[prefix + "h_initial"].double().expand(len(trains), -1)
    for time in range(count):
        q = h * weights[trains[:, time]]
        d = q.sum(1, keepdim=True)
        eps = step * float(epsilon_t[time])
        new = (h + eps * torch.where(d > 0, q / d, 0.0)) / (1.0 + eps)
        h = torch.where(d > 0, new, h) if skip else new
    return maps(h, samples, (columns, lines))


def backward(
    g: Golden,
    image: Tensor,
    h: Tensor,
    grad: Tensor,
    prefix: str = "",
    grad_input: str = "grad_input",
    *,
    damped: bool = True,
    normalised: bool = True,
    tolerance: float = 1e-10,
    pooling_guard: bool = False,
) -> None:
    """Check the gradients from the stored h: in float64 tightly for V1, and in float32."""
    geometry, weights = geometry_of(g, prefix), g[prefix + "weights"]
    samples, size = len(image), (image.shape[2], image.shape[3])
    grid = geometry.output_size(size)
    has_epsilon = prefix + "epsilon_xy" in g
    epsilon = g[prefix + "epsilon_xy"] if has_epsilon else torch.ones(grid)
    pooling = is_pooling(weights, image.shape[1], geometry.kernel)
    for dtype, allowed in ((torch.float64, tolerance), (torch.float32, max(tolerance, 1e-4))):
        # The stored h is float32 and sums to 1 +- 1e-7 only, which the tight comparison has to keep.
        request = Request(
            epsilon=has_epsilon, damped=damped, normalised=normalised and dtype == torch.float32
        )
        for one_hot in (False, True) if pooling else (False,):
            result = backward_rule(
                geometry.patches(image.to(torch.float32).to(dtype)),  # the original rounds its input
                weights.to(dtype),
                rows(h).to(dtype),
                rows(grad).to(dtype),
                epsilon,
                g.number("epsilon_0"),
                replace(request, one_hot=one_hot),
            )
            note = f"{dtype} {'one-hot' if one_hot else ''}"
            assert result.patches is not None
            assert result.weights is not None
            g.close_to_largest(grad_input, geometry.fold(result.patches, samples, size), allowed, note)
            loose = 1e-2 if pooling and pooling_guard else allowed
            g.close_to_largest(prefix + "grad_weights", result.weights, loose, note)
            if result.epsilon is not None:
                g.close_to_largest(prefix + "grad_epsilon_xy", result.epsilon, allowed, note)
