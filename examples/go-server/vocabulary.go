package main

import (
	"bufio"
	"fmt"
	"io"
)

// Vocabulary knows the id of each token.
type Vocabulary map[string]int

// ReadVocabulary reads the vocab.txt of a BERT: a token a line, its id the line's number from 0.
func ReadVocabulary(text io.Reader) (Vocabulary, error) {
	vocabulary := make(Vocabulary)
	lines := bufio.NewScanner(text)
	for id := 0; lines.Scan(); id++ {
		token := lines.Text()
		if first, found := vocabulary[token]; found {
			return nil, fmt.Errorf("vocabulary: %q has two ids, %d and %d", token, first, id)
		}
		vocabulary[token] = id
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("vocabulary: %w", err)
	}
	return vocabulary, nil
}
