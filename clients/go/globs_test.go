package assetd

import (
	"errors"
	"strings"
	"testing"
)

func TestGlobs(t *testing.T) {
	for _, test := range []struct {
		glob, path string
		want       bool
	}{
		{"*", "a", true}, {"*", "a/b", false}, {"**", "a", true}, {"**", "a/b/c", true},
		{"*.json", "config.json", true}, {"*.json", "sub/config.json", false},
		{"**/*.json", "config.json", true}, {"**/*.json", "a/b/config.json", true},
		{"a/**", "a", false}, {"a/**", "a/b", true}, {"a/**", "a/b/c", true}, {"a/**", "b/a", false},
		{"a/**/b", "a/b", true}, {"a/**/b", "a/x/y/b", true}, {"a/**/b", "a/x/y/c", false},
		{"a?c", "abc", true}, {"a?c", "aéc", true}, {"a?c", "a/c", false}, {"a?c", "ac", false},
		{"[a]", "[a]", true}, {"[a]", "a", false}, {"a*b*c", "a1b2b3c", true}, {"a*b*c", "a1b2", false},
		{`\*`, `\x`, true}, {`\*`, "*", false}, {"a**", "abc", true}, {"", "a", false},
		{"*", "", true}, {"**/**", "a", true},
	} {
		if got := globMatches(strings.Split(test.glob, "/"), strings.Split(test.path, "/")); got != test.want {
			t.Errorf("%q and %q: got %v", test.glob, test.path, got)
		}
	}
}

func TestGlobsOfWholeFolders(t *testing.T) {
	for glob, want := range map[string]bool{
		"**": true, "a/**": true, "*/**": true, "**/a/**": true, "a": false, "a/*": false,
		"a/b/**": false, "**/*": false,
	} {
		parsed, err := parseGlobs([]string{glob})
		if err != nil || parsed.matchAllBelow("a") != want {
			t.Errorf("%q: got %v and %v", glob, !want, err)
		}
	}
}

func TestAGlobThatMatchesNothingIsRefused(t *testing.T) {
	for _, glob := range []string{"", "/a", "a/", "a//b"} {
		if _, err := parseGlobs([]string{"*", glob}); !errors.Is(err, ReasonInvalidField) {
			t.Errorf("%q: got %v", glob, err)
		}
	}
}

// Choices do not multiply: what takes seconds elsewhere takes none here.
func TestAHostileGlobIsNotSlow(t *testing.T) {
	stars := strings.Repeat("*a", 200) + "b"
	if wildcardMatches([]rune(stars), []rune(strings.Repeat("a", 1000))) {
		t.Error("it matches")
	}
	folders := strings.Split(strings.Repeat("**/a/", 100)+"b", "/")
	if globMatches(folders, strings.Split(strings.Repeat("a/", 500)+"c", "/")) {
		t.Error("it matches")
	}
}
