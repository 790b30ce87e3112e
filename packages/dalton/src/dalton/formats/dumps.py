"""The original's files of predictions and class outputs, one pair per epoch, written with hickle.

    epoch_<e>_training_all_rol_pred_and_true_clss.hdf5   {layer: int64 (sample,) predicted classes, "true_cls": int64}
    epoch_<e>_test_all_rol_pred_and_true_clss.hdf5       {layer: float32 (sample, time, class) outputs, "true_cls": ...}

Layers are named as in the original, `conv_lyr_1`, ..., `dense_lyr_1`, ... (for convolutions only the pattern of
the names is known). A file has the last layer only, with TFR all of them.

hickle stores unknown objects as pickles, and even the types of all values; its reader executes every pickle it
meets. So `read_dump` inspects the whole HDF5 tree first and accepts only arrays of numbers, numbers, text and
dictionaries of them; a type's pickle must equal, byte for byte, that of one of a few known types. It unpickles
nothing and does not need hickle.

Source: the files that the original program writes every epoch; the file format of hickle 5.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from reprokit import UserError
from reprokit.files.atomic import write_file
from reprokit.files.reading import guarded
from reprokit.readers.hdf5 import HDF5, open_hdf5

NAMES = {
    "training": "epoch_{}_training_all_rol_pred_and_true_clss.hdf5",
    "test": "epoch_{}_test_all_rol_pred_and_true_clss.hdf5",
}
TRUE_CLASSES = "true_cls"
MAX_BYTES = 16 << 30  # limit for all values of a file
_TYPES = (dict, int, float, bool, str, np.ndarray, np.bool_, *(np.dtype(c).type for c in "bhilqBHILQefd"))
_KNOWN = {pickle.dumps(kind, protocol): kind for kind in _TYPES for protocol in range(6)}


def dump_name(epoch: int, split: str) -> str:
    """Return the original's file name for an epoch (from 1) and the split ``training`` or ``test``."""
    if split not in NAMES:
        raise UserError(f"split is {split!r}; it must be training or test")
    return NAMES[split].format(epoch)


def layer_key(layer: str) -> str:
    """Return the original's name of a layer, e.g. ``dense_lyr_2`` for ``dense2``."""
    for kind in ("conv", "dense"):
        if layer.startswith(kind) and layer[len(kind) :].isdigit():
            return f"{kind}_lyr_{layer[len(kind) :]}"
    raise UserError(f"layer is {layer!r}; names are conv1, conv2, ..., dense1, ...")


def write_dump(
    folder: str | Path, epoch: int, split: str, layers: Mapping[str, Any], labels: Any, *, level: int = 9
) -> Path:
    """Write the predictions or class outputs of an epoch.

    Args:
        folder: Existing folder.
        epoch: From 1.
        split: ``training`` or ``test``.
        layers: Values by layer name (``dense2``): for ``training`` integers (sample,), the predicted classes, empty
            where a layer has none; for ``test`` numbers (sample, time, class), the class outputs. Arrays or tensors.
        labels: Integers (sample,), the true classes.
        level: Level of gzip compression, 0 to 9; the original's 9 takes half a second for 15 MB.

    Returns:
        The file; it appears only when complete and replaces an older one.

    Raises:
        UserError: hickle is not installed, or values have the wrong shape.
    """
    path = Path(folder) / dump_name(epoch, split)
    truth = np.asarray(labels).astype(np.int64)
    content = {layer_key(name): _values(name, split, value, len(truth)) for name, value in layers.items()}
    hickle = _hickle()
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        hickle.dump({**content, TRUE_CLASSES: truth}, file, compression="gzip", compression_opts=level)
    return write_file(path, buffer.getvalue())


def read_dump(path: str | Path) -> dict[str, Any]:
    """Read a file of plain values written with hickle 5, without executing anything in it.

    Args:
        path: The file.

    Returns:
        Arrays, numbers, text and dictionaries of them, by name.

    Raises:
        UserError: The file is missing, damaged, of another version, or contains anything else: pickled objects,
            links, references, data outside the file.
    """
    path = Path(path)
    with guarded(path, "a file written with hickle"), open_hdf5(path) as checked:
        version = checked.text_attribute(checked.file, "HICKLE_VERSION") or "no hickle"
        if not version.startswith("5."):
            raise UserError(f"{path}: written by {version}; only files of hickle 5 can be checked and read")
        content = _Tree(checked).read()
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a single value, expected named arrays")
    return content


class _Tree:
    """Checks a tree node by node and returns its values."""

    def __init__(self, checked: HDF5) -> None:
        self.checked, self.path, self.file, self.room = checked, checked.path, checked.file, MAX_BYTES

    def read(self) -> Any:
        """Return the value of the tree."""
        extra = sorted(set(self.file) - {"data", "hickle_types_table"})
        if extra or "data" not in self.file:
            raise UserError(f"{self.path}: has {extra or 'no data'} at its root; it is not a dump of arrays")
        return self._value(self.file, "data")

    def _value(self, group: Any, name: str) -> Any:
        import h5py

        where = f"{group.name.rstrip('/')}/{name}"
        node = self._own(group, name, where)
        kind = self._kind(node, where)
        if isinstance(node, h5py.Group):
            if kind is not dict:
                raise self._refused(where, f"a {kind.__name__} of objects")
            members = [str(key) for key in node]
            return {self._key(node, key): self._value(node, key) for key in members}
        if kind is dict:
            raise self._refused(where, "a dictionary without members")
        return self._leaf(node, kind, where)

    def _own(self, group: Any, name: str, where: str) -> Any:
        """Return a member that is stored in this very file."""
        import h5py

        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise self._refused(where, "a link")
        return group[name]

    def _kind(self, node: Any, where: str) -> type:
        """Return the type of a node's value, read from the table of types without unpickling."""
        import h5py

        if "type" not in node.attrs:
            raise self._refused(where, "a pickled object")
        stored = h5py.h5a.open(node.id, b"type")
        if stored.shape != () or h5py.check_ref_dtype(stored.dtype) is not h5py.Reference:
            raise self._refused(where, "a value of a type that the file does not tell")
        reference = node.attrs["type"]
        entry = self.file[reference] if reference else None
        if not isinstance(entry, h5py.Dataset) or entry.dtype != "S1" or not 0 < (entry.size or 0) < 1000:
            raise self._refused(where, "a value of a type that the file does not tell")
        self._plain_storage(entry, where)
        self.checked.require_whole(entry)
        kind = _KNOWN.get(entry[()].tobytes())
        if kind is None:
            raise self._refused(where, "a value of an unknown type, given by a pickle")
        return kind

    def _key(self, node: Any, name: str) -> str:
        own = self._own(node, name, f"{node.name}/{name}")
        if self.checked.text_attribute(own, "key_base_type") != "str" or name[0] + name[-1] != '""':
            raise self._refused(f"{node.name}/{name}", "a key that is not text")
        return name[1:-1]

    def _leaf(self, data: Any, kind: type, where: str) -> Any:
        """Return the value of a dataset."""
        if data.shape is None or data.dtype.kind not in "biufS":
            raise self._refused(where, f"values of dtype {data.dtype}")
        self._plain_storage(data, where)
        self.room -= data.size * data.dtype.itemsize
        if self.room < 0:
            raise UserError(f"{self.path}: refused, {where} would take more than {MAX_BYTES} bytes of memory")
        self.checked.require_whole(data)
        values = data[()]
        if kind is str:
            return b"".join(np.asarray(values).reshape(-1).tolist()).decode("utf-8")
        if data.dtype.kind == "S":
            raise self._refused(where, "an array of bytes")
        return values if issubclass(kind, np.ndarray | np.generic) else kind(values)

    def _plain_storage(self, data: Any, where: str) -> None:
        """Refuse values outside the file."""
        if data.external or data.is_virtual:
            raise self._refused(where, "values in another file")

    def _refused(self, where: str, what: str) -> UserError:
        return UserError(
            f"{self.path}: refused, {where} is {what}; only arrays, numbers and text are read. Write the file again "
            "from plain arrays"
        )


def _values(name: str, split: str, value: Any, samples: int) -> np.ndarray:
    """Return a layer's values as the original stores them."""
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if split == "training":
        if array.shape not in ((samples,), (0,)) or (array.size and array.dtype.kind not in "iu"):
            raise UserError(
                f"{name}: predicted classes are {array.dtype} {array.shape}, expected integers ({samples},)"
            )
        return array.astype(np.int64)
    if array.ndim != 3 or len(array) != samples or array.dtype.kind != "f":
        raise UserError(
            f"{name}: class outputs are {array.dtype} {array.shape}, expected floats ({samples}, time, class)"
        )
    return array.astype(np.float32)


def _hickle() -> Any:
    try:
        import hickle
    except ImportError as error:
        raise UserError("writing dumps needs hickle; pip install hickle") from error
    return hickle
