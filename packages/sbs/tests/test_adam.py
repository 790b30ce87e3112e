"""The package's Adam is PyTorch's, without the import of PyTorch's compiler."""

import subprocess
import sys

import pytest
import torch
from sbs.training.adam import Adam


def steps(kind, count=5):
    """Weights after some steps, and the optimiser's state."""
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4)), torch.nn.Parameter(torch.ones(2))]
    optimiser = kind(weights, lr=0.01)
    for step in range(count):
        optimiser.zero_grad()
        sum((torch.sin(w + step) * w).sum() for w in weights).backward()
        optimiser.step()
    return [w.detach() for w in weights], optimiser.state_dict()


def test_numbers_and_state_are_pytorchs():
    ours, theirs = steps(Adam), steps(torch.optim.Adam)
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=0)
    assert ours[1]["param_groups"] == theirs[1]["param_groups"]
    torch.testing.assert_close(ours[1]["state"], theirs[1]["state"], rtol=0, atol=0)


def test_hooks_closures_and_schedules_work():
    weight, seen = torch.nn.Parameter(torch.ones(2)), []
    optimiser = Adam([weight], lr=0.1)
    optimiser.register_step_post_hook(lambda *_: seen.append("hook"))
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 1, 0.5)

    def closure():
        seen.append("closure")
        optimiser.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert optimiser.step(closure) == 2
    schedule.step()
    assert seen == ["closure", "hook"]
    assert optimiser.param_groups[0]["lr"] == 0.05
    optimiser.load_state_dict(Adam([torch.nn.Parameter(torch.ones(2))], lr=0.3).state_dict())
    assert optimiser.param_groups[0]["lr"] == 0.3


def loads_the_compiler(code):
    """Whether lines of Python import PyTorch's compiler."""
    program = f"import sys, torch; import sbs; {code}; sys.exit('torch._dynamo' in sys.modules)"
    return subprocess.run([sys.executable, "-c", program], check=False).returncode == 1


@pytest.mark.slow
def test_a_step_does_not_load_the_compiler():
    step = "w = torch.nn.Parameter(torch.ones(3)); o = {}([w]); w.grad = w.detach(); o.step(); o.state_dict()"
    assert not loads_the_compiler("from sbs.training.adam import Adam; " + step.format("Adam"))
    if not loads_the_compiler(step.format("torch.optim.Adam")):
        pytest.skip("this PyTorch does not load it for its own Adam either: ours can go once all do not")


@pytest.mark.slow
def test_the_multiplicative_one_does_not_load_the_compiler_either():
    assert not loads_the_compiler(
        "w = torch.nn.Parameter(torch.ones(3)); o = sbs.MultiplicativeAdam([w]); w.grad = w.detach(); o.step()"
    )
