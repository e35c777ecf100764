package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTheTableHasMediansAndTheMediansOfTheRoundsRatios(t *testing.T) {
	var (
		bottom = contestant{name: "floor", floor: true}
		plain  = contestant{name: "plain", ours: true}
		fast   = contestant{name: "fast", ours: true}
		peer   = contestant{name: "peer"}
	)
	tab := &table{contestants: []contestant{bottom, plain, fast, peer}}
	cost := tab.add(measure{name: "cost", unit: "µs"})
	rate := tab.add(measure{name: "rate", unit: "1/s", more: true})
	only := tab.add(measure{name: "only plain", unit: "ns"})
	// The second round ran while the machine did something else: every value is
	// ten times worse, no ratio is.
	for _, slow := range []float64{1, 10, 1} {
		for c, v := range map[string]float64{"floor": 1, "plain": 2, "fast": 1.25, "peer": 10} {
			tab.note(cost, contestant{name: c}, v*slow)
			tab.note(rate, contestant{name: c}, 10_000/v/slow)
		}
	}
	tab.note(only, plain, 0.5)

	assert.Equal(t, `|  | unit | floor | plain | fast | peer | vs. floor | vs. peer |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
| cost | µs | 1 | 2 | 1.25 | 10 | 2 · 1.25 | 5 · 8 |
| rate | 1/s | 10,000 | 5,000 | 8,000 | 1,000 | 2 · 1.25 | 5 · 8 |
| only plain | ns |  | 0.50 |  |  |  |  |
`, tab.String())
}

func TestNumbersHaveTheDigitsThatCount(t *testing.T) {
	for v, want := range map[float64]string{
		0.0123: "0.012", 0.1234: "0.12", 0.994: "0.99", 0.996: "1.00", 1.234: "1.23", 12.34: "12.3",
		99.96: "100", 123.4: "123", 1234: "1,234", 1234567: "1,234,567",
	} {
		assert.Equal(t, want, number(v))
	}
	assert.Empty(t, number(math.NaN()))
}
