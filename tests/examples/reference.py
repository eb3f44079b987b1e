"""What a BERT with mean pooling computes, a number at a time: slow, and after the definitions.

Shares no code with the example, and no library: lists of floats, and `math`.
"""

import math
import unicodedata
from collections.abc import Sequence

from tests.examples.tiny_model import EPSILON, HEADS, LAYERS, MAX_TOKENS, VOCABULARY, Tensors

Vector = list[float]


def tokens_of(text: str) -> list[int]:
    """Returns the ids of a text: words in lower case, each cut into the longest pieces known."""
    plain = unicodedata.normalize("NFD", text.lower())
    plain = "".join(letter for letter in plain if unicodedata.category(letter) != "Mn")
    spaced = "".join(letter if letter.isalnum() else f" {letter} " for letter in plain)
    pieces = [piece for word in spaced.split() for piece in pieces_of(word)]
    kept = pieces[: MAX_TOKENS - 2]
    return [VOCABULARY.index(token) for token in ["[CLS]", *kept, "[SEP]"]]


def pieces_of(word: str) -> list[str]:
    """Returns a word's pieces from its beginning on; one that is not known makes all of it so."""
    pieces: list[str] = []
    while word:
        prefix = "##" if pieces else ""
        known = [end for end in range(len(word), 0, -1) if prefix + word[:end] in VOCABULARY]
        if not known:
            return ["[UNK]"]
        pieces.append(prefix + word[: known[0]])
        word = word[known[0] :]
    return pieces


def embed(tensors: Tensors, text: str) -> Vector:
    """Returns the vector of a text."""
    hidden = []
    for position, token in enumerate(tokens_of(text)):
        parts = [
            tensors["embeddings.word_embeddings.weight"].rows()[token],
            tensors["embeddings.position_embeddings.weight"].rows()[position],
            tensors["embeddings.token_type_embeddings.weight"].rows()[0],
        ]
        together = [sum(numbers) for numbers in zip(*parts, strict=True)]
        hidden.append(norm(tensors, "embeddings.LayerNorm", together))
    for number in range(LAYERS):
        hidden = layer(tensors, f"encoder.layer.{number}", hidden)
    mean = [sum(column) / len(hidden) for column in zip(*hidden, strict=True)]
    length = math.sqrt(sum(x * x for x in mean))
    return [x / length for x in mean]


def layer(tensors: Tensors, name: str, hidden: Sequence[Vector]) -> list[Vector]:
    """Returns what one layer makes of the vectors of a text."""
    query, key, value = (
        [linear(tensors, f"{name}.attention.self.{part}", vector) for vector in hidden]
        for part in ("query", "key", "value")
    )
    following = []
    for position, vector in enumerate(hidden):
        attended: Vector = []
        width = len(vector) // HEADS
        for begin in range(0, len(vector), width):
            head = slice(begin, begin + width)
            scores = [dot(query[position][head], k[head]) / math.sqrt(width) for k in key]
            powers = [math.exp(score) for score in scores]
            weights = [power / sum(powers) for power in powers]
            columns = zip(*(vector[head] for vector in value), strict=True)
            attended += [dot(weights, column) for column in columns]
        added = add(vector, linear(tensors, f"{name}.attention.output.dense", attended))
        middle = norm(tensors, f"{name}.attention.output.LayerNorm", added)
        inner = [gelu(x) for x in linear(tensors, f"{name}.intermediate.dense", middle)]
        added = add(middle, linear(tensors, f"{name}.output.dense", inner))
        following.append(norm(tensors, f"{name}.output.LayerNorm", added))
    return following


def linear(tensors: Tensors, name: str, vector: Vector) -> Vector:
    """Returns a dense step of one vector."""
    products = [dot(row, vector) for row in tensors[f"{name}.weight"].rows()]
    return add(products, tensors[f"{name}.bias"].numbers)


def norm(tensors: Tensors, name: str, vector: Vector) -> Vector:
    """Returns the vector with mean 0 and variance 1, scaled and shifted."""
    mean = sum(vector) / len(vector)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in vector) / len(vector) + EPSILON)
    scaled = [
        (x - mean) / deviation * scale
        for x, scale in zip(vector, tensors[f"{name}.weight"].numbers, strict=True)
    ]
    return add(scaled, tensors[f"{name}.bias"].numbers)


def gelu(x: float) -> float:
    """Returns x times the chance that a normal number is at most x."""
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    """Returns the sum of the products."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def add(one: Sequence[float], other: Sequence[float]) -> Vector:
    """Returns the sum, number by number."""
    return [a + b for a, b in zip(one, other, strict=True)]
