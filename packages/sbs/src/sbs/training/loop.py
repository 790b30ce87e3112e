"""Training with gradient accumulation, tests, checkpoints and a log; killed runs continue bit for bit.

One update: ``batches_per_update`` batches pass forward and backward, their gradients add up, then optimiser,
constraint and schedule act. Everything random is a function of (seed, update, batch), see `sbs.streams`, so a
checkpoint has parameters, buffers, optimiser and schedule state, and nothing else is needed.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprokit import (
    Checkpoint,
    Checkpoints,
    RunDirectory,
    StoredRun,
    UserError,
    progress,
    read_run,
    run_id,
)

from sbs.config import Engine, TrainConfig, check
from sbs.data.images import Dataset
from sbs.data.loading import load_dataset
from sbs.formats.weights import load_overload, load_step
from sbs.model.cost import inference_cost
from sbs.streams import AUGMENTATION, SPIKES, SampleOrder, torch_generator
from sbs.training.evaluation import evaluate, spikes_from
from sbs.training.learner import Learner
from sbs.training.runs import (
    Arrays,
    InputShape,
    Model,
    load_model,
    load_network,
    pack,
    pack_shape,
    run_on,
    unpack,
)
from sbs.training.tracking import Tracker


@dataclass
class Progress:
    """Progress of a run: weight updates done, time spent, and the tests so far."""

    update: int = 0
    seconds: float = 0.0
    tests: list[dict[str, Any]] = field(default_factory=list)


def train(
    config: TrainConfig,
    folder: str | Path,
    *,
    dataset: Dataset | None = None,
    resume: bool = True,
    force: bool = False,
    engine: Engine = "auto",
    device: str = "auto",
    tensorboard: bool = False,
    report: Callable[[str], None] | None = None,
) -> Model:
    """Train a network, or continue an interrupted run; a finished run is only loaded.

    Args:
        config: Everything the result depends on.
        folder: Run directory; created if missing, continued if it contains a run of the same configuration.
        dataset: Images to use instead of ``config.data.source``; ``config.data`` limits them too.
        resume: Whether an existing run of the same configuration may continue.
        force: Delete a run that is there and start anew.
        engine: Engine that draws spikes: "auto", "kernel" or "reference".
        device: "auto" or "cpu"; "cuda:K" runs the Triton kernels of a GPU.
        tensorboard: Also write TensorBoard events below ``folder/tensorboard``.
        report: Receives one line per test, and before them a line on what is kept of own or limited data.

    Raises:
        UserError: An invalid configuration, unreadable data, own data in which a class has no training image, a
            folder with another run, or a run that began with other data.
    """
    check(config)
    there = None if force else _run_in(Path(folder), config)
    if resume and there is not None and there.summary is not None:
        model = load_model(folder)
        run_on(model.network, engine, device, config.threads)
        return model
    limits = (config.data.limit_train, config.data.limit_test)
    data = (dataset or load_dataset(config.data.source)).limited(*limits, config.seed)
    if not len(data.train) or not len(data.test):
        raise UserError(
            f"data set {data.name}: {len(data.train)} training and {len(data.test)} test images; both must be present"
        )
    data.check_classes()
    colour = config.augmentation.saturation or config.augmentation.hue
    if data.channels == 1 and colour and there is None:
        raise UserError(
            "augmentation.saturation and augmentation.hue change colours, and the images are grey; set both to 0"
        )
    options = {"out": str(folder), "engine": engine, "device": device, "tensorboard": tensorboard}
    run = _Run(config, data, Path(folder), options)
    # before the folder is created or opened, so that a refused start changes nothing
    run.take_up(Checkpoints(run.folder / "checkpoints").load_latest() if there else None)
    say = report or _silent
    with run.open(resume, force):
        run.directory.identify(data.identity(), source=data.name if dataset else config.data.source)
        if data.own or any(limits):
            say(data.kept(run.shape.height, run.shape.width))
        run.take_up(run.directory.continue_from("update"))
        events = Path(folder) / "tensorboard" if tensorboard else None
        with Tracker(events, run.progress.update) as tracker:
            run.finish(tracker, say)
    return Model(run.network, config, run.shape, run.progress.update)


class _Run:
    """One run in memory: data, learner, position, and the folder it is saved to."""

    def __init__(
        self,
        config: TrainConfig,
        data: Dataset,
        folder: Path,
        options: dict[str, Any],
    ) -> None:
        self.config = config
        self.data = data
        self.folder = folder
        self.options = options
        self.shape = InputShape.of(config, data)
        self.presentation = self.shape.presentation(config)
        self.order = SampleOrder(len(data.train), config.seed)
        self.progress = Progress()
        self.network = self.shape.network(config)
        run_on(self.network, options["engine"], options["device"], config.threads)
        self.device = next(self.network.parameters()).device
        self.learner = Learner(self.network, config.network, config.learning)

    def open(self, resume: bool, force: bool) -> RunDirectory:
        """Create the run directory, or open an existing one."""
        content = self.config.content()
        self.directory = RunDirectory(
            self.folder,
            content,
            options={"package": "sbs", **self.options, **content},
            resume=resume,
            force=force,
            files=("tensorboard/events.out.tfevents.*",),
        )
        return self.directory

    def take_up(self, checkpoint: Checkpoint | None) -> None:
        """Continue from a checkpoint, or begin without one.

        Raises:
            UserError: The checkpoint belongs to another network or program.
        """
        if checkpoint is None:
            start = self.config.start
            if start.step:
                load_step(self.network, start.weight_path, start.epsilon_path, start.step)
            if start.overload:
                load_overload(self.network, start.overload)
            return
        source = self.folder / "checkpoints" / f"checkpoint-{checkpoint.step:012d}.safetensors"
        load_network(self.network, checkpoint, source)
        try:
            self.learner.load_state_dict(unpack(checkpoint.state["learner"], checkpoint.arrays))
            self.progress = Progress(checkpoint.step, **checkpoint.state["progress"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{source} has no training that can continue ({error!r}); start again with --force"
            ) from error

    def finish(self, tracker: Tracker, report: Callable[[str], None]) -> None:
        """Do the remaining updates, test at the end, and mark the run as finished."""
        learning = self.config.learning
        per_update = learning.batch_size * learning.batches_per_update
        bar = progress(total=learning.updates * per_update, description=self.config.name)
        bar.unit = " images"
        with bar:
            bar.update(self.progress.update * per_update)
            while self.progress.update < learning.updates:
                record = self.update()
                bar.update(per_update)
                bar.set_postfix_str(f"loss {record['loss']:.4g}, {record['train_error']:.2f} % wrong")
                if self._test_is_due():
                    record |= self.test()
                    report(_line(record))
                self.directory.log(record)
                tracker.update(record, self.network)
                last = self.progress.update == learning.updates
                if last or self.progress.update % self.config.checkpoint_every == 0:
                    self.save()
        final = self.progress.tests[-1]
        best = max(self.progress.tests, key=lambda test: test["accuracy"])
        self.directory.finish(
            {
                "dataset": self.data.name,
                "updates": self.progress.update,
                "accuracy": final["accuracy"],
                "best_accuracy": best["accuracy"],
                "best_update": best["update"],
                "seconds": self.progress.seconds,
                **inference_cost(
                    self.network, (self.shape.channels, self.shape.height, self.shape.width)
                ).summary(),
            }
        )

    def update(self) -> dict[str, Any]:
        """Do one weight update and return its log record."""
        learning, number = self.config.learning, self.progress.update
        begun = time.perf_counter()
        for part in range(learning.batches_per_update):
            batch = number * learning.batches_per_update + part
            images, labels = self.data.train.batch(self.order.batch(batch, learning.batch_size))
            generator = torch_generator(self.config.seed, AUGMENTATION, batch)
            inputs = self.presentation.train(images, generator).to(self.device)
            with spikes_from(self.config.seed, SPIKES, batch):
                self.learner.accumulate(inputs, labels.to(self.device))
        record = {"update": number + 1, **self.learner.step()}
        self.progress.update += 1
        self.progress.seconds += time.perf_counter() - begun
        return record | {"seconds": round(self.progress.seconds, 3)}

    def test(self) -> dict[str, Any]:
        """Classify the test images."""
        result = evaluate(self.network, self.presentation, self.data.test, seed=self.config.seed)
        best = max((test["accuracy"] for test in self.progress.tests), default=-1.0)
        self.progress.tests.append({"update": self.progress.update, "accuracy": result.accuracy})
        if result.accuracy > best:
            self.save("best", keep=1)
        return {"accuracy": result.accuracy, "test_seconds": round(result.seconds, 3)}

    def save(self, name: str = "checkpoints", keep: int = 2) -> None:
        """Write one checkpoint file with everything a resumed run needs."""
        arrays: Arrays = {}
        state: Mapping[str, Any] = {
            "network": pack(self.network.state_dict(), "network", arrays),
            "learner": pack(self.learner.state_dict(), "learner", arrays),
            "shape": pack_shape(self.shape),
            "progress": {"seconds": self.progress.seconds, "tests": self.progress.tests},
        }
        self.directory.checkpoints(name, keep).save(self.progress.update, arrays, state)

    def _test_is_due(self) -> bool:
        update, every = self.progress.update, self.config.test_every
        if update == self.config.learning.updates:
            return True
        return self.config.test_during_learning and every > 0 and update % every == 0


def _run_in(folder: Path, config: TrainConfig) -> StoredRun | None:
    """Return the run of this configuration in a folder, if there is one; writes nothing.

    Raises:
        UserError: The folder contains a damaged run, or one of another program.
    """
    if not (folder / "config.json").exists():
        return None
    stored = read_run(folder, package="sbs")
    return stored if run_id(stored.config) == run_id(config.content()) else None


def _silent(_: str) -> None:
    pass


def _line(record: Mapping[str, Any]) -> str:
    return (
        f"update {record['update']}: loss {record['loss']:.5g}, "
        f"training error {record['train_error']:.2f} %, "
        f"test accuracy {record['accuracy']:.2f} % ({record['seconds']:.0f} s of training)"
    )
