package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxHeaderBytes is the limit that the format's own library has.
const maxHeaderBytes = 100_000_000

// lengthBytes is what stands before the header: its length, little-endian.
const lengthBytes = 8

// metadataKey is the one key of a header that names no tensor.
const metadataKey = "__metadata__"

// elementBytes is the size of one element by its type. Types of less than a byte are not read.
var elementBytes = map[string]int64{
	"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
	"U16": 2, "I16": 2, "F16": 2, "BF16": 2,
	"U32": 4, "I32": 4, "F32": 4,
	"U64": 8, "I64": 8, "F64": 8, "C64": 8,
}

// Tensor is what a header says of one tensor.
type Tensor struct {
	Name  string  `json:"name"`
	DType string  `json:"dtype"`
	Shape []int64 `json:"shape"`
	Bytes int64   `json:"bytes"`
	// begin is where its bytes begin, counted from the end of the header.
	begin int64
}

// Weights is a safetensors file: its header in memory, its tensors where they are.
type Weights struct {
	data    *io.SectionReader
	tensors []Tensor
}

// ReadWeights reads the header of a safetensors file of size bytes. It believes nothing that
// the file says: lengths are compared with the file before memory is taken for them, and the
// tensors have to fill what follows the header without a gap and without an overlap.
func ReadWeights(file io.ReaderAt, size int64) (*Weights, error) {
	header, err := readHeader(file, size)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	begin := lengthBytes + int64(len(header))
	tensors, err := parseHeader(header, size-begin)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	return &Weights{io.NewSectionReader(file, begin, size-begin), tensors}, nil
}

// Tensors returns all tensors in the order of their names.
func (w *Weights) Tensors() []Tensor {
	return w.tensors
}

// Tensor returns the tensor of that name.
func (w *Weights) Tensor(name string) (Tensor, bool) {
	place, found := slices.BinarySearchFunc(w.tensors, name, func(tensor Tensor, name string) int {
		return strings.Compare(tensor.Name, name)
	})
	if !found {
		return Tensor{}, false
	}
	return w.tensors[place], true
}

// SHA256 reads the bytes of a tensor and returns their hash, in hex.
func (w *Weights) SHA256(tensor Tensor) (string, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(w.data, tensor.begin, tensor.Bytes)); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// readHeader returns the JSON of the header.
func readHeader(file io.ReaderAt, size int64) ([]byte, error) {
	var length [lengthBytes]byte
	if size < lengthBytes {
		return nil, fmt.Errorf("a file of %d bytes has no room for a header", size)
	}
	if _, err := file.ReadAt(length[:], 0); err != nil {
		return nil, err
	}
	claimed := binary.LittleEndian.Uint64(length[:])
	// Compared as it stands there: as an int64, a large one would be below zero.
	if claimed > maxHeaderBytes || claimed > uint64(size-lengthBytes) {
		return nil, fmt.Errorf("the header is said to have %d bytes, in a file of %d", claimed, size)
	}
	header := make([]byte, claimed)
	if _, err := io.ReadFull(io.NewSectionReader(file, lengthBytes, size-lengthBytes), header); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(header, []byte("{")) {
		return nil, errors.New("the header does not begin with {")
	}
	return header, nil
}

// parseHeader returns the tensors by name. Together they are the dataBytes after the header.
func parseHeader(header []byte, dataBytes int64) ([]Tensor, error) {
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(header, &entries); err != nil {
		return nil, fmt.Errorf("the header: %w", err)
	}
	if metadata, found := entries[metadataKey]; found {
		if err := json.Unmarshal(metadata, new(map[string]string)); err != nil {
			return nil, fmt.Errorf("%s: %w", metadataKey, err)
		}
		delete(entries, metadataKey)
	}
	tensors := make([]Tensor, 0, len(entries))
	for name, entry := range entries {
		tensor, err := parseTensor(name, entry, dataBytes)
		if err != nil {
			return nil, fmt.Errorf("the tensor %q: %w", name, err)
		}
		tensors = append(tensors, tensor)
	}
	if err := requireNoGaps(tensors, dataBytes); err != nil {
		return nil, err
	}
	slices.SortFunc(tensors, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	return tensors, nil
}

func parseTensor(name string, entry json.RawMessage, dataBytes int64) (Tensor, error) {
	// Slices, since an array would hide that there are too few numbers or too many.
	var facts struct {
		DType   string  `json:"dtype"`
		Shape   []int64 `json:"shape"`
		Offsets []int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(entry, &facts); err != nil {
		return Tensor{}, err
	}
	if facts.Shape == nil || len(facts.Offsets) != 2 {
		return Tensor{}, errors.New("a shape and two data_offsets are wanted")
	}
	begin, end := facts.Offsets[0], facts.Offsets[1]
	if begin < 0 || begin > end || end > dataBytes {
		return Tensor{}, fmt.Errorf("[%d, %d] is not within %d bytes", begin, end, dataBytes)
	}
	wanted, err := sizeOf(facts.DType, facts.Shape, dataBytes)
	if err != nil {
		return Tensor{}, err
	}
	if wanted != end-begin {
		return Tensor{}, fmt.Errorf("%s %v needs %d bytes, and has %d", facts.DType, facts.Shape, wanted, end-begin)
	}
	return Tensor{name, facts.DType, facts.Shape, wanted, begin}, nil
}

// sizeOf returns how many bytes a tensor needs. One that cannot fit into limit is refused on
// the way, so that no product overflows.
func sizeOf(dtype string, shape []int64, limit int64) (int64, error) {
	size, known := elementBytes[dtype]
	if !known {
		return 0, fmt.Errorf("the type %q is not known here", dtype)
	}
	for _, length := range shape {
		if length < 0 {
			return 0, fmt.Errorf("the shape %v is below zero", shape)
		}
		if length > 0 && size > limit/length {
			return 0, fmt.Errorf("%s %v is larger than the file", dtype, shape)
		}
		size *= length
	}
	return size, nil
}

// requireNoGaps makes sure that the tensors follow each other and end with the file: a byte
// that belongs to two tensors, or to none, is a file that somebody has been at. Sorts them.
func requireNoGaps(tensors []Tensor, dataBytes int64) error {
	slices.SortFunc(tensors, func(a, b Tensor) int {
		if a.begin != b.begin {
			return int(min(max(a.begin-b.begin, -1), 1))
		}
		// Empty ones stand before what begins at the same place.
		return int(min(max(a.Bytes-b.Bytes, -1), 1))
	})
	var end int64
	for _, tensor := range tensors {
		if tensor.begin != end {
			return fmt.Errorf("the tensor %q begins at %d, not at %d", tensor.Name, tensor.begin, end)
		}
		end += tensor.Bytes
	}
	if end != dataBytes {
		return fmt.Errorf("the tensors end at %d, the file at %d", end, dataBytes)
	}
	return nil
}
