"""Networks like those of users: structured outputs, blocks that return tuples, transformers, recurrent layers, -100."""

from __future__ import annotations

import copy
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import bdfa
import pytest
import torch
import torch.nn.functional as F
from bdfa.model.outputs import scores_of
from plain_gradients import learnt, plain_gradients
from torch import Tensor, nn

INPUTS, WIDTH, CLASSES, BATCH, TIME, TOKENS = 6, 8, 4, 5, 7, 11
DIRECT = [name for name, rule in bdfa.RULES.items() if rule.family == "direct"]
LAYER = [name for name, rule in bdfa.RULES.items() if rule.family == "layer"]
RATE = 0.05
random = torch.Generator().manual_seed(1)
X, Y = torch.randn(BATCH, INPUTS, generator=random), torch.randint(0, CLASSES, (BATCH,), generator=random)
SEQUENCE = torch.randn(BATCH, TIME, INPUTS, generator=random)
IDS = torch.randint(0, TOKENS, (BATCH, TIME), generator=random)
NEXT = torch.cat([IDS[:, 1:], torch.full((BATCH, 1), -100)], 1)


@dataclass
class Record:
    logits: Tensor
    loss: Tensor | None = None
    hidden: tuple[Tensor, ...] = ()


@dataclass
class HuggingFaceLike(OrderedDict):
    """Fields that are attributes and entries at once, those that are None left out of the entries."""

    loss: Tensor | None = None
    logits: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("loss", "logits"):
            if getattr(self, name) is not None:
                super().__setitem__(name, getattr(self, name))

    def __setitem__(self, key, value) -> None:
        super().__setitem__(key, value)
        object.__setattr__(self, key, value)

    def __reduce__(self):
        return type(self), (self.loss, self.logits)


Pair = namedtuple("Pair", ["aux", "logits"])
KINDS = {
    "tuple": lambda z, h: (z, h),
    "loss first": lambda z, h: (z.square().mean(), z, h),
    "list": lambda z, h: [z, h],
    "named tuple": lambda z, h: Pair(h, z),
    "dictionary": lambda z, h: {"hidden": h, "logits": z},
    "dictionary of one": lambda z, _: {"out": z},
    "dataclass": lambda z, h: Record(z, z.square().mean(), (h,)),
    "Hugging Face": lambda z, _: HuggingFaceLike(logits=z, loss=z.square().mean()),
    "namespace": lambda z, h: SimpleNamespace(logits=z, hidden=h),
}


class Wrapped(nn.Module):
    def __init__(self, change) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.tanh, self.second = nn.Linear(INPUTS, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH)
        self.act, self.last, self.change = nn.Tanh(), nn.Linear(WIDTH, CLASSES), change

    def forward(self, x: Tensor):
        h = self.act(self.second(self.tanh(self.first(x))))
        return self.change(self.last(h), h)


@pytest.mark.parametrize("rule", [rule for rule in bdfa.RULES if rule != "bfa"])
@pytest.mark.parametrize("kind", KINDS)
def test_structured_outputs_train_as_plain_ones(kind, rule):
    criterion = bdfa.Criterion("ce")
    found = []
    for change in (lambda z, _: z, KINDS[kind]):
        model = bdfa.FeedbackModel(Wrapped(change), rule, example=X, feedback_lr=RATE)
        torch.manual_seed(0)
        output = model(X, labels=Y)
        assert type(output) is type(change(torch.zeros(2, 3), torch.zeros(2, 2)))
        criterion(output, Y).backward()
        found.append([p.grad for p in model.model.parameters()] + [b.clone() for b in model.buffers()])
    for plain, ours in zip(*found, strict=True):
        assert torch.equal(ours, plain)


@pytest.mark.parametrize("rule", DIRECT)
@pytest.mark.parametrize(
    ("kind", "place"), [("loss first", 0), ("dataclass", "loss"), ("Hugging Face", "loss"), ("tuple", 1)]
)
def test_a_loss_past_the_rule_is_refused(kind, place, rule):
    model = bdfa.FeedbackModel(Wrapped(KINDS[kind]), rule, example=X)
    output = model(X, labels=Y)
    part = output[place] if isinstance(output, tuple) else getattr(output, place)
    with pytest.raises(ValueError, match=rf"a loss uses '{place}' of the network's output"):
        part.sum().backward()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda z, _: (z, z), "returns a tuple with 0 .* 1"),
        (lambda z, h: {"start": z, "end": z}, "returns a dict with start .* end"),
        (lambda z, h: {"one": z, "other": h}, "returns a dict"),
        (lambda z, _: z.tolist(), "returns a list with no tensor"),
    ],
)
def test_unclear_outputs_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        bdfa.FeedbackModel(Wrapped(change), "dfa", example=X)


class Changing(nn.Module):
    """Returns its tensor in a tuple, and later nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.empty = nn.Linear(INPUTS, WIDTH), False

    def forward(self, x: Tensor):
        return {} if self.empty else (torch.tanh(self.inner(x)), None)


def test_a_tap_that_returns_something_else_later_is_refused():
    changing = Changing()
    model = bdfa.FeedbackModel(nn.Sequential(changing, First(), nn.Linear(WIDTH, CLASSES)), "dfa", taps=["0"])
    model(X)
    changing.empty = True
    with pytest.raises(ValueError, match="tap '0' returned a dict without the tensor at 0"):
        model(X)


def test_examples_may_be_keywords():
    model = bdfa.FeedbackModel(Wrapped(lambda z, _: z), "dfa", example={"x": X})
    assert model.tap_names == ["tanh", "act"]


# Transformers: the shapes and outputs of GPT-2, BERT and ViT, without dropout


class Attention(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.mix, self.out, self.causal = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH), causal

    def forward(self, x: Tensor):
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.mix(x).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).flatten(2)), None


class First(nn.Module):
    """Takes the first of several."""

    def forward(self, output):
        return output[0]


class Block(nn.Module):
    """Returns a tuple, as blocks of Hugging Face do or did."""

    def __init__(self, before: bool, causal: bool) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attention = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), Attention(causal)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.before = before

    def forward(self, x: Tensor):
        if self.before:
            x = x + self.attention(self.norm1(x))[0]
            return x + self.mlp(self.norm2(x)), x
        x = self.norm1(x + self.attention(x)[0])
        return self.norm2(x + self.mlp(x)), None


class Language(nn.Module):
    """GPT-2 (`before`, causal) or BERT, the output layer tied to the embedding as in both."""

    def __init__(self, before: bool, tied: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.places = nn.Embedding(TOKENS, WIDTH), nn.Embedding(TIME, WIDTH)
        self.drop = nn.Dropout(0.0)
        self.blocks = nn.ModuleList(Block(before, before) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, TOKENS, bias=False)
        self.head.weight = nn.Parameter(self.tokens.weight.detach().clone())
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor):
        h = self.drop(self.tokens(ids) + self.places(torch.arange(ids.shape[1])[None]))
        for block in self.blocks:
            h = block(h)[0]
        return HuggingFaceLike(logits=self.head(self.norm(h)))


class Vision(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(1, WIDTH, 2, stride=2)
        self.token, self.places = (
            nn.Parameter(torch.randn(1, 1, WIDTH)),
            nn.Parameter(torch.randn(1, 5, WIDTH)),
        )
        self.drop = nn.Dropout(0.0)
        self.blocks = nn.Sequential(*(Whole(Block(True, False)) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = self.drop(torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places)
        return {"logits": self.head(self.norm(self.blocks(x))[:, 0])}


class Whole(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)[0]


def first(output):
    return output[0] if isinstance(output, tuple) else output


def check_against_plain(make, rule, inputs, labels, picks=(), tap_names=None, untied=None):
    """Gradients, and with bdfa the change of the feedback, are those of the rule written out plainly."""
    model = bdfa.FeedbackModel(make(), rule, example=inputs, seed=2, feedback_lr=RATE)
    if tap_names is not None:
        assert model.tap_names == tap_names
    matrices = [matrix.clone() for matrix in model.feedback.matrices]
    output = model(inputs, labels=labels)
    bdfa.Criterion("ce")(output, labels).backward()
    picks = dict.fromkeys(model.tap_names, first) | dict(picks)
    taps = {name: (picks[name], matrix) for name, matrix in zip(model.tap_names, matrices, strict=True)}
    net = (untied or make)()
    wanted = plain_gradients(net, inputs, labels, rule, taps, scores_of)
    if untied is not None:
        wanted["tokens.weight"] += wanted.pop("head.weight")
    for name, parameter in model.model.named_parameters():
        assert (parameter.grad is None) == (name not in wanted), name
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, wanted[name], msg=name, rtol=1e-4, atol=1e-6)
    if rule == "bdfa":
        with model.activations() as recorded:
            scores = scores_of(model(inputs))
        for name, old, new in zip(model.tap_names, matrices, model.feedback.matrices, strict=True):
            torch.testing.assert_close(new, learnt(old, recorded[name], scores, labels, RATE), msg=name)


@pytest.mark.parametrize("rule", DIRECT)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_language_models(before, tied, rule):
    taps = ["drop", "blocks.0", "norm"]
    if not before:  # normed sums cut inside of the blocks too
        taps = ["drop", "blocks.0.norm1", "blocks.0.norm2", "blocks.1.norm1", "norm"]
    check_against_plain(
        lambda: Language(before, tied), rule, IDS, NEXT, (), taps,
        untied=(lambda: Language(before, False)) if tied else None,
    )  # fmt: skip


@pytest.mark.parametrize("rule", DIRECT)
def test_vision_transformer(rule):
    images = torch.randn(BATCH, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    check_against_plain(Vision, rule, images, Y, {"patches": first}, ["patches", "drop", "blocks.0", "norm"])


def test_labels_that_are_the_inputs_warn():
    model = bdfa.FeedbackModel(Language(True, True), "bdfa", example=IDS)
    with pytest.warns(UserWarning, match="the labels are the inputs themselves"):
        model(IDS, labels=IDS)


def test_another_length_of_pooled_sequences_is_explained():
    net = nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.Tanh(), Pooled())
    model = bdfa.FeedbackModel(net, "dfa", example=SEQUENCE)
    with pytest.raises(ValueError, match=r"tap '1' has 40 units per sample in this pass.* drawn for 56"):
        model(SEQUENCE[:, :5])


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.mean(1))


@pytest.mark.parametrize("rule", LAYER)
def test_tied_language_models_are_refused_under_layer_feedback(rule):
    with pytest.raises(ValueError, match="'head' is tied to layer 'tokens'"):
        bdfa.FeedbackModel(Language(True, True), rule, example=IDS)


class HeadFirst(nn.Module):
    """The output layer is registered before the others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head, self.body, self.second = (
            nn.Linear(WIDTH, CLASSES),
            nn.Linear(INPUTS, WIDTH),
            nn.Linear(WIDTH, WIDTH),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.body(x).tanh()).tanh())


@pytest.mark.parametrize("example", [X, None])
def test_the_order_of_registration_is_not_that_of_the_run(example):
    """Otherwise the head would send its errors back through its own weights, like back-propagation."""
    model = bdfa.FeedbackModel(HeadFirst(), "fa", example=example)
    loss = bdfa.Criterion("ce")(model(X), Y)
    assert set(model.feedback_names()) == {"head", "body", "second"}
    loss.backward()
    net = model.model
    h1 = torch.tanh(X @ net.body.weight.T + net.body.bias)
    h2 = torch.tanh(h1 @ net.second.weight.T + net.second.bias)
    e = (torch.softmax(h2 @ net.head.weight.T + net.head.bias, 1) - F.one_hot(Y, CLASSES)) / BATCH
    d2 = (e @ net.head.feedback) * (1 - h2**2)
    d1 = (d2 @ net.second.feedback) * (1 - h1**2)
    torch.testing.assert_close(net.body.weight.grad, d1.T @ X)
    torch.testing.assert_close(net.second.weight.grad, d2.T @ h1)


def test_late_feedback_that_is_a_parameter_needs_an_example():
    with pytest.raises(ValueError, match=r"'head' is registered first.* give example="):
        bdfa.FeedbackModel(HeadFirst(), "kolen-pollack")(X)
    model = bdfa.FeedbackModel(HeadFirst(), "kolen-pollack", example=X)
    assert "model.head.feedback" in dict(model.named_parameters())


# Recurrent layers


class Recurrent(nn.Module):
    """LSTM or GRU, read out at every step, at the last, or from the last state."""

    def __init__(self, kind, batch_first: bool, read: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = kind(INPUTS, WIDTH, batch_first=batch_first)
        self.last, self.read, self.batch_first = nn.Linear(WIDTH, CLASSES), read, batch_first

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        out, state = self.rnn(x)
        if self.read == "state":
            return self.last((state[0] if isinstance(state, tuple) else state)[-1])
        if self.read == "end":
            return self.last(out[:, -1] if self.batch_first else out[-1])
        scores = self.last(out)
        return scores if self.batch_first else scores.transpose(0, 1)


@pytest.mark.parametrize("rule", DIRECT)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("read", ["state", "end", "all"])
@pytest.mark.parametrize("time", [TIME, BATCH])  # as many steps as samples: shapes do not tell which is which
def test_recurrent_layers(read, batch_first, kind, rule, time):
    sequence = SEQUENCE[:, :time]
    labels = torch.randint(0, CLASSES, (BATCH, time), generator=torch.Generator().manual_seed(5))

    def pick(output):
        states = output[1][0] if isinstance(output[1], tuple) else output[1]
        tensor = states if read == "state" else output[0]
        return tensor if batch_first and read != "state" else tensor.transpose(0, 1)

    check_against_plain(
        lambda: Recurrent(kind, batch_first, read), rule, sequence, labels if read == "all" else Y, {"rnn": pick},
        ["rnn"],
    )  # fmt: skip


@pytest.mark.parametrize("rule", LAYER)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_layer_feedback_refuses_recurrent_layers(kind, rule):
    net = Recurrent(kind, True, "end")
    with pytest.raises(ValueError, match=f"layer 'rnn' is an nn.{kind.__name__}"):
        bdfa.FeedbackModel(net, rule, example=SEQUENCE)
    assert type(net.last) is nn.Linear


def test_time_major_attention_of_as_many_steps_as_samples():
    """The shapes do not tell which dimension is the batch; signals must not go to other samples."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.enter = nn.Linear(INPUTS, WIDTH)
            self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0)  # (time, batch, unit)
            self.last = nn.Linear(WIDTH, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.layer(self.enter(x.transpose(0, 1))).mean(0))

    def swap(output):
        return output.transpose(0, 1)

    for rule in DIRECT:
        check_against_plain(
            Encoder, rule, SEQUENCE[:, :BATCH], Y, {"enter": swap, "layer": swap, "layer.norm1": swap}
        )


# Labels of -100


@pytest.mark.parametrize("rule", bdfa.RULES)
@pytest.mark.parametrize("loss", ["bce", "ce"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_ignored_samples_are_as_if_they_were_not_there(rule, loss, reduction):
    labels = Y.clone()
    labels[[1, 3]] = -100
    kept = labels != -100
    criterion = bdfa.Criterion(loss, reduction)
    found = []
    for target in bdfa.TARGETS if rule == "bdfa" else ("center",):
        for mask in (slice(None), kept):
            net = bdfa.initialise(bdfa.mlp(INPUTS, (WIDTH, WIDTH), CLASSES), seed=1)
            options = {"feedback_target": target} if rule == "bdfa" else {}
            model = bdfa.FeedbackModel(net, rule, feedback_lr=RATE, feedback_update="manual", **options)
            torch.manual_seed(0)
            value = criterion(model(X[mask], labels=labels[mask]), labels[mask])
            value.backward()
            model.feedback_step()
            found.append([value, *(p.grad for p in net.parameters()), *model.state_dict().values()])
        for with_them, without in zip(*found[-2:], strict=True):
            torch.testing.assert_close(with_them, without)


def test_ignored_samples_in_the_criterion():
    scores, labels = torch.randn(5, 3), torch.tensor([0, -100, 2, 1, -100])
    for name in ("bce", "ce"):
        criterion, kept = bdfa.Criterion(name, "mean"), labels != -100
        torch.testing.assert_close(criterion(scores, labels), criterion(scores[kept], labels[kept]))
        torch.testing.assert_close(
            criterion.report(scores, labels), criterion.report(scores[kept], labels[kept])
        )
        error = criterion.error(scores, labels)
        torch.testing.assert_close(error[kept], criterion.error(scores[kept], labels[kept]))
        assert not error[~kept].any()
        assert criterion(scores, torch.full((5,), -100)) == 0
    torch.testing.assert_close(bdfa.Criterion("ce")(scores, labels), F.cross_entropy(scores, labels))


def test_other_labels_below_zero_stay_refused():
    for labels in ([-1, 0], [-100, 3], [-100, -99], [-101, 0]):
        with pytest.raises(ValueError, match="labels range from"):
            bdfa.Criterion("ce")(torch.zeros(2, 3), torch.tensor(labels))
    fast = bdfa.FastMLP(bdfa.FeedbackModel(bdfa.mlp(INPUTS, (4,), 3), "dfa"))
    with pytest.raises(ValueError, match="labels hold -100"):
        fast.step(X[:2], torch.tensor([-100, 1]))
    with pytest.raises(ValueError, match="labels hold -100"):
        bdfa.FeedbackModel(bdfa.mlp(INPUTS, (4,), 3), "bfa").generate(torch.tensor([-100, 1]))


def test_copies_and_pickles_of_structured_taps(tmp_path):
    model = bdfa.FeedbackModel(Language(True, True), "dfa", example=IDS)
    torch.save(model, tmp_path / "model.pt")
    for twin in (copy.deepcopy(model), torch.load(tmp_path / "model.pt", weights_only=False)):
        for each in (model, twin):
            each.zero_grad()
            bdfa.Criterion("ce")(each(IDS), NEXT).backward()
        for ours, theirs in zip(twin.parameters(), model.parameters(), strict=True):
            assert torch.equal(ours.grad, theirs.grad)


# The libraries themselves, where they are installed


def hugging_face(name: str):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": WIDTH, "intermediate_size": 12}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if name == "GPT-2":
        config = transformers.GPT2Config(
            vocab_size=TOKENS, n_positions=TIME, n_embd=WIDTH, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, tie_word_embeddings=False,
        )  # fmt: skip
        return transformers.GPT2LMHeadModel(config)
    if name == "BERT":
        config = transformers.BertConfig(
            vocab_size=TOKENS, max_position_embeddings=TIME, tie_word_embeddings=False, **small, **still
        )
        return transformers.BertForMaskedLM(config)
    config = transformers.ViTConfig(
        image_size=4, patch_size=2, num_channels=1, num_labels=CLASSES, **small, **still
    )
    return transformers.ViTForImageClassification(config)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["GPT-2", "BERT", "ViT"])
def test_hugging_face_networks(name):
    inputs, labels = (torch.randn(BATCH, 1, 4, 4), Y) if name == "ViT" else (IDS, NEXT)
    for rule in DIRECT:
        check_against_plain(lambda: hugging_face(name), rule, inputs, labels)
