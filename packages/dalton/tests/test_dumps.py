import os
import pickle
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from dalton.formats.dumps import dump_name, layer_key, read_dump, write_dump
from reprokit import UserError


class Harmful:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


def hickle_like(path, values, *, kind=np.ndarray, pickled_type=None, layout=None):
    """A file as hickle 5 writes a dictionary of arrays."""
    with h5py.File(path, "w", libver=layout) as file:
        file.attrs["HICKLE_VERSION"] = "5.0.3"
        table = file.create_group("hickle_types_table")
        types = {}
        for number, (name, content) in enumerate(
            [("dict", pickle.dumps(dict)), ("own", pickled_type or pickle.dumps(kind))]
        ):
            types[name] = table.create_dataset(str(2 * number), data=np.frombuffer(content, "S1")[None])
        data = file.create_group("data")
        data.attrs["type"] = types["dict"].ref
        for name, value in values.items():
            node = data.create_dataset(f'"{name}"', data=value)
            node.attrs["type"] = types["own"].ref
            node.attrs["key_base_type"] = b"str"
    return path


def refused(path, message):
    with pytest.raises(UserError, match=message):
        read_dump(path)


def test_names_are_the_originals():
    assert dump_name(3, "training") == "epoch_3_training_all_rol_pred_and_true_clss.hdf5"
    assert dump_name(3, "test") == "epoch_3_test_all_rol_pred_and_true_clss.hdf5"
    assert (layer_key("conv2"), layer_key("dense1")) == ("conv_lyr_2", "dense_lyr_1")
    with pytest.raises(UserError, match="layer is 'out'"):
        layer_key("out")
    with pytest.raises(UserError, match="split is 'train'"):
        dump_name(1, "train")


def test_dumps_are_written_by_hickle_and_read_back(tmp_path):
    hickle = pytest.importorskip("hickle", reason="needs hickle")
    labels = torch.tensor([3, 1, 0, 2])
    predictions = {"conv1": np.empty(0, np.int64), "dense2": torch.tensor([3, 1, 1, 2])}
    path = write_dump(tmp_path, 1, "training", predictions, labels)
    assert path == tmp_path / "epoch_1_training_all_rol_pred_and_true_clss.hdf5"
    outputs = np.random.default_rng(0).normal(size=(4, 7, 10))
    test = write_dump(tmp_path, 1, "test", {"dense2": outputs}, labels, level=1)
    for file, layers in ((path, {"conv_lyr_1", "dense_lyr_2"}), (test, {"dense_lyr_2"})):
        ours, theirs = read_dump(file), hickle.load(file)
        assert set(ours) == set(theirs) == layers | {"true_cls"}
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype
            assert np.array_equal(ours[name], theirs[name])
    assert read_dump(path)["dense_lyr_2"].tolist() == [3, 1, 1, 2]
    assert read_dump(path)["true_cls"].dtype == np.int64
    assert read_dump(test)["dense_lyr_2"].dtype == np.float32
    assert np.array_equal(read_dump(test)["dense_lyr_2"], outputs.astype(np.float32))
    assert len(list(tmp_path.iterdir())) == 2  # no temporary file is left


def test_other_plain_values_of_hickle_are_read(tmp_path):
    hickle = pytest.importorskip("hickle", reason="needs hickle")
    values = {"n": 3, "x": 2.5, "yes": True, "text": "ä", "f": np.float32(1.5), "inner": {"a": np.arange(3)}}
    hickle.dump(values, tmp_path / "plain.h5", mode="w")
    found = read_dump(tmp_path / "plain.h5")
    assert found["inner"].pop("a").tolist() == [0, 1, 2]
    assert {k: v for k, v in found.items() if k != "inner"} == {
        k: v for k, v in values.items() if k != "inner"
    }


@pytest.mark.filterwarnings("ignore")  # hickle warns that it pickles
def test_pickled_objects_of_hickle_are_refused_and_not_run(tmp_path):
    hickle = pytest.importorskip("hickle", reason="needs hickle")
    marker = tmp_path / "marker"
    hickle.dump({"a": np.zeros(2), "b": Harmful(marker)}, tmp_path / "harmful.h5", mode="w")
    hickle.dump(Harmful(marker), tmp_path / "alone.h5", mode="w")
    hickle.dump({"a": np.array([1, None])}, tmp_path / "objects.h5", mode="w")
    hickle.dump({"a": [1, 2]}, tmp_path / "list.h5", mode="w")
    refused(tmp_path / "harmful.h5", 'harmful.h5: refused, /data/"b" is a pickled object')
    refused(tmp_path / "alone.h5", "/data is a pickled object")
    refused(tmp_path / "objects.h5", "a ndarray of objects")
    refused(tmp_path / "list.h5", "a value of an unknown type")
    assert not marker.exists()
    hickle.load(tmp_path / "harmful.h5")
    assert marker.exists()  # hickle itself runs it


def test_a_harmful_type_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "marker"
    content = pickle.dumps(Harmful(marker))
    path = hickle_like(tmp_path / "type.h5", {"a": np.zeros(2)}, pickled_type=content)
    refused(path, "a value of an unknown type, given by a pickle")
    assert not marker.exists()
    pickle.loads(content)
    assert marker.exists()  # the pickle is harmful indeed


def test_plain_arrays_are_read_without_hickle(tmp_path):
    path = hickle_like(tmp_path / "plain.h5", {"dense_lyr_1": np.arange(6.0).reshape(2, 3)})
    assert read_dump(path)["dense_lyr_1"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("link", [h5py.ExternalLink("plain.h5", "/data"), h5py.SoftLink("/data")])
def test_links_are_refused(tmp_path, link):
    hickle_like(tmp_path / "plain.h5", {"a": np.zeros(2)})
    path = hickle_like(tmp_path / "links.h5", {"a": np.zeros(2)})
    with h5py.File(path, "a") as file:
        file["data"]['"b"'] = link
    refused(path, 'links.h5: refused, /data/"b" is a link')


def test_endless_trees_are_refused(tmp_path):
    path = hickle_like(tmp_path / "endless.h5", {"a": np.zeros(2)})
    with h5py.File(path, "a") as file:
        file["data"]['"b"'] = file["data"]
        file["data"].attrs["key_base_type"] = b"str"
    refused(path, "is damaged or not a file written with hickle")


def test_values_outside_the_file_or_beyond_memory_are_refused(tmp_path):
    (tmp_path / "raw").write_bytes(bytes(16))
    path = hickle_like(tmp_path / "outside.h5", {"a": np.zeros(2)})
    with h5py.File(path, "a") as file:
        node = file["data"].create_dataset('"b"', (2,), "f8", external=[(str(tmp_path / "raw"), 0, 16)])
        node.attrs.update(file["data"]['"a"'].attrs)
    refused(path, 'outside.h5: refused, /data/"b" is values in another file')
    path = hickle_like(tmp_path / "bomb.h5", {"a": np.zeros(2)})
    with h5py.File(path, "a") as file:
        node = file["data"].create_dataset('"b"', (1 << 40,), "f8", chunks=(1024,))
        node.attrs.update(file["data"]['"a"'].attrs)
    refused(path, "would take more than 17179869184 bytes")


@pytest.mark.parametrize("options", [{}, {"chunks": (100,)}, {"chunks": (100,), "compression": "gzip"}])
def test_values_that_are_not_in_the_file_are_not_zeros(tmp_path, options):
    path = hickle_like(tmp_path / "sparse.h5", {"a": np.zeros(2)})
    with h5py.File(path, "a") as file:
        node = file["data"].create_dataset('"b"', (1000,), "f8", **options)
        node.attrs.update(file["data"]['"a"'].attrs)
        if options:
            node[:500] = 1.0
    refused(path, 'sparse.h5: values of /data/"b" are missing or damaged; get the file again')
    with h5py.File(path, "a") as file:
        file["data"]['"b"'][:] = 1.0
    assert read_dump(path)["b"].tolist() == [1.0] * 1000


def test_a_damaged_heap_is_refused_and_does_not_hang(tmp_path):
    path = hickle_like(tmp_path / "heap.h5", {"a": np.zeros(2)})
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 24 : heap + 32] = (
        b"\xff" * 8
    )  # the size of its first object: the HDF5 library would loop in it endlessly
    path.write_bytes(content)
    refused(path, f"heap.h5: the heap at byte {heap} is damaged")


def test_other_files_are_named(tmp_path):
    refused(tmp_path / "none.h5", "none.h5: no such file")
    (tmp_path / "text.h5").write_text("text")
    refused(tmp_path / "text.h5", "text.h5 is damaged or not a file written with hickle")
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["a"] = np.zeros(2)
    refused(tmp_path / "plain.h5", "plain.h5: written by no hickle; only files of hickle 5")
    path = hickle_like(tmp_path / "references.h5", {"a": np.zeros(2)})
    with h5py.File(path, "a") as file:
        node = file["data"].create_dataset('"b"', data=np.array([file.ref], dtype=h5py.ref_dtype))
        node.attrs.update(file["data"]['"a"'].attrs)
    refused(path, "values of dtype object")


@pytest.mark.parametrize(
    ("split", "values", "message"),
    [
        (
            "training",
            np.zeros(3, np.int64),
            r"dense1: predicted classes are int64 \(3,\), expected integers \(4,\)",
        ),
        ("training", np.zeros(4), "predicted classes are float64"),
        ("test", np.zeros((4, 10)), r"class outputs are float64 \(4, 10\)"),
        ("test", np.zeros((3, 5, 10)), r"expected floats \(4, time, class\)"),
    ],
)
def test_wrong_shapes_are_named_and_nothing_is_written(tmp_path, split, values, message):
    with pytest.raises(UserError, match=message):
        write_dump(tmp_path, 1, split, {"dense1": values}, np.zeros(4, np.int64))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("packed", [b"\0", zlib.compress(b"12"), zlib.compress(bytes(100_001)), b"12"])
def test_a_chunk_that_unpacks_to_another_size_is_refused(tmp_path, packed):
    path = hickle_like(tmp_path / "chunk.h5", {"a": np.zeros(2)})
    with h5py.File(path, "a") as file:
        options = {"compression": None if packed == b"12" else "gzip"}
        node = file["data"].create_dataset('"b"', (100_000,), "u1", chunks=(100_000,), **options)
        node.attrs.update(file["data"]['"a"'].attrs)
        node.id.write_direct_chunk((0,), packed)
    refused(
        path, 'values of /data/"b" are missing or damaged'
    )  # the HDF5 library reads beyond it, and crashes


@pytest.mark.parametrize("options", [{"compression": "lzf"}, {"compression": "gzip", "fletcher32": True}])
def test_every_filter_of_h5py_is_read(tmp_path, options):
    path = hickle_like(tmp_path / "filters.h5", {"a": np.zeros(2)})
    values = np.arange(5000) // np.arange(1, 5001)
    with h5py.File(path, "a") as file:
        node = file["data"].create_dataset('"b"', data=values, chunks=(700,), shuffle=True, **options)
        node.attrs.update(file["data"]['"a"'].attrs)
    assert read_dump(path)["b"].tolist() == values.tolist()


@pytest.mark.parametrize("name", ["HICKLE_VERSION", "key_base_type"])
def test_a_damaged_text_attribute_is_refused_before_it_takes_memory(tmp_path, name):
    path = hickle_like(tmp_path / "text.h5", {"a": np.zeros(2)})
    assert read_dump(path)["a"].tolist() == [0, 0]
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL").to_bytes(8, "little")
    at = content.index(heap, content.index(name.encode() + b"\0"))  # of the reference, after its length
    content[at - 4 : at] = b"\xff\xff\xff\x7f"  # the library would take 2 GB before it looks into the heap
    path.write_bytes(content)
    refused(path, f"text.h5: the attribute {name} of .* is damaged; get the file again")


def test_text_of_another_kind_is_read_or_refused(tmp_path):
    path = hickle_like(
        tmp_path / "new.h5", {"a": np.zeros(2)}, layout="latest"
    )  # headers of the second version
    assert read_dump(path)["a"].tolist() == [0, 0]
    path = hickle_like(tmp_path / "text.h5", {"a": np.zeros(2)})
    with h5py.File(path, "a") as file:
        file.attrs["HICKLE_VERSION"] = np.bytes_("5.0.3")
    assert read_dump(path)["a"].tolist() == [0, 0]
    with h5py.File(path, "a") as file:
        file["data"]['"a"'].attrs["type"] = "numpy.ndarray"
    refused(path, "a value of a type that the file does not tell")
    with h5py.File(path, "a") as file:
        file.attrs["HICKLE_VERSION"] = 5
    refused(path, "the attribute HICKLE_VERSION of / is not text")
