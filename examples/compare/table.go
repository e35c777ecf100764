package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A measure is one row of the table.
type measure struct {
	name string
	unit string
	more bool // more is better
}

// A table collects what every contestant reached in every round.
type table struct {
	contestants []contestant
	measures    []measure
	values      []map[string][]float64 // per measure: by contestant, one value per round
}

// add adds a row and returns its index.
func (t *table) add(m measure) int {
	t.measures = append(t.measures, m)
	t.values = append(t.values, map[string][]float64{})
	return len(t.measures) - 1
}

// note adds the value of c's next round.
func (t *table) note(row int, c contestant, value float64) {
	t.values[row][c.name] = append(t.values[row][c.name], value)
}

// String returns the table in Markdown: medians over the rounds, then how often
// our variants cost what the floor does, and how many times better than each
// peer they are.
func (t *table) String() string {
	var ours, others []contestant
	for _, c := range t.contestants {
		if c.ours {
			ours = append(ours, c)
		} else {
			others = append(others, c)
		}
	}
	head := []string{"", "unit"}
	for _, c := range t.contestants {
		head = append(head, c.name)
	}
	if len(ours) > 0 {
		for _, c := range others {
			head = append(head, "vs. "+c.name)
		}
	}
	var b strings.Builder
	writeRow(&b, head)
	rule := slices.Repeat([]string{"---:"}, len(head))
	rule[0], rule[1] = "---", "---"
	writeRow(&b, rule)
	for i, m := range t.measures {
		row := []string{m.name, m.unit}
		for _, c := range t.contestants {
			row = append(row, number(median(t.values[i][c.name])))
		}
		if len(ours) > 0 {
			for _, other := range others {
				var ratios []string
				for _, c := range ours {
					if r := t.ratio(i, c, other); !math.IsNaN(r) {
						ratios = append(ratios, number(r))
					}
				}
				row = append(row, strings.Join(ratios, " · "))
			}
		}
		writeRow(&b, row)
	}
	return b.String()
}

// ratio returns what c costs divided by what the floor costs, or else what the
// peer costs divided by what c costs: the median over the rounds, NaN if there
// is none. Within a round the two ran shortly after one another, so a machine
// that is busy with something else disturbs the ratio less than either value.
func (t *table) ratio(row int, c, other contestant) float64 {
	over, under := t.values[row][c.name], t.values[row][other.name]
	if t.measures[row].more != !other.floor {
		over, under = under, over
	}
	ratios := make([]float64, min(len(over), len(under)))
	for i := range ratios {
		ratios[i] = over[i] / under[i]
	}
	return median(ratios)
}

func writeRow(b *strings.Builder, cells []string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// median returns the middle of values, NaN if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[half-1] + sorted[half]) / 2
	}
	return sorted[half]
}

// number returns v with two or three digits that count, and thousands apart; ""
// for NaN.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return ""
	case v < 0.1:
		return fmt.Sprintf("%.3f", v)
	case v < 1:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.3g", v)
	}
	digits := strconv.Itoa(int(v + 0.5))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
