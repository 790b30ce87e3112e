"""Every key of every golden file; ``--golden DIR`` checks another folder with files of the same kinds."""

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import golden_layers as layers
import golden_training as training
import pytest
import torch
from golden_file import Golden, geometry_of, maps, rows
from sbs import SbSLayer, TimeCourse, on_off_split
from sbs.engines import kernel, reference
from sbs.engines.kernel import Call

HERE = Path(__file__).parent
SHARED = HERE.parents[2].parent / "shared" / "golden" / "sbs"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "path" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("--golden")
    folders = [Path(chosen)] if chosen else [SHARED, HERE / "golden"]
    files = {path.name: path for folder in folders for path in sorted(folder.glob("*.npz"))}
    if chosen and not files:
        raise pytest.UsageError(f"--golden {chosen}: no .npz files there")
    metafunc.parametrize("path", files.values(), ids=files.keys())


def check_stack(g: Golden) -> None:
    count = sum(key.startswith("L") and key.endswith("_weights") and "grad" not in key for key in g.arrays)
    v11 = g["input"].dtype == torch.float32
    spikes, cooldown = int(g["number_of_spikes"]), int(g["cooldown"])
    course = TimeCourse("cooldown", cooldown, g.number("reduction"))
    g.close("epsilon_t", course.values(spikes), 1e-9)
    training.check_stack_loss(g, f"L{count - 1}_", v11)
    image = g["input"]
    for index in range(count):
        prefix = f"L{index}_"
        layers.forward(g, image, g["epsilon_t"], prefix)
        if prefix + "h_python_fallback" in g:
            layers.fallback(g, g["epsilon_t"], prefix)
        layers.backward(
            g,
            image,
            g[prefix + "h"],
            g[prefix + "grad_output"],
            prefix,
            "grad_input" if index == 0 else f"L{index - 1}_grad_output",
            tolerance=1e-5 if v11 else 1e-10,
            pooling_guard=v11,
        )
        image = g[prefix + "h"]


def check_layer(g: Golden) -> None:
    image, course = g["input"], g["epsilon_t"]
    layers.forward(g, image, course)
    geometry = geometry_of(g)
    grid = geometry.output_size((image.shape[2], image.shape[3]))
    if "output_size" in g:
        assert tuple(g["output_size"].tolist()) == grid
    if "input_unfolded" in g:
        g.close("input_unfolded", maps(geometry.patches(image), len(image), grid), 0.0)
    if "h_python_fallback" in g:
        layers.fallback(g, course)
    if "h_float64" in g:
        layers.truth(g, course)
    if "grad_output" in g:
        v2 = "grad_contributions" in g
        if v2:
            assert g.number("grad_contributions") == len(image) * grid[0] * grid[1]
        single = image.dtype == torch.float32
        layers.backward(
            g, image, g["h"], g["grad_output"], damped=not v2, tolerance=1e-5 if single else 1e-10
        )


def check_alpha(g: Golden) -> None:
    image, iterations = g["input"], int(g["alpha_number_of_iterations"])
    layers.forward(g, image, g["epsilon_t"], h_key="h_without_alpha")
    geometry, size = geometry_of(g), (image.shape[2], image.shape[3])
    from sbs.rules.inference import alpha

    plain = g["h_without_alpha"].permute(0, 2, 3, 1)
    output = plain * alpha(image, plain, g["weights"], geometry, iterations)
    g.close("output", output.permute(0, 3, 1, 2), 1e-6)
    layer = SbSLayer(
        image.shape[1], g["weights"].shape[1], size, geometry.kernel, len(g["epsilon_t"]), g["epsilon_t"],
        strides=geometry.stride, dilation=geometry.dilation, padding=geometry.padding,
        alpha_number_of_iterations=iterations,
    )  # fmt: skip
    total = layer(image).sum((1, 2, 3))
    assert torch.allclose(total, torch.ones_like(total), atol=1e-5)
    layers.backward(g, image, g["output"], g["grad_output"], normalised=False)


def check_spikegen(g: Golden) -> None:
    p, uniform, spikes = g["p"], g["uniform"], g["spikes"].long()
    cdf = reference.cumulative(rows(p))
    stored = rows(g["cdf"])
    empty = stored[:, -1].isnan()
    assert torch.equal(cdf[~empty], stored[~empty])
    assert torch.equal(rows(p).sum(1) == 0, empty)
    wanted = torch.where(empty.unsqueeze(1), -1, rows(spikes))
    lower = reference.spikes_from_uniforms(cdf, rows(uniform), "lower")
    assert torch.equal(lower, wanted)
    upper = reference.spikes_from_uniforms(cdf, rows(uniform), "upper")
    assert bool((rows(p).gather(1, upper.clamp(min=0))[~empty] > 0).all())
    geometry = geometry_of(g)
    count = uniform.shape[1]
    call = Call(geometry, torch.ones(count), 1.0, torch.full((3,), 1 / 3), uniform=uniform, keep_spikes=True)
    weights, epsilon = torch.full((p.shape[1], 3), 1.0 / p.shape[1]), torch.full(p.shape[2:], 0.1)
    for rule, expected in (("lower", lower), ("upper", upper)):
        for isa in kernel.all_instructions():
            _, found = kernel.infer(p, weights, epsilon, replace(call, rule=rule, isa=isa))
            assert found is not None
            assert torch.equal(rows(found).long(), expected)
    g.errors["spikes"] = (0.0, 0.0)


def check_onoff(g: Golden) -> None:
    g.close("onoff", on_off_split(g["image"], torch.atleast_1d(g["mean"])), 1e-6)


CHECKS: dict[str, Callable[[Golden], None]] = {
    "stack*": check_stack,
    "geometry*": check_layer,
    "longtrain*": check_layer,
    "sparse*": check_layer,
    "v2_forget*": check_layer,
    "v2_noforget*": check_layer,
    "alpha*": check_alpha,
    "spikegen*": check_spikegen,
    "params*": training.check_params,
    "loss*": training.check_loss,
    "v2_adam*": training.check_multiplicative_adam,
    "onoff*": check_onoff,
    "mnist_v2_trained*": training.check_trained,
}


def test_file(path: Path) -> None:
    golden = Golden(path)
    checks = [check for pattern, check in CHECKS.items() if fnmatch(golden.name, pattern)]
    assert checks, f"{path.name} is not a golden file this package knows; known: {', '.join(CHECKS)}"
    checks[0](golden)
    golden.finish()


def test_the_copied_files_are_complete() -> None:
    names = {path.stem for path in (HERE / "golden").glob("*.npz")}
    missing = [pattern for pattern in CHECKS if not any(fnmatch(name, pattern) for name in names)]
    assert missing == ["mnist_v2_trained*"]
