package assetd

import (
	"encoding/json"
	"io"
	"os"
	"strings"

	"github.com/assetd/assetd/clients/go/assetdv1"
)

// Hits without a call: a pinned version that stands below ASSETS_DIR is found by this process.
// Nothing is remembered from one hit to the next: each looks at the file system anew. Whatever
// is odd is no hit, and the daemon decides. What a hit trusts is the marker: there = complete,
// whoever wrote it, as modelkit itself reads it.

const (
	receiptFormat   = 1
	maxReceiptBytes = 64 << 20
)

// pin is a spec that a hit is possible for: the parts of the text, uncopied.
type pin struct {
	name, version, part string
}

// parsePin reads a spec that pins a version. Only names that a push accepts, an exact version,
// and parts in plain letters pass: narrower than the daemon's grammar, and in linear time.
// Nothing in it can climb, is hidden, or reads as a version.
func parsePin(spec string) (pin, bool) {
	name, rest, found := strings.Cut(spec, ":")
	if !found || strings.Contains(spec, "..") || !isPlainName(name) {
		return pin{}, false
	}
	version, part, hasPart := strings.Cut(rest, "[")
	if !isNumber(version) && !isDate(version) {
		return pin{}, false
	}
	if !hasPart {
		return pin{name, version, ""}, true
	}
	part, closed := strings.CutSuffix(part, "]")
	part = strings.TrimPrefix(part, "/")
	return pin{name, version, part}, closed && isPlainPart(part)
}

func isPlainName(name string) bool {
	if strings.ContainsAny(name[max(len(name)-1, 0):], "_.-") {
		return false
	}
	for segment, rest, more := "", name, true; more; {
		segment, rest, more = strings.Cut(rest, "/")
		if segment == "" || !isAlphanumeric(segment[0]) || looksLikeVersion(segment) {
			return false
		}
		for position := range len(segment) {
			if !isAlphanumeric(segment[position]) && !strings.Contains("_.-", segment[position:position+1]) {
				return false
			}
		}
	}
	return true
}

// isPlainPart tells whether each segment is of letters, digits and a few signs, and neither
// the folder itself nor a marker.
func isPlainPart(part string) bool {
	for segment, rest, more := "", part, true; more; {
		segment, rest, more = strings.Cut(rest, "/")
		if segment == "" || segment == "." || segment == markerName {
			return false
		}
		for position := range len(segment) {
			if !isAlphanumeric(segment[position]) &&
				!strings.Contains("_. +=@,-", segment[position:position+1]) {
				return false
			}
		}
	}
	return true
}

// looksLikeVersion tells whether a segment reads as a version, or begins as a date does.
func looksLikeVersion(segment string) bool {
	const day = "dddd-dd-ddT"
	if len(segment) >= len(day) && hasForm(segment[:len(day)], day) {
		return true
	}
	major, minor, found := strings.Cut(segment, ".")
	return found && isDigits(major) && isDigits(minor)
}

func isNumber(version string) bool {
	major, minor, found := strings.Cut(version, ".")
	return found && isCanonical(major) && isCanonical(minor)
}

func isDate(version string) bool {
	return hasForm(version, "dddd-dd-ddTdd-dd-ddZ")
}

// hasForm compares with a form in which d stands for a digit.
func hasForm(text, form string) bool {
	if len(text) != len(form) {
		return false
	}
	for position := range len(form) {
		if form[position] == 'd' && isDigit(text[position]) || form[position] == text[position] && form[position] != 'd' {
			continue
		}
		return false
	}
	return true
}

// isCanonical tells whether the text is a number without leading zeros that fits into 64 bits.
func isCanonical(number string) bool {
	return isDigits(number) && len(number) <= 18 && (number[0] != '0' || number == "0")
}

func isDigits(text string) bool {
	for position := range len(text) {
		if !isDigit(text[position]) {
			return false
		}
	}
	return text != ""
}

func isDigit(letter byte) bool {
	return '0' <= letter && letter <= '9'
}

func isAlphanumeric(letter byte) bool {
	return isDigit(letter) || 'a' <= letter && letter <= 'z' || 'A' <= letter && letter <= 'Z'
}

// receipt is what the daemon writes into the marker of a version.
type receipt struct {
	Format       int                        `json:"format"`
	Digest       string                     `json:"digest"`
	SizeBytes    *int64                     `json:"size"`
	Files        map[string]json.RawMessage `json:"files"`
	Verification string                     `json:"verification"`
}

// readReceipt returns what the receipt in the marker says; of a later release's, of one of
// modelkit's, which are empty, or of none nothing is known.
func readReceipt(marker string) facts {
	file, err := os.Open(marker)
	if err != nil {
		return unknownFacts
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxReceiptBytes))
	var read receipt
	if err != nil || json.Unmarshal(text, &read) != nil || read.Format != receiptFormat ||
		read.SizeBytes == nil || read.Files == nil {
		return unknownFacts
	}
	name := "VERIFICATION_" + strings.ToUpper(read.Verification)
	verification, known := assetdv1.Verification_value[name]
	if !known {
		return unknownFacts
	}
	return facts{
		digest:       read.Digest,
		sizeBytes:    *read.SizeBytes,
		fileCount:    len(read.Files),
		verification: assetdv1.Verification(verification),
		reusedBytes:  *read.SizeBytes,
	}
}
