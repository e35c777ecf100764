package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain is a contestant's server in the processes that the tests start.
func TestMain(m *testing.M) {
	if was, err := child(); was {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestQuickModeLosesNothingAndPrintsEveryRatio(t *testing.T) {
	file := filepath.Join(t.TempDir(), "table.md")
	var out strings.Builder
	// A lost event, one that came twice, and a wrong tally are errors of run.
	require.NoError(t, run(t.Context(), []string{"-quick", "-o", file}, &out))

	written, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, out.String(), string(written))

	lines := strings.Split(out.String(), "\n")
	assert.Equal(t, "|  | unit | floor | fanfare | r3labs/sse | go-sse | eventsource | vs. floor | vs. r3labs/sse | vs. go-sse | vs. eventsource |", lines[0])
	rows := lines[2:19]
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		require.Len(t, cells, 11, row)
		for i, cell := range cells[2:] {
			if strings.HasPrefix(row, "| encode ") && lines[0] != "" && (i == 2 || i == 6) {
				assert.Empty(t, strings.TrimSpace(cell), "r3labs/sse has no encoder of its own")
				continue
			}
			assert.Regexp(t, regexp.MustCompile(`^[0-9][0-9,.e+-]*$`), cell, row)
		}
	}
	assert.Empty(t, lines[19])
	assert.Contains(t, out.String(), "Nothing was lost.")
}

func TestAnUnknownMeasurementAndContestantAreRefused(t *testing.T) {
	var out strings.Builder
	assert.ErrorContains(t, run(t.Context(), []string{"-quick", "speed"}, &out), `no measurement is called "speed"`)
	assert.ErrorContains(t, run(t.Context(), []string{"-quick", "-only", "nobody"}, &out), `no contestant is called "nobody"`)
	assert.Empty(t, out.String())
}
