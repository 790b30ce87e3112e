"""The data files this project knows: where they are published, their size, checksum and licence.

A SHA-256 is pinned where one is known from an independent source; otherwise the publisher's or a widely used
loader's MD5 is checked and the SHA-256 of the first verified copy is recorded and held to from then on.
"""

from dataclasses import dataclass

from reprokit.errors import UserError


@dataclass(frozen=True)
class DataFile:
    """One published file.

    Args:
        name: File name in the cache and in mirrors.
        urls: Complete addresses, tried in this order.
        md5: Hexadecimal MD5.
        sha256: Hexadecimal SHA-256, None where only the MD5 is published.
        size: Bytes, None where not published.
        unpack: Whether it is an archive to be extracted into a folder of the same name.
    """

    name: str
    urls: tuple[str, ...]
    md5: str
    sha256: str | None = None
    size: int | None = None
    unpack: bool = False


@dataclass(frozen=True)
class Dataset:
    """A data set: its files and the terms it comes under.

    Args:
        name: Name on the command line.
        title: Full name.
        homepage: Where its authors describe it.
        licence: Its terms, as stated by its authors.
        files: What to download.
    """

    name: str
    title: str
    homepage: str
    licence: str
    files: tuple[DataFile, ...]

    @property
    def size(self) -> int | None:
        """Bytes to download, None when some size is not published."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


def _at(
    bases: tuple[str, ...],
    name: str,
    md5: str,
    sha256: str | None = None,
    size: int | None = None,
    *,
    unpack: bool = False,
) -> DataFile:
    """Describe a file that has the same name below several addresses."""
    return DataFile(name, tuple(f"{base}/{name}" for base in bases), md5, sha256, size, unpack)


_MNIST = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
_FASHION = (
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
)
_TORONTO = ("https://www.cs.toronto.edu/~kriz", "https://cave.cs.toronto.edu/kriz")
_SVHN = ("https://ufldl.stanford.edu/housenumbers",)
_STL10 = ("https://cs.stanford.edu/~acoates/stl10", "https://ai.stanford.edu/~acoates/stl10")
_SHD = ("https://zenkelab.org/datasets", "https://compneuro.net/datasets")
_NMNIST = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files"
_FIGSHARE = ("https://ndownloader.figshare.com/files", "https://figshare.com/ndownloader/files")

_DATASETS = (
    Dataset(
        "mnist",
        "MNIST handwritten digits",
        "https://yann.lecun.com/exdb/mnist",
        "CC BY-SA 3.0",
        (
            _at(
                _MNIST,
                "train-images-idx3-ubyte.gz",
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                9912422,
            ),
            _at(
                _MNIST,
                "train-labels-idx1-ubyte.gz",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                28881,
            ),
            _at(
                _MNIST,
                "t10k-images-idx3-ubyte.gz",
                "9fb629c4189551a2d022fa330f9573f3",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                1648877,
            ),
            _at(
                _MNIST,
                "t10k-labels-idx1-ubyte.gz",
                "ec29112dd5afa0611ce80d1b7f02629c",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                4542,
            ),
        ),
    ),
    Dataset(
        "fashion-mnist",
        "Fashion-MNIST garments",
        "https://github.com/zalandoresearch/fashion-mnist",
        "MIT",
        (
            _at(
                _FASHION,
                "train-images-idx3-ubyte.gz",
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                26421880,
            ),
            _at(
                _FASHION,
                "train-labels-idx1-ubyte.gz",
                "25c81989df183df01b3e8a0aad5dffbe",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                29515,
            ),
            _at(
                _FASHION,
                "t10k-images-idx3-ubyte.gz",
                "bef4ecab320f06d8554ea6380940ec79",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                4422102,
            ),
            _at(
                _FASHION,
                "t10k-labels-idx1-ubyte.gz",
                "bb300cfdad3c16e7a12a480ee83cd310",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                5148,
            ),
        ),
    ),
    Dataset(
        "cifar10",
        "CIFAR-10, binary version",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "none stated; cite Krizhevsky 2009",
        (
            _at(
                _TORONTO,
                "cifar-10-binary.tar.gz",
                "c32a1d4ab5d03f1284b67883e8d87530",
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                170052171,
                unpack=True,
            ),
        ),
    ),
    Dataset(
        "cifar100",
        "CIFAR-100, binary version",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "none stated; cite Krizhevsky 2009",
        (
            _at(
                _TORONTO,
                "cifar-100-binary.tar.gz",
                "03b5dce01913d631647c71ecec9e9cb8",
                None,
                168513733,
                unpack=True,
            ),
        ),
    ),
    Dataset(
        "svhn",
        "Street View House Numbers, cropped digits",
        "https://ufldl.stanford.edu/housenumbers",
        "non-commercial use only",
        (
            _at(
                _SVHN,
                "train_32x32.mat",
                "e26dedcc434d2e4c54c9b2d4a06d8373",
                "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
                182040794,
            ),
            _at(
                _SVHN,
                "test_32x32.mat",
                "eb5a983be6a315427106f1b164d9cef3",
                "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
                64275384,
            ),
        ),
    ),
    Dataset(
        "stl10",
        "STL-10",
        "https://cs.stanford.edu/~acoates/stl10",
        "none stated; images from ImageNet, cite Coates, Ng and Lee 2011",
        (
            _at(
                _STL10,
                "stl10_binary.tar.gz",
                "91f7769df0f17e558f3565bffb0c7dfb",
                None,
                2640397119,
                unpack=True,
            ),
        ),
    ),
    Dataset(
        "shd",
        "Spiking Heidelberg Digits",
        "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd",
        "CC BY 4.0",
        (
            _at(_SHD, "shd_train.h5.gz", "d47c9825dee33347913e8ce0f2be08b0"),
            _at(_SHD, "shd_test.h5.gz", "3062a80ec0c5719404d5b02e166543b1"),
        ),
    ),
    Dataset(
        "n-mnist",
        "Neuromorphic MNIST",
        "https://www.garrickorchard.com/datasets/n-mnist",
        "CC BY-SA 4.0",
        (
            DataFile(
                "train.zip",
                (f"{_NMNIST}/39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",),
                "20959b8e626244a1b502305a9e6e2031",
            ),
            DataFile(
                "test.zip",
                (f"{_NMNIST}/05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",),
                "69ca8762b2fe404d9b9bad1103e97832",
            ),
        ),
    ),
    Dataset(
        "dvs-gesture",
        "DVS128 Gesture, cut into gestures",
        "https://research.ibm.com/interactive/dvsgesture",
        "CC BY 4.0",
        (
            DataFile(
                "ibmGestureTrain.tar.gz",
                tuple(f"{base}/38022171" for base in _FIGSHARE),
                "3a8f0d4120a166bac7591f77409cb105",
                unpack=True,
            ),
            DataFile(
                "ibmGestureTest.tar.gz",
                tuple(f"{base}/38020584" for base in _FIGSHARE),
                "56070e45dadaa85fff82e0fbfbc06de5",
                unpack=True,
            ),
        ),
    ),
    Dataset(
        "cifar10-dvs",
        "CIFAR10-DVS",
        "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671",
        "CC BY 4.0",
        (
            DataFile(
                "CIFAR10DVS.zip",
                tuple(f"{base}/38023437" for base in _FIGSHARE),
                "ce3a4a0682dc0943703bd8f749a7701c",
                unpack=True,
            ),
        ),
    ),
)

CATALOG = {dataset.name: dataset for dataset in _DATASETS}


def find_dataset(name: str) -> Dataset:
    """Look up a data set.

    Raises:
        UserError: No data set is called so.
    """
    if name not in CATALOG:
        raise UserError(f"unknown data set {name!r}; known are {', '.join(CATALOG)}")
    return CATALOG[name]
