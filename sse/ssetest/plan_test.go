package ssetest

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// firstOf returns at most the first n faults of connection number conn.
func firstOf(f *Faults, conn, n int) []Injection {
	var is []Injection
	for i := range f.Plan(conn) {
		if is = append(is, i); len(is) == n {
			break
		}
	}
	return is
}

func TestTheSameSeedIsTheSamePlanForEachConnection(t *testing.T) {
	a, b, c := NewFaults(t, &FaultOptions{Seed: 1}), NewFaults(t, &FaultOptions{Seed: 1}), NewFaults(t, &FaultOptions{Seed: 2})
	differ := 0
	for n := range 100 {
		assert.Equal(t, firstOf(a, n, 20), firstOf(b, n, 20))
		if fmt.Sprint(firstOf(a, n, 20)) != fmt.Sprint(firstOf(c, n, 20)) {
			differ++
		}
	}
	assert.Greater(t, differ, 90)
}

func TestAPlanKeepsToItsOptionsAndReachesEveryKind(t *testing.T) {
	f := NewFaults(t, &FaultOptions{Seed: 7, MinBytes: 100, MaxBytes: 200, MaxPause: time.Minute})
	seen := make(map[Fault]int)
	garbage := make(map[string]bool)
	for n := range 2000 {
		at := int64(0)
		is := firstOf(f, n, 1000)
		for k, i := range is {
			seen[i.Fault]++
			if i.Fault.opens() {
				assert.Zero(t, k, "only at the beginning")
				assert.Zero(t, i.At)
			} else {
				assert.GreaterOrEqual(t, i.At-at, int64(100))
				assert.LessOrEqual(t, i.At-at, int64(200))
			}
			assert.Equal(t, k == len(is)-1, i.Fault.ends(), "the last one, and only that, ends the connection")
			at = i.At + int64(i.Pieces*i.Bytes)
			assert.LessOrEqual(t, i.Pause*time.Duration(max(i.Pieces, 1)), time.Minute)
			assert.Equal(t, i.Fault == FaultStall || i.Fault == FaultTrickle, i.Pause > 0)
			if i.Fault == FaultGarbage {
				garbage[i.Data] = true
			}
		}
	}
	for k := FaultNone + 1; k < numFaults; k++ {
		assert.Greater(t, seen[k], 100, "%v", k)
	}
	assert.Greater(t, len(garbage), 30)
}

func TestOptionsOfFaultsHaveSaneLimits(t *testing.T) {
	o := NewFaults(t, &FaultOptions{MinBytes: -1, MaxBytes: -1}).opts
	assert.Equal(t, []int{0, 0}, []int{o.MinBytes, o.MaxBytes})
	o = NewFaults(t, &FaultOptions{MinBytes: 1 << 20}).opts
	assert.Equal(t, []int{1 << 20, 1 << 20}, []int{o.MinBytes, o.MaxBytes})
	at := int64(0)
	for _, i := range firstOf(NewFaults(t, &FaultOptions{MaxBytes: math.MaxInt, MinBytes: math.MaxInt / 2, Kinds: []Fault{FaultStall}}), 1, 20) {
		assert.Greater(t, i.At, at)
		at = i.At
	}
	o = NewFaults(t, nil).opts
	assert.Equal(t, []int{0, 16 << 10}, []int{o.MinBytes, o.MaxBytes})
	assert.Equal(t, DefaultMaxPause, o.MaxPause)
	assert.Len(t, o.Kinds, int(numFaults)-1)

	f := NewFaults(t, &FaultOptions{MaxPause: -1, Kinds: []Fault{FaultStall, FaultTrickle}})
	for _, i := range firstOf(f, 1, 20) {
		if i.Fault == FaultStall {
			assert.Negative(t, i.Pause, "without end")
		} else {
			assert.Equal(t, DefaultMaxPause/maxPieces, i.Pause)
		}
	}
	assert.NotPanics(t, func() { firstOf(NewFaults(t, &FaultOptions{MaxBytes: math.MaxInt}), 1, 20) })
	assert.Empty(t, firstOf(NewFaults(t, &FaultOptions{Kinds: []Fault{}}), 1, 1))
	assert.Empty(t, firstOf(NewFaults(t, &FaultOptions{Kinds: []Fault{FaultNone}}), 1, 1))
	assert.Empty(t, firstOf(NewFaults(t, &FaultOptions{Kinds: []Fault{FaultDuplicate}}), 1, 9)[1:])
	assert.Panics(t, func() { NewFaults(nil, &FaultOptions{Kinds: []Fault{numFaults}}) })
	assert.Equal(t, "Fault(-1)", Fault(-1).String())
}

func TestTheSeedComesFromTheEnvironment(t *testing.T) {
	t.Setenv(SeedVariable, "42")
	assert.Equal(t, uint64(42), NewFaults(t, nil).Seed())
	assert.Equal(t, uint64(7), NewFaults(t, &FaultOptions{Seed: 7}).Seed())
	t.Setenv(SeedVariable, "x")
	assert.Panics(t, func() { NewFaults(nil, nil) })
	t.Setenv(SeedVariable, "")
	seeds := make([]uint64, 3)
	for i := range seeds {
		seeds[i] = NewFaults(t, nil).Seed()
	}
	assert.NotContains(t, seeds, uint64(0))
	slices.Sort(seeds)
	assert.Len(t, slices.Compact(seeds), 3)
}
