package redisstore

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestIDsCompareAsNumbersEpochFirst(t *testing.T) {
	order := []position{{}, {1, 9, 0}, {1, 10, 9}, {1, 10, 10}, {9, 0, 0}, {10, 0, 0}, {1<<64 - 1, 1<<64 - 1, 1<<64 - 1}}
	s := new(Store)
	for i, p := range order {
		assert.Equal(t, p, parse(p.String()))
		for j, q := range order {
			c := s.Compare(p.String(), q.String())
			assert.Equal(t, []bool{i < j, i == j, i > j}, []bool{c < 0, c == 0, c > 0}, "%v and %v", p, q)
		}
	}
}

func TestOnlyWhatAStoreGivesIsAnID(t *testing.T) {
	for _, id := range []string{"", "1", "-", "1-", "1-2", "1-2-3 ", " 1-2-3", "01-2-3", "1-02-3", "1-2-03", "+1-2-3", "1-2-3-4", "1-2-18446744073709551616", "a-b-c"} {
		assert.Equal(t, position{}, parse(id), "%q", id)
	}
}
