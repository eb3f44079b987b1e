"""The vectors of the server in Python are those that the model defines.

A tiny model is compared with `reference`, number by number, and the real one with the cosines that
its publishers print for three sentences.
"""

import json
import math
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.examples import reference
from tests.examples.tiny_model import (
    CONFIG,
    MAX_TOKENS,
    POOLING,
    Tensor,
    random_tensors,
    safetensors,
    tokenizer,
    write_model,
)

DRIVER = """
import json, sys
from pathlib import Path
from minilm import ModelError, SentenceModel

for line in sys.stdin:
    question = json.loads(line)
    try:
        model = SentenceModel.load(Path(question["folder"]))
    except ModelError as error:
        print(json.dumps({"error": str(error)}))
    else:
        answers = [model.embed(texts).tolist() for texts in question["batches"]]
        print(json.dumps({"dimension": model.dimension, "batches": answers}))
"""
# One process for all of them.
pytestmark = pytest.mark.xdist_group("embeddings")

# float32 has 7 digits, and some are lost on the way through the layers.
CLOSE = 1e-5

TEXTS = [
    "The sun is a cafe.",
    "the suns, the sunshine",
    "UNKNOWN",
    "Café, quux. a aa aaa b",
    "",
    "sunshine " * 20,
]
PUBLISHED_SENTENCES = [
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
]
# From the README of sentence-transformers, for all-MiniLM-L6-v2.
PUBLISHED_COSINES = [(0, 1, 0.6660), (0, 2, 0.1046), (1, 2, 0.1411)]

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def ask(example_python: Path) -> Iterator[Ask]:
    """Returns what the model of a folder answers to batches of texts, or why it is refused."""
    with subprocess.Popen(
        [example_python, "-W", "error", "-u", "-c", DRIVER],
        cwd=ROOT / "examples/python-server",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None
        questions, answers = driver.stdin, driver.stdout

        def ask(folder: Path, *batches: Sequence[str]) -> Any:
            questions.write(json.dumps({"folder": str(folder), "batches": batches}) + "\n")
            return json.loads(answers.readline())

        yield ask
        questions.close()
        assert driver.wait() == 0


def assert_close(one: Sequence[float], other: Sequence[float]) -> None:
    """Fails unless the vectors are the same but for rounding."""
    assert max(abs(a - b) for a, b in zip(one, other, strict=True)) < CLOSE


@pytest.mark.parametrize("seed", range(4))
def test_vectors_are_those_of_the_definition(ask: Ask, tmp_path: Path, seed: int) -> None:
    """Words, pieces, case, accents, signs, unknown ones, no words and too many, in one batch."""
    tensors = random_tensors(seed)
    answer = ask(write_model(tmp_path / "model", tensors), TEXTS)
    for text, vector in zip(TEXTS, answer["batches"][0], strict=True):
        assert_close(vector, reference.embed(tensors, text))


def test_attention_beyond_the_range_of_exp(ask: Ask, tmp_path: Path) -> None:
    """Scores whose exponential float32 cannot say still become weights."""
    tensors = random_tensors(4)
    for part in ("query", "key"):
        name = f"encoder.layer.0.attention.self.{part}.bias"
        tensors[name] = Tensor(tensors[name].shape, [16.0] * len(tensors[name].numbers))
    answer = ask(write_model(tmp_path / "model", tensors), TEXTS)
    for text, vector in zip(TEXTS, answer["batches"][0], strict=True):
        assert vector == pytest.approx(reference.embed(tensors, text), abs=1e-3)


def test_what_else_is_asked_changes_no_vector(ask: Ask, tmp_path: Path) -> None:
    """Padding to the longest text of a batch gets no attention and no share of the mean."""
    folder = write_model(tmp_path / "model", random_tensors(5))
    together, *alone = ask(folder, TEXTS, *([text] for text in TEXTS))["batches"]
    for batched, (single,) in zip(together, alone, strict=True):
        assert_close(batched, single)


def test_no_texts_have_no_vectors(ask: Ask, tmp_path: Path) -> None:
    """An empty batch is no failure."""
    assert ask(write_model(tmp_path / "model", random_tensors(6)), [])["batches"] == [[]]


def test_vectors_of_the_real_model(ask: Ask, real_model: Path) -> None:
    """They have length 1 and 384 numbers, and the cosines that its publishers print."""
    answer = ask(real_model, PUBLISHED_SENTENCES)
    assert answer["dimension"] == 384
    (vectors,) = answer["batches"]
    for vector in vectors:
        assert len(vector) == 384
        assert math.isclose(math.sqrt(reference.dot(vector, vector)), 1, abs_tol=CLOSE)
    for one, other, cosine in PUBLISHED_COSINES:
        assert round(reference.dot(vectors[one], vectors[other]), 4) == cosine


def replaced(name: str, tensor: Tensor | None) -> bytes:
    """Returns weights of which one tensor is missing, or is another one."""
    tensors = random_tensors(7)
    del tensors[name]
    return safetensors(tensors | ({name: tensor} if tensor else {}))


def changed(content: Any, **changes: Any) -> bytes:
    """Returns a JSON file with other values."""
    return json.dumps({**content, **changes}).encode()


WORDS = "embeddings.word_embeddings.weight"
QUERY = "encoder.layer.1.attention.self.query.weight"


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("config.json", None, "FileNotFoundError"),
        ("config.json", b"{", "JSONDecodeError"),
        ("config.json", b"\xff", "UnicodeDecodeError"),
        ("config.json", b"[]", "AttributeError"),
        ("config.json", b"{}", "its model_type is None, and only 'bert' is done here"),
        ("config.json", changed(CONFIG, hidden_act="relu"), "its hidden_act is 'relu'"),
        ("config.json", changed(CONFIG, position_embedding_type="relative_key"), "not absolute"),
        ("config.json", changed(CONFIG, num_hidden_layers=3), "no tensor encoder.layer.2."),
        ("config.json", changed(CONFIG, num_attention_heads=3), "ValueError"),
        ("config.json", changed(CONFIG, num_attention_heads="2"), "TypeError"),
        ("1_Pooling/config.json", changed(POOLING, pooling_mode_max_tokens=True), "it is pooled"),
        ("1_Pooling/config.json", changed(POOLING, pooling_mode_mean_tokens=False), "it is pooled"),
        ("sentence_bert_config.json", b"{}", "KeyError"),
        ("tokenizer.json", None, "tokenizer.json"),
        ("tokenizer.json", b"{}", "tokenizer.json"),
        ("model.safetensors", None, "FileNotFoundError"),
        ("model.safetensors", b"\x02\0\0\0\0\0\0\0{}!", "SafetensorError"),
        ("model.safetensors", replaced(QUERY, None), f"there is no tensor {QUERY}"),
        ("model.safetensors", replaced(QUERY, Tensor((2, 2), [0.0] * 4)), "ValueError"),
        ("model.safetensors", replaced(WORDS, Tensor((3, 8), [0.0] * 24)), "more tokens than"),
    ],
)
def test_what_cannot_be_run_is_refused(
    ask: Ask, tmp_path: Path, file: str, content: bytes | None, reason: str
) -> None:
    """When it is loaded, and with a reason: a wrong vector would never be noticed."""
    folder = write_model(tmp_path / "model", random_tensors(7))
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    assert reason in ask(folder, ["the sun"])["error"]


def test_weights_of_other_numbers_are_refused(ask: Ask, tmp_path: Path) -> None:
    """Half precision would be computed in another way than the model's publishers do."""
    folder = write_model(tmp_path / "model", random_tensors(8))
    weights = (folder / "model.safetensors").read_bytes()
    # Of a type with as many bytes, so that the file is a sound one.
    (folder / "model.safetensors").write_bytes(weights.replace(b'"F32"', b'"I32"', 1))
    assert "int32, and float32 is what is done here" in ask(folder, ["the sun"])["error"]


def test_the_tokenizer_has_figures_of_its_own() -> None:
    """Else the test of long texts would not see whose length is taken."""
    assert tokenizer()["truncation"]["max_length"] != MAX_TOKENS
