"""The GPU's kernels compile for NVIDIA and AMD devices, which needs Triton and no GPU."""

from pathlib import Path
from typing import Any

import pytest
from interpreted import needs_triton

TARGETS = [("cuda", 80, 32), ("cuda", 90, 32), ("hip", "gfx942", 64)]
LEAST = 64 * 1024  # bytes of shared memory, which GPUs have since 2018

DRAWN = {"stride": 1, "depth": 10, "given": False, "lower": False, "block": 128}
FOLLOWED = {
    "neurons": 32, "width": 1, "pooled": False, "size": 25, "forget": False, "lanes": 4, "block": 32,
}  # fmt: skip
RULE = {
    "kernel0": 5, "kernel1": 5, "neurons": 64, "elements": 1, "for_weights": True, "for_patches": True,
    "for_epsilon": True, "pooled": False, "damped": True, "local": False, "block_p": 64, "block_i": 32, "block_j": 32,
}  # fmt: skip
SUMMED = {"neurons": 64, "local": False, "block_p": 64, "block_i": 32, "block_j": 32}
# Kernel, constants, warps, stages: as sbs.engines.gpu and sbs.rules.backward_gpu launch them.
KERNELS: list[tuple[str, dict[str, Any], int, int]] = [
    ("distributions", {"kernel0": 5, "kernel1": 5, "divided": True, "block": 32}, 1, 3),
    ("draw", DRAWN, 4, 3),
    ("draw", {**DRAWN, "stride": 4, "given": True, "lower": True}, 4, 3),
    ("follow", FOLLOWED, 1, 3),
    ("follow", {**FOLLOWED, "width": 4, "pooled": True, "size": 4}, 1, 3),
    ("follow", {**FOLLOWED, "width": 9, "size": 9, "forget": True}, 1, 3),
    ("follow", {**FOLLOWED, "neurons": 1024, "size": 9, "lanes": 1, "block": 1024}, 4, 3),
    ("explain", RULE, 4, 2),
    ("explain", {**RULE, "elements": 4, "pooled": True, "for_weights": False}, 4, 2),
    ("products", SUMMED, 4, 1),
    ("products", {**SUMMED, "local": True}, 4, 1),
]
POINTERS = (
    "image", "totals", "cdf", "uniform", "weights", "h_initial", "epsilon_t", "epsilon_xy", "h", "grad", "mean",
    "factor", "ratio", "weighted", "patch_gradient", "terms", "partial",
)  # fmt: skip
TYPES = {name: "*fp32" for name in POINTERS} | {"spikes": "*i32", "forgetting": "fp32", "share": "fp32"}


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize(
    ("name", "constants", "warps", "stages"),
    KERNELS,
    ids=[f"{n}-{kernel[0]}" for n, kernel in enumerate(KERNELS)],
)
def test_a_kernel_compiles(
    name: str,
    constants: dict[str, Any],
    warps: int,
    stages: int,
    target: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs_triton()
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from sbs.engines import triton_kernels as forward
    from sbs.rules import triton_kernels as backward
    from triton import compile as compiled  # pyright: ignore[reportMissingImports]
    from triton.backends.compiler import GPUTarget  # pyright: ignore[reportMissingImports]
    from triton.compiler import ASTSource  # pyright: ignore[reportMissingImports]

    function = getattr(forward, name, None) or getattr(backward, name)
    signature = {
        argument: "constexpr" if argument in constants else TYPES.get(argument, "i32")
        for argument in function.arg_names
    }
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, kind in enumerate(signature.values())
        if kind.startswith("*")
    }
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=aligned)
    options = {
        "num_warps": warps,
        "num_stages": stages,
        "enable_fp_fusion": name not in ("distributions", "draw"),
    }
    made = compiled(source, target=GPUTarget(*target), options=options)
    assert made.asm["ptx" if target[0] == "cuda" else "amdgcn"]
    assert made.metadata.shared <= LEAST
