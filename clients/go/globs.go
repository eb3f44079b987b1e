package assetd

import (
	"fmt"
	"slices"
	"strings"
)

// globs are the patterns of what a push leaves out, as the contract has them: * and ? stop at
// /, ** does not. Matched segment by segment, since one pattern for all could backtrack for
// ever.
type globs [][]string

// parseGlobs fails with ReasonInvalidField if one of them can match nothing.
func parseGlobs(given []string) (globs, error) {
	var parsed globs
	for _, glob := range given {
		segments := strings.Split(glob, "/")
		// A shell completes `cache` to `cache/`; what was to be left out would be pushed.
		if slices.Contains(segments, "") {
			return nil, ownError(ReasonInvalidField, fmt.Sprintf(
				"%q matches no path: write FOLDER/** for what is in a folder", glob),
				"field", "exclude")
		}
		parsed = append(parsed, segments)
	}
	return parsed, nil
}

// match tells whether one of them matches the file at path.
func (g globs) match(path string) bool {
	segments := strings.Split(path, "/")
	return slices.ContainsFunc(g, func(glob []string) bool { return globMatches(glob, segments) })
}

// matchAllBelow tells whether one of them matches whatever the folder at path may hold.
func (g globs) matchAllBelow(path string) bool {
	segments := strings.Split(path, "/")
	return slices.ContainsFunc(g, func(glob []string) bool {
		last := len(glob) - 1
		return glob[last] == "**" &&
			(globMatches(glob, segments) || globMatches(glob[:last], segments))
	})
}

// globMatches tells whether the whole path matches; a segment ** stands for any folders.
func globMatches(glob, path []string) bool {
	// How many segments of the path the part of the glob so far may stand for.
	taken := make([]bool, len(path)+1)
	taken[0] = true
	for position, pattern := range glob {
		next := make([]bool, len(path)+1)
		first := slices.Index(taken, true)
		switch {
		case first < 0:
			return false
		case pattern == "**":
			// At the end it stands for files, and so for one segment at least.
			if position == len(glob)-1 {
				first++
			}
			for count := first; count <= len(path); count++ {
				next[count] = true
			}
		default:
			for count := range path {
				next[count+1] = taken[count] && wildcardMatches([]rune(pattern), []rune(path[count]))
			}
		}
		taken = next
	}
	return taken[len(path)]
}

// wildcardMatches compares one segment: * stands for any signs, ? for one. After a mismatch
// only the last * takes one sign more, so that the time is at most the product of the lengths.
func wildcardMatches(pattern, text []rune) bool {
	position, star, resume := 0, -1, 0
	for at := 0; at < len(text); {
		switch {
		case position < len(pattern) && pattern[position] == '*':
			star, resume = position, at
			position++
		case position < len(pattern) && (pattern[position] == '?' || pattern[position] == text[at]):
			position++
			at++
		case star >= 0:
			resume++
			position, at = star+1, resume
		default:
			return false
		}
	}
	for position < len(pattern) && pattern[position] == '*' {
		position++
	}
	return position == len(pattern)
}
