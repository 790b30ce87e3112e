"""The event pipeline of dalton against tonic's transforms: noise filter, 1 ms frames, down-sampling where it applies.

    python benchmarks/dalton_events.py [--data digits-events] [--recordings 40] [--repeats 5] [--out FILE]

One thread, the same recordings in memory on both sides, frames compared before anything is timed. Each side returns
what its training loop needs: dalton the cells that hold events, tonic dense frames. dalton does this once and keeps the
cells on disk, the original in every epoch.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from dalton.data.frames import frames_of
from dalton.data.sources import event_source
from reprokit import UserError, bench

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # tonic's own
    from tonic import transforms


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits-events")
    parser.add_argument("--recordings", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=bench.RESULTS)
    arguments = parser.parse_args()
    source = event_source(arguments.data)
    options, splits = source.options(), source.load()
    count = min(arguments.recordings, len(splits.train))
    recordings = [splits.train[k] for k in range(count)]
    steps = [transforms.Denoise(options.denoise_us)]
    if options.spatial_factor != 1:
        steps.append(transforms.Downsample(spatial_factor=options.spatial_factor))
    _, height, width = options.frame_shape(splits.sensor)
    steps.append(transforms.ToFrame(sensor_size=(width, height, 2), time_window=options.window_us))
    pipeline = transforms.Compose(steps)
    raw = [structured(recording) for recording in recordings]

    def ours() -> list:
        return [frames_of(recording, splits.sensor, options) for recording in recordings]

    def theirs() -> list:
        return [pipeline(events) for events in raw]

    if not all(np.array_equal(a.dense(), b) for a, b in zip(ours(), theirs(), strict=True)):
        raise UserError("the frames of dalton and tonic differ; the timings would mean nothing")
    events = sum(len(recording[0]) for recording in recordings)
    found = bench.compare(
        "dalton", f"event pipeline, {splits.name}, {count} recordings, {events} events", "numpy", "tonic",
        ours, theirs, repeats=arguments.repeats, results=arguments.out, packages=("dalton", "numpy", "tonic"),
    )  # fmt: skip
    print(found)
    print(f"events a second: {events / found.ours_seconds:.3g}, tonic {events / found.peer_seconds:.3g}")


def structured(recording: tuple[np.ndarray, ...]) -> np.ndarray:
    """One recording as tonic's structured array."""
    events = np.zeros(len(recording[0]), [("x", int), ("y", int), ("t", int), ("p", int)])
    for name, column in zip("txyp", recording, strict=True):
        events[name] = column
    return events


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
