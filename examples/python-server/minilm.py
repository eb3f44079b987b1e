"""Turns texts into vectors: a BERT with mean pooling, on numpy alone.

Reads a folder as sentence-transformers leaves it, such as all-MiniLM-L6-v2. Knows neither assetd
nor HTTP. What the folder asks for and this does not do is refused: a vector that is only nearly
right would never be noticed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tokenizers import Tokenizer

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

# What files that say something unexpected end in, here and in numpy.
WRONG_FILES = (OSError, ValueError, TypeError, LookupError, AttributeError)


class ModelError(Exception):
    """The folder holds no model that this can run; the message says why."""


@dataclass(frozen=True)
class Linear:
    """`x @ weight.T + bias`: weights lie in the file as (outputs, inputs)."""

    weight: Floats
    bias: Floats

    def __call__(self, inputs: Floats) -> Floats:
        """Return the outputs, along the last axis."""
        return inputs @ self.weight.T + self.bias


@dataclass(frozen=True)
class LayerNorm:
    """Brings each vector to mean 0 and variance 1, then scales and shifts it."""

    weight: Floats
    bias: Floats
    epsilon: float

    def __call__(self, inputs: Floats) -> Floats:
        """Return the vectors of the last axis, normalised."""
        centred = inputs - inputs.mean(axis=-1, keepdims=True)
        variance = (centred * centred).mean(axis=-1, keepdims=True)
        normal: Floats = centred / np.sqrt(variance + np.float32(self.epsilon))
        return normal * self.weight + self.bias


@dataclass(frozen=True)
class Layer:
    """One layer of the encoder: attention, then two dense steps, each added to its input."""

    query: Linear
    key: Linear
    value: Linear
    attention_output: Linear
    attention_norm: LayerNorm
    intermediate: Linear
    output: Linear
    output_norm: LayerNorm
    head_count: int

    def __call__(self, hidden: Floats, bias: Floats) -> Floats:
        """Return the hidden states (texts, tokens, width); `bias` is -inf where padding is."""
        attended = self.attention_output(self._attend(hidden, bias))
        hidden = self.attention_norm(hidden + attended)
        return self.output_norm(hidden + self.output(gelu(self.intermediate(hidden))))

    def _attend(self, hidden: Floats, bias: Floats) -> Floats:
        query, key, value = (self._heads(f(hidden)) for f in (self.query, self.key, self.value))
        scores = query @ key.swapaxes(-1, -2) / np.sqrt(np.float32(query.shape[-1])) + bias
        mixed = softmax(scores) @ value
        return mixed.swapaxes(1, 2).reshape(hidden.shape)

    def _heads(self, vectors: Floats) -> Floats:
        """Return (texts, heads, tokens, width of a head)."""
        texts, tokens, width = vectors.shape
        split = vectors.reshape(texts, tokens, self.head_count, width // self.head_count)
        return split.swapaxes(1, 2)


class SentenceModel:
    """A model in memory. Safe for threads: nothing in it changes."""

    def __init__(
        self, config: Mapping[str, Any], tensors: Mapping[str, Floats], tokenizer: Tokenizer
    ) -> None:
        """Put the tensors in their places; `load` checks what they are.

        Raises:
            ModelError: a tensor is missing, or there are fewer words than tokens.
        """
        weights = Weights(tensors, config["layer_norm_eps"])
        self._tokenizer = tokenizer
        self._words = weights.array("embeddings.word_embeddings.weight")
        if tokenizer.get_vocab_size() > len(self._words):
            raise ModelError("its tokenizer knows more tokens than it has vectors for")
        self._positions = weights.array("embeddings.position_embeddings.weight")
        # Of the two kinds of text that a BERT knows, a single text is always the first.
        self._kind = weights.array("embeddings.token_type_embeddings.weight")[0]
        self._norm = weights.norm("embeddings.LayerNorm")
        self._layers = [
            weights.layer(f"encoder.layer.{number}", config["num_attention_heads"])
            for number in range(config["num_hidden_layers"])
        ]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the model in a folder.

        Raises:
            ModelError: a file is missing or damaged, or asks for what is not done here.
        """
        try:
            config = json.loads((folder / "config.json").read_text())
            pooling = json.loads((folder / "1_Pooling/config.json").read_text())
            sentences = json.loads((folder / "sentence_bert_config.json").read_text())
            require(config, model_type="bert", hidden_act="gelu")
            if config.get("position_embedding_type", "absolute") != "absolute":
                raise ModelError("its positions are not absolute")
            if modes(pooling) != ["pooling_mode_mean_tokens"]:
                raise ModelError(f"it is pooled by {modes(pooling)}, not by the mean alone")
            tensors = load_file(folder / "model.safetensors")
            tokenizer = read_tokenizer(folder, config, sentences["max_seq_length"])
            model = cls(config, tensors, tokenizer)
            # Tensors of shapes that do not go together are found now, not by the first request.
            model.embed(["a text"])
        except (*WRONG_FILES, SafetensorError) as error:
            raise ModelError(f"{folder}: {type(error).__name__}: {error}") from error
        return model

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        dimension: int = self._words.shape[1]
        return dimension

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return a vector of length 1 for each text, as rows.

        What is longer than the model was trained for is cut off, as sentence-transformers does.
        """
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        encodings = self._tokenizer.encode_batch(list(texts))
        tokens = np.array([encoding.ids for encoding in encodings], np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        return normalised(mean_of_tokens(self._encode(tokens, mask), mask))

    def _encode(self, tokens: Integers, mask: Integers) -> Floats:
        """Return the last hidden states: (texts, tokens, width)."""
        positions = self._positions[: tokens.shape[1]]
        hidden = self._norm(self._words[tokens] + self._kind + positions)
        # Padding gets no attention: softmax makes 0 of it.
        bias = np.where(mask, np.float32(0), np.float32(-np.inf))[:, None, None, :]
        for layer in self._layers:
            hidden = layer(hidden, bias)
        return hidden


class Weights:
    """The tensors of the file, by the names that BERT's layers have in it."""

    def __init__(self, tensors: Mapping[str, Floats], epsilon: float) -> None:
        self._tensors = tensors
        self._epsilon = epsilon

    def array(self, name: str) -> Floats:
        """Return one tensor.

        Raises:
            ModelError: it is missing, or its numbers are of another kind.
        """
        tensor = self._tensors.get(name)
        if tensor is None:
            raise ModelError(f"there is no tensor {name}")
        if tensor.dtype != np.float32:
            raise ModelError(f"{name} is of {tensor.dtype}, and float32 is what is done here")
        return tensor

    def linear(self, name: str) -> Linear:
        """Return a dense step."""
        return Linear(self.array(f"{name}.weight"), self.array(f"{name}.bias"))

    def norm(self, name: str) -> LayerNorm:
        """Return a normalisation."""
        return LayerNorm(self.array(f"{name}.weight"), self.array(f"{name}.bias"), self._epsilon)

    def layer(self, name: str, head_count: int) -> Layer:
        """Return a layer of the encoder."""
        return Layer(
            query=self.linear(f"{name}.attention.self.query"),
            key=self.linear(f"{name}.attention.self.key"),
            value=self.linear(f"{name}.attention.self.value"),
            attention_output=self.linear(f"{name}.attention.output.dense"),
            attention_norm=self.norm(f"{name}.attention.output.LayerNorm"),
            intermediate=self.linear(f"{name}.intermediate.dense"),
            output=self.linear(f"{name}.output.dense"),
            output_norm=self.norm(f"{name}.output.LayerNorm"),
            head_count=head_count,
        )


def require(config: Mapping[str, Any], **wanted: str) -> None:
    """Make sure that the configuration says what is done here.

    Raises:
        ModelError: it says something else.
    """
    for key, value in wanted.items():
        if config.get(key) != value:
            raise ModelError(f"its {key} is {config.get(key)!r}, and only {value!r} is done here")


def modes(pooling: Mapping[str, Any]) -> list[str]:
    """Return by which means the tokens of a text become one vector."""
    return [key for key, wanted in pooling.items() if key.startswith("pooling_mode_") and wanted]


def read_tokenizer(folder: Path, config: Mapping[str, Any], max_tokens: int) -> Tokenizer:
    """Return what cuts texts into tokens, with no more padding than the longest text needs.

    Raises:
        ModelError: the file is missing or damaged.
    """
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:
        # The library raises this very class, whatever went wrong.
        raise ModelError(f"{folder}/tokenizer.json: {error}") from error
    # The file has its own figures, which are not those that the model was trained with.
    tokenizer.enable_truncation(min(max_tokens, config["max_position_embeddings"]))
    tokenizer.enable_padding(pad_id=config["pad_token_id"])
    return tokenizer


def mean_of_tokens(hidden: Floats, mask: Integers) -> Floats:
    """Return the mean over the tokens of each text; padding does not count."""
    wanted = mask.astype(np.float32)[:, :, None]
    mean: Floats = (hidden * wanted).sum(axis=1) / wanted.sum(axis=1)
    return mean


def normalised(vectors: Floats) -> Floats:
    """Return the vectors with length 1, so that their product is the cosine."""
    lengths: Floats = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / lengths


def softmax(scores: Floats) -> Floats:
    """Return weights that add up to 1 along the last axis."""
    # Without the largest one, exp would overflow.
    powers: Floats = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return weights


def gelu(inputs: Floats) -> Floats:
    """Return x * P(X <= x) for a normal X, which BERT has between its dense steps."""
    return inputs * np.float32(0.5) * (np.float32(1) + erf(inputs * np.float32(0.5**0.5)))


def erf(inputs: Floats) -> Floats:
    """Return the error function, which numpy lacks, to 1.5e-7 and what float32 rounds.

    By formula 7.1.26 of Abramowitz and Stegun, Handbook of Mathematical Functions.
    """
    magnitude: Floats = np.abs(inputs)
    t: Floats = np.float32(1) / (np.float32(1) + np.float32(0.3275911) * magnitude)
    series = np.zeros_like(t)
    for coefficient in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + np.float32(coefficient)) * t
    signed: Floats = np.copysign(np.float32(1) - series * np.exp(-magnitude * magnitude), inputs)
    return signed
