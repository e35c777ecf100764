//go:build !unix

package fanfare_test

import "time"

// cpuTime is not known here.
func cpuTime() (d time.Duration, ok bool) { return 0, false }

// descriptorLimit is not known here.
func descriptorLimit() (n uint64, ok bool) { return 0, false }
