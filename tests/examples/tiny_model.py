"""A sentence model of a few numbers, in the files that a real one has.

Written by hand, from what the formats say: what reads it is judged by what stands here.
"""

import json
import math
import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SPECIAL: Final = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
VOCABULARY: Final = [
    *SPECIAL,
    *("the", "sun", "##s", "##hine", "cafe", "is", "un", "##known", ",", ".", "a", "##a", "b"),
]
WIDTH, HEADS, LAYERS, INNER = 8, 2, 2, 12
POSITIONS, MAX_TOKENS = 16, 10
EPSILON: Final = 1e-12

CONFIG: Final[Mapping[str, Any]] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "layer_norm_eps": EPSILON,
    "max_position_embeddings": POSITIONS,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
    "vocab_size": len(VOCABULARY),
}
POOLING: Final[Mapping[str, Any]] = {
    "word_embedding_dimension": WIDTH,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": True,
    "pooling_mode_max_tokens": False,
}


@dataclass(frozen=True)
class Tensor:
    """Numbers in rows, as float32 has them."""

    shape: tuple[int, ...]
    numbers: Sequence[float]

    def rows(self) -> list[list[float]]:
        """Returns a matrix as lists, a row each."""
        width = self.shape[-1]
        return [list(self.numbers[at : at + width]) for at in range(0, len(self.numbers), width)]


Tensors = Mapping[str, Tensor]


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Gives the name and shape of each tensor that a BERT of these sizes has."""
    yield "embeddings.word_embeddings.weight", (len(VOCABULARY), WIDTH)
    yield "embeddings.position_embeddings.weight", (POSITIONS, WIDTH)
    yield "embeddings.token_type_embeddings.weight", (2, WIDTH)
    pairs: list[tuple[str, tuple[int, ...]]] = [("embeddings.LayerNorm", (WIDTH,))]
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        square = (WIDTH, WIDTH)
        pairs += [(f"{layer}.attention.self.{n}", square) for n in ("query", "key", "value")]
        pairs += [(f"{layer}.attention.output.dense", square)]
        pairs += [(f"{layer}.intermediate.dense", (INNER, WIDTH))]
        pairs += [(f"{layer}.output.dense", (WIDTH, INNER))]
        pairs += [(f"{layer}.{n}.LayerNorm", (WIDTH,)) for n in ("attention.output", "output")]
    for name, shape in pairs:
        yield f"{name}.weight", shape
        yield f"{name}.bias", shape[:1]


def random_tensors(seed: int) -> dict[str, Tensor]:
    """Returns weights that a seed decides."""
    source = random.Random(seed)
    tensors = {}
    for name, shape in shapes():
        count = math.prod(shape)
        drawn = [source.gauss(0.0, 0.7) for _ in range(count)]
        # Just what float32 can say, so that nothing is lost in the file.
        tensors[name] = Tensor(
            shape, struct.unpack(f"<{count}f", struct.pack(f"<{count}f", *drawn))
        )
    return tensors


def safetensors(tensors: Tensors) -> bytes:
    """Returns the file that holds the tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, tensor in tensors.items():
        packed = struct.pack(f"<{len(tensor.numbers)}f", *tensor.numbers)
        offsets = [len(data), len(data) + len(packed)]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": offsets}
        data += packed
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tokenizer() -> dict[str, Any]:
    """Returns tokenizer.json: that of an uncased BERT, with figures of its own for lengths."""
    ids = {token: number for number, token in enumerate(VOCABULARY)}
    special = [{"SpecialToken": {"id": token, "type_id": 0}} for token in ("[CLS]", "[SEP]")]
    return {
        "version": "1.0",
        # As in the real one, not what sentence_bert_config.json says.
        "truncation": {
            "max_length": 5,
            "strategy": "LongestFirst",
            "stride": 0,
            "direction": "Right",
        },
        "padding": {
            "strategy": {"Fixed": 5},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": [
            {
                "id": ids[token],
                "content": token,
                "special": True,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
            for token in SPECIAL
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special[0], {"Sequence": {"id": "A", "type_id": 0}}, special[1]],
            "pair": [special[0], {"Sequence": {"id": "A", "type_id": 0}}, special[1]],
            "special_tokens": {
                token: {"id": token, "ids": [ids[token]], "tokens": [token]}
                for token in ("[CLS]", "[SEP]")
            },
        },
        "decoder": None,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    }


def write_model(folder: Path, tensors: Tensors) -> Path:
    """Writes all files of a model, and returns its folder."""
    (folder / "1_Pooling").mkdir(parents=True)
    for name, content in {
        "config.json": CONFIG,
        "1_Pooling/config.json": POOLING,
        "sentence_bert_config.json": {"max_seq_length": MAX_TOKENS, "do_lower_case": False},
        "tokenizer.json": tokenizer(),
    }.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCABULARY))
    (folder / "model.safetensors").write_bytes(safetensors(tensors))
    return folder
