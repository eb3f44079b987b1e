package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Model is what this server needs of a model's folder.
type Model struct {
	Weights    *Weights
	Vocabulary Vocabulary
	file       *os.File
}

// OpenModel opens the model in a folder. Its weights stay on the disk, where other processes of
// the node read the same pages. The caller closes it.
func OpenModel(folder string) (*Model, error) {
	vocabulary, err := openVocabulary(filepath.Join(folder, "vocab.txt"))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(folder, "model.safetensors")
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	about, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	weights, err := ReadWeights(file, about.Size())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())
	}
	return &Model{weights, vocabulary, file}, nil
}

func openVocabulary(path string) (Vocabulary, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	vocabulary, err := ReadVocabulary(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return vocabulary, nil
}

// Close closes the file of the weights.
func (m *Model) Close() error {
	return m.file.Close()
}
