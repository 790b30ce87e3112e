"""Grid files: which combinations, in which order, and what is refused with a sentence."""

from dataclasses import dataclass, field

import pytest
from reprokit import UserError
from reprokit.config import override
from reprokit.run.grid import Grid, is_grid, read_grid


@dataclass(frozen=True)
class Part:
    loss: str = "mse"
    sizes: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Config:
    lr: float = 0.1
    seed: int = 0
    n: int = 5
    tau: float | None = None
    dims: tuple[int, int, int] = (1, 1, 1)
    part: Part = field(default_factory=Part)

    def __post_init__(self):
        if self.lr <= 0:
            raise UserError(f"lr is {self.lr}; it must be positive")


TEXT = """
seeds = [1, 2]
[base]
tau = 2
[axes]
lr = [1, 0.5]
"part.loss" = ["mse", "ce"]
[[zip]]
n = [3, 4]
dims = [[2, 2, 2], [3, 3, 3]]
[[exclude]]
lr = 1.0
n = 4
[[exclude]]
dims = [2, 2, 2]
"part.loss" = "ce"
"""


def written(tmp_path, text):
    path = tmp_path / "grid.toml"
    path.write_text(text)
    return path


def test_axes_zipped_axes_seeds_and_exclusions(tmp_path):
    found = read_grid(written(tmp_path, TEXT)).configs(Config())
    first = Config(1.0, 1, 3, 2.0, (2, 2, 2), Part("mse"))
    assert found[0] == ("lr 1, part.loss mse, n 3, dims 2x2x2, seed 1", first)
    made = [(c.seed, c.lr, c.part.loss, c.n) for _, c in found]
    assert made == [
        (seed, *rest)
        for seed in (1, 2)
        for rest in [(1.0, "mse", 3), (0.5, "mse", 3), (0.5, "mse", 4), (0.5, "ce", 4)]
    ]
    assert all(type(c.lr) is float and c.tau == 2.0 for _, c in found)


def test_no_axes_are_one_run_and_seeds_may_have_another_name():
    assert Grid().configs(Config()) == [("base", Config())]
    assert Grid(seeds=[7]).configs(Config(), seed="n") == [("n 7", Config(n=7))]
    assert Grid(base={"part": {"sizes": [3, 4]}}).configs(Config())[0][1].part.sizes == (3, 4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[axes]\nlr = []", "lr is []; give a list of at least one value"),
        ("[axes]\nlr = 3", "lr is 3; give a list of at least one value"),
        ("[axes]\nlr = [1, 1.0]", "lr is [1, 1.0]; give each once"),
        ("seeds = [1, 1]", "seeds is [1, 1]; give each once"),
        ("seeds = [1.5]", "seeds holds 1.5; give whole numbers"),
        ("seeds = 3", "seeds must be a list, seeds = [1, 2]"),
        ("[zip]\nlr = [1]", "zip must be a table, [[zip]]"),
        ("[[zip]]\nlr = [1, 2]\nn = [1]", "zipped lists must have one length, and lr has 2, n has 1 values"),
        ("[axes]\nlr = [1]\n[[zip]]\nlr = [2]", "lr is given in two places"),
        ("[base]\nlr = 1\n[axes]\nlr = [2]", "lr is given in two places"),
        (
            "[axes]\nlr = [1]\n[[exclude]]\nlt = 1",
            "exclude names lt, which does not vary (did you mean 'lr'?)",
        ),
        ("[axis]\nlr = [1]", "unknown key 'axis' (did you mean 'axes'?)"),
        ("[axes]\nlr = [1]\n[[exclude]]\nlr = 1", "leaves no run"),
        ("[axes]\nlearning = [1]", "unknown key 'learning'; the nearest valid key is"),
        ('[axes]\n"part.los" = ["x"]', "unknown key 'part.los'; the nearest valid key is 'part.loss'"),
        ("[axes]\nn = [1.5]", "n must be a whole number, not 1.5"),
        ("[axes]\nlr = [-1]", "lr is -1.0; it must be positive"),
    ],
)
def test_what_is_refused(tmp_path, text, sentence):
    with pytest.raises(UserError) as caught:
        read_grid(written(tmp_path, text)).configs(Config())
    assert sentence in str(caught.value)


def test_a_grid_is_told_from_a_configuration(tmp_path):
    assert is_grid(written(tmp_path, TEXT))
    assert not is_grid(written(tmp_path, "lr = 3"))
    assert not is_grid(tmp_path / "none.toml")
    with pytest.raises(UserError, match=r"GRID is 'x\.json'; give a \.toml file"):
        read_grid("x.json")
    assert override(Config(), {"part.loss": "a", "part.sizes": [2]}, "here").part == Part("a", (2,))
