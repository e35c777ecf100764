package fanfare_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheSnippetsOfEachREADMEAreThoseOfItsExamples(t *testing.T) {
	for folder, least := range map[string]int{".": 3, "broker/natsstore": 1, "broker/redisstore": 1} {
		readme, err := os.ReadFile(folder + "/README.md")
		require.NoError(t, err)
		source, err := os.ReadFile(folder + "/example_test.go")
		require.NoError(t, err)
		examples := lines(string(source))
		snippets := 0
		for _, fence := range strings.Split(string(readme), "```go\n")[1:] {
			snippet, _, ok := strings.Cut(fence, "```")
			require.True(t, ok)
			snippets++
			// In order, but an example may do more in between.
			rest := examples
			for _, line := range lines(snippet) {
				for len(rest) > 0 && rest[0] != line {
					rest = rest[1:]
				}
				if !assert.NotEmpty(t, rest, "not in %s/example_test.go: %s", folder, line) {
					break
				}
				rest = rest[1:]
			}
		}
		assert.GreaterOrEqual(t, snippets, least, folder)
	}
}

func TestEveryCommandOfTheREADMEHasTestsToRun(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	commands := regexp.MustCompile("go test ((?:\\./[a-z/]+ )+)-run '?([^'` ]+)").FindAllStringSubmatch(string(readme), -1)
	require.GreaterOrEqual(t, len(commands), 5)
	for _, command := range commands {
		var source []byte
		for _, pkg := range strings.Fields(command[1]) {
			files, err := filepath.Glob(filepath.Join(pkg, "*_test.go"))
			require.NoError(t, err)
			for _, file := range files {
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				source = append(source, text...)
			}
		}
		for _, word := range strings.Split(command[2], `\|`) {
			test := regexp.MustCompile(`(?m)^func (Test\w*|Fuzz\w*|)` + word)
			assert.True(t, test.Match(source), "no %s in: %s", word, command[0])
		}
	}
}

// lines returns the lines of s that are not blank, without indentation.
func lines(s string) (lines []string) {
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
