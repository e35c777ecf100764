package storetest

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestMain(m *testing.M) { ssetest.Main(m) }

func TestALogKeepsTheRules(t *testing.T) {
	Run(t, logs())
}

func TestAViewKeepsTheRules(t *testing.T) {
	h := logs()
	h.Open = func(*testing.T) broker.Store { return NewLog().View() }
	h.Reopen = func(_ *testing.T, s broker.Store) broker.Store { return s.(*View).log.View() }
	Run(t, h)
}

func TestALogWhoseHistoryIsLostKeepsTheRules(t *testing.T) {
	h := logs()
	h.Reopen = nil
	Run(t, h)
}

func TestRulesThatDoNotApplyAreSkipped(t *testing.T) {
	h := Harness{Open: func(*testing.T) broker.Store { return struct{ broker.Store }{NewLog()} }}
	skipped := make(map[string]int)
	for _, r := range rules() {
		v := judge(t, h, r)
		assert.Empty(t, v.failed, r.name)
		skipped[v.skipped]++
	}
	delete(skipped, "")
	assert.Equal(t, map[string]int{
		"storetest: Harness.Reopen is nil":                            3,
		"storetest: Harness.Small is nil":                             8,
		"storetest: struct { broker.Store } is not a broker.Follower": 12,
	}, skipped)
}

func TestEveryRuleIsBrokenByAFault(t *testing.T) {
	broken := make(map[string]bool)
	for _, f := range faults {
		for _, name := range f.breaks {
			broken[name] = true
		}
	}
	all := make(map[string]bool)
	for _, r := range rules() {
		all[r.name] = true
	}
	assert.Equal(t, all, broken)
}

func TestAFaultBreaksItsRules(t *testing.T) {
	for _, f := range faults {
		for _, r := range rules() {
			if !f.in(r.name) {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", f.name, r.name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					v := judge(t, f.harness(), r)
					assert.NotEmpty(t, v.failed, "the rule holds; skipped: %q", v.skipped)
					t.Log(v.failed)
				})
			})
		}
	}
}

// logs is the Harness of a Log, with its small pages.
func logs() Harness {
	return Harness{
		Open:   func(*testing.T) broker.Store { return NewLog() },
		Reopen: func(_ *testing.T, s broker.Store) broker.Store { return s },
		Small: func(_ *testing.T, maxEvents int) broker.Store {
			l := NewLog()
			l.Limit(maxEvents)
			return l
		},
		PageSize: 16,
	}
}

// A verdict is the reporter of a rule that is expected to fail.
type verdict struct{ failed, skipped string }

func (v *verdict) Helper() {}

func (v *verdict) Fatalf(format string, args ...any) {
	v.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (v *verdict) Skipf(format string, args ...any) {
	v.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// judge checks one rule.
func judge(t *testing.T, h Harness, r rule) *verdict {
	v := new(verdict)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.check(newTrial(t, v, h))
	}()
	<-done
	return v
}
