package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

// file returns a safetensors file with this header and so many bytes of data, which count up.
func file(header string, dataBytes int) []byte {
	content := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	content = append(content, header...)
	for position := range dataBytes {
		content = append(content, byte(position))
	}
	return content
}

func read(content []byte) (*Weights, error) {
	return ReadWeights(bytes.NewReader(content), int64(len(content)))
}

func TestTensorsComeByNameWithTheirFacts(t *testing.T) {
	weights, err := read(file(`{"__metadata__": {"format": "pt"},
		"words": {"dtype": "F32", "shape": [2, 3], "data_offsets": [16, 40]},
		"bias": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]},
		"scale": {"dtype": "F16", "shape": [], "data_offsets": [40, 42]},
		"none": {"dtype": "F64", "shape": [0, 7], "data_offsets": [16, 16]}}   `, 42))
	if err != nil {
		t.Fatal(err)
	}
	expected := []Tensor{
		{"bias", "I64", []int64{2}, 16, 0},
		{"none", "F64", []int64{0, 7}, 0, 16},
		{"scale", "F16", []int64{}, 2, 40},
		{"words", "F32", []int64{2, 3}, 24, 16},
	}
	if !reflect.DeepEqual(weights.Tensors(), expected) {
		t.Errorf("%+v", weights.Tensors())
	}
	words, found := weights.Tensor("words")
	if !found || !reflect.DeepEqual(words, expected[3]) {
		t.Errorf("%+v", words)
	}
	if other, found := weights.Tensor("nothing"); found {
		t.Errorf("%+v", other)
	}
}

func TestTheBytesOfATensorAreReadWhereTheyAre(t *testing.T) {
	weights, err := read(file(`{"a": {"dtype": "U8", "shape": [5], "data_offsets": [0, 5]},
		"b": {"dtype": "U8", "shape": [3], "data_offsets": [5, 8]}}`, 8))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := weights.Tensor("b")
	hash, err := weights.SHA256(b)
	expected := sha256.Sum256([]byte{5, 6, 7})
	if err != nil || hash != hex.EncodeToString(expected[:]) {
		t.Errorf("%s, %v", hash, err)
	}
}

func TestAFileWithoutTensorsIsOne(t *testing.T) {
	weights, err := read(file(`{}`, 0))
	if err != nil || len(weights.Tensors()) != 0 {
		t.Errorf("%v, %v", weights, err)
	}
}

func TestDamagedFilesAreRefused(t *testing.T) {
	withLength := func(length uint64, rest string) []byte {
		return append(binary.LittleEndian.AppendUint64(nil, length), rest...)
	}
	one := func(dtype, shape, offsets string) string {
		return `{"a": {"dtype": "` + dtype + `", "shape": ` + shape + `, "data_offsets": ` + offsets + `}}`
	}
	for name, damaged := range map[string]struct {
		content []byte
		reason  string
	}{
		"empty":                  {nil, "no room for a header"},
		"cut in the length":      {[]byte{2, 0, 0}, "no room for a header"},
		"cut in the header":      {file(`{"a": 1}`, 0)[:12], "is said to have 8 bytes, in a file of 12"},
		"longer than the file":   {withLength(3, "{}"), "is said to have 3 bytes"},
		"a length below zero":    {withLength(math.MaxUint64, "{}"), "is said to have 18446744073709551615"},
		"the largest int64":      {withLength(math.MaxInt64, "{}"), "is said to have"},
		"no object":              {file(`[]`, 0), "does not begin with {"},
		"space before it":        {file(` {}`, 0), "does not begin with {"},
		"no header":              {file(``, 0), "does not begin with {"},
		"no JSON":                {file(`{"a`, 0), "the header: "},
		"two objects":            {file(`{}{}`, 0), "the header: "},
		"a tensor that is none":  {file(`{"a": 1}`, 0), `the tensor "a": `},
		"null":                   {file(`{"a": null}`, 0), "a shape and two data_offsets"},
		"metadata of numbers":    {file(`{"__metadata__": {"a": 1}}`, 0), "__metadata__: "},
		"an unknown type":        {file(one("F33", "[1]", "[0, 4]"), 4), `"F33" is not known`},
		"no type":                {file(`{"a": {"shape": [], "data_offsets": [0, 0]}}`, 0), `"" is not known`},
		"no shape":               {file(`{"a": {"dtype": "U8", "data_offsets": [0, 1]}}`, 1), "a shape"},
		"no offsets":             {file(`{"a": {"dtype": "U8", "shape": [1]}}`, 1), "two data_offsets"},
		"one offset":             {file(one("U8", "[1]", "[1]"), 1), "two data_offsets"},
		"three offsets":          {file(one("U8", "[1]", "[0, 1, 1]"), 1), "two data_offsets"},
		"a shape below zero":     {file(one("U8", "[-1]", "[0, 1]"), 1), "below zero"},
		"half an element":        {file(one("U8", "[0.5]", "[0, 1]"), 1), `the tensor "a": `},
		"more than an int64":     {file(one("U8", "[18446744073709551616]", "[0, 1]"), 1), `the tensor "a": `},
		"a product that wraps":   {file(one("U8", "[4294967296, 4294967296]", "[0, 0]"), 0), "larger than the file"},
		"a product that wraps 1": {file(one("F32", "[4611686018427387905]", "[0, 4]"), 4), "larger than the file"},
		"an offset below zero":   {file(one("U8", "[1]", "[-1, 0]"), 1), "is not within 1 bytes"},
		"backwards":              {file(one("U8", "[1]", "[1, 0]"), 1), "is not within 1 bytes"},
		"beyond the file":        {file(one("U8", "[2]", "[0, 2]"), 1), "is not within 1 bytes"},
		"too few bytes":          {file(one("F32", "[2]", "[0, 4]"), 8), "needs 8 bytes, and has 4"},
		"too many bytes":         {file(one("F32", "[1]", "[0, 8]"), 8), "needs 4 bytes, and has 8"},
		"a gap before":           {file(one("U8", "[1]", "[1, 2]"), 2), "begins at 1, not at 0"},
		"a rest behind":          {file(one("U8", "[1]", "[0, 1]"), 2), "end at 1, the file at 2"},
		"an overlap": {file(`{"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
			"b": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}}`, 3), "begins at 1, not at 2"},
		"a name that comes twice": {file(`{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
			"a": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}}`, 2), "begins at 1, not at 0"},
	} {
		weights, err := read(damaged.content)
		if err == nil || !strings.HasPrefix(err.Error(), "safetensors: ") ||
			!strings.Contains(err.Error(), damaged.reason) {
			t.Errorf("%s: %v, %v", name, weights, err)
		}
	}
}

// huge is a file that would have room for any header, and reads as zeros after its length.
type huge struct{ length uint64 }

func (h huge) ReadAt(buffer []byte, offset int64) (int, error) {
	if offset != 0 || len(buffer) != lengthBytes {
		return 0, errors.New("its header was read")
	}
	binary.LittleEndian.PutUint64(buffer, h.length)
	return len(buffer), nil
}

func TestNoHeaderBeyondTheLimitIsRead(t *testing.T) {
	if _, err := ReadWeights(huge{maxHeaderBytes + 1}, 1<<40); err == nil ||
		!strings.Contains(err.Error(), "is said to have 100000001 bytes") {
		t.Error(err)
	}
	if _, err := ReadWeights(huge{maxHeaderBytes}, 1<<40); err == nil ||
		!strings.Contains(err.Error(), "its header was read") {
		t.Error(err)
	}
}

// Whatever a file says, it is refused or its tensors lie in it, one after the other.
func FuzzReadWeights(f *testing.F) {
	f.Add(file(`{"a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}}`, 8))
	f.Add(file(`{"__metadata__": {}, "a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}`, 0))
	f.Fuzz(func(t *testing.T, content []byte) {
		weights, err := read(content)
		if err != nil {
			return
		}
		var sum int64
		for _, tensor := range weights.Tensors() {
			if _, err := weights.SHA256(tensor); err != nil || tensor.Bytes < 0 || tensor.begin < 0 {
				t.Errorf("%+v: %v", tensor, err)
			}
			sum += tensor.Bytes
		}
		if sum >= int64(len(content)) {
			t.Errorf("%d bytes of tensors in a file of %d", sum, len(content))
		}
	})
}
