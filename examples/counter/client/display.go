package main

import (
	"fmt"
	"io"
	"os"
)

// display shows numbers on out, and says on notes what happens to the
// connection. On a terminal, both are the same screen.
type display struct {
	out, notes io.Writer
	inPlace    bool // each number takes the place of the one before
	open       bool // the cursor is behind a number
}

func (d *display) number(n string) error {
	format := "%s\n"
	if d.inPlace {
		format = "\r%-10s" // padded: a new count is shorter than the old one
		d.open = true
	}
	_, err := fmt.Fprintf(d.out, format, n)
	return err
}

func (d *display) note(format string, args ...any) {
	d.endLine()
	fmt.Fprintf(d.notes, format+"\n", args...)
}

func (d *display) endLine() {
	if d.open {
		fmt.Fprintln(d.out)
		d.open = false
	}
}

// isTerminal reports whether f is a terminal.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
