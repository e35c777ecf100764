package main

import (
	"fmt"
	"os"
	"path/filepath"
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

	table, _, _ := strings.Cut(out.String(), "\n\n")
	rows := strings.Split(table, "\n")
	head := cells(rows[0])
	assert.Len(t, rows, 2+18)
	for _, row := range rows[2:] {
		row := cells(row)
		require.Len(t, row, len(head))
		for i, c := range head {
			c, isRatio := strings.CutPrefix(c, "vs. ")
			who, err := byName(c)
			if err != nil {
				continue // the measure and its unit
			}
			want := `^[0-9.,]+$`
			switch {
			case sitsOut(who, row[0]):
				want = `^$`
			case isRatio:
				want = `^[0-9.,]+( · [0-9.,]+)*$`
			}
			assert.Regexp(t, want, row[i], "%s: %s", row[0], head[i])
		}
	}
	for _, c := range contestants {
		assert.Contains(t, head, c.name)
		if !c.ours {
			assert.Contains(t, head, "vs. "+c.name)
		}
	}
}

// sitsOut reports whether a contestant takes no part in a measurement.
func sitsOut(c contestant, measure string) bool {
	switch kind, _, _ := strings.Cut(measure, " "); strings.TrimSuffix(kind, ",") {
	case "encode":
		return c.encode == nil
	case "parse":
		return c.parse == nil
	case "client":
		return c.read == nil
	}
	return false
}

// cells returns the cells of a row of a Markdown table.
func cells(row string) []string {
	cells := strings.Split(row, "|")
	cells = cells[1 : len(cells)-1]
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}

func TestAnUnknownMeasurementAndContestantAreRefused(t *testing.T) {
	var out strings.Builder
	assert.ErrorContains(t, run(t.Context(), []string{"-quick", "speed"}, &out), `no measurement is called "speed"`)
	assert.ErrorContains(t, run(t.Context(), []string{"-quick", "-only", "nobody"}, &out), `no contestant is called "nobody"`)
	assert.Empty(t, out.String())
}
