package natsstore

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTopicsHaveSubjectsOfTheirOwn(t *testing.T) {
	for topic, want := range map[string]string{
		"":                              "=",
		"orders":                        "orders",
		"a.b":                           "a=2Eb",
		"*":                             "=2A",
		">":                             "=3E",
		"=":                             "=3D",
		"=2A":                           "=3D2A",
		"é\x00\xff":                     "=C3=A9=00=FF",
		strings.Repeat("a", maxToken):   strings.Repeat("a", maxToken),
		strings.Repeat("a", maxToken+1): "==",
	} {
		assert.Equal(t, want, token([]string{topic}), "%.40q", topic)
	}
	assert.Equal(t, "==", token([]string{"a", "b"}))
	assert.Equal(t, "=", token(nil))
}
