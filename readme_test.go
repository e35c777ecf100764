package fanfare_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheSnippetsOfEachDocumentAreThoseOfItsExamples(t *testing.T) {
	recipes := []string{"example_test.go", "example_recipes_test.go", "sse/ssejson/example_test.go", "examples/chat/index.html"}
	for document, examples := range map[string][]string{
		"README.md":       recipes,
		"docs/RECIPES.md": recipes,
		"docs/MIGRATING.md": {"example_migrating_test.go",
			"examples/compare/migrating_r3labs_test.go", "examples/compare/migrating_gosse_test.go"},
		"broker/natsstore/README.md":  {"broker/natsstore/example_test.go"},
		"broker/redisstore/README.md": {"broker/redisstore/example_test.go"},
	} {
		var declarations []string // as gofmt leaves them, each ends with a brace in the first column
		for _, example := range examples {
			declarations = append(declarations, strings.SplitAfter(text(t, example), "\n}\n")...)
		}
		snippets := regexp.MustCompile("(?s)```(?:go|js)\n(.*?)```").FindAllStringSubmatch(text(t, document), -1)
		require.NotEmpty(t, snippets, document)
		for _, snippet := range snippets {
			assert.True(t, slices.ContainsFunc(declarations, func(declaration string) bool {
				return quotes(lines(snippet[1]), lines(declaration))
			}), "%s: in no declaration of %v:\n%s", document, examples, snippet[1])
		}
	}
}

func TestEveryCommandOfTheREADMEHasTestsToRun(t *testing.T) {
	readme := text(t, "README.md")
	assert.NotContains(t, readme, `\|`, "a command with this in it cannot be copied as it is")
	commands := regexp.MustCompile(`go test ((?:\./[a-z/]+ )+)-run '([^']+)'`).FindAllStringSubmatch(readme, -1)
	require.GreaterOrEqual(t, len(commands), 5)
	for _, command := range commands {
		var source strings.Builder
		for _, pkg := range strings.Fields(command[1]) {
			files, err := filepath.Glob(filepath.Join(pkg, "*_test.go"))
			require.NoError(t, err)
			for _, file := range files {
				source.WriteString(text(t, file))
			}
		}
		for _, word := range strings.Split(command[2], "|") {
			test := regexp.MustCompile(`(?m)^func (Test\w*|Fuzz\w*|)` + word)
			assert.True(t, test.MatchString(source.String()), "no %s in: %s", word, command[0])
		}
	}
}

func TestEveryLinkAndFolderOfTheDocumentsIsThere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^):\s]*?)(#[^)\s]*)?\)|src="([^":]+)"`)
	folder := regexp.MustCompile(`(?m)(?:^|\()(?:\$ )?cd ([\w./]+)|go run (\./[\w./]+)`)
	links := 0
	require.NoError(t, filepath.WalkDir(".", func(document string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(document) != ".md" || strings.Contains(document, "node_modules") {
			return err
		}
		content := text(t, document)
		prose := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(content, "")
		for _, l := range link.FindAllStringSubmatch(prose, -1) {
			links++
			file := document
			if to := l[1] + l[3]; to != "" {
				file = filepath.Join(filepath.Dir(document), to)
			}
			_, err := os.Stat(file)
			if assert.NoError(t, err, document) && l[2] != "" {
				assert.Contains(t, headings(text(t, file)), l[2], "%s to %s", document, file)
			}
		}
		for _, f := range folder.FindAllStringSubmatch(content, -1) {
			assert.DirExists(t, f[1]+f[2], document)
		}
		return nil
	}))
	assert.Greater(t, links, 50)
}

// headings returns the anchors of a Markdown document.
func headings(markdown string) (anchors []string) {
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(markdown, -1) {
		plain := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(h[1]), "")
		anchors = append(anchors, "#"+strings.ReplaceAll(plain, " ", "-"))
	}
	return anchors
}

// quotes says whether a snippet is lines of an example, in order. The example
// may do more in between.
func quotes(snippet, example []string) bool {
	for _, line := range snippet {
		i := slices.Index(example, line)
		if i < 0 {
			return false
		}
		example = example[i+1:]
	}
	return true
}

// text returns what a file says.
func text(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(b)
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
