// Command compare sets fanfare, the other Go libraries for server-sent events,
// and the floor under them all to the same work, in alternating rounds, and
// prints one table. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// few is the number of rounds of what takes long and hardly varies.
const few = 3

// settings say how much is measured.
type settings struct {
	rounds      int
	duration    time.Duration // of one measurement of a server; those in memory take a quarter
	subscribers int           // of the fan-out
	idle        int           // subscribers
	storm       int           // clients that reconnect at once
}

var (
	thorough = settings{rounds: 5, duration: 500 * time.Millisecond, subscribers: 500, idle: 4000, storm: 1000}
	quick    = settings{rounds: 1, duration: 100 * time.Millisecond, subscribers: 100, idle: 400, storm: 50}
)

// measurements are what can be measured, in the order of the table.
var measurements = []struct {
	name string
	run  func(context.Context, []contestant, settings, *table) error
}{
	{"fanout", fanOut},
	{"idle", idle},
	{"replay", replay},
	{"parse", parse},
	{"encode", encode},
	{"client", read},
}

// tooLong is when compare gives up.
const tooLong = 15 * time.Minute

func main() {
	was, err := child()
	if !was {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		ctx, cancel := context.WithTimeout(ctx, tooLong)
		err = run(ctx, os.Args[1:], os.Stdout)
		cancel()
		stop()
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run measures what args ask for and writes the table to out.
func run(ctx context.Context, args []string, out io.Writer) error {
	var names []string
	for _, m := range measurements {
		names = append(names, m.name)
	}
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprintf(f.Output(), "usage: compare [flags] [%s]...\n", strings.Join(names, "|"))
		f.PrintDefaults()
	}
	short := f.Bool("quick", false, "measure little, to see that it works")
	file := f.String("o", "", "also write the table to this `file`")
	rounds := f.Int("rounds", 0, "alternate this often; 0: 5, or 1 with -quick")
	only := f.String("only", "", "comma-separated `names` of the contestants; \"\": all")
	if err := f.Parse(args); err != nil {
		return err
	}
	s := thorough
	if *short {
		s = quick
	}
	if *rounds > 0 {
		s.rounds = *rounds
	}
	t := &table{contestants: contestants}
	if *only != "" {
		t.contestants = nil
		for name := range strings.SplitSeq(*only, ",") {
			c, err := byName(name)
			if err != nil {
				return err
			}
			t.contestants = append(t.contestants, c)
		}
	}
	for _, name := range f.Args() {
		if !slices.Contains(names, name) {
			return fmt.Errorf("compare: no measurement is called %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	began := time.Now()
	for _, m := range measurements {
		if f.NArg() > 0 && !slices.Contains(f.Args(), m.name) {
			continue
		}
		if err := m.run(ctx, t.contestants, s, t); err != nil {
			return fmt.Errorf("compare: %s: %w", m.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s done after %s\n", m.name, time.Since(began).Round(time.Second))
	}
	report := t.String() + "\n" + caption(t.contestants, s)
	if *file != "" {
		if err := os.WriteFile(*file, []byte(report), 0o644); err != nil {
			return err
		}
	}
	_, err := io.WriteString(out, report)
	return err
}

// caption says what the table's numbers are and where they come from.
func caption(cs []contestant, s settings) string {
	versions := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			versions[d.Path] = d.Version
			if d.Replace != nil {
				versions[d.Path] = "(this repository)"
			}
		}
	}
	var ours, with []string
	for _, c := range cs {
		if c.ours {
			ours = append(ours, c.name)
		}
		if c.module != "" && !slices.Contains(with, c.module) {
			with = append(with, c.module)
		}
	}
	for i, module := range with {
		with[i] = strings.TrimSpace(module + " " + versions[module])
	}
	return fmt.Sprintf(`Medians of %d alternating rounds (idle and replay: %d). Nothing was lost.
vs. floor: how many times the floor's cost %s needs; vs. the others: how many
times better it is. Both are medians of the rounds' ratios.
%s; %s, %s/%s, %d cores.
`,
		s.rounds, min(s.rounds, few), strings.Join(ours, " · "),
		strings.Join(with, ", "), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
}
